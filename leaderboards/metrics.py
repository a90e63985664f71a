"""Every metric there is: its label, its unit, and which way is better. Reports show what stands here, in this order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from selfreward_bench.types import Record

__all__ = ["METRICS", "MetricInfo"]

Unit = Literal["points", "grade", "share", "percent", "correlation", "characters", "nats", "rating", "count"]


class MetricInfo(Record):
    """How a metric is shown.

    Attributes:
        unit: ``points`` (0..5), ``grade`` (1..10), ``share`` (0..1, shown in per cent), ``percent`` (0..100),
            ``correlation`` (-1..1), ``characters``, ``nats``, ``rating`` (Elo scale) or ``count``.
        better: +1 when more is better, -1 when less is, 0 when neither.
    """

    label: str
    unit: Unit
    better: Literal[-1, 0, 1] = 1


_MICRO_QUALITY: Final = {
    "quality_sampled": MetricInfo(label="True quality, sampled", unit="points"),
    "quality_greedy": MetricInfo(label="True quality, greedy", unit="points"),
    "exact_sampled": MetricInfo(label="Perfect answers, sampled", unit="share"),
    "exact_greedy": MetricInfo(label="Perfect answers, greedy", unit="share"),
    "chars_sampled": MetricInfo(label="Answer length, sampled", unit="characters", better=0),
    "chars_greedy": MetricInfo(label="Answer length, greedy", unit="characters", better=0),
    "truncated_sampled": MetricInfo(label="Truncated, sampled", unit="share", better=-1),
    "truncated_greedy": MetricInfo(label="Truncated, greedy", unit="share", better=-1),
    "uncut_quality_sampled": MetricInfo(label="Quality with truncated answers as they stand", unit="points"),
}

_JUDGE_ACCURACY: Final = {
    "pairwise_accuracy": MetricInfo(label="Pairwise accuracy, human ranks (tie = ½)", unit="share"),
    "pairwise_accuracy_ties_wrong": MetricInfo(label="… tie = wrong", unit="share"),
    "pairwise_accuracy_ties_dropped": MetricInfo(label="… ties left out", unit="share"),
    "tie_rate": MetricInfo(label="Ties", unit="share", better=0),
    "spearman": MetricInfo(label="Spearman, human ranks", unit="correlation"),
    "kendall_tau_b": MetricInfo(label="Kendall tau-b, human ranks", unit="correlation"),
    "exact_match": MetricInfo(label="Whole order right", unit="share"),
    "oracle_pairwise_accuracy": MetricInfo(label="Pairwise accuracy, oracle, same answers", unit="share"),
    "oracle_spearman": MetricInfo(label="Spearman, oracle, same answers", unit="correlation"),
    "own_pairwise_accuracy": MetricInfo(label="Pairwise accuracy, oracle, its own answers", unit="share"),
    "own_spearman": MetricInfo(label="Spearman, oracle, its own answers", unit="correlation"),
    "own_spearman_pooled": MetricInfo(label="… pooled over prompts", unit="correlation"),
    "parse_failures": MetricInfo(label="Judgments without a verdict", unit="share", better=-1),
}

#: benchmark -> metric -> how it is shown, in the order of the table; the first metric is the benchmark's main one
METRICS: Final[Mapping[str, Mapping[str, MetricInfo]]] = {
    "micro-quality@1": _MICRO_QUALITY,
    "micro-judge-accuracy@1": _JUDGE_ACCURACY,
}
