"""Warnings: the thresholds as they are stated, which readings cross one, and what growth is measured against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from leaderboards import chain
from leaderboards.descriptions import title
from leaderboards.health.measures import MEASURES
from leaderboards.health.records import Reading, Warned
from leaderboards.metrics import MICRO
from selfreward_bench.types import Record

__all__ = ["THRESHOLDS", "Growth", "Threshold", "other_prompts", "warnings"]


class Threshold(Record):
    """When a measure is a reason to look closer. A convention, not a test.

    Attributes:
        rule: ``above``, ``below`` a limit; ``magnitude``: without its sign, above it; ``times_first``: more than so
            many times that of the first checkpoint (M1 in a run); ``rise``: so much above that; ``above_if_longer``:
            above the limit, where the judged answers are longer than the first checkpoint's and a judge may like that.
        why: what it may mean.
    """

    measures: tuple[str, ...]
    rule: Literal["above", "below", "magnitude", "times_first", "rise", "above_if_longer"]
    limit: float
    why: str


#: what is a reason to look closer; the sources are in docs/health.md
THRESHOLDS: Final = (
    Threshold(
        measures=("trained_on",),
        rule="above",
        limit=0.0,
        why="What was trained on cannot be measured on: the number says how much of it is remembered. Hold the "
        "benchmark's prompts out (seeds.exclude), or measure on other data.",
    ),
    Threshold(
        measures=("chars", "judged_chars"),
        rule="times_first",
        limit=1.5,
        why="Judges like length: answers that grow can win without being better (the paper's M3 writes 2.3 times as "
        "much as M1). Read the length-controlled win rate.",
    ),
    Threshold(
        measures=("top_share", "own_top_share", "reward_top_share"),
        rule="above",
        limit=0.6,
        why="A judge that gives most answers the top grade can no longer tell them apart, and its pairs carry little "
        "signal (Meta-Rewarding saw mean scores climb from 4.1 to above 4.7).",
    ),
    Threshold(
        measures=("truncation", "candidate_truncation"),
        rule="above",
        limit=0.05,
        why="Cut answers are judged unfairly and are in no pair: raise the number of new tokens, or find out why the "
        "model does not stop.",
    ),
    Threshold(
        measures=("parse_failures", "judge_failures"),
        rule="above",
        limit=0.05,
        why="Lost judgments are not lost at random: what remains may be the easy part.",
    ),
    Threshold(
        measures=("judge_mass",),
        rule="below",
        limit=0.5,
        why="The judge would mostly have written something else than a grade: its expected scores are read from what "
        "is left, and pairs made of them may be noise. More EFT data, another judge prompt, or judge.mode: sampled.",
    ),
    Threshold(
        measures=("pairs_per_prompt",),
        rule="below",
        limit=0.3,
        why="Most prompts teach nothing: the judge ties, or the candidates are all alike (the gap between chosen and "
        "rejected shrinks from round to round, Temporal Self-Rewarding).",
    ),
    Threshold(
        measures=("verdict_answers",),
        rule="above",
        limit=0.05,
        why="The model answers a question as if it were asked to judge: what it was trained to write as a judge shows "
        "up in its answers, and moves the benchmark whose answers they are.",
    ),
    Threshold(
        measures=("quotes_judge",),
        rule="above",
        limit=0.05,
        why="The answers speak to the judge and not to the user: one fixed text that imitates the judge's prompt was "
        "first on AlpacaEval's leaderboard (NullModel). Read some of them before you believe the win rate.",
    ),
    Threshold(
        measures=("pairs_right", "pairs_right_widest"),
        rule="below",
        limit=0.5,
        why="Most pairs teach nothing true: the judge prefers what is no better.",
    ),
    Threshold(
        measures=("reward_length", "length_correlation"),
        rule="magnitude",
        limit=0.5,
        why="The reward is largely length: training on it makes answers longer (or shorter), not better.",
    ),
    Threshold(
        measures=("repetition", "candidate_repetition"),
        rule="above",
        limit=0.05,
        why="Loops are how a model under preference training falls apart first.",
    ),
    Threshold(
        measures=("self_bleu",),
        rule="rise",
        limit=0.1,
        why="Answers to different prompts become alike: diversity is lost, and with it what later rounds could learn.",
    ),
    Threshold(
        measures=("consistency", "evaluator_consistency"),
        rule="below",
        limit=0.7,
        why="The verdict depends on who is shown first. Position bias grows with iterations (44 to 68 %, "
        "Meta-Rewarding): read both orders.",
    ),
    Threshold(
        measures=("raw_minus_lc",),
        rule="above_if_longer",
        limit=1.0,
        why="Part of the win rate is owed to longer answers. More than one point, so that a fit's last digits are no "
        "finding.",
    ),
)


_OF_BENCHMARKS: Final = ("trained_on", "judged_chars", "verdict_answers", "quotes_judge", "evaluator_consistency")


@dataclass(frozen=True)
class Growth:
    """What growth is measured against: the first of the checkpoints, where another one answered the same prompts.

    Attributes:
        first: M1 of a run; outside one, the first the user gave.
        later: what is held against it, in the order of the checkpoints.
        prompts: source -> checkpoint -> what tells its prompts from others.
    """

    first: str
    later: tuple[str, ...]
    prompts: Mapping[str, Mapping[str, object]]

    @classmethod
    def of(cls, names: Sequence[str], prompts: Mapping[str, Mapping[str, object]]) -> Growth:
        """That of checkpoints in their order."""
        first = chain.anchor(names) or ""
        trained = chain.iterations(names)
        behind = names[names.index(first) + 1 :] if first else ()
        return cls(first, tuple(n for n in behind if not trained or n in trained), prompts)

    def holds(self, reading: Reading) -> bool:
        """Whether a checkpoint's reading can be held against the first one's."""
        seen = self.prompts.get(reading.source, {})
        return reading.model in self.later and self.first in seen and seen.get(reading.model) == seen[self.first]


def other_prompts(growth: Growth, source: str) -> Iterator[str]:
    """Which checkpoints answered other prompts than the first, as a note."""
    seen = growth.prompts.get(source, {})
    others = [name for name in seen if growth.first in seen and seen[name] != seen[growth.first]]
    if others:
        first = growth.first
        yield f"{', '.join(others)} answered other prompts than {first}: their texts are not held against {first}'s."


def warnings(readings: Sequence[Reading], growth: Growth) -> Iterator[Warned]:
    """What crosses a threshold, measure by measure in the table's order, models in their own; M0 was not trained."""
    first = {(r.measure, r.source): r for r in readings if r.model == growth.first}
    lengths = {(r.model, r.source): r.value for r in readings if r.measure == "judged_chars"}
    counted = {(r.model, r.source) for r in readings if r.measure == "chars"}
    for threshold in THRESHOLDS:
        for reading in readings:
            if reading.measure not in threshold.measures or reading.model == chain.BASE:
                continue
            if threshold.rule in ("times_first", "rise") and not growth.holds(reading):
                continue
            if reading.measure == "judged_chars" and (reading.model, reading.source) in counted:
                continue  # the same answers' length, warned of once
            if threshold.rule == "above_if_longer" and not _longer(reading, growth.first, lengths):
                continue
            baseline = first.get((reading.measure, reading.source))
            tested = _tested(threshold, reading, baseline)
            if tested is not None and _crossed(threshold, tested):
                yield _warned(threshold, reading, tested, baseline, growth.first)


def _longer(reading: Reading, first: str, lengths: Mapping[tuple[str, str], float | None]) -> bool:
    """Whether longer answers may have won for being longer; the micro-world's exact grader does not look at length."""
    if title(reading.source).endswith(MICRO):
        return False
    now, before = lengths.get((reading.model, reading.source)), lengths.get((first, reading.source))
    return now is not None and before is not None and now > before


def _tested(threshold: Threshold, reading: Reading, baseline: Reading | None) -> float | None:
    """What is held against the limit."""
    value, before = reading.value, baseline.value if baseline else None
    if value is None:
        return None
    if threshold.rule == "times_first":
        return value / before if before else None
    if threshold.rule == "rise":
        return None if before is None else value - before
    return abs(value) if threshold.rule == "magnitude" else value


def _crossed(threshold: Threshold, tested: float) -> bool:
    return tested < threshold.limit if threshold.rule == "below" else tested > threshold.limit


def _warned(threshold: Threshold, reading: Reading, tested: float, baseline: Reading | None, first: str) -> Warned:
    info = MEASURES[reading.measure]
    now, limit = _shown(reading.value, info.unit), _shown(threshold.limit, info.unit)
    before = _shown(baseline.value, info.unit) if baseline else ""
    text = {
        "times_first": f"{now} after {before} of {first}, {tested:.4g} times as much (limit {threshold.limit:g} times)",
        "rise": f"{now} after {before} of {first} (limit {limit.replace('%', 'points')} more)",
        "below": f"{now} (limit: no less than {limit})",
        "above_if_longer": f"{now}, with answers longer than {first}'s (limit {limit})",
    }.get(threshold.rule, f"{now} (limit {limit}" + (" either way)" if threshold.rule == "magnitude" else ")"))
    return Warned(
        measure=reading.measure,
        model=reading.model,
        source=reading.source,
        value=tested,
        limit=threshold.limit,
        text=f"{reading.model}: {info.label.removeprefix('… ')}{_where(reading)} {text}.",
        why=threshold.why,
    )


def _where(reading: Reading) -> str:
    """The benchmark, where several may have such a reading of one model."""
    return f" ({title(reading.source).removesuffix(MICRO)})" if reading.measure in _OF_BENCHMARKS else ""


def _shown(value: float | None, unit: str) -> str:
    if value is None:
        return "unknown"
    if unit == "share":
        return f"{100 * value:.3g} %"
    if unit == "characters":
        return f"{value:,.1f} characters"
    return f"{value:.3g}" + ((" point" if value == 1 else " points") if unit == "percent" else "")
