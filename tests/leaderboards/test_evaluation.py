"""What came of an evaluation: whether anything got a score."""

from __future__ import annotations

from pathlib import Path

import pytest

from leaderboards.evaluation import Evaluation
from selfreward_bench.types import EvalResult, Metric

NONE, SOME = Metric(value=None, n_scored=0, n_total=8), Metric(value=0.0, n_scored=8, n_total=8)


def result(benchmark: str, metrics: dict[str, Metric]) -> EvalResult:
    return EvalResult(
        checkpoint="a",
        fingerprint="f",
        benchmark=benchmark,
        judge=None,
        metrics=metrics,
        config_hash="c",
        versions={},
        seconds=0.0,
    )


@pytest.mark.parametrize(
    ("benchmark", "scored", "answer"),
    [
        ("alpaca-eval@1", {"win_rate"}, True),
        ("alpaca-eval@1", {"avg_length", "truncated", "n_total"}, False),  # answers that nobody judged
        ("mt-bench@1", {"grade_turn_2"}, True),
        ("judge-accuracy-oasst@1", {"parse_failures"}, False),
        ("nlp@1", {"a_task_of_somebody"}, True),
    ],
)
def test_lengths_and_counts_are_no_scores(benchmark: str, scored: set[str], answer: bool) -> None:
    metrics = {name: SOME if name in scored else NONE for name in (*scored, "win_rate", "pairwise_accuracy")}
    done = Evaluation(Path(), (result("mt-bench@1", {"grade": NONE}), result(benchmark, metrics)))
    assert done.is_scored is answer
