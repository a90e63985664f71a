"""Statistics of paired, clustered samples: intervals, differences and their tests, what a comparison could detect.

A value that could not be scored (None, NaN, infinite) is left out of the number and counted beside it, never made one.
A cluster is what was drawn independently: a prompt, with all its samples, turns and orders. Nothing here depends on a
model. Two runs of one recipe differ by more than intervals over prompts say: ``crossed_interval`` draws both.
"""

from __future__ import annotations

from selfreward_bench.stats.agreement import fleiss_kappa, krippendorff_alpha
from selfreward_bench.stats.crossed import Totals, crossed_difference, crossed_interval
from selfreward_bench.stats.intervals import (
    bootstrap_interval,
    mean_interval,
    stratified_mean,
)
from selfreward_bench.stats.paired import (
    Difference,
    WinLoss,
    detectable_difference,
    holm,
    mcnemar,
    paired_difference,
    planned_detectable_difference,
    sign_test,
)
from selfreward_bench.stats.ranks import (
    PairwiseAccuracy,
    TiePolicy,
    kendall_tau_b,
    pairwise_accuracy,
    spearman,
)
from selfreward_bench.stats.resampling import percentile_interval, resampled_interval
from selfreward_bench.stats.shares import paired_share_interval
from selfreward_bench.stats.unpaired import unpaired_difference

__all__ = [
    "Difference",
    "PairwiseAccuracy",
    "TiePolicy",
    "Totals",
    "WinLoss",
    "bootstrap_interval",
    "crossed_difference",
    "crossed_interval",
    "detectable_difference",
    "fleiss_kappa",
    "holm",
    "kendall_tau_b",
    "krippendorff_alpha",
    "mcnemar",
    "mean_interval",
    "paired_difference",
    "paired_share_interval",
    "pairwise_accuracy",
    "percentile_interval",
    "planned_detectable_difference",
    "resampled_interval",
    "sign_test",
    "spearman",
    "stratified_mean",
    "unpaired_difference",
]
