"""kill -9 at random moments of a whole run, resumed each time: the result is that of an undisturbed run, byte for byte.

SRBENCH_KILLS sets how many kills (2 by default), SRBENCH_KILL_RECIPE another recipe than the small one below
(perf/RESULTS.md: 20 kills of the whole micro run).
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import time
from multiprocessing.context import ForkProcess
from pathlib import Path

import pytest

from ..forking import fork, srbench

KILLS = int(os.environ.get("SRBENCH_KILLS", "2"))
BY_NAME = os.environ.get("SRBENCH_KILL_RECIPE")
RECIPE = """
extends: micro
with_baseline: true
seeds: {ift_size: 80, eft_size: 100}
sft: {epochs: 1, save_every: 2}
prompts: {count: 16}
candidates: {count: 3}
pairs: {min_gap: 0.05}
dpo: {batch_size: 8, save_every: 1}
rehearsal: {size: 8}
engine: {tokens_per_batch: 2048}
"""


def started(run: Path, recipe: Path) -> ForkProcess:
    make = ["--recipe", recipe] if not (run / "srbench.yaml").exists() else []
    options = ["--until", "M3", "--no-eval", "--no-report", *make]
    return fork(lambda: srbench("run-iteration", run, *options), run.with_suffix(".log"))


def contents(run: Path) -> dict[str, str]:
    """Every file but those that hold dates and durations, by content."""
    left_out = (".stage.json", ".lock")
    return {
        str(p.relative_to(run)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(run.rglob("*"))
        if p.is_file() and not p.name.endswith(left_out)
    }


def finish(run: Path, recipe: Path) -> float:
    """Runs to the end; returns the seconds it took."""
    begun = time.monotonic()
    process = started(run, recipe)
    process.join()
    assert process.exitcode == 0, run.with_suffix(".log").read_text()
    return time.monotonic() - begun


def is_killed(run: Path, recipe: Path, seconds: float) -> bool:
    """Kills a run after so many seconds; False when it had ended by itself."""
    process = started(run, recipe)
    process.join(seconds)
    process.kill()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL), run.with_suffix(".log").read_text()
    return process.exitcode != 0


@pytest.mark.slow
@pytest.mark.timeout(7000)
def test_a_run_killed_at_random_moments_equals_an_undisturbed_one(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"extends: {BY_NAME}\nwith_baseline: true\n" if BY_NAME else RECIPE)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    duration = finish(whole, recipe)
    start_up = finish(whole, recipe)  # nothing is left to do
    expected = contents(whole)
    rng = random.Random(39)
    kills = 0
    while kills < KILLS:
        if is_killed(killed, recipe, start_up + rng.uniform(0, 2) * (duration - start_up) / min(KILLS, 6)):
            kills += 1
        else:
            assert contents(killed) == expected
            shutil.rmtree(killed)
    finish(killed, recipe)
    assert contents(killed) == expected
