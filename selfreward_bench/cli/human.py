"""``srbench human``: rating sheets for people, and what came of their ratings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from selfreward_bench.cli import options
from selfreward_bench.cli.console import Columns, say, show

if TYPE_CHECKING:
    from leaderboards.human.records import HumanEvaluation

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.callback()
def human() -> None:
    """Let people compare two models' answers, blind, and score what they say.

    A sheet is a page that opens from disk and a CSV, both in RUN/human/for-raters: give raters these alone. Whose
    answer stands where is in RUN/human/key.json. Each rater sends back one CSV. More: docs/human.md.

    \b
    Examples:
      srbench human sheet runs/first --pairs M2:M1 --n 50
      srbench human score a.csv b.csv c.csv --run runs/first
    """


@app.command()
def sheet(
    run: options.Run,
    pairs: Annotated[
        list[str],
        typer.Option("--pairs", metavar="A:B", help="Models to compare; several with commas: M3:SFT,M2:SFT."),
    ],
    n: Annotated[int, typer.Option("--n", min=1, help="Prompts, the same for every pair.")] = 50,
    seed: Annotated[int, typer.Option("--seed", help="Draws prompts, sides and order.")] = 0,
) -> None:
    """Draw a blind rating sheet: which prompts, whose answer first, in which order.

    It compares answers that the models gave when they were evaluated. Each model stands first equally often.

    \b
    Examples:
      srbench human sheet runs/first --pairs M2:M1 --n 50
      srbench human sheet runs/first --pairs M2:M1,M2:SFT --n 50 --seed 1
    """
    from leaderboards.human.drawing import draw, pairs_of
    from leaderboards.human.records import DIRECTORY, KEY, RATERS, read_key
    from leaderboards.standings import write_record
    from reports import rating
    from selfreward_bench.errors import IncompatibleRunError
    from selfreward_bench.storage.files import os_errors
    from selfreward_bench.storage.rundir import RunDir

    wanted = pairs_of(pairs)
    with RunDir.open(run).lock():
        drawn = draw(run, wanted, n, seed)
        place = run / DIRECTORY
        if (place / KEY).exists() and read_key(run).sheet != drawn.key.sheet:
            raise IncompatibleRunError(
                f"{place} holds another sheet already, or the models have answered anew since. Its ratings need its "
                f"key: move {place} away first, or remove it if nobody has rated it."
            )
        with os_errors(place, "make"):
            (place / RATERS).mkdir(parents=True, exist_ok=True)
        write_record(place / KEY, drawn.key)
        page, table = rating.write(drawn, place / RATERS)
    say(f"{len(drawn.shown):,} comparisons of answers to {drawn.key.source}. For raters, and nothing else of the run:")
    say(f"  {page}  (open it in a browser; keys 1, 2, 3)\n  {table}  (for spreadsheet programs)")
    if drawn.key.identical:
        say(f"Not asked about, as both answers are the same text (ties): {len(drawn.key.identical)}.")
    say(f"Keep from them: {place / KEY}")


@app.command()
def score(
    labels: Annotated[list[Path], typer.Argument(metavar="LABELS.csv...", help="One file per rater.")],
    run: Annotated[
        Path | None, typer.Option("--run", metavar="RUN", help="Whose sheet it is; found below runs/ unless given.")
    ] = None,
    no_report: Annotated[bool, typer.Option("--no-report", help="Does not renew the run's report.html.")] = False,
) -> None:
    """Score what raters sent back: the majority of each comparison, agreement, and judges against people.

    The files are raters A, B, C in the order given; nothing else is kept of them. A bad file is told with row, column
    and reason, and nothing is counted.

    \b
    Examples:
      srbench human score a.csv b.csv c.csv --run runs/first
    """
    from leaderboards.human.labels import ratings
    from leaderboards.human.records import DIRECTORY, RATINGS, RESULT, read_key
    from leaderboards.human.scoring import evaluated
    from leaderboards.standings import write_record
    from selfreward_bench.cli.scoring import write_report
    from selfreward_bench.storage import jsonl
    from selfreward_bench.storage.rundir import RunDir

    root = run or _run_of(labels)
    with RunDir.open(root).lock():
        key = read_key(root)
        found = ratings(labels, key)
        result = evaluated(root, key, found)
        jsonl.write(root / DIRECTORY / RATINGS, found)
        write_record(root / DIRECTORY / RESULT, result)
    _show(result)
    if not no_report:
        say(f"\nThe report: {write_report(root)}")


def _run_of(labels: Sequence[Path]) -> Path:
    """The run whose sheet was rated."""
    from leaderboards.human.labels import sheet_of
    from leaderboards.human.records import DIRECTORY, KEY, read_key
    from selfreward_bench.errors import DataError

    wanted = sheet_of(labels[0])
    for path in sorted(Path("runs").glob(f"*/{DIRECTORY}/{KEY}")):
        root = path.parent.parent
        try:
            if read_key(root).sheet == wanted:
                return root
        except DataError:
            continue
    raise DataError(f"No run below runs/ has the sheet that {labels[0]} rates. Name the run: --run RUN")


def _show(found: HumanEvaluation) -> None:
    from reports.facts import people

    for grid in people.grids(found):
        say(grid.title)
        rows = [[people.plain(cell) for cell in row] for row in grid.rows]
        show(Columns([c.upper() for c in grid.columns], rows, right=range(1, len(grid.columns)), heads=1), "")
    for note in found.notes:
        show(note)
