"""Two checkpoints side by side, as records. What is in them is computed in ``pairing``; reports read them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

from leaderboards.standings import HeadToHead, MetricDifference
from selfreward_bench.types import EvalResult, Metric, Record

__all__ = [
    "SETTINGS",
    "Asked",
    "Contrast",
    "OverSeeds",
    "PairedBenchmark",
    "PairedMetric",
    "Pairing",
    "Side",
    "Together",
    "Unlike",
    "conditions",
]

SETTINGS: Final = "settings"
_UNCONDITIONAL: Final = {"benchmark", "request"}
_OF_A_MODEL: Final = re.compile(r"[0-9a-f]{32}\+")  # how the snapshot of a judge begins whose files were hashed


class Side(Record):
    """One of the two checkpoints.

    Attributes:
        name: tells it from the other: ``M2``, or ``first:M2`` where both are called M2.
        given: as the user named it.
        fingerprint: of the weights; empty where its results are of several.
        absent: names of benchmarks that only the other one has a result of.
    """

    name: str
    given: str
    checkpoint: str
    fingerprint: str
    absent: tuple[str, ...] = ()


class Unlike(Record):
    """A condition that two results do not share, and would have to, to be compared; empty values are not stated."""

    condition: str
    a: str
    b: str


class PairedMetric(Record):
    """One metric of both.

    Attributes:
        a, b: as each was evaluated, over all its samples.
        difference: ``b - a`` over the samples both have, so its own ``a`` is the second checkpoint; None where the
            metric is neither a mean over samples nor was made again on resamples, or the results are unlike.
        p_holm: its p-value among the main metrics of all benchmarks (Holm); None for other metrics.
        main: whether it is its benchmark's main metric, the first that can be compared sample by sample.
        featured: whether it belongs in a short table.
    """

    metric: str
    a: Metric | None
    b: Metric | None
    difference: MetricDifference | None = None
    p_holm: float | None = None
    main: bool = False
    featured: bool = False


class PairedBenchmark(Record):
    """One benchmark of both.

    Attributes:
        judges: who judged ``a`` and ``b``.
        unlike: why the two are not compared, or with ``compared`` why they should not be.
        compared: whether there are differences.
        settings_differ: what is no condition of the benchmark differs, such as the seed or the number type.
        settings: all settings that differ, conditions or not, where both results say theirs.
        incomplete: samples of ``a`` and ``b`` that failed and are asked for again on the next evaluation.
    """

    benchmark: str
    judges: tuple[str | None, str | None]
    unlike: tuple[Unlike, ...] = ()
    compared: bool = True
    settings_differ: bool = False
    settings: tuple[Unlike, ...] = ()
    incomplete: tuple[int, int] = (0, 0)
    metrics: tuple[PairedMetric, ...] = ()


class Pairing(Record):
    """Two checkpoints' stored results against each other.

    Attributes:
        head_to_head: their answers compared by one judge, where both took part in one tournament.
    """

    format: Literal[1] = 1
    a: Side
    b: Side
    benchmarks: tuple[PairedBenchmark, ...]
    head_to_head: HeadToHead | None = None

    @property
    def same_weights(self) -> bool:
        """Whether both are one model."""
        return bool(self.a.fingerprint) and self.a.fingerprint == self.b.fingerprint


class Asked(Record):
    """What one wants to know over several seeds: a model's metric, or with ``against`` its difference to another's."""

    benchmark: str
    metric: str
    model: str
    against: str = ""


class OverSeeds(Asked):
    """It, over runs that differ in their seed alone.

    Attributes:
        value: over the prompts that all runs have.
        sd: standard deviation of the runs' own means.
        low, high: 95% interval, seeds and prompts both being drawn anew; None where there is no spread.
    """

    value: float
    sd: float
    low: float | None
    high: float | None
    n_seeds: int
    n_prompts: int


class Contrast(Asked):
    """Group ``a``'s model less group ``b``'s, each over its runs; groups by number."""

    a: int
    b: int
    value: float
    low: float | None
    high: float | None

    @property
    def direction(self) -> Literal[-1, 0, 1]:
        """+1 or -1 where the interval excludes zero."""
        if self.low is None or self.high is None:
            return 0
        return 1 if self.low > 0 else -1 if self.high < 0 else 0


class Together(Record):
    """Several runs together.

    Attributes:
        pooled: for each group of runs, what was asked over its seeds; empty for a group of one.
        contrasts: the groups against each other.
        gaps: what could not be read, in words.
    """

    pooled: tuple[tuple[OverSeeds, ...], ...] = ()
    contrasts: tuple[Contrast, ...] = ()
    gaps: tuple[str, ...] = ()


def conditions(result: EvalResult) -> Mapping[str, str]:
    """What another result must share to be compared with this one.

    A benchmark that states no condition of its own is compared under equal settings alone. A judge whose files are at
    hand is the same wherever they lie.
    """
    stated = result.comparability
    if _OF_A_MODEL.match(stated.get("snapshot", "")):
        stated = {key: value for key, value in stated.items() if key != "judge"}
    return stated if stated.keys() - _UNCONDITIONAL else {**stated, SETTINGS: result.config_hash}
