"""Draws the course of long work: a bar with rate and remaining time, and one line for each finished stage.

Where there is no terminal (a log file, CI) the bar becomes a plain line every few seconds. All of it goes to stderr.
"""

from __future__ import annotations

import time
from collections import deque
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


class Meter:
    """How far a stage is, how fast, and how long it will take.

    The first advance of a stage tells what an earlier process had done; that is no part of the rate.
    """

    def __init__(self, total: int | None, unit: str, clock: Clock = time.monotonic) -> None:
        self.total = total
        self.unit = unit
        self.done = 0
        self._clock = clock
        self._marks: deque[tuple[float, int]] = deque()

    def advance(self, amount: int) -> None:
        self.done += amount
        now = self._clock()
        self._marks.append((now, self.done))
        while len(self._marks) > 2 and self._marks[1][0] < now - WINDOW_SECONDS:
            self._marks.popleft()

    @property
    def rate(self) -> float | None:
        """Units per second; None until it can be told."""
        if len(self._marks) < 2:
            return None
        (start, before), (end, after) = self._marks[0], self._marks[-1]
        return (after - before) / (end - start) if end > start and after > before else None

    @property
    def remaining(self) -> float | None:
        """Seconds still to go; None when the rate or the total is unknown."""
        rate = self.rate
        return None if rate is None or self.total is None else max(self.total - self.done, 0) / rate

    def __str__(self) -> str:
        """Such as ``1,200/9,000 completions, 310/s, 25 s left``."""
        of = "" if self.total is None else f"/{self.total:,}"
        rate, remaining = self.rate, self.remaining
        parts = [f"{self.done:,}{of} {self.unit}"]
        parts += [_speed(rate)] if rate is not None else []
        parts += [f"{duration(remaining)} left"] if remaining is not None else []
        return ", ".join(parts)


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
        self._meter: Meter | None = None
        self._stage = ""
        self._line_due = 0.0
        self._shown: set[str] = set()
        self._live: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            parts = (
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=None, table_column=Column(max_width=24)),  # the words go before it
                _MeterColumn(table_column=Column(no_wrap=True)),
            )
            self._live = Progress(*parts, console=self.console, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end_bar()
        if self._live:
            self._live.stop()
        self._live = None

    def started(self, stage: str, total: int | None, unit: str) -> None:
        self._end_bar()
        self._stage = visible(stage)
        self._meter = Meter(total, unit, self._clock)
        self._line_due = self._clock() + LINE_SECONDS
        if self._live:
            self._task = self._live.add_task(self._stage, total=total, meter=self._meter)

    def advanced(self, amount: int = 1) -> None:
        if self._meter is None:
            return
        self._meter.advance(amount)
        if self._live and self._task is not None:
            self._live.update(self._task, completed=self._meter.done)
        elif self._clock() >= self._line_due:
            self._line_due = self._clock() + LINE_SECONDS
            self._print(f"{self._stage}  {self._meter}")

    def finished(self, stage: str, counts: Mapping[str, float], seconds: float, skipped: bool = False) -> None:
        self._end_bar()
        if skipped and stage in self._shown:
            return  # the same work was named a moment ago
        self._shown.add(stage)
        self.worked += 0.0 if skipped else seconds
        took = "was done before" if skipped else f"done in {duration(seconds)}"
        listing = listed(counts, stage.rpartition("/")[2], _SHOWN_BEFORE if skipped else None)
        self._print(f"{stage:<15} {took}" + (f": {listing}" if listing else ""))

    def message(self, text: str) -> None:
        self._print(text)

    def _print(self, text: str) -> None:
        self.console.print(Text(visible(text)), soft_wrap=True)

    def _end_bar(self) -> None:
        if self._live and self._task is not None:
            self._live.remove_task(self._task)
        self._task = None
        self._meter = None


class _MeterColumn(ProgressColumn):
    """The stage's meter in words."""

    def render(self, task: Task) -> Text:
        return Text(str(task.fields["meter"]))


def _speed(rate: float) -> str:
    if rate >= 9.95:
        return f"{rate:,.0f}/s"
    return f"{rate:.1f}/s" if rate >= 1 else f"{rate * 60:.1f}/min"
