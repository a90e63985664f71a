"""Log-probabilities of given continuations, for the ``transformers`` engine: exact for continuations of many tokens.

Single-token choices (grades 0 to 5) are all read from the logits after the prompt: one forward pass per batch, the
prompts' common prefix computed once. Longer choices fork from the prompt's cache and are read in one further pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from selfreward_bench.engines.base import ChoiceLogprobs, ChoiceRequest
from selfreward_bench.engines.chat import PromptEncoder
from selfreward_bench.engines.decode import ModelRunner, Prefilled
from selfreward_bench.engines.plan import Job


@dataclass(frozen=True, slots=True)
class Scorable:
    """A tokenized choice request.

    Attributes:
        context: tokens all choices follow.
        choices: tokens of each choice, at least one.
        n_prompt_tokens: tokens of the prompt by itself.
    """

    id: str
    context: tuple[int, ...]
    choices: tuple[tuple[int, ...], ...]
    n_prompt_tokens: int

    @property
    def long_choices(self) -> int:
        return sum(len(c) > 1 for c in self.choices)

    @property
    def longest(self) -> int:
        """Tokens of the longest choice."""
        return max(map(len, self.choices))


def scorables(encoder: PromptEncoder, requests: Sequence[ChoiceRequest], *, more: int = 0) -> list[Scorable | None]:
    """The requests, tokenized; None for those that do not fit the model's context.

    Args:
        more: tokens for which there must be room behind each choice.

    Raises:
        EngineError: as ``PromptEncoder.encode``.
    """
    prompts = encoder.encode(requests, [0] * len(requests))
    items: list[Scorable | None] = []
    for request, prompt in zip(requests, prompts, strict=True):
        item = None
        if prompt is not None:
            shared, choices = encoder.continuations(request, prompt)
            item = Scorable(request.id, tuple(prompt[:shared]), tuple(map(tuple, choices)), len(prompt))
        items.append(item if item and encoder.fits(len(item.context), item.longest + more) else None)
    return items


def choice_job(index: int, item: Scorable) -> Job:
    """The job of a choice request, as ``score_batch`` reads it."""
    return Job(index, item.id, len(item.context), rows=max(1, item.long_choices), new=item.longest - 1)


def score_batch(runner: ModelRunner, items: Sequence[Scorable]) -> list[ChoiceLogprobs]:
    """Scores one batch."""
    distinct = {c: i for i, c in enumerate(dict.fromkeys(item.context for item in items))}
    origin = [distinct[item.context] for item in items]
    state = runner.prefill(list(distinct), max(item.longest for item in items) - 1)
    first = state.logits.float().log_softmax(-1)
    width = max(len(item.choices) for item in items)
    heads = torch.tensor([[c[0] for c in item.choices] + [0] * (width - len(item.choices)) for item in items])
    picked = first[torch.tensor(origin, device=first.device)].gather(-1, heads.to(first.device))
    scores: list[list[float]] = picked.tolist()
    _add_rests(runner, state, items, origin, scores)
    return [
        ChoiceLogprobs(id=item.id, logprobs=tuple(row[: len(item.choices)]), n_prompt_tokens=item.n_prompt_tokens)
        for item, row in zip(items, scores, strict=True)
    ]


def _add_rests(
    runner: ModelRunner, state: Prefilled, items: Sequence[Scorable], origin: Sequence[int], scores: list[list[float]]
) -> None:
    """Adds to each longer choice's score the log-probabilities of its tokens after the first."""
    places = [(i, j) for i, item in enumerate(items) for j, c in enumerate(item.choices) if len(c) > 1]
    if not places:
        return
    chosen = [items[i].choices[j] for i, j in places]
    width = max(map(len, chosen)) - 1
    state.fork([origin[i] for i, _ in places], room=width)
    # padding stands at the end: what comes before never attends to it
    ids = torch.tensor([[*c[:-1], *[runner.fill] * (width - len(c) + 1)] for c in chosen], device=runner.device)
    logprobs = runner.extend(state, ids).float().log_softmax(-1)
    targets = torch.tensor([[*c[1:], *[0] * (width - len(c) + 1)] for c in chosen], device=runner.device)
    found = logprobs.gather(-1, targets.unsqueeze(-1)).squeeze(-1).tolist()
    for (i, j), choice, values in zip(places, chosen, found, strict=True):
        scores[i][j] += sum(values[: len(choice) - 1])
