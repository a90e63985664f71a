"""Finished AlpacaEval files: whose rows are scored, and which are left out, counted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from leaderboards.alpaca_eval.files import Instruction
from leaderboards.alpaca_eval.finished import read_given, score_annotations
from leaderboards.alpaca_eval.scores import LengthModel
from selfreward_bench.errors import DataError


def task(text: str, occurrence: int = 0) -> Instruction:
    return Instruction(f"{text}/{occurrence}", 0, text, occurrence, "koala", "ref", "base", 0.0)


TASKS = [task("a"), task("b"), task("a", 1)]


def write(path: Path, rows: list[tuple[str, str, str]]) -> Path:
    content: list[dict[str, Any]] = [{"instruction": i, "output": o, "generator": g} for i, o, g in rows]
    path.write_text(json.dumps(content))
    return path


def test_repeated_instructions_and_those_of_others_are_counted_apart(tmp_path: Path) -> None:
    rows = [("a", "1", "m"), ("b", "2", "m"), ("a", "3", "m"), ("b", "4", "m"), ("a", "5", "m"), ("z", "6", "m")]
    given, counts = read_given(write(tmp_path / "o.json", rows), TASKS)
    assert {name: g.text for name, g in given.items()} == {"a/0": "1", "b/0": "2", "a/1": "3"}  # "a" is asked twice
    assert {name: (m.value, m.n_total) for name, m in counts.items()} == {
        "other_instructions": (1, 6),
        "repeated_instructions": (2, 6),
    }
    assert read_given(write(tmp_path / "o.json", rows[:3]), TASKS)[1] == {}


def test_a_file_of_several_models_needs_a_name(tmp_path: Path) -> None:
    rows = [("a", "1", "m"), ("b", "2", "m"), ("a", "3", "n"), ("b", "4", "n")]
    path = write(tmp_path / "o.json", rows)
    for model, texts in (("m", ["1", "2"]), ("n", ["3", "4"])):
        given, counts = read_given(path, TASKS[:2], model)
        assert ([g.text for g in given.values()], counts) == (texts, {})
    with pytest.raises(DataError, match=r"o\.json holds 2 models\. Name one of them, as --checkpoint .*: m, n\."):
        read_given(path, TASKS)
    with pytest.raises(DataError, match=r"2 models and none is called 'o'"):
        read_given(path, TASKS, "o")


def test_a_name_that_is_given_must_be_that_of_the_model(tmp_path: Path) -> None:
    path = write(tmp_path / "o.json", [("a", "1", "m")])
    assert read_given(path, TASKS, "m")[0]["a/0"].text == "1"
    with pytest.raises(DataError, match=r"1 model and none is called 'other'.*: m\."):
        read_given(path, TASKS, "other")


def test_rows_without_a_generator_are_of_the_one_model(tmp_path: Path) -> None:
    given, _ = read_given(write(tmp_path / "o.json", [("a", "1", "m"), ("b", "2", "")]), TASKS)
    assert given["b/0"].text == "2"


def annotations(path: Path, reference: str, generator: str | None) -> Path:
    rows = [
        {"instruction": text, "output_1": reference, "output_2": text * (i + 2), "preference": 1.0 + (i % 2)}
        | {"generator_1": generator, "generator_2": "m", "annotator": "judge"}
        for i, text in enumerate(map(str, range(20)))
    ]
    path.write_text(json.dumps(rows))
    return path


def test_another_reference_is_named_and_has_no_length_controlled_win_rate(tmp_path: Path) -> None:
    tasks = [task(str(i)) for i in range(20)]
    own = score_annotations(annotations(tmp_path / "a.json", "ref", "base"), tasks, LengthModel())
    assert "length_controlled_winrate" in own.metrics
    assert (own.judge, own.notes) == ("judge (finished annotations)", ())
    other = score_annotations(annotations(tmp_path / "b.json", "another answer", "davinci"), tasks, LengthModel())
    assert other.metrics["n_wins"].value == own.metrics["n_wins"].value
    assert not [name for name in other.metrics if name.startswith(("length_controlled", "lc_"))]
    assert other.replicates == {}
    assert other.judge == "judge (finished annotations, against davinci)"
    assert other.notes[0] == "the reference is davinci, not GPT-4 Turbo (gpt4_1106_preview)"
    assert "no length-controlled win rate" in other.notes[1]
    unnamed = score_annotations(annotations(tmp_path / "c.json", "another answer", None), tasks, LengthModel())
    assert "an unnamed model" in unnamed.notes[0]


def test_published_weights_are_looked_up_by_the_models_names(tmp_path: Path) -> None:
    asked: list[list[str]] = []

    def published(names: Sequence[str]) -> Sequence[float]:
        asked.append(list(names))
        return (0.0, 0.0, 0.0)

    (tmp_path / "NullModel").mkdir()
    path = annotations(tmp_path / "NullModel/a.json", "ref", "base")
    score_annotations(path, [task(str(i)) for i in range(20)], LengthModel(), published=published)
    assert asked[0][:2] == ["m", "NullModel"]
