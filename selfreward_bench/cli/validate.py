"""``srbench validate``: every problem of recipes, judge prompts and JSONL files, each with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from selfreward_bench.cli.console import say

_SHOWN_PROBLEMS = 100  # per file


def validate(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Recipes and judge prompts (YAML), records (JSONL).")
    ],
    format: Annotated[
        str | None,
        typer.Option("--format", metavar="FORMAT", help="What the files are; without it, their name and content tell."),
    ] = None,
) -> None:
    """Check recipes, judge prompts and data files.

    Every problem is printed with its file, line and field.

    \b
    Formats: recipe, judge, ift, eft, prompts, completions, judgments,
    rewards, pairs, examples, ranked, two-turn, choices.

    Exit code 0: all files can be used. 1: at least one has problems.

    \b
    Examples:
      srbench validate mine.yaml
      srbench validate data/ift.jsonl --format ift
    """
    from selfreward_bench.cli.formats import find_problems

    found_any = False
    for file in files:
        what, problems = find_problems(file, format)
        found_any = found_any or bool(problems)
        for problem in problems[:_SHOWN_PROBLEMS]:
            say(problem)
        if len(problems) > _SHOWN_PROBLEMS:
            say(f"{file}: and {len(problems) - _SHOWN_PROBLEMS:,} more problems")
        if not problems:
            say(f"{file}: fine ({what})")
    if found_any:
        raise typer.Exit(1)
