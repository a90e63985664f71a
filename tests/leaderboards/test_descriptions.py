"""How benchmarks are shown: srbench's own by its table, others by what came with them, and nothing else changes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from leaderboards import descriptions, standings
from leaderboards.descriptions import bounds_of, described, in_order, in_table, info, is_own, learn, place, title
from leaderboards.judge_accuracy.data import LLMBAR
from leaderboards.metrics import BUILT_IN
from leaderboards.mt_bench.benchmark import TEMPERATURES
from leaderboards.registry import BENCHMARKS, ROWS, open_benchmark
from leaderboards.suites import NAMES
from selfreward_bench.errors import DataError
from selfreward_bench.types import Description, EvalResult, Metric, MetricInfo

OURS = Description(
    title="Capitals",
    metrics={"right": MetricInfo(label="Named", unit="share"), "chars": MetricInfo(label="Length", unit="characters")},
    paired=("right",),
)


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    descriptions._learned.clear()
    info.cache_clear()


def test_what_nobody_described_is_a_number_under_its_own_name() -> None:
    assert (title("capitals@1"), described("capitals@1").metrics) == ("capitals@1", {})
    assert info("capitals@1", "right") == MetricInfo(label="right", unit="points", better=0)
    assert bounds_of("capitals@1", "right") is None


def test_what_is_learnt_holds_at_once_and_for_parts() -> None:
    assert info("capitals@1", "right").unit == "points"
    learn("capitals@1", OURS)
    assert title("capitals@1") == "Capitals"
    assert info("capitals@1", "right").label == "Named"
    assert info("capitals@1", "right/new_world") == MetricInfo(label="new world", unit="share")
    assert bounds_of("capitals@1", "right/new_world") == (0, 1)
    assert in_order("capitals@1", ["odd", "chars", "right"]) == ["right", "chars", "odd"]
    assert in_table("capitals@1", ["odd", "right"]) == ["right", "odd"]
    assert place("capitals@1") == len(BUILT_IN)
    learn("capitals@1", OURS.model_copy(update={"title": "Capitals, again"}))
    assert title("capitals@1") == "Capitals, again"


@pytest.mark.parametrize("key", ["nlp@7", "judge-accuracy-x@1", "quality@1"])
def test_srbenchs_own_cannot_be_described_by_others(key: str) -> None:
    before = title(key), info(key, "average"), info(key, "right")
    learn(key, OURS)
    assert is_own(key)
    assert (title(key), info(key, "average"), info(key, "right")) == before


def test_to_srbenchs_own_only_metrics_that_no_table_knows_are_added() -> None:
    toy = MetricInfo(label="toy (acc)", unit="share")
    brought = Description(title="Mine", metrics={"average": toy, "toy": toy}, paired=("average", "toy"))
    learn("nlp@1", brought)
    table = BUILT_IN["nlp@1"]
    assert (title("nlp@1"), info("nlp@1", "average")) == ("NLP benchmarks", table.metrics["average"])
    assert info("nlp@1", "toy") == toy
    assert described("nlp@1").paired == (*table.paired, "toy")
    assert in_table("nlp@1", ["toy", "average", "odd"]) == ["average", "toy"]
    learn("nlp@1", Description(title="x", metrics={"toy": toy.model_copy(update={"label": "toy (f1)"})}))
    assert info("nlp@1", "toy").label == "toy"  # two numbers of one name: neither label would hold for both


def test_every_row_is_described_by_the_table() -> None:
    for name in BENCHMARKS:
        benchmark = open_benchmark(f"{name}:file" if name == "judge-accuracy-jsonl" else name)
        assert benchmark.description == BUILT_IN[benchmark.key]
        assert benchmark.description.paired
        assert is_own(benchmark.key)


def test_the_parts_that_are_compared_are_those_there_are() -> None:
    def parts(key: str, whole: str) -> set[str]:
        return {p.partition("/")[2] for p in BUILT_IN[key].paired if p.startswith(f"{whole}/")}

    assert parts("judge-accuracy-llmbar@1", "pairwise_accuracy") == set(LLMBAR)
    assert parts("mt-bench@1", "grade") == parts("mt-bench@1", "adjusted_win_rate") == set(TEMPERATURES)


def test_the_names_that_users_give_are_reserved() -> None:
    given = {name for rows in NAMES.values() for name in rows}
    assert given - ROWS.rows.keys() == ROWS.reserved


def _stored(path: Path, **values: object) -> Path:
    record = EvalResult(
        checkpoint="M1",
        fingerprint="f",
        benchmark="capitals@1",
        judge=None,
        metrics={"right": Metric(value=0.5, n_scored=2, n_total=2)},
        config_hash="c",
        versions={},
        seconds=1,
    )
    text = record.model_copy(update={"description": OURS}).model_dump_json()
    for old, new in values.items():
        text = text.replace(old, str(new))
    path.write_text(text, encoding="utf-8")
    return path


def test_a_result_brings_its_description(tmp_path: Path) -> None:
    standings.read_result(_stored(tmp_path / "result.json"))
    assert title("capitals@1") == "Capitals"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Capitals", "x" * 101),
        ("Named", "x" * 201),
        ("share", "elephants"),
        ("Named", ""),
        ('"better":1', '"better":2'),
    ],
)
def test_a_description_out_of_bounds_is_no_result(tmp_path: Path, old: str, new: str) -> None:
    with pytest.raises(DataError, match="damaged"):
        standings.read_result(_stored(tmp_path / "result.json", **{old: new}))
    assert title("capitals@1") == "capitals@1"


def test_a_description_has_a_bounded_size() -> None:
    many = {f"m{i}": OURS.metrics["right"] for i in range(501)}
    with pytest.raises(ValidationError, match="at most 500"):
        Description(title="x", metrics=many)
    with pytest.raises(ValidationError, match="at most 500"):
        Description(title="x", paired=tuple(many))
