"""kill -9 at random moments of a whole run, resumed each time: the result is that of an undisturbed run, byte for byte.

SRBENCH_KILLS sets how many kills (3 by default; perf/RESULTS.md gives the figure for 20).
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

KILLS = int(os.environ.get("SRBENCH_KILLS", "3"))
RECIPE = """
extends: micro
with_baseline: true
seeds: {ift_size: 200, eft_size: 240}
sft: {epochs: 1, save_every: 3}
prompts: {count: 60}
candidates: {count: 4}
pairs: {min_gap: 0.05}
dpo: {batch_size: 8, save_every: 2}
engine: {tokens_per_batch: 2048}
"""


def command(run: Path, recipe: Path) -> list[str]:
    make = ["--recipe", str(recipe)] if not (run / "srbench.yaml").exists() else []
    return [
        sys.executable,
        "-m",
        "selfreward_bench.cli",
        "run-iteration",
        str(run),
        "--until",
        "M3",
        "--no-eval",
        "--no-report",
        *make,
    ]


def contents(run: Path) -> dict[str, str]:
    """Every file but those that hold dates and durations, by content."""
    left_out = (".stage.json", ".lock")
    return {
        str(p.relative_to(run)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(run.rglob("*"))
        if p.is_file() and not p.name.endswith(left_out)
    }


@pytest.mark.slow
def test_a_run_killed_at_random_moments_equals_an_undisturbed_one(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    started = time.monotonic()
    subprocess.run(command(whole, recipe), check=True, env=environment, capture_output=True, timeout=500)
    duration = time.monotonic() - started
    rng = random.Random(20)
    kills = 0
    for _ in range(KILLS * 4):
        process = subprocess.Popen(
            command(killed, recipe), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            process.wait(timeout=rng.uniform(0.2, 0.8) * duration)
            assert process.returncode == 0
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        if kills == KILLS:
            break
    assert kills >= min(KILLS, 2)
    subprocess.run(command(killed, recipe), check=True, env=environment, capture_output=True, timeout=500)
    assert contents(killed) == contents(whole)
