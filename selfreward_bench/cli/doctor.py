"""``srbench doctor``: whether this machine and this installation can do the work."""

from __future__ import annotations

from dataclasses import asdict

import typer

from selfreward_bench.cli.console import Columns, show
from selfreward_bench.cli.machine import Json, emit


def doctor(as_json: Json = False) -> None:
    """Check whether this machine can do the work.

    Looks at Python, packages, torch, memory, disk and the embedded model.

    Exit code 0: nothing stops srbench from working. 1: something does.

    \b
    Examples:
      srbench doctor
      srbench doctor --json
    """
    from selfreward_bench.cli.diagnosis import CHECKS

    findings = [finding for check in CHECKS for finding in check()]
    failed = sum(f.state == "fail" for f in findings)
    if as_json:
        emit("doctor", failed=failed, findings=[asdict(f) for f in findings])
    else:
        show(Columns(("", "WHAT", "FOUND"), [(f.state, f.what, f.detail) for f in findings]))
        told = f"{failed} problem(s) must be mended." if failed else "Nothing stops srbench from working here."
        show(f"\n{told}")
    if failed:
        raise typer.Exit(1)
