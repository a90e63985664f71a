"""``srbench run-iteration``: makes the next model of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from selfreward_bench.cli import costs, options
from selfreward_bench.cli.console import say
from selfreward_bench.cli.environment import use_threads
from selfreward_bench.cli.failures import interruptible
from selfreward_bench.cli.machine import Json
from selfreward_bench.cli.runs import Wanted, command, open_run, peek_run

if TYPE_CHECKING:
    from selfreward_bench.cli.work import Work


def run_iteration(
    run: options.Run,
    until: Annotated[
        str | None, typer.Option("--until", metavar="MODEL", help="Makes all models up to this one, such as M3.")
    ] = None,
    from_stage: Annotated[
        str | None,
        typer.Option(
            "--from-stage", metavar="STAGE", help="Deletes this stage and all after it, and makes them anew: M2/pairs."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only shows what would be done, and how long it may take.")
    ] = False,
    no_eval: Annotated[bool, typer.Option("--no-eval", help="Does not evaluate the new models.")] = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="Does not renew report.html.")] = False,
    no_preflight: Annotated[
        bool,
        typer.Option("--no-preflight", help="Examines the base's files only; trains no round in small on it first."),
    ] = False,
    recipe: options.Recipe = None,
    change: options.Set = None,
    seed: options.Seed = None,
    judge: options.Judge = None,
    with_baseline: options.WithBaseline = False,
    prices: costs.Prices = None,
    max_cost: costs.MaxCost = None,
    replay: costs.Replay = False,
    concurrency: costs.Concurrency = 32,
    as_json: Json = False,
) -> None:
    """Make the next model of a run: M1, then M2, then M3.

    The base is examined first, once (see `srbench check`). What is done already is not done again, and what was cut off
    goes on where it was. Each new model is evaluated, and the report renewed. A run that is not there yet is
    made when --recipe or another setting is given; later the settings are those in its srbench.yaml, of which only
    eval, judge.request, track, cluster, train, engine.urls and engine.start_timeout can change (--set eval.limit=64).
    --prices, --max-cost, --replay and --concurrency are for served models that write, review or judge (docs/roles.md).

    \b
    Examples:
      srbench run-iteration runs/first
      srbench run-iteration runs/first --until M3
      srbench run-iteration runs/first --dry-run --json
      srbench run-iteration runs/first --from-stage M2/pairs
      srbench run-iteration runs/second --recipe micro --seed 1
      srbench run-iteration runs/first --until M3 --prices prices.yaml --max-cost 9
    """
    from selfreward_bench.cli.work import Work
    from selfreward_bench.progress import Silent
    from trainers.environment import require_one_process

    wanted = Wanted(recipe, change or (), seed, judge, with_baseline)
    if as_json and not dry_run:
        raise typer.BadParameter("--json belongs to --dry-run")
    if dry_run:
        from selfreward_bench.cli.checks import check_config
        from selfreward_bench.cli.dryrun import show_dry_run

        peeked = peek_run(run, wanted)
        check_config(peeked.config)
        show_dry_run(peeked, until, from_stage, costs.price_table(prices), as_json=as_json)
        return
    require_one_process()  # before the first of several takes the run
    opened = open_run(run, wanted)
    use_threads(opened.config.threads)
    shared = costs.services(opened.config, prices, max_cost, replay=replay, concurrency=concurrency)
    work = Work(opened, Silent(), not no_eval, not no_report, preflight=not no_preflight, services=shared)
    with interruptible(command("run-iteration", run, *(["--until", until] if until else []))):
        _make(work, until, from_stage)


def _make(work: Work, until: str | None, from_stage: str | None) -> None:
    from selfreward_bench.cli.progress import RichReporter
    from trainers.plan import next_model, stages_from

    run = work.run
    target = until or next_model(run, stages_from(run.config, from_stage) if from_stage else ())
    if target is None:
        say(f"All models of {run.path} are made. See them: {command('report', run.path)}")
        return
    helped = _tell_costs(work, target, from_stage)
    try:
        with RichReporter() as work.reporter:
            work.make(target, from_stage)
    finally:
        if helped and work.services and (budget := work.services.budget):
            say(costs.spent(budget), err=True)
    _conclude(work, target)


def _tell_costs(work: Work, target: str, from_stage: str | None) -> bool:
    """Says what served models in the run's roles may cost, before they are asked; whether there are any.

    Data that is not there yet (of the hub) is not waited for.
    """
    from trainers.calls import role_calls
    from trainers.plan import make_plan
    from trainers.roles import others

    services = work.services
    if services is None or services.replay or not list(others(work.run.config)):
        return False
    found = role_calls(work.run.config, make_plan(work.run, until=target, from_stage=from_stage))
    table = services.budget.prices if services.budget and services.budget.prices.models else None
    for asked in found:
        say(f"{asked.role}: {costs.at_most(asked.model, [asked.calls], table)}", err=True)
    return bool(found)


def _conclude(work: Work, target: str) -> None:
    from trainers.plan import next_model
    from trainers.workshop import checkpoint_of

    for made in work.made:
        say(f"Made {made.model}: {checkpoint_of(work.run, made.model)}")
    if not work.made:
        say(f"{target} was made before; nothing had to be done.")
    following = next_model(work.run)
    say(
        f"Next, {following}: {command('run-iteration', work.run.path)}"
        if following
        else "All models of this run are made."
    )
    say(f"The results: {command('report', work.run.path)}")
