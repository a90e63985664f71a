"""``srbench eval``: scores checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from selfreward_bench.cli import completion, costs, options
from selfreward_bench.cli.console import Columns, say, show
from selfreward_bench.cli.failures import interruptible
from selfreward_bench.cli.machine import Json, emit
from selfreward_bench.cli.runs import Wanted, command
from selfreward_bench.errors import SrbenchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leaderboards.base import Calls, Plan
    from leaderboards.planning import Planned
    from selfreward_bench.prices import PriceTable

_BYTES_PER_CALL = 2_000  # records of an answer or judgment, and what the store keeps of it
_BYTES_PER_TOKEN = 8  # a token's text in the store and in an answer's record
_COPIES = 3  # of each text that is judged: in files of other tools' formats, and beside the scores


def evaluate(
    context: typer.Context,
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(
            "--checkpoint",
            metavar="MODEL",
            help="A directory, RUN:MODEL, a hub id, openai:NAME@URL, finished FILE or FILE:MODEL. Can be repeated.",
            autocompletion=completion.models,
        ),
    ] = None,
    run: Annotated[
        Path | None, typer.Option("--run", metavar="RUN", help="All finished models of a run, and its base.")
    ] = None,
    benchmarks: Annotated[
        str | None,
        typer.Option(
            "--benchmarks",
            metavar="NAME,NAME",
            help="Such as alpaca-eval,nlp; NAME:FILE hands over a file; FILE.py:CLASS is your own (its code runs).",
            autocompletion=completion.benchmarks,
        ),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            "--suite",
            metavar="NAME",
            help="A set of benchmarks: quick, paper or micro.",
            autocompletion=completion.suites,
        ),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            "--judge",
            metavar="MODEL",
            help="Who judges: openai:NAME@URL, a directory, RUN:MODEL, self.",
            autocompletion=completion.models,
        ),
    ] = None,
    world: Annotated[
        str | None,
        typer.Option(
            "--world",
            metavar="micro|real",
            help="The embedded world, or real data; found out unless given.",
            autocompletion=completion.worlds,
        ),
    ] = None,
    data_dir: options.DataDir = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="The first N items of each benchmark only.")
    ] = None,
    seed: options.Seed = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="DIR", help="Where results of models outside a run go (runs/eval)."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only shows what would be asked of whom, and what it may cost.")
    ] = False,
    prices: costs.Prices = None,
    max_cost: costs.MaxCost = None,
    replay: costs.Replay = False,
    concurrency: costs.Concurrency = 32,
    full: Annotated[bool, typer.Option("--full", help="Prints all metrics, not only the main ones.")] = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="Does not renew the run's report.html.")] = False,
    lc_strength: Annotated[
        str | None,
        typer.Option(
            "--lc-strength",
            metavar="cv|published",
            help="AlpacaEval: the length control's penalty, cross-validated or as the published weights tell.",
        ),
    ] = None,
    recipe: options.Recipe = None,
    change: options.Set = None,
    as_json: Json = False,
) -> None:
    """Score checkpoints on AlpacaEval, MT-Bench, NLP benchmarks, IFEval, head to head, and as judges.

    Models of the embedded micro-world are scored on its own versions of the benchmarks, with its exact grader as the
    judge; other models on real data (`srbench data pull`), where --judge says who judges. What is evaluated already,
    with the same model and settings, is not evaluated again. --recipe and --set say how a model outside a run is
    judged and sampled.

    Exit code 0: what could be scored is; what could not is told with its reason. 1: nothing at all got a score.
    2: a model or a benchmark failed, or something is to be mended.

    \b
    Examples:
      srbench eval --run runs/first
      srbench eval --checkpoint runs/first:M2 --benchmarks alpaca-eval,mt-bench
      srbench eval --checkpoint ./model --judge openai:NAME@https://HOST/v1 --prices prices.yaml --max-cost 9
      srbench eval --checkpoint ./model --judge openai:NAME@https://HOST/v1 --dry-run
      srbench eval --checkpoint annotations.json --benchmarks alpaca-eval
    """
    if bool(checkpoint) == (run is not None):
        raise typer.BadParameter("give either --checkpoint or --run")
    from selfreward_bench.cli import scoring

    table = costs.price_table(prices)
    session = scoring.open_session(
        checkpoint or (),
        run,
        Wanted(recipe, [*(change or ()), *([f"eval.lc_strength={lc_strength}"] if lc_strength else [])]),
        benchmarks=tuple(filter(None, (benchmarks or "").split(","))),
        suite=suite,
        judge=judge,
        world=world,
        data_dir=data_dir,
        limit=limit,
        seed=seed,
        output=output,
        prices=table,
        max_cost=max_cost,
        replay=replay,
        concurrency=concurrency,
    )
    if dry_run:
        (_emit_plan if as_json else _show_plan)(session.plan(), table)
        return
    with interruptible(_same_command(context)):
        done = scoring.run_session(session, full=full, report=not no_report, as_json=as_json)
    if done.errors:
        raise SrbenchError(_told(done.errors))
    only_answers = not done.results and len(session.asked.candidates) == 1  # head-to-head, until another one comes
    if not (done.is_scored or only_answers):
        say("Nothing got a score: not one sample of any benchmark. The reasons are told above.", err=True)
        raise typer.Exit(1)


def _same_command(context: typer.Context) -> str:
    """The command line as it was given."""
    parts: list[str] = []
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        if source is None or source.name != "COMMANDLINE":
            continue
        value = context.params[option.name or ""]
        for one in value if isinstance(value, list | tuple) else [value]:
            parts += [option.opts[0]] if isinstance(value, bool) else [option.opts[0], str(one)]
    return command("eval", *parts)


def _told(errors: Sequence[str]) -> str:
    """What went wrong, all of it; the results of everything else are there."""
    if len(errors) == 1:
        return errors[0]
    return "\n".join([f"{len(errors)} parts of this failed; the others are done.", *(f"  {e}" for e in errors)])


def _show_plan(planned: Sequence[Planned], table: PriceTable | None) -> None:
    """What would be asked of whom. Tokens are bounds: nobody knows an answer's length before it is there."""
    show("To be done (nothing is done now; TOKENS: at most so many):")
    header = ("MODEL", "BENCHMARK", "STATE", "ANSWERS", "TOKENS", "JUDGMENTS", "TOKENS")
    show(Columns(header, [_plan_row(p) for p in planned], right=(3, 4, 5, 6), heads=1))
    todo = [p for p in planned if not p.current and not p.problem]
    answers, judgments = sum(p.plan.answers.calls for p in todo), sum(p.plan.judgments.calls for p in todo)
    calls = [c for p in todo for c in (p.plan.answers, p.plan.judgments)]
    but = " (without those whose tokens are not known, ?)" if any(map(costs.is_unbounded, calls)) else ""
    size = f"{sum(_bytes(p.plan) for p in todo) / 1e6:,.1f} MB on disk{but}, the report aside"
    show(f"\n{answers:,} answers and {judgments:,} judgments; at most {size}.")
    for name in dict.fromkeys(n for p in todo for n, _ in p.served):
        show(costs.at_most(name, [c for p in todo for n, c in p.served if n == name], table))
    for p in planned:
        if p.problem:
            show(f"{p.model}, {p.benchmark}: {p.problem}")


def _emit_plan(planned: Sequence[Planned], table: PriceTable | None) -> None:
    """The same for programs."""
    from selfreward_bench.prices import Usage

    def cost(name: str, calls: Calls) -> float | None:
        known = table is not None and not costs.is_unbounded(calls)
        return table.cost(name, Usage(calls.prompt_tokens, calls.completion_tokens)) if known and table else None

    rows = [
        {
            "model": p.model,
            "benchmark": p.benchmark,
            "state": _state(p),
            "problem": p.problem or None,
            "answers": _numbers(p.plan.answers),
            "judgments": _numbers(p.plan.judgments),
            "bytes": _bytes(p.plan),
            "served": [{"model": name, **_numbers(calls), "cost": cost(name, calls)} for name, calls in p.served],
        }
        for p in planned
    ]
    emit("eval --dry-run", currency=table.currency if table else None, planned=rows)


def _numbers(calls: Calls) -> dict[str, int | None]:
    """Calls, and at most how many tokens they read and write together; null where nobody knows."""
    return {"calls": calls.calls, "tokens": None if costs.is_unbounded(calls) else _tokens(calls)}


def _state(planned: Planned) -> str:
    return "done" if planned.current else "impossible" if planned.problem else "to do"


def _plan_row(planned: Planned) -> tuple[str, ...]:
    both = (planned.plan.answers, planned.plan.judgments)
    numbers = [n for c in both for n in (f"{c.calls:,}", "?" if costs.is_unbounded(c) else f"{_tokens(c):,}")]
    return (planned.model, planned.benchmark, _state(planned), *("" if n == "0" else n for n in numbers))


def _tokens(calls: Calls) -> int:
    return calls.prompt_tokens + calls.completion_tokens


def _bytes(plan: Plan) -> int:
    """What answers and judgments take on the disk, at most. Shown text has at most a token per byte (``Plan``)."""
    written = plan.answers.completion_tokens + plan.judgments.completion_tokens
    kept = _BYTES_PER_TOKEN * written + _COPIES * plan.judgments.prompt_tokens
    return _BYTES_PER_CALL * (plan.answers.calls + plan.judgments.calls) + kept
