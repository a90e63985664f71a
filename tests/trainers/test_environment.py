"""What a launcher left in the shell neither changes a training nor stops it; several GPUs change no batch."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from selfreward_bench import recipes
from selfreward_bench.config import SftConfig
from selfreward_bench.errors import ConfigError
from selfreward_bench.progress import Silent
from selfreward_bench.storage.rundir import RunDir
from trainers import environment
from trainers.arguments import OneDevice
from trainers.environment import left_over, one_process
from trainers.iteration import run_iteration
from trainers.sft import train_sft

from .conftest import examples

CONFIG = SftConfig(learning_rate=1e-3, final_learning_rate=1e-4, batch_size=4, dropout=0.0, max_length=64)
LEFT_OVER = {
    "WORLD_SIZE": "2",
    "RANK": "0",
    "LOCAL_RANK": "0",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "9",  # nobody answers: a training that asked would wait for ever
    "ACCELERATE_MIXED_PRECISION": "bf16",
}


class Listener(Silent):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in LEFT_OVER.items():
        monkeypatch.setenv(name, value)


def weights(result: Any) -> bytes:
    return (result.checkpoint / "model.safetensors").read_bytes()


def test_settings_of_accelerate_change_nothing(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = train_sft(tiny_model, examples(8), CONFIG, tmp_path / "plain" / "M1", seed=1)
    settings = {"ACCELERATE_MIXED_PRECISION": "bf16", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    other = train_sft(tiny_model, examples(8), CONFIG, tmp_path / "other" / "M1", seed=1)
    assert dict(os.environ) == before
    assert other.log_path.read_bytes() == plain.log_path.read_bytes()
    assert weights(other) == weights(plain)


@pytest.mark.parametrize("changes", [{}, {"RANK": "1"}, {"RANK": None}])
def test_processes_that_nobody_started_are_not_waited_for(
    left: None, changes: dict[str, str | None], tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "JOIN_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("MASTER_PORT", str(server.getsockname()[1]))
    for name, value in changes.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    with pytest.raises(ConfigError, match=r"WORLD_SIZE is 2, .* unset LOCAL_RANK MASTER_ADDR MASTER_PORT .*WORLD_SIZE"):
        train_sft(tiny_model, examples(8), CONFIG, tmp_path / "M1", seed=1)
    assert not (tmp_path / "M1").exists()


def seed_data(folder: Path) -> list[str]:
    ift = [{"id": e.id, "prompt": e.prompt[0].content, "completion": e.completion[0].content} for e in examples(8)]
    eft = [
        {
            "id": f"q{i}",
            "prompt": e.prompt[0].content + " Now.",
            "responses": [
                {"text": f"{e.completion[0].content} Good.", "rank": 0, "review": "Score: 5"},
                {"text": "No.", "rank": 1, "review": "Score: 1"},
            ],
        }
        for i, e in enumerate(examples(8))
    ]
    for name, rows in {"ift": ift, "eft": eft}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [f"seeds.ift={folder / 'ift.jsonl'}", f"seeds.eft={folder / 'eft.jsonl'}", "seeds.exclude=null"]


def test_a_run_takes_no_notice_of_what_a_launcher_left_and_says_so(
    left: None, tiny_model: Path, tmp_path: Path
) -> None:
    settings = ["seeds.ift_size=null", "seeds.eft_flatten=null", "with_baseline=false", *seed_data(tmp_path)]
    config = recipes.load("micro", [f"base={tiny_model}", *settings])
    listener = Listener()
    made = run_iteration(RunDir.create(tmp_path / "run", config), until="M1", reporter=listener)
    assert [iteration.model for iteration in made] == ["M1"]
    (told,) = listener.messages
    assert all(name in told for name in LEFT_OVER)
    assert {name: os.environ.get(name) for name in LEFT_OVER} == LEFT_OVER


def test_a_run_that_torchrun_started_is_refused(left: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    with pytest.raises(ConfigError, match=r"torchrun started 2 processes .* a run is made by one"), one_process():
        pass


def test_what_is_left_over_is_found(left: None) -> None:
    assert set(left_over()) == set(LEFT_OVER)
    with one_process():
        assert left_over() == []


def test_several_gpus_do_not_multiply_the_batch(tmp_path: Path) -> None:
    """As far as it shows without them: transformers' own count of GPUs is what it multiplies by."""
    from trl import SFTConfig as TrlSftConfig

    from trainers.arguments import arguments

    given: dict[str, Any] = {"output_dir": str(tmp_path), "per_device_train_batch_size": 4, "use_cpu": True}
    given["activation_checkpointing"] = False
    ours, theirs = arguments(TrlSftConfig, **given), TrlSftConfig(**given)
    for args in (ours, theirs):
        assert args.n_gpu == 0  # asks the machine, once
        args._n_gpu = 4  # what torch.cuda.device_count() would have made of it
    assert (theirs.n_gpu, theirs.train_batch_size) == (4, 16)
    assert (ours.n_gpu, ours.train_batch_size, ours.visible_gpus) == (1, 4, 4)
    assert ours.parallel_mode.value == "not_parallel"


def test_a_training_says_that_it_takes_one_of_several_gpus(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OneDevice, "visible_gpus", 4)
    monkeypatch.setattr(OneDevice, "n_gpu", 0)
    told: list[str] = []
    train_sft(tiny_model, examples(4), CONFIG, tmp_path / "M1", seed=1, tell=told.append)
    assert told == ["4 GPUs are visible; the training takes cpu (CUDA_VISIBLE_DEVICES chooses)."]
