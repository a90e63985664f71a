"""Checkpoints held against each other: ``run`` within a run, ``pairing`` any two.

Reports read the records; what computes them is imported where that is done.
"""

from leaderboards.comparing.records import PairedBenchmark, PairedMetric, Pairing, conditions

__all__ = ["PairedBenchmark", "PairedMetric", "Pairing", "conditions"]
