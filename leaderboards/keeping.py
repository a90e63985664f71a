"""Which evaluation a directory's records belong to, and where those of other weights or settings are kept.

A directory says in its start file what it was begun for. What was begun for something else is put aside beside it, in
``.other``, and comes back when that is asked for again: what was paid for is never thrown away.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import count, islice
from pathlib import Path
from typing import ClassVar, Final, TypeVar

from pydantic_core import to_jsonable_python

from selfreward_bench.storage.files import os_errors
from selfreward_bench.storage.model_files import weights_in
from selfreward_bench.storage.rundir import hash_json
from selfreward_bench.types import Record

__all__ = ["Start", "begin", "read_start", "spelled_out"]

_OTHER: Final = ".other"
_MOST: Final = 200  # settings that are spelled out, and characters of one


class Start(Record):
    """What a directory's records were begun for; a subclass adds what else than the model they depend on.

    Attributes:
        file: the name of the start file.
    """

    file: ClassVar[str] = "start.json"

    fingerprint: str

    @property
    def short(self) -> str:
        """Tells it from others in a folder's name; all fingerprints of served models begin alike."""
        return f"{self.fingerprint[-8:]}-{hash_json(self)[:8]}"


def spelled_out(identity: Mapping[str, object]) -> dict[str, str]:
    """What a hash of settings is made of, for people: ``{"eval": {"samples": 4}}`` is ``{"eval.samples": "4"}``."""
    return dict(islice(_leaves(to_jsonable_python(identity)), _MOST))


def _leaves(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _text(value)[:_MOST]


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


S = TypeVar("S", bound=Start)


def read_start(directory: Path, kind: type[S]) -> S | None:
    """What a directory was begun for; None where nothing says it."""
    try:
        return kind.model_validate_json((directory / kind.file).read_bytes())
    except (OSError, ValueError):
        return None


def begin(directory: Path, start: Start) -> str:
    """Makes a directory hold what was begun for ``start`` earlier, or nothing; what else was in it is put aside.

    Returns:
        What the user should know of what was put aside; mostly empty.

    Raises:
        DataError: the operating system refuses.
    """
    with os_errors(directory, "prepare"):
        before = read_start(directory, type(start))
        if before == start:
            return ""
        if directory.exists() and any(directory.iterdir()):
            _move(directory, _free_place(directory, before))
        kept = _place(directory, start)
        if kept.exists():
            _move(kept, directory)
            return ""
        return _older(directory, before, start)


def _older(directory: Path, before: Start | None, start: Start) -> str:
    """What a version began that looked at weights alone may be of another configuration or template."""
    now = start.fingerprint
    if before is None or before.fingerprint == now or before.fingerprint != weights_in(now):
        return ""
    return (
        f"{directory.name} was made by an older srbench, which did not look at the model's configuration, tokenizer "
        f"and chat template. It is made again; the older records are kept in {directory.parent / _OTHER}."
    )


def _place(directory: Path, start: Start) -> Path:
    return directory.parent / _OTHER / f"{directory.name}-{start.short}"


def _free_place(directory: Path, start: Start | None) -> Path:
    """Where records are put; those of which nothing says what they are get a number."""
    if start is not None and not (place := _place(directory, start)).exists():
        return place
    places = (directory.parent / _OTHER / f"{directory.name}-unknown-{n}" for n in count(1))
    return next(place for place in places if not place.exists())


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        target.rmdir()  # empty
    source.replace(target)
