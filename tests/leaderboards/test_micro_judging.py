"""Judge accuracy: tie policies, orders, undefined correlations, and the truth each number is held against."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from leaderboards.base import summarise
from leaderboards.evaluate import evaluate_checkpoint
from leaderboards.micro_judging import agreement_rows
from selfreward_bench import jsonl, stats
from selfreward_bench.config import JudgeConfig, RunConfig
from selfreward_bench.engines.base import GenerationRequest
from selfreward_bench.engines.scripted import ScriptedEngine
from selfreward_bench.types import EvalResult, Metric, RankedPrompt

Skilled = Callable[..., ScriptedEngine]


def metrics_of(judged: list[float | None], truth: list[float | None]) -> dict[str, Metric]:
    return summarise(agreement_rows("", "p", judged, truth))


def test_three_tie_policies() -> None:
    found = metrics_of([3, 3, 1], [5, 4, 0])  # one tie, two right
    assert found["pairwise_accuracy"].value == pytest.approx(2.5 / 3)
    assert found["pairwise_accuracy_ties_wrong"].value == pytest.approx(2 / 3)
    assert (found["pairwise_accuracy_ties_dropped"].value, found["pairwise_accuracy_ties_dropped"].n_total) == (1, 2)
    assert found["tie_rate"].value == pytest.approx(1 / 3)
    assert found["exact_match"].value == 0


def test_policies_agree_with_the_shared_statistics() -> None:
    judged, truth = [2.0, 2.0, 4.5, 1.0], [3.0, 1.0, 4.0, 2.0]
    counts = stats.pairwise_accuracy([(judged, [-int(t) for t in truth])])
    found = metrics_of(list(judged), list(truth))
    assert found["pairwise_accuracy"].value == counts.accuracy("half")
    assert found["pairwise_accuracy_ties_wrong"].value == counts.accuracy("wrong")
    assert found["pairwise_accuracy_ties_dropped"].value == counts.accuracy("drop")
    assert found["tie_rate"].value == counts.tie_rate


def test_equal_truth_makes_no_pair_and_right_order_is_an_exact_match() -> None:
    found = metrics_of([5, 4, 1], [3, 3, 0])
    assert found["pairwise_accuracy"].n_total == 2
    assert found["exact_match"].value == 1
    assert agreement_rows("", "p", [1, 2], [3, 3]) == []


def test_unparsed_judgments_are_unscored_not_wrong() -> None:
    found = metrics_of([None, 4, 1], [5, 3, 0])
    accuracy = found["pairwise_accuracy"]
    assert (accuracy.value, accuracy.n_scored, accuracy.n_total) == (1.0, 1, 3)
    assert (found["spearman"].value, found["exact_match"].value) == (None, None)


def test_a_judge_that_cannot_tell_has_no_correlation_but_half_the_pairs() -> None:
    rows = agreement_rows("", "p", [4, 4, 4], [2, 1, 0])
    found = summarise(rows)
    assert found["pairwise_accuracy"].value == 0.5
    assert (found["spearman"].value, found["spearman"].n_total) == (None, 1)
    assert rows[-1].reason == "constant_scores"


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
    assert result.judge.startswith("micro@1")
