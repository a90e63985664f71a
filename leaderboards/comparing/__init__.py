"""Checkpoints held against each other: ``run`` within a run, ``pairing`` any two, ``seeds`` runs of one recipe.

Reports read the records; what computes them is imported where that is done.
"""

from leaderboards.comparing.records import (
    Asked,
    Contrast,
    OverSeeds,
    PairedBenchmark,
    PairedMetric,
    Pairing,
    Together,
    conditions,
)

__all__ = [
    "Asked",
    "Contrast",
    "OverSeeds",
    "PairedBenchmark",
    "PairedMetric",
    "Pairing",
    "Together",
    "conditions",
]
