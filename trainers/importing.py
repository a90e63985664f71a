"""Seed data in the shapes and files people have, as srbench's records: what ``srbench data import`` and seeds.* read.

A row that cannot be used is left out and counted with its reason; more than a tenth of them is taken for a mistake.
Ids are the rows' own where they differ, and a hash of the content otherwise. srbench's own layouts (docs/formats.md)
are read strictly, in any container.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

from selfreward_bench.errors import DataError
from selfreward_bench.sources import shapes
from selfreward_bench.sources.oasst import is_message, trees_of
from selfreward_bench.sources.shapes import Item, Shape
from selfreward_bench.sources.tables import Row, Table, open_table
from selfreward_bench.sources.turns import UnfitRow
from selfreward_bench.storage import jsonl, kinds
from selfreward_bench.storage.decoding import decode
from selfreward_bench.storage.records import packed
from selfreward_bench.types import Example, Message, Prompt, RankedPrompt
from trainers import oasst
from trainers.layouts import LINES, is_own_layout

__all__ = ["OASST_PREFIX", "OWN", "PURPOSES", "Imported", "Purpose", "is_own", "load"]

Purpose = Literal["ift", "eft", "prompts"]
Loaded = Example | RankedPrompt | Prompt

PURPOSES: Final[tuple[Purpose, ...]] = ("ift", "eft", "prompts")
OWN: Final = "srbench"  # the shape of docs/formats.md
OASST_PREFIX: Final = "oasst:"  # says so before a path
_OASST: Final = "oasst"  # trees or messages, whichever the file has
_OASST_SHAPES: Final = ("oasst-trees", "oasst-messages")

_MAX_BAD: Final = 0.1
_LOOKED_AT: Final = 10  # rows that may tell the shape
_SHOWN: Final = 5  # bad rows named for each reason
_SHOWN_FAULT: Final = 100  # characters


@dataclass(slots=True)
class Imported:
    """What a table came to.

    Attributes:
        container, shape: what it was recognised as.
        digest: see ``Table.digest``.
        unused: columns that were not looked at, of those declared or in the first rows.
        records: of the class that the purpose calls for.
        n_rows: rows that were read (trees, of Open Assistant).
        bad: rows that cannot be used, by reason; ``places`` names the first few of each.
        left_out: rows that are sound and not for this purpose, by reason.
        n_duplicates: rows that were there before: equal content without an id of its own, or a tree's id.
        n_made_ids: records whose id is a hash of their content.
    """

    container: str
    shape: str
    digest: str
    unused: tuple[str, ...] = ()
    records: Sequence[Loaded] = ()
    n_rows: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[str]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    n_duplicates: int = 0
    n_made_ids: int = 0

    @property
    def n_bad(self) -> int:
        """All of ``bad``."""
        return sum(self.bad.values())

    def facts(self) -> dict[str, str | int]:
        """What a run writes down of its seeds."""
        counts = {"rows": self.n_rows, "bad": self.n_bad, "duplicates": self.n_duplicates}
        return {"container": self.container, "shape": self.shape, "sha256": self.digest, **counts}

    def count_bad(self, reason: str, place: str) -> None:
        """One more row that cannot be used."""
        self.bad[reason] += 1
        if len(places := self.places.setdefault(reason, [])) < _SHOWN:
            places.append(place)

    def listing(self) -> str:
        """The bad rows, a reason a line."""
        return "\n".join(
            f"  {count:,} x {reason}: {', '.join(self.places[reason])}{', ...' if count > _SHOWN else ''}"
            for reason, count in self.bad.most_common()
        )


def is_own(given: str, purpose: Purpose) -> bool:
    """Whether it is JSONL in srbench's own layout.

    Raises:
        DataError: it cannot be read, or has no known shape.
    """
    table = open_table(given)
    return table.container == kinds.JSONL and _shape(table, _first_rows(table), purpose, None) is None


def load(
    given: str, purpose: Purpose, *, shape: str | None = None, limit: int | None = None, skip_bad: bool = False
) -> Imported:
    """Reads a table as records.

    Args:
        given: see ``tables.open_table``; ``oasst:PATH`` is a file of Open Assistant's trees, or of their messages.
        purpose: what the records are for.
        shape: its name; None to recognise it.
        limit: so many usable rows at most; reading ends there.
        skip_bad: leaves bad rows out however many there are.

    Raises:
        DataError: the table cannot be read or used for this, or more than a tenth of the rows are bad.
        UnknownNameError: there is no such shape.
    """
    if given.startswith(OASST_PREFIX):
        given, shape = given.removeprefix(OASST_PREFIX), _OASST
        if not given:
            raise DataError(f"{OASST_PREFIX} names no file. Write its path behind it: {OASST_PREFIX}trees.jsonl.gz")
    table = open_table(given)
    first = _first_rows(table)
    chosen = _shape(table, first, purpose, shape)
    columns = dict.fromkeys([*table.columns, *(name for row in first for name in row.values)])
    found = Imported(table.container, chosen.name if chosen else OWN, table.digest())
    looked_at: set[str] = set()
    if chosen is None:
        found.records = packed(islice(_own_records(table, purpose), limit))
        found.n_rows = len(found.records)
        if not found.records:
            raise DataError(f"{table.name}: holds no records ({table.container}). Check that this is the right file.")
        return found
    if purpose not in chosen.yields:
        raise DataError(_other_purpose(table.name, chosen, purpose))
    if chosen.name in _OASST_SHAPES:
        found.records = _read_trees(table, purpose, found, limit)
        looked_at.update(shapes.COLUMNS)
    else:
        found.records = _read_items(table, chosen, purpose, found, limit, looked_at)
    found.unused = tuple(name for name in columns if name not in looked_at)
    if found.n_bad > _MAX_BAD * found.n_rows and not skip_bad:
        raise DataError(
            f"{table.name}: {found.n_bad:,} of {found.n_rows:,} rows (shape {found.shape}) cannot be used as "
            f"{purpose}, over {_MAX_BAD:.0%}.\n{found.listing()}\nMend them, say another --shape, or make a file "
            "without them: `srbench data import --skip-bad --out FILE.jsonl`."
        )
    if not found.records:
        reasons = ", ".join(f"{reason} ({count:,})" for reason, count in (found.bad + found.left_out).most_common(5))
        raise DataError(
            f"{table.name}: none of {found.n_rows:,} rows can be used as {purpose}: {reasons or 'no rows'}."
        )
    return found


def _first_rows(table: Table) -> list[Row]:
    return list(islice((row for row in table.rows() if row.fault is None), _LOOKED_AT))


def _shape(table: Table, first: Sequence[Row], purpose: Purpose, name: str | None) -> Shape | None:
    """None stands for srbench's own layout, which says best what is wrong where no row can be read."""
    if name == _OASST:
        return shapes.named("oasst-messages" if first and is_message(first[0].values) else "oasst-trees")
    if name is not None:
        return None if name == OWN else shapes.named(name)
    if not first:
        return None
    known = set(table.columns) <= set(LINES[purpose].model_fields)
    if known and is_own_layout(first[0].values, purpose):
        return None
    return shapes.recognise([row.values for row in first], table.name)


def _other_purpose(name: str, shape: Shape, purpose: Purpose) -> str:
    can_be = " or ".join(shape.yields) or "none of ift, eft and prompts"
    missing = {"ift": "answers", "eft": "ranked answers", "prompts": "prompts"}[purpose]
    return f"{name}: of the shape {shape.name} ({shape.columns}), without {missing}: it can be {can_be}, not {purpose}."


# --- srbench's own layouts


def _own_records(table: Table, purpose: Purpose) -> Iterator[Loaded]:
    """Strictly: the first line that cannot be used is an error."""
    if table.container == kinds.JSONL:
        for line in jsonl.iterate(Path(table.name), LINES[purpose], unique=lambda line: line.id):
            yield line.record()
        return
    places: dict[str, str] = {}
    for row in table.rows():
        if row.fault:
            raise DataError(f"{row.place}: {row.fault}")
        try:
            text = json.dumps(_without_nulls(row.values))
        except TypeError as error:
            raise DataError(f"{row.place}: holds something else than texts and numbers ({error}).") from error
        line = decode(text.encode(), LINES[purpose], row.place)
        if line.id in places:
            raise DataError(f"{row.place}: the id {line.id!r} is at {places[line.id]} already. Ids must be unique.")
        places[line.id] = row.place
        yield line.record()


def _without_nulls(value: Any) -> Any:
    """Tables write down as null what a row leaves out."""
    if isinstance(value, dict):
        return {key: _without_nulls(v) for key, v in value.items() if v is not None}
    return [_without_nulls(v) for v in value] if isinstance(value, list) else value


# --- Open Assistant


def _read_trees(table: Table, purpose: Purpose, found: Imported, limit: int | None) -> list[Loaded]:
    records: list[Loaded] = []
    taken: set[str] = set()
    for tree in trees_of(table):
        found.n_rows += 1
        record = oasst.record_of(tree, purpose)
        if isinstance(record, str):
            found.left_out[record] += 1
        elif record.id in taken:
            found.n_duplicates += 1
        else:
            taken.add(record.id)
            records.append(record)
        if len(records) == limit:
            return records
    if not records:
        raise DataError(
            f"{table.name}: holds no usable English first turn with ranked answers. Is it the tree export, or the "
            "table of messages?"
        )
    return records


# --- other shapes


class _Watched(dict[str, Any]):
    """A row that writes down which of its columns are read."""

    def __init__(self, values: dict[str, Any], looked_at: set[str]) -> None:
        super().__init__(values)
        self._looked_at = looked_at

    def __getitem__(self, name: str) -> Any:
        self._looked_at.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self._looked_at.add(name)
        return super().get(name, default)


def _read_items(
    table: Table, shape: Shape, purpose: Purpose, found: Imported, limit: int | None, looked_at: set[str]
) -> list[Loaded]:
    items: list[Item] = []
    for row in table.rows():
        found.n_rows += 1
        place = row.place.removeprefix(table.name)
        place = f"line {place[1:]}" if place.startswith(":") else place.removeprefix(", ")
        if row.fault:
            found.count_bad("cannot be read", f"{place} ({row.fault[:_SHOWN_FAULT]})")
            continue
        try:
            items += [_checked(item, purpose) for item in shape.items(_Watched(row.values, looked_at))]
        except UnfitRow as unfit:
            found.count_bad(str(unfit), place)
        if limit is not None and len(items) >= limit:
            break
    return [_record(item, name, purpose) for item, name in _named(items[:limit], found)]


def _checked(item: Item, purpose: Purpose) -> Item:
    if purpose == "ift" and item.answer is None and not item.responses:
        raise UnfitRow("no answer follows the last user's turn")
    return item


def _named(items: Sequence[Item], found: Imported) -> Iterator[tuple[Item, str]]:
    """Items with ids, without those that were there before."""
    own = Counter(item.id for item in items)
    taken = {name for name, times in own.items() if times == 1}
    for item in items:
        if item.id is not None and own[item.id] == 1:
            yield item, item.id
            continue
        name = _content_id(item)
        if name in taken:
            found.n_duplicates += 1
            continue
        taken.add(name)
        found.n_made_ids += 1
        yield item, name


def _content_id(item: Item) -> str:
    turns = [(turn.role, turn.content) for turn in item.messages]
    content = json.dumps([turns, item.answer, [(r.text, r.rank) for r in item.responses]])
    return hashlib.sha256(content.encode()).hexdigest()[:24]


def _record(item: Item, name: str, purpose: Purpose) -> Loaded:
    if purpose == "prompts":
        return Prompt(id=name, messages=item.messages, source=item.source, category=item.category)
    if purpose == "eft":
        return RankedPrompt(id=name, messages=item.messages, responses=item.responses, category=item.category)
    best = item.answer or min(item.responses, key=lambda response: response.rank).text
    completion = (Message(role="assistant", content=best),)
    return Example(id=name, prompt=item.messages, completion=completion, source=item.source or "ift")
