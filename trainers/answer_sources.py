"""Whose answers a round has: the parent's own candidates, and others that some methods hold against them.

Each group is a file of its own, with answers numbered from 0. Held together their numbers tell whose they are: those of
the ``human`` begin at 1,000, of the ``first`` model at 2,000, of the ``next`` one at 3,000. So does the number of a
side in ``pairs.jsonl``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Final, TypeVar

from selfreward_bench.storage.records import Made, Records
from selfreward_bench.types import Completion

__all__ = ["BLOCK", "FILES", "joined", "named", "read", "source_of"]

R = TypeVar("R")

BLOCK: Final = 1000

#: whose answers -> the file in the model's directory, in the order of their numbers
FILES: Final[dict[str, str]] = {
    "own": "completions.jsonl",
    "human": "given.jsonl",
    "first": "first.jsonl",
    "next": "next/completions.jsonl",
}
_ORDER: Final = tuple(FILES)


def source_of(index: int) -> str:
    """Whose answer has this number.

    >>> source_of(3), source_of(2001)
    ('own', 'first')
    """
    return _ORDER[index // BLOCK]


def named(side: str) -> tuple[str, ...]:
    """Whose answers a side of a pair is made of (``pairs.chosen_from``, ``pairs.rejected_from``).

    >>> named("own"), named("own-or-first")
    (('own',), ('own', 'first'))
    """
    return tuple(side.split("-or-"))


def read(directory: Path, sources: Iterable[str]) -> Sequence[Completion]:
    """The answers of these groups to a round's prompts, with numbers that tell whose they are; read when asked for.

    Raises:
        DataError: a file is not there or damaged.
    """
    return joined([_group(Records(directory / FILES[source], Completion), _ORDER.index(source)) for source in sources])


def _group(records: Sequence[Completion], number: int) -> Sequence[Completion]:
    if not number:
        return records

    def shifted(at: int) -> Completion:
        found = records[at]
        return found.model_copy(update={"index": number * BLOCK + found.index})

    return Made(len(records), shifted)


def joined(parts: Sequence[Sequence[R]]) -> Sequence[R]:
    """Sequences one after the other, without copying them."""
    if len(parts) == 1:
        return parts[0]
    ends = list(accumulate(map(len, parts)))

    def item(at: int) -> R:
        part = bisect_right(ends, at)
        return parts[part][at - (ends[part - 1] if part else 0)]

    return Made(ends[-1] if ends else 0, item)
