"""Chains whose true story was written down by hand first; the page must tell it, and no other one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from leaderboards import chain
from leaderboards.standings import HeadToHead, MetricDifference
from reports.facts import collect, questions, tables
from reports.facts.questions import Sentence

from ..conftest import JUDGING, QUALITY

Difference = Callable[..., MetricDifference]
ALPACA, MT_BENCH, NLP = "alpaca-eval@1", "mt-bench@1", "nlp@1"
QUESTIONS = ("judging", "writing", "alignment", "limits")


def told(run: Any) -> dict[str, Sentence]:
    return dict(zip(QUESTIONS, questions.answers(collect(run.path)), strict=True))


def alpaca(run: Any, rows: dict[str, tuple[float, float, float]]) -> None:
    """Raw and length-controlled win rate, and length, of each model."""
    for model, (raw, controlled, chars) in rows.items():
        numbers = {"win_rate": raw, "length_controlled_winrate": controlled, "avg_length": chars}
        run.result(model, ALPACA, metrics=numbers, conditions={"judge": "j"})


GAMED = {"M1": (9.6, 8.6, 1805.0), "M2": (15.4, 9.1, 4210.0), "M3": (28.4, 10.5, 9643.0)}


def gamed(difference: Difference, controlled: tuple[float, float] = (-1.3, 5.0)) -> list[MetricDifference]:
    return [
        difference("M3", "M1", 18.8, 16.0, 21.6, "win_rate", ALPACA),
        difference("M3", "M1", 1.9, *controlled, "length_controlled_winrate", ALPACA),
        difference("M3", "M1", 7838.0, 7500.0, 8200.0, "avg_length", ALPACA),
    ]


def test_a_raw_gain_without_a_controlled_one_is_no_gain(builder: Any, difference: Difference) -> None:
    alpaca(builder, GAMED)
    builder.standings(gamed(difference))
    found = told(builder)
    assert (found["writing"].word, found["writing"].tone) == ("Not shown", "neutral")
    assert (
        "The raw win rate rose (9.6 % → 28.4 %), with answers of 1,805 → 9,643 characters, 5.3 times as long, and the "
        "length-controlled one is not shown to: a gain that length explains is no gain." in found["writing"].answer
    )
    assert found["alignment"].word == "Not shown"
    assert (found["limits"].word, found["limits"].tone) == ("Answers 5.3 times as long", "mixed")
    raw = next(e for e in found["writing"].evidence if e.metric == "win_rate")
    assert (raw.counts, raw.change.tone) == (False, "neutral")
    assert raw.note == "not counted: owed to length, controlled for it +1.9 [\u22121.3, +5.0]"


def test_a_raw_gain_of_answers_as_long_is_not_laid_to_length(builder: Any, difference: Difference) -> None:
    alike = {model: (raw, controlled, 1805.0) for model, (raw, controlled, _) in GAMED.items()}
    alpaca(builder, alike)
    builder.standings(gamed(difference)[:2])
    found = told(builder)["writing"]
    assert found.answer.endswith("rose (9.6 % → 28.4 %); the length-controlled one, which decides, is not shown to.")
    raw = next(e for e in found.evidence if e.metric == "win_rate")
    assert (raw.counts, raw.change.tone) == (False, "neutral")
    assert raw.note == "not counted: the length-controlled win rate decides, +1.9 [\u22121.3, +5.0]"


def test_a_controlled_gain_counts_once(builder: Any, difference: Difference) -> None:
    alpaca(builder, GAMED)
    builder.standings(gamed(difference, (0.2, 3.6)))
    found = told(builder)
    assert (found["writing"].word, found["writing"].answer) == (
        "Yes",
        "M3 follows instructions better than M1 on the one measure there is.",
    )
    assert "Answers became longer: 1,805 → 9,643 characters, 5.3 times as long." in found["limits"].answer


def test_where_length_explains_the_raw_gain_nothing_uncontrolled_counts(
    builder: Any, difference: Difference, match: Callable[..., HeadToHead]
) -> None:
    alpaca(builder, GAMED)
    for model in GAMED:
        builder.result(model, MT_BENCH, grade=6.0)
    up = difference("M3", "M1", 0.8, 0.5, 1.1, "grade", MT_BENCH)
    builder.standings([*gamed(difference), up], [match("M3", "M1", 0.8, 0.7, 0.9)])
    found = told(builder)
    assert found["writing"].word == "Not shown"
    notes = {e.label: e.note for e in found["writing"].evidence if not e.counts}
    assert notes["MT-Bench: Grade, both turns"] == "not counted: not controlled for length"
    assert notes["Head to head: win rate"] == "not counted: not controlled for length"


@pytest.mark.parametrize(("chars", "word"), [(9643.0, "Not shown"), (1700.0, "Yes")])
def test_without_a_controlled_win_rate_the_raw_one_counts_only_where_answers_did_not_grow(
    builder: Any, difference: Difference, chars: float, word: str
) -> None:
    for model, length in (("M1", 1805.0), ("M2", 1805.0), ("M3", chars)):
        builder.result(model, ALPACA, win_rate=20.0, avg_length=length)
    builder.standings([difference("M3", "M1", 18.8, 16.0, 21.6, "win_rate", ALPACA)])
    assert told(builder)["writing"].word == word


# --- one event is one


def nlp(run: Any, **differing: float) -> None:
    for model in ("M0", "M1", "M2", "M3"):
        numbers = {"average": 0.9, "micro_fact": 1.0, "micro_fact/flexible-extract": 1.0, "micro_fact/no_answer": 0.0}
        run.result(model, "micro-nlp@1", metrics={**numbers, **(differing if model == "M3" else {})})


def lost(difference: Difference, metrics: dict[str, tuple[float, float, float]]) -> list[MetricDifference]:
    return [
        difference("M3", b, value, low, high, metric, "micro-nlp@1")
        for b in ("M1", "M0")
        for metric, (value, low, high) in metrics.items()
    ]


FELL = {"micro_fact": (-0.5, -0.7, -0.3), "average": (-0.17, -0.23, -0.1)}


def test_dependent_measures_are_counted_once(builder: Any, difference: Difference) -> None:
    nlp(builder, micro_fact=0.5)
    flexible = {"micro_fact/flexible-extract": (-0.5, -0.7, -0.3), "micro_fact/no_answer": (0.0, -0.1, 0.1)}
    builder.standings(lost(difference, FELL | flexible))
    found = told(builder)["limits"]
    assert found.word == "1 regression"
    assert "Worse: NLP benchmarks: Facts (strict match) (than M1 and M0)." in found.answer


@pytest.mark.parametrize(
    "read",
    [
        {"micro_fact/flexible-extract": (0.0, -0.1, 0.1)},  # the right words are there, in another form
        {"micro_fact/no_answer": (0.5, 0.3, 0.7)},  # no answer was found in all that were lost
    ],
)
def test_a_loss_of_the_form_alone_is_told_as_one(builder: Any, difference: Difference, read: Any) -> None:
    nlp(builder, micro_fact=0.5)
    builder.standings(lost(difference, FELL | read))
    found = told(builder)["limits"]
    assert found.word == "1 loss of format"
    assert "Facts (strict match) 100.0 % → 50.0 %, a loss of format" in found.answer
    assert "No measure is shown to be worse than at M1 and M0." in found.answer


def test_a_loss_that_is_mostly_there_read_flexibly_is_none_of_form(builder: Any, difference: Difference) -> None:
    nlp(builder, micro_fact=0.5)  # that no loss is shown there is no proof that there is none
    builder.standings(lost(difference, FELL | {"micro_fact/flexible-extract": (-0.3, -0.62, 0.02)}))
    assert told(builder)["limits"].word == "1 regression"


def test_a_model_that_refuses_loses_more_than_form(builder: Any, difference: Difference) -> None:
    nlp(builder, micro_fact=0.5)
    refused = {"micro_fact/no_answer": (0.5, 0.3, 0.7), "micro_fact/flexible-extract": (-0.5, -0.7, -0.3)}
    builder.standings(lost(difference, FELL | refused))
    assert told(builder)["limits"].word == "1 regression"


def test_a_gain_of_the_form_alone_is_told_as_one(builder: Any, difference: Difference) -> None:
    nlp(builder, micro_fact=1.0)
    rose = {
        "micro_fact": (0.5, 0.3, 0.7),
        "average": (0.17, 0.1, 0.23),
        "micro_fact/flexible-extract": (0.0, -0.1, 0.1),
    }
    builder.standings(lost(difference, rose))
    found = told(builder)
    assert found["alignment"].word == "Not shown"
    assert "not counted: a gain of format in Facts (strict match)." in found["alignment"].answer
    assert "not counted: a gain of format: read flexibly, most of it is gone" in found["limits"].answer


def test_an_interval_shows_that_it_has_a_width(builder: Any, difference: Difference) -> None:
    builder.result("M1", quality_sampled=3.0)
    builder.result("M2", quality_sampled=3.01)
    builder.standings([difference("M2", "M1", 0.01, 0.005, 0.015, "quality_sampled")])
    change = tables.result_table(collect(builder.path), QUALITY).rows[0].cells[1].changes[0]
    assert (change.value, change.interval) == ("+0.010", "[+0.005, +0.015]")


def test_the_average_alone_is_a_regression_of_its_own(builder: Any, difference: Difference) -> None:
    nlp(builder)
    builder.standings(lost(difference, {"average": (-0.02, -0.03, -0.01), "micro_fact": (-0.02, -0.05, 0.01)}))
    assert told(builder)["limits"].word == "1 regression"


def test_human_ranks_and_oracle_on_the_same_answers_are_one_measure(builder: Any, difference: Difference) -> None:
    for model in ("M1", "M2", "M3"):
        builder.result(model, JUDGING, pairwise_accuracy=0.7, oracle_pairwise_accuracy=0.71)
    same = [
        difference("M3", "M1", 0.05, 0.02, 0.08, metric, JUDGING)
        for metric in ("pairwise_accuracy", "oracle_pairwise_accuracy")
    ]
    builder.standings(same)
    found = told(builder)["judging"]
    assert found.answer == "M3 judges better than M1 on the one measure there is."
    assert [e.counts for e in found.evidence] == [True, False]


def test_another_form_of_a_measure_that_decides_against_it_is_not_green(builder: Any, difference: Difference) -> None:
    for model in ("M1", "M2", "M3"):
        builder.result(model, JUDGING, pairwise_accuracy=0.7, oracle_pairwise_accuracy=0.71)
    builder.standings(
        [
            difference("M3", "M1", 0.03, -0.01, 0.06, "pairwise_accuracy", JUDGING),
            difference("M3", "M1", 0.034, 0.004, 0.065, "oracle_pairwise_accuracy", JUDGING),
        ]
    )
    found = told(builder)["judging"]
    assert found.word == "Not shown"
    assert [(e.change.arrow, e.change.tone) for e in found.evidence] == [("", "neutral"), ("▲", "neutral")]


def test_judging_its_own_answers_worse_is_told(builder: Any, difference: Difference) -> None:
    for model, own in (("M1", 0.666), ("M2", 0.653), ("M3", 0.565)):
        builder.result(model, JUDGING, pairwise_accuracy=0.7, own_pairwise_accuracy=own)
    own = difference("M3", "M1", -0.101, -0.172, -0.025, "own_pairwise_accuracy", JUDGING)
    builder.standings(
        [
            difference("M3", "M1", 0.01, -0.02, 0.04, "pairwise_accuracy", JUDGING),
            own.model_copy(update={"paired": False}),
        ]
    )
    found = told(builder)["judging"]
    assert (found.word, found.tone) == ("No, worse", "worse")
    assert (
        "Its own answers, which the next round would be trained on, it judges worse: 66.6 % → 56.5 % "
        "[\u221217.2, \u22122.5] than M1's own." in found.answer
    )
    assert found.evidence[-1].note == "unpaired: each answered differently"


# --- what was not measured


def test_external_benchmarks_that_were_not_run_are_not_measured(builder: Any, difference: Difference) -> None:
    for model in ("M1", "M2", "M3"):
        builder.result(model, QUALITY, quality_sampled=3.0)
        builder.result(model, JUDGING, spearman=0.4)
    builder.standings([difference("M3", "M1", 0.0, -0.1, 0.1, "spearman", JUDGING)])
    assert (
        f"External benchmarks were not measured: srbench eval --run {builder.path}."
        in told(builder)["alignment"].answer
    )
    builder.standings([difference("M3", "M1", 0.6, 0.4, 0.8, "quality_sampled")])
    assert told(builder)["alignment"].word == "Not measured"


# --- the order of the checkpoints


def test_the_baseline_and_m1_both_come_from_the_base(builder: Any) -> None:
    for model in ("M0", "SFT", "M1", "M2"):
        builder.result(model, quality_sampled=3.0)
    assert tables.lineage(collect(builder.path)) == "M0 → M1 → M2; SFT from M0"


def test_models_outside_a_run_stand_as_the_user_gave_them(builder: Any) -> None:
    (builder.path / "srbench.yaml").unlink()
    for model in ("ckpt-96", "full", "ckpt-192"):
        builder.result(model, quality_sampled=3.0)
    chain.keep_order(builder.path, ["full", "ckpt-96", "ckpt-192"])
    facts = collect(builder.path)
    assert [m.name for m in facts.models] == ["full", "ckpt-96", "ckpt-192"]
    assert tables.lineage(facts) == "full, ckpt-96, ckpt-192"
