"""Finished judgments: duplicates and failures are seen, what FastChat prints is shown beside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from leaderboards.base import measures, summarise, unscored
from leaderboards.mt_bench.files import Item
from leaderboards.mt_bench.scores import Scored, score_pairs, score_singles
from selfreward_bench.errors import DataError
from selfreward_bench.types import Metric, SampleScore

Line = dict[str, Any]
ITEMS = [Item("81", "writing", ("Write.", "Shorter.")), Item("111", "math", ("1 + 1?", "Times 3?"))]


def single(question: int, turn: int, score: float, text: str | None = None, **changes: Any) -> Line:
    line = {"question_id": question, "model": "m", "judge": ["j", "single-v1"], "turn": turn, "score": score}
    return line | {"judgment": f"Rating: [[{score}]]" if text is None else text} | changes


def pair(question: int, turn: int, winners: tuple[str, str], texts: tuple[str, str], **changes: Any) -> Line:
    games = {"g1_winner": winners[0], "g2_winner": winners[1], "g1_judgment": texts[0], "g2_judgment": texts[1]}
    names = {"model_1": "m", "model_2": "n", "judge": ["j", "pair-v2"]}
    return {"question_id": question, "turn": turn, **names, **games} | changes


def write(path: Path, lines: list[Line]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def metrics_of(scored: Scored) -> dict[str, Metric]:
    return summarise(scored.rows) | scored.metrics


def row_of(scored: Scored, sample_id: str) -> SampleScore:
    return next(r for r in scored.rows if r.sample_id == sample_id)


WHOLE = [single(81, 1, 8), single(81, 2, 7.5), single(111, 1, 2), single(111, 2, 1)]


def test_a_whole_file(tmp_path: Path) -> None:
    found = metrics_of(score_singles(write(tmp_path / "j.jsonl", WHOLE[::-1]), ITEMS, "m"))
    values = {name: m.value for name, m in found.items()}
    assert values["grade"] == values["fastchat_grade"] == 18.5 / 4
    assert (values["grade_turn_1"], values["grade_turn_2"]) == (5, 4.25)
    assert (values["grade/writing"], values["grade/math"]) == (7.75, 1.5)
    assert (values["duplicates"], values["failed_judgments"], values["stored_score_differs"]) == (0, 0, 0)
    assert found["grade"].low is not None


def test_duplicates_and_failures_are_not_averaged_away(tmp_path: Path) -> None:
    lines = [*WHOLE[:2], single(81, 2, 3.5), single(111, 1, -1, "No idea."), single(111, 1, 4, model="other")]
    scored = score_singles(write(tmp_path / "j.jsonl", lines), ITEMS, "m")
    assert unscored(scored.rows) == {"duplicate": 1, "failed": 1, "not_in_file": 1}
    found = metrics_of(scored)
    assert (found["grade"].value, found["grade"].n_scored, found["grade"].n_total) == (8, 1, 4)
    assert found["duplicates"].value == found["failed_judgments"].value == 1
    fastchat = found["fastchat_grade"]
    assert (fastchat.value, fastchat.n_scored, fastchat.n_total) == (19 / 3, 3, 4)
    assert row_of(scored, "81/2").detail["stored_scores"] == [7.5, 3.5]


def test_the_text_counts_not_the_stored_score(tmp_path: Path) -> None:
    lines = [*WHOLE[:3], single(111, 2, 1, "As [1] says. Rating: 9")]  # FastChat's fallback reads a citation
    scored = score_singles(write(tmp_path / "j.jsonl", lines), ITEMS, "m")
    assert (row_of(scored, "111/2").value, row_of(scored, "111/2").reason) == (None, "no_verdict")
    assert scored.metrics["stored_score_differs"].value == 1
    assert scored.metrics["fastchat_grade"].value == 18.5 / 4
    assert summarise(scored.rows)["parse_failures"].value == 0.25


def test_a_judge_that_failed(tmp_path: Path) -> None:
    scored = score_singles(write(tmp_path / "j.jsonl", [*WHOLE[:3], single(111, 2, -1, "$ERROR$")]), ITEMS, "m")
    assert row_of(scored, "111/2").reason == "failed"


def test_the_model_is_named_or_the_only_one(tmp_path: Path) -> None:
    two = write(tmp_path / "j.jsonl", [*WHOLE, single(81, 1, 3, model="n")])
    assert metrics_of(score_singles(two, ITEMS, "n"))["grade"].value == 3
    with pytest.raises(DataError, match=r"2 models and none is called 'M1'.*m, n"):
        score_singles(two, ITEMS, "M1")
    assert metrics_of(score_singles(write(tmp_path / "k.jsonl", WHOLE), ITEMS, "M1"))["grade"].n_scored == 4


def test_unlike_judges_are_not_averaged(tmp_path: Path) -> None:
    path = write(tmp_path / "j.jsonl", [*WHOLE[:3], single(111, 2, 5, judge=["k", "single-v1"])])
    with pytest.raises(DataError, match=r"2 judges \(j, k\)"):
        score_singles(path, ITEMS, "m")


def test_a_file_of_other_questions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="judges none of the 2 questions"):
        score_singles(write(tmp_path / "j.jsonl", [single(1, 1, 5)]), ITEMS, "m")


# --- pairs

PAIRS = [
    pair(81, 1, ("model_1", "model_1"), ("[[A]]", "[[B]]")),
    pair(81, 2, ("model_1", "model_2"), ("[[A]]", "[[A]]")),
    pair(111, 1, ("tie", "model_2"), ("[[C]]", "[[A]]")),
    pair(111, 2, ("model_2", "model_2"), ("[[B]]", "[[A]]")),
]


@pytest.mark.parametrize(("model", "win", "loss"), [("m", 0.25, 0.25), ("n", 0.25, 0.25)])
def test_pairs_in_both_orders(tmp_path: Path, model: str, win: float, loss: float) -> None:
    scored = score_pairs(write(tmp_path / "p.jsonl", PAIRS), ITEMS, model)
    found = {name: m.value for name, m in metrics_of(scored).items()}
    assert (found["win_rate"], found["tie_rate"], found["loss_rate"]) == (win, 0.5, loss)
    assert found["adjusted_win_rate"] == found["fastchat_adjusted_win_rate"] == 0.5
    assert found["order_agreement"] == 0.5
    assert found["stored_score_differs"] == 0
    first, last = row_of(scored, "81/1").value, row_of(scored, "111/2").value
    assert (first, last) == ((1, 0) if model == "m" else (0, 1))


def test_a_pair_without_a_verdict_has_no_score(tmp_path: Path) -> None:
    lines = [
        *PAIRS[:2],
        pair(111, 1, ("model_1", "error"), ("[[A]]", "Hm.")),
        pair(111, 2, ("model_1", "model_2"), ("I like [[A]] and [[B]]", "[[A]]")),  # FastChat takes A
    ]
    scored = score_pairs(write(tmp_path / "p.jsonl", lines), ITEMS, "m")
    assert unscored(scored.rows) == {"no_verdict": 1, "conflicting": 1}
    found = metrics_of(scored)
    assert (found["failed_judgments"].value, found["stored_score_differs"].value) == (1, 1)
    assert (found["adjusted_win_rate"].value, found["fastchat_adjusted_win_rate"].value) == (0.75, 2 / 3)
    assert measures(row_of(scored, "111/1"))["parse_failures"] == 0.5


def test_a_pair_judged_twice(tmp_path: Path) -> None:
    scored = score_pairs(write(tmp_path / "p.jsonl", [*PAIRS, PAIRS[0]]), ITEMS, "m")
    assert (row_of(scored, "81/1").value, row_of(scored, "81/1").reason) == (None, "duplicate")
    assert scored.metrics["duplicates"].value == 1


def test_one_opponent_only(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", [*PAIRS, pair(81, 1, ("tie", "tie"), ("[[C]]", "[[C]]"), model_2="o")])
    with pytest.raises(DataError, match=r"compares 'm' with 2 models \(n, o\)"):
        score_pairs(path, ITEMS, "m")
    assert score_pairs(path, ITEMS, "o").metrics["duplicates"].n_total == 4
