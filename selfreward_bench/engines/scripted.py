"""The ``scripted`` engine: answers from a table or a function. For tests and demos; deterministic, no model."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from selfreward_bench.config import EngineConfig
from selfreward_bench.engines.base import (
    ChoiceLogprobs,
    ChoiceRequest,
    GenerationRequest,
    check_choices,
    check_generation,
)
from selfreward_bench.errors import EngineError
from selfreward_bench.types import Completion, FinishReason, Message

V = TypeVar("V")
R = TypeVar("R", GenerationRequest, ChoiceRequest)
Texts = Mapping[str, str | Sequence[str]] | Callable[[GenerationRequest, int], str]
Logprobs = Mapping[str, Sequence[float]] | Callable[[ChoiceRequest], Sequence[float]]


def prompt_text(prompt: tuple[Message, ...] | str) -> str:
    """What a table is looked up with: the text itself, or the last message's content."""
    return prompt if isinstance(prompt, str) else prompt[-1].content


def open_scripted(config: EngineConfig, model: str | Path, *, threads: int | None = None) -> ScriptedEngine:
    """Reads a script from a JSON file ``{"texts": {prompt: [answers]}, "logprobs": {prompt: [numbers]}}``.

    Raises:
        EngineError: the file cannot be read or has another form.
    """
    try:
        script = json.loads(Path(model).read_text(encoding="utf-8"))
        return ScriptedEngine(dict(script.get("texts", {})), dict(script.get("logprobs", {})))
    except (OSError, ValueError, AttributeError, TypeError) as e:
        expected = '{"texts": {prompt: [answers]}, "logprobs": {prompt: [numbers]}}'
        raise EngineError(f"{model}: not a script ({e}). Expected JSON {expected}.") from e


class ScriptedEngine:
    """An ``Engine`` whose answers are given. Words, split at white space, count as its tokens.

    Args:
        texts: prompt -> answer or answers (sample i takes number i modulo their count), or ``f(request, index)``. The
            key ``"*"`` answers every other prompt.
        logprobs: prompt -> one number per choice, or ``f(request)``; ``"*"`` as above.
        batch_size: requests per batch, in the order of their ids.

    Attributes:
        requests: all requests that were computed, in order.
    """

    name = "scripted"

    def __init__(self, texts: Texts, logprobs: Logprobs | None = None, *, batch_size: int = 8) -> None:
        self._texts = texts
        self._logprobs: Logprobs = {} if logprobs is None else logprobs
        self.batch_size = batch_size
        self.failures: Mapping[str, str] = {}
        self.requests: list[GenerationRequest | ChoiceRequest] = []
        self._closed = False

    def generate(self, requests: Sequence[GenerationRequest], done: Collection[str] = ()) -> Iterator[list[Completion]]:
        """Answers requests; see ``Engine``."""
        self._check_open()
        ids = check_generation(requests)
        return ([self._complete(r, i) for r in b for i in range(r.n)] for b in self._batches(requests, ids, done))

    def choice_logprobs(
        self, requests: Sequence[ChoiceRequest], done: Collection[str] = ()
    ) -> Iterator[list[ChoiceLogprobs]]:
        """Scores choices; see ``Engine``."""
        self._check_open()
        ids = check_choices(requests)
        return ([self._score(r) for r in b] for b in self._batches(requests, ids, done))

    def count_tokens(self, text: str) -> int:
        """Words of a text."""
        return len(text.split())

    def close(self) -> None:
        """Makes further calls fail, as with any engine."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise EngineError("The scripted engine was closed; open a new one.")

    def _batches(self, requests: Sequence[R], ids: Sequence[str], done: Collection[str]) -> Iterator[list[R]]:
        ordered = sorted(range(len(ids)), key=ids.__getitem__)
        for start in range(0, len(ordered), self.batch_size):
            batch = [requests[at] for at in ordered[start : start + self.batch_size]]
            if not all(r.id in done for r in batch):
                self.requests += batch
                yield batch

    def _complete(self, request: GenerationRequest, index: int) -> Completion:
        text, finish = self._text(request, index), "stop"
        words = text.split()
        if len(words) > request.max_new_tokens:
            text, finish = " ".join(words[: request.max_new_tokens]), "length"
        found = [at for at in (text.find(s) for s in request.stop) if at >= 0]
        if found:
            text, finish = text[: min(found)], "stop"
        reason: FinishReason = "stop" if finish == "stop" else "length"
        seed = request.seeds[index] if index < len(request.seeds) else 0
        return Completion(
            prompt_id=request.id,
            index=index,
            text=text,
            n_tokens=self.count_tokens(text),
            finish_reason=reason,
            seed=seed,
        )

    def _text(self, request: GenerationRequest, index: int) -> str:
        if callable(self._texts):
            return self._texts(request, index)
        answers = self._look_up(self._texts, request)
        return answers if isinstance(answers, str) else answers[index % len(answers)]

    def _score(self, request: ChoiceRequest) -> ChoiceLogprobs:
        table = self._logprobs
        values = tuple(table(request) if callable(table) else self._look_up(table, request))
        if len(values) != len(request.choices):
            raise EngineError(f"Request {request.id!r}: {len(values)} numbers for {len(request.choices)} choices.")
        n_tokens = self.count_tokens(prompt_text(request.prompt))
        return ChoiceLogprobs(id=request.id, logprobs=values, n_prompt_tokens=n_tokens)

    def _look_up(self, table: Mapping[str, V], request: GenerationRequest | ChoiceRequest) -> V:
        text = prompt_text(request.prompt)
        if text not in table and "*" not in table:
            raise EngineError(f"Request {request.id!r}: the script has no entry for {text[:80]!r}, and none for '*'.")
        return table[text] if text in table else table["*"]
