"""Who says which of two answers is better: the micro-world's oracle, AlpacaEval's pairwise question, or a judge prompt.

A judge is asked about one showing (two answers in one order) at a time; orders are put together in ``head_to_head``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from leaderboards.alpaca_eval.annotators import Annotator, LogprobVerdict, load_annotator
from leaderboards.alpaca_eval.annotators import Verdict as AlpacaVerdict
from leaderboards.base import Calls, JudgeRole, anew
from leaderboards.micro import ORACLE
from selfreward_bench.config import RunConfig, Sampling
from selfreward_bench.engines.base import ChoiceLogprobs, ChoiceRequest, Engine, GenerationRequest
from selfreward_bench.errors import ConfigError
from selfreward_bench.judges.pointwise import sampling_key
from selfreward_bench.judges.prompts import JudgePrompt, load_judge_prompt, render_conversation
from selfreward_bench.micro import oracle
from selfreward_bench.seeding import derive_seed
from selfreward_bench.types import Completion, Message

__all__ = [
    "AlpacaAnnotator",
    "OracleAnnotator",
    "PairAnnotator",
    "Preference",
    "PromptAnnotator",
    "Showing",
    "annotator_for",
]

_GREEDY: Final = Sampling(temperature=0.0, top_p=1.0, max_new_tokens=256)
_STAGE: Final = "eval/head-to-head/judge"


@dataclass(frozen=True, slots=True)
class Showing:
    """Two answers in the order a judge sees them.

    Attributes:
        attempt: how often it was judged before, without a verdict.
    """

    id: str
    messages: tuple[Message, ...]
    first: str
    second: str
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Preference:
    """What a judge says of one showing.

    Attributes:
        value: 1 the first is better, 0.5 neither, 0 the second is, or a probability between; None is no verdict.
        way: what the value was read from: ``grades``, ``words``, ``log-probabilities``.
    """

    id: str
    value: float | None
    raw: str = ""
    reason: str | None = None
    way: str = "words"


class PairAnnotator(Protocol):
    """Who says which of two answers is better; each order is a question of its own.

    Attributes:
        key: who judges, in words.
        sees_order: False for one whose preference cannot depend on the order; it is asked once per comparison.
        parameters: parts of the comparability key: ``prompt`` (hash) and ``parameters``, where there are any.
        failures: showing id -> why it got no preference in the latest call.
    """

    @property
    def key(self) -> str: ...

    @property
    def sees_order(self) -> bool: ...

    @property
    def parameters(self) -> Mapping[str, str]: ...

    @property
    def failures(self) -> Mapping[str, str]: ...

    def bound(self, messages: tuple[Message, ...], answer_tokens: int) -> Calls:
        """One judgment of two answers of so many tokens, at most; tokens of given text are bounded by its bytes."""

    def preferences(self, showings: Sequence[Showing], done: Collection[str] = ()) -> Iterator[list[Preference]]:
        """Yields finished batches; showings whose id is in ``done`` are not needed."""


def annotator_for(judge: JudgeRole, config: RunConfig, prompt: str | None = None) -> PairAnnotator:
    """The oracle where the role has no engine, else its model with AlpacaEval's question (``eval.annotator``).

    Args:
        prompt: a pairwise judge prompt (``pairwise``, or a path) to be asked instead of AlpacaEval's.

    Raises:
        ConfigError: the judge is no single model (``self``), or the annotator or prompt cannot be used.
        UnknownNameError: there is no such annotator or prompt.
        MissingDependencyError: alpaca_eval is not installed.
    """
    if judge.engine is None:
        if judge.name != "oracle":
            raise ConfigError(
                f"Judge {judge.name!r} cannot judge head-to-head: all comparisons need one and the same judge. Name a "
                "model."
            )
        return OracleAnnotator()
    if prompt is not None:
        return PromptAnnotator(judge.name, judge.engine, load_judge_prompt(prompt), seed=config.seed)
    return AlpacaAnnotator(judge.name, judge.engine, load_annotator(config.eval.annotator), seed=config.seed)


# --- the oracle


class OracleAnnotator:
    """The exact grader of the micro-world: the higher grade is better, equal grades are a tie."""

    key: Final = ORACLE
    sees_order: Final = False
    parameters: Final[Mapping[str, str]] = {}
    failures: Final[Mapping[str, str]] = {}

    def bound(self, messages: tuple[Message, ...], answer_tokens: int) -> Calls:
        """See ``PairAnnotator``; the oracle is no model."""
        return Calls(1)

    def preferences(self, showings: Sequence[Showing], done: Collection[str] = ()) -> Iterator[list[Preference]]:
        """See ``PairAnnotator``."""
        wanted = [(s, _last_user(s.messages)) for s in showings if s.id not in done]
        asked = {(prompt, text) for s, prompt in wanted for text in (s.first, s.second)}
        grades = {(prompt, text): oracle.score(prompt, text) for prompt, text in asked}
        if wanted:
            yield [_graded(s.id, grades[prompt, s.first], grades[prompt, s.second]) for s, prompt in wanted]


def _graded(name: str, first: int | None, second: int | None) -> Preference:
    if first is None or second is None:
        return Preference(name, None, reason="unknown_task", way="grades")
    return Preference(name, (first > second) + (first == second) / 2, f"{first} against {second}", way="grades")


def _last_user(messages: Sequence[Message]) -> str:
    return next((m.content for m in reversed(messages) if m.role == "user"), "")


# --- models


@dataclass(frozen=True)
class PromptAnnotator:
    """A model asked with a pairwise judge prompt (docs/judges.md); its text ends with the verdict."""

    name: str
    engine: Engine
    prompt: JudgePrompt
    sampling: Sampling = _GREEDY
    seed: int = 0
    sees_order: bool = True

    @property
    def key(self) -> str:
        """The judge's name and its prompt."""
        return f"{self.name} ({self.prompt.key})"

    @property
    def parameters(self) -> Mapping[str, str]:
        """See ``PairAnnotator``."""
        return {"prompt": self.prompt.key, "parameters": sampling_key(self.sampling)}

    @property
    def failures(self) -> Mapping[str, str]:
        """The engine's."""
        return self.engine.failures

    def bound(self, messages: tuple[Message, ...], answer_tokens: int) -> Calls:
        """See ``PairAnnotator``."""
        empty = self.prompt.render(messages, response_a="", response_b="")
        return Calls(1, _bytes(empty) + 2 * answer_tokens, self.sampling.max_new_tokens)

    def preferences(self, showings: Sequence[Showing], done: Collection[str] = ()) -> Iterator[list[Preference]]:
        """See ``PairAnnotator``."""
        for batch in self.engine.generate([self._request(s) for s in showings], done):
            yield [self._read(completion) for completion in batch]

    def _request(self, showing: Showing) -> GenerationRequest:
        shown = self.prompt.render(showing.messages, response_a=showing.first, response_b=showing.second)
        return _generation(showing, shown, self.seed, self.sampling)

    def _read(self, completion: Completion) -> Preference:
        verdict = self.prompt.read(completion.text, truncated=completion.finish_reason == "length")
        return Preference(completion.prompt_id, verdict.score, completion.text, verdict.reason)


@dataclass
class AlpacaAnnotator:
    """A model asked AlpacaEval's pairwise question, as an evaluator config of the installed alpaca_eval puts it.

    Where the config reads log-probabilities and the server gives none, the verdict is asked for in words.
    """

    name: str
    engine: Engine
    annotator: Annotator
    seed: int = 0
    sees_order: Final = True
    failures: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The judge's name and the config's."""
        return f"{self.name} ({self.annotator.name})"

    @property
    def parameters(self) -> Mapping[str, str]:
        """See ``PairAnnotator``."""
        return {
            "prompt": self.annotator.prompt_hash,
            "parameters": f"{self.annotator.name}#{self.annotator.config_hash}",
        }

    def bound(self, messages: tuple[Message, ...], answer_tokens: int) -> Calls:
        """See ``PairAnnotator``."""
        empty = self.annotator.render(render_conversation(messages), "", "")
        return Calls(1, _bytes(empty) + 2 * answer_tokens, self.annotator.max_tokens)

    def preferences(self, showings: Sequence[Showing], done: Collection[str] = ()) -> Iterator[list[Preference]]:
        """See ``PairAnnotator``."""
        verdict, self.failures = self.annotator.verdict, {}
        in_words: Sequence[Showing] = showings
        if self.annotator.by_logprobs and isinstance(verdict, LogprobVerdict):
            choices = [ChoiceRequest(s.id, self._messages(s), verdict.choices, attempt=s.attempt) for s in showings]
            for scored in self.engine.choice_logprobs(choices, done):
                yield [_weighed(s, verdict) for s in scored]
            self.failures = dict(self.engine.failures)
            in_words = [s for s in showings if self.failures.get(s.id) == "no_logprobs"]
        if in_words:
            sampling = Sampling(
                temperature=self.annotator.temperature, top_p=1.0, max_new_tokens=self.annotator.max_tokens
            )
            requests = [_generation(s, self._messages(s, in_words=True), self.seed, sampling) for s in in_words]
            for answers in self.engine.generate(requests, done):
                yield [self._read(a) for a in answers]
            self.failures = {**self.failures, **self.engine.failures}

    def _messages(self, showing: Showing, *, in_words: bool = False) -> tuple[Message, ...]:
        shown = render_conversation(showing.messages), showing.first, showing.second
        return self.annotator.render(*shown, in_words=in_words)

    def _read(self, answer: Completion) -> Preference:
        cut = answer.finish_reason == "length" and not self.annotator.by_logprobs
        return _preference(
            answer.prompt_id, self.annotator.verdict.read(answer.text, truncated=cut), answer.text, "words"
        )


def _weighed(found: ChoiceLogprobs, verdict: LogprobVerdict) -> Preference:
    finite = [p if math.isfinite(p) else None for p in found.logprobs]
    raw = json.dumps(dict(zip(verdict.choices, finite, strict=True)))
    return _preference(found.id, verdict.weigh(*found.logprobs), raw, "log-probabilities")


def _preference(name: str, verdict: AlpacaVerdict, raw: str, way: str) -> Preference:
    """AlpacaEval counts from 1 (the first is better) to 2."""
    return Preference(name, None if verdict.preference is None else 2 - verdict.preference, raw, verdict.reason, way)


def _generation(showing: Showing, prompt: tuple[Message, ...], seed: int, sampling: Sampling) -> GenerationRequest:
    return GenerationRequest(
        id=showing.id,
        prompt=prompt,
        seeds=(derive_seed(seed, _STAGE, showing.id, *anew(showing.attempt)),),
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_new_tokens=sampling.max_new_tokens,
        attempt=showing.attempt,
    )


def _bytes(messages: Sequence[Message]) -> int:
    return sum(len(m.content.encode("utf-8", "replace")) for m in messages)
