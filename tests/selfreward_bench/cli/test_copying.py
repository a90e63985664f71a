"""Examples for clusters: complete, and run here with stand-ins for what a cluster has."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import textwrap
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from selfreward_bench import recipes
from selfreward_bench.cli.copying import CLUSTERS
from selfreward_bench.engines.replicas import problems
from trainers.commands import problems as launch_problems

from .conftest import Cli

DATA = Path(recipes.__file__).parents[1] / "data" / "clusters"


def text_of(name: str) -> str:
    return (DATA / CLUSTERS[name][0]).read_text("utf-8")


def script_of(name: str) -> str:
    """The part of an example that runs where the driver is."""
    text = text_of(name)
    if name == "skypilot":
        return str(yaml.safe_load(text)["run"])
    if name == "kubernetes":
        driver, _ = pods()
        return str(driver["containers"][0]["args"][0])
    return text


def pods() -> list[dict[str, Any]]:
    jobs = yaml.safe_load(text_of("kubernetes"))["spec"]["replicatedJobs"]
    return [job["template"]["spec"]["template"]["spec"] for job in jobs]


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs that write down how they were called; ``srbench`` does what ``$DRIVER`` says."""
    log, folder = tmp_path / "calls", tmp_path / "bin"
    folder.mkdir()
    bodies = {
        "srun": 'while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"',
        "scontrol": 'if [ "$1" = show ]; then echo node-a; /bin/sleep 0.1; echo node-b; fi',
        "ray": 'if [ "$1" = job ]; then exec "${@:6}"; fi',
        "srbench": 'eval "$DRIVER"',
        "sleep": "exec /bin/sleep 0.01",
    }
    for name, body in bodies.items():
        said = "" if name == "sleep" else f'echo "{name} $*" | head -n 1 >> {log}\n'
        (folder / name).write_text(f"#!/bin/bash\n{said}{body}\n")
        (folder / name).chmod(0o755)
    log.touch()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return log


def prepared(script: str, driver: str, **environment: str) -> dict[str, Any]:
    """An example's script with what names paths of a cluster taken away, as arguments of ``subprocess``."""
    script = re.sub(r"^\s*source .*$", "", script, flags=re.MULTILINE).replace("export PATH=", "export UNUSED=")
    return {"args": ["bash", "-c", script], "env": os.environ | {"DRIVER": driver} | environment}


def ended(script: str, driver: str, **environment: str) -> tuple[int, str]:
    """The exit code, and what was said on stderr."""
    options: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 60}
    done = subprocess.run(**prepared(script, driver, **environment), **options)
    return done.returncode, done.stderr


SLURM = {"SLURM_JOB_NODELIST": "node-[a-b]", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_ID": "7"}
SKY = {"SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2", "SKYPILOT_NODE_RANK": "0"}


@pytest.mark.parametrize("name", CLUSTERS)
def test_an_example_is_copied_once_and_says_what_to_do(cli: Cli, name: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    file, command = CLUSTERS[name]
    result = cli("recipes", "copy", name)
    assert result.exit_code == 0
    assert command in result.stdout
    assert (tmp_path / file).read_text("utf-8") == text_of(name)
    assert command.split()[-1] in text_of(name)  # it says so itself, too
    again = cli("recipes", "copy", name)
    assert again.exit_code == 2
    assert "is there already" in again.stderr


def test_a_recipe_is_copied(cli: Cli, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert "srbench run-iteration runs/mine --recipe micro.yaml" in cli("recipes", "copy", "micro").stdout
    assert recipes.load("./micro.yaml") == recipes.load("micro")


@pytest.mark.parametrize("words", [["copy"], ["copy", "slurm", "--source"], ["micro", "slurm"]])
def test_what_is_copied_is_named(cli: Cli, words: list[str]) -> None:
    result = cli("recipes", *words)
    assert result.exit_code == 2
    assert "slurm, skypilot, kubernetes, ray or a recipe" in " ".join(result.stderr.split())


def test_a_name_that_there_is_not(cli: Cli) -> None:
    assert "Did you mean 'slurm'?" in cli("recipes", "copy", "slrum").stderr


@pytest.mark.parametrize("name", CLUSTERS)
def test_the_settings_of_an_example_are_settings(
    name: str, tmp_path: Path, stand_ins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (found,) = re.findall(r"<<'RECIPE'\n(.*?)\n *RECIPE\n", script_of(name), re.DOTALL)
    (tmp_path / "recipe.yaml").write_text(textwrap.dedent(found))
    config = recipes.load(tmp_path / "recipe.yaml")
    assert config.cluster is not None
    monkeypatch.setattr("importlib.util.find_spec", lambda _: True)
    monkeypatch.setenv("HEAD", "node-a")
    assert [*problems(config.engine, config.cluster), *launch_problems(config.train)] == []
    assert (config.engine.kind, config.cluster.address) == ("vllm", "auto")
    assert config.train.model_dump()["sharding"] == "fsdp"
    run_of = '"$RUN"' if name == "slurm" else "/data/runs/llama-3.1-8b"
    assert f"srbench run-iteration {run_of} " in script_of(name)


@pytest.mark.parametrize(
    ("driver", "code", "queued"),
    [
        ("true", 0, False),
        ("exit 2", 2, False),
        ("trap 'exit 143' TERM; kill -TERM $PPID; while :; do :; done", 143, True),
    ],
    ids=["done", "failed", "out of time"],
)
def test_slurm_queues_again_what_its_time_cut_off(driver: str, code: int, queued: bool, stand_ins: Path) -> None:
    assert ended(script_of("slurm"), driver, **SLURM) == (code, "")
    calls = stand_ins.read_text().splitlines()
    assert ("scontrol requeue 7" in calls) is queued
    assert "ray start --head --port=6379 --include-dashboard=false --block" in calls
    assert "ray start --address=node-a:6379 --block" in calls
    assert [c for c in calls if c.startswith("srbench")] == [
        "srbench run-iteration /data/runs/llama-2-70b --recipe slurm-recipe.yaml --until M3"
    ]


def test_skypilot_has_one_driver(stand_ins: Path) -> None:
    assert ended(script_of("skypilot"), "true", **SKY) == (0, "")
    assert ended(script_of("skypilot"), "true", **SKY | {"SKYPILOT_NODE_RANK": "1"}) == (0, "")
    calls = stand_ins.read_text().splitlines()
    assert sum(c.startswith("srbench") for c in calls) == 1
    assert "ray start --address=10.0.0.1:6379 --block" in calls
    assert ended(script_of("skypilot"), "exit 3", **SKY)[0] == 3  # a managed job is recovered


def test_kubernetes_begins_the_driver_beside_a_head_that_workers_find(stand_ins: Path) -> None:
    driver, workers = pods()
    (head,) = [e["value"] for e in workers["containers"][0]["env"] if e["name"] == "RAY_ADDRESS"]
    assert head == "srbench-driver-0-0.srbench:6379"
    assert workers["volumes"] == driver["volumes"]
    assert ended(script_of("kubernetes"), "exit 4") == (4, "")
    ray, srbench = stand_ins.read_text().splitlines()
    assert (ray.split()[:3], srbench.split()[:2]) == (["ray", "start", "--head"], ["srbench", "run-iteration"])


def test_ray_submits_again_what_was_lost(stand_ins: Path) -> None:
    code, told = ended(script_of("ray"), "exit 1", TRIES="3")
    assert (code, told.count("the next one begins in 60 s")) == (1, 3)
    assert stand_ins.read_text().count("ray job submit") == 3
    stand_ins.write_text("")
    assert ended(script_of("ray"), "true") == (0, "")
    assert stand_ins.read_text().count("ray job submit") == 1


@pytest.mark.slow
def test_the_slurm_driver_hears_of_the_end_once(stand_ins: Path, tmp_path: Path) -> None:
    """SLURM tells the batch script alone; the driver has to save its state and is waited for."""
    mark = tmp_path / "saved"
    started = (
        f"trap '/bin/sleep 0.5; echo saved >> {mark}; exit 143' TERM; touch begun; while :; do /bin/sleep 0.05; done"
    )
    job = subprocess.Popen(**prepared(script_of("slurm"), started, **SLURM))
    end = time.monotonic() + 30
    script = psutil.Process(job.pid)
    while not ((tmp_path / "begun").exists() and script.status() == psutil.STATUS_SLEEPING):  # it waits for its driver
        assert time.monotonic() < end
        time.sleep(0.02)
    job.send_signal(signal.SIGTERM)
    assert job.wait(30) == 143
    assert mark.read_text() == "saved\n"
