"""What srbench's own benchmarks and their metrics are called, their units, and which way is better.

Reports show what stands here, in this order. How any benchmark is shown, also one that somebody brings, is asked of
``leaderboards.descriptions``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from selfreward_bench.micro import world
from selfreward_bench.types import Description, MetricInfo, Unit

__all__ = ["BOUNDS", "BUILT_IN", "IN_PARTS", "MICRO", "TITLES", "UNPAIRED", "MetricInfo", "Unit"]

MICRO: Final = " (micro-world)"

#: a benchmark's name, without the world it is of -> its title
TITLES: Final[Mapping[str, str]] = {
    "quality": "Answer quality",
    "alpaca-eval": "AlpacaEval",
    "mt-bench": "MT-Bench",
    "nlp": "NLP benchmarks",
    "ifeval": "IFEval",
    "head-to-head": "Head to head",
    "judge-accuracy": "Judge accuracy",
    "judge-accuracy-oasst": "Judge accuracy, Open Assistant",
    "judge-accuracy-llmbar": "Judge accuracy, LLMBar",
    "judge-accuracy-llmbar-processed": "Judge accuracy, LLMBar (processed)",
    "judge-accuracy-pandalm": "Judge accuracy, PandaLM",
    "judge-accuracy-pairs": "Judge accuracy, finished verdicts",
    "judge-accuracy-jsonl": "Judge accuracy, own rankings",
}

_MICRO_QUALITY: Final = {
    "quality_sampled": MetricInfo(label="True quality, sampled", unit="points"),
    "quality_greedy": MetricInfo(label="True quality, greedy", unit="points"),
    "exact_sampled": MetricInfo(label="Perfect answers, sampled", unit="share"),
    "exact_greedy": MetricInfo(label="Perfect answers, greedy", unit="share"),
    "chars_sampled": MetricInfo(label="Answer length, sampled", unit="characters", better=0),
    "chars_greedy": MetricInfo(label="Answer length, greedy", unit="characters", better=0),
    "truncated_sampled": MetricInfo(label="Truncated, sampled", unit="share", better=-1),
    "truncated_greedy": MetricInfo(label="Truncated, greedy", unit="share", better=-1),
    "uncut_quality_sampled": MetricInfo(label="Quality, truncated answers as they stand, sampled", unit="points"),
    "uncut_quality_greedy": MetricInfo(label="Quality, truncated answers as they stand, greedy", unit="points"),
}

#: metrics that are there in parts alone, such as ``grade_sampled/5``
IN_PARTS: Final = {"grade_sampled": MetricInfo(label="Grades of sampled answers", unit="share", better=0)}

_HUMAN_RANKS: Final = {
    "pairwise_accuracy": MetricInfo(label="Pairwise accuracy, human ranks (tie = ½)", unit="share"),
    "pairwise_accuracy_ties_wrong": MetricInfo(label="… tie = wrong", unit="share"),
    "pairwise_accuracy_ties_dropped": MetricInfo(label="… ties left out", unit="share"),
    "tie_rate": MetricInfo(label="Ties", unit="share", better=0),
    "spearman": MetricInfo(label="Spearman, human ranks", unit="correlation"),
    "kendall_tau_b": MetricInfo(label="Kendall tau-b, human ranks", unit="correlation"),
    "spearman_pooled": MetricInfo(label="Spearman, pooled over prompts", unit="correlation"),
    "kendall_tau_b_pooled": MetricInfo(label="Kendall tau-b, pooled over prompts", unit="correlation"),
    "exact_match": MetricInfo(label="Whole order right", unit="share"),
    "five_best": MetricInfo(label="Of top-graded responses, ranked best by humans", unit="share"),
}

_JUDGE_HEALTH: Final = {
    "mean_score": MetricInfo(label="Mean score given", unit="points", better=0),
    "top_share": MetricInfo(label="Responses given the top grade", unit="share", better=0),
    "score_entropy": MetricInfo(label="Entropy of the grades given", unit="nats", better=0),
    "score_spread": MetricInfo(label="Spread of a response's judgments", unit="points", better=0),
    "self_agreement": MetricInfo(label="Agreement of a response's judgments", unit="share"),
    "length_spearman": MetricInfo(label="Score with length, within prompts", unit="correlation", better=0),
    "length_spearman_pooled": MetricInfo(label="Score with length, pooled", unit="correlation", better=0),
    **{f"grade/{g}": MetricInfo(label=f"Grade {g} given", unit="share", better=0) for g in range(6)},
    "parse_failures": MetricInfo(label="Judgments without a verdict", unit="share", better=-1),
}

_PAIRWISE_JUDGE: Final = {
    "order_accuracy": MetricInfo(label="Accuracy per order, mean of both", unit="share"),
    "order_accuracy_ab": MetricInfo(label="… as given", unit="share"),
    "order_accuracy_ba": MetricInfo(label="… swapped", unit="share"),
    "agreement": MetricInfo(label="Both orders right", unit="share"),
    "net": MetricInfo(label="More orders right than wrong", unit="share"),
    "consistency": MetricInfo(label="Both orders agree", unit="share"),
    "prefers_first": MetricInfo(label="First shown preferred", unit="share", better=0),
    "kappa": MetricInfo(label="Cohen's kappa with humans", unit="correlation"),
    "kappa_orders": MetricInfo(label="Cohen's kappa between orders", unit="correlation"),
}


def _by_oracle(prefix: str, answers: str) -> dict[str, MetricInfo]:
    """Agreement with the oracle on ``answers``."""
    return {
        f"{prefix}_pairwise_accuracy": MetricInfo(label=f"Pairwise accuracy, oracle, {answers}", unit="share"),
        f"{prefix}_pairwise_accuracy_ties_wrong": MetricInfo(label="… tie = wrong", unit="share"),
        f"{prefix}_pairwise_accuracy_ties_dropped": MetricInfo(label="… ties left out", unit="share"),
        f"{prefix}_tie_rate": MetricInfo(label=f"Ties, {answers}", unit="share", better=0),
        f"{prefix}_exact_match": MetricInfo(label=f"Whole order right, oracle, {answers}", unit="share"),
        f"{prefix}_kendall_tau_b": MetricInfo(label=f"Kendall tau-b, oracle, {answers}", unit="correlation"),
        f"{prefix}_spearman": MetricInfo(label=f"Spearman, oracle, {answers}", unit="correlation"),
    }


_MICRO_JUDGE_ACCURACY: Final = {
    **_HUMAN_RANKS,
    **_by_oracle("oracle", "same answers"),
    **_by_oracle("own", "its own answers"),
    "own_spearman_pooled": MetricInfo(label="Spearman, oracle, its own answers, pooled", unit="correlation"),
    "own_mean_score": MetricInfo(label="Mean score given to its own answers", unit="points", better=0),
    "own_top_share": MetricInfo(label="Its own answers given the top grade", unit="share", better=0),
    **_JUDGE_HEALTH,
}

_JUDGE_ACCURACY: Final = {**_HUMAN_RANKS, **_PAIRWISE_JUDGE, **_JUDGE_HEALTH}

_LLMBAR: Final = {
    **_JUDGE_ACCURACY,
    "subset_average": MetricInfo(label="Pairwise accuracy, mean of the subsets", unit="share"),
    "adversarial_average": MetricInfo(label="Pairwise accuracy, mean of the adversarial subsets", unit="share"),
}

_PANDALM: Final = {
    "label_accuracy": MetricInfo(label="Label accuracy, majority of humans", unit="share"),
    "label_accuracy_unparsed_wrong": MetricInfo(label="… no verdict = wrong, as published", unit="share"),
    **_JUDGE_ACCURACY,
}

_PAIR_VERDICTS: Final = {
    name: info
    for name, info in {**_HUMAN_RANKS, **_PAIRWISE_JUDGE, **_PANDALM}.items()
    if name.startswith(("pairwise_", "tie_rate", "label_", "parse_")) or name in _PAIRWISE_JUDGE
} | {
    "subset_average": MetricInfo(label="Mean of the subsets", unit="share"),
    "best_of_n": MetricInfo(label="Best of several right (tie at the top = its share)", unit="share"),
    "ties_score": MetricInfo(label="Score of the subset Ties (RewardBench 2)", unit="share"),
}

#: fields of ``standings.HeadToHead``, ``Positions`` and ``Rating``; no result of one checkpoint has them
_HEAD_TO_HEAD: Final = {
    "win_rate": MetricInfo(label="Win rate (tie = ½)", unit="share"),
    "net_win": MetricInfo(label="Win − loss", unit="share"),  # noqa: RUF001 - a minus sign
    "win": MetricInfo(label="Win", unit="share"),
    "tie": MetricInfo(label="Tie", unit="share", better=0),
    "loss": MetricInfo(label="Loss", unit="share", better=-1),
    "rating": MetricInfo(label="Bradley-Terry rating", unit="rating"),
    "consistency": MetricInfo(label="Both orders agree", unit="share"),
    "first_preferred": MetricInfo(label="First shown preferred", unit="share", better=0),
}

_MT_BENCH: Final = {
    "grade": MetricInfo(label="Grade, both turns", unit="grade"),
    "adjusted_win_rate": MetricInfo(label="Wins against the baseline (tie = ½)", unit="share"),
    "grade_turn_1": MetricInfo(label="Grade, first turn", unit="grade"),
    "grade_turn_2": MetricInfo(label="Grade, second turn", unit="grade"),
    "adjusted_win_rate_turn_1": MetricInfo(label="Wins against the baseline, first turn", unit="share"),
    "adjusted_win_rate_turn_2": MetricInfo(label="Wins against the baseline, second turn", unit="share"),
    "win_rate": MetricInfo(label="Wins", unit="share"),
    "tie_rate": MetricInfo(label="Ties", unit="share", better=0),
    "loss_rate": MetricInfo(label="Losses", unit="share", better=-1),
    "order_agreement": MetricInfo(label="Both orders agree", unit="share"),
    "grade_uncut": MetricInfo(label="Grade without truncated answers", unit="grade"),
    "chars": MetricInfo(label="Answer length", unit="characters", better=0),
    "truncated": MetricInfo(label="Truncated answers", unit="share", better=-1),
    "parse_failures": MetricInfo(label="Judgments without a verdict", unit="share", better=-1),
    "fastchat_grade": MetricInfo(label="Grade as FastChat prints it", unit="grade"),
    "fastchat_grade_turn_1": MetricInfo(label="… first turn", unit="grade"),
    "fastchat_grade_turn_2": MetricInfo(label="… second turn", unit="grade"),
    "fastchat_adjusted_win_rate": MetricInfo(label="Adjusted win rate as FastChat prints it", unit="share"),
    "duplicates": MetricInfo(label="Turns judged more than once", unit="count", better=-1),
    "failed_judgments": MetricInfo(label="Judgments that FastChat could not read", unit="count", better=-1),
    "stored_score_differs": MetricInfo(label="Verdicts read otherwise than stored", unit="count", better=-1),
}

_MICRO_MT_BENCH: Final = {
    name: _MT_BENCH[name] for name in ("grade", "grade_turn_1", "grade_turn_2", "grade_uncut", "chars", "truncated")
}

_NLP: Final = {
    "average": MetricInfo(label="Average of the tasks", unit="share"),
    "arc_easy": MetricInfo(label="ARC-Easy (acc_norm)", unit="share"),
    "arc_challenge": MetricInfo(label="ARC-Challenge (acc_norm)", unit="share"),
    "hellaswag": MetricInfo(label="HellaSwag (acc_norm)", unit="share"),
    "siqa": MetricInfo(label="SIQA (acc)", unit="share"),
    "piqa": MetricInfo(label="PIQA (acc_norm)", unit="share"),
    "gsm8k": MetricInfo(label="GSM8K (strict match)", unit="share"),
    "gsm8k/flexible-extract": MetricInfo(label="GSM8K (flexible match)", unit="share"),
    "mmlu": MetricInfo(label="MMLU (mean over subjects)", unit="share"),
    "mmlu_micro": MetricInfo(label="MMLU (mean over questions)", unit="share"),
    "openbookqa": MetricInfo(label="OpenBookQA (acc_norm)", unit="share"),
    "nq_open": MetricInfo(label="Natural Questions (exact match)", unit="share"),
    "gsm8k/no_answer": MetricInfo(label="GSM8K answers without a final number", unit="share", better=-1),
    "truncated_prompts": MetricInfo(label="Prompts that did not fit the context", unit="share", better=-1),
}

_MICRO_NLP: Final = {
    "average": MetricInfo(label="Average of the tasks", unit="share"),
    "micro_choice": MetricInfo(label="Multiple choice (acc)", unit="share"),
    "micro_sort": MetricInfo(label="Sorting (exact match)", unit="share"),
    "micro_fact": MetricInfo(label="Facts (strict match)", unit="share"),
    "micro_fact/flexible-extract": MetricInfo(label="Facts (flexible match)", unit="share"),
    "micro_fact/no_answer": MetricInfo(label="Facts: answers in another form", unit="share", better=-1),
    "micro_sort/no_answer": MetricInfo(label="Sorting: no answer", unit="share", better=-1),
    "truncated_prompts": MetricInfo(label="Prompts that did not fit the context", unit="share", better=-1),
}

_MICRO_ALPACA_EVAL: Final = {
    "win_rate": MetricInfo(label="Win rate", unit="percent"),
    "length_controlled_winrate": MetricInfo(label="Length-controlled win rate", unit="percent"),
    "discrete_win_rate": MetricInfo(label="Win rate, all or nothing", unit="percent"),
    "standard_error": MetricInfo(label="Standard error of the win rate", unit="percent", better=0),
    "n_wins": MetricInfo(label="Wins", unit="count"),
    "n_wins_base": MetricInfo(label="Wins of the reference", unit="count", better=-1),
    "n_draws": MetricInfo(label="Draws", unit="count", better=0),
    "n_total": MetricInfo(label="Comparisons with a verdict", unit="count"),
    "avg_length": MetricInfo(label="Answer length", unit="characters", better=0),
    "truncated": MetricInfo(label="Truncated answers (scored as they stand)", unit="share", better=-1),
}

_ALPACA_EVAL: Final = {
    "length_controlled_winrate": _MICRO_ALPACA_EVAL["length_controlled_winrate"],
    **_MICRO_ALPACA_EVAL,
    "lc_standard_error": MetricInfo(label="AlpacaEval's standard error, length-controlled", unit="percent", better=0),
    "length_controlled_winrate_by_position": MetricInfo(
        label="Length-controlled win rate, difficulties by row, as AlpacaEval", unit="percent"
    ),
    "order_agreement": MetricInfo(label="Both orders have one winner", unit="share"),
    "first_shown_win_rate": MetricInfo(label="Judge prefers what is shown first", unit="percent", better=0),
    "quotes_judge_prompt": MetricInfo(label="Answers that quote the judge's prompt", unit="share", better=-1),
    "shortened_for_judge": MetricInfo(label="Comparisons too long to be shown whole", unit="share", better=-1),
    "agrees_with_raw": MetricInfo(label="Preferences that their raw judgment bears out", unit="share"),
    "other_instructions": MetricInfo(label="Rows on other instructions", unit="count", better=-1),
    "repeated_instructions": MetricInfo(label="Rows on an instruction again", unit="count", better=-1),
}

_IFEVAL: Final = {
    "prompt_level_strict_acc": MetricInfo(label="Prompts followed, strict", unit="share"),
    "inst_level_strict_acc": MetricInfo(label="Instructions followed, strict", unit="share"),
    "prompt_level_loose_acc": MetricInfo(label="Prompts followed, loose", unit="share"),
    "inst_level_loose_acc": MetricInfo(label="Instructions followed, loose", unit="share"),
    "chars": MetricInfo(label="Answer length", unit="characters", better=0),
    "truncated": MetricInfo(label="Truncated answers (scored as they stand)", unit="share", better=-1),
    "other_prompts": MetricInfo(label="Rows on other prompts", unit="count", better=-1),
}

# --- metrics whose differences between checkpoints are worth an interval


def _parts(metric: str, *parts: str) -> tuple[str, ...]:
    return tuple(f"{metric}/{part}" for part in parts)


_QUALITY_PAIRED: Final = tuple(
    f"{metric}_{decoding}" for metric in ("quality", "exact", "chars") for decoding in ("sampled", "greedy")
)
_MICRO_JUDGE_PAIRED: Final = (
    "own_pairwise_accuracy",
    "pairwise_accuracy",
    "spearman",
    "exact_match",
    "oracle_pairwise_accuracy",
    "oracle_spearman",
    "mean_score",
    "top_share",
    "length_spearman",
)
_JUDGE_PAIRED: Final = ("pairwise_accuracy", "spearman", "exact_match", "agreement", "consistency", "mean_score")
_LLMBAR_SUBSETS: Final = ("Natural", "Neighbor", "GPTInst", "GPTOut", "Manual")
_ALPACA_PAIRED: Final = ("win_rate", "discrete_win_rate", "avg_length")
_ALPACA_DATASETS: Final = ("helpful_base", "koala", "oasst", "selfinstruct", "vicuna")
_GRADES: Final = ("grade", "grade_turn_1", "grade_turn_2")
_WINS: Final = ("adjusted_win_rate", "adjusted_win_rate_turn_1", "adjusted_win_rate_turn_2")
_CATEGORIES: Final = ("writing", "roleplay", "stem", "humanities", "extraction", "math", "coding", "reasoning")
_IFEVAL_FAMILIES: Final = (
    "change_case",
    "combination",
    "detectable_content",
    "detectable_format",
    "keywords",
    "language",
    "length_constraints",
    "punctuation",
    "startend",
)


#: benchmark -> its metrics, and those of them that are compared
_TABLES: Final[Mapping[str, tuple[Mapping[str, MetricInfo], tuple[str, ...]]]] = {
    "micro-quality@1": (_MICRO_QUALITY, (*_QUALITY_PAIRED, *_parts("quality_sampled", *world.WEIGHTS))),
    "micro-judge-accuracy@1": (
        _MICRO_JUDGE_ACCURACY,
        (*_MICRO_JUDGE_PAIRED, *_parts("pairwise_accuracy", *world.WEIGHTS)),
    ),
    "judge-accuracy-oasst@1": (_JUDGE_ACCURACY, _JUDGE_PAIRED),
    "judge-accuracy-llmbar@1": (_LLMBAR, (*_JUDGE_PAIRED, *_parts("pairwise_accuracy", *_LLMBAR_SUBSETS))),
    "judge-accuracy-llmbar-processed@1": (_LLMBAR, _JUDGE_PAIRED),
    "judge-accuracy-pandalm@1": (_PANDALM, ("label_accuracy", *_JUDGE_PAIRED)),
    "judge-accuracy-pairs@1": (
        _PAIR_VERDICTS,
        ("pairwise_accuracy", "agreement", "net", "consistency", "label_accuracy", "best_of_n"),
    ),
    "judge-accuracy-jsonl@1": (
        {**_JUDGE_ACCURACY, **{name: info for name, info in _PANDALM.items() if name.startswith("label_")}},
        _JUDGE_PAIRED,
    ),
    "head-to-head@1": (_HEAD_TO_HEAD, ()),
    "micro-head-to-head@1": (_HEAD_TO_HEAD, ()),
    "mt-bench@1": (
        _MT_BENCH,
        (*_GRADES, *_WINS, *_parts("grade", *_CATEGORIES), *_parts("adjusted_win_rate", *_CATEGORIES)),
    ),
    "micro-mt-bench@1": (_MICRO_MT_BENCH, (*_GRADES, *_parts("grade", *world.WEIGHTS))),
    "nlp@1": (_NLP, tuple(name for name in _NLP if name != "truncated_prompts")),
    "micro-nlp@1": (_MICRO_NLP, tuple(name for name in _MICRO_NLP if name != "truncated_prompts")),
    "ifeval@1": (
        _IFEVAL,
        (
            *(name for name in _IFEVAL if name.endswith("_acc")),
            "chars",
            *_parts("inst_level_strict_acc", *_IFEVAL_FAMILIES),
        ),
    ),
    "alpaca-eval@1": (_ALPACA_EVAL, (*_ALPACA_PAIRED, *_parts("win_rate", *_ALPACA_DATASETS))),
    "micro-alpaca-eval@1": (_MICRO_ALPACA_EVAL, (*_ALPACA_PAIRED, *_parts("win_rate", *world.WEIGHTS))),
}


#: benchmark -> compared metrics that cannot be paired: each checkpoint judges answers of its own there
UNPAIRED: Final[Mapping[str, tuple[str, ...]]] = {"micro-judge-accuracy@1": ("own_pairwise_accuracy",)}


def _title(name: str) -> str:
    return TITLES[name.removeprefix("micro-")] + (MICRO if name.startswith("micro-") else "")


#: benchmark -> how it is shown, in the order of the page; the first metric is the benchmark's main one
BUILT_IN: Final[Mapping[str, Description]] = {
    key: Description(title=_title(key.partition("@")[0]), metrics=dict(metrics), paired=paired)
    for key, (metrics, paired) in _TABLES.items()
}

#: the least and the greatest value of a unit; points go as far as a judge's scale does
BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "share": (0.0, 1.0),
    "percent": (0.0, 100.0),
    "correlation": (-1.0, 1.0),
    "grade": (1.0, 10.0),
}
