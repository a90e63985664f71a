"""The verdict: it claims what an interval shows, says what it could not see, and what was lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from leaderboards.standings import HeadToHead, MetricDifference
from reports.facts import collect, questions
from reports.facts.questions import Sentence

Difference = Callable[..., MetricDifference]


def answers(run: Any) -> dict[str, Sentence]:
    found = questions.answers(collect(run.path))
    return dict(zip(("judging", "writing", "alignment", "limits"), found, strict=False))


@pytest.mark.parametrize(
    ("low", "high", "word", "tone"),
    [(0.1, 0.5, "Yes", "better"), (-0.5, -0.1, "No, worse", "worse"), (-0.1, 0.5, "Not shown", "neutral")],
)
def test_the_answer_follows_the_interval(
    whole: Any, difference: Difference, low: float, high: float, word: str, tone: str
) -> None:
    whole.standings([difference("M3", "M1", (low + high) / 2, low, high, "quality_sampled")])
    found = answers(whole)["writing"]
    assert (found.word, found.tone) == (word, tone)
    assert found.evidence[0].values == "3.00 \u2192 3.60"


def test_measures_that_disagree_are_mixed(whole: Any, difference: Difference) -> None:
    up = difference("M3", "M1", 0.3, 0.1, 0.5, "quality_sampled")
    down = difference("M3", "M1", -0.3, -0.5, -0.1, "quality_greedy")
    whole.standings([up, down])
    found = answers(whole)["writing"]
    assert (found.word, found.tone) == ("Mixed", "mixed")
    assert "better than M1 on 1 of 2 measures and worse on 1" in found.answer


def test_instructions_are_asked_against_the_sft_baseline_and_judging_against_m1(full: Any) -> None:
    found = answers(full)
    assert found["writing"].question == "Does instruction following improve over the SFT baseline?"
    assert {e.change.against for e in found["writing"].evidence} == {"SFT"}
    assert {e.change.against for e in found["judging"].evidence} == {"M1"}
    assert found["judging"].answer.endswith("Than SFT it judges better on 1 of 1.")


def test_a_head_to_head_is_evidence_from_either_side(
    whole: Any, difference: Difference, match: Callable[..., HeadToHead]
) -> None:
    whole.standings([difference("M3", "M1", 0.1, -0.1, 0.3, "quality_sampled")], [match("M1", "M3")])
    (_, found) = answers(whole)["writing"].evidence
    assert found.change.text == "\u25bc 42.0 % [38.0, 46.0]"
    assert answers(whole)["writing"].word == "No, worse"


def test_alignment_tells_up_down_and_still(full: Any) -> None:
    found = answers(full)["alignment"]
    assert found.word == "Partly up"
    assert "up: MT-Bench: Grade" in found.answer
    assert "no movement shown: AlpacaEval: Win rate and NLP benchmarks: Average of the tasks" in found.answer


def test_limits_name_what_was_lost_and_what_chance_brings(full: Any) -> None:
    found = answers(full)["limits"]
    assert "worse at sort (Answer quality)" in found.answer
    assert "Against M2, M3 lost: NLP benchmarks: GSM8K (strict match)." in found.answer
    assert "Worse: NLP benchmarks: GSM8K (strict match) (than M1 and M0)." in found.answer
    assert "Of 9 comparisons at 95 %, one in twenty would seem to differ by chance alone." in found.answer
    lost = [(e.label, e.change.against) for e in found.evidence if e.change.tone == "worse"]
    assert lost == [("NLP benchmarks: GSM8K (strict match)", "M1")]  # one event, whatever it is held against
    assert (found.word, found.tone) == ("1 regression", "worse")


def test_an_iteration_that_changes_nothing_is_named(whole: Any, difference: Difference) -> None:
    gain = difference("M3", "M1", 0.3, 0.1, 0.5, "quality_sampled")
    still = difference("M3", "M2", 0.0, -0.1, 0.1, "quality_sampled")
    length = difference("M3", "M1", 9.0, 5.0, 12.0, "chars_sampled")
    whole.standings([gain, still, length])
    found = answers(whole)["limits"]
    assert "M3 is not shown to differ from M2: the gain may have ended there." in found.answer
    assert "Answers became longer: 30 → 30 characters" in found.answer
    assert found.tone == "neutral"  # longer is neither better nor worse


def test_what_the_samples_could_have_shown_is_told_where_it_is_known(whole: Any, difference: Difference) -> None:
    none = difference("M3", "M1", 0.0, -0.1, 0.1, "quality_sampled")
    whole.standings([none])
    assert "four times in five" not in answers(whole)["writing"].answer
    whole.standings([none.model_copy(update={"detectable": 0.12})])
    assert (
        "A true difference of \u00b10.12 in Answer quality: True quality, sampled would"
        in answers(whole)["writing"].answer
    )


def test_what_was_not_compared_is_unknown_with_its_reason(whole: Any) -> None:
    whole.standings([])
    found = questions.answers(collect(whole.path))
    assert {s.tone for s in found} == {"unknown"}
    assert "they were not compared" in found[0].answer


@pytest.mark.parametrize(
    ("models", "told"),
    [((), "there is none"), (("M1",), "there is M1 only"), (("llama", "qwen"), "llama and qwen are no iterations")],
)
def test_too_few_models_are_told(builder: Any, models: tuple[str, ...], told: str) -> None:
    for model in models:
        builder.result(model, quality_sampled=3.0)
    (found,) = questions.answers(collect(builder.path))
    assert told in found.answer
    assert found.tone == "unknown"
