"""How far an evaluation is as a whole: which model of how many, which benchmark, and the time that is left.

A part that was not begun yet takes as long as the same benchmark took for earlier models, else as long as the mean of
what was finished; before the first is, nothing is said of time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from selfreward_bench.progress import Reporter

__all__ = ["Course"]


@dataclass(frozen=True, slots=True)
class _Part:
    stage: str
    kind: str  # parts of one kind take equally long
    text: str


class Course:
    """A reporter that hands everything on, and tells where a stage stands among all of them.

    Args:
        reporter: who is told; its ``overall`` may be missing (``selfreward_bench.progress.Overall``).
        models: model -> the stages of its benchmarks, in order.
        after: stages over all models, in order.
    """

    def __init__(
        self,
        reporter: Reporter,
        models: Mapping[str, Sequence[str]],
        after: Sequence[str] = (),
    ) -> None:
        self._reporter = reporter
        self._parts = [
            _Part(stage, stage.rpartition("/")[2], _place(i, len(models), j, len(stages)))
            for i, stages in enumerate(models.values(), 1)
            for j, stage in enumerate(stages, 1)
        ]
        self._parts += [_Part(stage, stage, "all models") for stage in after]
        self._place = {part.stage: i for i, part in enumerate(self._parts)}
        self._took: dict[str, list[float]] = {}

    def started(self, stage: str, total: int | None, unit: str) -> None:
        self._tell(stage)
        self._reporter.started(stage, total, unit)

    def advanced(self, amount: int = 1) -> None:
        self._reporter.advanced(amount)

    def finished(self, stage: str, counts: Mapping[str, float], seconds: float, skipped: bool = False) -> None:
        if stage in self._place and not skipped:
            self._took.setdefault(self._parts[self._place[stage]].kind, []).append(seconds)
        self._reporter.finished(stage, counts, seconds, skipped)

    def message(self, text: str) -> None:
        self._reporter.message(text)

    def _tell(self, stage: str) -> None:
        place, tell = self._place.get(stage), getattr(self._reporter, "overall", None)
        if place is not None and tell is not None and len(self._parts) > 1:
            tell(self._parts[place].text, place, len(self._parts), self._left(place))

    def _left(self, place: int) -> float | None:
        """Seconds of this part and all after it; None before anything tells."""
        every = [seconds for took in self._took.values() for seconds in took]
        if not every:
            return None
        return sum(fmean(self._took.get(part.kind, every)) for part in self._parts[place:])


def _place(model: int, models: int, benchmark: int, benchmarks: int) -> str:
    """``model 3 of 5, benchmark 2 of 6``; what there is one of is not counted."""
    parts = [f"model {model} of {models}"] if models > 1 else []
    parts += [f"benchmark {benchmark} of {benchmarks}"] if benchmarks > 1 else []
    return ", ".join(parts)
