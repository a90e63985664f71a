"""How servers were asked, where that is not as a benchmark says: numbers got otherwise are others, and say so.

What a server wanted otherwise (``selfreward_bench.engines.served.dialect``) is kept beside the records it belongs to,
so that a result says it of all calls that worked on it, and of no others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from selfreward_bench.storage.decoding import json_file
from selfreward_bench.storage.files import write_atomic

__all__ = ["FILE", "Asked"]

FILE: Final = "changes.json"
_JUDGE: Final = "judge: "


class Asked:
    """The changes of one directory's calls.

    Args:
        engines: by what they do there (``answers``, ``judge``); others than served ones change nothing.
        owner: tells apart whose changes these are, where the directory keeps records of several judges.
        settings: how the judge is asked by its own settings.
    """

    def __init__(self, directory: Path, engines: Mapping[str, object], *, owner: str = "", settings: str = "") -> None:
        self._file, self._engines, self._owner = directory / FILE, engines, owner
        self._settings = [f"{_JUDGE}{settings}"] if settings else []
        self._before = {who: dict(_changes(engine)) for who, engine in engines.items()}
        self._kept = _read(self._file)

    def note(self) -> list[str]:
        """Keeps what changed since, and tells it with what earlier calls changed."""
        now = {
            f"{who}: {change}"
            for who, engine in self._engines.items()
            for change, count in _changes(engine).items()
            if count > self._before[who].get(change, 0)
        }
        seen = sorted(now.union(self._kept.get(self._owner, ())))
        if seen != self._kept.get(self._owner, []):
            self._kept[self._owner] = seen
            write_atomic(self._file, json.dumps(self._kept, sort_keys=True).encode())
        return seen

    def judge(self, text: str | None) -> str | None:
        """A judge's description with how it was asked."""
        parts = [part.removeprefix(_JUDGE) for part in [*self._settings, *self.note()] if part.startswith(_JUDGE)]
        return f"{text}; asked with {', '.join(parts)}" if text and parts else text

    def condition(self) -> dict[str, str]:
        """The part ``request`` of a comparability key; empty where all was asked as the benchmark says."""
        parts = [*self._settings, *self.note()]
        return {"request": "; ".join(parts)} if parts else {}


def _changes(engine: object) -> Mapping[str, int]:
    found: Mapping[str, int] = getattr(engine, "changes", {})
    return found


def _read(file: Path) -> dict[str, list[str]]:
    found = json_file(file)
    if not isinstance(found, dict):
        return {}
    return {str(owner): list(map(str, seen)) for owner, seen in found.items() if isinstance(seen, list)}
