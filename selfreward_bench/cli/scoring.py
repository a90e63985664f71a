"""What follows the making of models: the thin evaluation of each, the comparison, the report."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from selfreward_bench.errors import IncompatibleRunError, SrbenchError
from selfreward_bench.files import os_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from selfreward_bench.progress import Reporter
    from selfreward_bench.rundir import RunDir
    from selfreward_bench.types import EvalResult

BASE = "M0"
REPORT = "report.html"
PLAIN_WIDTH = 120  # characters, where there is no terminal to ask


def evaluate_models(run: RunDir, models: Sequence[str], reporter: Reporter) -> None:
    """Evaluates models of a run and compares all that are evaluated; what is there and current is not made again.

    Raises:
        SrbenchError: what the first model that failed raised, after the others were evaluated.
    """
    from leaderboards.evaluate import compare, evaluate_checkpoint
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
        compare(run.path)
    if errors:
        raise errors[0]


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


def write_report(run: RunDir) -> Path:
    """Builds a run's ``report.html`` from its files, and returns where it is.

    No lock is needed: the page can be built while another process works on the run.
    """
    from reports import facts, html

    path = run.path / REPORT
    draft = run.path / f".{os.getpid()}.{REPORT}"
    html.write(facts.collect(run.path), draft)
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
