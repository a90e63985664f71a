"""All commands of ``srbench`` in one table. Importing this must stay cheap: commands import what they need when run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final

import typer

from selfreward_bench import __version__
from selfreward_bench.cli.doctor import doctor
from selfreward_bench.cli.evaluate import evaluate
from selfreward_bench.cli.failures import Commands
from selfreward_bench.cli.init import init
from selfreward_bench.cli.iterate import run_iteration
from selfreward_bench.cli.quickstart import quickstart
from selfreward_bench.cli.recipes import recipes
from selfreward_bench.cli.report import report
from selfreward_bench.cli.status import status
from selfreward_bench.cli.validate import validate

#: in the order of the help: the loop first, then what helps with it
COMMANDS: Final[dict[str, Callable[..., None]]] = {
    "quickstart": quickstart,
    "init": init,
    "run-iteration": run_iteration,
    "status": status,
    "eval": evaluate,
    "report": report,
    "recipes": recipes,
    "validate": validate,
    "doctor": doctor,
}

app = typer.Typer(
    cls=Commands,
    name="srbench",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for _name, _function in COMMANDS.items():
    app.command(_name)(_function)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"srbench {__version__}")
        raise typer.Exit


@app.callback()
def srbench(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Train a model by self-reward (M0 -> M1 -> M2 -> M3), and score every checkpoint the same way.

    Start with `srbench quickstart`: the whole loop on the embedded micro-world, in minutes, on a CPU.
    """
