"""Published AlpacaEval 2.0 rows, recomputed from their published annotations. Needs the data (SRBENCH_DATA_DIR)."""

from __future__ import annotations

import csv
import json
import math
import os
import random
from functools import cache
from pathlib import Path
from typing import Literal

import pytest

from leaderboards.alpaca_eval.annotators import LogprobVerdict, load_annotator, switched
from leaderboards.alpaca_eval.benchmark import AlpacaEval
from leaderboards.alpaca_eval.files import load_instructions, read_annotations
from leaderboards.alpaca_eval.judging import first_token_verdict
from leaderboards.base import Finished, Setting, Subject, summarise
from selfreward_bench.config import RunConfig
from selfreward_bench.engines.base import Engine
from selfreward_bench.sources.directory import DataDir
from selfreward_bench.types import Metric

ROOT = Path(os.environ.get("SRBENCH_DATA_DIR", "/nowhere"))
RESULTS = ROOT / "alpaca_eval/results"
JUDGE = "weighted_alpaca_eval_gpt4_turbo"
MODELS = (
    "claude-2",
    "humpback-llama2-70b",
    "text_davinci_001",
    "alpaca-7b",
    "FuseChat-Llama-3.1-8B-Instruct",
    "NullModel",
    "gpt4_1106_preview",
)
GAPS = ("text_davinci_001",)  # 803 of 805 instructions

pytestmark = pytest.mark.skipif(not RESULTS.is_dir(), reason="SRBENCH_DATA_DIR names no AlpacaEval results")


def annotations_of(model: str) -> Path:
    return RESULTS / model / JUDGE / "annotations.json.gz"


@cache
def score(path: Path, lc_strength: Literal["cv", "published"] = "cv") -> dict[str, Metric]:
    def no_engine() -> Engine:
        raise AssertionError("nobody is asked")

    kind = AlpacaEval().recognise(path)
    assert kind is not None
    config = RunConfig()
    config = config.model_copy(update={"eval": config.eval.model_copy(update={"lc_strength": lc_strength})})
    setting = Setting(config, DataDir(ROOT), finished=Finished(kind, path))
    outcome = AlpacaEval().run(Subject("m", no_engine, setting, Path("/nowhere"), lambda _: None))
    return summarise(outcome.rows) | dict(outcome.metrics)


@cache
def published() -> dict[str, dict[str, str]]:
    with (ROOT / f"alpaca_eval/leaderboards/{JUDGE}_leaderboard.csv").open() as stream:
        return {row[""]: row for row in csv.DictReader(stream)}


def assert_equal_to_published(model: str, found: dict[str, Metric]) -> None:
    row = {name: float(text) for name, text in published()[model].items() if name not in ("", "mode") and text}
    value = {name: metric.value for name, metric in found.items()}
    for name in ("n_wins", "n_wins_base", "n_draws", "n_total"):
        assert value[name] == row[name]
    for name in ("win_rate", "standard_error", "discrete_win_rate"):
        assert value[name] == pytest.approx(row[name], abs=1e-9)
    # the leaderboard gives difficulties out by row, which differs from doing so by instruction where rows are missing
    name = "length_controlled_winrate"
    assert value[f"{name}_by_position" if model in GAPS else name] == pytest.approx(row[name], abs=1e-6)
    if "lc_standard_error" in row:
        assert value["lc_standard_error"] == pytest.approx(row["lc_standard_error"], abs=1e-9)
    length = found["avg_length"]
    assert length.value is not None
    # the leaderboard cuts fractions off, and counts two missing answers as empty
    assert math.floor(length.value * length.n_scored / 805 if model in GAPS else length.value) == row["avg_length"]


@pytest.mark.parametrize("model", ["claude-2", "humpback-llama2-70b", "alpaca-7b", "FuseChat-Llama-3.1-8B-Instruct"])
def test_published_weights_give_the_published_length_controlled_win_rate(model: str) -> None:
    found = score(annotations_of(model), "published")["length_controlled_winrate"]
    assert found.value == pytest.approx(float(published()[model]["length_controlled_winrate"]), abs=1e-4)


def test_published_weights_that_are_not_of_the_published_row() -> None:
    """NullModel's weights are of another strength than its row, whose number cross-validation gives."""
    found = score(annotations_of("NullModel"), "published")["length_controlled_winrate"]
    assert found.value == pytest.approx(86.3250, abs=1e-3)


@pytest.mark.parametrize("model", MODELS)
def test_a_published_row_is_reproduced(model: str) -> None:
    found = score(annotations_of(model))
    assert_equal_to_published(model, found)
    controlled = found["length_controlled_winrate"]
    assert controlled.low is not None
    assert controlled.high is not None
    assert controlled.value is not None
    assert controlled.low <= controlled.value <= controlled.high


@pytest.mark.parametrize(
    "model", [*MODELS[2:4], *(pytest.param(m, marks=pytest.mark.slow) for m in (*MODELS[:2], *MODELS[4:]))]
)
def test_the_order_of_rows_does_not_matter(model: str, tmp_path: Path) -> None:
    rows = [a.model_dump(exclude={"raw_completion"}) for a in read_annotations(annotations_of(model))]
    random.Random(f"shuffle {model}").shuffle(rows)
    file = tmp_path / "annotations.json"
    file.write_text(json.dumps(rows))
    assert_equal_to_published(model, score(file))


def test_where_rows_are_missing_difficulties_stay_with_their_instructions() -> None:
    found = score(annotations_of("text_davinci_001"))
    assert (found["win_rate"].n_scored, found["win_rate"].n_total) == (803, 805)
    assert found["length_controlled_winrate"].value == pytest.approx(6.478, abs=0.001)
    assert found["length_controlled_winrate_by_position"].value == pytest.approx(9.0257, abs=0.0001)


def test_the_interval_is_wider_than_that_of_the_fitted_values() -> None:
    found = score(annotations_of("claude-2"))
    controlled, error = found["length_controlled_winrate"], found["lc_standard_error"]
    assert controlled.low is not None
    assert controlled.high is not None
    assert error.value is not None
    assert controlled.high - controlled.low > 1.5 * 2 * 1.96 * error.value


@pytest.mark.parametrize("model", [m for m in MODELS if m != "FuseChat-Llama-3.1-8B-Instruct"])
def test_stored_preferences_follow_from_stored_log_probabilities_and_the_coin(model: str) -> None:
    verdict = load_annotator(JUDGE).verdict
    assert isinstance(verdict, LogprobVerdict)
    asked = 0
    for a in read_annotations(annotations_of(model)):
        again = first_token_verdict(a.raw_completion, verdict, "ba" if switched(a.instruction) else "ab")
        if again is None:
            assert a.preference == 1.5
            assert a.output_1 == a.output_2  # a draw nobody was asked about
        else:
            assert a.preference == pytest.approx(1 + again, abs=1e-9)
            asked += 1
    assert asked >= (0 if model == "gpt4_1106_preview" else 800)


def test_outputs_made_to_deceive_the_judge_are_noticed() -> None:
    annotator = load_annotator(JUDGE)
    noticed = {m: sum(annotator.quoted_in(a.output_2) for a in read_annotations(annotations_of(m))) for m in MODELS}
    assert noticed == {m: 805 if m == "NullModel" else 0 for m in MODELS}


def test_instructions_are_805_and_each_is_there_once() -> None:
    found = load_instructions(DataDir(ROOT))
    assert len(found) == len({i.text for i in found}) == len({i.id for i in found}) == 805
    assert {i.dataset for i in found} == {"helpful_base", "koala", "oasst", "selfinstruct", "vicuna"}
    assert {i.reference_by for i in found} == {"gpt4_1106_preview"}
