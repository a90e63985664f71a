"""Draws the course of long work: a bar with rate and remaining time, and one line for each finished stage.

Where there is no terminal (a log file, CI) the bar becomes a plain line every few seconds. All of it goes to stderr.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from selfreward_bench.cli.console import duration, listed, visible

WINDOW_SECONDS = 30.0  # the rate is that of the last half minute, or longer where units are slow
LINE_SECONDS = 15.0  # without a terminal
_SHOWN_BEFORE = 3  # counts of a stage that was done before

Clock = Callable[[], float]


class RichReporter:
    """A ``selfreward_bench.progress.Reporter`` for people; use it as a context manager.

    Args:
        console: where it writes; stderr when None.
        clock: seconds, for tests.

    Attributes:
        worked: seconds of the stages that were finished now.
    """

    def __init__(self, console: Console | None = None, clock: Clock = time.monotonic) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self.worked = 0.0
        self._clock = clock
        self._advanced_at = 0.0
        self._line_due = 0.0
        self._shown: set[str] = set()
        self._told: set[str] = set()
        self._task: TaskID | None = None
        self._whole: TaskID | None = None
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None, table_column=Column(max_width=24)),  # the words go before it
            _CourseColumn(table_column=Column(no_wrap=True)),
            console=self.console,
            transient=True,
            disable=not self.console.is_interactive,
            get_time=clock,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end_bar()
        if self._whole is not None:
            self._progress.remove_task(self._whole)
        if not self._progress.disable:  # rich ends the output of what is no terminal with an empty line
            self._progress.stop()

    def started(self, stage: str, total: int | None, unit: str) -> None:
        self._end_bar()
        self._task = self._progress.add_task(visible(stage), total=total, unit=unit)
        self._advanced_at = self._clock()
        self._line_due = self._advanced_at + LINE_SECONDS

    def overall(self, text: str, done: int, total: int, seconds_left: float | None) -> None:
        """As ``selfreward_bench.progress.Overall``: a bar of its own above that of the stage."""
        if self._whole is not None:
            self._progress.remove_task(self._whole)
        ends = None if seconds_left is None else self._clock() + seconds_left
        self._whole = self._progress.add_task(visible(text), total=total, completed=done, ends=ends)

    def advanced(self, amount: int = 1) -> None:
        if self._task is None:
            return
        now = self._clock()
        self._progress.speed_estimate_period = max(WINDOW_SECONDS, 2 * (now - self._advanced_at))
        self._progress.advance(self._task, amount)
        self._advanced_at = now
        if self._progress.disable and now >= self._line_due:
            self._line_due = now + LINE_SECONDS
            self._print("  ".join(f"{task.description}  {_course(task)}".rstrip() for task in self._progress.tasks))

    def finished(self, stage: str, counts: Mapping[str, float], seconds: float, skipped: bool = False) -> None:
        self._end_bar()
        if skipped and stage in self._shown:
            return  # the same work was named a moment ago
        self._shown.add(stage)
        self.worked += 0.0 if skipped else seconds
        took = "was done before" if skipped else f"done in {duration(seconds)}"
        listing = listed(counts, stage.rpartition("/")[2], _SHOWN_BEFORE if skipped else None)
        line = f"{stage:<15} {took}" + (f": {listing}" if listing else "")
        self._print(line, wrap=self.console.is_terminal)

    def message(self, text: str) -> None:
        if text not in self._told:  # each model of a run may meet the same
            self._told.add(text)
            self._print(text)

    def _print(self, text: str, *, wrap: bool = False) -> None:
        self.console.print(Text(visible(text)), soft_wrap=not wrap)

    def _end_bar(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = None


class _CourseColumn(ProgressColumn):
    """How far a stage is, in words."""

    def render(self, task: Task) -> Text:
        return Text(_course(task))


def _course(task: Task) -> str:
    """Such as ``1,200/9,000 completions, 310/s, 25 s left``.

    rich's speed leaves out the first advance of a task, which tells what an earlier process had done.
    """
    if "ends" in task.fields:
        return _whole(task)
    of = "" if task.total is None else f"/{task.total:,.0f}"
    parts = [f"{task.completed:,.0f}{of} {task.fields['unit']}"]
    parts += [_speed(task.speed)] if task.speed else []
    parts += [f"{duration(task.time_remaining)} left"] if task.time_remaining else []
    return ", ".join(parts)


def _whole(task: Task) -> str:
    """Such as ``12 min 05 s left in all``; nothing where nobody knows, or where it takes longer than was thought."""
    ends = task.fields["ends"]
    left = 0.0 if ends is None else ends - task.get_time()
    return f"{duration(left)} left in all" if left > 0 else ""


def _speed(rate: float) -> str:
    if rate >= 9.95:
        return f"{rate:,.0f}/s"
    return f"{rate:.1f}/s" if rate >= 1 else f"{rate * 60:.1f}/min"
