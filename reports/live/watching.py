"""A run as it stands: its stages, curves of its trainings, and the last texts that were written.

Files are read from their ends, and at most so much of them. How far a stage is comes from whoever knows the stages
(``Course``); this module knows none by name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from leaderboards.standings import RESULT
from reports.facts import training
from reports.page.section import Chart
from reports.samples import files
from selfreward_bench.storage.files import open_file

__all__ = ["Course", "Stage", "Text", "Watched", "watch"]

_TAIL: Final = 256 * 2**10  # bytes
_TEXTS: Final = 6  # of each kind
_CHARACTERS: Final = 600
_MOST: Final = 200  # results
_CURVES: Final = ("loss", "rewards/accuracies", "rewards/margins")
_KINDS: Final = (
    ("completions.jsonl", "Answers"),
    ("judgments.jsonl", "Judgments"),
    ("prompts.jsonl", "Prompts"),
    ("reviews.jsonl", "Reviews"),
)


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a run's making.

    Attributes:
        status: ``new``, ``partial`` or ``done``.
        done, total: in ``unit``; None where nobody can say.
        seconds: that it took, or that remain; None where nobody can say.
    """

    name: str
    status: str
    unit: str
    done: int | None = None
    total: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Course:
    """How far a run is.

    Attributes:
        running: whether a process works on it now; None where nobody can say.
        left: seconds until all stages are done, as far as that is known; ``least`` where some are not counted.
        problem: why the run cannot be followed, in words.
    """

    stages: tuple[Stage, ...] = ()
    running: bool | None = None
    left: float | None = None
    least: bool = False
    problem: str = ""

    @property
    def finished(self) -> bool:
        """Whether every stage is done."""
        return bool(self.stages) and all(s.status == "done" for s in self.stages)


@dataclass(frozen=True, slots=True)
class Text:
    """Something that was written: what it is, and the text."""

    label: str
    text: str


@dataclass(frozen=True, slots=True)
class Watched:
    """One run as it stands.

    Attributes:
        curves: title and chart of each training's numbers.
        texts: kind, and the last of it.
        evaluations: model, benchmark, and whether its result is there.
    """

    course: Course
    curves: tuple[tuple[str, Chart], ...]
    texts: tuple[tuple[str, tuple[Text, ...]], ...]
    evaluations: tuple[tuple[str, str, bool], ...] = ()


def watch(path: Path, course_of: Callable[[Path], Course]) -> Watched:
    """Reads a run's directory; whatever is in it stops nothing."""
    models = _latest(path)
    curves = [found for model in models for found in _curves(model)]
    texts = [(f"{model.name}: {kind.lower()}", last) for model in models[-1:] for kind, last in _texts(model)]
    return Watched(course_of(path), tuple(curves), tuple(texts), tuple(_evaluations(path)))


def _latest(path: Path) -> list[Path]:
    """Directories of models in the order of their last change."""
    try:
        found = [p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".") and not p.is_symlink()]
    except OSError:
        return []
    changed = {p: _changed(p) for p in found}
    return sorted((p for p in found if changed[p]), key=lambda p: changed[p])


def _changed(folder: Path) -> float:
    times = [_mtime(folder / name) for name in ("log.jsonl", *(name for name, _ in _KINDS))]
    return max(times)


def _mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _evaluations(path: Path) -> Iterator[tuple[str, str, bool]]:
    for folder in islice(sorted(path.glob("*/eval/*@*")), _MOST):
        if folder.is_dir():
            yield folder.parts[-3], folder.name, (folder / RESULT).is_file()


def _curves(model: Path) -> list[tuple[str, Chart]]:
    found = []
    for log in training.logs(model):
        for key in _CURVES:
            curve = log.curves.get(key)
            if curve is None or len(curve.points) < 2:
                continue
            title = f"{model.name}: {key}"
            smooth = max(1, len(curve.points) // training.TENTH)
            rows = [{"x": x, "y": y, "series": model.name} for x, y in curve.points]
            found.append((title, Chart("lines", title, rows, {"x": "step", "y": key, "smooth": smooth})))
    return found


def _texts(model: Path) -> list[tuple[str, tuple[Text, ...]]]:
    found = []
    for name, kind in _KINDS:
        last = [text for values in _tail(model / name) if (text := _text(values))]
        if last:
            found.append((kind, tuple(last[-_TEXTS:][::-1])))
    return found


def _tail(path: Path) -> list[Mapping[str, Any]]:
    """The whole lines at a file's end."""
    try:
        with open_file(path) as stream:
            stream.seek(0, 2)
            start = max(0, stream.tell() - _TAIL)
            stream.seek(start)
            lines = stream.read(_TAIL).split(b"\n")[(1 if start else 0) : -1]
    except OSError:
        return []
    found: list[Mapping[str, Any]] = []
    for line in lines[-4 * _TEXTS :]:
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(values, dict):
            found.append(values)
    return found


def _text(values: Mapping[str, Any]) -> Text | None:
    label = files.name(values.get("prompt_id") or values.get("id"))
    if (score := files.number(values.get("score"))) is not None:
        label = f"{label} \N{MIDDLE DOT} score {score:.2f}"
    text = files.said(values.get("raw")) or files.shown(values.get("text"))
    text = text or (files.conversation(values["messages"]) if "messages" in values else "")
    return Text(label, files.shown(text, _CHARACTERS)) if text else None
