"""What came of an evaluation: whether anything got a score, its tables, and how it is loaded again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from leaderboards import standings
from leaderboards.evaluation import Evaluation
from leaderboards.standings import Failure, Rating, Tournament, write_record
from selfreward_bench.errors import DataError, UnknownNameError
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


# --- tables


BOTH = Evaluation(
    Path(), (result("nlp@1", {"average": SOME, "piqa": SOME}), result("micro-nlp@1", {"average": NONE, "extra": SOME}))
)


@pytest.mark.parametrize(
    ("benchmarks", "metrics", "rows"),
    [
        ((), (), 4),
        ("nlp", (), 2),
        ("nlp@1", "piqa", 1),
        ("micro-nlp", ["average", "extra"], 2),
        (["nlp", "micro-nlp"], "average", 2),
        ((), "extra", 1),
    ],
)
def test_metrics_of_some_benchmarks(benchmarks: str | list[str], metrics: str | list[str], rows: int) -> None:
    found = BOTH.metrics(benchmarks, metrics)
    assert len(found) == rows
    if benchmarks in ("nlp", "nlp@1"):  # a name that fits exactly is no short name of another
        assert set(found.benchmark) == {"nlp@1"}


@pytest.mark.parametrize(
    ("benchmarks", "metrics", "message"),
    [
        ("nlq", (), "Unknown benchmark 'nlq'. Did you mean 'nlp'"),
        (["nlp", ""], (), "Unknown benchmark ''"),
        ("nlp", "avrage", "Unknown metric 'avrage'. Did you mean 'average'"),
        ("nlp", "extra", "Unknown metric 'extra'"),
        ((), ["average", "win_rate"], "Unknown metric 'win_rate'"),
    ],
)
def test_an_unknown_name_is_no_empty_table(benchmarks: str | list[str], metrics: str | list[str], message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        BOTH.metrics(benchmarks, metrics)


def test_samples_of_an_unknown_benchmark() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'micro-nlp'"):
        BOTH.samples("micro-npl")


def tournament(**checkpoints: str) -> Tournament:
    ratings = tuple(Rating(checkpoint=n, rating=1000.0, n_scored=2, n_total=3) for n in checkpoints)
    return Tournament(
        benchmark="head-to-head@1",
        checkpoints=checkpoints,
        judge="j",
        rule="agree",
        anchor=next(iter(checkpoints)),
        n_prompts=1,
        pairs=(),
        ratings=ratings,
        comparability={},
    )


def test_head_to_head_has_a_rating_for_each_model() -> None:
    found = Evaluation(Path(), (), tournament=tournament(a="f", b="g"))
    assert found.benchmarks == ("head-to-head@1",)
    rows = found.metrics("head-to-head").to_dict("records")
    assert [(r["checkpoint"], r["metric"], r["value"], r["n_scored"], r["judge"]) for r in rows] == [
        ("a", "rating", 1000.0, 2, "j"),
        ("b", "rating", 1000.0, 2, "j"),
    ]


# --- loaded again


def test_results_are_loaded_as_they_are_stored(run: Path) -> None:
    found = Evaluation.load(run)
    assert [r.checkpoint for r in found.results] == [n for n in ("SFT", "M1", "M2", "M3") for _ in range(2)]
    assert found.results[0] == standings.read_result(run / "SFT" / "eval" / "micro-quality@1" / "result.json")
    assert found.root == run
    assert (found.errors, found.tournament) == ((), None)
    assert set(found.samples("quality").checkpoint) == {"SFT", "M1", "M2", "M3"}


@pytest.mark.parametrize("place", ["M2", "M2/eval", "M2/../M2"])
def test_one_models_results_are_loaded(run: Path, place: str) -> None:
    found = Evaluation.load(run / place)
    assert {r.checkpoint for r in found.results} == {"M2"}
    assert len(found.samples("quality")) == len(Evaluation.load(run).samples("quality").query("checkpoint == 'M2'"))


def test_this_directory_is_a_model_too(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run / "M1")
    assert {r.checkpoint for r in Evaluation.load(Path()).results} == {"M1"}


def test_a_model_is_called_as_its_directory(run: Path) -> None:
    shutil.copytree(run / "M2", run / "copy")
    path = run / "copy" / "eval" / "micro-quality@1" / "result.json"
    write_record(path, standings.read_result(path).model_copy(update={"checkpoint": "../../elsewhere"}))
    found = Evaluation.load(run / "copy")
    assert {r.checkpoint for r in found.results} == {"copy"}
    assert len(found.samples("quality")) > 0


def test_failures_are_loaded_as_errors(run: Path) -> None:
    failure = Failure(checkpoint="M1", fingerprint="f", benchmark="nlp@1", error="DataError", message="no data")
    write_record(run / "M1" / "eval" / "nlp@1" / "failure.json", failure)
    assert Evaluation.load(run).errors == ("M1: nlp@1: no data",)
    write_record(run / "other" / "M1" / "eval" / "nlp@1" / "failure.json", failure)
    found = Evaluation.load(run / "other")
    assert (found.results, found.errors) == ((), ("M1: nlp@1: no data",))


def test_a_tournament_of_other_weights_is_left_out(run: Path) -> None:
    prints = {r.checkpoint: r.fingerprint for r in Evaluation.load(run).results}
    for of, there in (({**prints}, True), ({**prints, "M2": "other"}, False), ({"M9": "x"}, True)):
        write_record(run / "head-to-head" / "head_to_head.json", tournament(**of))
        assert (Evaluation.load(run).tournament is not None) is there
    assert Evaluation.load(run / "M2").tournament is None


@pytest.mark.parametrize("name", ["nowhere", "empty", "a\0b", "file"])
def test_where_there_are_no_results(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError):
        Evaluation.load(tmp_path / name)


def test_a_result_of_another_benchmark_is_refused(run: Path) -> None:
    (run / "M1" / "eval" / "micro-quality@1").rename(run / "M1" / "eval" / "nlp@1")
    with pytest.raises(DataError, match="is a result of 'micro-quality@1', not of 'nlp@1'"):
        Evaluation.load(run)
