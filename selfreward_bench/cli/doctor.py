"""``srbench doctor``: whether this machine and this installation can do the work."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from selfreward_bench.cli.console import Columns, show
from selfreward_bench.cli.machine import Json, emit


def doctor(
    directory: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="With --cluster: where runs are, on all machines.")
    ] = Path("runs"),
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Also checks whether machines can share DIR: locks, rename, fsync.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check whether this machine can do the work.

    Looks at Python, packages, torch, memory, disk and the embedded model; with --cluster also at what several machines
    ask of a file system (docs/cluster.md). Run that on each of them.

    Exit code 0: nothing stops srbench from working. 1: something does.

    \b
    Examples:
      srbench doctor
      srbench doctor --json
      srbench doctor --cluster runs
    """
    from selfreward_bench.cli.diagnosis import CHECKS

    if directory != Path("runs") and not cluster:
        raise typer.BadParameter("a directory is looked at with --cluster", param_hint="DIR")
    findings = [finding for check in CHECKS for finding in check()]
    if cluster:
        from selfreward_bench.cli.shared_files import check_cluster

        findings += check_cluster(directory)
    failed = sum(f.state == "fail" for f in findings)
    if as_json:
        emit("doctor", failed=failed, findings=[asdict(f) for f in findings])
    else:
        show(Columns(("", "WHAT", "FOUND"), [(f.state, f.what, f.detail) for f in findings]))
        told = f"{failed} problem(s) must be mended." if failed else "Nothing stops srbench from working here."
        show(f"\n{told}")
    if failed:
        raise typer.Exit(1)
