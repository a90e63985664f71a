"""What is watched besides quality, as records: measures, stated thresholds, warnings. Nothing is computed here.

    runs/NAME/health.json    Health, written after an evaluation by ``leaderboards.health.run``

A measure belongs to a checkpoint (its answers, its judgments in an evaluation) or to the iteration that made one (the
parent's answers and judgments it was trained on). Reports read this module; it needs neither numpy nor torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError

from leaderboards.metrics import MetricInfo
from selfreward_bench.errors import DataError
from selfreward_bench.storage.files import os_errors
from selfreward_bench.types import Record

__all__ = [
    "HEALTH",
    "MEASURES",
    "THRESHOLDS",
    "Health",
    "IterationHealth",
    "Measure",
    "Quantiles",
    "Reading",
    "Threshold",
    "Warned",
    "read_health",
]

HEALTH: Final = "health.json"

#: a larger one is no count, and no double holds it
Count = Annotated[int, Field(ge=0, le=10**15)]

_MAX_BYTES: Final = 8 * 2**20  # a larger file is none of ours


class Measure(MetricInfo):
    """How a measure is shown, and whom it is of.

    Attributes:
        of: ``checkpoint``: of a model's own answers or judgments; ``iteration``: of what a model was trained on.
        meaning: one sentence for the reader.
    """

    of: Literal["checkpoint", "iteration"] = "checkpoint"
    meaning: str = ""


class Reading(Record):
    """One measure of one model.

    Attributes:
        model: the checkpoint, or the one that was trained on what is measured.
        source: the benchmark or the run's file it was read from.
        n, n_total: what it rests on, of how many.
        reason: why there is no value.
    """

    measure: str
    model: str
    source: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: Count
    n_total: Count
    reason: str | None = None


class Quantiles(Record):
    """Mean and deciles of ``n`` numbers."""

    n: Count
    mean: float
    p10: float
    p50: float
    p90: float


class IterationHealth(Record):
    """What one model was trained on: its parent's answers to new prompts, and its parent's judgments of them.

    What was lost on the way is counted in the stages' own markers.

    Attributes:
        parent: who answered and judged.
        judge: key of the judge as its judgments have it; empty for control rewards.
        rewards: ``self``, ``rlaif`` where another model judged, or the reward or control that took its place.
        grades: grade -> judgments nearest to it (for controls: rewards); empty where they are on no judge's scale.
        failures: why judgments gave no score -> how many.
        margin: reward of the chosen minus that of the rejected answer.
        chosen_chars, rejected_chars: length in characters.
    """

    model: str
    parent: str
    judge: str = ""
    rewards: str = "self"
    grades: dict[str, Count] = Field(default_factory=dict)
    failures: dict[str, Count] = Field(default_factory=dict)
    n_judgments: Count = 0
    margin: Quantiles | None = None
    chosen_chars: Quantiles | None = None
    rejected_chars: Quantiles | None = None


class Threshold(Record):
    """When a measure is a reason to look closer. A convention, not a test.

    Attributes:
        rule: ``above``, ``below`` a limit; ``magnitude``: without its sign, above it; ``times_first``: more than so
            many times that of the first checkpoint (M1 in a run); ``rise``: so much above that; ``above_if_longer``:
            above the limit, where the judged answers are longer than the first checkpoint's.
        why: what it may mean.
    """

    measures: tuple[str, ...]
    rule: Literal["above", "below", "magnitude", "times_first", "rise", "above_if_longer"]
    limit: float
    why: str


class Warned(Record):
    """A threshold that is crossed.

    Attributes:
        value: what was held against ``limit``; of ``times_first`` the ratio, of ``rise`` the difference.
        text: what was found, in words; ``why``: what it may mean.
    """

    measure: str
    model: str
    source: str
    value: float
    limit: float
    text: str
    why: str


class Health(Record):
    """What is watched of a run.

    Attributes:
        fingerprints: checkpoint -> fingerprint of the weights whose answers were measured; a report knows from it
            whether the file is older than the results beside it.
        answers_from: the benchmark whose answers were measured, the same for all checkpoints.
        notes: what could not be measured, and why.
    """

    format: Literal[1] = 1
    fingerprints: dict[str, str] = Field(default_factory=dict)
    answers_from: str = ""
    readings: tuple[Reading, ...] = ()
    iterations: tuple[IterationHealth, ...] = ()
    warnings: tuple[Warned, ...] = ()
    notes: tuple[str, ...] = ()

    def of(self, measure: str, model: str) -> tuple[Reading, ...]:
        """The readings of a measure of a model, one per source."""
        return tuple(r for r in self.readings if (r.measure, r.model) == (measure, model))


def read_health(run_path: Path) -> Health | None:
    """A run's ``health.json``; None where there is none.

    Raises:
        DataError: it cannot be read, or is no such record.
    """
    path = run_path / HEALTH
    if not path.is_file():
        return None
    with os_errors(path, "read"), path.open("rb") as stream:
        content = stream.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise DataError(f"{path} is larger than {_MAX_BYTES:,} bytes; it is no file of srbench's. Remove it.")
    try:
        return Health.model_validate(json.loads(content))
    except (ValidationError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path} is damaged or from another version of srbench. Evaluate again (`srbench eval`) to replace it."
        ) from error


def _answers(label: str, unit: Literal["share", "characters"], better: Literal[-1, 0, 1], meaning: str) -> Measure:
    return Measure(label=label, unit=unit, better=better, meaning=meaning)


def _judging(label: str, unit: Literal["share", "correlation", "points"], meaning: str) -> Measure:
    return Measure(label=label, unit=unit, better=0, meaning=meaning)


def _trained(
    label: str, unit: Literal["share", "correlation", "points", "characters"], better: Literal[-1, 0, 1], meaning: str
) -> Measure:
    return Measure(label=label, unit=unit, better=better, of="iteration", meaning=meaning)


#: every measure, in the order of the tables
MEASURES: Final[Mapping[str, Measure]] = {
    "chars": _answers("Answer length", "characters", 0, "Mean number of characters of an answer."),
    "chars_p10": _answers("… shortest tenth", "characters", 0, "A tenth of the answers is no longer than this."),
    "chars_p90": _answers("… longest tenth", "characters", 0, "A tenth of the answers is longer than this."),
    "distinct_1": _answers("Distinct-1", "share", 0, "Different words of all words, over one answer per prompt."),
    "distinct_2": _answers("Distinct-2", "share", 0, "Different pairs of words of all pairs of neighbours."),
    "self_bleu": _answers("Self-BLEU", "share", 0, "BLEU-4 of an answer against the answers to all other prompts."),
    "repetition": _answers("Answers caught in a loop", "share", -1, "A passage stands four times or more in a row."),
    "truncation": _answers("Truncated answers", "share", -1, "Cut off at the largest number of tokens."),
    "verdict_answers": _answers(
        "Answers that hold a verdict",
        "share",
        -1,
        "In the judge's form, such as a last line Score: 3: it answers as the judge it was trained to be.",
    ),
    "top_share": _judging("Top grade given", "share", "Share of fixed answers it gives the top grade."),
    "own_top_share": _judging("Top grade given to its own answers", "share", "The same of its own answers."),
    "self_agreement": _judging("Agrees with itself", "share", "Equal grades among repeated judgments of an answer."),
    "judge_failures": _judging("Its judgments without a verdict", "share", "Judgments that give no grade."),
    "length_correlation": _judging(
        "Its scores with length", "correlation", "Spearman of score and length within a prompt, mean over prompts."
    ),
    "consistency": _judging("Its verdict survives the swap", "share", "Same winner when the answers change places."),
    "evaluator_consistency": _judging(
        "Evaluator's verdict survives the swap", "share", "Same winner when the evaluating judge sees them swapped."
    ),
    "raw_minus_lc": Measure(
        label="AlpacaEval win rate, raw − length-controlled",  # noqa: RUF001 - the minus sign the page shows
        unit="percent",
        better=0,
        meaning="What the win rate owes to length.",
    ),
    "judged_chars": Measure(
        label="Length of the judged answers", unit="characters", better=0, meaning="Mean, of one benchmark's answers."
    ),
    "trained_on": Measure(
        label="Benchmark's prompts that it was trained on",
        unit="share",
        better=-1,
        meaning="Of one benchmark's prompts, those whose ids are in the run's seed data.",
    ),
    "prompt_novelty": _trained("Written prompts that are new", "share", 1, "Of all the prompt writer wrote."),
    "prompt_duplicates": _trained("Written prompts seen before", "share", -1, "Equal or similar to an earlier one."),
    "candidate_distinct": _trained(
        "Candidates that differ", "share", 1, "Different texts among a prompt's candidates."
    ),
    "candidate_self_bleu": _trained(
        "Self-BLEU within a prompt", "share", 0, "BLEU-4 of a candidate against the same prompt's other candidates."
    ),
    "candidate_chars": _trained("Candidate length", "characters", 0, "Mean number of characters."),
    "candidate_truncation": _trained("Truncated candidates", "share", -1, "Cut off at the largest number of tokens."),
    "candidate_repetition": _trained(
        "Candidates caught in a loop", "share", -1, "A passage stands four times or more in a row."
    ),
    "reward_top_share": _trained("Top grade given to candidates", "share", 0, "Judgments nearest to the top grade."),
    "parse_failures": _trained("Judgments without a verdict", "share", -1, "Judgments that give no grade."),
    "judge_mass": _trained(
        "Probability of all grades", "share", 1, "Where a grade is due: how likely the judge is to write any."
    ),
    "judge_agreement": _trained(
        "Judge agrees with itself", "share", 1, "Equal grades among repeated judgments of one candidate."
    ),
    "reward_spread": _trained(
        "Spread among own samples", "points", 0, "Standard deviation of a prompt's rewards, mean over prompts."
    ),
    "reward_length": _trained(
        "Reward with length", "correlation", 0, "Spearman of reward and length within a prompt, mean over prompts."
    ),
    "reward_length_pooled": _trained("… over all prompts", "correlation", 0, "Spearman over all candidates at once."),
    "tie_rate": _trained("Prompts whose candidates tie", "share", -1, "Best and worst reward equal, so no pair."),
    "pairs_per_prompt": _trained("Usable pairs per prompt", "share", 1, "Pairs to train on, per new prompt."),
    "margin": _trained("Reward margin", "points", 0, "Reward of the chosen minus that of the rejected answer."),
    "pairs_right": _trained(
        "Pairs whose chosen answer is truly better", "share", 1, "By the oracle, where there is one: the micro-world."
    ),
    "pairs_wrong": _trained("Pairs whose chosen answer is truly worse", "share", -1, "The rest are truly equal."),
    "pairs_right_widest": _trained(
        "Pairs truly better, of the 100 with the largest margin", "share", 1, "Where the judge was surest."
    ),
    "pairs_wrong_widest": _trained("Pairs truly worse, of these 100", "share", -1, "Surely judged, and wrongly."),
    "chosen_growth": _trained(
        "Chosen length to rejected length", "points", 0, "Mean length of chosen answers by that of rejected ones."
    ),
}

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
