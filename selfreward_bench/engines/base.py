"""What an engine is: something that generates text and scores given continuations. No torch here.

Generation and judging share it. A sample's text depends on the model, the request and the sample's seed, and on
nothing else: not on batch size, order, worker count or where a run was resumed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Protocol

from selfreward_bench.errors import EngineError
from selfreward_bench.types import Completion, Message

#: the reason for which a prompt, with all that may follow it, is not given to a model: it exceeds the context
TOO_LONG: Final = "too_long"
#: the reason for which a served model's answer is none: its filter, or that of who serves it, refused
REFUSED: Final = "refused"


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One prompt, answered ``n`` times.

    Attributes:
        id: unique within a call; becomes ``Completion.prompt_id``.
        prompt: chat messages (rendered by the chat template, with the generation prompt), or text continued as it is.
        seeds: one per sample, ``len(seeds) == n``; ignored at temperature 0.
        n: samples; they fork from one prefill.
        temperature: 0 is greedy.
        top_p: nucleus: the smallest set of tokens whose probability reaches it; 1 keeps all.
        max_new_tokens: bound on GENERATED tokens.
        min_new_tokens: the end token cannot be drawn before so many tokens are generated.
        stop: generation ends before the first of these strings; the string is not part of the text.
        assistant_prefix: text the assistant's turn begins with; it is not part of ``Completion.text``.
        attempt: how often the same was asked before, without an answer that could be used. A served model is asked
            anew; what a model in this process says depends on the seeds alone.
    """

    id: str
    prompt: tuple[Message, ...] | str
    seeds: tuple[int, ...] = (0,)
    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 256
    min_new_tokens: int = 0
    stop: tuple[str, ...] = ()
    assistant_prefix: str = ""
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class ChoiceRequest:
    """Continuations to be scored after a prompt: log P(choice | prompt + assistant_prefix) for each.

    Attributes:
        attempt: as with ``GenerationRequest``.
    """

    id: str
    prompt: tuple[Message, ...] | str
    choices: tuple[str, ...]
    assistant_prefix: str = ""
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class ChoiceLogprobs:
    """Natural-log probabilities, one per choice, each the sum over the choice's tokens."""

    id: str
    logprobs: tuple[float, ...]
    n_prompt_tokens: int


class Engine(Protocol):
    """Anything that answers requests. ``generate`` and ``choice_logprobs`` yield one finished batch at a time.

    Batches are planned from ALL requests of the call and the plan does not depend on ``done``; a batch is skipped when
    all its requests are in ``done``, otherwise it is computed whole. So a resumed stage makes the same sums, bit for
    bit, as an undisturbed one, when its caller stores a batch as a unit. Requests are checked when the method is
    called, before the first batch.

    Attributes:
        failures: request id -> why it got no answer when it was last asked for (a server's error, a spent budget, a
            prompt that is ``TOO_LONG``). Such a request yields nothing.
    """

    @property
    def name(self) -> str: ...

    @property
    def failures(self) -> Mapping[str, str]: ...

    def generate(
        self, requests: Sequence[GenerationRequest], done: Collection[str] = ()
    ) -> Iterator[list[Completion]]: ...

    def choice_logprobs(
        self, requests: Sequence[ChoiceRequest], done: Collection[str] = ()
    ) -> Iterator[list[ChoiceLogprobs]]: ...

    def count_tokens(self, text: str) -> int: ...

    def close(self) -> None:
        """Gives the model's memory back; the engine cannot be used afterwards."""


def check_generation(requests: Sequence[GenerationRequest]) -> list[str]:
    """Refuses requests that no engine can answer; the ids of the others, in their order.

    Raises:
        EngineError: an id occurs twice, a number is out of range, or there is not one seed per sample.
    """
    ids = []
    for r in requests:
        ids.append(r.id)
        if problem := _generation_problem(r):
            raise EngineError(f"Request {r.id!r}: {problem}")
    check_ids(ids)
    return ids


def check_choices(requests: Sequence[ChoiceRequest]) -> list[str]:
    """Refuses choice requests that no engine can answer; the ids of the others, in their order.

    Raises:
        EngineError: an id occurs twice, or a request has no choices or an empty one.
    """
    ids = []
    for r in requests:
        ids.append(r.id)
        if not r.choices or not all(r.choices):
            raise EngineError(f"Request {r.id!r}: choices={r.choices!r} must be one text or more, none empty.")
    check_ids(ids)
    return ids


def failures_after(earlier: Mapping[str, str], ids: Iterable[str], fitting: Iterable[str]) -> Mapping[str, str]:
    """An engine's ``failures`` once it was asked for ``ids``: what is not among ``fitting`` is ``TOO_LONG``."""
    asked = set(ids)
    kept = {name: why for name, why in earlier.items() if name not in asked}
    return kept | dict.fromkeys(asked.difference(fitting), TOO_LONG)


def check_ids(ids: Sequence[str]) -> None:
    """Raises EngineError where an id occurs twice."""
    if any(a == b for a, b in pairwise(sorted(ids))):  # a set would take as much again as the ids
        twice = [name for name, count in Counter(ids).items() if count > 1]
        raise EngineError(f"{len(twice)} request id(s) occur twice, first {twice[0]!r}; ids must be unique in a call.")


def _generation_problem(r: GenerationRequest) -> str | None:
    if r.n < 1 or r.max_new_tokens < 1:
        return f"n={r.n} and max_new_tokens={r.max_new_tokens} must be at least 1."
    if not 0 <= r.min_new_tokens <= r.max_new_tokens:
        return f"min_new_tokens={r.min_new_tokens} must lie between 0 and max_new_tokens={r.max_new_tokens}."
    if not (0 <= r.temperature < float("inf")) or not (0 < r.top_p <= 1):
        return f"temperature={r.temperature} must be finite and not negative, top_p={r.top_p} must lie in (0, 1]."
    if r.temperature > 0 and len(r.seeds) != r.n:
        return f"{len(r.seeds)} seed(s) for n={r.n} samples; give one seed per sample."
    if not all(r.stop):
        return "an empty stop string would end every answer at once; leave it out."
    return None
