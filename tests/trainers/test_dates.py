"""Chat templates that show the day: training, generation and a resume after midnight show the run's."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from transformers.utils import chat_template_utils

from selfreward_bench.config import EngineConfig, SftConfig
from selfreward_bench.engines import open_engine
from selfreward_bench.engines.base import GenerationRequest
from selfreward_bench.errors import IncompatibleRunError
from trainers.rendering import load_tokenizer, render_turns
from trainers.sft import train_sft
from trainers.training import TrainProgress

from .conftest import CHAT_TEMPLATE, contents, examples, make_model

DATED = "{{ 'Today: ' + strftime_now('%d %b %Y') }}" + CHAT_TEMPLATE
CONFIG = SftConfig(learning_rate=1e-3, final_learning_rate=1e-4, batch_size=4, dropout=0.0, max_length=64)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return make_model(tmp_path / "base", template=DATED)


def set_clock(patch: pytest.MonkeyPatch, day: int) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Clock:
            return cls(2031, 2, day, tzinfo=tz)

    patch.setattr(chat_template_utils, "datetime", Clock)


def stop(now: TrainProgress) -> None:
    raise KeyboardInterrupt


def train(base: Path, out: Path, **options: Any) -> Any:
    return train_sft(base, examples(8), CONFIG, out, seed=1, **options)


@pytest.mark.slow
def test_a_training_goes_on_after_midnight(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_clock(monkeypatch, day=3)
    train(base, tmp_path / "undisturbed" / "M1", date="2031-02-03")
    with pytest.raises(KeyboardInterrupt):
        train(base, tmp_path / "M1", date="2031-02-03", progress=stop)
    set_clock(monkeypatch, day=4)
    train(base, tmp_path / "M1", date="2031-02-03")
    assert contents(tmp_path / "M1") == contents(tmp_path / "undisturbed" / "M1")


def test_without_a_date_the_clock_shows(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the test above would pass with a template that shows nothing."""
    set_clock(monkeypatch, day=3)
    train(base, tmp_path / "M1")
    set_clock(monkeypatch, day=4)
    with pytest.raises(IncompatibleRunError, match="data: was"):
        train(base, tmp_path / "M1")


def test_training_and_generation_show_the_same_day(base: Path) -> None:
    tokenizer = load_tokenizer(base, date="2024-07-26")
    turn = render_turns(tokenizer, [(e.id, e.prompt, e.completion) for e in examples(1)])[0]
    assert tokenizer.decode(turn.prompt).startswith("Today: 26 Jul 2024")
    engine: Any = open_engine(EngineConfig(device="cpu", date="2024-07-26"), base)
    asked = GenerationRequest(id="e", prompt=examples(1)[0].prompt)
    assert engine._encoder.encode([asked], [1]) == [turn.prompt]
    engine.close()


@pytest.mark.parametrize("asked", ["%-m/%-d/%y", "%A %e %B, week %V, %j", "%D %R %p", "%c", "%x %X", "%Y%m%dT%H%M%S"])
def test_the_day_is_written_as_the_clock_would(tmp_path: Path, asked: str) -> None:
    tokenizer = load_tokenizer(make_model(tmp_path, template=DATED.replace("%d %b %Y", asked)), date="2031-02-03")
    text = tokenizer.apply_chat_template([{"role": "user", "content": "Hi."}], tokenize=False)
    assert text.startswith(f"Today: {datetime(2031, 2, 3):{asked}}")
