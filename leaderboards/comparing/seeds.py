"""Several runs together: means over seeds, and differences between recipes, with seeds and prompts both drawn anew.

A single run's interval is about its prompts; these are about the recipe.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from leaderboards.comparing.records import SETTINGS, Asked, Contrast, OverSeeds, Together, conditions
from leaderboards.comparing.run import Columns, Stored, paired_columns, read_stored
from leaderboards.descriptions import described
from leaderboards.metrics import UNPAIRED
from leaderboards.standings import RESULT
from selfreward_bench import stats
from selfreward_bench.errors import SrbenchError
from selfreward_bench.stats.samples import array

__all__ = ["together"]

_Run = Mapping[str, Stored]  # model -> its result of one benchmark
_PerPrompt = dict[str, tuple[float, int]]  # prompt -> sum and number of the values


def together(groups: Sequence[Sequence[Path]], asked: Sequence[Asked], contrasted: str = "") -> Together:
    """What is asked over each group's seeds, and how the groups' models of one name differ.

    Left out is what a run lacks, what is no mean over samples, and what was made under unlike conditions; a benchmark
    that cannot be read is left out with a word in ``gaps``.

    Args:
        groups: directories of runs, a group for each recipe, each run of a group with a seed of its own.
        contrasted: the model that groups are held against each other by; empty: none.
    """
    pooled: list[list[OverSeeds]] = [[] for _ in groups]
    contrasts: list[Contrast] = []
    gaps: list[str] = []
    for key in dict.fromkeys(a.benchmark for a in asked):  # one benchmark's rows at a time are in memory
        wanted = [a for a in asked if a.benchmark == key]
        names = {n for a in wanted for n in (a.model, a.against) if n}
        try:
            stored = [[_read(run, names, key) for run in runs] for runs in groups]
        except SrbenchError as error:
            gaps.append(f"{key} could not be put together over the runs: {error}")
            continue
        for runs, found in zip(stored, pooled, strict=True):
            if len(runs) > 1 and _alike(runs):
                found += [one for a in wanted if (one := _over_seeds(a, runs)) is not None]
        if contrasted and _alike([run for runs in stored for run in runs]):
            metrics = dict.fromkeys(a.metric for a in wanted)
            contrasts += [c for metric in metrics for c in _contrasts(key, metric, contrasted, stored)]
    return Together(pooled=tuple(map(tuple, pooled)), contrasts=tuple(contrasts), gaps=tuple(gaps))


def _read(run: Path, names: set[str], key: str) -> _Run:
    folders = {name: run / name / "eval" / key for name in names}
    return {name: read_stored(folder) for name, folder in folders.items() if (folder / RESULT).is_file()}


def _alike(runs: Sequence[_Run]) -> bool:
    """Whether all results share what they must, to be put together; that seeds differ is the point."""
    made = [conditions(s.result) for run in runs for s in run.values()]
    return len({tuple(sorted((k, v) for k, v in m.items() if k != SETTINGS)) for m in made}) < 2


def _over_seeds(asked: Asked, runs: Sequence[_Run]) -> OverSeeds | None:
    totals = _totals([_per_prompt(asked, run) for run in runs])
    if totals is None:
        return None
    value, low, high = stats.crossed_interval(totals)
    if value is None:
        return None
    means = totals.sums.sum(axis=1) / totals.counts.sum(axis=1)
    sizes = {"n_seeds": len(runs), "n_prompts": totals.sums.shape[1]}
    return OverSeeds(**asked.model_dump(), value=value, sd=float(means.std(ddof=1)), low=low, high=high, **sizes)


def _contrasts(key: str, metric: str, model: str, groups: Sequence[Sequence[_Run]]) -> Iterator[Contrast]:
    asked = Asked(benchmark=key, metric=metric, model=model)
    found = [[_per_prompt(asked, run) for run in runs] for runs in groups]
    for i, j in combinations(range(len(groups)), 2):
        totals = _totals([*found[j], *found[i]])
        if totals is None:
            continue
        n = len(found[j])
        later, earlier = (stats.Totals(totals.sums[part], totals.counts[part]) for part in (slice(n), slice(n, None)))
        value, low, high = stats.crossed_difference(later, earlier)
        if value is not None:
            yield Contrast(**asked.model_dump(), a=j, b=i, value=value, low=low, high=high)


def _totals(runs: Sequence[_PerPrompt]) -> stats.Totals | None:
    """Of the prompts that all runs have; None where there is none."""
    prompts = sorted(set.intersection(*(set(run) for run in runs))) if runs else []
    if not prompts:
        return None
    table = np.array([[run[p] for p in prompts] for run in runs], dtype=np.float64)
    return stats.Totals(table[:, :, 0], table[:, :, 1])


def _per_prompt(asked: Asked, run: _Run) -> _PerPrompt:
    """Of the samples that are scored, on both sides where there are two; nothing for what is no mean over samples."""
    metric = asked.metric
    unpaired = bool(asked.against) and metric in UNPAIRED.get(asked.benchmark, ())
    lacking = asked.model not in run or bool(asked.against and asked.against not in run)
    if unpaired or lacking or metric not in described(asked.benchmark).paired:
        return {}
    model = run[asked.model]
    columns = paired_columns(model, run[asked.against], metric) if asked.against else _single(model, metric)
    found: _PerPrompt = {}
    for prompt, gap in _gaps(columns) if columns else ():
        total, n = found.get(prompt, (0.0, 0))
        found[prompt] = (total + gap, n + 1)
    return found


def _single(stored: Stored, metric: str) -> Columns | None:
    values = stored.samples.get(metric)
    if not values:
        return None
    ids = sorted(values)
    return Columns([values[i][0] for i in ids], [0.0] * len(ids), [values[i][1] for i in ids])


def _gaps(columns: Columns) -> Iterator[tuple[str, float]]:
    gaps = array(columns.a) - array(columns.b)
    yield from ((c, float(g)) for c, g in zip(columns.clusters, gaps, strict=True) if not np.isnan(g))
