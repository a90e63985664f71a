"""``srbench report``: builds the report of a run."""

from __future__ import annotations

from selfreward_bench.cli import options
from selfreward_bench.cli.console import say


def report(run: options.Run) -> None:
    """Build a run's report.html.

    It is made from the run's result files alone; the main tables are printed too.

    \b
    Examples:
      srbench report runs/first
    """
    from selfreward_bench.cli import scoring
    from selfreward_bench.rundir import RunDir

    opened = RunDir.open(run)
    path = scoring.write_report(opened.path)
    scoring.show_results(opened)
    say(f"The report: {path}")
