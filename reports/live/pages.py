"""The pages of ``srbench view``: the leaderboard, and a run as it stands; escaped and bounded as the report is."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from markupsafe import Markup

from reports import html, wording
from reports.live.board import Board, Entry
from reports.live.found import Place
from reports.live.watching import Course, Stage, Watched
from reports.page import rendering
from reports.page.section import Chart

__all__ = ["Page", "leaderboard", "run"]

_BOARD: Final = ("board.js",)
_RUN: Final = ("d3.min.js", "plot.umd.min.js", "charts.js", "again.js")
_AGAIN_BOARD: Final = 30  # seconds, where something runs
_AGAIN_RUN: Final = 10
_TELLING: Final = 1.0  # seconds; that a run takes at least less than that tells nobody anything


class Page:
    """A page's text, and the policy that it is sent with."""

    def __init__(self, text: str, policy: str) -> None:
        self.text, self.policy = text, policy


def leaderboard(board: Board, entries: Sequence[Entry], gaps: Sequence[str], root: str) -> Page:
    """All runs."""
    running = any(e.state == "running" for e in entries)
    return _page(
        "board.html.j2",
        (*_BOARD, "again.js"),
        {},
        board=board,
        titles=[(wording.title(k).removesuffix(wording.MICRO), wording.info(k, m).label) for k, m in board.columns],
        differing=[_why(phrases) for phrases in board.differing],
        n_runs=len(entries),
        gaps=gaps,
        root=root,
        again=_AGAIN_BOARD if running else 0,
        ago=_ago,
    )


def run(place: Place, found: Watched, state: str) -> Page:
    """One run as it stands."""
    charts = {f"live-{i}": chart for i, (_, chart) in enumerate(found.curves)}
    return _page(
        "live.html.j2",
        _RUN,
        charts,
        place=place,
        found=found,
        course=found.course,
        state=state,
        left=_left(found.course),
        evaluations=_by_model(found),
        curves=[(title, f"live-{i}") for i, (title, _) in enumerate(found.curves)],
        again=_AGAIN_RUN if state == "running" else 0,
        ago=_ago,
        share=_share,
        told=_told,
        left_of=_left_of,
    )


def _page(template: str, scripts: Sequence[str], charts: Mapping[str, Chart], **values: Any) -> Page:
    texts = [rendering.asset(name) for name in scripts]
    policy = html.policy(texts)
    text = rendering.render(
        template,
        style=Markup(rendering.asset("style.css") + rendering.asset("live.css")),  # noqa: S704 - our own files
        scripts=[Markup(t) for t in texts],  # noqa: S704 - our own files; their hashes are in the policy
        policy=policy,
        charts=Markup(html.script_json({n: html.chart_data(c) for n, c in charts.items()})),  # noqa: S704 - no "<"
        **values,
    )
    return Page(str(text), policy)


def _why(phrases: Sequence[str]) -> str:
    return wording.listing(list(phrases), 3)


def _by_model(found: Watched) -> list[tuple[str, str, str]]:
    """Model, what it was evaluated on, and what was begun."""
    models = dict.fromkeys(model for model, _, _ in found.evaluations)
    listed = {
        (name, there): [b for m, b, t in found.evaluations if (m, t) == (name, there)]
        for name in models
        for there in (True, False)
    }
    return [(n, wording.listing(listed[n, True], 20), wording.listing(listed[n, False], 20)) for n in models]


def _ago(seconds: float) -> str:
    """``3 min ago``."""
    passed = max(0.0, time.time() - seconds)
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if passed >= size:
            return f"{passed // size:.0f} {unit} ago"
    return "just now"


def _share(stage: Stage) -> str:
    """Per cent of a stage, for a bar; empty where nobody can say."""
    if stage.status == "done":
        return "100"
    if stage.status == "new" or not stage.total or stage.done is None:
        return ""
    return f"{min(100.0, 100 * stage.done / stage.total):.0f}"


def _told(stage: Stage) -> str:
    """``1,200 of 6,000 completions``."""
    if stage.status == "new":
        return _counted(stage.total, stage.unit) if stage.total else ""
    if stage.done is None:
        return ""
    if stage.status == "done":
        return _counted(stage.done, stage.unit) if stage.done else "nothing to do"
    return f"{stage.done:,} of {_counted(stage.total, stage.unit)}" if stage.total else _counted(stage.done, stage.unit)


def _counted(number: int, unit: str) -> str:
    """``1 step``, ``2 steps``."""
    return f"{number:,} {unit.removesuffix('s') if number == 1 else unit}"


def _left_of(stage: Stage) -> str:
    """How long a stage still takes; empty where that is not known, or no time worth telling."""
    if stage.status == "done" or stage.seconds is None or stage.seconds < _TELLING:
        return ""
    return wording.duration(stage.seconds)


def _left(course: Course) -> str:
    if course.finished or course.left is None or (course.least and course.left < _TELLING):
        return ""
    return f"{'at least ' if course.least else 'about '}{wording.duration(course.left)} left"
