"""Rewards: what each candidate is worth. M_t's own judgments, or one of the controls that tell whether these matter.

Judgments are stored batch by batch like candidates. Equal answers to one prompt are judged once: the answer with the
lowest index is judged, the others get its reward.
"""

from __future__ import annotations

import random
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from selfreward_bench.engines.base import REFUSED, TOO_LONG
from selfreward_bench.errors import ConfigError, DataError, UnknownNameError
from selfreward_bench.judges.fencing import clean
from selfreward_bench.judges.pointwise import LOW_MASS, JudgeItem, PointwiseJudge, mass_of
from selfreward_bench.judges.pointwise import rewards as mean_rewards
from selfreward_bench.progress import Reporter
from selfreward_bench.seeding import derive_seed
from selfreward_bench.storage import jsonl
from selfreward_bench.types import Completion, Judgment, Prompt, Reward
from trainers.candidates import by_prompt
from trainers.replies import SETTLED, unanswered

__all__ = [
    "REWARDS",
    "Oracle",
    "RewardInputs",
    "judge_items",
    "put_in_order",
    "rewards_for",
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
    """

    prompts: Mapping[str, Prompt]
    answers: Mapping[str, Sequence[Completion]]
    judgments: Sequence[Judgment]
    run_seed: int
    oracle: Oracle | None

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


def judge_items(prompts: Sequence[Prompt], completions: Iterable[Completion]) -> list[JudgeItem]:
    """What is judged: the first of equal answers, in the order of prompts and indices."""
    answers = by_prompt(prompts, completions)
    return [JudgeItem(p.id, c.index, p.messages, c.text) for p in prompts for c in first_of_equal(answers[p.id])]


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
    stored = {j.id: j for j in jsonl.resume(path, Judgment, unique=lambda j: j.id)}
    _refuse_others(path, stored.values(), items, judge.key)
    reporter.advanced(len(stored))
    done = {item.id for item in items if all(f"{item.id}/{k}" in stored for k in range(n_each))}
    jsonl.append(path, [])  # the file is there also when there is nothing to judge
    for batch in judge.judge(items, done):
        new = [_storable(j) for j in batch if j.id not in stored]
        jsonl.append(path, new)
        stored.update((j.id, j) for j in new)
        reporter.advanced(len(new))
    failures = judge.engine.failures if len(done) < len(items) else {}
    settled = [(i, failures[i.id]) for i in items if i.id not in done and failures.get(i.id) in SETTLED]
    without = [_without(i, k, judge.key, why) for i, why in settled for k in range(n_each)]
    lost = [j for j in without if j.id not in stored]
    jsonl.append(path, lost)
    stored.update((j.id, j) for j in lost)
    if missing := [i.id for i in items if any(f"{i.id}/{k}" not in stored for k in range(n_each))]:
        raise unanswered(judge.engine.name, missing, failures)
    counts = _counts(len(items), list(stored.values()))
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
    places = {item.id: number for number, item in enumerate(items)}
    stored = jsonl.read(path, Judgment, allow_empty=True)
    ordered = sorted(stored, key=lambda j: (places[f"{j.prompt_id}/{j.index}"], j.sample))
    jsonl.write(path, ordered)


def rewards_for(
    kind: str,
    *,
    prompts: Sequence[Prompt],
    completions: Sequence[Completion],
    judgments: Sequence[Judgment] = (),
    run_seed: int = 0,
    oracle: Oracle | None = None,
) -> list[Reward]:
    """One reward per completion, in the order of prompts and indices.

    Args:
        kind: a name of ``REWARDS``.
        judgments: needed by ``self``.
        oracle: needed by ``oracle``: the true score of a response, None where it cannot tell.

    Raises:
        UnknownNameError: no such kind.
        ConfigError: kind ``oracle`` without an oracle.
        DataError: completions and judgments do not belong together.
    """
    if kind not in REWARDS:
        raise UnknownNameError("reward", kind, REWARDS)
    answers = by_prompt(prompts, completions)
    inputs = RewardInputs({p.id: p for p in prompts}, answers, judgments, run_seed, oracle)
    given = {reward.id: reward for reward in REWARDS[kind](inputs)}
    return [reward for group in answers.values() for reward in _shared(group, given)]


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


#: how a recipe's ``rewards`` is computed; each gives the rewards of the first of equal answers
REWARDS: Final[dict[str, Callable[[RewardInputs], list[Reward]]]] = {
    "self": self_reward,
    "random": random_reward,
    "length": length_reward,
    "oracle": oracle_reward,
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


def _refuse_others(path: Path, stored: Iterable[Judgment], items: Sequence[JudgeItem], key: str) -> None:
    known = {item.id for item in items}
    for judgment in stored:
        if judgment.judge != key or f"{judgment.prompt_id}/{judgment.index}" not in known:
            raise DataError(
                f"{path}: judgment {judgment.id!r} of judge {judgment.judge} is not one that {key} is asked for here. "
                "The file belongs to another judge or other responses; start over from this stage (--from-stage)."
            )


def _without(item: JudgeItem, sample: int, key: str, reason: str) -> Judgment:
    return Judgment(
        prompt_id=item.prompt_id, index=item.index, sample=sample, judge=key, score=None, raw="", reason=reason
    )


def _storable(judgment: Judgment) -> Judgment:
    raw = clean(judgment.raw)
    return judgment if raw == judgment.raw else judgment.model_copy(update={"raw": raw})


def _counts(n_items: int, judgments: Sequence[Judgment]) -> dict[str, float]:
    scores = [j.score for j in judgments if j.score is not None]
    reasons = Counter(j.reason for j in judgments if j.score is None)
    masses = [mass for j in judgments if (mass := mass_of(j)) is not None]
    return {
        "judged": n_items,
        "judgments": len(judgments),
        "parsed": len(scores),
        **{reason: reasons[reason] for reason in _REASONS},
        "tokens": sum(j.n_tokens for j in judgments),
        **({"mean_score": statistics.fmean(scores)} if scores else {}),
        **({"mean_mass": statistics.fmean(masses)} if masses else {}),
    }
