"""What the page's words mean: a sentence for each measure and each term, linked from where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from reports import wording

__all__ = ["TERMS", "definition", "term_of"]

#: term -> title and meaning, in the order of the glossary
TERMS: Final[Mapping[str, tuple[str, str]]] = {
    "base": (
        "M0, the base",
        "The model that everything starts from; nothing was trained yet.",
    ),
    "sft": (
        "SFT baseline",
        "M0 fine-tuned on instructions alone, without learning to judge: what the method must beat.",
    ),
    "iteration": (
        "M1, M2, M3",
        "M1 is M0 fine-tuned on instructions and judging; each next one is trained by DPO on preferences that the"
        " one before it made.",
    ),
    "interval": (
        "95% interval, [low, high]",
        "Had other prompts of the same kind been asked, the mean would lie there in 95 of 100 cases.",
    ),
    "difference": (
        "Difference, and its arrow",
        "Mean difference on the same prompts, with its own interval; an arrow stands only where that excludes zero.",
    ),
    "reach": (
        "Could show",
        "The smallest true difference that these samples would have shown four times in five.",
    ),
    "quality": (
        "True quality",
        "0 to 5 points for an answer, by the exact grader of the embedded micro-world; sampled: answers drawn at "
        "the run's temperature, greedy: the likeliest ones.",
    ),
    "exact": (
        "Perfect answers",
        "Share of answers with all five points.",
    ),
    "win_rate": (
        "Win rate",
        "Share of answers a judge prefers to the reference answers; an undecided comparison counts by how sure it was.",
    ),
    "length_controlled_winrate": (
        "Length-controlled win rate",
        "The win rate a model would have if its answers were as long as the reference's (AlpacaEval 2.0): judges "
        "like length.",
    ),
    "length": (
        "Answer length",
        "Mean number of characters of an answer; longer is neither better nor worse.",
    ),
    "grade": (
        "Grade",
        "1 to 10 points that a judge gives to an answer; of MT-Bench over two turns of a conversation.",
    ),
    "adjusted_win_rate": (
        "Wins against the baseline",
        "Share of comparisons won, a tie counting half.",
    ),
    "average": (
        "Average of the tasks",
        "Mean of the tasks' accuracies, each task counting the same.",
    ),
    "accuracy": (
        "Accuracy of a task",
        "Share of questions answered right: acc compares the choices' probabilities, acc_norm per character, "
        "strict match reads an answer in its proper form, flexible match takes it from anywhere in the text.",
    ),
    "no_answer": (
        "No answer",
        "Share of texts in which no answer of the proper form was found; they count as wrong.",
    ),
    "followed": (
        "Instructions followed",
        "Share of checkable instructions that an answer obeys; by prompt: all of them.",
    ),
    "pairwise_accuracy": (
        "Pairwise accuracy",
        "Of two responses that people, or the oracle, find unlike in quality: how often the model as a judge "
        "prefers the better one; 50 % is guessing. Equal scores are a tie.",
    ),
    "own": (
        "Its own answers",
        "The same of answers the model wrote itself: what its next round would be trained on.",
    ),
    "rank": (
        "Spearman, Kendall",
        "How alike two orders of a prompt's responses are: 1 the same, 0 unrelated, \u22121 reversed.",
    ),
    "rating": (
        "Bradley-Terry rating",
        "Strength from all comparisons on the Elo scale: 400 points are odds of 10 to 1.",
    ),
    "truncated": (
        "Truncated",
        "Share of answers cut off at the largest number of tokens.",
    ),
}

#: beginning of a metric's name -> its term; the first that fits
_OF_METRIC: Final[Mapping[str, str]] = {
    "quality_": "quality",
    "uncut_quality": "quality",
    "exact_match": "rank",
    "exact_": "exact",
    "length_controlled": "length_controlled_winrate",
    "adjusted_win_rate": "adjusted_win_rate",
    "win_rate": "win_rate",
    "discrete_win_rate": "win_rate",
    "avg_length": "length",
    "chars": "length",
    "grade": "grade",
    "own_": "own",
    "pairwise_accuracy": "pairwise_accuracy",
    "oracle_pairwise": "pairwise_accuracy",
    "label_accuracy": "pairwise_accuracy",
    "spearman": "rank",
    "kendall": "rank",
    "oracle_spearman": "rank",
    "oracle_kendall": "rank",
    "prompt_level": "followed",
    "inst_level": "followed",
    "truncated": "truncated",
    "rating": "rating",
}


def term_of(benchmark: str, metric: str) -> str:
    """The term that a metric is explained by; empty where there is none."""
    if metric.endswith("/no_answer"):
        return "no_answer"
    if wording.family(benchmark) == "nlp":
        return "average" if metric == "average" else "truncated" if metric.startswith("truncated") else "accuracy"
    if wording.family(benchmark) == "judge-accuracy" and metric.startswith("grade"):
        return ""
    return next((term for begin, term in _OF_METRIC.items() if metric.startswith(begin)), "")


def definition(term: str) -> str:
    """What a term means; empty for none."""
    return TERMS[term][1] if term in TERMS else ""
