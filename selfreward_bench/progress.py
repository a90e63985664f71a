"""How long work tells what it does. The command line draws it (rich); libraries only speak to this interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

#: is told a line worth reading
Tell = Callable[[str], None]


class Reporter(Protocol):
    """Receives the course of a run: one stage at a time."""

    def started(self, stage: str, total: int | None, unit: str) -> None:
        """A stage begins; ``total`` counts ``unit`` (samples, judgments, steps), None when unknown."""

    def advanced(self, amount: int = 1) -> None:
        """``amount`` more units of the current stage are done (also what a resumed stage finds done)."""

    def finished(self, stage: str, counts: Mapping[str, float], seconds: float, skipped: bool = False) -> None:
        """The stage is complete; ``skipped`` when it was complete before this call."""

    def message(self, text: str) -> None:
        """A line worth reading (a stale lock taken over, a resumed training, ...)."""


class Overall(Protocol):
    """What a reporter may offer besides: how far all the work is that its stages belong to."""

    def overall(self, text: str, done: int, total: int, seconds_left: float | None) -> None:
        """The next stage is ``text`` (``model 3 of 5, benchmark 2 of 6``), after ``done`` of ``total`` stages.

        ``seconds_left`` are those of this stage and all after it; None where nothing tells yet.
        """


class Silent:
    """Says nothing."""

    def started(self, stage: str, total: int | None, unit: str) -> None: ...

    def advanced(self, amount: int = 1) -> None: ...

    def finished(self, stage: str, counts: Mapping[str, float], seconds: float, skipped: bool = False) -> None: ...

    def message(self, text: str) -> None: ...


class Relayed(Silent):
    """Passes on messages alone, each once."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._told: set[str] = set()

    def message(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._tell(text)
