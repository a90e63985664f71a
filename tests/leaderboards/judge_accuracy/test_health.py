"""Health of a judge's scores: grades, entropy, noise between samples, length, and what could not be read."""

from __future__ import annotations

import math

import pytest

from leaderboards.base import summarise
from leaderboards.judge_accuracy.health import Judged, collect, health_metrics, health_rows, nearest_grade
from selfreward_bench.judges.parsing import Scale
from selfreward_bench.judges.pointwise import JudgeItem
from selfreward_bench.types import Judgment, Message

SCALE = Scale(low=0, high=5)
USER = (Message(role="user", content="Say hello."),)


def item(prompt: str, index: int, text: str = "Hello.") -> JudgeItem:
    return JudgeItem(prompt, index, USER, text)


def judged(*responses: tuple[str, int, str, list[float | None]]) -> list[Judged]:
    made = [
        Judgment(
            prompt_id=prompt,
            index=i,
            sample=k,
            judge="j@1#0/sampled-k2-x/M1",
            score=score,
            raw="text",
            reason=None if score is not None else "no_verdict",
        )
        for prompt, i, _, scores in responses
        for k, score in enumerate(scores)
    ]
    return collect([item(p, i, text) for p, i, text, _ in responses], made, {})


@pytest.mark.parametrize(
    ("score", "grade"), [(0, 0), (0.49, 0), (0.5, 1), (14 / 3, 5), (4.5, 5), (4.49, 4), (5, 5), (None, None)]
)
def test_a_score_stands_for_the_nearest_grade(score: float | None, grade: float | None) -> None:
    assert nearest_grade(score, SCALE) == grade


def test_grades_of_other_scales() -> None:
    assert nearest_grade(1.2, Scale(low=1, high=5)) == 1
    assert nearest_grade(0.3, Scale(low=0, high=1, step=0.5)) == 0.5
    tenths = Scale(low=0, high=1, step=0.1)
    assert nearest_grade(0.7, tenths) in tenths.grades


def test_histogram_entropy_and_top_share() -> None:
    found = judged(("a", 0, "x", [5, 5]), ("a", 1, "x", [4, 5]), ("b", 0, "x", [3, 3]), ("b", 1, "x", [0, 0]))
    metrics = summarise(health_rows(found, SCALE)) | health_metrics(found, SCALE)
    assert (metrics["grade/5"].value, metrics["grade/3"].value, metrics["grade/4"].value) == (0.5, 0.25, 0)
    assert metrics["top_share"].value == 0.5
    assert metrics["mean_score"].value == pytest.approx((5 + 4.5 + 3 + 0) / 4)
    assert metrics["score_entropy"].value == pytest.approx(1.5 * math.log(2))


def test_noise_between_the_samples_of_one_response() -> None:
    found = judged(("a", 0, "x", [5, 5, 4]), ("b", 0, "x", [2, 2, 2]), ("c", 0, "x", [3, None, None]))
    metrics = summarise(health_rows(found, SCALE))
    assert metrics["self_agreement"].value == pytest.approx((1 / 3 + 1) / 2)
    assert metrics["score_spread"].value == pytest.approx((math.sqrt(1 / 3) + 0) / 2)
    assert (metrics["self_agreement"].n_scored, metrics["self_agreement"].n_total) == (2, 3)


def test_one_sample_has_no_noise_to_measure() -> None:
    assert not {"self_agreement", "score_spread"} & set(summarise(health_rows(judged(("a", 0, "x", [5])), SCALE)))


def test_expected_mode_has_the_noise_of_its_distribution() -> None:
    raw = '{"probs": {"3": 0.5, "5": 0.5}, "mass": 0.9}'
    made = [Judgment(prompt_id="a", index=0, judge="j@1#0/expected/M1", score=4, raw=raw)]
    metrics = summarise(health_rows(collect([item("a", 0)], made, {}), SCALE))
    assert metrics["score_spread"].value == 1
    assert metrics["self_agreement"].value == 0.5


def test_length_within_prompts_and_pooled() -> None:
    """Within each prompt the longer response gets more, over both prompts it is the other way round."""
    found = judged(("a", 0, "x" * 10, [1]), ("a", 1, "x" * 20, [2]), ("b", 0, "x" * 1, [3]), ("b", 1, "x" * 2, [4]))
    assert summarise(health_rows(found, SCALE))["length_spearman"].value == 1
    assert health_metrics(found, SCALE)["length_spearman_pooled"].value == pytest.approx(-0.6)
    same = judged(("a", 0, "xx", [1]), ("a", 1, "yy", [2]))
    (row,) = [r for r in health_rows(same, SCALE) if r.sample_id == "length/a"]
    assert (row.value, row.reason) == (None, "constant_scores_or_lengths")


def test_unread_judgments_are_counted_and_never_scored() -> None:
    found = judged(("a", 0, "x", [None, None]), ("a", 1, "x", [4, None]))
    rows = {r.sample_id: r for r in health_rows(found, SCALE)}
    assert (rows["response/a/0"].value, rows["response/a/0"].reason) == (None, "no_verdict")
    assert (rows["response/a/1"].value, rows["response/a/1"].reason) == (4, None)
    failures = health_metrics(found, SCALE)["parse_failures"]
    assert (failures.value, failures.n_total) == (0.75, 4)


def test_what_was_never_judged_has_the_engines_reason() -> None:
    found = collect([item("a", 0), item("a", 1)], [], {"a/0": "over_budget"})
    assert [j.reason for j in found] == ["over_budget", "not_judged"]
    metrics = summarise(health_rows(found, SCALE)) | health_metrics(found, SCALE)
    assert (metrics["mean_score"].value, metrics["mean_score"].n_total) == (None, 2)
    assert metrics["score_entropy"].value is None
