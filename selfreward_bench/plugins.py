"""What a name stands for: srbench's own rows, and what installed packages bring as entry points.

A table is a dictionary of names and places (``module:object``), kept in sight by whoever owns it, and the group of
entry points that can add to it. A place is imported when its name is asked for; the groups ``srbench.benchmarks`` and
``srbench.engines`` are described in docs/extending.md.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from selfreward_bench.errors import PluginError, UnknownNameError

__all__ = ["Found", "Table", "told"]

_SHOWN: Final = 300  # characters of an error's text in a message


@dataclass(frozen=True)
class Found:
    """What a name stands for.

    Attributes:
        value: the object itself.
        distribution: ``NAME VERSION`` of the package that brings it; empty for srbench's own.
    """

    value: Any
    distribution: str = ""


@dataclass(frozen=True)
class Table:
    """Names and what they stand for.

    Attributes:
        what: what such a name is of, for messages: ``engine kind``.
        rows: srbench's own: name -> ``module:object``.
        group: of the entry points that add to them.
        reserved: further names that no package can have.
    """

    what: str
    rows: Mapping[str, str]
    group: str
    reserved: frozenset[str] = frozenset()

    def names(self) -> list[str]:
        """All names: srbench's own, then what packages bring."""
        return [*self.rows, *(name for name in _brought(self.group) if name not in self.rows)]

    def brings(self, name: str) -> bool:
        """Whether a package brings something of this name."""
        return name in _brought(self.group)

    def check(self, name: str) -> None:
        """Refuses a name that stands for two things.

        Raises:
            PluginError: a package's name is also srbench's own, or another package's.
        """
        points = _brought(self.group).get(name, ())
        if points and (name in self.rows or name in self.reserved or len(points) > 1):
            raise PluginError(_taken(self, name, points))

    def load(self, name: str) -> Found:
        """What a name stands for, imported now.

        Raises:
            UnknownNameError: it stands for nothing.
            PluginError: a package brings it and it cannot be imported, or ``check`` refuses it.
        """
        self.check(name)
        if name in self.rows:
            module, attribute = self.rows[name].split(":")
            return Found(getattr(importlib.import_module(module), attribute))
        points = _brought(self.group).get(name, ())
        if not points:
            raise UnknownNameError(self.what, name, self.names())
        try:
            return Found(points[0].load(), _distribution(points[0]))
        except Exception as error:  # its code may raise anything
            raise PluginError(
                f"The {self.what} {name!r} is brought by {_distribution(points[0])} ({points[0].value}) and cannot be "
                f"imported: {told(error)} Update or uninstall that package, or leave the name out."
            ) from error


def told(error: BaseException) -> str:
    """What an error of somebody else's code says, in one bounded line.

    >>> told(KeyError("width"))
    "KeyError: 'width'."
    """
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text[:_SHOWN].rstrip(" .:") + "."


@cache
def _brought(group: str) -> Mapping[str, tuple[EntryPoint, ...]]:
    """What installed packages bring; looked up once, since it reads the metadata of every package."""
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=group):
        found[point.name] = (*found.get(point.name, ()), point)
    return found


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unnamed package"


def _taken(table: Table, name: str, points: tuple[EntryPoint, ...]) -> str:
    bringers = " and ".join(_distribution(point) for point in points)
    several = len(points) > 1
    why = "are both called so" if several else "is called like one of srbench's own"
    return (
        f"The {table.what} {name!r} is not used: what {bringers} {'bring' if several else 'brings'} {why}. Uninstall "
        f"{'one of them' if several else 'that package'}, or ask its authors for another name."
    )
