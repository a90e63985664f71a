"""Rewards: what each candidate is worth: by M_t's own judgments, by what other methods have in their place, or by one
of the controls that tell whether these matter.

Judgments are stored batch by batch like candidates. Equal answers to one prompt are judged once: the answer with the
lowest index is judged, the others get its reward.
"""

from __future__ import annotations

import random
import statistics
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from selfreward_bench.engines.base import REFUSED, TOO_LONG
from selfreward_bench.errors import ConfigError, DataError, UnknownNameError
from selfreward_bench.judges.fencing import clean
from selfreward_bench.judges.pointwise import LOW_MASS, JudgeItem, PointwiseJudge, ids_of, mass_of, split_id
from selfreward_bench.judges.pointwise import rewards as mean_rewards
from selfreward_bench.progress import Reporter
from selfreward_bench.seeding import derive_seed
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.records import Made, Records
from selfreward_bench.types import Completion, Judgment, Prompt, Reward
from trainers.answer_sources import source_of
from trainers.answers import Answers, Marks, Places
from trainers.implicit import length_regularised
from trainers.replies import SETTLED, unanswered
from trainers.verifying import is_right

__all__ = [
    "REWARDS",
    "Oracle",
    "RewardInputs",
    "judge_items",
    "put_in_order",
    "rewarded",
    "write_items",
    "write_judgments",
]

Oracle = Callable[[Prompt, str], float | None]

_REASONS: Final = ("no_verdict", "out_of_range", "conflicting", "truncated", LOW_MASS, TOO_LONG, REFUSED)


@dataclass(frozen=True)
class RewardInputs:
    """What a reward may look at.

    Attributes:
        answers: a prompt's id -> its completions by index.
        judgments: as stored: of the first of equal answers only.
        oracle: injected by who may know it; nothing in this package does.
        given: a prompt's id -> the answer that came with it.
        alpha: of ``implicit``: what is taken off per token.
    """

    prompts: Mapping[str, Prompt]
    answers: Mapping[str, Sequence[Completion]]
    judgments: Sequence[Judgment]
    run_seed: int
    oracle: Oracle | None
    given: Mapping[str, str] = field(default_factory=dict)
    alpha: float = 0.0

    def distinct(self) -> Iterator[Completion]:
        """The first of equal answers, in the order of prompts and indices."""
        return (c for answers in self.answers.values() for c in first_of_equal(answers))


def write_judgments(
    judge: PointwiseJudge,
    prompts: Sequence[Prompt],
    completions: Sequence[Completion],
    *,
    path: Path,
    reporter: Reporter,
) -> dict[str, float]:
    """Judges every distinct answer; what ``path`` holds already is not judged again.

    Returns:
        ``responses``, ``shared`` (equal to an earlier answer, not judged) and the counts of :func:`write_items`.

    Raises:
        DataError: see :func:`write_items`.
    """
    items = judge_items(prompts, completions)
    counts = write_items(judge, items, path=path, reporter=reporter, stage=judge.stage)
    return {"responses": len(completions), "shared": len(completions) - len(items), **counts}


class _Items(Made[JudgeItem]):
    """What is judged of a round's answers, made when it is asked for."""

    def __init__(self, answers: Answers) -> None:
        self._names = [prompt.id for prompt in answers.prompts]
        self._places, self._indices = array("q"), array("q")
        numbers = array("q")
        for place, (_, group) in enumerate(answers):
            number = {c.index: n for c, n in zip(group, answers.numbers(place), strict=True)}
            for completion in first_of_equal(group):
                self._places.append(place)
                self._indices.append(completion.index)
                numbers.append(number[completion.index])

        def item(at: int) -> JudgeItem:
            prompt, completion = answers.prompts[self._places[at]], answers.completions[numbers[at]]
            return JudgeItem(prompt.id, completion.index, prompt.messages, completion.text)

        super().__init__(len(numbers), item)

    def ids(self) -> Iterator[str]:
        """Of all of them, without making any."""
        return (f"{self._names[place]}/{index}" for place, index in zip(self._places, self._indices, strict=True))


def judge_items(prompts: Sequence[Prompt], completions: Sequence[Completion]) -> Sequence[JudgeItem]:
    """What is judged: the first of equal answers, in the order of prompts and indices."""
    return _Items(Answers(prompts, completions))


def write_items(
    judge: PointwiseJudge, items: Sequence[JudgeItem], *, path: Path, reporter: Reporter, stage: str
) -> dict[str, float]:
    """Judges responses into a file, batch by batch.

    Returns:
        Counts over the whole file: ``judged`` (responses), ``judgments``, ``parsed``, ``no_verdict``, ``out_of_range``,
        ``conflicting``, ``truncated``, ``low_mass`` (why the others did not parse), ``too_long`` (the judge
        prompt with the response exceeds the judge's context, so it was not asked), ``refused`` (by a served judge's
        filter), ``tokens``, ``mean_score`` of the
        parsed, and ``mean_mass``, the probability of all grades together, where the mode tells it.

    Raises:
        DataError: the file holds judgments of another judge or of other responses, or every response is too long.
        EngineError: a served judge left some out for a reason that may pass; the others are stored.
    """
    n_each = judge.samples if judge.mode == "sampled" else 1
    reporter.started(stage, len(items) * n_each, "judgments")
    there = Marks(lambda: ids_of(items), n_each)
    _mark(path, there, judge.key)
    reporter.advanced(len(there))

    def keep(judgments: Iterable[Judgment]) -> int:
        new = [_storable(j) for j in judgments if not there.has(f"{j.prompt_id}/{j.index}", j.sample)]
        jsonl.append(path, new)
        for judgment in new:
            there.add(f"{judgment.prompt_id}/{judgment.index}", judgment.sample)
        return len(new)

    done = there.whole()
    keep([])  # the file is there also when there is nothing to judge
    for batch in judge.judge(items, done):
        reporter.advanced(keep(batch))
    failures = judge.engine.failures if len(done) < len(items) else {}
    settled = [name for name in there.missing() if failures.get(name) in SETTLED]
    keep(_without(name, k, judge.key, failures[name]) for name in settled for k in range(n_each))
    if missing := there.missing():
        raise unanswered(judge.engine.name, missing, failures)
    counts = _counts(len(items), jsonl.iterate(path, Judgment, allow_empty=True))
    if counts["judgments"] and counts["judgments"] == counts[TOO_LONG]:
        raise DataError(
            f"The judge prompt {judge.prompt.name!r} with any of the {len(items)} responses exceeds the judging "
            "model's context, so none was judged. Choose a shorter judge.prompt, or lower "
            "judge.sampling.max_new_tokens or candidates.sampling.max_new_tokens, in srbench.yaml. Then go on with "
            f"--from-stage {stage}, or an earlier one."
        )
    return counts


def put_in_order(path: Path, items: Sequence[JudgeItem]) -> None:
    """Orders a finished file by responses: a served judge's answers come in any order, and the file is hashed."""
    places, stored = Places(ids_of(items)), Records(path, Judgment, allow_empty=True)
    keys = [(places.of(f"{j.prompt_id}/{j.index}") or 0, j.sample) for j in stored]
    with jsonl.writing(path) as add:
        for at in sorted(range(len(keys)), key=keys.__getitem__):
            add([stored[at]])


def rewarded(
    kind: str,
    answers: Answers,
    judgments: Sequence[Judgment] = (),
    *,
    run_seed: int = 0,
    oracle: Oracle | None = None,
    given: Mapping[str, str] | None = None,
    alpha: float = 0.0,
) -> Iterator[tuple[Prompt, list[Completion], list[Reward]]]:
    """Each prompt with its answers and a reward for each of these.

    Args:
        kind: a name of ``REWARDS``.
        judgments: needed by ``self``, ``reward-model`` and ``implicit``: one for each answer that is not equal to an
            earlier one.
        oracle: needed by ``oracle``: the true score of a response, None where it cannot tell.
        given, alpha: as in ``RewardInputs``.

    Raises:
        UnknownNameError: no such kind.
        ConfigError: kind ``oracle`` without an oracle.
        DataError: completions and judgments do not belong together.
    """
    if kind not in REWARDS:
        raise UnknownNameError("reward", kind, REWARDS)
    for (prompt, group), judged in zip(answers, answers.judged(judgments), strict=True):
        inputs = RewardInputs({prompt.id: prompt}, {prompt.id: group}, judged, run_seed, oracle, given or {}, alpha)
        worth = {reward.id: reward for reward in REWARDS[kind](inputs)}
        yield prompt, group, list(_shared(group, worth))


def self_reward(inputs: RewardInputs) -> list[Reward]:
    """The mean of M_t's own judgments; None where none parsed."""
    return mean_rewards(inputs.judgments)


def random_reward(inputs: RewardInputs) -> list[Reward]:
    """Control: uniform in 0..5, seeded. Training on it must bring no gain."""
    seeds = ((c, derive_seed(inputs.run_seed, "rewards/random", c.id)) for c in inputs.distinct())
    return [_reward(c, 5 * random.Random(seed).random()) for c, seed in seeds]


def length_reward(inputs: RewardInputs) -> list[Reward]:
    """Control: the answer's length in characters."""
    return [_reward(c, float(len(c.text))) for c in inputs.distinct()]


def oracle_reward(inputs: RewardInputs) -> list[Reward]:
    """Control: the true score, where the injected oracle knows it."""
    if inputs.oracle is None:
        raise ConfigError(
            "rewards: oracle needs a world whose true scores are known, and none was given. It works with the embedded "
            "micro-world (base: micro); take rewards: self otherwise."
        )
    return [_reward(c, inputs.oracle(inputs.prompts[c.prompt_id], c.text)) for c in inputs.distinct()]


def implicit_reward(inputs: RewardInputs) -> list[Reward]:
    """DICE: beta times the log-ratio of M_t to its reference, less alpha per token."""
    return length_regularised(mean_rewards(inputs.judgments), inputs.judgments, inputs.alpha)


def human_reward(inputs: RewardInputs) -> list[Reward]:
    """SPIN: a human's answer is better than any of the model's own."""
    return [_reward(c, float(source_of(c.index) == "human")) for c in inputs.distinct()]


def verifiable_reward(inputs: RewardInputs) -> list[Reward]:
    """Iterative RPO: 1 where an answer comes to what the given one comes to, 0 where not; None without a given one."""
    return [
        _reward(c, float(is_right(c.text, inputs.given[c.prompt_id])) if c.prompt_id in inputs.given else None)
        for c in inputs.distinct()
    ]


#: how a recipe's ``rewards`` is computed; each gives the rewards of the first of equal answers
REWARDS: Final[dict[str, Callable[[RewardInputs], list[Reward]]]] = {
    "self": self_reward,
    "random": random_reward,
    "length": length_reward,
    "oracle": oracle_reward,
    "reward-model": self_reward,  # its numbers stand where judgments do
    "implicit": implicit_reward,
    "human": human_reward,
    "verifiable": verifiable_reward,
}


def first_of_equal(answers: Sequence[Completion]) -> list[Completion]:
    """The answers to one prompt without those that repeat an earlier one."""
    firsts: dict[str, Completion] = {}
    for answer in answers:
        firsts.setdefault(answer.text, answer)
    return list(firsts.values())


def _shared(answers: Sequence[Completion], given: Mapping[str, Reward]) -> Iterator[Reward]:
    """Every answer's reward; a repeated answer gets that of the first, and costs no tokens."""
    firsts = {c.text: c for c in first_of_equal(answers)}
    for answer in answers:
        first = firsts[answer.text]
        if first.id not in given:
            raise DataError(
                f"Response {first.id!r} has no judgment, so it has no reward. The judgments belong to other "
                "completions, or judging was not finished: start over from the stage judgments (--from-stage)."
            )
        reward = given[first.id]
        yield reward if answer is first else reward.model_copy(update={"index": answer.index, "n_tokens": 0})


def _reward(completion: Completion, score: float | None) -> Reward:
    known = int(score is not None)
    return Reward(prompt_id=completion.prompt_id, index=completion.index, score=score, n_parsed=known, n_judgments=1)


def _mark(path: Path, there: Marks, key: str) -> None:
    """Marks what a stage that was cut off left in its file.

    Raises:
        DataError: that is of another judge or of other responses, or is there twice.
    """
    jsonl.repair(path)
    for judgment in jsonl.iterate(path, Judgment, allow_empty=True) if path.exists() else ():
        name = f"{judgment.prompt_id}/{judgment.index}"
        if judgment.judge != key or not there.knows(name, judgment.sample):
            raise DataError(
                f"{path}: judgment {judgment.id!r} of judge {judgment.judge} is not one that {key} is asked for here. "
                "The file belongs to another judge or other responses; start over from this stage (--from-stage)."
            )
        if there.has(name, judgment.sample):
            jsonl.read(path, Judgment, unique=lambda j: j.id)  # names both lines
        there.add(name, judgment.sample)


def _without(name: str, sample: int, key: str, reason: str) -> Judgment:
    prompt_id, index = split_id(name)
    return Judgment(prompt_id=prompt_id, index=index, sample=sample, judge=key, score=None, raw="", reason=reason)


def _storable(judgment: Judgment) -> Judgment:
    raw = clean(judgment.raw)
    return judgment if raw == judgment.raw else judgment.model_copy(update={"raw": raw})


def _counts(n_items: int, judgments: Iterable[Judgment]) -> dict[str, float]:
    scores, masses, reasons = array("d"), array("d"), Counter[str | None]()
    n_judgments = n_tokens = 0
    for judgment in judgments:
        n_judgments, n_tokens = n_judgments + 1, n_tokens + judgment.n_tokens
        if judgment.score is None:
            reasons[judgment.reason] += 1
        else:
            scores.append(judgment.score)
        if (mass := mass_of(judgment)) is not None:
            masses.append(mass)
    return {
        "judged": n_items,
        "judgments": n_judgments,
        "parsed": len(scores),
        **{reason: reasons[reason] for reason in _REASONS},
        "tokens": n_tokens,
        **({"mean_score": statistics.fmean(scores)} if scores else {}),
        **({"mean_mass": statistics.fmean(masses)} if masses else {}),
    }
