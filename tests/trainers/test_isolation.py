"""A training in a process of its own: the same result, the same errors, and Ctrl-C reaches it once."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from selfreward_bench.config import SftConfig
from selfreward_bench.errors import Terminated, TrainingError
from selfreward_bench.storage.fingerprint import weights_fingerprint
from trainers import isolation
from trainers.isolation import run_training
from trainers.resume import ResumeStore
from trainers.tasks import Task
from trainers.training import TrainProgress, TrainResult

from ..forking import fork_context
from .conftest import examples

pytestmark = pytest.mark.slow
CONFIG = SftConfig(
    learning_rate=1e-3, epochs=8.0, batch_size=4, dropout=0.0, max_length=64
)  # not over when interrupted


class Steps:
    """A reporter that acts after a number of steps."""

    def __init__(self, action: Any = None, at: int = 3) -> None:
        self.seen, self._action, self._at = 0, action, at

    def started(self, stage: str, total: int | None, unit: str) -> None:
        pass

    def advanced(self, by: int = 1) -> None:
        self.seen += by
        if self._action is not None and self.seen == self._at:
            self._action()

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


def train(base: Path, out: Path, reporter: Any = None, config: SftConfig = CONFIG, isolate: bool = True) -> TrainResult:
    return run_training(
        "sft",
        base,
        examples(32),
        config,
        out,
        seed=1,
        threads=1,
        reporter=reporter or Steps(),
        stage="SFT/train",
        isolate=isolate,
    )


@pytest.fixture(scope="module")
def here(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return train(tiny_model, tmp_path_factory.mktemp("here") / "SFT", isolate=False)


def without_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a training's own process be a fork, which has this one's libraries already."""
    forks = fork_context()
    monkeypatch.setattr(multiprocessing, "get_context", lambda how: forks)


def test_what_a_killed_srbench_left_is_ended_before_a_training(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(isolation, "end_abandoned", lambda: 2)
    monkeypatch.setattr(isolation, "do", lambda *args: told.append("trains"))
    reporter = Steps()
    monkeypatch.setattr(reporter, "message", told.append, raising=False)
    train(tiny_model, tmp_path / "SFT", reporter, isolate=False)
    assert told == ["Ended 2 program(s) that a killed srbench had left running.", "trains"]


def test_its_errors_arrive_as_they_are_and_print_no_traceback(
    tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_imports(monkeypatch)
    with pytest.raises(TrainingError, match=r"exceed 3 tokens"):
        train(tiny_model, tmp_path / "SFT", config=CONFIG.model_copy(update={"max_length": 3}))
    assert "Traceback" not in capfd.readouterr().err


def test_ctrl_c_saves_the_step_and_the_next_call_ends_as_a_training_in_this_process(
    tiny_model: Path, here: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "SFT"
    with pytest.raises(KeyboardInterrupt):
        train(tiny_model, out, Steps(lambda: os.kill(os.getpid(), signal.SIGINT)))
    saved = ResumeStore(out / "resume").latest()
    assert saved is not None
    assert 3 <= saved.step < 64
    reporter = Steps()
    without_imports(monkeypatch)
    resumed = train(tiny_model, out, reporter)
    assert weights_fingerprint(resumed.checkpoint) == weights_fingerprint(here.checkpoint)
    assert reporter.seen == resumed.steps == 64


def test_sigterm_at_the_process_itself_saves_the_step(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []

    class Parent:
        def send(self, message: Any) -> None:
            sent.append(message)
            if isinstance(message, TrainProgress) and message.step == 3:
                os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(os, "setsid", lambda: None)
    task = Task("sft", tiny_model, examples(32), CONFIG, tmp_path / "SFT", 1, None, options={"seed": 1})
    with pytest.raises(SystemExit):
        isolation._child(Parent(), task)
    assert isinstance(sent[-1], Terminated)
    saved = ResumeStore(tmp_path / "SFT" / "resume").latest()
    assert saved is not None
    assert saved.step == 3
