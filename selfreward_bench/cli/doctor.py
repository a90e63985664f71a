"""``srbench doctor``: whether this machine and this installation can do the work."""

from __future__ import annotations

import typer

from selfreward_bench.cli.console import Columns, show


def doctor() -> None:
    """Check whether this machine can do the work.

    Looks at Python, packages, torch, memory, disk and the embedded model.

    Exit code 0: nothing stops srbench from working. 1: something does.

    \b
    Examples:
      srbench doctor
    """
    from selfreward_bench.cli.diagnosis import CHECKS

    findings = [finding for check in CHECKS for finding in check()]
    show(Columns(("", "WHAT", "FOUND"), [(f.state, f.what, f.detail) for f in findings]))
    failed = sum(f.state == "fail" for f in findings)
    if failed:
        show(f"\n{failed} problem(s) must be mended.")
        raise typer.Exit(1)
    show("\nNothing stops srbench from working here.")
