"""All commands of ``srbench`` in one table. A command's module is imported when it runs; its help line stands here."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Annotated, Any, Final

import typer
from typer.main import get_command

from selfreward_bench import __version__
from selfreward_bench.cli.failures import Commands

#: command -> "module:function" and its line in the help, in the order of the help: the loop first
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "quickstart": ("quickstart:quickstart", "Run the whole loop on the embedded micro-world."),
    "check": ("check:check", "Examine a base model before it is trained."),
    "init": ("init:init", "Make a run's directory with its settings."),
    "run-iteration": ("iterate:run_iteration", "Make the next model of a run: M1, then M2, then M3."),
    "plan": ("plan:plan", "Show what a run will need: tokens, memory, disk, time."),
    "fork": ("fork:fork", "Make a run that keeps what another has made, and goes on with other settings."),
    "status": ("status:status", "Show how far a run is, and what comes next."),
    "eval": (
        "evaluate:evaluate",
        "Score checkpoints on AlpacaEval, MT-Bench, NLP benchmarks, IFEval, head to head, and as judges.",
    ),
    "compare": ("compare:compare", "Compare two evaluated checkpoints, sample by sample."),
    "human": ("human:app", "Let people compare two models' answers, blind, and score what they say."),
    "report": ("report:report", "Build the report of one run or several: a page, tables, or figures."),
    "view": ("view:view", "Show all runs under a directory in a browser, also those in progress."),
    "recipes": ("recipes:recipes", "List the recipes, or show one with every setting."),
    "validate": ("validate:validate", "Check recipes, judge prompts and data files."),
    "data": ("data:app", "Get the real benchmark files, see which are there, and import seed data."),
    "doctor": ("doctor:doctor", "Check whether this machine can do the work."),
}

#: what else people call a command -> its name
MEANT: Final = {
    **dict.fromkeys(("run", "train", "loop", "iterate", "start", "resume"), "run-iteration"),
    **dict.fromkeys(("evaluate", "bench", "benchmark", "score", "test"), "eval"),
    **dict.fromkeys(("results", "show", "export"), "report"),
    **dict.fromkeys(("new", "create"), "init"),
    **dict.fromkeys(("diff", "vs"), "compare"),
    **dict.fromkeys(("download", "pull"), "data"),
}

_PLAIN: Final[dict[str, Any]] = {"rich_markup_mode": None, "pretty_exceptions_enable": False}


class LazyCommands(Commands):
    """Lists commands from the table, and loads the one that is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        if args and args[0] in MEANT and args[0] not in COMMANDS:
            meant = MEANT[args[0]]
            ctx.fail(f"No such command {args[0]!r}. Did you mean {meant!r}? {COMMANDS[meant][1]}")
        name, command, rest = super().resolve_command(ctx, args)
        return name, load(name) if name else command, rest


@cache
def load(name: str) -> Any:
    """The command of a row of ``COMMANDS``, with its options."""
    module, function = COMMANDS[name][0].split(":")
    found = getattr(importlib.import_module(f"selfreward_bench.cli.{module}"), function)
    if isinstance(found, typer.Typer):  # a command with commands of its own
        return get_command(found)
    single = typer.Typer(add_completion=False, **_PLAIN)
    single.command(name)(found)
    return get_command(single)


app = typer.Typer(
    cls=LazyCommands,
    name="srbench",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    **_PLAIN,
)


def _listed() -> None:
    """Stands for a command in the list; ``LazyCommands`` puts the command itself in its place."""


for _name, (_, _help) in COMMANDS.items():
    app.command(_name, help=_help)(_listed)


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
