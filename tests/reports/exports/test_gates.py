"""What a gate means: sure, not ruled out, in which unit, about which metric."""

from __future__ import annotations

import pytest

from leaderboards.comparing.records import PairedBenchmark, PairedMetric, Pairing, Side, Unlike
from leaderboards.standings import MetricDifference
from reports.exports.gates import GateResult, evaluate, parse
from selfreward_bench.errors import ConfigError, UnknownNameError

NLP, QUALITY, ALPACA = "micro-nlp@1", "micro-quality@1", "micro-alpaca-eval@1"


def metric(
    benchmark: str, name: str, low: float | None, high: float | None, *, paired: bool = True, n: int = 90
) -> PairedMetric:
    middle = None if low is None or high is None else (low + high) / 2
    difference = MetricDifference(
        benchmark=benchmark, metric=name, a="M2", b="M1", value=middle, low=low, high=high, p_value=0.5, n=n, n_total=n
    )
    return PairedMetric(metric=name, a=None, b=None, difference=difference if paired else None, featured=True)


def pairing(
    *metrics: tuple[str, PairedMetric], unlike: tuple[Unlike, ...] = (), absent: tuple[str, ...] = ()
) -> Pairing:
    keys = dict.fromkeys(key for key, _ in metrics)
    return Pairing(
        a=Side(name="M1", given="runs/first:M1", checkpoint="M1", fingerprint="1"),
        b=Side(name="M2", given="runs/first:M2", checkpoint="M2", fingerprint="2", absent=absent),
        benchmarks=tuple(
            PairedBenchmark(
                benchmark=key,
                judges=(None, None),
                unlike=unlike,
                compared=not unlike,
                metrics=tuple(m for k, m in metrics if k == key),
            )
            for key in keys
        ),
    )


def tried(gate: str, low: float | None, high: float | None, *, key: str = NLP, name: str = "average") -> GateResult:
    (found,) = evaluate([parse(gate)], pairing((key, metric(key, name, low, high))))
    return found


# --- writing


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("nlp/mmlu<-1.0", ("nlp/mmlu", "<", False, -1.0, "")),
        (" nlp/mmlu ?<= -1.0 pp ", ("nlp/mmlu", "<=", True, -1.0, "pp")),
        ("mmlu>+.5pp", ("mmlu", ">", False, 0.5, "pp")),
        ("win_rate/koala ?>= 1e1", ("win_rate/koala", ">=", True, 10.0, "")),
        ("micro-nlp@1/gsm8k/flexible-extract<\u22122", ("micro-nlp@1/gsm8k/flexible-extract", "<", False, -2.0, "")),
    ],
)
def test_a_gate_is_read(text: str, parts: tuple[object, ...]) -> None:
    gate = parse(text)
    assert (gate.metric, gate.op, gate.maybe, gate.bound, gate.unit) == parts


@pytest.mark.parametrize(
    "text",
    ["", "mmlu", "<1", "mmlu<", "mmlu<x", "mmlu<nan", "mmlu<1e999", "mmlu==1", "mmlu<1 2", "a<b<1", "x" * 9_999 + "<1"],
)
def test_what_is_no_gate_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=r"is no gate.*METRIC OP NUMBER"):
        parse(text)


# --- meaning


@pytest.mark.parametrize(
    ("low", "high", "sure", "maybe"),
    [
        (-0.05, -0.02, "failed", "failed"),  # all below -1
        (-0.05, 0.00, "passed", "failed"),  # reaches below -1
        (-0.005, 0.02, "passed", "passed"),  # not below -1 anywhere
        (-0.03, -0.01, "passed", "failed"),  # ends at -1 exactly
        (-0.01, 0.03, "passed", "passed"),  # begins at -1 exactly
    ],
)
def test_sure_is_the_whole_interval_and_maybe_any_of_it(low: float, high: float, sure: str, maybe: str) -> None:
    assert tried("average<-1", low, high).status == sure
    assert tried("average?<-1", low, high).status == maybe


@pytest.mark.parametrize(
    ("gate", "status"),
    [("average<=-1", "failed"), ("average>2", "passed"), ("average?>=-1", "failed"), ("average?>-1", "passed")],
)
def test_other_directions_and_bounds_that_count(gate: str, status: str) -> None:
    assert tried(gate, -0.03, -0.01).status == status


def test_gains_of_what_should_not_grow() -> None:
    assert tried("chars_greedy > 10 chars", 12.0, 15.0, key=QUALITY, name="chars_greedy").status == "failed"
    assert tried("chars_greedy > 10", 9.0, 15.0, key=QUALITY, name="chars_greedy").status == "passed"


def test_shares_are_percentage_points_and_percents_are_already() -> None:
    assert tried("average<-1pp", -0.5, -0.011).status == "failed"
    assert tried("win_rate<-1pp", -0.5, -0.011, key=ALPACA, name="win_rate").status == "passed"
    assert tried("win_rate<-1pp", -5, -1.1, key=ALPACA, name="win_rate").status == "failed"


def test_the_message_says_what_was_found() -> None:
    assert tried("average<-1", -0.05, -0.02).message == "M2 − M1: −3.5 pp [−5.0, −2.0], surely below −1"  # noqa: RUF001
    assert tried("average?<-1", -0.005, 0.02).message.endswith("[−0.5, +2.0], surely not below −1")  # noqa: RUF001


@pytest.mark.parametrize("gate", ["average<1%", "average<1 points", "average<1 chars"])
def test_another_unit_is_refused(gate: str) -> None:
    with pytest.raises(ConfigError, match="take pp"):
        tried(gate, 0, 1)


def test_a_number_without_a_unit_takes_none() -> None:
    with pytest.raises(ConfigError, match="take no unit"):
        tried("spearman<1pp", 0, 1, key="micro-judge-accuracy@1", name="spearman")


# --- which metric


@pytest.mark.parametrize("name", ["average", "nlp/average", "micro-nlp/average", "micro-nlp@1/average"])
def test_every_name_of_a_metric(name: str) -> None:
    found = tried(f"{name}<0", -2, -1)
    assert (found.benchmark, found.metric, found.status) == (NLP, "average", "failed")


def test_a_part_is_named_with_or_without_its_benchmark() -> None:
    for name in ("micro_fact/flexible-extract", "nlp/micro_fact/flexible-extract"):
        assert tried(f"{name}<0", -2, -1, name="micro_fact/flexible-extract").metric == "micro_fact/flexible-extract"


def test_a_metric_of_several_benchmarks_needs_its_benchmark() -> None:
    both = pairing((NLP, metric(NLP, "truncated", -2, -1)), (ALPACA, metric(ALPACA, "truncated", 1, 2)))
    with pytest.raises(ConfigError, match=r"Name one: nlp/truncated, alpaca-eval/truncated"):
        evaluate([parse("truncated<0")], both)
    assert evaluate([parse("nlp/truncated<0")], both)[0].status == "failed"


def test_unknown_metrics_have_a_suggestion() -> None:
    with pytest.raises(ConfigError, match=r"no metric 'avrage'\. Did you mean 'average'"):
        tried("avrage<0", 0, 1)
    with pytest.raises(UnknownNameError, match="Did you mean 'average'"):
        tried("nlp/avrage<0", 0, 1)


# --- what cannot be tested


def test_what_has_no_interval_is_untested_and_never_passed() -> None:
    assert tried("average<0", None, None).status == "untested"
    single = pairing((ALPACA, metric(ALPACA, "length_controlled_winrate", 0, 1, paired=False)))
    (found,) = evaluate([parse("length_controlled_winrate<0")], single)
    assert found.status == "untested"
    assert "no mean over samples" in found.message


@pytest.mark.parametrize(
    ("n", "low", "high", "told"),
    [
        (4, 0.0, 0.0, "cannot be tested: 4 samples are fewer than 10"),
        (9, -0.3, 0.2, "cannot be tested: 9 samples are fewer than 10"),
        (40, 0.0, 0.0, "cannot be tested: all 40 differences are alike"),
        (40, None, None, "cannot be tested: all 40 differences are alike"),
    ],
)
def test_no_spread_seen_is_no_certainty(n: int, low: float | None, high: float | None, told: str) -> None:
    held = pairing((QUALITY, metric(QUALITY, "quality_sampled", low, high, n=n)))
    for gate in ("quality_sampled<-0.1", "quality_sampled?<-0.1"):
        (found,) = evaluate([parse(gate)], held)
        assert found.status == "untested"
        assert told in found.message


def test_how_few_samples_a_gate_was_tested_on_is_told() -> None:
    held = metric(NLP, "average", -0.05, -0.02)
    assert held.difference is not None
    part = held.model_copy(update={"difference": held.difference.model_copy(update={"n": 15, "n_total": 300})})
    (found,) = evaluate([parse("average<-1")], pairing((NLP, part)))
    assert "[\u22125.0, \u22122.0] of 15 of 300 samples, surely" in found.message


def test_what_was_not_compared_is_untested() -> None:
    unlike = (Unlike(condition="judge", a="x", b="y"),)
    found = pairing((NLP, metric(NLP, "average", -2, -1)), unlike=unlike)
    (result,) = evaluate([parse("nlp/average<0")], found)
    assert result.status == "untested"
    assert "judge" in result.message


@pytest.mark.parametrize(
    ("absent", "message"),
    [(("mt-bench@1",), "runs/first:M2 has no result of mt-bench@1"), ((), "mt-bench@1 is not compared here")],
)
def test_a_benchmark_that_was_not_evaluated_is_untested(absent: tuple[str, ...], message: str) -> None:
    found = pairing((NLP, metric(NLP, "average", -2, -1)), absent=absent)
    (result,) = evaluate([parse("mt-bench/grade<0")], found)
    assert (result.status, result.message) == ("untested", message)
