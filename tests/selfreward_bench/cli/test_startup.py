"""What a command imports: `--help` costs next to nothing, and no command loads more than it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import selfreward_bench
from selfreward_bench import recipes
from selfreward_bench.storage.rundir import RunDir

HEAVY = {"torch", "transformers", "trl", "datasets", "pandas", "lm_eval", "alpaca_eval", "scipy", "numpy"}
LIGHT = {"pydantic", "yaml", "rich", "psutil", "jinja2"}

_PROGRAM = """
import sys
sys.argv = ["srbench", *{arguments}]
from selfreward_bench.cli import main
try:
    main()
except SystemExit as end:
    assert end.code == 0, end.code
print("MODULES", *sys.modules)
"""


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that finds these packages, installed or not."""
    environment = os.environ | {"PYTHONPATH": str(Path(selfreward_bench.__file__).parent.parent)}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment)


def modules_of(*arguments: str) -> set[str]:
    program = _PROGRAM.format(arguments=list(arguments))
    done = python("-c", program)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_loads_nothing_but_the_command_line(argument: str) -> None:
    loaded = modules_of(argument)
    assert "typer" in loaded
    assert not loaded & (HEAVY | LIGHT)


def test_no_commands_own_help_loads_what_the_command_needs() -> None:
    loaded = modules_of("run-iteration", "--help")
    assert not loaded & (HEAVY | LIGHT - {"pydantic"})  # Typer itself checks a command's parameters with pydantic


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", ["status", "status --json", "report", "report --format csv", "report --format latex"]
)
def test_reading_a_run_loads_no_torch(tmp_path: Path, command: str) -> None:
    RunDir.create(tmp_path / "run", recipes.load("micro"))
    assert not modules_of(*command.split(), str(tmp_path / "run")) & HEAVY


_VIEWED = """
import sys
from pathlib import Path
from reports.live.server import Viewer
from selfreward_bench.cli.view import course_of
viewer = Viewer(Path({root!r}), course_of)
page = viewer.page("/")
place = page.text.split('href="/run/')[1].split("/")[0]
assert viewer.page(f"/run/{{place}}/") and viewer.page(f"/run/{{place}}/report")
print("MODULES", *sys.modules)
"""


@pytest.mark.slow
def test_looking_at_runs_loads_nothing_heavy(two_results: Path) -> None:
    done = python("-c", _VIEWED.format(root=str(two_results.parent)))
    assert done.returncode == 0, done.stderr
    assert not set(done.stdout.splitlines()[-1].split()[1:]) & HEAVY


@pytest.mark.slow
def test_a_model_card_needs_no_torch(two_results: Path) -> None:
    assert not modules_of("report", str(two_results), "--model-card", str(two_results / "M2" / "checkpoint")) & HEAVY


@pytest.mark.slow
def test_a_comparison_needs_statistics_and_no_torch(two_results: Path) -> None:
    loaded = modules_of("compare", f"{two_results}:M1", f"{two_results}:M2")
    assert "numpy" in loaded
    assert not loaded & (HEAVY - {"numpy", "scipy"})


def test_version(cli: Any) -> None:
    from selfreward_bench import __version__

    assert cli("--version").stdout == f"srbench {__version__}\n"


def test_the_console_entry_runs_as_a_module() -> None:
    done = python("-m", "selfreward_bench.cli", "--version")
    assert done.returncode == 0
    assert done.stdout.startswith("srbench ")
