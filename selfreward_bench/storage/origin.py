"""Where a run comes from that was forked: kept as ``fork.json`` in its directory, read by status and reports."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from selfreward_bench import __version__
from selfreward_bench.storage.files import open_file
from selfreward_bench.types import Record

__all__ = ["RECORD", "Fork", "read_fork"]

RECORD: Final = "fork.json"
_MAX_BYTES: Final = 2**20


class Fork(Record):
    """Where a run comes from; kept as ``fork.json`` in its directory.

    Attributes:
        parent: the name of the directory it was forked from.
        parent_settings: hash of that run's ``srbench.yaml``.
        at: the first stage that is its own.
        kept: the stages it took over, in order.
        changes: setting -> what it was and what it is, as text.
    """

    format: Literal[1] = 1
    parent: str
    parent_settings: str
    at: str
    kept: tuple[str, ...]
    changes: dict[str, tuple[str, str]]
    srbench: str = __version__


def read_fork(path: Path) -> Fork | None:
    """Where a run comes from; None for one that was not forked, or whose record cannot be read."""
    try:
        with open_file(path / RECORD) as stream:
            return Fork.model_validate_json(stream.read(_MAX_BYTES))
    except (OSError, ValueError):
        return None
