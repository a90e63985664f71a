"""Options that several commands take, worded once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from selfreward_bench.cli import completion

Run = Annotated[Path, typer.Argument(metavar="RUN", help="The run's directory, such as runs/first.")]
Recipe = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="NAME|FILE",
        help="A built-in recipe or a YAML file; see `srbench recipes`.",
        autocompletion=completion.recipes,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Changes one setting, such as dpo.beta=0.2. Can be repeated."),
]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of everything random in the run.", show_default=False)]
Judge = Annotated[
    str | None, typer.Option("--judge", metavar="NAME|FILE", help="The judge prompt: a built-in name or a YAML file.")
]
WithBaseline = Annotated[
    bool, typer.Option("--with-baseline", help="Also trains the SFT baseline (IFT data only), for comparison.")
]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", help="Where the real benchmark data are (SRBENCH_DATA_DIR)."),
]
