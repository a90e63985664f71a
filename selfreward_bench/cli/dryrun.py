"""``run-iteration --dry-run``: the plan as a table, and what it needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from selfreward_bench.cli.console import Columns, duration, show
from selfreward_bench.errors import EngineError

if TYPE_CHECKING:
    from selfreward_bench.prices import PriceTable
    from selfreward_bench.storage.rundir import RunDir
    from trainers.calls import RoleCalls
    from trainers.plan import Plan, StagePlan

_TOTALS = ("generations", "judgments", "steps")


def show_dry_run(
    run: RunDir, until: str | None, from_stage: str | None, prices: PriceTable | None = None, *, as_json: bool = False
) -> None:
    """Prints the plan, and what it takes on this machine as far as the base is known.

    Args:
        prices: of served models in the run's roles.
        as_json: for programs.
    """
    from selfreward_bench.cli.requirements import show_requirements
    from trainers.calls import role_calls
    from trainers.fitting import find_machine
    from trainers.plan import make_plan
    from trainers.requirements import require

    plan = make_plan(run, until=until, from_stage=from_stage)
    if as_json:
        _emit(run, plan, prices)
        return
    show_plan(plan)
    if plan.until is None:
        return
    show_role_calls(role_calls(run.config, plan), prices)
    try:
        show_requirements(require(run, find_machine(run.path), plan=plan))
    except EngineError as error:
        show(f"Memory, tokens and disk are not told: {error}")


def _emit(run: RunDir, plan: Plan, prices: PriceTable | None) -> None:
    from selfreward_bench.cli.machine import emit
    from selfreward_bench.cli.requirements import as_json
    from trainers.fitting import find_machine
    from trainers.requirements import require

    needs, problem = None, None
    if plan.until is not None:
        try:
            needs = as_json(require(run, find_machine(run.path), plan=plan), prices)
        except EngineError as error:
            problem = str(error)
    stages = [
        {
            "name": stage.name,
            "status": stage.status,
            "unit": stage.unit,
            "work": stage.work.number,
            "work_is_exact": stage.work.exact,
            "done": stage.done,
            "seconds": stage.seconds,
            "seconds_from": stage.source,
        }
        for stage in plan.stages
    ]
    told = {"until": plan.until, "seconds": plan.seconds, "stages": stages, "needs": needs, "problem": problem}
    emit("run-iteration --dry-run", run=str(run.path), **told)


def show_plan(plan: Plan) -> None:
    """Prints what would be done: work and time of each stage, and the sums."""
    if plan.until is None:
        show("All models of this run are made; there is nothing to do.")
        return
    show(f"To make {plan.until} (nothing is done now):")
    rows = [_row(stage) for stage in plan.stages]
    show(Columns(("STAGE", "STATE", "WORK", "TIME", "HOW IT COMES ABOUT"), rows, right=(3,)))
    sums = [f"{plan.total(unit)} {'training steps' if unit == 'steps' else unit}" for unit in _TOTALS]
    show(f"\nTo do: {', '.join(sums)}; new prompts and evaluations come on top.")
    if plan.pending:
        show(f"Estimated time: {_time(plan)}")


def show_role_calls(found: Sequence[RoleCalls], prices: PriceTable | None) -> None:
    """Prints what served models in the run's roles are asked, and what that costs."""
    from selfreward_bench.cli.costs import at_most

    for asked in found:
        tokens = f"{asked.calls.prompt_tokens:,} tokens read and {asked.calls.completion_tokens:,} written"
        show(f"{asked.role}: {at_most(asked.model, [asked.calls], prices)[:-1]} (at most {tokens}).")


def _row(stage: StagePlan) -> tuple[str, str, str, str, str]:
    if stage.status == "done":
        return stage.name, "done", f"{stage.work} {stage.unit}", "-", ""
    work = f"{stage.work} {stage.unit}" + (f", {stage.done:,} of them there" if stage.done else "")
    seconds = "?" if stage.seconds is None else duration(stage.seconds)
    return stage.name, stage.status, work, seconds if stage.remaining else "-", stage.origin


def _time(plan: Plan) -> str:
    if plan.seconds is not None:
        bound = "" if all(s.work.exact for s in plan.pending) else "at most "
        return f"{bound}{duration(plan.seconds)}, at the rates of {' and '.join(plan.sources) or 'nothing'}"
    known = sum(s.seconds or 0.0 for s in plan.pending)
    missing = f"no estimate for {', '.join(plan.without_estimate)}: nothing of this kind has run yet"
    return f"{duration(known)} and more; {missing}" if known else missing
