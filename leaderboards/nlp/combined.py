"""From the rows of all tasks to metrics.

A task's number is its mean over documents, MMLU's the mean over its subjects (macro), another group's what lm-eval says
it is, the average the mean over tasks. Rows carry their share in such a mean of means (value times a weight), so that
two checkpoints can be compared paired.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from leaderboards.base import measures
from leaderboards.nlp.names import MMLU, info_of, is_binary, unit_name
from leaderboards.nlp.scores import Leaf, TaskScores
from leaderboards.nlp.tasks import TASKS
from selfreward_bench import stats
from selfreward_bench.types import Metric, MetricInfo, SampleScore

__all__ = ["Combined", "Told", "combine", "stratified_mean"]

_SAME: Final = 1e-6  # a number and the mean it is
_WHOLE: Final = 1e-4  # a count and the whole number it is
_NORMAL: Final = 1.96


@dataclass(frozen=True)
class Told:
    """lm-eval's own number of a group, with its standard error where there is one."""

    value: float
    error: float | None = None


@dataclass(frozen=True)
class Combined:
    """What the tasks come to.

    Attributes:
        rows: with their final measures.
        metrics: what is no plain mean over rows.
        shown: how the units' numbers are shown, where no table says it.
        averaged: the units that ``average`` is the mean of.
    """

    rows: list[SampleScore]
    metrics: dict[str, Metric]
    shown: dict[str, MetricInfo]
    averaged: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Unit:
    """Tasks that are counted together.

    Attributes:
        told: lm-eval's own number for all of them, where it gives one.
        by_row: whether all numbers are means over rows.
        weights: of each task's mean in the unit's number; empty where that is no mean of theirs.
        is_macro: whether every task counts alike, however many documents it has.
    """

    name: str
    leaves: Sequence[Leaf]
    told: Told | None
    by_row: bool
    weights: Sequence[float] = ()
    is_macro: bool = False

    @property
    def main(self) -> str:
        return self.leaves[0].scores.main

    @property
    def metric(self) -> str:
        """What the unit's number is called."""
        return unit_name(self.name, self.main)

    @property
    def several(self) -> bool:
        return len(self.leaves) > 1 or bool(self.leaves[0].scores.subject)

    @property
    def n_scored(self) -> int:
        return sum(map(_n_scored, self.leaves))


def combine(leaves: Sequence[Leaf], told: Mapping[str, Told] | None = None) -> Combined:
    """Rows with their final measures, and the metrics that are no plain means over rows.

    Measures: the unit's name (its main number), ``UNIT/METRIC`` or ``UNIT/FILTER`` for its other numbers, for a unit of
    several tasks ``UNIT/SUBJECT``, for one whose tasks count alike ``UNIT_micro`` (mean over documents),
    ``UNIT/no_answer``, ``truncated_prompts``, and ``average`` where there are several units, all of shares.

    Args:
        told: unit -> lm-eval's own number of its tasks together. Where it is a mean over documents the unit's is one
            too; MMLU's is the mean over subjects whatever lm-eval says.
    """
    grouped: dict[str, list[Leaf]] = defaultdict(list)
    for leaf in leaves:
        grouped[leaf.scores.unit].append(leaf)
    units = [_unit(name, group, (told or {}).get(name)) for name, group in grouped.items()]
    averaged = len(units) > 1 and all(u.by_row and u.weights for u in units) and all(map(_is_share, leaves))
    metrics: dict[str, Metric] = {}
    for unit in units:
        if not unit.by_row:
            metrics |= _summaries(unit)
        elif not unit.weights:
            metrics |= _of_group(unit, unit.metric, unit.n_scored)
        elif len(unit.leaves) > 1:
            metrics[unit.metric] = _weighted([unit], [1.0])
    if averaged:
        metrics["average"] = _weighted(units, [1 / len(units)] * len(units))
    n_all, rows = sum(u.n_scored for u in units), []
    for unit in units:
        for leaf, weight in zip(unit.leaves, unit.weights or [0.0] * len(unit.leaves), strict=True):
            n_leaf = max(1, _n_scored(leaf))
            in_all = weight * n_all / (len(units) * n_leaf) if averaged else None
            names = _names(unit, leaf, weight * unit.n_scored / n_leaf, in_all)
            rows += [_renamed(r, names) for r in leaf.rows]
    shown = {name: info for unit in units for name, info in _shown(unit)}
    return Combined(rows, metrics, shown, tuple(u.metric for u in units) if averaged else ())


def _unit(name: str, group: Sequence[Leaf], told: Told | None) -> _Unit:
    by_row = all(_is_mean(leaf, leaf.scores.main) for leaf in group)
    macro, several = [1 / len(group)] * len(group), len(group) > 1
    if told is None or name == MMLU or not several:
        return _Unit(name, group, told, by_row, macro, several)
    sizes = [_n_scored(leaf) if by_row else leaf.scores.n for leaf in group]
    micro = [n / max(1, sum(sizes)) for n in sizes]
    values = [leaf.scores.metrics[leaf.scores.main] or 0.0 for leaf in group]
    for weights in (micro, macro):
        if abs(float(np.dot(weights, values)) - told.value) < _SAME:
            return _Unit(name, group, told, by_row, weights, weights is macro)
    return _Unit(name, group, told, by_row)


def _weighted(units: Sequence[_Unit], weights: Sequence[float]) -> Metric:
    return stratified_mean(
        [
            (leaf.rows, of_unit * weight, leaf.scores.main)
            for unit, of_unit in zip(units, weights, strict=True)
            for leaf, weight in zip(unit.leaves, unit.weights, strict=True)
        ]
    )


def _names(unit: _Unit, leaf: Leaf, in_unit: float, in_all: float | None) -> dict[str, tuple[str, float]]:
    """Measure -> the key it is made from and the weight it is multiplied with."""
    scores, whole = leaf.scores, unit.metric
    main, keys = scores.main, list(scores.metrics)
    names: dict[str, tuple[str, float]] = {}
    if unit.by_row and unit.weights:
        names[whole] = (main, in_unit)
    if unit.by_row and unit.several:
        names[f"{whole}/{scores.subject}"] = (main, 1)
    if unit.by_row and unit.is_macro:
        names[f"{whole}_micro"] = (main, 1)
    if in_all is not None:
        names["average"] = (main, in_all)
    if not unit.several:
        names |= {f"{whole}/{_short(k, keys)}": (k, 1) for k in keys if k != main and _is_mean(leaf, k)}
    return names | {f"{whole}/no_answer": ("no_answer", 1), "truncated_prompts": ("cut", 1)}


def _renamed(row: SampleScore, names: Mapping[str, tuple[str, float]]) -> SampleScore:
    raw = measures(row)
    found = {name: (raw[key], weight) for name, (key, weight) in names.items() if key in raw}
    named = {name: None if value is None else value * weight for name, (value, weight) in found.items()}
    return row.model_copy(update={"detail": {**row.detail, "measures": named}})


def _short(key: str, keys: Sequence[str]) -> str:
    """``METRIC,FILTER`` without the half that all keys of the task share."""
    metric, _, chosen = key.partition(",")
    if len({k.partition(",")[2] for k in keys}) == 1:
        return metric
    return chosen if len({k.partition(",")[0] for k in keys}) == 1 else key


def _shown(unit: _Unit) -> Iterator[tuple[str, MetricInfo]]:
    """How the numbers of a unit are shown that are not among the profile's."""
    metric = unit.main.partition(",")[0]
    better = unit.leaves[0].scores.better.get(metric)
    info = info_of(unit.name, unit.main, shares=_are_shares(unit), better=better)
    yield unit.metric, info
    scores = unit.leaves[0].scores
    for key in () if unit.several or unit.name in TASKS else scores.metrics:
        if key != unit.main:  # of a task that nobody knows all numbers count
            value, rises = scores.metrics[key], scores.better.get(key.partition(",")[0])
            shares = None if value is None or 0 <= value <= 1 else False
            yield (
                f"{unit.metric}/{_short(key, [*scores.metrics])}",
                info_of(unit.name, key, shares=shares, better=rises),
            )
    if unit.is_macro:
        yield f"{unit.metric}_micro", info.model_copy(update={"label": f"{info.label[:170]}, mean over documents"})


# --- numbers that are no means over rows: perplexity, F1, a bare summary


def _summaries(unit: _Unit) -> dict[str, Metric]:
    """lm-eval's own numbers, of each task and of all together."""
    found = {}
    for leaf in unit.leaves:
        scores, keys = leaf.scores, list(leaf.scores.metrics)
        name = f"{unit.metric}/{scores.subject}" if unit.several else unit.metric
        for key in keys:
            found[name if key == scores.main else f"{name}/{_short(key, keys)}"] = _told(scores, key)
    if not unit.several:
        return found
    n = sum(leaf.scores.n for leaf in unit.leaves)
    if not unit.weights:
        return found | _of_group(unit, unit.metric, n)
    return found | {unit.metric: _mean_of_told(unit)} | _of_group(unit, f"{unit.metric}_micro", n)


def _of_group(unit: _Unit, name: str, n: int) -> dict[str, Metric]:
    """lm-eval's own number of all tasks together; MMLU's is a mean over questions."""
    if unit.told is None or (unit.weights and unit.name != MMLU):
        return {}
    return {name: _with_error(unit.told.value, unit.told.error, n, unit.main)}


def _told(scores: TaskScores, key: str) -> Metric:
    """A number of lm-eval's: of rights and wrongs with a binary interval, else with what its standard error gives."""
    value, n = scores.metrics[key], scores.n
    if value is None:
        return Metric(value=None, n_scored=0, n_total=n)
    if (rights := _rights(scores, key)) is not None:
        return stats.mean_interval([1.0] * rights + [0.0] * (n - rights), bounds=(0, 1))
    return _with_error(value, scores.errors.get(key), n, key)


def _with_error(value: float, error: float | None, n: int, key: str) -> Metric:
    """A standard error of 0 says that nothing varied, not that the number is certain."""
    low, high = (value - _NORMAL * error, value + _NORMAL * error) if error else (None, None)
    if low is not None and high is not None and is_binary(key.partition(",")[0]) and 0 <= value <= 1:
        low, high = max(low, 0.0), min(high, 1.0)
    return Metric(value=value, low=low, high=high, n_scored=n, n_total=n)


def _rights(scores: TaskScores, key: str) -> int | None:
    """How many documents a share of rights is of; None where it is none."""
    value, n = scores.metrics[key], scores.n
    if value is None or not n or not is_binary(key.partition(",")[0]):
        return None
    rights = round(value * n)
    return rights if abs(rights - value * n) < _WHOLE and 0 <= rights <= n else None


def _mean_of_told(unit: _Unit) -> Metric:
    """The weighted mean of the tasks' numbers, which are independent of each other."""
    n, main = sum(leaf.scores.n for leaf in unit.leaves), unit.main
    parts = [(_told(leaf.scores, main), w) for leaf, w in zip(unit.leaves, unit.weights, strict=True)]
    if any(part.value is None for part, _ in parts):
        return Metric(value=None, n_scored=0, n_total=n)
    value = sum(w * part.value for part, w in parts if part.value is not None)
    rights = [_rights(leaf.scores, main) for leaf in unit.leaves]
    if None not in rights:
        counts = zip(unit.leaves, rights, unit.weights, strict=True)
        return stats.stratified_mean([_strata(leaf.scores.n, k or 0, w) for leaf, k, w in counts])
    errors = [(w, leaf.scores.errors.get(main)) for leaf, w in zip(unit.leaves, unit.weights, strict=True)]
    known = all(error is not None for _, error in errors)
    error = math.sqrt(sum((w * (error or 0)) ** 2 for w, error in errors)) if known else None
    return _with_error(value, error, n, main)


def _strata(n: int, rights: int, weight: float) -> tuple[list[float], range, float]:
    return [1.0] * rights + [0.0] * (n - rights), range(n), weight


def _column(leaf: Leaf, key: str) -> list[float]:
    return [v for r in leaf.rows if (v := measures(r).get(key)) is not None]


def _n_scored(leaf: Leaf) -> int:
    return len(_column(leaf, leaf.scores.main))


def _is_mean(leaf: Leaf, key: str) -> bool:
    """Whether the rows' mean is lm-eval's number; it aggregates some metrics in other ways."""
    column, told = _column(leaf, key), leaf.scores.metrics.get(key)
    return bool(column) and told is not None and abs(float(np.mean(column)) - told) < _SAME


def _is_share(leaf: Leaf) -> bool:
    return all(0 <= v <= 1 for v in _column(leaf, leaf.scores.main))


def _are_shares(unit: _Unit) -> bool | None:
    """Whether all values are between 0 and 1; None where they may be, and the documents' are not known."""
    told = [leaf.scores.metrics[leaf.scores.main] for leaf in unit.leaves]
    if not all(value is None or 0 <= value <= 1 for value in told):
        return False
    return all(map(_is_share, unit.leaves)) if all(map(_n_scored, unit.leaves)) else None


def stratified_mean(strata: Sequence[tuple[Sequence[SampleScore], float, str]]) -> Metric:
    """The weighted sum of the strata's means with its 95% interval; equal documents are one cluster.

    Args:
        strata: rows, the weight of their mean (weights sum to 1), the measure that counts.
    """
    return stats.stratified_mean(
        [([measures(r).get(key) for r in rows], [r.cluster for r in rows], weight) for rows, weight, key in strata]
    )
