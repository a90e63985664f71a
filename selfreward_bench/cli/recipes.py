"""``srbench recipes``: the recipes that come with srbench."""

from __future__ import annotations

from typing import Annotated

import typer

from selfreward_bench.cli.console import Columns, say, show


def recipes(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME|FILE]", help="The recipe to show; all are listed without.")
    ] = None,
    source: Annotated[bool, typer.Option("--source", help="Shows the recipe's own text, to copy and edit.")] = False,
) -> None:
    """List the recipes, or show one with every setting.

    \b
    Examples:
      srbench recipes
      srbench recipes micro
      srbench recipes micro --source > mine.yaml
    """
    from selfreward_bench import recipes as library

    if name is None:
        show(Columns(("RECIPE", "WHAT IT IS"), list(library.describe().items())))
    elif source:
        say(library.source(name).rstrip("\n"))
    else:
        say(library.dump(library.load(name)).rstrip("\n"))
