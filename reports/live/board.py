"""The leaderboard: a row for each evaluated checkpoint, those whose numbers may be compared together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from leaderboards.comparing.records import SETTINGS, conditions
from reports import wording
from reports.facts import comparability, decision, tables
from reports.facts.run import ModelFacts, RunFacts
from reports.facts.tables import Cell
from reports.live.found import Place
from selfreward_bench.types import EvalResult

__all__ = ["Board", "Entry", "Row", "arrange"]

_COLUMNS: Final = 8


@dataclass(frozen=True, slots=True)
class Entry:
    """A run that was read.

    Attributes:
        state: ``running``, ``finished`` (all its models are made), ``stopped`` (some are missing), ``evaluated`` (of no
            run), or why nobody can say.
    """

    place: Place
    facts: RunFacts | None
    state: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A checkpoint, or a run without any.

    Attributes:
        cells: a number for each column, with its plain value to sort by.
        last: whether it is the last of its run.
    """

    entry: Entry
    model: str
    cells: tuple[tuple[Cell, float | None], ...]
    last: bool = True

    @property
    def settings(self) -> Mapping[str, str]:
        """Of the run; empty where there is none."""
        return self.entry.facts.settings if self.entry.facts else {}

    @property
    def decided(self) -> str:
        """What the report says on top, at the run's last checkpoint."""
        facts = self.entry.facts
        if facts is None or facts.standings is None or not self.last:
            return ""
        return decision.decide(facts).sentence


@dataclass(slots=True)
class _Group:
    """Rows whose numbers were made alike, as far as they have any in common."""

    made: dict[str, Mapping[str, str]]
    rows: list[Row] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Board:
    """The table.

    Attributes:
        columns: benchmark and metric of each.
        groups: rows of one group may be compared; the last is of runs without results, where there are such.
        differing: of each group, in which conditions it is unlike the first.
    """

    columns: tuple[tuple[str, str], ...]
    groups: tuple[tuple[Row, ...], ...]
    differing: tuple[tuple[str, ...], ...]


def arrange(entries: Sequence[Entry]) -> Board:
    """The rows in groups; runs in the order given, their checkpoints in the order of training."""
    columns = _columns([e.facts for e in entries if e.facts is not None])
    groups: list[_Group] = []
    bare: list[Row] = []
    for entry in entries:
        evaluated = entry.facts.evaluated if entry.facts else ()
        if not evaluated:
            bare.append(Row(entry, "", tuple((Cell(wording.NOTHING), None) for _ in columns)))
        for model in evaluated:
            row = _row(entry, model, columns, last=model is evaluated[-1])
            _joined(groups, {k: _made(r) for k, r in model.results.items()}).rows.append(row)
    found = [(tuple(g.rows), tuple(_differing(groups[0].made, g.made))) for g in groups]
    found += [(tuple(bare), ())] if bare else []
    return Board(columns, tuple(rows for rows, _ in found), tuple(why for _, why in found))


def _differing(first: Mapping[str, Mapping[str, str]], other: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Such as ``the parameters of AlpacaEval``."""
    for key in first.keys() & other.keys():
        unlike = comparability.named(first[key], other[key])
        if unlike:
            yield f"the {wording.listing(unlike)} of {wording.title(key).removesuffix(wording.MICRO)}"


def _columns(runs: Sequence[RunFacts]) -> tuple[tuple[str, str], ...]:
    """The first metric of each benchmark."""
    found = [(key, metrics[0]) for key in tables.benchmarks(runs) if (metrics := _headlines(runs, key))]
    return tuple(found[:_COLUMNS])


def _headlines(runs: Sequence[RunFacts], key: str) -> list[str]:
    return list(dict.fromkeys(m for facts in runs for m in tables.headline_metrics(facts, key)))


def _row(entry: Entry, model: ModelFacts, columns: Sequence[tuple[str, str]], *, last: bool) -> Row:
    cells: list[tuple[Cell, float | None]] = []
    for key, metric in columns:
        found = model.results[key].metrics.get(metric) if key in model.results else None
        unit = wording.info(key, metric).unit
        if found is None or found.value is None:
            cells.append((Cell(wording.NOTHING), None))
        else:
            interval = wording.interval(found.low, found.high, unit)
            cells.append((Cell(wording.number(found.value, unit), interval), found.value))
    return Row(entry, model.name, tuple(cells), last)


def _made(result: EvalResult) -> Mapping[str, str]:
    """What a number of it must share with another; that seeds differ is no reason."""
    return {k: v for k, v in conditions(result).items() if k != SETTINGS}


def _joined(groups: list[_Group], made: dict[str, Mapping[str, str]]) -> _Group:
    """The first group that shares a benchmark and differs in none; else a new one."""
    for group in groups:
        shared = group.made.keys() & made.keys()
        if shared and all(group.made[key] == made[key] for key in shared):
            group.made.update(made)
            return group
    groups.append(_Group(dict(made)))
    return groups[-1]
