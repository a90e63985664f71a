"""What is watched besides quality, as records: readings of measures, and warnings. Nothing is computed here.

    runs/NAME/health.json    Health, written after an evaluation by ``leaderboards.health.run``

A measure belongs to a checkpoint (its answers, its judgments in an evaluation) or to the iteration that made one (the
parent's answers and judgments it was trained on). Reports read this module; it needs neither numpy nor torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from leaderboards.standings import read_record
from selfreward_bench.types import Record

__all__ = ["HEALTH", "Health", "IterationHealth", "Quantiles", "Reading", "Warned", "read_health"]

HEALTH: Final = "health.json"

#: a larger one is no count, and no double holds it
Count = Annotated[int, Field(ge=0, le=10**15)]


class Reading(Record):
    """One measure of one model.

    Attributes:
        model: the checkpoint, or the one that was trained on what is measured.
        source: the benchmark or the run's file it was read from.
        n, n_total: what it rests on, of how many.
        reason: why there is no value.
    """

    measure: str
    model: str
    source: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: Count
    n_total: Count
    reason: str | None = None


class Quantiles(Record):
    """Mean and deciles of ``n`` numbers."""

    n: Count
    mean: float
    p10: float
    p50: float
    p90: float


class IterationHealth(Record):
    """What one model was trained on: its parent's answers to new prompts, and its parent's judgments of them.

    What was lost on the way is counted in the stages' own markers.

    Attributes:
        parent: who answered and judged.
        judge: key of the judge as its judgments have it; empty for control rewards.
        rewards: ``self``, ``rlaif`` where another model judged, or the reward or control that took its place.
        grades: grade -> judgments nearest to it (for controls: rewards); empty where they are on no judge's scale.
        failures: why judgments gave no score -> how many.
        margin: reward of the chosen minus that of the rejected answer.
        chosen_chars, rejected_chars: length in characters.
    """

    model: str
    parent: str
    judge: str = ""
    rewards: str = "self"
    grades: dict[str, Count] = Field(default_factory=dict)
    failures: dict[str, Count] = Field(default_factory=dict)
    n_judgments: Count = 0
    margin: Quantiles | None = None
    chosen_chars: Quantiles | None = None
    rejected_chars: Quantiles | None = None


class Warned(Record):
    """A threshold that is crossed.

    Attributes:
        value: what was held against ``limit``; of ``times_first`` the ratio, of ``rise`` the difference.
        text: what was found, in words; ``why``: what it may mean.
    """

    measure: str
    model: str
    source: str
    value: float
    limit: float
    text: str
    why: str


class Health(Record):
    """What is watched of a run.

    Attributes:
        fingerprints: checkpoint -> fingerprint of the weights whose answers were measured; a report knows from it
            whether the file is older than the results beside it.
        answers_from: the benchmark whose answers were measured, the same for all checkpoints.
        notes: what could not be measured, and why.
    """

    format: Literal[1] = 1
    fingerprints: dict[str, str] = Field(default_factory=dict)
    answers_from: str = ""
    readings: tuple[Reading, ...] = ()
    iterations: tuple[IterationHealth, ...] = ()
    warnings: tuple[Warned, ...] = ()
    notes: tuple[str, ...] = ()

    def of(self, measure: str, model: str) -> tuple[Reading, ...]:
        """The readings of a measure of a model, one per source."""
        return tuple(r for r in self.readings if (r.measure, r.model) == (measure, model))


def read_health(run_path: Path) -> Health | None:
    """A run's ``health.json``; None where there is none.

    Raises:
        DataError: it cannot be read, or is no such record.
    """
    path = run_path / HEALTH
    return read_record(path, Health) if path.is_file() else None
