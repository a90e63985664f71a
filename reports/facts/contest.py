"""What decides: models by one measure, from whichever side they were compared, and who of them is shown to be best."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from leaderboards import descriptions
from reports import wording
from reports.facts import matches, measures, tables
from reports.facts.measures import Evidence
from reports.facts.run import RunFacts

__all__ = ["MAIN", "Contest", "best_of", "deciding", "gap", "named", "of_family"]

#: family -> the metrics that may decide, in this order over all benchmarks
MAIN: Final = (
    ("quality", "quality_sampled"),
    ("alpaca-eval", "length_controlled_winrate"),
    ("alpaca-eval", "win_rate"),
    (measures.HEAD_TO_HEAD, "win_rate"),
    ("mt-bench", "grade"),
    ("mt-bench", "adjusted_win_rate"),
    ("ifeval", "prompt_level_strict_acc"),
    ("nlp", "average"),
    ("judge-accuracy", "label_accuracy"),
    ("judge-accuracy", "pairwise_accuracy"),
)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Contest:
    """Models by one measure."""

    facts: RunFacts
    names: tuple[str, ...]
    benchmark: str
    metric: str

    @property
    def label(self) -> str:
        return named(self.benchmark, self.metric)

    def between(self, a: str, b: str) -> Evidence | None:
        """``a`` against ``b``, from whichever side it was compared."""
        if self.benchmark == measures.HEAD_TO_HEAD:
            return measures.match_evidence(self.facts, a, b)
        return measures.held_against(self.facts, self.benchmark, self.metric, a, b)

    def is_better(self, a: str, b: str) -> bool:
        """Whether that is shown."""
        found = self.between(a, b)
        return found is not None and found.counts and found.change.tone == "better"

    def value(self, model: str) -> float | None:
        """Its number; against others head to head, its mean win rate."""
        if self.benchmark == measures.HEAD_TO_HEAD:
            rates = [r for n in self.names if n != model and (r := measures.win_rate(self.facts, model, n)) is not None]
            return sum(rates) / len(rates) if rates else None
        return measures.value(self.facts, model, self.benchmark, self.metric)

    def ordered(self, names: Sequence[str]) -> list[str]:
        """The best first; equal ones as they stand. Models without a number are left out."""
        sign = 1 if self.benchmark == measures.HEAD_TO_HEAD else wording.info(self.benchmark, self.metric).better
        there = [(n, v) for n in names if (v := self.value(n)) is not None]
        return [n for n, _ in sorted(there, key=lambda found: -sign * found[1])]

    def told(self, a: str, b: str) -> str:
        """``+0.79 [+0.65, +0.93]``; a win rate as it is."""
        found = self.between(a, b)
        if found is None:
            return "not compared"
        return f"{found.change.value} {found.change.interval or self._without_interval(a, b)}"

    def scored(self, a: str, b: str) -> tuple[int, int]:
        """Of how many samples the two were compared, and how many there are; zeros where they were not."""
        if self.benchmark == measures.HEAD_TO_HEAD:
            met = matches.match(self.facts, a, b)
            return (met.n_scored, met.n_total) if met else (0, 0)
        held = (tables.difference(self.facts, self.benchmark, self.metric, *pair) for pair in ((a, b), (b, a)))
        found = next((d for d in held if d is not None), None)
        return (found.n, found.n_total) if found else (0, 0)

    def _without_interval(self, a: str, b: str) -> str:
        n, _ = self.scored(a, b)
        return "(no interval: no spread between prompts)" if n > 1 else "(too few samples for an interval)"


def named(benchmark: str, metric: str) -> str:
    """A measure inside a sentence: ``true quality, sampled``; ``AlpacaEval, win rate``."""
    if benchmark == measures.HEAD_TO_HEAD:
        return "head-to-head win rate"
    label = wording.info(benchmark, metric).label
    label = label[:1].lower() + label[1:]
    return label if wording.family(benchmark) == "quality" else f"{measures.short_title(benchmark)}, {label}"


def best_of(ranked: Sequence[_T], is_better: Callable[[_T, _T], bool]) -> _T | None:
    """The one that is shown to be better than every other one; that nobody is shown to beat it is not enough."""
    return next((a for a in ranked if all(a == b or is_better(a, b) for b in ranked)), None)


def gap(top: Sequence[_T], ranked: Sequence[_T], is_better: Callable[[_T, _T], bool]) -> tuple[_T, _T]:
    """The first at the top, and the first other one that it is not shown to be better than, if there is one."""
    others = [n for n in ranked if n != top[0]]
    return top[0], next((n for n in others if not is_better(top[0], n)), others[0])


def deciding(runs: Sequence[RunFacts]) -> Iterator[tuple[str, str]]:
    """``(benchmark, metric)`` of what may decide, in order, as far as the runs have results of it."""
    keys = tables.benchmarks(runs)
    own = [(key, metric) for family, metric in MAIN for key in of_family(family, keys)]
    of_others = [key for key in keys if not descriptions.is_own(key)]
    others = [(key, m) for key in of_others for facts in runs for m in tables.headline_metrics(facts, key)[:1]]
    for key, metric in dict.fromkeys([*own, *others]):
        if key == measures.HEAD_TO_HEAD or wording.info(key, metric).better:
            yield key, metric


def of_family(family: str, there: Sequence[str]) -> Iterator[str]:
    """Those of some benchmarks that are of a family; head to head is its own."""
    if family == measures.HEAD_TO_HEAD:
        yield family
    yield from (key for key in there if wording.family(key) == family)
