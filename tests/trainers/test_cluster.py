"""The loop over two replicas of a local Ray cluster, one of them killed while it answers and one while it judges: every
file is that of one process without Ray."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from selfreward_bench import recipes
from selfreward_bench.cli.runs import Wanted, open_run
from selfreward_bench.config import ClusterConfig, RunConfig
from selfreward_bench.progress import Silent
from selfreward_bench.storage.rundir import RunDir
from trainers import workshop

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
RECIPE = """
extends: micro
seeds: {ift_size: 160, eft_size: 200}
sft: {epochs: 1}
prompts: {count: 48}
candidates: {count: 4}
pairs: {min_gap: 0.05}
dpo: {batch_size: 8}
engine: {tokens_per_batch: 1024}
"""
CLUSTER = ("--set", "cluster.replicas=2", "--set", "cluster.gpus_per_replica=0")
NAME = "ray::Replica"  # what Ray calls the processes of ``actors.Replica``


def command(run: Path, recipe: Path, *more: str) -> list[str]:
    main = [sys.executable, "-m", "selfreward_bench.cli", "run-iteration", str(run), "--recipe", str(recipe)]
    return [*main, "--until", "M2", "--no-eval", "--no-report", *more]


def contents(run: Path) -> dict[str, str]:
    """Every file but the settings and those that hold dates and durations, by content."""
    return {
        str(p.relative_to(run)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(run.rglob("*"))
        if p.is_file() and not p.name.endswith((".stage.json", ".lock", "srbench.yaml"))
    }


@contextmanager
def started(*arguments: str | Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as stream:
        process = subprocess.Popen(arguments, env=ENVIRONMENT, stdout=stream, stderr=stream)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


def replicas(driver: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return [p for p in psutil.Process(driver.pid).children(recursive=True) if p.name().startswith(NAME)]


def kill_one_after(first_lines_of: Path, driver: subprocess.Popen[bytes]) -> int:
    """kill -9 of a replica once there are records of a stage; how many lines there were."""
    end = time.monotonic() + 400
    while not (first_lines_of.exists() and first_lines_of.stat().st_size):
        assert driver.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    lines = len(first_lines_of.read_bytes().splitlines())
    replicas(driver)[0].kill()
    return lines


def test_the_runs_models_are_opened_on_its_replicas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(workshop, "open_engine", lambda *_, **options: asked.append(options))
    run = RunDir.create(tmp_path / "run", recipes.change(RunConfig(), ["cluster.replicas=3"]))
    workshop.Workshop(run, Silent(), None).engine("M0")
    assert [options["cluster"] for options in asked] == [ClusterConfig(replicas=3)]


def test_replicas_can_be_set_for_a_run_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    RunDir.create(tmp_path / "run", RunConfig())
    opened = open_run(tmp_path / "run", Wanted(changes=["cluster.replicas=2", "cluster.gpus_per_replica=0"]))
    assert RunDir.open(tmp_path / "run").config.cluster == opened.config.cluster
    assert opened.config.cluster == ClusterConfig(replicas=2, gpus_per_replica=0)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: `make test-ray` has it")
def test_a_loop_over_replicas_of_which_two_are_killed_equals_one_process(tmp_path: Path) -> None:
    recipe, log = tmp_path / "recipe.yaml", tmp_path / "log"
    recipe.write_text(RECIPE)
    subprocess.run(command(tmp_path / "one", recipe), env=ENVIRONMENT, check=True, capture_output=True)
    over = tmp_path / "over"
    with started(*command(over, recipe, *CLUSTER), log=log) as driver:
        answered = kill_one_after(over / "M2" / "completions.jsonl", driver)
        judged = kill_one_after(over / "M2" / "judgments.jsonl", driver)
        assert driver.wait(600) == 0, log.read_text()
    files = contents(tmp_path / "one")
    assert answered < 48 * 4
    assert judged < len((over / "M2" / "judgments.jsonl").read_bytes().splitlines())
    assert contents(over) == files
    assert "cluster: null" not in (over / "srbench.yaml").read_text()
    assert log.read_text().count("died or was killed") >= 1
