"""What is planned is what is asked: calls exactly, tokens at most a byte each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from leaderboards.base import Benchmark, Calls, Setting, Subject
from leaderboards.judge_accuracy.micro import MicroJudgeAccuracy
from leaderboards.micro import MicroQuality
from selfreward_bench.config import JudgeConfig, RunConfig, Sampling
from selfreward_bench.engines.base import ChoiceRequest, GenerationRequest
from selfreward_bench.engines.scripted import ScriptedEngine
from selfreward_bench.models.bounds import total


def asked(benchmark: Benchmark, config: RunConfig, engine: ScriptedEngine, folder: Path) -> list[Any]:
    folder.mkdir()
    benchmark.run(Subject("M1", lambda: engine, Setting(config), folder, lambda n: None))
    return engine.requests


def size(request: GenerationRequest | ChoiceRequest) -> int:
    texts = [request.prompt] if isinstance(request.prompt, str) else [m.content for m in request.prompt]
    return len("".join([*texts, request.assistant_prefix]).encode())


def test_quality_asks_for_what_it_plans(
    world_files: Path, config: RunConfig, skilled: Callable[..., ScriptedEngine], tmp_path: Path
) -> None:
    requests = asked(MicroQuality(), config, skilled(0.5), tmp_path / "out")
    assert MicroQuality().plan(Setting(config)).answers == Calls(
        sum(r.n for r in requests), sum(r.n * size(r) for r in requests), sum(r.n * 40 for r in requests)
    )


@pytest.mark.parametrize("mode", ["expected", "reasoned", "sampled"])
def test_judge_accuracy_asks_for_at_most_what_it_plans(
    world_files: Path, config: RunConfig, skilled: Callable[..., ScriptedEngine], tmp_path: Path, mode: Any
) -> None:
    sampling = Sampling(temperature=0.7, top_p=1.0, max_new_tokens=30)
    judge = JudgeConfig(prompt="micro", mode=mode, samples=2, sampling=sampling)
    settings = config.model_copy(update={"judge": judge})
    engine = skilled(1.0)
    answer = engine._texts

    def write(request: GenerationRequest, index: int) -> str:
        judging = not isinstance(request.prompt, str) and request.prompt[-1].content.startswith("Rate")
        return "Missing: nothing.\nScore: 3" if judging else answer(request, index)  # type: ignore[operator]

    requests = asked(MicroJudgeAccuracy(), settings, ScriptedEngine(write, engine._logprobs), tmp_path / "out")
    plan = MicroJudgeAccuracy().plan(Setting(settings))
    judging = [r for r in requests if isinstance(r, ChoiceRequest) or r.prompt[-1].content.startswith("Rate")]
    verdicts = [r for r in judging if isinstance(r, ChoiceRequest) or mode == "sampled"]
    times = 2 if mode == "sampled" else 1
    assert plan.judgments.calls == times * len(verdicts)
    reasons = "Missing: nothing.\nScore:" if mode == "reasoned" else "Score:"
    given = sum(times * (size(r) - (len(reasons) if isinstance(r, ChoiceRequest) else 0)) for r in judging)
    assert given <= plan.judgments.prompt_tokens <= 3 * given
    writes = {"expected": 1, "reasoned": 31, "sampled": 30}[mode]
    assert plan.judgments.completion_tokens == plan.judgments.calls * writes
    assert plan.answers.calls == sum(r.n for r in requests if r not in judging)


def test_nothing_comes_to_nothing() -> None:
    assert total([]) == Calls()
    assert total([Calls(1, 2, 3), Calls(4, 5, 6)]) == Calls(5, 7, 9)
