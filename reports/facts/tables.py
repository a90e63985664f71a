"""The facts of a run arranged as tables, the same for the page and for the terminal. Nothing here is formatted as HTML.

Differences are the ones that ``standings.json`` holds; each knows its ROLE, what the other model is to this one:
``previous`` (its parent, or the one before), ``base`` (M0), ``baseline`` (what is no iteration: the SFT baseline),
``first`` (M1, or the first there is).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from leaderboards import chain, descriptions
from leaderboards.descriptions import described
from leaderboards.standings import MetricDifference
from reports import wording
from reports.facts import comparability, glossary
from reports.facts.run import ModelFacts, RunFacts
from selfreward_bench.types import EvalResult, Metric

__all__ = [
    "ROLES",
    "Cell",
    "Change",
    "Grid",
    "ResultTable",
    "Row",
    "benchmarks",
    "breakdowns",
    "change_of",
    "difference",
    "headline_metrics",
    "headlines",
    "highlights",
    "iterations",
    "lineage",
    "metric_cell",
    "relabelled",
    "result_table",
    "results",
    "turned",
]

ROLES: Final = ("previous", "base", "baseline", "first")

#: family of benchmarks -> the metrics that tell its story; of another one see ``headlines``
_HEADLINES: Final = {
    "quality": ("quality_sampled", "quality_greedy"),
    "alpaca-eval": ("win_rate", "length_controlled_winrate", "avg_length"),
    "mt-bench": ("grade", "adjusted_win_rate"),
    "nlp": ("average",),
    "ifeval": ("prompt_level_strict_acc", "inst_level_strict_acc"),
    "judge-accuracy": ("pairwise_accuracy", "spearman", "own_pairwise_accuracy"),
}
_ORDER: Final = ("quality", "alpaca-eval", "mt-bench", "nlp", "ifeval", "judge-accuracy")


@dataclass(frozen=True, slots=True)
class Change:
    """A difference to another model: ``vs M1 ▲ +0.35 [+0.25, +0.45]``, better.

    Attributes:
        roles: what the other model is to this one (``ROLES``).
        arrow: only where the interval excludes zero.
        reach: the smallest true difference these samples would have shown, ``±0.12``; empty where nobody said.
        paired: ``500 of 512`` where samples of either model are missing.
        unpaired: whether each model was scored on samples of its own.
        spread: over several runs, ``± 0.10``.
    """

    against: str
    value: str
    interval: str = ""
    arrow: str = ""
    tone: wording.Tone = "neutral"
    roles: tuple[str, ...] = ()
    reach: str = ""
    paired: str = ""
    unpaired: bool = False
    spread: str = ""

    @property
    def text(self) -> str:
        """Arrow, value and interval."""
        return " ".join(filter(None, (self.arrow, self.value, self.interval)))


@dataclass(frozen=True, slots=True)
class Cell:
    """One metric of one model.

    Attributes:
        scored: how much of the data is missing; empty where nothing is.
        spread: over several runs, ``± 0.10``.
        best: whether it is shown to be better than all it stands beside.
    """

    value: str
    interval: str = ""
    scored: str = ""
    changes: tuple[Change, ...] = ()
    spread: str = ""
    best: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One metric of all models of a table."""

    label: str
    cells: tuple[Cell, ...]
    metric: str = ""
    benchmark: str = ""

    @property
    def term(self) -> str:
        """What explains it in the glossary; empty where nothing does."""
        return glossary.term_of(self.benchmark, self.metric)

    @property
    def about(self) -> str:
        """What it means, in a sentence."""
        return glossary.definition(self.term)


@dataclass(frozen=True, slots=True)
class ResultTable:
    """Metrics by models.

    Attributes:
        judge: who judged the numbers of this table.
        rows: one cell per model.
        failures: ``(model, reason)`` of results that are not there.
        unlike: what the models' numbers do not share and would have to, to be compared; empty where all is well.
        groups: one letter per model where numbers are unlike: equal letters may be compared.
        settings: settings that may be unlike, and are, in words.
    """

    benchmark: str
    title: str
    judge: str
    models: tuple[str, ...]
    rows: tuple[Row, ...]
    failures: tuple[tuple[str, str], ...] = ()
    unlike: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    settings: str = ""


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of texts; the first column names the row."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | Cell | Change, ...], ...]
    note: str = ""


# --- which benchmarks, metrics and models


def benchmarks(runs: Iterable[RunFacts], *families: str) -> list[str]:
    """Keys that any model has a result or a failure of, in the page's order; of some families, or of all."""
    found = {key for facts in runs for m in facts.models for key in (*m.results, *m.failures)}

    def place(key: str) -> tuple[int, int, str]:
        name = wording.family(key)
        return _ORDER.index(name) if name in _ORDER else len(_ORDER), descriptions.place(key), key

    return sorted((k for k in found if not families or wording.family(k) in families), key=place)


def headline_metrics(facts: RunFacts, benchmark: str) -> list[str]:
    """The few metrics that tell a benchmark's story, as far as any model has them."""
    return headlines(benchmark, _metrics_of(facts, benchmark))


def headlines(benchmark: str, there: Sequence[str]) -> list[str]:
    """Those of some metrics that tell a benchmark's story, in its order.

    Of an unknown story, the first of which is said which way is better, or else the first.
    """
    if found := [m for m in _HEADLINES.get(wording.family(benchmark), ()) if m in there]:
        return found
    whole = [m for m in descriptions.in_table(benchmark, there) if "/" not in m]
    return [*(m for m in whole if wording.info(benchmark, m).better), *whole][:1]


def breakdowns(facts: RunFacts, benchmark: str) -> dict[str, list[str]]:
    """Whole -> its parts, such as ``win_rate`` -> ``win_rate/koala``, ...; sorted by name."""
    found: dict[str, list[str]] = {}
    named = described(benchmark).metrics
    for name in sorted(_metrics_of(facts, benchmark)):
        if "/" in name and name not in named:
            found.setdefault(name.partition("/")[0], []).append(name)
    return found


def iterations(names: Iterable[str]) -> list[str]:
    """The models that training made in turn: M1, M2, ..."""
    return chain.iterations(names)


def lineage(facts: RunFacts) -> str:
    """Which model was made from which: ``M0 → M1 → M2; SFT from M0``; of models outside a run, their names.

    >>> lineage(RunFacts(name="r", path="r", models=[ModelFacts(name=n) for n in ("M0", "SFT", "M1", "M2")]))
    'M0 → M1 → M2; SFT from M0'
    """
    names = [m.name for m in facts.models]
    trained = iterations(names)
    if not trained:
        return ", ".join(names)
    stated = {m.name: m.parent for m in facts.models}
    parents = {n: stated[n] or chain.predecessor(n, names) for n in names}
    line = [n for n in names if n == chain.BASE or n in trained]
    links = [f" → {n}" if parents[n] == before else f"; {_from(n, parents[n])}" for before, n in pairwise(line)]
    others = [_from(n, parents[n]) for n in names if n not in line]
    return "; ".join([f"{line[0]}{''.join(links)}", *others])


def _from(name: str, parent: str | None) -> str:
    return f"{name} from {parent}" if parent else name


def _metrics_of(facts: RunFacts, benchmark: str) -> list[str]:
    return list(dict.fromkeys(n for m in facts.models if benchmark in m.results for n in m.results[benchmark].metrics))


# --- results


def results(facts: RunFacts) -> list[ResultTable]:
    """A table per benchmark that any model has a result or a failure of."""
    return [result_table(facts, key) for key in benchmarks([facts])]


def result_table(facts: RunFacts, benchmark: str, metrics: Sequence[str] | None = None, title: str = "") -> ResultTable:
    """A benchmark's numbers.

    Args:
        metrics: in this order; None takes all but the parts of others.
    """
    models = [m for m in facts.models if benchmark in m.results]
    found = {m.name: m.results[benchmark] for m in models}
    there = [n for n in _metrics_of(facts, benchmark) if any(_of_something(r, n) for r in found.values())]
    whole = [n for n in _without_policies(there, found.values()) if _is_whole(benchmark, n)]
    shown = descriptions.in_table(benchmark, whole) if metrics is None else metrics
    judges = dict.fromkeys(r.judge or "" for r in found.values())
    groups = comparability.groups(found)
    return ResultTable(
        benchmark,
        title or wording.title(benchmark),
        next(iter(judges), "") if len(judges) < 2 else "each model itself, with its run's judge prompt",
        tuple(found),
        tuple(_row(facts, benchmark, name, models) for name in shown),
        tuple((m.name, m.failures[benchmark].message) for m in facts.models if benchmark in m.failures),
        tuple(comparability.unlike(found)),
        tuple(groups[n] for n in found) if len(set(groups.values())) > 1 else (),
        comparability.other_settings(found),
    )


def _of_something(result: EvalResult, metric: str) -> bool:
    """Whether there was anything to score; of nothing, not even a dash is shown."""
    return metric in result.metrics and result.metrics[metric].n_total > 0


def _without_policies(metrics: Sequence[str], results: Iterable[EvalResult]) -> list[str]:
    """Where there are no ties, what a tie counts as moves nothing: one number is shown for all three ways."""
    results = list(results)
    rates = [n for n in metrics if n.endswith("tie_rate")]
    none = [n for n in rates if all(r.metrics[n].value == 0 for r in results if n in r.metrics)]
    alike = tuple(f"{n.removesuffix('tie_rate')}pairwise_accuracy_ties_" for n in none)
    return [n for n in metrics if not (alike and n.startswith(alike))]


def _is_whole(benchmark: str, metric: str) -> bool:
    return "/" not in metric or metric in described(benchmark).metrics


def _row(facts: RunFacts, benchmark: str, metric: str, models: Sequence[ModelFacts]) -> Row:
    label = wording.info(benchmark, metric).label
    return Row(label, tuple(metric_cell(facts, m, benchmark, metric) for m in models), metric, benchmark)


def highlights(facts: RunFacts) -> ResultTable:
    """The few metrics that tell the story, over all benchmarks, in one table."""
    models = facts.evaluated
    rows = [
        Row(
            f"{wording.title(key).removesuffix(wording.MICRO)}: {wording.info(key, metric).label}",
            tuple(metric_cell(facts, m, key, metric) for m in models),
            metric,
            key,
        )
        for key in benchmarks([facts])
        for metric in headline_metrics(facts, key)
    ]
    return ResultTable("", "Results", "", tuple(m.name for m in models), tuple(rows))


def relabelled(table: ResultTable, labels: Mapping[str, str]) -> ResultTable:
    """The table with other words for some metrics."""
    return replace(table, rows=tuple(replace(r, label=labels.get(r.metric, r.label)) for r in table.rows))


def metric_cell(facts: RunFacts, model: ModelFacts, benchmark: str, metric: str) -> Cell:
    """One number with its interval, what is missing, and its differences to other models."""
    result = model.results.get(benchmark)
    found = result.metrics.get(metric) if result else None
    if found is None:
        return Cell(wording.NOTHING)
    unit = wording.info(benchmark, metric).unit
    return Cell(
        wording.number(found.value, unit),
        wording.interval(found.low, found.high, unit),
        _missing(found),
        tuple(change_of(d, facts) for d in _differences(facts, model.name, benchmark, metric)),
    )


def _missing(metric: Metric) -> str:
    return wording.scored(metric) if metric.n_scored < metric.n_total else ""


# --- differences


def difference(facts: RunFacts, benchmark: str, metric: str, a: str, b: str) -> MetricDifference | None:
    """The stored difference of ``a`` to ``b``, where there is one with a value."""
    found = facts.standings.difference(benchmark, metric, a, b) if facts.standings else None
    return found if found is not None and found.value is not None else None


def _differences(facts: RunFacts, model: str, benchmark: str, metric: str) -> list[MetricDifference]:
    compared = facts.standings.differences if facts.standings else ()
    found = [d for d in compared if (d.benchmark, d.metric, d.a) == (benchmark, metric, model) and d.value is not None]
    order = [m.name for m in facts.models]
    return sorted(found, key=lambda d: order.index(d.b) if d.b in order else -1, reverse=True)


def change_of(found: MetricDifference, facts: RunFacts) -> Change:
    """A stored difference, put into words."""
    shown = wording.info(found.benchmark, found.metric)
    value, interval = wording.change(found, shown)
    return Change(
        found.b,
        value,
        interval,
        wording.arrow(found),
        wording.tone(found, shown),
        _roles(facts, found),
        _reach(found, shown.unit),
        f"{found.n:,} of {found.n_total:,}" if found.n < found.n_total else "",
        not found.paired,
    )


def turned(facts: RunFacts, benchmark: str, metric: str, a: str, b: str) -> Change:
    """The stored difference of ``a`` to ``b``, told from the side of ``b``.

    Raises:
        ValueError: there is none.
    """
    found = difference(facts, benchmark, metric, a, b)
    if found is None or found.value is None:
        raise ValueError(f"{a} and {b} were not compared on {benchmark}")
    low, high = (None if x is None else -x for x in (found.high, found.low))
    other = found.model_copy(update={"a": b, "b": a, "value": -found.value, "low": low, "high": high})
    return change_of(other, facts)


def _reach(found: MetricDifference, unit: str) -> str:
    return "" if found.detectable is None else f"±{wording.number(found.detectable, unit).removesuffix(' %')}"


def _roles(facts: RunFacts, found: MetricDifference) -> tuple[str, ...]:
    """What ``b`` is to ``a``."""
    names = [m.name for m in facts.models if found.benchmark in m.results]
    trained = chain.iterations(names)
    held = {
        "previous": chain.predecessor(found.a, names) == found.b,
        "base": found.b == chain.BASE,
        "baseline": bool(trained) and found.b not in (*trained, chain.BASE),
        "first": chain.anchor(names) == found.b,
    }
    return tuple(role for role in ROLES if held[role])
