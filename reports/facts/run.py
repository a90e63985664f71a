"""A run as a report knows it: its models, their results, and what they were compared in, as frozen records."""

from __future__ import annotations

from pydantic import Field

from leaderboards.human.records import HumanEvaluation
from leaderboards.standings import DriftMatrix, Failure, Standings, Tournament
from selfreward_bench.storage.model_files import weights_in
from selfreward_bench.types import EvalResult, Record

__all__ = ["ModelFacts", "RunFacts", "Stage"]


class Stage(Record):
    """One step of a model's making.

    Attributes:
        status: ``done``, or ``partial`` (begun, not finished).
        seconds: of the process that finished it; with ``resumed`` an earlier one had begun.
    """

    name: str
    status: str
    counts: dict[str, float] = Field(default_factory=dict)
    seconds: float | None = None
    resumed: bool = False
    finished_at: str | None = None
    srbench: str | None = None


class ModelFacts(Record):
    """One model of a run.

    Attributes:
        iteration: ``iteration.json``, flattened to dotted keys.
        results: benchmark -> result.
        failures: benchmark -> why there is no result.
    """

    name: str
    iteration: dict[str, str] = Field(default_factory=dict)
    results: dict[str, EvalResult] = Field(default_factory=dict)
    failures: dict[str, Failure] = Field(default_factory=dict)
    stages: tuple[Stage, ...] = ()

    @property
    def fingerprint(self) -> str | None:
        """Of the weights that were evaluated; else what ``iteration.json`` says."""
        evaluated = next((weights_in(r.fingerprint) for r in self.results.values()), None)
        return evaluated or self.iteration.get("fingerprint")

    @property
    def parent(self) -> str | None:
        """What it was trained from, as ``iteration.json`` says."""
        return self.iteration.get("parent") or self.iteration.get("parent.name")


class RunFacts(Record):
    """One run.

    Attributes:
        settings: the resolved configuration, dotted keys.
        is_run: False for models that were evaluated on their own: there is no recipe, and nothing was trained.
        standings: paired differences between the checkpoints; None where they were not compared.
        tournament: all pairs of checkpoints under one judge.
        drift: the checkpoints as judges of the same responses.
        human: what people said of pairs of checkpoints.
        gaps: what is missing, unreadable or out of date, in words.
    """

    name: str
    path: str
    srbench: str | None = None
    settings: dict[str, str] = Field(default_factory=dict)
    is_run: bool = True
    models: tuple[ModelFacts, ...] = ()
    standings: Standings | None = None
    tournament: Tournament | None = None
    drift: DriftMatrix | None = None
    human: HumanEvaluation | None = None
    gaps: tuple[str, ...] = ()

    @property
    def other_judge(self) -> str:
        """Who rewarded where it was another model (RLAIF); empty for self-reward and for controls."""
        judge = self.settings.get("judge.model", "self").partition("#")[0]
        return judge if self.settings.get("rewards") == "self" and judge != "self" else ""

    @property
    def evaluated(self) -> tuple[ModelFacts, ...]:
        """The models that have a result."""
        return tuple(m for m in self.models if m.results)
