"""The results of an evaluation as tables; what a whole run came to is in ``results``."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from selfreward_bench.cli.console import Columns, visible

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from leaderboards.metrics import MetricInfo
    from leaderboards.standings import HeadToHead, Tournament
    from selfreward_bench.prices import Budget
    from selfreward_bench.types import EvalResult, Metric

_NOTHING_ELSE: Final[tuple[str, ...]] = ()
#: what stands beside a value, as far as there is room -> what is left out then
_LEFT_OUT: Final = {
    ("intervals", "counts"): "All",
    ("counts",): "Intervals and all",
    _NOTHING_ELSE: "Intervals, what is scored of each checkpoint, and all",
}
_NO_SCORES: Final = ("truncated_prompts",)  # of the NLP benchmarks, whose metrics are tasks otherwise


def metric_table(results: Sequence[EvalResult]) -> Columns:
    """All metrics of some results, one a line; breakdowns by kind of task are left to the report."""
    header = ("MODEL", "BENCHMARK", "METRIC", "VALUE", "95% INTERVAL", "SCORED")
    table = Columns(header, right=(3, 4, 5), heads=2)
    for result in results:
        for name in _named(result):
            metric, shown, value, interval = _numbers(result, name)
            table.add(result.checkpoint, result.benchmark, shown.label, value, interval, _scored(metric))
    return table


def compact_table(results: Sequence[EvalResult], width: int) -> RenderableType:
    """The main metrics with a column per checkpoint.

    Args:
        width: cells there is room for. Where they do not suffice, intervals are left out, then each checkpoint's own
            count of scored samples; checkpoints that do not fit even so go on in a table below.
    """
    from rich.console import Group

    names = list(dict.fromkeys(r.checkpoint for r in results))
    details = next((d for d in _LEFT_OUT if _compact(results, names, d).fits(width)), _NOTHING_ELSE)
    parts: list[RenderableType] = []
    for size in sorted({math.ceil(len(names) / n) for n in range(1, len(names) + 1)}, reverse=True):
        tables = [_compact(results, names[i : i + size], details) for i in range(0, len(names), size)]
        if all(table.fits(width) for table in tables):
            break
    for table in tables:
        parts += [table, ""]
    return Group(*parts[:-1], f"{_LEFT_OUT[details]} other metrics: --full.")


def _compact(results: Sequence[EvalResult], names: Sequence[str], details: Collection[str]) -> Columns:
    """All benchmarks in one table, so that their columns are aligned, each under its own title."""
    table = Columns(("", *names, "SCORED"), right=range(1, len(names) + 2))
    for of_all in _by_benchmark(results):
        if found := [r for r in of_all if r.checkpoint in names]:
            table.section(*_titles(of_all))
            for metric in _main(found):
                table.add(*_row(found, names, metric, details))
    return table


def _by_benchmark(results: Sequence[EvalResult]) -> list[list[EvalResult]]:
    found: dict[str, dict[str, EvalResult]] = {}
    for result in results:
        found.setdefault(result.benchmark, {})[result.checkpoint] = result
    return [list(of_one.values()) for of_one in found.values()]


def _titles(found: Sequence[EvalResult]) -> Iterator[Text]:
    """A benchmark, who judged, and whether the numbers of a row are made alike.

    Where judging is measured the model is the judge.
    """
    from rich.text import Text

    from leaderboards.comparing.records import conditions
    from reports import wording

    judges = dict.fromkeys(r.judge for r in found if r.judge and wording.family(r.benchmark) != "judge-accuracy")
    title = wording.title(found[0].benchmark) + (f", judge: {'; '.join(judges)}" if judges else "")
    yield Text(visible(title), "bold")
    stated = [conditions(r) for r in found]
    unlike = sorted(name for name in {n for c in stated for n in c} if len({c.get(name) for c in stated}) > 1)
    if unlike:
        yield Text(visible(f"NOT COMPARABLE with each other: unlike {', '.join(unlike)}"), "yellow")


def match_table(tournament: Tournament) -> list[RenderableType]:
    """All pairs, and the ratings that come of them."""
    from rich.text import Text

    from reports import wording

    table = _matches((f"{pair.a} against {pair.b}", pair) for pair in tournament.pairs)
    ratings = ", ".join(f"{r.checkpoint} {wording.number(r.rating, 'rating')}" for r in tournament.ratings)
    title = Text(visible(f"Head to head, judge: {tournament.judge}"), "bold")
    return [title, table, f"Bradley-Terry ratings: {ratings}"]


def preference_table(found: Mapping[str, Tournament]) -> list[RenderableType]:
    """What a judge said of the pairs that models were trained on."""
    from rich.text import Text

    judge = next(iter(found.values())).judge
    table = _matches((f"{model}: {p.a} against {p.b}", p) for model, held in found.items() for p in held.pairs)
    return [Text(visible(f"Preference pairs, judge: {judge}"), "bold"), table]


def _matches(named: Iterable[tuple[str, HeadToHead]]) -> Columns:
    from reports import wording

    table = Columns(("", "WIN", "TIE", "LOSS", "WIN - LOSS", "SCORED"), right=range(1, 6), heads=1)
    for name, pair in named:
        net = pair.net_win
        shares = [wording.number(share, "share") for share in (pair.win, pair.tie, pair.loss)]
        value = wording.number(net.value, "share", signed=True) if net else ""
        interval = wording.interval(net.low, net.high, "share", signed=True) if net else ""
        scored = f"{pair.n_scored:,}/{pair.n_total:,}"
        table.add(name, *shares, f"{value} {interval}", scored)
    return table


def _row(found: Sequence[EvalResult], names: Sequence[str], metric: str, details: Collection[str]) -> tuple[str, ...]:
    """One metric of one benchmark; how many samples are scored is told once where it is the same for all."""
    there = {r.checkpoint: _numbers(r, metric) for r in found if metric in r.metrics}
    counts = {_scored(number) for number, *_ in there.values()}
    cells = []
    for name in names:
        told = []
        if name in there:
            number, _, value, interval = there[name]
            told = [value, interval if "intervals" in details else ""]
            told += [f"({_scored(number)})"] if len(counts) > 1 and "counts" in details else []
        cells.append(" ".join(filter(None, told)))
    label = next(iter(there.values()))[1].label
    return (label, *cells, _scored_of_all([number for number, *_ in there.values()], details))


def _main(found: Sequence[EvalResult]) -> list[str]:
    from reports import wording
    from reports.facts import tables

    there = list(dict.fromkeys(name for result in found for name in _named(result)))
    if wording.family(found[0].benchmark) == "nlp":
        return [name for name in there if "/" not in name and name not in _NO_SCORES]
    return tables.headlines(found[0].benchmark, there)


def remarks(results: Sequence[EvalResult], budget: Budget | None = None, replay: bool = False) -> Iterator[str]:
    """What has no score and is asked for again, what is to be known of the numbers, and what the evaluation cost.

    Args:
        replay: nobody was asked anything.
    """
    from reports import wording
    from selfreward_bench.cli.costs import spent

    if lacking := [r for r in results if r.incomplete]:
        listed = "; ".join(f"{r.checkpoint}, {wording.title(r.benchmark)}: {r.incomplete:,}" for r in lacking)
        again = "The same command without --replay" if replay else "The same command"
        yield f"Failed or unreadable, and not scored ({listed}). {again} asks for these again, and for nothing else."
    yield from (
        visible(f"{r.checkpoint}, {wording.title(r.benchmark)}: {wording.clip(n, 500)}.")
        for r in results
        for n in r.notes
    )
    if budget is not None and budget.prices.models and not replay:
        yield spent(budget)


def _named(result: EvalResult) -> list[str]:
    """Its metrics in the order of their table, then those that have no place there; no breakdowns."""
    from leaderboards.descriptions import described, in_order

    named = described(result.benchmark).metrics
    return [name for name in in_order(result.benchmark, result.metrics) if name in named or "/" not in name]


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
    """Where a file does not tell of how many documents its numbers are, nobody knows."""
    return "?" if metric.value is not None and not metric.n_total else f"{metric.n_scored:,}/{metric.n_total:,}"


def _scored_of_all(numbers: Sequence[Metric], details: Collection[str]) -> str:
    """Where it is not the same for all and does not stand beside each, that of the checkpoint with the least."""
    least = min(numbers, key=lambda metric: metric.n_scored / max(metric.n_total, 1))
    if len({_scored(number) for number in numbers}) == 1:
        return _scored(least)
    return "" if "counts" in details else f"\u2265 {_scored(least)}"
