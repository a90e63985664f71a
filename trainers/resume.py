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

from selfreward_bench.errors import IncompatibleRunError
from selfreward_bench.storage.files import os_errors, write_atomic

MARKER = "intact.json"
_PREFIX = "checkpoint-"


@dataclass(frozen=True, slots=True)
class SavedState:
    """An intact saved state: everything the training was after ``step``."""

    step: int
    path: Path


class ResumeStore:
    """The saved states of one training, under ``directory``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def latest(self) -> SavedState | None:
        """The newest intact state."""
        states = [SavedState(self._step(p), p) for p in self._directories() if _is_intact(p)]
        return max(states, key=lambda s: s.step, default=None)

    def discard_torn(self) -> None:
        """Deletes what a killed process left half written."""
        for path in self._directories():
            if not _is_intact(path):
                shutil.rmtree(path)

    def discard_after(self, step: int) -> None:
        """Deletes the states of later steps."""
        for path in self._directories():
            if self._step(path) > step:
                shutil.rmtree(path)

    def seal(self, step: int) -> None:
        """Marks the state of ``step`` as whole, after all its bytes have reached the disk."""
        path = self.directory / f"{_PREFIX}{step}"
        (path / "training_args.bin").unlink(missing_ok=True)  # a pickle nothing reads
        files = [f for f in sorted(path.rglob("*")) if f.is_file()]
        for file in files:
            sync_file(file)
        sizes = {f.relative_to(path).as_posix(): f.stat().st_size for f in files}
        write_atomic(path / MARKER, _json({"step": step, "files": sizes}))

    def clear(self) -> None:
        """Deletes all states: the final checkpoint is there."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _directories(self) -> list[Path]:
        found = self.directory.glob(f"{_PREFIX}*")
        return sorted(p for p in found if p.is_dir() and p.name.removeprefix(_PREFIX).isdigit())

    @staticmethod
    def _step(path: Path) -> int:
        return int(path.name.removeprefix(_PREFIX))


def _is_intact(path: Path) -> bool:
    try:
        sizes: dict[str, int] = json.loads((path / MARKER).read_text("utf-8"))["files"]
        return all((path / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, AttributeError):
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
        with os_errors(self.path, "write"), self.path.open("a", encoding="utf-8") as file:
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
