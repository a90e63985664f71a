"""Which runs lie under a directory; bounded. Links are not followed, and a run with one that leads out is not read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from leaderboards.standings import RESULT

__all__ = ["MAX_RUNS", "Listing", "Place", "look"]

MAX_RUNS: Final = 300
_MAX_DEPTH: Final = 5  # of directories below the one that is looked into
_MAX_ENTRIES: Final = 50_000  # files and directories of one listing, and of one run
_CONFIG: Final = "srbench.yaml"
_SKIPPED: Final = frozenset({"checkpoint", "node_modules", "__pycache__", "tracking"})
_STAGES: Final = (".start.json", ".stage.json")


@dataclass(frozen=True, slots=True)
class Place:
    """A run, or models that were evaluated outside one, laid out alike.

    Attributes:
        id: for addresses; nothing of a path is in it.
        name: the path below the directory.
        stamp: changes when a file of it does.
        changed: when a file of it was last changed, seconds since the epoch.
        refused: why it is not read; empty where it is.
    """

    id: str
    name: str
    path: Path
    stamp: str
    changed: float
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """What was found, the latest first; ``gaps`` says in words what was not looked at."""

    places: tuple[Place, ...]
    gaps: tuple[str, ...] = ()


@dataclass(slots=True)
class _Walk:
    root: Path
    left: int
    gaps: list[str] = field(default_factory=list)


def look(root: Path) -> Listing:
    """The runs under a directory, which may be one itself."""
    walk = _Walk(root.resolve(), _MAX_ENTRIES)
    found: list[Place] = []
    for path in _runs(walk, walk.root, 0):
        if len(found) == MAX_RUNS:
            walk.gaps.append(f"There are more than {MAX_RUNS} runs here; the rest is not listed.")
            break
        found.append(_place(walk.root, path))
    return Listing(tuple(sorted(found, key=lambda p: (-p.changed, p.name))), tuple(dict.fromkeys(walk.gaps)))


def _runs(walk: _Walk, folder: Path, depth: int) -> Iterator[Path]:
    if walk.left <= 0:
        walk.gaps.append("There are more files here than are looked at; some runs may be missing.")
        return
    entries = _entries(folder)
    walk.left -= 1 + len(entries)
    if _is_run(entries):
        yield folder
        return
    if depth == _MAX_DEPTH:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False) and not _is_skipped(entry.name):
            yield from _runs(walk, Path(entry.path), depth + 1)


def _is_run(entries: list[os.DirEntry[str]]) -> bool:
    """Settings, a stage that was begun, or a model's results."""
    if any(e.name == _CONFIG and e.is_file(follow_symlinks=False) for e in entries):
        return True
    models = [Path(e.path) for e in entries if e.is_dir(follow_symlinks=False) and not _is_skipped(e.name)]
    return any(_is_model(model) for model in models)


def _is_model(folder: Path) -> bool:
    if any(e.name.endswith(_STAGES) for e in _entries(folder)):
        return True
    results = (Path(e.path) for e in _entries(folder / "eval") if e.is_dir(follow_symlinks=False) and "@" in e.name)
    return any((r / RESULT).is_file() for r in results)


def _is_skipped(name: str) -> bool:
    return name.startswith(".") or name in _SKIPPED


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda e: e.name)
    except OSError:
        return []


def _place(root: Path, path: Path) -> Place:
    digest, changed, refused, left = hashlib.blake2b(digest_size=16), 0.0, "", _MAX_ENTRIES
    for entry in _files(path):
        left -= 1
        if left < 0:
            refused = "it holds more files than are looked at"
            break
        if entry.is_symlink() and not _stays(entry.path, root):
            refused = "it holds a link that leads out of the directory"
            break
        try:
            stat = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        changed = max(changed, stat.st_mtime)
        digest.update(f"{entry.path}\0{stat.st_mtime_ns}\0{stat.st_size}\0".encode(errors="surrogateescape"))
    name = path.relative_to(root).as_posix() if path != root else root.name or "."
    key = hashlib.blake2b(os.fsencode(name), digest_size=8).hexdigest()
    return Place(key, name, path, digest.hexdigest(), changed, refused)


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Everything in a run, directories of links among it; the weights' directories are not gone into."""
    waiting = [folder]  # no recursion: somebody else's directories may be nested as deep as paths can be long
    while waiting:
        for entry in _entries(waiting.pop()):
            yield entry
            if entry.is_dir(follow_symlinks=False) and entry.name != "checkpoint":
                waiting.append(Path(entry.path))


def _stays(path: str, root: Path) -> bool:
    try:
        return Path(path).resolve(strict=True).is_relative_to(root)
    except FileNotFoundError:
        return Path(path).resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # a circle of links; only strictly is it an error of every Python
        return False
