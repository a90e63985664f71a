"""The facts of a run arranged as tables, the same for the page and for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from leaderboards.metrics import METRICS
from leaderboards.standings import MetricDifference
from reports import wording
from reports.facts import ModelFacts, RunFacts, Stage
from reports.wording import QUALITY
from selfreward_bench.types import Metric

__all__ = [
    "Cell",
    "Change",
    "ResultTable",
    "breakdown",
    "head_to_head",
    "highlights",
    "histogram",
    "results",
    "stage_rows",
]

TITLES = {
    "micro-quality@1": "Answers to the test prompts",
    "micro-judge-accuracy@1": "The model as judge",
}


@dataclass(frozen=True, slots=True)
class Change:
    """A difference to another model: ``vs M1``, ``+0.35 [+0.25, +0.45]``, ``▲``, ``better``."""

    against: str
    text: str
    arrow: str
    tone: str


@dataclass(frozen=True, slots=True)
class Cell:
    """One metric of one model. ``scored`` names how much of the data is missing, and is empty where nothing is."""

    value: str
    interval: str = ""
    scored: str = ""
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class ResultTable:
    """Metrics by models.

    Attributes:
        judge: who judged the numbers of this table.
        rows: ``(label, cells)``, one cell per model.
        failures: ``(model, reason)`` of results that are not there.
    """

    benchmark: str
    title: str
    judge: str
    models: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    failures: tuple[tuple[str, str], ...] = field(default=())


def results(facts: RunFacts) -> list[ResultTable]:
    """A table per benchmark that any model has a result or a failure of."""
    keys = dict.fromkeys([*METRICS, *(key for m in facts.models for key in (*m.results, *m.failures))])
    return [t for key in keys if (t := _result_table(facts, key)) is not None]


def _result_table(facts: RunFacts, key: str) -> ResultTable | None:
    models = [m for m in facts.models if key in m.results]
    failures = tuple((m.name, m.failures[key].message) for m in facts.models if key in m.failures)
    if not models and not failures:
        return None
    known = list(METRICS.get(key, ())) or list(dict.fromkeys(n for m in models for n in m.results[key].metrics))
    shown = [name for name in known if any(name in m.results[key].metrics for m in models)]
    rows = tuple((wording.info(key, name).label, tuple(_cell(facts, m, key, name) for m in models)) for name in shown)
    judges = dict.fromkeys(m.results[key].judge or "" for m in models)
    judge = next(iter(judges)) if len(judges) == 1 else "each model itself, with its run's judge prompt"
    return ResultTable(key, TITLES.get(key, key), judge, tuple(m.name for m in models), rows, failures)


def _cell(facts: RunFacts, model: ModelFacts, benchmark: str, metric: str) -> Cell:
    result = model.results.get(benchmark)
    found = result.metrics.get(metric) if result else None
    if found is None:
        return Cell(wording.NOTHING)
    unit = wording.info(benchmark, metric).unit
    return Cell(
        wording.number(found.value, unit),
        wording.interval(found.low, found.high, unit),
        _missing(found),
        tuple(_change(d) for d in _differences(facts, model.name, benchmark, metric)),
    )


def _missing(metric: Metric) -> str:
    return wording.scored(metric) if metric.n_scored < metric.n_total else ""


def _differences(facts: RunFacts, model: str, benchmark: str, metric: str) -> list[MetricDifference]:
    compared = facts.standings.differences if facts.standings else ()
    found = [d for d in compared if (d.benchmark, d.metric, d.a) == (benchmark, metric, model)]
    order = [m.name for m in facts.models]
    return sorted(found, key=lambda d: order.index(d.b) if d.b in order else -1, reverse=True)


def _change(difference: MetricDifference) -> Change:
    shown = wording.info(difference.benchmark, difference.metric)
    text = wording.change(difference, shown)
    return Change(difference.b, text, wording.arrow(difference), wording.tone(difference, shown))


def breakdown(facts: RunFacts, prefix: str = "quality_sampled/") -> ResultTable | None:
    """True quality of sampled answers by kind of task."""
    models = [m for m in facts.models if QUALITY in m.results]
    names = dict.fromkeys(n for m in models for n in m.results[QUALITY].metrics if n.startswith(prefix))
    if not names:
        return None
    rows = tuple((n.removeprefix(prefix), tuple(_cell(facts, m, QUALITY, n) for m in models)) for n in names)
    judge = models[0].results[QUALITY].judge or ""
    return ResultTable(QUALITY, "Kinds of task", judge, tuple(m.name for m in models), rows)


def histogram(facts: RunFacts, prefix: str = "grade_sampled/") -> ResultTable | None:
    """Share of sampled answers with each grade; the same layout as ``breakdown``, shares without interval."""
    models = [m for m in facts.models if QUALITY in m.results]
    names = sorted({n for m in models for n in m.results[QUALITY].metrics if n.startswith(prefix)}, reverse=True)
    if not names:
        return None

    def share(model: ModelFacts, name: str) -> Cell:
        found = model.results[QUALITY].metrics.get(name)
        return Cell(wording.number(found.value if found else None, "share"))

    rows = tuple((n.removeprefix(prefix), tuple(share(m, n) for m in models)) for n in names)
    return ResultTable(QUALITY, "Grades", models[0].results[QUALITY].judge or "", tuple(m.name for m in models), rows)


def head_to_head(facts: RunFacts) -> list[tuple[str, ...]]:
    """``(a, b, win rate, interval, win, tie, loss, comparisons)``, the latest model first."""
    matches = facts.standings.head_to_head if facts.standings else ()
    order = [m.name for m in facts.models]

    def rank(name: str) -> int:
        return order.index(name) if name in order else -1

    return [
        (
            h.a,
            h.b,
            wording.number(h.win_rate, "share"),
            wording.interval(h.low, h.high, "share"),
            *(wording.number(x, "share") for x in (h.win, h.tie, h.loss)),
            wording.scored(Metric(value=None, n_scored=h.n_scored, n_total=h.n_total)),
        )
        for h in sorted(matches, key=lambda h: (-rank(h.a), -rank(h.b)))
    ]


def highlights(facts: RunFacts, metrics: Sequence[tuple[str, str]] | None = None) -> ResultTable:
    """The few metrics that tell the story, over all benchmarks, in one table."""
    chosen = metrics or (
        (QUALITY, "quality_sampled"),
        (QUALITY, "quality_greedy"),
        (QUALITY, "exact_sampled"),
        (QUALITY, "chars_sampled"),
        (wording.JUDGING, "pairwise_accuracy"),
        (wording.JUDGING, "oracle_spearman"),
        (wording.JUDGING, "own_pairwise_accuracy"),
    )
    models = facts.evaluated
    rows = tuple(
        (wording.info(benchmark, metric).label, tuple(_cell(facts, m, benchmark, metric) for m in models))
        for benchmark, metric in chosen
        if any(metric in m.results[benchmark].metrics for m in models if benchmark in m.results)
    )
    return ResultTable("", "Results", "", tuple(m.name for m in models), rows)


def stage_rows(stages: Iterable[Stage]) -> list[tuple[str, str, str, str]]:
    """``(stage, what was counted, seconds, finished)`` for each stage of a model."""
    return [
        (
            stage.name,
            ", ".join(f"{name.replace('_', ' ')} {wording.count(value)}" for name, value in stage.counts.items())
            or ("begun, not finished" if stage.status == "partial" else wording.NOTHING),
            wording.duration(stage.seconds) + (" after resuming" if stage.resumed else ""),
            stage.finished_at or wording.NOTHING,
        )
        for stage in stages
    ]
