"""What follows the making of models: evaluation, comparison, report; and what ``srbench eval`` asks for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from selfreward_bench.cli.console import say, show, stdout
from selfreward_bench.cli.environment import use_threads
from selfreward_bench.cli.runs import CONFIG_FILE, Wanted, command, open_run
from selfreward_bench.errors import EngineError, IncompatibleRunError, SrbenchError
from selfreward_bench.storage.files import os_errors

if TYPE_CHECKING:
    from leaderboards.comparing import Together
    from leaderboards.evaluation import Evaluation
    from leaderboards.session import Options, Session
    from reports.facts.run import RunFacts
    from selfreward_bench.config import RunConfig
    from selfreward_bench.models.candidates import Candidate
    from selfreward_bench.progress import Reporter
    from selfreward_bench.storage.rundir import RunDir
    from selfreward_bench.types import EvalResult

BASE = "M0"
REPORT = "report.html"


def open_session(checkpoints: Sequence[str], run: Path | None, wanted: Wanted, **options: Unpack[Options]) -> Session:
    """The evaluation, checked; nothing is loaded or asked yet.

    Args:
        checkpoints: models as the user names them; none where a ``run`` is given, all of whose models are meant.
        wanted: how they answer and judge, where that is not as usual.

    Raises:
        SrbenchError: it cannot be done as asked.
    """
    from leaderboards.session import prepare

    opened, candidates = _what(checkpoints, run, wanted)
    config = opened.config if opened else _settings(candidates, wanted, options.get("world"))
    use_threads(config.threads)
    return prepare(candidates, config, **options)


def run_session(session: Session, *, full: bool, report: bool, as_json: bool = False) -> Evaluation:
    """Evaluates, prints the results and renews the report.

    Args:
        full: all metrics.
        as_json: for programs: all metrics as they are stored.
    """
    from selfreward_bench.cli.machine import emit
    from selfreward_bench.cli.progress import RichReporter
    from selfreward_bench.cli.tables import compact_table, match_table, metric_table, preference_table, remarks

    root, services = session.asked.root, session.asked.services
    with RichReporter() as reporter:
        done = session.run(reporter)
    if as_json:
        page = str(write_report(root)) if report else None
        emit("eval", root=str(root), report=page, errors=list(done.errors), **_stored(done))
        return done
    if done.results:
        show(metric_table(done.results) if full else compact_table(done.results, stdout().width))
    if done.tournament:
        show("", *match_table(done.tournament))
    if done.preferences:
        show("", *preference_table(done.preferences))
    for remark in remarks(done.results, services.budget, services.replay):
        show("\n" + remark)
    if report:
        say(f"\nThe report: {write_report(root)}")
    say(f"The results are in {root}.")
    return done


def put_together(found: Sequence[RunFacts]) -> Together | None:
    """Seeds of one recipe put together, and recipes held against each other, from the stored values of samples.

    None where there is one run alone.
    """
    if len(found) < 2:
        return None
    from leaderboards.comparing import seeds
    from reports.facts import grouping, several

    groups = grouping.group(found)
    asked, contrasted = several.asked(groups)
    return seeds.together([[Path(facts.path) for facts in g.runs] for g in groups], asked, contrasted)


def _stored(done: Evaluation) -> dict[str, Any]:
    """Results and matches as their files hold them."""
    matches = done.tournament
    return {
        "results": [r.model_dump(mode="json") for r in done.results],
        "head_to_head": matches and matches.model_dump(mode="json"),
        "pairs": {model: held.model_dump(mode="json") for model, held in done.preferences.items()},
    }


def _what(checkpoints: Sequence[str], run: Path | None, wanted: Wanted) -> tuple[RunDir | None, list[Candidate]]:
    """The run, where all candidates are of one, and the candidates."""
    from leaderboards.suites import run_of
    from selfreward_bench.models.candidates import parse_candidates

    if run is not None:
        opened = open_run(run, wanted, make=False)
        return opened, parse_candidates(f"{run}:{model}" for model in models_to_evaluate(opened, None))
    candidates = parse_candidates(checkpoints)
    if (only := run_of(candidates)) is None:
        return None, candidates
    opened = open_run(only, wanted, make=False)
    for candidate in candidates:
        models_to_evaluate(opened, candidate.model)
    return opened, candidates


def _settings(candidates: Sequence[Candidate], wanted: Wanted, world: str | None) -> RunConfig:
    """A recipe's, or those of the world that models outside a run belong to."""
    from leaderboards.suites import default_config, world_of
    from selfreward_bench.cli.checks import check_config

    if wanted.recipe:
        return wanted.config()
    config = default_config(world_of(candidates, world), wanted.changes)
    check_config(config, rewards=False)
    return config


def evaluate_models(run: RunDir, models: Sequence[str], reporter: Reporter, benchmarks: Sequence[str] = ()) -> None:
    """Scores models of a run on what ``eval.after_iteration`` says; what is there and current is not made again.

    Args:
        benchmarks: rows of the harness, for models of the micro-world, instead of what the run says.

    A real model is scored on real data or not at all.

    Raises:
        SrbenchError: what the first model that failed raised, after the others were evaluated.
    """
    from leaderboards.suites import after_iteration, world_of
    from selfreward_bench.models.candidates import parse_candidates

    candidates = parse_candidates(f"{run.path}:{model}" for model in models)
    world = world_of(candidates)
    names, config = after_iteration(run.config, world)
    if world == "micro" and run.config.eval.after_iteration is None:
        _evaluate_on_micro_world(run, models, reporter, benchmarks)
    elif names:
        _evaluate_on(names, candidates, config, run, reporter)


def _evaluate_on(
    names: Sequence[str], candidates: Sequence[Candidate], config: RunConfig, run: RunDir, reporter: Reporter
) -> None:
    """What is chosen and can be had; what stays is said with the command for it."""
    from leaderboards.session import prepare

    chosen = run.config.eval.after_iteration is not None
    session = prepare(candidates, config, benchmarks=names, output=run.path)
    lacking = {} if chosen else session.lacking()
    rest = [name for name in session.names if name not in lacking]
    rerun = command("eval", "--run", run.path)
    if not rest:
        told = "; ".join(f"{name}: {reason}" for name, reason in lacking.items())
        reporter.message(f"Nothing was scored ({told}). With data and a judge: {rerun} --judge ...")
        return
    found = (prepare(candidates, config, benchmarks=rest, output=run.path) if lacking else session).run(reporter)
    reporter.message(f"Scored on {', '.join(rest)}, {config.eval.limit} items of each. On all of it: {rerun}")
    if found.errors:
        raise EngineError("; ".join(found.errors))


def _evaluate_on_micro_world(run: RunDir, models: Sequence[str], reporter: Reporter, benchmarks: Sequence[str]) -> None:
    from leaderboards.harness import evaluate_checkpoint
    from leaderboards.registry import THIN
    from selfreward_bench.storage.fingerprint import weights_fingerprint
    from trainers.workshop import checkpoint_of

    errors: list[SrbenchError] = []
    with run.lock():
        for model in models:
            directory, out_dir = checkpoint_of(run, model), run.path / model / "eval"
            try:
                run.check_weights(model, weights_fingerprint(directory))
                evaluate_checkpoint(
                    directory,
                    name=model,
                    config=run.config,
                    out_dir=out_dir,
                    reporter=reporter,
                    benchmarks=benchmarks or THIN,
                )
            except SrbenchError as error:
                errors.append(error)
    if errors:
        raise errors[0]


def compare_models(run: RunDir) -> None:
    """Compares all that is evaluated, and measures the run's health."""
    from leaderboards.comparing.run import compare
    from leaderboards.health.run import write_health

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


def check_reported(path: Path) -> None:
    """A run, or evaluations in its layout (runs/eval).

    Raises:
        IncompatibleRunError: it is neither.
    """
    from leaderboards.standings import evaluated_models
    from selfreward_bench.storage.rundir import RunDir

    if (path / CONFIG_FILE).exists() or not evaluated_models(path):
        RunDir.open(path)  # says what is wrong with what is no run


def write_report(root: Path) -> Path:
    """Builds the ``report.html`` of a run, or of evaluations in its layout, from its files; returns where it is.

    No lock is needed: the page can be built while another process works on the run.
    """
    from reports import html
    from reports.facts import reading as facts

    path = root / REPORT
    draft = root / f".{os.getpid()}.{REPORT}"
    html.write([facts.collect(root)], draft)
    with os_errors(path, "write"):
        draft.replace(path)
    return path


def show_results(run: RunDir) -> None:
    """Prints the main results of a run: what came of it in words, and the tables behind that."""
    from reports.facts import reading as facts
    from selfreward_bench.cli.results import results

    show(*results(facts.collect(run.path)))
