"""What a launcher left in the shell neither changes a training nor stops it."""

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


@pytest.mark.slow
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


@pytest.mark.slow
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
