"""The loop over two replicas of a local Ray cluster, one of them killed while it answers and one while it judges: every
file is that of one process without Ray, nothing of Ray reaches beyond this machine, and nothing of it is left."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import subprocess
import sys
import time
from contextlib import suppress
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


class Started:
    """A command with all that it starts, which is ended with it."""

    def __init__(self, *arguments: str | Path, log: Path) -> None:
        with log.open("wb") as stream:
            self.driver = subprocess.Popen(arguments, env=ENVIRONMENT, stdout=stream, stderr=stream)
        self._seen: set[psutil.Process] = set()

    def __enter__(self) -> Started:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends what a failed test has left."""
        self.driver.terminate()
        try:
            self.driver.wait(60)
        except subprocess.TimeoutExpired:
            self.driver.kill()
            self.driver.wait(60)
        for process in self.left():
            process.kill()

    def below(self) -> dict[psutil.Process, str]:
        """All processes that run now and were started by it, or by those, with their names."""
        found = {}
        for process in psutil.Process(self.driver.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                found[process] = process.name()
        self._seen.update(found)
        return found

    def left(self) -> list[psutil.Process]:
        """What still runs of all that were seen."""
        return psutil.wait_procs(self._seen, timeout=20)[1]


def alone(process: psutil.Process) -> bool:
    """Whether it listens, and is connected, within this machine only."""
    with suppress(psutil.NoSuchProcess):
        places = [place for found in process.net_connections("inet") for place in (found.laddr, found.raddr) if place]
        return all(ipaddress.ip_address(place.ip.removeprefix("::ffff:")).is_loopback for place in places)
    return True


def kill_one_after(first_lines_of: Path, started: Started) -> int:
    """kill -9 of a replica once there are records of a stage; how many lines there were."""
    end = time.monotonic() + 400
    while not (first_lines_of.exists() and first_lines_of.stat().st_size):
        assert started.driver.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    lines = len(first_lines_of.read_bytes().splitlines())
    below = started.below()
    next(process for process, name in below.items() if name.startswith(NAME)).kill()
    assert alone(psutil.Process(started.driver.pid))
    assert [name for process, name in below.items() if not alone(process)] == []
    daemons = [process for process, name in below.items() if name in ("gcs_server", "raylet")]
    assert [process.environ()["RAY_USAGE_STATS_ENABLED"] for process in daemons] == ["0", "0"]
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
@pytest.mark.skipif("SRBENCH_TEST_RAY" not in os.environ, reason="`make test-ray` installs Ray and tests it")
def test_a_loop_over_replicas_of_which_two_are_killed_equals_one_process(tmp_path: Path) -> None:
    recipe, log = tmp_path / "recipe.yaml", tmp_path / "log"
    recipe.write_text(RECIPE)
    subprocess.run(command(tmp_path / "one", recipe), env=ENVIRONMENT, check=True, capture_output=True)
    over = tmp_path / "over"
    with Started(*command(over, recipe, *CLUSTER), log=log) as started:
        answered = kill_one_after(over / "M2" / "completions.jsonl", started)
        judged = kill_one_after(over / "M2" / "judgments.jsonl", started)
        assert started.driver.wait(600) == 0, log.read_text()
        assert [p.name() for p in started.left()] == []
    files = contents(tmp_path / "one")
    assert answered < 48 * 4
    assert judged < len((over / "M2" / "judgments.jsonl").read_bytes().splitlines())
    assert contents(over) == files
    assert "cluster: null" not in (over / "srbench.yaml").read_text()
    assert log.read_text().count("died or was killed") >= 1
