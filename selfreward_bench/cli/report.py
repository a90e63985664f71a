"""``srbench report``: the report of one run or several, as a page, or as tables and figures for elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from selfreward_bench.cli.console import Columns, say, show
from selfreward_bench.errors import ConfigError

if TYPE_CHECKING:
    from leaderboards.comparing import Together
    from reports.facts.run import RunFacts


class Format(StrEnum):
    """What a report is written as."""

    html = "html"
    csv = "csv"
    json = "json"
    markdown = "markdown"
    latex = "latex"
    svg = "svg"
    png = "png"


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Directories of runs, such as runs/first.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE|DIR",
            help="Where it goes: by default the page into RUN/report.html (of several runs ./report.html), figures "
            "into RUN/figures (./figures), all else to stdout.",
        ),
    ] = None,
    format: Annotated[Format, typer.Option("--format", help="A page, every number, tables, or figures.")] = Format.html,
    model_card: Annotated[
        Path | None,
        typer.Option(
            "--model-card", metavar="DIR", help="Writes a checkpoint's results into its README.md, and nothing else."
        ),
    ] = None,
) -> None:
    """Build the report of one run or several: a page, tables, or figures.

    It is made from the runs' result files alone. Of one run the main tables are printed too. --model-card fills in a
    checkpoint's Hugging Face model card (`model-index` and a table); what else is in the card stays.

    \b
    Examples:
      srbench report runs/first
      srbench report runs/first runs/second --output both.html
      srbench report runs/first --format latex --output results.tex
      srbench report runs/first --format csv > results.csv
      srbench report runs/first --format svg
      srbench report runs/first --model-card runs/first/M2/checkpoint
    """
    from selfreward_bench.cli import scoring

    if model_card is not None and (output is not None or format is not Format.html):
        raise ConfigError("--model-card writes the card and nothing else: leave --output and --format away.")
    for path in runs:
        scoring.check_reported(path)
    if model_card is not None:
        from reports.exports import model_card as cards

        found = _collect(runs)
        written = cards.write(found, model_card, scoring.put_together(found))
        say(f"The model card: {written.path}")
        if written.missing:
            say(f"Not known here, for you to write into its first lines: {', '.join(written.missing)}.")
    elif format in (Format.svg, Format.png):
        _write_figures(_collect(runs), format, output or (runs[0] if len(runs) == 1 else Path()) / "figures")
    elif format is not Format.html:
        _write_export(_collect(runs), format, output)
    elif len(runs) == 1 and output is None:
        _renew_page(runs[0])
    else:
        _write_page(_collect(runs), output)


def _collect(paths: Sequence[Path]) -> list[RunFacts]:
    from reports.facts import reading as facts

    return [facts.collect(path) for path in paths]


def _renew_page(path: Path) -> None:
    """The page that belongs to a run, and its tables for the terminal."""
    from selfreward_bench.cli import scoring
    from selfreward_bench.cli.runs import CONFIG_FILE
    from selfreward_bench.storage.rundir import RunDir

    page = scoring.write_report(path)
    if (path / CONFIG_FILE).exists():
        scoring.show_results(RunDir.open(path))
    say(f"The report: {page}")


def _write_page(found: Sequence[RunFacts], output: Path | None) -> None:
    from reports import html
    from selfreward_bench.cli import scoring

    path = output or Path(scoring.REPORT)
    together = scoring.put_together(found)
    html.write(found, path, together)
    if together is not None:
        _show_over_seeds(found, together)
    say(f"The report: {path}")


def _show_over_seeds(found: Sequence[RunFacts], together: Together) -> None:
    """Which method is best, and what the seeds of each recipe come to, as a table in the terminal."""
    from reports.facts import grouping, method_decision, several

    groups = grouping.group(found)
    say(method_decision.decide(groups, together).text)
    rows = several.lines(groups, together)
    if rows:
        show(Columns(("METHOD", "MEASURE", "SEEDS", "MODELS", "DIFFERENCE"), rows, right=(2,)))


def _write_figures(found: Sequence[RunFacts], format: Format, directory: Path) -> None:
    from reports import figures
    from selfreward_bench.cli import scoring

    written = figures.write(found, directory, format.value, scoring.put_together(found))
    say(f"{len(written)} figures: {directory}")


def _write_export(found: Sequence[RunFacts], format: Format, output: Path | None) -> None:
    from reports.exports import tables as exports
    from selfreward_bench.cli import scoring
    from selfreward_bench.storage.files import write_atomic

    text = exports.render(found, format.value, scoring.put_together(found))
    if output is None:
        say(text.rstrip("\n"))
        return
    write_atomic(output, text.encode())
    say(f"{format.value}: {output}")
