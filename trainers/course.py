"""How far a run is, told by its own files alone: nothing outside its directory is read, and nothing is waited for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from selfreward_bench.storage.rundir import RunDir
from trainers.estimates import Rate
from trainers.plan import StagePlan, describe, estimated, own_rates, stage_work
from trainers.stages import BASELINE, StageSpec, stage_kind, stages
from trainers.workload import Amount, SeedCounts, finished_records

__all__ = ["course"]


def course(run: RunDir) -> list[StagePlan]:
    """Every stage of a run. ``work`` is 0 and not exact where earlier stages have yet to say how much there will be.

    What remains of a stage in progress is told by its own speed, of a later one by that of a finished one of its kind.
    """
    every = [s for s in stages(run.config) if s.model != BASELINE or run.config.with_baseline or _begun(run, s)]
    seeds = _Finished(run)
    known = {kind: Rate(seconds, "this run") for kind, seconds in own_rates(run, every).items()}
    return [_stage(run, spec, seeds, known) for spec in every]


def _begun(run: RunDir, spec: StageSpec) -> bool:
    return run.stage_status(spec.name) != "new"


def _stage(run: RunDir, spec: StageSpec, seeds: SeedCounts, known: Mapping[str, Rate]) -> StagePlan:
    stage = describe(run, spec, seeds, ())
    if not stage.work.number and stage.status == "partial":  # how much there will be is not known
        return replace(stage, done=stage_work(run, spec) or 0)
    own = _speed(run, spec, stage.done) if stage.status == "partial" else None
    kind = stage_kind(spec.name)
    return estimated(stage, {**known, kind: Rate(own, "its speed so far")} if own else known)


def _speed(run: RunDir, spec: StageSpec, done: int) -> float | None:
    """Seconds per unit since a stage was begun; after a resumption that is too slow, and never too fast."""
    begun = run.path / f"{spec.name}.start.json"
    grown = [run.path / spec.log] if spec.unit == "steps" else [run.path / p for p in spec.paths]
    times = [t for path in grown if (t := _changed(path)) is not None]
    start = _changed(begun)
    if start is None or not times or not done or max(times) <= start:
        return None
    return (max(times) - start) / done


def _changed(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


class _Finished(SeedCounts):
    """What finished stages say of the seed data, which is not looked at."""

    def __init__(self, run: RunDir) -> None:
        nothing = Amount(0, exact=False)
        self.bare = Amount(0)
        self.ift = finished_records(run, "M1/ift", "examples", ()) or nothing
        self.eft = finished_records(run, "M1/eft", "examples", ()) or nothing
