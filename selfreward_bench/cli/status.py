"""``srbench status``: how far a run is, read from its files alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from selfreward_bench.cli import options
from selfreward_bench.cli.console import KEPT, Columns, duration, listed, say, show
from selfreward_bench.cli.machine import Json, emit
from selfreward_bench.cli.runs import command

if TYPE_CHECKING:
    from collections.abc import Mapping

    from selfreward_bench.config import RunConfig
    from selfreward_bench.storage.rundir import RunDir
    from trainers.stages import StageSpec

_SHOWN_COUNTS = 6


def status(run: options.Run, as_json: Json = False) -> None:
    """Show how far a run is, and what comes next.

    \b
    Examples:
      srbench status runs/first
      srbench status runs/first --json
    """
    from selfreward_bench.storage.origin import read_fork
    from selfreward_bench.storage.rundir import RunDir
    from trainers.roles import others, shown
    from trainers.stages import models, stages

    opened = RunDir.open(run)
    config = opened.config
    if as_json:
        emit("status", **_numbers(opened))
        return
    show(f"{run}: recipe {config.name}, seed {config.seed}, {_rewards(config)}, models {', '.join(models(config))}")
    for role in others(config):
        say(f"{role}: {shown(config, role)}")
    if origin := read_fork(run):
        say(f"Forked from {origin.parent} at {origin.at}: {len(origin.kept)} stages were taken over.")
    rows = [_row(opened, spec) for spec in stages(config)]
    show(Columns(("STAGE", "STATE", "TIME", "COUNTS"), [row for row in rows if row], right=(2,)))
    if any("*" in row[2] for row in rows if row):
        show("* of the process that finished the stage; an earlier one had begun it")
    say(f"\n{_next(opened)}")


def _numbers(run: RunDir) -> dict[str, Any]:
    """The same for programs; what a stage counted as it stands in its file."""
    from selfreward_bench.storage.origin import read_fork
    from trainers.plan import next_model
    from trainers.roles import others, shown
    from trainers.stages import models, stages

    config, origin = run.config, read_fork(run.path)
    return {
        "run": str(run.path),
        "recipe": config.name,
        "seed": config.seed,
        "rewards": config.rewards,
        "signal": config.signal,
        "models": models(config),
        "roles": {role: shown(config, role) for role in others(config)},
        "forked_from": origin and {"parent": origin.parent, "at": origin.at, "kept": list(origin.kept)},
        "stages": [found for spec in stages(config) if (found := _stage(run, spec))],
        "next": next_model(run),
    }


def _stage(run: RunDir, spec: StageSpec) -> dict[str, Any] | None:
    """One stage; None where nobody asked for it."""
    from trainers.plan import stage_work

    row, stage = _row(run, spec), run.finished_stage(spec.name)
    if row is None:
        return None
    done = stage.done if stage else None
    return {
        "name": spec.name,
        "state": row[1],
        "unit": spec.unit,
        "seconds": done.seconds if done else None,
        "resumed": done.resumed if done else False,
        "counts": dict(stage.counts) if stage and done else {},
        "made": stage_work(run, spec) if row[1] == "partial" else None,
    }


def _rewards(config: RunConfig) -> str:
    """Self-reward is called that only where the model itself judges."""
    if config.signal == "rlaif":
        return "rewards from another model's judgments (RLAIF, not self-reward)"
    return f"rewards {config.rewards}"


def _row(run: RunDir, spec: StageSpec) -> tuple[str, str, str, str] | None:
    from trainers.plan import stage_work
    from trainers.stages import BASELINE

    stage = run.finished_stage(spec.name)
    if stage and stage.done:
        seconds = duration(stage.done.seconds) + (" *" if stage.done.resumed else "")
        counts = listed(_counts(run, spec, stage.counts), spec.unit, _SHOWN_COUNTS)
        return spec.name, "done", seconds, counts.replace(" ", KEPT).replace(f",{KEPT}", ", ")
    if run.stage_status(spec.name) == "partial":
        return spec.name, "partial", "", f"{stage_work(run, spec) or 0:,} {spec.unit} so far"
    is_unasked = spec.model == BASELINE and not run.config.with_baseline
    return None if is_unasked else (spec.name, "new", "", "")


def _counts(run: RunDir, spec: StageSpec, counts: Mapping[str, float]) -> dict[str, float]:
    """What a stage counted; a training's loss as means of the first and the last tenth of its steps, not of a batch."""
    from reports.facts.training import logs

    told = {name: value for name, value in counts.items() if name not in ("first_loss", "final_loss")}
    curves = [log.curves["loss"] for log in logs(run.path / spec.model) if "loss" in log.curves]
    if len(told) < len(counts) and curves:
        told |= {"loss_first_tenth": curves[0].first, "loss_last_tenth": curves[0].last}
    return told


def _next(run: RunDir) -> str:
    from trainers.plan import next_model

    target = next_model(run)
    if target is None:
        return f"All models are made. See them: {command('report', run.path)}"
    return f"Next, {target}: {command('run-iteration', run.path)}"
