"""``srbench check``: examines a base model, and trains one round in small on it, before anything is paid for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from selfreward_bench.cli import options
from selfreward_bench.cli.console import Columns, say, show
from selfreward_bench.cli.environment import use_threads
from selfreward_bench.cli.runs import Wanted

if TYPE_CHECKING:
    from selfreward_bench.bases.findings import Examination

_COLOURS = {"refusal": "bold red", "warning": "yellow", "note": "dim"}


def check(
    base: Annotated[
        str, typer.Argument(metavar="BASE", help="The base model: a directory, OWNER/NAME[@REVISION] or `micro`.")
    ],
    static: Annotated[
        bool, typer.Option("--static", help="Looks at the files only; loads no weights and trains nothing.")
    ] = False,
    recipe: options.Recipe = None,
    change: options.Set = None,
) -> None:
    """Examine a base model before it is trained.

    Its files first: whether the weights are whole and of this model, whether tokenizer, chat template and settings suit
    it. Then one round in small with the recipe's settings (generate, judge, SFT, DPO, save, load again), in a temporary
    directory. `run-iteration` does the same before its first stage.

    Exit code 0: nothing stands in the way. 2: something does.

    \b
    Examples:
      srbench check ./model
      srbench check owner/name --recipe mine.yaml --set dpo.max_length=1024
      srbench check ./model --static
    """
    from selfreward_bench.progress import Relayed
    from trainers.examination import examine_base

    wanted = Wanted(recipe, (*(change or ()), f"base={json.dumps(base)}"))
    config = wanted.config(files=False)
    use_threads(config.threads)
    present(examine_base(config, flight=not static, reporter=Relayed(lambda text: say(text, err=True))))


def present(found: Examination) -> None:
    """Prints what was found, the worst first, and ends with exit code 2 where a refusal is among it."""
    from rich.text import Text

    facts = ", ".join(
        f"{name} {value:,}" if isinstance(value, int) else str(value) for name, value in found.facts.items()
    )
    rows = [
        (Text(severity, colour), finding.topic, finding.text)
        for severity, colour in _COLOURS.items()
        for finding in found.findings
        if finding.severity == severity
    ]
    show(f"{found.base}: {facts}" if facts else found.base)
    if rows:
        show(Columns(("", "WHAT", "FOUND"), rows))
    if found.refused:
        say("\nThis base cannot be trained so.")
        raise typer.Exit(2)
    say("\nNothing stands in the way of training it.")
