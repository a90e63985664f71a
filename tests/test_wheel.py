"""The built wheel holds every file of the packages, and runs the quickstart away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("selfreward_bench", "trainers", "leaderboards", "reports", "srbench")


@pytest.mark.slow
def test_the_wheel_runs_quickstart_outside_the_checkout(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = subprocess.run(["git", "ls-files", *PACKAGES], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert held == {name for name in files.splitlines() if (ROOT / name).is_file()}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = os.environ | {
        "PYTHONPATH": str(installed),
        "OMP_NUM_THREADS": "1",
    }  # before the checkout's own install
    where = [sys.executable, "-c", "import selfreward_bench; print(selfreward_bench.__file__)"]
    found = subprocess.run(where, cwd=elsewhere, env=environment, check=True, capture_output=True, text=True)
    assert found.stdout.startswith(str(installed))
    command = [sys.executable, "-m", "selfreward_bench.cli", "quickstart", "--fast"]
    done = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    report = (elsewhere / "runs/quickstart/report.html").read_text(encoding="utf-8")
    assert "M3" in report
    assert "Judge accuracy" in report
    assert "M3" in done.stdout
