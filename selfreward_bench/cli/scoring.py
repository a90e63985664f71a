"""What follows the making of models: evaluation, comparison, report; and what ``srbench eval`` asks for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from selfreward_bench.cli.console import say
from selfreward_bench.cli.environment import use_threads
from selfreward_bench.cli.runs import Wanted, open_run
from selfreward_bench.errors import IncompatibleRunError, SrbenchError
from selfreward_bench.files import os_errors

if TYPE_CHECKING:
    from leaderboards.candidates import Candidate
    from leaderboards.session import Session
    from selfreward_bench.config import RunConfig
    from selfreward_bench.prices import PriceTable
    from selfreward_bench.progress import Reporter
    from selfreward_bench.rundir import RunDir
    from selfreward_bench.types import EvalResult

BASE = "M0"
REPORT = "report.html"
PLAIN_WIDTH = 120  # characters, where there is no terminal to ask


@dataclass(frozen=True, slots=True)
class Evaluating:
    """What ``srbench eval`` was asked for; see its options."""

    checkpoints: tuple[str, ...]
    run: Path | None
    wanted: Wanted
    benchmarks: tuple[str, ...] = ()
    suite: str | None = None
    judge: str | None = None
    world: str | None = None
    data_dir: Path | None = None
    limit: int | None = None
    seed: int | None = None
    output: Path | None = None
    prices: PriceTable | None = None
    max_cost: float | None = None
    replay: bool = False
    concurrency: int = 32
    report: bool = True
    full: bool = False


def price_table(path: Path | None) -> PriceTable | None:
    """The user's price table, where there is one."""
    from selfreward_bench.prices import load_prices

    return load_prices(path) if path else None


def open_session(asked: Evaluating) -> Session:
    """The evaluation, checked; nothing is loaded or asked yet.

    Raises:
        SrbenchError: it cannot be done as asked.
    """
    from leaderboards.models import Services
    from leaderboards.session import ROOT, Asked, Session
    from selfreward_bench.data_dir import DataDir
    from selfreward_bench.prices import Budget, PriceTable

    run, candidates = _what(asked)
    config = _settings(run, candidates, asked)
    use_threads(config.threads)
    services = Services(
        config.engine,
        config.threads,
        budget=Budget(asked.prices or PriceTable(), asked.max_cost),
        replay=asked.replay,
        concurrency=asked.concurrency,
    )
    return Session(
        Asked(
            candidates=candidates,
            root=run.path if run and asked.output is None else asked.output or ROOT,
            config=config,
            services=services,
            benchmarks=asked.benchmarks,
            suite=asked.suite,
            judge=asked.judge,
            world=asked.world,
            data=DataDir.find(asked.data_dir),
        )
    )


def run_session(session: Session, asked: Evaluating) -> tuple[str, ...]:
    """Evaluates, prints the results and renews the report; returns what went wrong."""
    from selfreward_bench.cli.progress import RichReporter
    from selfreward_bench.cli.tables import compact_table, match_table, metric_table

    root = session.asked.root
    with RichReporter() as reporter:
        done = session.run(reporter)
    if done.results:
        width = shutil.get_terminal_size((PLAIN_WIDTH, 0)).columns
        say(metric_table(done.results) if asked.full else compact_table(done.results, width))
    if done.tournament:
        say("\n" + match_table(done.tournament))
    if asked.report:
        say(f"\nThe report: {write_report(root)}")
    say(f"The results are in {root}.")
    return done.errors


def _what(asked: Evaluating) -> tuple[RunDir | None, list[Candidate]]:
    """The run, where all candidates are of one, and the candidates."""
    from leaderboards.candidates import parse_candidates
    from leaderboards.suites import run_of

    texts = list(asked.checkpoints)
    if asked.run is not None:
        opened = open_run(asked.run, asked.wanted, make=False)
        texts = [f"{asked.run}:{model}" for model in models_to_evaluate(opened, None)]
    candidates = parse_candidates(texts)
    if (only := run_of(candidates)) is None:
        return None, candidates
    run = open_run(only, asked.wanted, make=False)
    for candidate in candidates:
        models_to_evaluate(run, candidate.model)
    return run, candidates


def _settings(run: RunDir | None, candidates: Sequence[Candidate], asked: Evaluating) -> RunConfig:
    """A run's own, or a recipe's; else those of the world the models belong to."""
    from leaderboards.suites import bounded, default_config, world_of
    from selfreward_bench.cli.checks import check_config

    wanted = asked.wanted
    if run is not None:
        config = run.config
    elif wanted.recipe:
        config = wanted.config()
    else:
        config = default_config(world_of(candidates, asked.world), wanted.changes)
        check_config(config)
    config = bounded(config, asked.limit)
    return config if asked.seed is None else config.model_copy(update={"seed": asked.seed})


def evaluate_models(run: RunDir, models: Sequence[str], reporter: Reporter) -> None:
    """Evaluates models of a run; what is there and current is not made again.

    Raises:
        SrbenchError: what the first model that failed raised, after the others were evaluated.
    """
    from leaderboards.harness import evaluate_checkpoint
    from trainers.iteration import checkpoint_of

    errors: list[SrbenchError] = []
    with run.lock():
        for model in models:
            out_dir = run.path / model / "eval"
            try:
                evaluate_checkpoint(
                    checkpoint_of(run, model), name=model, config=run.config, out_dir=out_dir, reporter=reporter
                )
            except SrbenchError as error:
                errors.append(error)
    if errors:
        raise errors[0]


def compare_models(run: RunDir) -> None:
    """Compares all that is evaluated, and measures the run's health."""
    from leaderboards.comparing import compare
    from leaderboards.health import write_health

    with run.lock():
        compare(run.path)
        write_health(run.path)


def models_to_evaluate(run: RunDir, model: str | None) -> list[str]:
    """One model of a run, or the base and all that are finished.

    Raises:
        UnknownNameError: the run trains no such model.
        IncompatibleRunError: it is not made yet.
    """
    from trainers.iteration import finished_models
    from trainers.stages import check_model

    finished = [BASE, *finished_models(run)]
    if model is None or model in finished:
        return finished if model is None else [model]
    check_model(run.config, model)
    raise IncompatibleRunError(
        f"{model} of {run.path} is not made yet (there are {', '.join(finished)}). Make it first: "
        f"srbench run-iteration {run.path} --until {model}"
    )


def results_of(run_path: Path, model: str) -> list[EvalResult]:
    """The stored results of one model."""
    from leaderboards.standings import RESULT, read_result

    return [read_result(path) for path in sorted((run_path / model / "eval").glob(f"*/{RESULT}"), reverse=True)]


def write_report(root: Path) -> Path:
    """Builds the ``report.html`` of a run, or of evaluations in its layout, from its files; returns where it is.

    No lock is needed: the page can be built while another process works on the run.
    """
    from reports import facts, html

    path = root / REPORT
    draft = root / f".{os.getpid()}.{REPORT}"
    html.write([facts.collect(root)], draft)
    with os_errors(path, "write"):
        draft.replace(path)
    return path


def show_results(run: RunDir) -> None:
    """Prints the main results of a run: what came of it in words, and the tables behind that."""
    from rich.console import Console

    from reports import facts, terminal

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PLAIN_WIDTH)
    console.print(terminal.results(facts.collect(run.path)))
