"""The first screen: what stands under a model's name is that model's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from leaderboards.standings import MetricDifference
from reports.facts import collect
from reports.sections.verdict import _lines

JUDGING = "micro-judge-accuracy@1"


def test_a_last_model_without_a_result_is_not_given_another_ones_differences(
    builder: Any, difference: Callable[..., MetricDifference]
) -> None:
    """M3's quality is not measured yet: M2's difference must not stand in M3's column, as M3's judging does."""
    for model in ("M1", "M2"):
        builder.result(model, quality_sampled=3.0)
    for model in ("M1", "M3"):
        builder.result(model, JUDGING, pairwise_accuracy=0.7)
    builder.standings(
        [
            difference("M2", "M1", 0.5, 0.3, 0.7, "quality_sampled"),
            difference("M3", "M1", 0.1, 0.0, 0.2, "pairwise_accuracy", JUDGING),
        ]
    )
    ends = {line.label: [change.against for change in line.ends] for line in _lines(collect(builder.path), 0, {})}
    assert ends["True quality, sampled"] == []
    assert ends["Pairwise accuracy, human ranks (tie = ½)"] == ["M1"]
