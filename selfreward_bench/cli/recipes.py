"""``srbench recipes``: the recipes that come with srbench, and examples for clusters."""

from __future__ import annotations

from typing import Annotated

import typer

from selfreward_bench.cli import completion
from selfreward_bench.cli.console import Columns, say, show
from selfreward_bench.cli.machine import Json, emit


def recipes(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME|FILE|copy]",
            help="The recipe to show; all are listed without. Or: copy.",
            autocompletion=completion.recipes,
        ),
    ] = None,
    copy: Annotated[
        str | None,
        typer.Argument(metavar="[WHAT]", help="With copy: slurm, skypilot, kubernetes, ray, or a recipe's name."),
    ] = None,
    source: Annotated[bool, typer.Option("--source", help="Shows the recipe's own text, to copy and edit.")] = False,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Explains every setting and marks what the recipe changes; without NAME, the defaults."
        ),
    ] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Shows the JSON schema of recipes, for editors.")] = False,
    as_json: Json = False,
) -> None:
    """List the recipes, or show one with every setting.

    `copy` writes a file to edit into the working directory: a recipe's own text, or a commented example that runs the
    loop on a cluster (docs/cluster.md).

    \b
    Examples:
      srbench recipes
      srbench recipes micro
      srbench recipes micro --source > mine.yaml
      srbench recipes micro --explain
      srbench recipes --schema > recipe.schema.json
      srbench recipes copy slurm
    """
    from selfreward_bench import recipes as library

    if source + explain + schema + as_json > 1:
        raise typer.BadParameter("give one of --source, --explain, --schema and --json")
    if name == "copy" or copy is not None:
        _copy(name, copy, plain=not (source or explain or schema or as_json))
    elif as_json and name is None:
        emit("recipes", recipes=[{"name": one, "about": about} for one, about in library.describe().items()])
    elif as_json:
        emit("recipes NAME", name=name, settings=library.load(name).model_dump(mode="json"))
    elif schema:
        _print_schema(name)
    elif explain:
        _explain(name)
    elif name is None:
        show(Columns(("RECIPE", "WHAT IT IS"), list(library.describe().items())))
    elif source:
        say(library.source(name).rstrip("\n"))
    else:
        say(library.dump(library.load(name)).rstrip("\n"))


def _copy(word: str | None, what: str | None, *, plain: bool) -> None:
    from selfreward_bench.cli.copying import CLUSTERS, copied

    if word != "copy" or what is None or not plain:
        raise typer.BadParameter(f"copy what: {', '.join(CLUSTERS)} or a recipe's name, and nothing else")
    path, command = copied(what)
    show(f"Wrote {path}. Read it, put in your own paths, and then:\n  {command}")


def _print_schema(name: str | None) -> None:
    from selfreward_bench.settings import schema_text

    if name is not None:
        raise typer.BadParameter("--schema is that of all recipes; leave the name away")
    say(schema_text().rstrip("\n"))


def _explain(name: str | None) -> None:
    from selfreward_bench import recipes as library
    from selfreward_bench.cli.settings import print_explained

    print_explained(library.load(name), "The defaults" if name is None else f"Recipe {name}")
