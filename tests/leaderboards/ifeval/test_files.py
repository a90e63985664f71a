"""IFEval's prompts, and finished answers in the layouts of others."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from leaderboards.ifeval.files import KIND, PROMPTS, Responses, load_tasks, read_responses, recognise
from leaderboards.options import all_rows
from leaderboards.registry import open_benchmark
from selfreward_bench.errors import DataError
from selfreward_bench.models.candidates import parse_candidate
from selfreward_bench.sources.directory import DataDir

from .conftest import case, task

TASKS = [task(case("no_comma"), key=1), task(case("title"), case("quotation"), key=2)]


def lines(*rows: object) -> str:
    return "".join(json.dumps(r) + "\n" for r in rows)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text.encode())
    return path


def data(tmp_path: Path, text: str) -> DataDir:
    write(tmp_path / PROMPTS, text)
    return DataDir(tmp_path)


def row(**changes: object) -> dict[str, object]:
    return {"key": 7, "prompt": "P", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}], **changes}


def lm_eval(prompt: str, answer: str) -> dict[str, Any]:
    return {"doc_id": 0, "doc": row(prompt=prompt), "resps": [[answer]], "filtered_resps": [answer], "metrics": []}


def test_prompts_are_read_up_to_the_limit(tmp_path: Path) -> None:
    found = data(tmp_path, lines(*(t.model_dump(mode="json") for t in TASKS)))
    assert load_tasks(found) == TASKS
    assert load_tasks(found, 1) == TASKS[:1]
    assert [t.id for t in TASKS] == ["1", "2"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no prompts"),
        (lines(row(), row()), "two of one key"),
        (lines(row(kwargs=[])), "1 instructions and 0 kwargs"),
        (lines(row(), row(key="x")), r"input_data\.jsonl:2.*key"),
        (lines(row(more=1)), "more"),
    ],
)
def test_other_data_are_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        load_tasks(data(tmp_path, text))


def test_missing_data_name_the_command(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="srbench data pull ifeval"):
        load_tasks(DataDir(tmp_path))


@pytest.mark.parametrize("name", ["answers.jsonl", "answers.jsonl.gz"])
@pytest.mark.parametrize("layout", ["google", "lm-eval"])
def test_finished_answers_are_found_by_the_prompt(tmp_path: Path, name: str, layout: str) -> None:
    pairs = {"Prompt 2.": "two", "Prompt 1.": "one", "Of somebody else": "x"}
    made = [lm_eval(p, a) if layout == "lm-eval" else {"prompt": p, "response": a} for p, a in pairs.items()]
    path = write(tmp_path / name, "\ufeff" + lines(*made))
    assert recognise(path) == KIND
    assert read_responses(path, TASKS) == Responses(pairs, 3, 1)
    assert [row for row in all_rows("real") if open_benchmark(row).recognise(path)] == ["ifeval"]
    assert parse_candidate(str(path)).kind == "finished"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[" * 100_000,
        lines([1]),
        lines({"prompt": "P"}),
        lines({"prompt": "P", "response": 1}),
        lines({"doc": {"prompt": "P"}, "resps": [["x"]]}),  # of another task of lm-eval
        lines({"question_id": 1, "model_id": "m", "choices": []}),
    ],
)
def test_other_files_are_not_recognised(tmp_path: Path, text: str) -> None:
    assert recognise(write(tmp_path / "answers.jsonl", text)) is None
    assert recognise(tmp_path) is recognise(write(tmp_path / "answers.json", text)) is None


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{"prompt": "Prompt 1.", "response": "a"}, {"prompt": "Prompt 1.", "response": "b"}], r":2: another answer"),
        ([{"prompt": "Prompt 1.", "response": "a"}, {"prompt": "Prompt 2."}], ":2 has neither"),
        ([{"prompt": "P", "response": "a"}], "none of its 1 prompts"),
    ],
)
def test_answers_that_cannot_be_used(tmp_path: Path, rows: list[object], told: str) -> None:
    with pytest.raises(DataError, match=told):
        read_responses(write(tmp_path / "answers.jsonl", lines(*rows)), TASKS)


def test_a_null_is_a_prompt_without_an_answer(tmp_path: Path) -> None:
    rows: list[object] = [{"prompt": "Prompt 1.", "response": None}, {"prompt": "Prompt 2.", "response": "b"}]
    path = write(tmp_path / "answers.jsonl", lines(*rows))
    assert recognise(path) is not None
    found = read_responses(path, TASKS)
    assert (found.by_prompt, found.n) == ({"Prompt 2.": "b"}, 2)


def test_a_line_that_is_no_json_names_its_place(tmp_path: Path) -> None:
    path = write(tmp_path / "answers.jsonl", lines({"prompt": "Prompt 1.", "response": "a"}) + "{\n")
    with pytest.raises(DataError, match=r"answers\.jsonl:2 is not valid JSON"):
        read_responses(path, TASKS)
