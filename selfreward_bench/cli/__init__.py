"""The command line, ``srbench``. A command's libraries are imported in its body, so that ``--help`` costs nothing."""

from __future__ import annotations


def main() -> None:
    """The console entry point."""
    import sys

    from selfreward_bench.cli.app import app

    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")  # a terminal that cannot show a character is no reason to stop
    app(prog_name="srbench")
