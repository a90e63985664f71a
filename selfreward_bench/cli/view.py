"""``srbench view``: all runs of a directory in a browser, those in progress as they stand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from selfreward_bench.cli.console import say
from selfreward_bench.errors import DataError, SrbenchError

if TYPE_CHECKING:
    from reports.live.watching import Course, Stage
    from trainers.plan import StagePlan

_PORT = 8765


def view(
    directory: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Where the runs are; they are looked for some directories deep.")
    ] = Path("runs"),
    port: Annotated[
        int, typer.Option("--port", min=0, max=65_535, help="On this machine alone (127.0.0.1); 0 takes any.")
    ] = _PORT,
    open_page: Annotated[bool, typer.Option("--open", help="Opens it in the browser.")] = False,
) -> None:
    """Show all runs under a directory in a browser, also those in progress.

    A leaderboard, a page for each run as it stands, and its report. Nothing is written, and nothing outside the
    directory is read. Ends with Ctrl-C.

    \b
    Examples:
      srbench view
      srbench view runs --port 0 --open
    """
    from reports.live.server import serve

    if not directory.is_dir():
        raise DataError(f"There is no directory {directory}. Name the one that the runs are in: srbench view DIR")
    with serve(directory, port, course_of) as server:
        say(f"{directory}: {server.address}  (Ctrl-C ends it)")
        if open_page:
            import webbrowser

            webbrowser.open(server.address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("")


def course_of(path: Path) -> Course:
    """How far a run is, from its own files alone."""
    from reports.live.watching import Course
    from selfreward_bench.storage.lock import is_held
    from selfreward_bench.storage.rundir import RunDir
    from trainers.course import course

    try:
        stages = course(RunDir.open(path))
    except (SrbenchError, OSError, ValueError) as error:
        return Course(problem=str(error))
    waiting = [s for s in stages if s.status != "done"]
    known = [s.seconds for s in waiting if s.seconds is not None and s.work.number]
    return Course(
        tuple(map(_stage, stages)),
        is_held(path / ".lock"),
        sum(known) if known else None,
        least=len(known) < len(waiting),
    )


def _stage(plan: StagePlan) -> Stage:
    from reports.live.watching import Stage

    known = bool(plan.work.number) or plan.status == "done"
    total = plan.work.number if known else None
    seconds = plan.seconds if plan.status != "done" and plan.work.number else None
    return Stage(plan.name, plan.status, plan.unit, plan.done if plan.status != "new" else 0, total, seconds)
