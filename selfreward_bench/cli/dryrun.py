"""``run-iteration --dry-run``: the plan as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from selfreward_bench.cli.console import Columns, duration, show

if TYPE_CHECKING:
    from trainers.plan import Plan, StagePlan

_TOTALS = ("generations", "judgments", "steps")


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
    show(f"Estimated time: {_time(plan)}")


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
