"""A run's checkpoints against each other: paired differences on the samples both have, and head to head.

Only results of equal conditions are compared; unlike ones are noted instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from pathlib import Path

from leaderboards import chain, replicates, standings
from leaderboards.base import BREAKDOWN_RESAMPLES, measures
from leaderboards.comparing.records import SETTINGS, conditions
from leaderboards.descriptions import bounds_of, described, place
from leaderboards.head_to_head.micro import head_to_head
from leaderboards.metrics import UNPAIRED
from leaderboards.micro import MicroQuality
from leaderboards.replicates import Replicates
from leaderboards.standings import HeadToHead, MetricDifference, Standings
from selfreward_bench import stats
from selfreward_bench.storage import jsonl
from selfreward_bench.types import EvalResult, SampleScore

__all__ = [
    "Columns",
    "Stored",
    "compare",
    "paired_columns",
    "paired_metric",
    "read_stored",
    "replicated_metric",
    "unpaired_metric",
]

RESAMPLES = 5_000  # of a paired difference
RANKED = 12  # models outside a run of which all pairs are compared


def compare(run_path: Path) -> Standings:
    """Compares the run's evaluated checkpoints and writes ``standings.json``.

    Each is compared with its parent, with M0, M1 and the SFT baseline (all that is no iteration), on the samples both
    have; models outside a run, which have no parents, each with each (of many, with the first, the one before and the
    highest). Answers are compared head to head for all pairs.
    Results of unlike settings are noted instead.

    Raises:
        DataError: a result or its scores cannot be read.
    """
    names = standings.evaluated_models(run_path)
    stored = {key: _stored_of(run_path, names, key) for key in _evaluated_keys(run_path)}
    differences: list[MetricDifference] = []
    apart: dict[tuple[str, str, str], list[str]] = {}  # benchmark, checkpoint, why -> what it is not compared with
    for key, found in stored.items():
        metrics = described(key).paired
        for a, b in _reference_pairs([n for n in names if n in found], _leader(key, found)):
            if why := _unlike(found[a].result, found[b].result):
                apart.setdefault((key, a, why), []).append(b)
            else:
                differences += _differences(key, metrics, found[a], found[b])
    result = Standings(
        fingerprints={n: {k: s[n].result.fingerprint for k, s in stored.items() if n in s} for n in names},
        differences=tuple(differences),
        head_to_head=tuple(_head_to_heads(stored.get(MicroQuality.key, {}))),
        notes=tuple(_note(*key, others) for key, others in apart.items()),
    )
    standings.write_record(run_path / standings.STANDINGS, result)
    return result


@dataclass(frozen=True)
class Stored:
    """A result, the rows it sums up, and the replicates of what is no mean over rows."""

    result: EvalResult
    rows: Sequence[SampleScore]
    replicates: Mapping[str, Replicates] = field(default_factory=dict)

    @cached_property
    def samples(self) -> Mapping[str, Mapping[str, tuple[float | None, str]]]:
        """Metric -> sample id -> its value and its prompt."""
        found: dict[str, dict[str, tuple[float | None, str]]] = {}
        for scored in self.rows:
            for metric, value in measures(scored).items():
                found.setdefault(metric, {})[scored.sample_id] = (value, scored.cluster)
        return found


@dataclass(frozen=True)
class Columns:
    """One metric of two results, sample by sample; None where a side has no value.

    Attributes:
        clusters: the samples' prompts.
    """

    a: Sequence[float | None]
    b: Sequence[float | None]
    clusters: Sequence[str]


def read_stored(folder: Path) -> Stored:
    """What an evaluation left in a benchmark's directory.

    Raises:
        DataError: the result or its scores cannot be read.
    """
    return Stored(
        standings.read_result(folder / standings.RESULT),
        jsonl.read(folder / standings.SCORES, SampleScore, unique=lambda r: r.sample_id, allow_empty=True),
        replicates.read(folder),
    )


def _evaluated_keys(run_path: Path) -> list[str]:
    """The benchmarks that any model has a result of, srbench's own first."""
    found = {path.parent.name for path in run_path.glob(f"*/eval/*@*/{standings.RESULT}")}
    return sorted(found, key=lambda key: (place(key), key))


def _stored_of(run_path: Path, names: Sequence[str], key: str) -> dict[str, Stored]:
    folders = {n: run_path / n / "eval" / key for n in names}
    return {n: read_stored(folder) for n, folder in folders.items() if (folder / standings.RESULT).is_file()}


def _leader(key: str, found: Mapping[str, Stored]) -> str:
    """Whose number is the highest, by the first metric with a better and a worse that two have; empty without one."""
    for metric, info in described(key).metrics.items():
        made = ((name, s.result.metrics.get(metric)) for name, s in found.items())
        there = {name: info.better * m.value for name, m in made if m is not None and m.value is not None}
        if info.better and len(there) > 1:
            return max(there, key=lambda name: there[name])
    return ""


def _reference_pairs(names: Sequence[str], leader: str = "") -> list[tuple[str, str]]:
    """``(later, earlier)``: each model of a run with its parent, M0, M1 and the baselines; of others, see ``_all``."""
    trained = chain.iterations(names)
    if not trained:
        return _all(names, leader)
    baselines = {n for n in names if n not in trained}
    held = {trained[0], *baselines}
    return [
        (later, earlier)
        for i, later in enumerate(names)
        for earlier in names[:i]
        if earlier == chain.predecessor(later, names)
        or (earlier in held and (later in trained or earlier == chain.BASE))
    ]


def _all(names: Sequence[str], leader: str) -> list[tuple[str, str]]:
    """All pairs, so that models can be ranked; of many, each with the first, the one before it, and the highest."""
    few = len(names) <= RANKED
    return [
        (b, a)
        for i, b in enumerate(names)
        for j, a in enumerate(names[:i])
        if few or j in (0, i - 1) or leader in (a, b)
    ]


def _unlike(a: EvalResult, b: EvalResult) -> str:
    """What two results do not share and would have to; empty where they may be compared."""
    left, right = conditions(a), conditions(b)
    unlike = sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))
    if not unlike:
        return ""
    return "unlike settings or data" if unlike == [SETTINGS] else f"unlike conditions ({', '.join(unlike)})"


def _note(benchmark: str, name: str, why: str, others: Sequence[str]) -> str:
    them, alike = ("it", "both") if len(others) == 1 else ("them", "all")
    listed = " and ".join(filter(None, [", ".join(others[:-1]), others[-1]]))
    return (
        f"{name} was evaluated on {benchmark} with {why} beside {listed} and is not compared with {them}. "
        f"Evaluate {alike} alike."
    )


def _differences(key: str, metrics: Sequence[str], a: Stored, b: Stored) -> Iterator[MetricDifference]:
    names = (a.result.checkpoint, b.result.checkpoint)
    for metric in metrics:
        if metric in UNPAIRED.get(key, ()):
            if found := unpaired_metric(key, metric, names, a, b):
                yield found
        elif columns := paired_columns(a, b, metric):
            yield paired_metric(key, metric, names, columns)
    for metric in a.replicates:
        if found := replicated_metric(key, metric, names, a, b):
            yield found


def replicated_metric(
    benchmark: str, metric: str, names: tuple[str, str], a: Stored, b: Stored
) -> MetricDifference | None:
    """The difference of a metric that is no mean over samples; None where it cannot be paired."""
    found, metrics = (a.replicates.get(metric), b.replicates.get(metric)), (a.result.metrics, b.result.metrics)
    if found[0] is None or found[1] is None or metric not in metrics[0] or metric not in metrics[1]:
        return None
    return replicates.paired(benchmark, metric, names, (metrics[0][metric], metrics[1][metric]), (found[0], found[1]))


def paired_columns(a: Stored, b: Stored, metric: str) -> Columns | None:
    """A metric of two results, joined by sample id; None where one of them has no row that carries it."""
    left, right = a.samples.get(metric), b.samples.get(metric)
    if not left or not right:
        return None
    clusters = {key: cluster for key, (_, cluster) in {**left, **right}.items()}
    ids, absent = sorted(clusters), (None, "")
    return Columns(
        [left.get(i, absent)[0] for i in ids], [right.get(i, absent)[0] for i in ids], [clusters[i] for i in ids]
    )


def paired_metric(benchmark: str, metric: str, names: tuple[str, str], columns: Columns) -> MetricDifference:
    """The mean of ``a - b`` with its interval, clustered by prompt."""
    found = stats.paired_difference(
        columns.a,
        columns.b,
        columns.clusters,
        n_boot=BREAKDOWN_RESAMPLES if "/" in metric else RESAMPLES,
        bounds=bounds_of(benchmark, metric),
    )
    return MetricDifference(
        benchmark=benchmark,
        metric=metric,
        a=names[0],
        b=names[1],
        value=found.value,
        low=found.low,
        high=found.high,
        p_value=found.p_value,
        n=found.n,
        n_total=found.n_total,
        detectable=stats.detectable_difference(columns.a, columns.b, columns.clusters),
    )


def unpaired_metric(
    benchmark: str, metric: str, names: tuple[str, str], a: Stored, b: Stored
) -> MetricDifference | None:
    """The difference of what each checkpoint did with samples of its own; None where one of them has none."""
    left, right = (s.samples.get(metric) for s in (a, b))
    if not left or not right:
        return None
    columns = [list(zip(*side.values(), strict=True)) for side in (left, right)]
    (x, xs), (y, ys) = columns
    found = stats.unpaired_difference(x, y, xs, ys)
    return MetricDifference(
        benchmark=benchmark,
        metric=metric,
        a=names[0],
        b=names[1],
        value=found.value,
        low=found.low,
        high=found.high,
        p_value=found.p_value,
        n=found.n,
        n_total=found.n_total,
        paired=False,
    )


def _head_to_heads(found: Mapping[str, Stored]) -> Iterator[HeadToHead]:
    for earlier, later in combinations(found, 2):
        if not _unlike(found[later].result, found[earlier].result):
            yield head_to_head(later, found[later].rows, earlier, found[earlier].rows)
