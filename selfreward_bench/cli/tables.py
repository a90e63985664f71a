"""The results of an evaluation as tables of text; what a whole run came to is in ``reports.terminal``."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from selfreward_bench.cli.console import columns

if TYPE_CHECKING:
    from leaderboards.metrics import MetricInfo
    from leaderboards.standings import Tournament
    from selfreward_bench.prices import Budget
    from selfreward_bench.types import EvalResult, Metric

_NO_SCORES: Final = ("truncated_prompts",)  # of the NLP benchmarks, whose metrics are tasks otherwise


def metric_table(results: Sequence[EvalResult]) -> str:
    """All metrics of some results, one a line; breakdowns by kind of task are left to the report."""
    rows = []
    for result in results:
        for name in _named(result):
            metric, shown, value, interval = _numbers(result, name)
            rows.append((result.checkpoint, result.benchmark, shown.label, value, interval, _scored(metric)))
    return columns(("MODEL", "BENCHMARK", "METRIC", "VALUE", "95% INTERVAL", "SCORED"), rows, right=(3, 4, 5))


def compact_table(results: Sequence[EvalResult], width: int) -> str:
    """The main metrics with a column per checkpoint.

    Args:
        width: characters there is room for; intervals are left out where they do not fit.
    """
    names = list(dict.fromkeys(r.checkpoint for r in results))
    tables = [_rows(results, names, intervals) for intervals in (True, False)]
    fitting = next((t for t in tables if max(map(len, t)) <= width), tables[-1])
    hint = "\n" + ("All" if fitting == tables[0] else "Intervals and all") + " other metrics: --full."
    return _titled(fitting, results, width) + hint


def _rows(results: Sequence[EvalResult], names: Sequence[str], intervals: bool) -> list[str]:
    """All benchmarks in one table, so that their columns are aligned: its lines."""
    rows = [_row(found, names, metric, intervals) for found in _by_benchmark(results) for metric in _main(found)]
    return columns(("", *names, "SCORED"), rows, right=range(1, len(names) + 2)).splitlines()


def _titled(table: Sequence[str], results: Sequence[EvalResult], width: int) -> str:
    """The table with each benchmark under its own title, broken into lines where it is longer than the room."""
    from reports import wording

    head, rule, *lines = table
    parts = []
    for found in _by_benchmark(results):
        told = (wording.title(found[0].benchmark) + _judges(found)).splitlines()
        title = [wrapped for line in told for wrapped in _wrapped(line, width)]
        n = len(_main(found))
        parts.append("\n".join([*title, *lines[:n]]))
        lines = lines[n:]
    return "\n".join([head, rule, "\n\n".join(parts)])


def _wrapped(line: str, width: int) -> list[str]:
    """Names and addresses stay whole, so that they can be copied."""
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.wrap(line, max(width, 40), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _by_benchmark(results: Sequence[EvalResult]) -> list[list[EvalResult]]:
    found: dict[str, dict[str, EvalResult]] = {}
    for result in results:
        found.setdefault(result.benchmark, {})[result.checkpoint] = result
    return [list(of_one.values()) for of_one in found.values()]


def _judges(found: Sequence[EvalResult]) -> str:
    """Who judged, and whether the numbers of a row are made alike. Where judging is measured the model is the judge."""
    from leaderboards.comparing.records import conditions
    from reports import wording

    judges = dict.fromkeys(r.judge for r in found if r.judge and wording.family(r.benchmark) != "judge-accuracy")
    stated = [conditions(r) for r in found]
    unlike = sorted(name for name in {n for c in stated for n in c} if len({c.get(name) for c in stated}) > 1)
    warning = f"\n  NOT COMPARABLE with each other: unlike {', '.join(unlike)}" if unlike else ""
    return (f", judge: {'; '.join(judges)}" if judges else "") + warning


def match_table(tournament: Tournament, width: int) -> str:
    """All pairs, and the ratings that come of them.

    Args:
        width: characters there is room for; the lines around the table keep to it.
    """
    from reports import wording

    rows = []
    for pair in tournament.pairs:
        net = pair.net_win
        shares = [wording.number(share, "share") for share in (pair.win, pair.tie, pair.loss)]
        value = wording.number(net.value, "share", signed=True) if net else ""
        interval = wording.interval(net.low, net.high, "share", signed=True) if net else ""
        scored = f"{pair.n_scored:,}/{pair.n_total:,}"
        rows.append((f"  {pair.a} against {pair.b}", *shares, f"{value} {interval}", scored))
    header = ("", "WIN", "TIE", "LOSS", "WIN - LOSS", "SCORED")
    ratings = ", ".join(f"{r.checkpoint} {wording.number(r.rating, 'rating')}" for r in tournament.ratings)
    table = columns(header, rows, right=range(1, 6))
    around = (f"Head to head, judge: {tournament.judge}", f"  Bradley-Terry ratings: {ratings}")
    title, rated = ("\n".join(_wrapped(line, width)) for line in around)
    return f"{title}\n{table}\n{rated}"


def _row(found: Sequence[EvalResult], names: Sequence[str], metric: str, intervals: bool) -> tuple[str, ...]:
    """One metric of one benchmark; how many samples are scored is told once where it is the same for all."""
    there = {r.checkpoint: r for r in found if metric in r.metrics}
    label = _numbers(next(iter(there.values())), metric)[1].label
    counts = {_scored(r.metrics[metric]) for r in there.values()}
    cells = []
    for name in names:
        value, interval, scored = "", "", ""
        if name in there:
            number, _, value, interval = _numbers(there[name], metric)
            scored = f"({_scored(number)})" if len(counts) > 1 else ""
        cells.append(" ".join(filter(None, (value, interval if intervals else "", scored))))
    return (f"  {label}", *cells, counts.pop() if len(counts) == 1 else "")


def _main(found: Sequence[EvalResult]) -> list[str]:
    from reports import wording
    from reports.facts import tables

    there = list(dict.fromkeys(name for result in found for name in _named(result)))
    if wording.family(found[0].benchmark) == "nlp":
        return [name for name in there if "/" not in name and name not in _NO_SCORES]
    return tables.headlines(found[0].benchmark, there)


def remarks(results: Sequence[EvalResult], budget: Budget | None = None, replay: bool = False) -> Iterator[str]:
    """What has no score and is asked for again, and what the evaluation cost.

    Args:
        replay: nobody was asked anything.
    """
    from reports import wording

    if lacking := [r for r in results if r.incomplete]:
        listed = "; ".join(f"{r.checkpoint}, {wording.title(r.benchmark)}: {r.incomplete:,}" for r in lacking)
        again = "The same command without --replay" if replay else "The same command"
        yield f"Failed or unreadable, and not scored ({listed}). {again} asks for these again, and for nothing else."
    if budget is not None and budget.prices.models and not replay:
        yield _spent(budget)


def _spent(budget: Budget) -> str:
    currency, uncertain = budget.prices.currency, budget.uncertain
    told = f"Served models cost {'at most ' if uncertain else ''}{budget.spent + uncertain:,.4f} {currency}"
    told += f", {uncertain:,.4f} of it for answers that broke off and may not have been billed" if uncertain else ""
    limit = (
        f" --max-cost {budget.max_cost:g} holds for each call of the command." if budget.max_cost is not None else ""
    )
    return f"{told}.{limit}"


def _named(result: EvalResult) -> list[str]:
    """Its metrics in the order of their table, then those that have no place there; no breakdowns."""
    from leaderboards.metrics import METRICS

    known = [name for name in METRICS.get(result.benchmark, {}) if name in result.metrics]
    return known + [name for name in result.metrics if name not in known and "/" not in name]


def _numbers(result: EvalResult, name: str) -> tuple[Metric, MetricInfo, str, str]:
    """A metric, how it is shown, its value and its interval in words."""
    from reports import wording

    metric, shown = result.metrics[name], wording.info(result.benchmark, name)
    return (
        metric,
        shown,
        wording.number(metric.value, shown.unit),
        wording.interval(metric.low, metric.high, shown.unit),
    )


def _scored(metric: Metric) -> str:
    return f"{metric.n_scored:,}/{metric.n_total:,}"
