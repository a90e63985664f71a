"""What makes a training resumable: its plan, its log of steps, and saved states that can be told from torn ones.

- ``OUT/plan.json``: what is trained: base, data, settings, seed (written first, compared on every start)
- ``OUT/log.jsonl``: one line per step
- ``OUT/resume/checkpoint-N/``: model, optimizer, schedule and generators after step N; whole when intact.json is there
- ``OUT/checkpoint/``: the result, renamed into place when whole
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfreward_bench.errors import DataError, IncompatibleRunError
from selfreward_bench.storage.files import open_own, os_errors, write_atomic
from selfreward_bench.storage.rundir import hash_file

MARKER = "intact.json"
_PREFIX = "checkpoint-"
_LEFT_OUT = ("training_args.bin",)  # a pickle nothing reads


@dataclass(frozen=True, slots=True)
class SavedState:
    """An intact saved state: everything the training was after ``step``."""

    step: int
    path: Path


class ResumeStore:
    """The saved states of one training, under ``directory``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def refuse_link(self) -> None:
        """What is saved here is deleted later, and nothing elsewhere may be.

        Raises:
            IncompatibleRunError: the directory is a symbolic link.
        """
        if self.directory.is_symlink():
            raise IncompatibleRunError(
                f"{self.directory} is a symbolic link. Saved states are deleted there, so it is not followed. Delete "
                "the link."
            )

    def latest(self) -> SavedState | None:
        """The newest whole state; ``discard_torn`` has seen that its bytes are what was saved."""
        states = [SavedState(self._step(p), p) for p in self._directories() if _is_intact(p)]
        return max(states, key=lambda s: s.step, default=None)

    def discard_torn(self) -> list[int]:
        """Deletes what a killed process left half written, and what was whole once and is damaged.

        Returns:
            The steps of the damaged ones.
        """
        damaged = []
        for path in self._directories():
            if not _is_intact(path, whole=True):
                if (path / MARKER).exists():
                    damaged.append(self._step(path))
                shutil.rmtree(path)
        return damaged

    def discard_after(self, step: int) -> None:
        """Deletes the states of later steps."""
        for path in self._directories():
            if self._step(path) > step:
                shutil.rmtree(path)

    def hashes(self, step: int, index: int = 0, count: int = 1) -> dict[str, str]:
        """What a state's files hold, after all their bytes have reached the disk.

        Args:
            index, count: looks at every count-th file, as each of so many processes does.
        """
        path = self.directory / f"{_PREFIX}{step}"
        files = sorted(f for f in path.rglob("*") if f.is_file() and f.name not in _LEFT_OUT)
        found = {}
        for file in files[index::count]:
            sync_file(file)
            found[file.relative_to(path).as_posix()] = hash_file(file)
        return found

    def seal(self, step: int, hashes: dict[str, str]) -> None:
        """Marks the state of ``step`` as whole: it is these files."""
        path = self.directory / f"{_PREFIX}{step}"
        for name in _LEFT_OUT:
            (path / name).unlink(missing_ok=True)
        sizes = {name: (path / name).stat().st_size for name in hashes}
        write_atomic(path / MARKER, _json({"step": step, "files": sizes, "hashes": hashes}))

    def keep_newest(self, count: int) -> None:
        """Deletes all states but the newest."""
        for path in sorted(self._directories(), key=self._step)[:-count]:
            shutil.rmtree(path)

    def clear(self) -> None:
        """Deletes all states: the final checkpoint is there."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _directories(self) -> list[Path]:
        found = self.directory.glob(f"{_PREFIX}*")
        return sorted(p for p in found if p.is_dir() and p.name.removeprefix(_PREFIX).isdigit())

    @staticmethod
    def _step(path: Path) -> int:
        return int(path.name.removeprefix(_PREFIX))


def _is_intact(path: Path, *, whole: bool = False) -> bool:
    """Whether a state's files are there; with ``whole`` their bytes are read, too, where they were recorded."""
    try:
        marker = json.loads((path / MARKER).read_text("utf-8"))
        sizes: dict[str, int] = marker["files"]
        hashes: dict[str, str] = marker.get("hashes", {}) if whole else {}
        same = all((path / name).stat().st_size == size for name, size in sizes.items())
        return same and all(hash_file(path / name) == content for name, content in hashes.items())
    except (OSError, ValueError, KeyError, AttributeError, DataError):
        return False


class StepLog:
    """``log.jsonl``: one line per step, each step once, written through a buffer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pending: list[str] = []

    def write(self, metrics: dict[str, float]) -> None:
        """Adds a step; it reaches the file at the next ``flush``."""
        self._pending.append(json.dumps(metrics) + "\n")
        if len(self._pending) >= 50:
            self.flush()

    def flush(self) -> None:
        """Writes what is pending and sees it to the disk."""
        if not self._pending:
            return
        with os_errors(self.path, "write"):
            descriptor = open_own(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            with os.fdopen(descriptor, "a", encoding="utf-8") as file:
                file.writelines(self._pending)
                file.flush()
                os.fsync(file.fileno())
        self._pending.clear()

    def read(self) -> list[dict[str, float]]:
        """The whole lines, up to the first that is torn or out of order."""
        lines: list[dict[str, float]] = []
        if not self.path.exists():
            return lines
        for raw in self.path.read_text("utf-8", errors="replace").splitlines(keepends=True):
            try:
                line = json.loads(raw) if raw.endswith("\n") else None
            except ValueError:
                line = None
            if not isinstance(line, dict) or line.get("step") != len(lines) + 1:
                break
            lines.append(line)
        return lines

    def cut(self, step: int) -> None:
        """Keeps the lines of the first ``step`` steps."""
        lines = self.read()[:step]
        if step == 0 or not lines:
            self.path.unlink(missing_ok=True)
        else:
            write_atomic(self.path, "".join(json.dumps(line) + "\n" for line in lines).encode())


@dataclass(frozen=True, slots=True)
class Frame:
    """One training's directory, made ready: what was torn is gone, the log ends where the resume begins."""

    store: ResumeStore
    log: StepLog
    checkpoint: Path

    @property
    def finished(self) -> bool:
        return self.checkpoint.is_dir()


def keep_plan(path: Path, plan: dict[str, Any]) -> None:
    """Writes the plan of a new training, or compares it with the one that was begun here.

    Raises:
        IncompatibleRunError: something else was begun here.
    """
    plan = json.loads(json.dumps(plan))
    try:
        begun = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        write_atomic(path, _json(plan))
        return
    if begun != plan:
        differing = sorted(k for k in {*begun, *plan} if begun.get(k) != plan.get(k))
        shown = "; ".join(f"{k}: was {_short(begun.get(k))}, is {_short(plan.get(k))}" for k in differing)
        raise IncompatibleRunError(
            f"{path.parent} holds a training that was begun with something else ({shown}). It cannot be continued "
            "with this. Put the old settings back, or delete the directory to start over."
        )


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def sync_file(path: Path) -> None:
    """Sees a file's bytes to the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _short(value: object) -> str:
    text = json.dumps(value, sort_keys=True)
    return text if len(text) <= 80 else text[:77] + "..."
