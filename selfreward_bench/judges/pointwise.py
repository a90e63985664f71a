"""The LLM-as-a-Judge that grades one response: k sampled judgments, or the expected grade, with or without reasons.

The same code rewards candidates during training and is measured against human ranks. A judgment that cannot be read is
kept with its reason; it is never asked for again until it parses, and never becomes a number.
"""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from selfreward_bench.config import JudgeConfig, JudgeMode, Sampling
from selfreward_bench.engines.base import ChoiceLogprobs, ChoiceRequest, Engine, GenerationRequest
from selfreward_bench.errors import ConfigError, DataError
from selfreward_bench.judges.prompts import JudgePrompt, load_judge_prompt
from selfreward_bench.seeding import derive_seed
from selfreward_bench.storage.records import Made
from selfreward_bench.types import Completion, Judgment, Message, Reward

__all__ = [
    "LOW_MASS",
    "JudgeItem",
    "PointwiseJudge",
    "expected",
    "ids_of",
    "mass_of",
    "refuse_duplicates",
    "rewards",
    "sampling_key",
]

_SAMPLING = JudgeConfig().sampling
_MIN_MASS = JudgeConfig().min_mass
LOW_MASS: Final = "low_mass"
PART = 2048  # responses that are judged with reasons at a time


@dataclass(frozen=True, slots=True)
class JudgeItem:
    """One response to be graded. ``index`` tells the responses to one prompt apart (``Completion.index``)."""

    prompt_id: str
    index: int
    messages: tuple[Message, ...]
    response: str

    @property
    def id(self) -> str:
        """``prompt_id/index``: the id of the engine's request, and what ``done`` holds."""
        return f"{self.prompt_id}/{self.index}"


@dataclass(frozen=True)
class PointwiseJudge:
    """Grades responses with any engine, also the checkpoint being trained.

    Attributes:
        mode: ``sampled``: ``samples`` judgments per response, forked from one prefill. ``expected``: the mean of the
            grades, weighted by their probabilities after ``prompt.assistant_prefix``; one judgment per response, one
            forward pass. ``reasoned``: the model writes its justification first (greedy), as in the paper; the grade
            after it is the expected one.
        run_seed, stage: with the item's id and the sample's number they make the seed of each sample.
        checkpoint: name of the judging model, part of :attr:`key`.
        min_mass: modes ``expected`` and ``reasoned``: where all grades together have less probability than this, the
            model would not have written a grade there, and the judgment has none (``low_mass``).

    Raises:
        ConfigError: a pairwise prompt, or mode ``expected`` or ``reasoned`` with a prompt that cannot do it.
    """

    engine: Engine
    prompt: JudgePrompt
    mode: JudgeMode = "sampled"
    samples: int = 3
    sampling: Sampling = _SAMPLING
    run_seed: int = 0
    stage: str = "judgments"
    checkpoint: str = "model"
    min_mass: float = _MIN_MASS

    def __post_init__(self) -> None:
        if self.prompt.kind != "pointwise":
            raise ConfigError(
                f"Judge prompt {self.prompt.name!r} compares two responses; grading one needs kind: pointwise "
                "(for example additive-5pt)."
            )
        if self.mode != "sampled":
            self.prompt.choices()

    @classmethod
    def from_config(
        cls, engine: Engine, config: JudgeConfig, *, run_seed: int, stage: str, checkpoint: str
    ) -> PointwiseJudge:
        """The judge a recipe's section ``judge`` describes."""
        prompt = load_judge_prompt(config.prompt)
        return cls(
            engine, prompt, config.mode, config.samples, config.sampling, run_seed, stage, checkpoint, config.min_mass
        )

    @property
    def key(self) -> str:
        """``prompt@version#hash/mode/checkpoint``; numbers of unlike keys are not comparable."""
        how = {
            "sampled": f"sampled-k{self.samples}-{sampling_key(self.sampling)}",
            "expected": "expected",
            "reasoned": f"reasoned-n{self.sampling.max_new_tokens}",
        }
        bound = "" if self.mode == "sampled" or self.min_mass == _MIN_MASS else f"-m{self.min_mass:g}"
        return f"{self.prompt.key}/{how[self.mode]}{bound}/{self.checkpoint}"

    def judge(self, items: Sequence[JudgeItem], done: Collection[str] = ()) -> Iterator[list[Judgment]]:
        """Yields the judgments of one finished engine batch at a time, in the engine's order.

        Args:
            items: ALL items of the stage, also those done, so that batches do not depend on what is done.
            done: ids (``prompt_id/index``) of items whose judgments are stored; they are not given again.

        Raises:
            DataError: two items have the same id.
        """
        refuse_duplicates(lambda: ids_of(items))
        done = frozenset(done)
        kinds = {"sampled": self._sampled, "expected": self._expected, "reasoned": self._reasoned}
        return kinds[self.mode](items, done)

    def _sampled(self, items: Sequence[JudgeItem], done: frozenset[str]) -> Iterator[list[Judgment]]:
        requests = Made(len(items), lambda at: self._sampled_request(items[at]))
        for batch in self.engine.generate(requests, done):
            yield [self._read(answer) for answer in batch if answer.prompt_id not in done]

    def _sampled_request(self, item: JudgeItem) -> GenerationRequest:
        return GenerationRequest(
            id=item.id,
            prompt=self.prompt.render(item.messages, response=item.response),
            seeds=tuple(derive_seed(self.run_seed, self.stage, item.id, k) for k in range(self.samples)),
            n=self.samples,
            temperature=self.sampling.temperature,
            top_p=self.sampling.top_p,
            max_new_tokens=self.sampling.max_new_tokens,
        )

    def _read(self, answer: Completion) -> Judgment:
        verdict = self.prompt.read(answer.text, truncated=answer.finish_reason == "length")
        prompt_id, index = split_id(answer.prompt_id)
        return Judgment(
            prompt_id=prompt_id,
            index=index,
            sample=answer.index,
            judge=self.key,
            score=verdict.score,
            raw=answer.text,
            reason=verdict.reason,
            n_tokens=answer.n_tokens,
        )

    def _expected(self, items: Sequence[JudgeItem], done: frozenset[str]) -> Iterator[list[Judgment]]:
        requests = Made(len(items), lambda at: self._choice(items[at]))
        for batch in self.engine.choice_logprobs(requests, done):
            yield [self._expectation(answer) for answer in batch if answer.id not in done]

    def _reasoned(self, items: Sequence[JudgeItem], done: frozenset[str]) -> Iterator[list[Judgment]]:
        """Part by part; one that is not all done is made anew whole, so that its sums are those of the first time."""
        for part in (items[i : i + PART] for i in range(0, len(items), PART)):
            if any(item.id not in done for item in part):
                yield from self._reasoned_part({item.id: item for item in part}, done)

    def _reasoned_part(self, by_id: dict[str, JudgeItem], done: frozenset[str]) -> Iterator[list[Judgment]]:
        _, prefix = self.prompt.choices()
        asked = [
            GenerationRequest(
                id=item.id,
                prompt=self.prompt.render(item.messages, response=item.response),
                temperature=0.0,
                max_new_tokens=self.sampling.max_new_tokens,
                stop=(prefix,),
            )
            for item in by_id.values()
        ]
        written = {c.prompt_id: c for batch in self.engine.generate(asked) for c in batch}
        requests = [self._choice(by_id[i], _reasons(c)) for i, c in written.items() if c.finish_reason == "stop"]
        cut = [self._cut(c) for i, c in written.items() if c.finish_reason != "stop" and i not in done]
        if cut:
            yield cut
        for batch in self.engine.choice_logprobs(requests, done):
            yield [self._expectation(answer, written[answer.id]) for answer in batch if answer.id not in done]

    def _choice(self, item: JudgeItem, before: str = "") -> ChoiceRequest:
        grades, prefix = self.prompt.choices()
        gap = "" if prefix[-1].isspace() else " "
        return ChoiceRequest(
            id=item.id,
            prompt=self.prompt.render(item.messages, response=item.response),
            choices=tuple(gap + grade for grade in grades),
            assistant_prefix=before + prefix,
        )

    def _cut(self, answer: Completion) -> Judgment:
        """A justification that came to no end has no grade."""
        prompt_id, index = split_id(answer.prompt_id)
        return Judgment(
            prompt_id=prompt_id,
            index=index,
            judge=self.key,
            score=None,
            raw=json.dumps({"justification": answer.text}),
            reason="truncated",
            n_tokens=answer.n_tokens,
        )

    def _expectation(self, answer: ChoiceLogprobs, written: Completion | None = None) -> Judgment:
        """What the grades' probabilities come to; ``raw`` begins with a justification, where the judge wrote one."""
        grades, _ = self.prompt.choices()
        score, reason, raw = expected(answer.logprobs, tuple(grades.values()), self.min_mass)
        if written is not None:
            raw = {"justification": written.text, **raw}
        prompt_id, index = split_id(answer.id)
        return Judgment(
            prompt_id=prompt_id,
            index=index,
            judge=self.key,
            score=score,
            raw=json.dumps(raw),
            reason=reason,
            n_tokens=written.n_tokens if written else 0,
        )


def expected(
    logprobs: Sequence[float], grades: Sequence[float], min_mass: float
) -> tuple[float | None, str | None, dict[str, object]]:
    """The mean of the grades, weighted by their probabilities; why there is none; and what a judgment keeps.

    That is ``{"probs": {grade: probability}, "mass": their sum before renormalising}``, 6 digits each. There is no
    grade where all together have less probability than ``min_mass`` (``low_mass``), or where a number is none.
    """
    probs = _probabilities(logprobs)
    if not probs:
        return None, "no_verdict", {"logprobs": [repr(value) for value in logprobs]}
    mass = sum(math.exp(min(value, 0.0)) for value in logprobs)
    by_grade = {f"{grade:.10g}": _round(p) for p, grade in zip(probs, grades, strict=True)}
    raw: dict[str, object] = {"probs": by_grade, "mass": _round(mass)}
    if mass < min_mass:
        return None, LOW_MASS, raw
    return sum(p * grade for p, grade in zip(probs, grades, strict=True)), None, raw


def _reasons(written: Completion) -> str:
    """The justification as it stands before the grade, on lines of its own."""
    text = written.text.rstrip()
    return f"{text}\n" if text else ""


def mass_of(judgment: Judgment) -> float | None:
    """How much probability all grades together had (modes ``expected`` and ``reasoned``); None where nothing says."""
    if not _is_expected(judgment):
        return None
    try:
        found = json.loads(judgment.raw)["mass"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return float(found) if isinstance(found, int | float) and 0 <= found < math.inf else None


def refuse_duplicates(ids: Callable[[], Iterable[str]]) -> None:
    """Raises DataError when an id comes twice; ``ids`` gives them whenever it is called."""
    import numpy as np

    hashes = np.fromiter(map(hash, ids()), np.int64)
    if np.unique(hashes).size < hashes.size:
        name, times = Counter(ids()).most_common(1)[0]
        if times > 1:
            raise DataError(f"{name!r} is to be judged twice; prompt id and number of the response must be unique.")


def ids_of(items: Sequence[JudgeItem]) -> Iterable[str]:
    """The ids of items, in their order; items that are made when they are asked for may know them without."""
    known = getattr(items, "ids", None)
    return known() if known else (item.id for item in items)


def split_id(name: str) -> tuple[str, int]:
    """Prompt and index of an item's id.

    >>> split_id("M2-p0001/3")
    ('M2-p0001', 3)
    """
    prompt_id, _, index = name.rpartition("/")
    return prompt_id, int(index)


def sampling_key(sampling: Sampling) -> str:
    """How judgments are sampled, as part of a judge key: ``T0.7-p0.9-n256``."""
    return f"T{sampling.temperature:g}-p{sampling.top_p:g}-n{sampling.max_new_tokens}"


def rewards(judgments: Iterable[Judgment]) -> list[Reward]:
    """What the judgments of each response come to, in the order the responses first appear.

    The score is the mean of the PARSED judgments. The spread is their standard deviation (of a sample: n - 1; None for
    fewer than two), in mode ``expected`` the standard deviation of the distribution over grades.

    Example: judgments 4, 5 and one unparsed of response p/0 give
    ``Reward(prompt_id="p", index=0, score=4.5, spread=0.707.., n_parsed=2, n_judgments=3)``.

    Raises:
        DataError: a judgment is there twice, or a response has judgments of unlike judges.
    """
    groups: dict[tuple[str, int], list[Judgment]] = {}
    for judgment in judgments:
        groups.setdefault((judgment.prompt_id, judgment.index), []).append(judgment)
    return [_reward(group) for group in groups.values()]


def _reward(group: Sequence[Judgment]) -> Reward:
    first = group[0]
    if len({judgment.id for judgment in group}) < len(group):
        raise DataError(f"Response {first.prompt_id}/{first.index} has a judgment twice; its file was written twice.")
    if len({judgment.judge for judgment in group}) > 1:
        keys = ", ".join(sorted({judgment.judge for judgment in group}))
        raise DataError(f"Response {first.prompt_id}/{first.index} has judgments of unlike judges ({keys}).")
    scores = [judgment.score for judgment in group if judgment.score is not None]
    if scores and _is_expected(first):
        spread: float | None = _distribution_spread(first.raw)
    else:
        spread = statistics.stdev(scores) if len(scores) > 1 else None
    return Reward(
        prompt_id=first.prompt_id,
        index=first.index,
        score=statistics.fmean(scores) if scores else None,
        spread=spread,
        n_parsed=len(scores),
        n_judgments=len(group),
        n_tokens=sum(judgment.n_tokens for judgment in group),
    )


def _probabilities(logprobs: Sequence[float]) -> list[float]:
    """Renormalised probabilities (also where all are tiny); empty when the log-probabilities are not usable."""
    top = max(logprobs)
    if not math.isfinite(top) or any(map(math.isnan, logprobs)):
        return []
    relative = [math.exp(value - top) for value in logprobs]
    return [value / sum(relative) for value in relative]


def _round(value: float) -> float:
    return float(f"{value:.6g}")


def _is_expected(judgment: Judgment) -> bool:
    return judgment.judge.partition("/")[2].startswith(("expected", "reasoned"))


def _distribution_spread(raw: str) -> float:
    probs = {float(grade): p for grade, p in json.loads(raw)["probs"].items()}
    mean = sum(grade * p for grade, p in probs.items()) / sum(probs.values())
    return math.sqrt(sum(p * (grade - mean) ** 2 for grade, p in probs.items()) / sum(probs.values()))
