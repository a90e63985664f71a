"""The sentence on top, against a table written by hand first: what each chain's sentence must be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from leaderboards import chain, descriptions
from leaderboards.standings import HeadToHead, MetricDifference, Positions
from reports.facts import collect, decision
from selfreward_bench.types import Description, MetricInfo

from ..conftest import JUDGING

Difference = Callable[..., MetricDifference]
ALPACA, NLP = "alpaca-eval@1", "nlp@1"


def qualities(run: Any, **values: float) -> None:
    for model, value in values.items():
        run.result(model, quality_sampled=value)


def told(run: Any) -> str:
    return decision.decide(collect(run.path)).text


def test_the_best_checkpoint_and_what_speaks_against_going_on(builder: Any, difference: Difference) -> None:
    qualities(builder, M1=3.0, M2=3.5, M3=3.79)
    for model, own in (("M1", 0.666), ("M2", 0.653), ("M3", 0.565)):
        builder.result(model, JUDGING, own_pairwise_accuracy=own)
    own = difference("M3", "M1", -0.101, -0.172, -0.025, "own_pairwise_accuracy", JUDGING)
    builder.standings(
        [
            difference("M3", "M1", 0.79, 0.65, 0.93, "quality_sampled"),
            difference("M2", "M1", 0.5, 0.4, 0.6, "quality_sampled"),
            difference("M3", "M2", 0.29, 0.2, 0.4, "quality_sampled"),
            own.model_copy(update={"paired": False, "n": 500, "n_total": 500}),
        ]
    )
    assert told(builder) == (
        "M3 is the best checkpoint: +0.79 [+0.65, +0.93] true quality, sampled over M1; judging its own answers got "
        "worse (66.6 % → 56.5 %): do not train M4 from it."
    )


@pytest.mark.parametrize(
    ("m2", "m3", "between", "sentence"),
    [
        (
            (0.5, 0.4, 0.6),
            (0.55, 0.4, 0.7),
            (0.05, -0.1, 0.2),
            "M3 and M2 are the best checkpoints, not shown to differ from each other: M3 +0.55 [+0.40, +0.70] true "
            "quality, sampled over M1.",
        ),
        (
            (0.5, 0.4, 0.6),
            (0.1, -0.1, 0.3),
            (-0.4, -0.6, -0.2),
            "M2 is the best checkpoint: +0.50 [+0.40, +0.60] true quality, sampled over M1.",
        ),
        (
            (0.1, -0.1, 0.3),
            (0.1, -0.1, 0.3),
            (0.0, -0.1, 0.1),
            "No checkpoint is shown to be better than M1: M3 +0.10 [\u22120.10, +0.30] true quality, sampled.",
        ),
        (
            (-0.5, -0.6, -0.4),
            (-0.9, -1.1, -0.7),
            (-0.4, -0.6, -0.2),
            "M1 is the best checkpoint: M3 is worse, \u22120.90 [\u22121.10, \u22120.70] true quality, sampled.",
        ),
    ],
)
def test_which_checkpoint_is_best(
    builder: Any,
    difference: Difference,
    m2: tuple[float, float, float],
    m3: tuple[float, float, float],
    between: tuple[float, float, float],
    sentence: str,
) -> None:
    qualities(builder, M1=3.0, M2=3 + m2[0], M3=3 + m3[0])
    pairs = (("M2", "M1", m2), ("M3", "M1", m3), ("M3", "M2", between))
    builder.standings([difference(a, b, *bounds, "quality_sampled") for a, b, bounds in pairs])
    assert told(builder) == sentence


def test_a_baseline_that_is_better_is_told(builder: Any, difference: Difference) -> None:
    qualities(builder, SFT=3.9, M1=3.0, M2=3.5)
    gain = difference("M2", "M1", 0.5, 0.4, 0.6, "quality_sampled")
    builder.standings([gain, difference("M2", "SFT", -0.4, -0.5, -0.3, "quality_sampled")])
    assert told(builder) == (
        "M2 is the best checkpoint: +0.50 [+0.40, +0.60] true quality, sampled over M1; the baseline SFT is better "
        "still: M2 \u22120.40 [\u22120.50, \u22120.30] against it."
    )


def test_length_gaming_decides_nothing(builder: Any, difference: Difference) -> None:
    for model, raw, controlled, chars in (
        ("M1", 9.6, 8.6, 1805.0),
        ("M2", 15.0, 9.1, 4210.0),
        ("M3", 28.4, 10.5, 9643.0),
    ):
        numbers = {"win_rate": raw, "length_controlled_winrate": controlled, "avg_length": chars}
        builder.result(model, ALPACA, metrics=numbers)
    builder.standings(
        [
            difference("M3", "M1", 18.8, 16.0, 21.6, "win_rate", ALPACA),
            difference("M2", "M1", 0.5, -2.0, 3.0, "length_controlled_winrate", ALPACA),
            difference("M3", "M1", 1.9, -1.3, 5.0, "length_controlled_winrate", ALPACA),
            difference("M3", "M1", 7838.0, 7500.0, 8200.0, "avg_length", ALPACA),
        ]
    )
    assert told(builder) == (
        "No checkpoint is shown to be better than M1: M3 +1.9 [\u22121.3, +5.0] AlpacaEval, length-controlled win rate"
        "; M3's raw win rate rose (9.6 % → 28.4 %) with answers of 1,805 → 9,643 characters, 5.3 times as long, which "
        "is no gain."
    )


def test_what_the_best_checkpoint_lost_is_told(builder: Any, difference: Difference) -> None:
    qualities(builder, M1=3.0, M2=3.5)
    for model in ("M1", "M2"):
        builder.result(model, NLP, average=0.6, gsm8k=0.5)
    builder.standings(
        [
            difference("M2", "M1", 0.5, 0.4, 0.6, "quality_sampled"),
            difference("M2", "M1", -0.2, -0.3, -0.1, "gsm8k", NLP),
        ]
    )
    assert told(builder).endswith("over M1; M2 lost NLP benchmarks: GSM8K (strict match).")


@pytest.mark.parametrize(
    ("first", "second", "changes", "sentence"),
    [
        (
            (30.0, 30.0, 2000.0),
            (24.0, 36.0, 800.0),
            {"win_rate": (-6.0, -8.0, -4.0), "length_controlled_winrate": (6.0, 3.0, 9.0)},
            "M2 is the best checkpoint: +6.0 [+3.0, +9.0] AlpacaEval, length-controlled win rate over M1; M2's raw win "
            "rate fell (30.0 % → 24.0 %) with answers of 2,000 → 800 characters, 0.4 times as long, which is no loss.",
        ),
        (
            (56.4, 82.9, 839.0),
            (55.4, 82.6, 842.0),
            {
                "win_rate": (-1.0, -2.0, -0.1),
                "length_controlled_winrate": (-0.4, -1.3, 0.7),
                "avg_length": (2.4, -9.0, 14.0),
            },
            "No checkpoint is shown to be better than M1: M2 \u22120.4 [\u22121.3, +0.7] AlpacaEval, length-controlled "
            "win rate; M2's raw win rate fell (56.4 % → 55.4 %), and the length-controlled one is not shown to.",
        ),
    ],
    ids=["shorter", "as-long"],
)
def test_a_raw_loss_is_laid_to_length_where_answers_became_shorter(
    builder: Any,
    difference: Difference,
    first: tuple[float, ...],
    second: tuple[float, ...],
    changes: dict[str, tuple[float, float, float]],
    sentence: str,
) -> None:
    for model, numbers in (("M1", first), ("M2", second)):
        names = ("win_rate", "length_controlled_winrate", "avg_length")
        builder.result(model, ALPACA, metrics=dict(zip(names, numbers, strict=True)))
    builder.standings([difference("M2", "M1", *change, metric, ALPACA) for metric, change in changes.items()])
    assert told(builder) == sentence


def test_iterations_without_a_number_are_named(builder: Any, difference: Difference) -> None:
    qualities(builder, M1=3.0, M2=3.4)
    builder.result("M3", ALPACA, win_rate=50.0)
    builder.standings([difference("M2", "M1", 0.4, 0.3, 0.5, "quality_sampled")])
    assert told(builder).endswith("over M1; M3 has no number of it, and may be better.")


def test_a_base_that_is_better_than_all_that_was_trained_is_told(builder: Any, difference: Difference) -> None:
    qualities(builder, M0=4.0, M1=3.0, M2=3.5)
    gain = difference("M2", "M1", 0.5, 0.4, 0.6, "quality_sampled")
    builder.standings([gain, difference("M2", "M0", -0.5, -0.6, -0.4, "quality_sampled")])
    assert told(builder).endswith(
        "over M1; the base M0 is better still: M2 \u22120.50 [\u22120.60, \u22120.40] against it."
    )


def test_a_higher_number_that_shows_nothing_is_told(builder: Any, difference: Difference) -> None:
    qualities(builder, M1=3.0, M2=3.4, M3=3.5)
    builder.standings(
        [
            difference("M2", "M1", 0.4, 0.3, 0.5, "quality_sampled"),
            difference("M3", "M1", 0.5, -0.1, 1.1, "quality_sampled"),
            difference("M3", "M2", 0.1, -0.5, 0.7, "quality_sampled"),
        ]
    )
    assert told(builder) == (
        "M2 is the best checkpoint: +0.40 [+0.30, +0.50] true quality, sampled over M1; M3 has a higher number, but is "
        "not shown to be better than M1 (+0.50 [\u22120.10, +1.10])."
    )


def test_whose_judging_got_worse_is_said_where_it_is_not_the_best_one(builder: Any, difference: Difference) -> None:
    qualities(builder, M1=3.0, M2=3.5, M3=3.2)
    for model, own in (("M1", 0.7), ("M2", 0.7), ("M3", 0.6)):
        builder.result(model, JUDGING, own_pairwise_accuracy=own)
    builder.standings(
        [
            difference("M2", "M1", 0.5, 0.4, 0.6, "quality_sampled"),
            difference("M3", "M1", 0.2, 0.1, 0.3, "quality_sampled"),
            difference("M3", "M2", -0.3, -0.4, -0.2, "quality_sampled"),
            difference("M3", "M1", -0.1, -0.15, -0.05, "own_pairwise_accuracy", JUDGING),
        ]
    )
    assert "; M3's judging of its own answers got worse (70.0 % → 60.0 %, " in told(builder)
    assert told(builder).endswith("do not train M4 from M3.")


@pytest.mark.parametrize(
    ("base", "sentence"),
    [
        (
            (2.1, 2.0, 2.2),
            "M1 is the only iteration so far, better than M0: +2.10 [+2.00, +2.20] true quality, sampled; ",
        ),
        (
            (-0.5, -0.6, -0.4),
            "M1 is the only iteration so far, worse than M0: \u22120.50 [\u22120.60, \u22120.40] true ",
        ),
        (
            (0.1, -0.1, 0.3),
            "M1 is the only iteration so far, not shown to be better than M0: +0.10 [\u22120.10, +0.30] ",
        ),
    ],
)
def test_the_only_iteration_is_held_against_what_it_came_from(
    builder: Any, difference: Difference, base: tuple[float, float, float], sentence: str
) -> None:
    qualities(builder, M0=1.0, SFT=3.0, M1=3.1)
    sft = difference("M1", "SFT", 0.1, -0.1, 0.3, "quality_sampled")
    builder.standings([difference("M1", "M0", *base, "quality_sampled"), sft])
    assert told(builder).startswith(sentence)
    assert told(builder).endswith("M1 is not shown to be better than the baseline SFT (+0.10 [\u22120.10, +0.30]).")


def test_a_gain_of_format_alone_decides_nothing(builder: Any, difference: Difference) -> None:
    for model in ("M1", "M2"):
        builder.result(model, NLP, metrics={"average": 0.5, "gsm8k": 0.5, "gsm8k/flexible-extract": 0.5})
    builder.standings(
        [
            difference("M2", "M1", 0.05, 0.03, 0.07, "average", NLP),
            difference("M2", "M1", 0.2, 0.15, 0.25, "gsm8k", NLP),
            difference("M2", "M1", 0.0, -0.03, 0.03, "gsm8k/flexible-extract", NLP),
        ]
    )
    assert told(builder) == (
        "No checkpoint is shown to be better than M1: M2 +5.0 [+3.0, +7.0] NLP benchmarks, average of the tasks; M2's "
        "gain does not count, being a gain of format in GSM8K (strict match)."
    )


def test_results_that_are_not_alike_are_the_reason(builder: Any) -> None:
    for model, judge in (("M1", "gpt-4"), ("M2", "gpt-4o")):
        builder.result(model, ALPACA, conditions={"judge": judge}, win_rate=50.0)
    assert told(builder) == (
        "M1 and M2 were not compared, so none can be called the best: AlpacaEval differs in judge: gpt-4 (M1), "
        "gpt-4o (M2)."
    )


def test_a_measure_that_was_not_made_alike_is_named_where_another_decides(builder: Any, difference: Difference) -> None:
    for model, judge in (("M1", "gpt-4"), ("M2", "gpt-4o")):
        builder.result(model, ALPACA, conditions={"judge": judge}, win_rate=50.0)
        builder.result(model, NLP, average=0.5)
    builder.standings([difference("M2", "M1", 0.05, 0.03, 0.07, "average", NLP)])
    assert told(builder).endswith(
        "over M1; AlpacaEval, win rate decides nothing, as it was not made alike (judge: gpt-4 (M1), gpt-4o (M2))."
    )


def test_a_first_iteration_without_a_number_is_none_to_be_held_against(builder: Any, difference: Difference) -> None:
    builder.result("M1", NLP, average=0.5)
    qualities(builder, M2=3.0, M3=3.4)
    builder.standings([difference("M3", "M2", 0.4, 0.3, 0.5, "quality_sampled")])
    assert told(builder) == (
        "M3 is the best checkpoint: +0.40 [+0.30, +0.50] true quality, sampled over M2; M1 has no number of it, and "
        "may be better."
    )


def test_a_model_that_was_made_and_not_evaluated_is_named(builder: Any, difference: Difference) -> None:
    qualities(builder, M1=3.0, M3=3.4)
    (builder.path / "M2").mkdir()
    (builder.path / "M2" / "iteration.json").write_text('{"fingerprint": "f-M2"}')
    builder.standings([difference("M3", "M1", 0.4, 0.3, 0.5, "quality_sampled")])
    assert told(builder).endswith("over M1; M2 has no number of it, and may be better.")


def test_an_iteration_that_was_not_made_alike_is_named(builder: Any, difference: Difference) -> None:
    for model, judge in (("M1", "gpt-4"), ("M2", "gpt-4"), ("M3", "gpt-4o")):
        builder.result(model, ALPACA, conditions={"judge": judge}, win_rate=50.0)
    builder.standings([difference("M2", "M1", 5.0, 3.0, 7.0, "win_rate", ALPACA)])
    assert told(builder).endswith(
        "over M1; M3 was not compared with M1, and may be better (judge: gpt-4 (M1), gpt-4o (M3))."
    )


def test_what_few_of_the_samples_decided_says_so(builder: Any, difference: Difference) -> None:
    qualities(builder, M1=3.0, M2=4.9)
    gain = difference("M2", "M1", 1.9, 1.3, 2.3, "quality_sampled")
    builder.standings([gain.model_copy(update={"n": 15, "n_total": 300})])
    assert told(builder).endswith(
        "over M1; only 15 of 300 samples have a score of both M2 and M1; the rest may tell otherwise."
    )


def test_a_last_iteration_that_fell_below_the_first_is_told(builder: Any, difference: Difference) -> None:
    qualities(builder, M1=3.0, M2=3.4, M3=1.0)
    builder.standings(
        [
            difference("M2", "M1", 0.4, 0.3, 0.5, "quality_sampled"),
            difference("M3", "M1", -2.0, -2.1, -1.9, "quality_sampled"),
            difference("M3", "M2", -2.4, -2.5, -2.3, "quality_sampled"),
        ]
    )
    assert told(builder).endswith("over M1; M3 is worse than M1 (\u22122.00 [\u22122.10, \u22121.90]).")


@pytest.mark.parametrize(
    ("n", "why"), [(200, "no interval: no spread between prompts"), (1, "too few samples for an interval")]
)
def test_why_there_is_no_interval_is_told_as_it_is(builder: Any, difference: Difference, n: int, why: str) -> None:
    qualities(builder, M1=3.0, M2=3.0)
    alike = difference("M2", "M1", 0.0, 0.0, 0.0, "quality_sampled")
    builder.standings([alike.model_copy(update={"low": None, "high": None, "n": n, "n_total": n})])
    assert told(builder) == (f"No checkpoint is shown to be better than M1: M2 0.00 ({why}) true quality, sampled.")


def test_a_benchmark_of_ones_own_decides_by_its_first_metric_with_a_better(
    builder: Any, difference: Difference
) -> None:
    shown = {
        "chars": MetricInfo(label="Length", unit="characters", better=0),
        "seconds": MetricInfo(label="Seconds", unit="points", better=-1),
    }
    for model, seconds in (("M1", 9.0), ("M2", 4.0)):
        builder.result(model, "latency@1", metrics={"chars": 30.0, "seconds": seconds})
    descriptions.learn("latency@1", Description(title="Latency", metrics=shown, paired=tuple(shown)))
    builder.standings([difference("M2", "M1", -5.0, -6.0, -4.0, "seconds", "latency@1")])
    assert told(builder) == ("M2 is the best checkpoint: \u22125.00 [\u22126.00, \u22124.00] Latency, seconds over M1.")


# --- models outside a run


@pytest.fixture
def outside(builder: Any) -> Any:
    (builder.path / "srbench.yaml").unlink()
    chain.keep_order(builder.path, ["full", "ckpt-96", "ckpt-192"])
    qualities(builder, **{"full": 3.0, "ckpt-96": 3.4, "ckpt-192": 3.5})
    return builder


UP, STILL, DOWN = (0.4, 0.2, 0.6), (0.1, -0.1, 0.3), (-0.4, -0.6, -0.2)


def compared(difference: Difference, **pairs: tuple[float, float, float]) -> list[MetricDifference]:
    names = {"low": ("ckpt-96", "full"), "high": ("ckpt-192", "full"), "between": ("ckpt-192", "ckpt-96")}
    return [difference(*names[k], *bounds, "quality_sampled") for k, bounds in pairs.items()]


@pytest.mark.parametrize(
    ("pairs", "sentence", "ranks"),
    [
        (
            {"low": UP, "high": UP, "between": STILL},
            "ckpt-192 and ckpt-96 are tied at the top of 3 by true quality, sampled, ckpt-192 +0.10 [\u22120.10, "
            "+0.30] against ckpt-96.",
            [(1, "ckpt-192"), (1, "ckpt-96"), (3, "full")],
        ),
        (
            {"low": UP, "high": UP, "between": UP},
            "ckpt-192 is the best of 3: +0.40 [+0.20, +0.60] true quality, sampled over ckpt-96.",
            [(1, "ckpt-192"), (2, "ckpt-96"), (3, "full")],
        ),
        (
            {"low": STILL, "high": STILL, "between": STILL},
            "No model is shown to be the best of 3: all are tied by true quality, sampled, ckpt-192 +0.10 [\u22120.10, "
            "+0.30] against ckpt-96.",
            [(1, "ckpt-192"), (1, "ckpt-96"), (1, "full")],
        ),
        (  # nothing is better than one, and one is not shown to be better than all
            {"low": DOWN, "high": UP, "between": STILL},
            "No model is shown to be the best of 3 by true quality, sampled, ckpt-192 +0.10 [\u22120.10, +0.30] "
            "against ckpt-96.",
            [(1, "ckpt-192"), (2, "ckpt-96"), (2, "full")],
        ),
    ],
)
def test_models_outside_a_run_are_ranked_with_what_is_tied(
    outside: Any, difference: Difference, pairs: Any, sentence: str, ranks: list[tuple[int, str]]
) -> None:
    outside.standings(compared(difference, **pairs))
    found = decision.decide(collect(outside.path))
    assert found.text == sentence
    assert [(p.rank, p.model) for p in found.ranking] == ranks


def test_the_best_is_better_than_every_other_and_not_the_next_one_alone(outside: Any, difference: Difference) -> None:
    outside.standings(compared(difference, low=STILL, high=STILL, between=UP))
    found = decision.decide(collect(outside.path))
    assert found.sentence == (
        "ckpt-192 and full are tied at the top of 3 by true quality, sampled, ckpt-192 +0.10 [\u22120.10, +0.30] "
        "against full"
    )
    assert [(p.rank, p.model) for p in found.ranking] == [(1, "ckpt-192"), (1, "full"), (2, "ckpt-96")]


def test_a_leader_that_is_worse_elsewhere_is_told(outside: Any, difference: Difference) -> None:
    for model in ("full", "ckpt-96", "ckpt-192"):
        outside.result(model, NLP, average=0.5)
    worse = difference("ckpt-192", "full", -0.1, -0.2, -0.05, "average", NLP)
    outside.standings([*compared(difference, low=UP, high=UP, between=UP), worse])
    assert told(outside).endswith(
        "over ckpt-96; by NLP benchmarks, average of the tasks full is better (+10.0 [+5.0, +20.0])."
    )


def test_a_model_that_was_not_made_alike_is_not_tied(builder: Any, difference: Difference) -> None:
    (builder.path / "srbench.yaml").unlink()
    for model, judge in (("a", "gpt-4"), ("b", "gpt-4"), ("c", "gpt-4o")):
        builder.result(model, ALPACA, conditions={"judge": judge}, win_rate={"a": 50.0, "b": 55.0, "c": 60.0}[model])
    builder.standings([difference("b", "a", 5.0, 3.0, 7.0, "win_rate", ALPACA)])
    found = decision.decide(collect(builder.path))
    assert found.text == (
        "b is the best of 2: +5.0 [+3.0, +7.0] AlpacaEval, win rate over a; c was not compared with b, and may be "
        "better (judge: gpt-4 (b), gpt-4o (c))."
    )
    assert [(p.rank, p.model) for p in found.ranking] == [(1, "b"), (2, "a")]


def test_a_leader_whose_answers_speak_to_the_judge_is_told(builder: Any, difference: Difference) -> None:
    (builder.path / "srbench.yaml").unlink()
    for model, quoted in (("a", 0.0), ("b", 1.0)):
        numbers = {"length_controlled_winrate": 50.0 + 30 * quoted, "quotes_judge_prompt": quoted}
        builder.result(model, ALPACA, metrics=numbers)
    builder.standings([difference("b", "a", 30.0, 27.0, 33.0, "length_controlled_winrate", ALPACA)])
    assert told(builder).endswith("over a; 100 % of b's answers quote the judge's prompt: they speak to the judge.")


def test_of_many_models_those_at_the_top_alone_have_a_rank(outside: Any, difference: Difference) -> None:
    outside.standings(compared(difference, high=UP, between=STILL))
    found = decision.decide(collect(outside.path))
    assert found.sentence.startswith("ckpt-192 and ckpt-96 are tied at the top of 3 by")
    assert [(p.rank, p.model) for p in found.ranking] == [(1, "ckpt-192"), (1, "ckpt-96")]


def test_models_that_met_head_to_head_are_ranked_by_it(builder: Any, match: Callable[..., HeadToHead]) -> None:
    (builder.path / "srbench.yaml").unlink()
    for model in ("a", "b"):
        builder.result(model, "judge-accuracy-oasst@1", spearman=0.5)
    builder.standings([], [match("a", "b")])
    assert told(builder) == "a is the best of 2: 58.0 % [54.0, 62.0] head-to-head win rate over b."


def test_a_judge_that_follows_the_order_is_told(builder: Any, match: Callable[..., HeadToHead]) -> None:
    (builder.path / "srbench.yaml").unlink()
    for model in ("a", "b"):
        builder.result(model, "judge-accuracy-oasst@1", spearman=0.5)
    followed = match("a", "b", 0.5, 0.45, 0.55)
    positions = Positions(consistency=0.1, first_preferred=0.95, n_both=100, n_decided=200)
    builder.standings([], [followed.model_copy(update={"positions": positions})])
    assert told(builder).endswith("the judge's verdict survives the swap of the answers in 10 % of comparisons only.")


# --- nothing to decide


@pytest.mark.parametrize(
    ("models", "sentence"),
    [
        ((), "No checkpoint has been evaluated yet, so none can be called the best."),
        (("M1",), "M1 stands alone: nothing was compared with it."),
        (("M1", "M2"), "M1 and M2 were not compared, so none can be called the best: srbench eval --run {run}."),
    ],
)
def test_where_nothing_was_compared_nothing_is_decided(builder: Any, models: tuple[str, ...], sentence: str) -> None:
    qualities(builder, **dict.fromkeys(models, 3.0))
    assert told(builder) == sentence.format(run=builder.path)
