"""How a benchmark and its metrics are shown: the one place that knows it of every benchmark.

Of srbench's own the tables of ``leaderboards.metrics`` say it, of others what came with them: the benchmark itself, or
its results, which carry it (``EvalResult.description``). What is said of a key last holds. The tables of srbench's own
stand; a result can add metrics that they do not have, such as tasks of somebody's lm-eval file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from leaderboards.metrics import BOUNDS, BUILT_IN, IN_PARTS, MICRO, TITLES
from selfreward_bench.types import Description, MetricInfo

__all__ = [
    "added",
    "bounds_of",
    "described",
    "family",
    "in_order",
    "in_table",
    "info",
    "is_own",
    "learn",
    "place",
    "title",
]

_MICRO: Final = "micro-"
_OWN: Final = frozenset(name for name in TITLES if not name.startswith("judge-accuracy-"))
_MOST: Final = 500  # metrics of a benchmark
_learned: Final[dict[str, Description]] = {}  # of srbench's own: the table with what results added


def described(benchmark: str) -> Description:
    """How a benchmark is shown; one that nobody described has its key for a title, and no metrics."""
    found = _learned.get(benchmark) or BUILT_IN.get(benchmark)
    return found or Description(title=benchmark[:100] or "?")


def learn(benchmark: str, description: Description) -> None:
    """Takes in what a benchmark, or a result of it, says of itself; of srbench's own, metrics that it does not have."""
    found = added(described(benchmark), description.metrics) if benchmark in BUILT_IN else description
    if (benchmark in BUILT_IN or not is_own(benchmark)) and described(benchmark) != found:
        _learned[benchmark] = found
        info.cache_clear()


def added(known: Description, metrics: Mapping[str, MetricInfo]) -> Description:
    """A description with further metrics, which are also compared; one that is called otherwise already has no label.

    The same task may have been scored by another number in another file.
    """
    new = {name: info for name, info in metrics.items() if name not in known.metrics}
    unlike = {
        name: info.model_copy(update={"label": name})
        for name, info in known.metrics.items()
        if name in metrics and info.label != metrics[name].label and not _in_tables(name)
    }
    room = dict(list(new.items())[: max(0, _MOST - len(known.metrics))])
    everything = {**known.metrics, **unlike, **room}
    return known.model_copy(update={"metrics": everything, "paired": (*known.paired, *room)[:_MOST]})


def is_own(benchmark: str) -> bool:
    """Whether a key is of one of srbench's own benchmarks, in any version and for any world."""
    return family(benchmark) in _OWN


def family(benchmark: str) -> str:
    """What a key is a version and a world of: ``alpaca-eval`` of ``micro-alpaca-eval@1``.

    >>> family("judge-accuracy-llmbar@1")
    'judge-accuracy'
    """
    name = benchmark.partition("@")[0].removeprefix(_MICRO)
    return "judge-accuracy" if name.startswith("judge-accuracy") else name


def title(benchmark: str) -> str:
    """``AlpacaEval (micro-world)``; a key that nobody described is its own title."""
    name = benchmark.partition("@")[0]
    known = TITLES.get(name.removeprefix(_MICRO))
    if known is None:
        return _learned[benchmark].title if benchmark in _learned else benchmark
    return f"{known}{MICRO}" if name.startswith(_MICRO) else known


def place(benchmark: str) -> int:
    """Where a benchmark stands in the order of the page; others stand behind srbench's own."""
    known = list(BUILT_IN)
    return known.index(benchmark) if benchmark in known else len(known)


def in_order(benchmark: str, metrics: Iterable[str]) -> list[str]:
    """Metrics in the order of their benchmark's table, then those that have no place there, as they come."""
    there = list(metrics)
    named = [name for name in described(benchmark).metrics if name in there]
    return named + [name for name in there if name not in named]


def in_table(benchmark: str, metrics: Iterable[str]) -> list[str]:
    """Those of some metrics that belong in a table, in its order; of others' benchmarks all."""
    found = in_order(benchmark, metrics)
    return [name for name in found if name in described(benchmark).metrics] if benchmark in BUILT_IN else found


@lru_cache(maxsize=4096)
def info(benchmark: str, metric: str) -> MetricInfo:
    """How a metric is shown. A part (``win_rate/koala``) is like its whole; what nobody described is a number."""
    known = {**IN_PARTS, **(described(benchmark).metrics or _other_version(benchmark))}
    if metric in known:
        return known[metric]
    whole, _, part = metric.partition("/")
    found = known.get(whole)
    if found is None:
        return MetricInfo(label=metric[:200] or "?", unit="points", better=0)
    better = -1 if part == "no_answer" else found.better
    return MetricInfo(label=_part(part)[:200] or "?", unit=found.unit, better=better)


def bounds_of(benchmark: str, metric: str) -> tuple[float, float] | None:
    """The least and the greatest value a metric can have; None where that is not known.

    Args:
        metric: a breakdown (``accuracy/PART``) has the bounds of the whole.
    """
    known = described(benchmark).metrics
    found = known.get(metric) or known.get(metric.partition("/")[0])
    return BOUNDS.get(found.unit) if found else None


def _in_tables(metric: str) -> bool:
    return any(metric in found.metrics for found in BUILT_IN.values())


def _other_version(benchmark: str) -> dict[str, MetricInfo]:
    name = benchmark.partition("@")[0]
    return next((found.metrics for key, found in BUILT_IN.items() if key.partition("@")[0] == name), {})


def _part(name: str) -> str:
    """A part's name for people."""
    kind, _, quarter = name.rpartition("_")
    if kind in ("expected_length", "answer_length") and quarter.isdecimal():
        whose = "reference" if kind == "expected_length" else "own answer"
        return f"{whose}: {({'1': 'shortest quarter', '4': 'longest quarter'}).get(quarter, f'quarter {quarter}')}"
    return name.replace("_", " ")
