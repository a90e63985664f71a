"""Finished outputs and annotations held head to head: whose they are, on which prompts, and what comes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from leaderboards import standings
from leaderboards.head_to_head.answers import read_entry
from leaderboards.head_to_head.finished import (
    given_prompts,
    holds_annotations,
    holds_answers,
    score_annotations,
    store_given,
)
from selfreward_bench.errors import DataError

TEXTS = ["Name a food.", "Count to 3.", "Say hello."]


def put(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows))
    return path


def outputs(path: Path, *texts: str, **more: Any) -> Path:
    return put(path, [{"instruction": t, "output": f"{path.stem}: {t}", **more} for t in texts])


def test_outputs_become_the_answers_of_a_model(tmp_path: Path) -> None:
    first = outputs(tmp_path / "M1.json", *TEXTS, TEXTS[0], generator="M1")
    prompts = given_prompts(first)
    assert [p.text for p in prompts] == TEXTS  # each once
    assert [p.text for p in given_prompts(first, 2)] == TEXTS[:2]
    other = put(tmp_path / "M2.jsonl", [{"prompt": TEXTS[2], "response": "Hi."}, {"prompt": "Other.", "response": "x"}])
    assert holds_answers(first)
    assert holds_answers(other)
    store_given(other, prompts, tmp_path / "h", "M2", "f", None)
    entry = read_entry("M2", tmp_path / "h")
    assert {i: c.text for i, c in entry.answers.items()} == {prompts[2].id: "Hi."}
    mixed = put(
        tmp_path / "two.json",
        [{"instruction": TEXTS[0], "output": who, "generator": who} for who in ("a", "b")],
    )
    found = store_given(mixed, prompts, tmp_path / "b", "b", "f", "b")
    assert [c.text for c in found.answers.values()] == ["b"]


def test_outputs_on_other_prompts_are_refused(tmp_path: Path) -> None:
    prompts = given_prompts(outputs(tmp_path / "M1.json", *TEXTS))
    with pytest.raises(DataError, match=r"M2\.json answers none of the 3 prompts.*head-to-head:FILE"):
        store_given(outputs(tmp_path / "M2.json", "Other."), prompts, tmp_path / "h", "M2", "f", None)


def test_what_holds_no_answers(tmp_path: Path) -> None:
    judged = [{"instruction": "a", "output_1": "x", "output_2": "y", "preference": 1.0}]
    assert not holds_answers(put(tmp_path / "annotations.json", judged))
    assert not holds_annotations(tmp_path / "annotations.json")  # whose the reference is, it does not say
    assert not holds_answers(tmp_path / "none.json")
    assert not holds_answers(None)
    (tmp_path / "broken.json").write_text("[{")
    assert not holds_answers(tmp_path / "broken.json")


def annotated(path: Path, model: str, reference: str, *preferences: float | None) -> Path:
    rows = [
        {"instruction": t, "output_1": "x", "output_2": "y", "preference": p, "annotator": "judge"}
        | {"generator_1": reference, "generator_2": model}
        for t, p in zip(TEXTS, preferences, strict=False)
    ]
    return put(path, rows)


def test_annotations_of_a_pair_need_nobody(tmp_path: Path) -> None:
    file = annotated(tmp_path / "a.json", "M2", "M1", 1.9, 1.2, None)
    assert holds_annotations(file)
    found = score_annotations([file], tmp_path / "out")
    (pair,) = found.pairs
    assert (pair.a, pair.b, pair.n_scored, pair.n_total) == ("M2", "M1", 2, 3)
    assert (pair.win, pair.loss) == (0.5, 0.5)
    assert found.judge == "judge (finished annotations)"
    assert standings.read_tournament(tmp_path / "out") == found


def test_a_pair_annotated_in_both_roles_has_both_orders(tmp_path: Path) -> None:
    """The second prompt is won by whoever is not the reference: a tie, as in the paper."""
    files = [
        annotated(tmp_path / "a.json", "M2", "M1", 1.9, 1.9),
        annotated(tmp_path / "b.json", "M1", "M2", 1.1, 1.9),
        annotated(tmp_path / "c.json", "M3", "M2", 1.0, 0.0),
    ]
    found = score_annotations(files, tmp_path / "out")
    by_names = {(p.a, p.b): p for p in found.pairs}
    assert by_names.keys() == {("M2", "M1"), ("M3", "M2")}
    assert (by_names["M2", "M1"].win, by_names["M2", "M1"].tie) == (0.5, 0.5)
    assert (by_names["M3", "M2"].loss, by_names["M3", "M2"].tie) == (0.5, 0.5)
    assert list(found.checkpoints) == ["M1", "M2", "M3"]


@pytest.mark.parametrize("turned", [False, True])
def test_two_judges_are_no_two_orders(tmp_path: Path, *, turned: bool) -> None:
    pair = {"instruction": "a", "output_1": "x", "output_2": "y", "generator_1": "M1", "generator_2": "M2"}
    other = pair | ({"generator_1": "M2", "generator_2": "M1"} if turned else {})
    first = put(tmp_path / "1.json", [pair | {"annotator": "one", "preference": 1}])
    second = put(tmp_path / "2.json", [other | {"annotator": "two", "preference": 2}])
    with pytest.raises(DataError, match=r"2\.json: 'one' and 'two' judge the same outputs"):
        score_annotations([first, second], tmp_path / "out")
