"""Every measure that is watched, and how it is shown. What crosses a limit is in ``thresholds``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from leaderboards.metrics import MetricInfo

__all__ = ["MEASURES", "Measure"]


class Measure(MetricInfo):
    """How a measure is shown, and whom it is of.

    Attributes:
        of: ``checkpoint``: of a model's own answers or judgments; ``iteration``: of what a model was trained on.
        meaning: one sentence for the reader.
    """

    of: Literal["checkpoint", "iteration"] = "checkpoint"
    meaning: str = ""


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
    "quotes_judge": _answers(
        "Answers that quote the evaluating judge's prompt",
        "share",
        -1,
        "They hold a line of it, as one does that was made to deceive the judge.",
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
