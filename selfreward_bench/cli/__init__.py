"""The command line, ``srbench``. A command's libraries are imported in its body, so that ``--help`` costs nothing."""

from __future__ import annotations


def main() -> None:
    """The console entry point."""
    import os
    import sys

    from selfreward_bench import heap
    from selfreward_bench.cli.app import app

    heap.collect_rarely()
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")  # a terminal that cannot show a character is no reason to stop
    if os.environ.get("_SRBENCH_COMPLETE") == "complete_bash":
        _complete_for_bash()
    else:
        app(prog_name="srbench")


def _complete_for_bash() -> None:
    """Prints what bash puts in the place of the last piece of a word."""
    import contextlib
    import io
    import os

    from selfreward_bench.cli.app import app
    from selfreward_bench.cli.completion import joined

    cut, printed = joined(os.environ), io.StringIO()
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(printed):
        app(prog_name="srbench")
    for line in printed.getvalue().splitlines():
        print(line.removeprefix(cut))
