"""Several runs in one report: seeds of one recipe become a mean, a spread and an interval, others stand apart.

Mean and standard deviation over seeds are of finished numbers. Intervals over seeds, and differences between groups,
are ``leaderboards.comparing.seeds``'s and handed in.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from leaderboards import chain
from leaderboards.comparing import Asked, OverSeeds, Together
from reports import wording
from reports.facts import comparability, grouping, questions, tables
from reports.facts.grouping import Group, group
from reports.facts.run import RunFacts
from reports.facts.tables import Cell, Change, Grid
from reports.page.plots import axis, scaled
from reports.page.section import Chart
from selfreward_bench.types import EvalResult, Metric

__all__ = [
    "Spread",
    "about",
    "answered",
    "asked",
    "charts",
    "compared",
    "contrasted",
    "group",
    "lines",
    "spread",
    "unlike",
]

_EVAL: Final = "eval."
_NOBODY: Final = Together()
_ARROWS: Final = {1: "▲", -1: "▼", 0: ""}
_TONES: Final[dict[int, wording.Tone]] = {1: "better", -1: "worse", 0: "neutral"}


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


def spread(values: Sequence[float | None]) -> Spread | None:
    """Mean and standard deviation of what is there; None of nothing."""
    known = [v for v in values if v is not None]
    if not known:
        return None
    sd = statistics.stdev(known) if len(known) > 1 else None
    return Spread(statistics.fmean(known), sd, len(known), len(values))


def asked(groups: Sequence[Group]) -> tuple[list[Asked], str]:
    """What the tables want to know over seeds, and the model that groups are held against each other by."""
    runs = [facts for g in groups for facts in g.runs]
    names, ends = _models(runs)
    found = [
        Asked(benchmark=key, metric=metric, model=model, against=against)
        for key, metric in _headlines(runs)
        for model, against in (*((name, "") for name in names), *((ends,) if ends else ()))
    ]
    return found, ends[0] if ends and len(groups) > 1 else ""


def compared(groups: Sequence[Group], together: Together = _NOBODY) -> list[Grid]:
    """A table per main metric: groups by models, and how far the last model is from the first iteration.

    All have the same columns; ``≠`` in a title marks unlike conditions. The last model's best value is marked where it
    is shown to be better than every other group's.
    """
    runs = [facts for g in groups for facts in g.runs]
    names, ends = _models(runs)
    columns = ("Method", "Runs", *names, *((f"{ends[0]} − {ends[1]}",) if ends else ()))  # noqa: RUF001 - a minus
    marked = _unlike_keys(runs)
    grids = []
    for key, metric in _headlines(runs):
        title = f"{wording.title(key)}: {wording.info(key, metric).label}{' ≠' if key in marked else ''}"
        best = _best(groups, together, key, metric)
        rows = [_row(g, key, metric, names, ends, _over(together, i)) for i, g in enumerate(groups)]
        if best is not None and ends:
            at = 2 + names.index(ends[0])
            rows[best] = tuple(
                replace(c, best=True) if k == at and isinstance(c, Cell) else c for k, c in enumerate(rows[best])
            )
        grids.append(Grid(title, columns, tuple(rows)))
    return grids


def about(together: Together) -> str:
    """What the numbers of ``compared`` are, in words."""
    if any(together.pooled):
        return (
            "Mean ± standard deviation over seeds, where settings differ in the seed alone; in brackets, the 95% "
            "interval when seeds and prompts are both drawn anew. Of a method with one run, that run's interval."
        )
    return "Mean ± standard deviation over seeds, where settings differ in the seed alone."


def contrasted(groups: Sequence[Group], together: Together) -> Grid | None:
    """How the groups' last models differ; None where nobody held them against each other."""
    rows: list[tuple[str | Cell | Change, ...]] = []
    for c in together.contrasts:
        shown = wording.info(c.benchmark, c.metric)
        value = wording.number(c.value, shown.unit, signed=True)
        arrow, tone = _ARROWS[c.direction], _TONES[c.direction * shown.better]
        change = Change("", value, wording.interval(c.low, c.high, shown.unit, signed=True), arrow, tone)
        rows.append(
            (f"{wording.title(c.benchmark)}: {shown.label}", f"{groups[c.a].label} − {groups[c.b].label}", change)  # noqa: RUF001
        )
    if not rows:
        return None
    note = "Seeds and prompts both drawn anew; of a method with one run, that run. Not adjusted for their number."
    model = together.contrasts[0].model
    return Grid(f"Differences of {model} between methods", ("Measure", "Methods", "Difference"), tuple(rows), note)


def lines(groups: Sequence[Group], together: Together) -> list[tuple[str, str, str, str, str]]:
    """Method, measure, seeds, models and their difference over the seeds, for a terminal."""
    return [
        (
            members.label,
            f"{wording.title(over.benchmark)}: {wording.info(over.benchmark, over.metric).label}",
            str(over.n_seeds),
            f"{over.model} − {over.against}",  # noqa: RUF001 - a minus
            _told(over),
        )
        for i, members in enumerate(groups)
        for over in _over(together, i).values()
        if over.against
    ]


def _told(over: OverSeeds) -> str:
    unit = wording.info(over.benchmark, over.metric).unit
    sd = wording.number(over.sd, unit).removesuffix(" %")
    interval = wording.interval(over.low, over.high, unit, signed=True)
    return f"{wording.number(over.value, unit, signed=True)} ± {sd} {interval}".strip()


def _models(runs: Sequence[RunFacts]) -> tuple[list[str], tuple[str, str] | None]:
    """The models in order; the last iteration that all runs have, and the first."""
    evaluated = [{m.name for m in facts.models if m.results} for facts in runs]
    names = _ordered(runs, set().union(*evaluated))
    iterations = [name for name in tables.iterations(names) if all(name in there for there in evaluated)]
    return names, (iterations[-1], iterations[0]) if len(iterations) > 1 else None


def _headlines(runs: Sequence[RunFacts]) -> list[tuple[str, str]]:
    return [
        (key, metric)
        for key in tables.benchmarks(runs)
        for metric in dict.fromkeys(m for facts in runs for m in tables.headline_metrics(facts, key))
    ]


def _over(together: Together, number: int) -> dict[tuple[str, str, str, str], OverSeeds]:
    """What was asked over the seeds of a group, by benchmark, metric, model and the model it is held against."""
    found = together.pooled[number] if number < len(together.pooled) else ()
    return {(o.benchmark, o.metric, o.model, o.against): o for o in found}


def _best(groups: Sequence[Group], together: Together, key: str, metric: str) -> int | None:
    """The group that is shown to be better than every other; None where there is none."""
    sense = wording.info(key, metric).better
    beaten: dict[int, set[int]] = {}
    for c in together.contrasts:
        if (c.benchmark, c.metric) == (key, metric) and (won := c.direction * sense):
            winner, loser = (c.a, c.b) if won > 0 else (c.b, c.a)
            beaten.setdefault(winner, set()).add(loser)
    return next((g for g, losers in beaten.items() if len(losers) == len(groups) - 1), None)


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


def charts(groups: Sequence[Group], together: Together = _NOBODY) -> list[tuple[str, Chart]]:
    """``(title, chart)`` for the first metric of each benchmark: the groups' curves over the models."""
    runs = [facts for g in groups for facts in g.runs]
    found = []
    for key in tables.benchmarks(runs):
        metrics = [m for facts in runs for m in tables.headline_metrics(facts, key)]
        rows = _points(groups, key, metrics[0], together) if metrics else []
        if rows:
            title = f"{wording.title(key)}: {wording.info(key, metrics[0]).label}"
            unit = wording.info(key, metrics[0]).unit
            found.append((title, Chart("lines", title, rows, {"y": axis(unit)})))
    return found


def _points(groups: Sequence[Group], benchmark: str, metric: str, together: Together) -> list[dict[str, Any]]:
    """Mean and interval of a group's runs (where nobody made one, the spread); of one run, its number and interval."""
    unit = wording.info(benchmark, metric).unit
    runs = [facts for g in groups for facts in g.runs]
    rows = []
    for i, members in enumerate(groups):
        over = _over(together, i)
        names = _ordered(runs, {m.name for r in members.runs for m in r.models if benchmark in m.results})
        for name in names:
            found = [m for r in members.runs if (m := _metric(r, benchmark, metric, name)) is not None]
            mean = spread([m.value for m in found])
            if mean is None:
                continue
            pooled = over.get((benchmark, metric, name, ""))
            low, high = (None, None) if mean.sd is None else (mean.mean - mean.sd, mean.mean + mean.sd)
            if pooled is not None and pooled.low is not None:
                low, high = pooled.low, pooled.high
            if len(members.runs) == 1:
                low, high = found[0].low, found[0].high
            bounds = {"y": mean.mean, "low": low, "high": high}
            apart = bool(chain.iterations(names)) and name not in (chain.BASE, *chain.iterations(names))
            drawn = {k: scaled(v, unit) for k, v in bounds.items()}
            rows.append({"x": name, "series": members.label, "apart": apart, **drawn})
    return rows


def _row(
    members: Group,
    benchmark: str,
    metric: str,
    names: Sequence[str],
    ends: tuple[str, str] | None,
    over: Mapping[tuple[str, str, str, str], OverSeeds],
) -> tuple[str | Cell | Change, ...]:
    n = len(members.runs)
    cells: list[str | Cell | Change] = [
        members.label,
        f"{n} seeds" if n > 1 else "1 run",
        *(_cell(members, benchmark, metric, m, over.get((benchmark, metric, m, ""))) for m in names),
    ]
    if ends:
        cells.append(_gain(members, benchmark, metric, ends, over.get((benchmark, metric, *ends))))
    return tuple(cells)


def _cell(members: Group, benchmark: str, metric: str, model: str, pooled: OverSeeds | None) -> Cell:
    """One run's number with its interval; of several, mean ± standard deviation and the interval over both."""
    if len(members.runs) == 1:
        facts = members.runs[0]
        only = next((m for m in facts.models if m.name == model), None)
        cell = tables.metric_cell(facts, only, benchmark, metric) if only else Cell(wording.NOTHING)
        return Cell(cell.value, cell.interval, cell.scored)
    found = [_metric(facts, benchmark, metric, model) for facts in members.runs]
    unit = wording.info(benchmark, metric).unit
    return _spread_cell(spread([m.value if m else None for m in found]), unit, pooled)


def _gain(
    members: Group, benchmark: str, metric: str, ends: tuple[str, str], pooled: OverSeeds | None
) -> Cell | Change:
    shown = wording.info(benchmark, metric)
    found = [tables.difference(facts, benchmark, metric, *ends) for facts in members.runs]
    if len(members.runs) == 1:
        return Cell(wording.NOTHING) if found[0] is None else tables.change_of(found[0], members.runs[0])
    cell = _spread_cell(spread([d.value if d else None for d in found]), shown.unit, pooled, signed=True)
    if pooled is None or pooled.low is None or pooled.high is None:
        return cell
    sign = 1 if pooled.low > 0 else -1 if pooled.high < 0 else 0
    return Change(
        ends[1],
        cell.value,
        cell.interval,
        {1: "▲", -1: "▼", 0: ""}[sign],
        _TONES[sign * shown.better],
        spread=cell.spread,
    )


def _spread_cell(found: Spread | None, unit: str, pooled: OverSeeds | None, *, signed: bool = False) -> Cell:
    """The mean is the one that the interval is of, where there is one."""
    if found is None and pooled is None:
        return Cell(wording.NOTHING)
    lost = f"{found.n} of {found.of} runs" if found is not None and found.n < found.of else ""
    if pooled is not None:
        interval = wording.interval(pooled.low, pooled.high, unit, signed=signed)
        sd = f"± {wording.number(pooled.sd, unit).removesuffix(' %')}"
        return Cell(wording.number(pooled.value, unit, signed=signed), interval, lost, spread=sd)
    sd = f"± {wording.number(found.sd, unit).removesuffix(' %')}" if found is not None and found.sd is not None else ""
    return Cell(wording.number(found.mean if found else None, unit, signed=signed), sd, lost)


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
    names = grouping.names(runs)
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
    for name, facts in zip(grouping.names(runs), runs, strict=True):
        result = next((m.results[benchmark] for m in reversed(facts.models) if benchmark in m.results), None)
        if result is not None:
            found[name] = result
    return found
