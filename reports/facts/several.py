"""Several runs in one report: those that differ in their seed alone become a mean and a spread, others stand apart.

The mean and standard deviation over seeds are of finished numbers; intervals of single runs are not pooled.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from leaderboards import chain
from reports import wording
from reports.facts import comparability, questions, tables
from reports.facts.run import RunFacts
from reports.facts.tables import Cell, Change, Grid
from reports.page.plots import axis, scaled
from reports.page.section import Chart
from selfreward_bench.types import EvalResult, Metric

__all__ = ["Group", "Spread", "answered", "charts", "compared", "group", "spread", "unlike"]

_SEED: Final = "seed"
_IGNORED: Final = (_SEED, "name", "threads")
_EVAL: Final = "eval."
_TOLD: Final = 4  # settings in a label


@dataclass(frozen=True, slots=True)
class Group:
    """Runs with equal settings but for the seed.

    Attributes:
        label: what sets it apart from the other groups: ``rewards = oracle``; the run's name where nothing does.
    """

    label: str
    runs: tuple[RunFacts, ...]


@dataclass(frozen=True, slots=True)
class Spread:
    """A number over runs.

    Attributes:
        sd: sample standard deviation; None for fewer than two runs.
        n, of: how many runs have it, of how many.
    """

    mean: float
    sd: float | None
    n: int
    of: int


def group(runs: Sequence[RunFacts]) -> list[Group]:
    """The runs by settings, in the order given. A run of unknown settings, or of a seed that is there, is alone."""
    found: dict[object, list[RunFacts]] = {}
    for i, facts in enumerate(runs):
        key = tuple(sorted((k, v) for k, v in facts.settings.items() if k not in _IGNORED))
        seeds = [r.settings.get(_SEED) for r in found.get(key, ())]
        alone = not key or facts.settings.get(_SEED) in seeds
        found.setdefault(i if alone else key, []).append(facts)
    members = list(found.values())
    differing = _differing([m[0] for m in members])
    return [Group(_label(m, differing), tuple(m)) for m in members]


def _differing(runs: Sequence[RunFacts]) -> list[str]:
    keys = dict.fromkeys(k for facts in runs for k in facts.settings if k not in _IGNORED)
    return [k for k in keys if len({facts.settings.get(k) for facts in runs}) > 1]


def _label(members: Sequence[RunFacts], differing: Sequence[str]) -> str:
    told = [f"{k} = {wording.clip(members[0].settings.get(k, 'not set'), 40)}" for k in differing[:_TOLD]]
    if len(differing) > _TOLD:
        told.append(f"and {len(differing) - _TOLD} more settings")
    if not told or not members[0].settings:
        return members[0].name if len(members) == 1 else "all runs"
    return ", ".join(told)


def spread(values: Sequence[float | None]) -> Spread | None:
    """Mean and standard deviation of what is there; None of nothing."""
    known = [v for v in values if v is not None]
    if not known:
        return None
    sd = statistics.stdev(known) if len(known) > 1 else None
    return Spread(statistics.fmean(known), sd, len(known), len(values))


def compared(groups: Sequence[Group]) -> list[Grid]:
    """A table per main metric: groups by models, and how far the last model is from the first iteration.

    All have the same columns; ``≠`` in a title marks unlike conditions.
    """
    runs = [facts for g in groups for facts in g.runs]
    names = _ordered(runs, {m.name for facts in runs for m in facts.models if m.results})
    iterations = tables.iterations(names)
    ends = (iterations[-1], iterations[0]) if len(iterations) > 1 else None
    columns = ("Setting", "Runs", *names, *((f"{ends[0]} − {ends[1]}",) if ends else ()))  # noqa: RUF001 - a minus
    marked = _unlike_keys(runs)
    grids = []
    for key in tables.benchmarks(runs):
        for metric in dict.fromkeys(m for facts in runs for m in tables.headline_metrics(facts, key)):
            title = f"{wording.title(key)}: {wording.info(key, metric).label}{' ≠' if key in marked else ''}"
            grids.append(Grid(title, columns, tuple(_row(g, key, metric, names, ends) for g in groups)))
    return grids


def _ordered(runs: Sequence[RunFacts], names: Iterable[str]) -> list[str]:
    """In the order of training; where others are among them, as they stand there."""
    wanted = set(names)
    return chain.in_turn(dict.fromkeys(m.name for facts in runs for m in facts.models if m.name in wanted))


def answered(groups: Sequence[Group]) -> Grid:
    """The questions of a single run, and in how many runs of each group which answer was found."""
    told = [[questions.answers(facts) for facts in g.runs] for g in groups]
    asked = dict.fromkeys(s.question for of_group in told for of_run in of_group for s in of_run)
    rows = tuple((question, *(_words(question, of_group) for of_group in told)) for question in asked)
    note = "Each run's answer by itself, and in how many runs it was found; the evidence is below, run by run."
    return Grid("Answers", ("Question", *(g.label for g in groups)), rows, note)


def _words(question: str, told: Sequence[Sequence[questions.Sentence]]) -> str:
    """``No, worse in 4; Not shown in 1``; how many measures regressed is not told apart."""
    words = [s.word for of_run in told for s in of_run if s.question == question]
    counts = Counter("Regressions" if word[0].isdecimal() else word for word in words)
    if len(told) == 1:
        return words[0] if words else wording.NOTHING
    return "; ".join(f"{word} in {n}" for word, n in counts.most_common()) or wording.NOTHING


def charts(groups: Sequence[Group]) -> list[tuple[str, Chart]]:
    """``(title, chart)`` for the first metric of each benchmark: the groups' curves over the models."""
    runs = [facts for g in groups for facts in g.runs]
    found = []
    for key in tables.benchmarks(runs):
        metrics = [m for facts in runs for m in tables.headline_metrics(facts, key)]
        rows = _points(groups, key, metrics[0]) if metrics else []
        if rows:
            title = f"{wording.title(key)}: {wording.info(key, metrics[0]).label}"
            unit = wording.info(key, metrics[0]).unit
            found.append((title, Chart("lines", title, rows, {"y": axis(unit)})))
    return found


def _points(groups: Sequence[Group], benchmark: str, metric: str) -> list[dict[str, Any]]:
    """Mean and spread of a group's runs; of one run, its number and interval."""
    unit = wording.info(benchmark, metric).unit
    runs = [facts for g in groups for facts in g.runs]
    rows = []
    for members in groups:
        names = _ordered(runs, {m.name for r in members.runs for m in r.models if benchmark in m.results})
        for name in names:
            found = [m for r in members.runs if (m := _metric(r, benchmark, metric, name)) is not None]
            over = spread([m.value for m in found])
            if over is None:
                continue
            low, high = (None, None) if over.sd is None else (over.mean - over.sd, over.mean + over.sd)
            if len(members.runs) == 1:
                low, high = found[0].low, found[0].high
            bounds = {"y": over.mean, "low": low, "high": high}
            apart = bool(chain.iterations(names)) and name not in (chain.BASE, *chain.iterations(names))
            drawn = {k: scaled(v, unit) for k, v in bounds.items()}
            rows.append({"x": name, "series": members.label, "apart": apart, **drawn})
    return rows


def _row(
    members: Group, benchmark: str, metric: str, names: Sequence[str], ends: tuple[str, str] | None
) -> tuple[str | Cell | Change, ...]:
    n = len(members.runs)
    cells: list[str | Cell | Change] = [
        members.label,
        f"{n} seeds" if n > 1 else "1 run",
        *(_cell(members, benchmark, metric, m) for m in names),
    ]
    if ends:
        cells.append(_gain(members, benchmark, metric, ends))
    return tuple(cells)


def _cell(members: Group, benchmark: str, metric: str, model: str) -> Cell:
    """One run's number with its interval; of several, mean ± standard deviation."""
    if len(members.runs) == 1:
        facts = members.runs[0]
        only = next((m for m in facts.models if m.name == model), None)
        cell = tables.metric_cell(facts, only, benchmark, metric) if only else Cell(wording.NOTHING)
        return Cell(cell.value, cell.interval, cell.scored)
    found = [_metric(facts, benchmark, metric, model) for facts in members.runs]
    return _spread_cell(spread([m.value if m else None for m in found]), wording.info(benchmark, metric).unit)


def _gain(members: Group, benchmark: str, metric: str, ends: tuple[str, str]) -> Cell:
    unit = wording.info(benchmark, metric).unit
    found = [tables.difference(facts, benchmark, metric, *ends) for facts in members.runs]
    if len(members.runs) == 1:
        if found[0] is None:
            return Cell(wording.NOTHING)
        change = tables.change_of(found[0], members.runs[0])
        return Cell(f"{change.arrow} {change.value}".strip(), change.interval)
    return _spread_cell(spread([d.value if d else None for d in found]), unit, signed=True)


def _spread_cell(found: Spread | None, unit: str, *, signed: bool = False) -> Cell:
    if found is None:
        return Cell(wording.NOTHING)
    sd = "" if found.sd is None else f"± {wording.number(found.sd, unit).removesuffix(' %')}"
    return Cell(
        wording.number(found.mean, unit, signed=signed),
        sd,
        f"{found.n} of {found.of} runs" if found.n < found.of else "",
    )


def _metric(facts: RunFacts, benchmark: str, metric: str, model: str) -> Metric | None:
    found = next((m for m in facts.models if m.name == model), None)
    result = found.results.get(benchmark) if found else None
    return result.metrics.get(metric) if result else None


def unlike(groups: Sequence[Group]) -> list[str]:
    """What the runs' numbers of one benchmark do not share, and would have to, to stand in one column.

    Settings' hashes differ between seeds; that alone is no reason between runs, other settings of evaluation are.
    """
    runs = [facts for g in groups for facts in g.runs]
    told = [f"{wording.title(key)}: {phrase}" for key, phrases in _unlike_keys(runs).items() for phrase in phrases]
    names = _names(runs)
    settings = {
        n: {k: v for k, v in f.settings.items() if k.startswith(_EVAL)} for n, f in zip(names, runs, strict=True)
    }
    return told + [f"setting {phrase}" for phrase in comparability.differing({n: s for n, s in settings.items() if s})]


def _unlike_keys(runs: Sequence[RunFacts]) -> dict[str, list[str]]:
    told = {k: comparability.unlike(_one_each(runs, k), settings=False) for k in tables.benchmarks(runs)}
    return {key: phrases for key, phrases in told.items() if phrases}


def _one_each(runs: Sequence[RunFacts], benchmark: str) -> Mapping[str, EvalResult]:
    """A result of each run, under the run's name."""
    found: dict[str, EvalResult] = {}
    for name, facts in zip(_names(runs), runs, strict=True):
        result = next((m.results[benchmark] for m in reversed(facts.models) if benchmark in m.results), None)
        if result is not None:
            found[name] = result
    return found


def _names(runs: Sequence[RunFacts]) -> list[str]:
    """The runs' names; of equal ones, with their number."""
    names = [facts.name for facts in runs]
    return [n if names.count(n) == 1 else f"{n} ({i})" for i, n in enumerate(names, 1)]
