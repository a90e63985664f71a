"""Judge accuracy on the micro-world: the truth each number is held against, and the judge's health beside it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from leaderboards.harness import evaluate_checkpoint
from leaderboards.judge_accuracy.micro import MicroJudgeAccuracy
from leaderboards.metrics import BUILT_IN, UNPAIRED
from selfreward_bench.config import JudgeConfig, RunConfig
from selfreward_bench.engines.base import GenerationRequest
from selfreward_bench.engines.scripted import ScriptedEngine
from selfreward_bench.storage import jsonl
from selfreward_bench.types import EvalResult, RankedPrompt

Skilled = Callable[..., ScriptedEngine]


@pytest.fixture
def judge_result(
    world_files: Path, config: RunConfig, checkpoint: Callable[..., Path], tmp_path: Path
) -> Callable[..., EvalResult]:
    def run(engine: ScriptedEngine, settings: RunConfig = config) -> EvalResult:
        arguments = {"name": "M1", "config": settings, "out_dir": tmp_path / "eval", "engine": engine}
        return evaluate_checkpoint(checkpoint(), benchmarks=["micro-judge-accuracy"], **arguments)[0]  # type: ignore[arg-type]

    return run


def test_a_judge_that_knows_the_truth_is_always_right(
    judge_result: Callable[..., EvalResult], skilled: Skilled
) -> None:
    metrics = judge_result(skilled(0.5)).metrics
    assert metrics["pairwise_accuracy"].value == metrics["oracle_pairwise_accuracy"].value == 1
    assert metrics["own_pairwise_accuracy"].value == 1
    assert metrics["own_spearman_pooled"].value == pytest.approx(1, abs=0.01)
    assert metrics["exact_match"].value == 1
    assert metrics["parse_failures"].value == 0


def test_a_judge_that_turns_the_truth_round_is_always_wrong(
    judge_result: Callable[..., EvalResult], skilled: Skilled
) -> None:
    from selfreward_bench.micro import oracle

    metrics = judge_result(skilled(0.5, judge=lambda p, a: 5 - (oracle.score(p, a) or 0))).metrics
    assert metrics["pairwise_accuracy"].value == metrics["own_pairwise_accuracy"].value == 0
    assert metrics["spearman"].value is not None
    assert metrics["spearman"].value < -0.9


def test_every_number_has_a_label_and_own_answers_are_compared_without_pairs(
    judge_result: Callable[..., EvalResult], skilled: Skilled
) -> None:
    known = BUILT_IN[MicroJudgeAccuracy.key].metrics
    found = judge_result(skilled(0.5)).metrics.keys()
    assert {name for name in found if "/" not in name} <= known.keys()
    own = [name for name in MicroJudgeAccuracy.description.paired if name.startswith("own_")]
    assert own == list(UNPAIRED[MicroJudgeAccuracy.key])
    assert {name for name in MicroJudgeAccuracy.description.paired if "/" not in name} <= known.keys() & found
    assert "pairwise_accuracy/sort" in MicroJudgeAccuracy.description.paired


def test_human_ranks_and_oracle_are_told_apart(
    world_files: Path, judge_result: Callable[..., EvalResult], skilled: Skilled
) -> None:
    path = world_files / "rankings.jsonl"
    upside_down = [
        r.model_copy(update={"responses": tuple(x.model_copy(update={"rank": 9 - x.rank}) for x in r.responses)})
        for r in jsonl.read(path, RankedPrompt)
    ]
    jsonl.write(path, upside_down)
    metrics = judge_result(skilled(0.5)).metrics
    assert (metrics["pairwise_accuracy"].value, metrics["oracle_pairwise_accuracy"].value) == (0, 1)


def test_sampled_judgments_without_a_verdict_are_failures(
    config: RunConfig, judge_result: Callable[..., EvalResult]
) -> None:
    def say(request: GenerationRequest, index: int) -> str:
        assert not isinstance(request.prompt, str)
        judging = request.prompt[-1].content.startswith("Rate the answer")
        return ("Score: 3" if index else "Hm.") if judging else "A cat is black."

    settings = config.model_copy(update={"judge": JudgeConfig(prompt="micro", mode="sampled", samples=2)})
    result = judge_result(ScriptedEngine(say), settings)
    assert result.metrics["parse_failures"].value == 0.5
    assert result.metrics["tie_rate"].value == 1
    assert result.metrics["pairwise_accuracy"].value == 0.5
    assert result.judge is not None
    assert result.judge.startswith("micro@2")


def test_health_stands_beside_agreement(judge_result: Callable[..., EvalResult], skilled: Skilled) -> None:
    metrics = judge_result(skilled(0.5)).metrics
    assert metrics["five_best"].value == 1
    assert metrics["top_share"].value == metrics["grade/5"].value
    assert sum(metrics[f"grade/{g}"].value or 0 for g in range(6)) == pytest.approx(1)
    assert metrics["spearman_pooled"].value is not None
    assert metrics["spearman_pooled"].low is not None
    assert metrics["score_entropy"].value == pytest.approx(
        -sum(p * math.log(p) for g in range(6) if (p := metrics[f"grade/{g}"].value or 0))
    )
    assert metrics["own_top_share"].n_total == metrics["own_mean_score"].n_total


def test_a_judge_that_says_five_to_all_is_saturated(judge_result: Callable[..., EvalResult], skilled: Skilled) -> None:
    metrics = judge_result(skilled(0.5, judge=lambda p, a: 50)).metrics
    assert metrics["top_share"].value == metrics["own_top_share"].value == 1
    assert metrics["score_entropy"].value == 0
    assert (metrics["pairwise_accuracy"].value, metrics["tie_rate"].value) == (0.5, 1)
    assert metrics["pairwise_accuracy_ties_wrong"].value == 0
