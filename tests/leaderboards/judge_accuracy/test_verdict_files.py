"""Finished verdicts on pairs: the documented layout, the published ones, and the numbers that come of them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from leaderboards.base import Finished, Outcome, Setting, Subject, summarise
from leaderboards.judge_accuracy.pairs import PairsJudgeAccuracy
from leaderboards.judge_accuracy.verdict_files import read_verdicts, recognise
from selfreward_bench.config import RunConfig
from selfreward_bench.errors import DataError


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def scored(path: Path) -> Outcome:
    benchmark = PairsJudgeAccuracy()
    kind = benchmark.recognise(path)
    assert kind is not None
    setting = Setting(RunConfig(), finished=Finished(kind, path))
    assert benchmark.plan(setting).units == 0
    assert benchmark.identity(setting)["finished"]

    def no_engine() -> Any:
        raise AssertionError("finished verdicts need no model")

    return benchmark.run(Subject("judge", no_engine, setting, path.parent, lambda n: None))


def values(outcome: Outcome) -> dict[str, float | None]:
    found = summarise(outcome.rows, PairsJudgeAccuracy.key) | dict(outcome.metrics)
    return {name: metric.value for name, metric in found.items()}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("id;label;ab;ba\np;A;A;tie\n", (1.0, 0.5)),
        ('subset,results,scores_chosen,scores_rejected\nx,0,"[1.5]","[0.5]"\n', (1.0, None)),
        ("subset;results;scores_chosen;scores_rejected\nx;0;10,5;9,5\n", (1.0, None)),
        ('chosen\tprometheus_score\nA\t["B", "A"]\n', (0.0, None)),
        ('label,source,judgments\nA>B,x,"[{""decision"": ""A>B""}, {""decision"": ""A=B""}]"\n', (1.0, 0.5)),
    ],
)
def test_verdicts_in_csv_are_those_in_json(tmp_path: Path, content: str, said: tuple[float, float | None]) -> None:
    path = tmp_path / "a.csv"
    path.write_text(content)
    (pair,) = read_verdicts(path).pairs
    assert (pair.ab, pair.ba) == said


def test_scores_in_csv_that_are_no_json_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("chosen,prometheus_score\nA,['A']\n")
    with pytest.raises(DataError, match=r"row 0: 'prometheus_score' is no JSON"):
        read_verdicts(path)
    path.write_text('subset,scores,num_correct\nx,"[[5.0], [1.0]]",1\n')
    (pair,) = read_verdicts(path).pairs
    assert pair.credit == 1.0


def own(*said: tuple[Any, ...]) -> list[dict[str, Any]]:
    return [{"id": f"p{i}", "label": label, "ab": ab, "ba": ba} for i, (label, ab, ba) in enumerate(said)]


def test_the_documented_layout(tmp_path: Path) -> None:
    rows = own(
        ("A", "A", "A"), ("B", "A", "B"), ("A", "A", "tie"), ("A", "B", "B"), ("B", None, "B"), ("tie", "tie", "TIE")
    )
    outcome = scored(lines(tmp_path / "mine.jsonl", *rows))
    found = values(outcome)
    assert found["agreement"] == pytest.approx(2 / 6)  # of all six: the first and the tie
    assert found["net"] == pytest.approx(3 / 5)  # of those with a winner: A A, A tie, and None B
    assert found["consistency"] == pytest.approx(3 / 5)  # of those with two verdicts
    assert found["pairwise_accuracy"] == pytest.approx((1 + 0.5 + 0.5 + 0) / 4)
    assert found["pairwise_accuracy_ties_wrong"] == pytest.approx(1 / 4)
    assert found["pairwise_accuracy_ties_dropped"] == pytest.approx(1 / 2)
    assert found["label_accuracy"] == pytest.approx(2 / 5)
    assert found["parse_failures"] == pytest.approx(1 / 12)
    assert outcome.notes == ()


def test_verdicts_of_one_order_have_no_numbers_of_two(tmp_path: Path) -> None:
    rows = [
        {"id": 1, "label": "A", "ab": "B", "category": "code"},
        {"id": 2, "label": "A", "ab": "A", "category": "a/b"},
    ]
    outcome = scored(lines(tmp_path / "mine.jsonl", *rows))
    found = values(outcome)
    assert found["pairwise_accuracy"] == 0.5
    assert (found["pairwise_accuracy/code"], found["pairwise_accuracy/a_b"], found["subset_average"]) == (0, 1, 0.5)
    assert not {"agreement", "net", "consistency"} & found.keys()
    assert "position bias" in outcome.notes[0]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"id": "a", "label": "A", "ab": "first"}, r"mine\.jsonl:1: ab is 'first'.*A, B, tie, or null"),
        ({"id": "a", "label": None, "ab": "A"}, "label is null"),
        ({"id": "a", "label": 1, "ab": "A"}, "label is '1'"),
    ],
)
def test_what_is_no_verdict_is_named(tmp_path: Path, row: dict[str, Any], problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        read_verdicts(lines(tmp_path / "mine.jsonl", row))


def test_a_pair_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'p0' is there more than once"):
        read_verdicts(lines(tmp_path / "mine.jsonl", *own(("A", "A", "A")), *own(("A", "B", "B"))))


def test_other_files_hold_no_verdicts(tmp_path: Path) -> None:
    assert recognise(lines(tmp_path / "a.jsonl", {"prompt": "x", "response": "y"})) is None
    assert recognise(tmp_path) is None
    with pytest.raises(DataError, match="no verdicts on pairs"):
        read_verdicts(tmp_path / "a.jsonl")


def test_judgebench(tmp_path: Path) -> None:
    """The second judgment saw the responses swapped; JudgeBench's number is ``net``."""

    def pair(name: str, label: str, first: Any, second: Any, source: str) -> dict[str, Any]:
        made = [None if d is None else {"judgment": {}, "decision": d} for d in (first, second)]
        return {"pair_id": name, "source": source, "label": label, "judge_name": "x", "judgments": made}

    rows = [
        pair("a", "A>B", "A>B", "B>A", "mmlu-pro-law"),  # right twice
        pair("b", "B>A", "B>A", "A=B", "livecodebench"),  # right and a tie
        pair("c", "A>B", "A>B", "A>B", "livebench-math"),  # right and wrong
        pair("d", "A>B", None, "B>A", "livebench-reasoning"),  # nothing and right
        pair("e", "A>B", "B>A", None, "mmlu-pro-law"),
    ]
    found = values(scored(lines(tmp_path / "out.jsonl", *rows)))
    assert found["net"] == pytest.approx(3 / 5)
    assert found["net/Knowledge"] == 0.5
    assert found["agreement"] == pytest.approx(1 / 5)
    assert found["parse_failures"] == pytest.approx(2 / 10)


def test_auto_j(tmp_path: Path) -> None:
    """Labels in the test set, verdicts by place, 2 is a tie that people could say too."""
    source = [{"scenario": s, "label": label} for s, label in (("code", 0), ("code", 1), ("chat", 2), ("chat", 0))]
    lines(tmp_path / "test/testdata_pairwise.jsonl", *({"prompt": "x", **row} for row in source))
    straight = lines(tmp_path / "outputs/pairwise_example_output.jsonl", *({"output": n} for n in (0, 0, 2, 0)))
    single = values(scored(straight))
    assert single["label_accuracy"] == pytest.approx(3 / 4)
    lines(tmp_path / "outputs/pairwise_exchange_example_output.jsonl", *({"output": n} for n in (1, 0, 2, 0)))
    for path in (tmp_path, straight):
        found = values(scored(path))
        assert found["agreement"] == pytest.approx(2 / 4)
        assert found["consistency"] == pytest.approx(2 / 4)
        assert found["agreement/chat"] == 0.5
    lines(tmp_path / "outputs/pairwise_example_output.jsonl", {"output": 0})
    with pytest.raises(DataError, match="1 and 4 verdicts on the 4 pairs"):
        read_verdicts(tmp_path)


def test_rewardbench(tmp_path: Path) -> None:
    content = {
        "id": [1, 2, 2, 3],
        "subset": ["alpacaeval-easy", "alpacaeval-easy", "alpacaeval-easy", "math-prm"],
        "results": [1, 0, 0, 0.5],
        "scores_chosen": [2.5, [1.0], 1.0, None],
        "scores_rejected": [1.5, [3.0], 1.0, None],
        "model": "mine/reward",
    }
    (tmp_path / "reward.json").write_text(json.dumps(content))
    found = values(scored(tmp_path / "reward.json"))
    assert found["pairwise_accuracy/alpacaeval-easy"] == pytest.approx(1.5 / 3)
    assert found["pairwise_accuracy_ties_wrong/alpacaeval-easy" if False else "pairwise_accuracy_ties_wrong"] == 0.25
    assert found["pairwise_accuracy/math-prm"] == 0.5
    assert found["subset_average"] == 0.5


def test_rewardbench_2(tmp_path: Path) -> None:
    content = {
        "id": ["1", "2", "3", "ref:7", "tied:7"],
        "subset": ["Math", "Math", "Safety", "Ties", "Ties"],
        "num_correct": [1, 1, 1, 1, 2],
        "scores": [[3, 1, 2, 0], [[2], [2], [1], [0]], [0, 1, 0, 0], [5, 1], [4, 3, 1, 0]],
        "results": [1, 0.5, 0, None, None],
    }
    (tmp_path / "reward.json").write_text(json.dumps(content))
    found = values(scored(tmp_path / "reward.json"))
    assert (found["best_of_n/Math"], found["best_of_n/Safety"]) == (0.75, 0)
    by_how_much = math.tanh(2 / 1 - 1)  # the least gap, of ref 4 and of tied 2, over that among the right ones
    assert found["ties_score"] == pytest.approx(0.3 + 0.3 + 0.2 + 0.2 + 0.01 * by_how_much)
    assert found["subset_average"] == pytest.approx((0.75 + 0 + found["ties_score"]) / 3)  # type: ignore[operator]


def test_a_score_that_is_no_number_moves_no_other_into_its_place(tmp_path: Path) -> None:
    """The right response is the first one, by its place."""
    rows = [
        {"id": 1, "subset": "Math", "num_correct": 1, "scores": [math.nan, 3.0, 1.0, 0.0]},
        {"id": 2, "subset": "Math", "num_correct": 1, "scores": [2.0, 1.0, 0.0, 0.0]},
        {"id": 3, "subset": "Safety", "num_correct": 1, "scores": [0.0, "nan", 0.0, 0.0]},
    ]
    outcome = scored(lines(tmp_path / "reward.jsonl", *rows))
    assert [row.value for row in outcome.rows] == [None, 1.0, None]
    assert values(outcome)["best_of_n"] == 1.0
    assert "subset_average" not in values(outcome)  # of one subset alone


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"prometheus_score": [[4]], "tie": 0}], "grades of one response"),
        ([{"id": 1, "subset": "Math", "num_correct": 1, "scores": [None]}], "not as RewardBench 2"),
        ([{"label": "A>B", "judgments": []}, {"label": "A>B"}], r"jsonl:2: 'judgments' is missing"),
    ],
)
def test_rows_of_a_known_layout_that_hold_something_else(
    tmp_path: Path, rows: list[dict[str, Any]], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        read_verdicts(lines(tmp_path / "x_output.jsonl", *rows))


def test_prometheus(tmp_path: Path) -> None:
    rows = [
        {"chosen": "A", "tie": 0, "prometheus_score": ["A"], "source": "helpful"},
        {"chosen": "B", "tie": 0, "prometheus_score": ["A"], "source": "helpful"},
        {"chosen": "tie", "tie": 1, "prometheus_score": ["TIE"], "source": "other"},
        {"chosen": "B", "prometheus_score": [None], "prometheus_output": ["Feedback. [RESULT] B"], "source": "other"},
        {"chosen": "B", "prometheus_score": [None], "prometheus_output": [None], "source": "other"},
    ]
    found = values(scored(lines(tmp_path / "hhh_r2r_output.json", *rows)))
    assert found["pairwise_accuracy/helpful"] == 0.5
    assert found["label_accuracy"] == pytest.approx(3 / 4)
    assert found["parse_failures"] == pytest.approx(1 / 5)
    graded = [{"prometheus_score": [[4, 5], [2, 5]], "tie": 0}, {"prometheus_score": [[3], [3]], "tie": 0}]
    assert values(scored(lines(tmp_path / "a2r_output.json", *graded)))["pairwise_accuracy"] == 0.75


def test_a_model_that_is_asked_to_judge_is_told_what_to_take() -> None:
    with pytest.raises(DataError, match=r"--checkpoint FILE.*judge-accuracy-jsonl:FILE"):
        PairsJudgeAccuracy().plan(Setting(RunConfig()))
