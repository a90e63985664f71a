"""``srbench eval``: scores checkpoints on the embedded world."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from selfreward_bench.cli import options
from selfreward_bench.cli.console import say
from selfreward_bench.cli.environment import use_threads
from selfreward_bench.cli.failures import interruptible
from selfreward_bench.cli.runs import CONFIG_FILE, Wanted, command, open_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from selfreward_bench.types import EvalResult

_MODEL = re.compile(r"M\d+|SFT")


def evaluate(
    checkpoint: Annotated[
        str | None,
        typer.Option(
            "--checkpoint", metavar="DIR|RUN:MODEL", help="A model's directory, or one of a run: runs/first:M2."
        ),
    ] = None,
    run: Annotated[
        Path | None, typer.Option("--run", metavar="RUN", help="All finished models of a run, and its base.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="DIR", help="Where the results of a model outside a run go (runs/eval/NAME)."),
    ] = None,
    recipe: options.Recipe = None,
    change: options.Set = None,
) -> None:
    """Score checkpoints: as writers and as judges.

    Answers are graded by the exact grader of the embedded world, judgments are compared with human ranks. What is
    evaluated already, with the same weights and settings, is not evaluated again. --recipe and --set say how a model
    outside a run is judged and sampled (recipe micro unless given).

    \b
    Examples:
      srbench eval --checkpoint runs/first:M2
      srbench eval --run runs/first
    """
    if (checkpoint is None) == (run is None):
        raise typer.BadParameter("give either --checkpoint or --run")
    wanted = Wanted(recipe, change or ())
    if run is not None:
        _evaluate_run(run, None, wanted)
    elif found := split_run(checkpoint or ""):
        _evaluate_run(*found, wanted)
    else:
        _evaluate_directory(Path(checkpoint or ""), output, wanted)


def split_run(text: str) -> tuple[Path, str] | None:
    """The run and the model that ``RUN:MODEL`` or ``RUN/MODEL/checkpoint`` names; None for any other directory."""
    run, colon, model = text.rpartition(":")
    if colon and _MODEL.fullmatch(model):
        return Path(run), model
    path = Path(text)
    owner = path.parent.parent
    if path.name == "checkpoint" and _MODEL.fullmatch(path.parent.name) and (owner / CONFIG_FILE).is_file():
        return owner, path.parent.name
    return None


def _evaluate_run(path: Path, model: str | None, wanted: Wanted) -> None:
    opened = open_run(path, wanted, make=False)
    use_threads(opened.config.threads)
    from selfreward_bench.cli import scoring
    from selfreward_bench.cli.progress import RichReporter

    models = scoring.models_to_evaluate(opened, model)
    again = ["--run", path] if model is None else ["--checkpoint", f"{path}:{model}"]
    with interruptible(command("eval", *again)), RichReporter() as reporter:
        scoring.evaluate_models(opened, models, reporter)
    _show([r for m in models for r in scoring.results_of(opened.path, m)])


def _evaluate_directory(directory: Path, output: Path | None, wanted: Wanted) -> None:
    config = wanted.config()
    use_threads(config.threads)
    from leaderboards.evaluate import evaluate_checkpoint
    from selfreward_bench.cli.progress import RichReporter

    name = directory.absolute().name or "model"
    target = output or Path("runs", "eval", name)
    with interruptible(command("eval", "--checkpoint", directory)), RichReporter() as reporter:
        results = evaluate_checkpoint(directory, name=name, config=config, out_dir=target, reporter=reporter)
    _show(results)
    say(f"\nThe results are in {target}.")


def _show(results: Sequence[EvalResult]) -> None:
    from selfreward_bench.cli.tables import metric_table

    say(metric_table(results))
