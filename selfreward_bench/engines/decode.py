"""The decode loop of the ``transformers`` engine: prefill once, fork, step, let finished rows leave."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from selfreward_bench.engines.base import GenerationRequest
from selfreward_bench.engines.cache import (
    GROWTH,
    Reread,
    holds_plain_attention,
    new_cache,
    select_rows,
    takes_cache,
    window_of,
)
from selfreward_bench.engines.chat import TextDecoder
from selfreward_bench.engines.loading import LoadedModel
from selfreward_bench.engines.plan import common_prefix
from selfreward_bench.engines.replay import FixedStep, replayable
from selfreward_bench.engines.sampling import draw, uniform
from selfreward_bench.types import Completion, FinishReason

MIN_PREFIX = 8  # shorter common prefixes are not worth a forward pass of their own
LEAVE_SHARE = 0.125  # rows are taken out when this share of them has finished; each time costs a copy of the cache


@dataclass
class Prefilled:
    """Prompts that the model has read.

    Attributes:
        logits: of the token after each prompt, shape (prompts, vocabulary).
        mask: which columns hold tokens, shape (prompts, columns); None where all do.
        lengths: tokens of each prompt, shape (prompts,).
        fixed: what takes the next step while the rows stay as they are; None before the first, or where none does.
    """

    cache: Any
    logits: torch.Tensor
    mask: torch.Tensor | None
    lengths: torch.Tensor
    fixed: FixedStep | None = None

    def fork(self, rows: Sequence[int], room: int) -> None:
        """Keeps or repeats the given rows, in this order."""
        index = torch.tensor(rows, device=self.logits.device)
        self.fixed = None
        select_rows(self.cache, index, room)
        self.logits, self.lengths = self.logits[index], self.lengths[index]
        self.mask = None if self.mask is None else self.mask[index]


class ModelRunner:
    """Forward passes of one model with right positions and masks."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.model, self.device, self.fill = loaded.model, loaded.device, loaded.fill
        accepted = inspect.signature(loaded.model.forward).parameters
        self._cached = takes_cache(loaded.model)
        self._takes_positions = "position_ids" in accepted
        self._takes_keep = "logits_to_keep" in accepted
        self._takes_use_cache = "use_cache" in accepted
        self._window = window_of(loaded.model.config)
        self.plain = self._cached and holds_plain_attention(loaded.model.config)
        self._record = self.device.type == "cuda" and not (loaded.spread or loaded.shared_out)
        self.fixed = (  # whether steps have fixed shapes
            self._record and self.plain and self._takes_positions and replayable(loaded.model, self._window)
        )

    def prefill(self, prompts: Sequence[tuple[int, ...]], following: int) -> Prefilled:
        """Reads prompts, their common prefix only once. Shorter ones are padded between prefix and rest.

        Args:
            following: how many columns may follow.
        """
        cache = new_cache(self.model.config, self.plain) if self._cached else Reread()
        shared = self._shared_prefix(prompts, following)
        rests = [p[shared:] for p in prompts]
        width = max(map(len, rests))
        if shared:
            self._forward(torch.tensor([prompts[0][:shared]]), None, torch.arange(shared)[None], cache)
            select_rows(cache, torch.zeros(len(prompts), dtype=torch.long, device=self.device), room=width)
        ids = torch.tensor([[self.fill] * (width - len(r)) + list(r) for r in rests])
        lengths = torch.tensor([len(p) for p in prompts])
        # a pad's position is clamped to one that exists; nothing attends to it
        positions = (lengths[:, None] + torch.arange(-width, 0)).clamp(min=0)
        mask = None
        if min(map(len, rests)) < width:
            pad = torch.tensor([width - len(r) for r in rests])
            columns = torch.arange(shared + width)
            mask = ((columns < shared) | (columns >= shared + pad[:, None])).long().to(self.device)
        logits = self._forward(ids, mask, positions, cache)[:, -1]
        return Prefilled(cache, logits, mask, lengths.to(self.device))

    def extend(self, state: Prefilled, ids: torch.Tensor) -> torch.Tensor:
        """Appends tokens to every row.

        Args:
            ids: shape (rows, new columns), all of them tokens.

        Returns:
            Logits after each, shape (rows, new columns, vocabulary).
        """
        new = ids.shape[1]
        if state.mask is not None:
            state.mask = torch.cat([state.mask, state.mask.new_ones(len(ids), new)], dim=1)
        positions = state.lengths[:, None] + torch.arange(new, device=self.device)
        state.lengths = state.lengths + new
        return self._forward(ids, state.mask, positions, state.cache, keep=0)

    def step(self, state: Prefilled, tokens: Sequence[int]) -> torch.Tensor:
        """Appends a token to every row.

        Returns:
            Logits after it, shape (rows, vocabulary); the next step may overwrite them.
        """
        ids = torch.tensor(tokens, device=self.device)
        if not self.fixed:
            return self.extend(state, ids[:, None])[:, -1]
        if state.fixed is None or not state.fixed.fits(state.cache):
            state.fixed = None  # its memory, before more is taken
            for layer in state.cache.layers:
                layer.reserve(layer.columns + 1)
            state.fixed = FixedStep(self.model, state.cache, state.mask, state.lengths, self._record)
        if state.mask is not None:
            state.mask = torch.cat([state.mask, state.mask.new_ones(len(tokens), 1)], dim=1)
        state.lengths = state.lengths + 1
        logits = state.fixed.take(ids)
        self._record = state.fixed.record
        return logits

    def _shared_prefix(self, prompts: Sequence[tuple[int, ...]], following: int) -> int:
        if len(prompts) == 1 or not self.plain:
            return 0
        longest = max(map(len, prompts))
        if longest > min(map(len, prompts)) and self._counts_columns(longest + following):
            return 0  # padding behind the prefix would push the prefix away
        shared = min(common_prefix(prompts), min(map(len, prompts)) - 1)  # each prompt has a token of its own to read
        return shared if shared >= MIN_PREFIX else 0

    def _counts_columns(self, columns: int) -> bool:
        """Whether so many columns, padding among them, make a difference that positions do not."""
        return not self._takes_positions or (self._window is not None and columns > self._window)

    def _forward(
        self, ids: torch.Tensor, mask: torch.Tensor | None, positions: torch.Tensor, cache: Any, keep: int = 1
    ) -> torch.Tensor:
        if isinstance(cache, Reread):
            return self._reread(cache, ids)
        extra: dict[str, Any] = {}
        if self._takes_positions:
            extra["position_ids"] = positions.to(self.device)
        if self._takes_keep:
            extra["logits_to_keep"] = keep
        output = self.model(
            input_ids=ids.to(self.device), attention_mask=mask, past_key_values=cache, use_cache=True, **extra
        )
        logits: torch.Tensor = output.logits
        return logits

    def _reread(self, cache: Reread, ids: torch.Tensor) -> torch.Tensor:
        """Logits of the new tokens, all tokens read from the first on."""
        new = ids.shape[1]
        extra: dict[str, Any] = {"use_cache": False} if self._takes_use_cache else {}
        extra |= {"logits_to_keep": new} if self._takes_keep else {}
        logits: torch.Tensor = self.model(input_ids=cache.append(ids.to(self.device)), **extra).logits
        return logits[:, -new:]


@dataclass
class Row:
    """One sample being generated.

    Attributes:
        before: the prompt's last token.
        text: the answer up to a stop string, once one was found.
    """

    request: GenerationRequest
    index: int
    before: int
    tokens: list[int] = field(default_factory=list)
    text: str | None = None
    finished: FinishReason | None = None

    @property
    def seed(self) -> int:
        return self.request.seeds[self.index] if self.index < len(self.request.seeds) else 0

    def take(self, token: int, eos: frozenset[int], decoder: TextDecoder) -> None:
        """Appends a token, unless it ends the answer."""
        if token in eos:
            self.finished = "stop"
            return
        self.tokens.append(token)
        if self.request.stop:
            self.text = decoder.cut(self.tokens, self.before, self.request.stop)
        if self.text is not None:
            self.finished = "stop"
        elif len(self.tokens) >= self.request.max_new_tokens:
            self.finished = "length"

    def completion(self, decoder: TextDecoder) -> Completion:
        text = decoder.text(self.tokens, self.before) if self.text is None else self.text
        return Completion(
            prompt_id=self.request.id,
            index=self.index,
            text=text,
            n_tokens=len(self.tokens),
            finish_reason=self.finished or "length",
            seed=self.seed,
        )


class Sampler:
    """Temperature, nucleus and seed of each row, kept beside the rows."""

    def __init__(self, rows: Sequence[Row], eos: frozenset[int], device: torch.device) -> None:
        self._temperature = torch.tensor([r.request.temperature for r in rows], device=device)
        self._top_p = torch.tensor([r.request.top_p for r in rows], device=device)
        self._seeds = np.array([r.seed & (2**64 - 1) for r in rows], dtype=np.uint64)
        self._shortest = torch.tensor([r.request.min_new_tokens for r in rows], device=device)
        self._held = max(r.request.min_new_tokens for r in rows)
        self._eos = torch.tensor(sorted(eos), dtype=torch.long, device=device)

    def next_tokens(self, logits: torch.Tensor, step: int) -> list[int]:
        """Draws the token of each row at a step, 0 being the first."""
        if step < self._held and len(self._eos):
            early = (step < self._shortest)[:, None]
            logits[:, self._eos] = logits[:, self._eos].masked_fill(early, -torch.inf)
        u = torch.from_numpy(uniform(self._seeds, step))
        if logits.device.type == "mps":
            u = u.float()
        tokens: list[int] = draw(logits, self._temperature, self._top_p, u.to(logits.device)).tolist()
        return tokens

    def keep(self, rows: Sequence[int]) -> None:
        index = torch.tensor(rows, device=self._top_p.device)
        self._temperature, self._top_p = self._temperature[index], self._top_p[index]
        self._shortest, self._seeds = self._shortest[index], self._seeds[np.array(rows)]


def generate_batch(
    runner: ModelRunner,
    decoder: TextDecoder,
    eos: frozenset[int],
    requests: Sequence[GenerationRequest],
    prompts: Sequence[Sequence[int]],
) -> list[Completion]:
    """Answers one batch.

    Args:
        prompts: token ids of each request's prompt; equal ones are read once.

    Returns:
        The samples of each request in turn.
    """
    distinct = {tuple(p): i for i, p in enumerate(dict.fromkeys(map(tuple, prompts)))}
    rows, origin = [], []
    for request, prompt in zip(requests, prompts, strict=True):
        rows += [Row(request, i, before=prompt[-1]) for i in range(request.n)]
        origin += [distinct[tuple(prompt)]] * request.n
    longest = max(r.max_new_tokens for r in requests)
    state = runner.prefill(list(distinct), longest)
    state.fork(origin, room=min(longest, GROWTH))
    _decode(runner, decoder, eos, rows, state, longest)
    return [row.completion(decoder) for row in rows]


def _decode(
    runner: ModelRunner, decoder: TextDecoder, eos: frozenset[int], rows: list[Row], state: Prefilled, longest: int
) -> None:
    """Steps all rows until the last has finished."""
    sampler = Sampler(rows, eos, runner.device)
    for step in range(longest):
        tokens = sampler.next_tokens(state.logits, step)
        for row, token in zip(rows, tokens, strict=True):
            if row.finished is None:
                row.take(token, eos, decoder)
        going = [i for i, row in enumerate(rows) if row.finished is None]
        if not going:
            return
        if len(rows) - len(going) >= LEAVE_SHARE * len(rows):
            rows = [rows[i] for i in going]
            tokens = [tokens[i] for i in going]
            state.fork(going, room=GROWTH)
            sampler.keep(going)
        state.logits = runner.step(state, tokens)
