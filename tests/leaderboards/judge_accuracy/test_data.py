"""Adapters of human judgments, on small files in the published layouts, and what is wrong with such files."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from leaderboards.judge_accuracy import data as judge_data
from leaderboards.judge_accuracy import stored
from selfreward_bench.errors import DataError
from selfreward_bench.sources.directory import DataDir
from selfreward_bench.types import RankedResponse

LLMBAR_ROW = {"input": "Count to 3.", "output_1": "1 2 3", "output_2": "Three!", "label": 1}
PANDALM_ROW = {
    "idx": 7,
    "instruction": "Add.",
    "input": "1 + 1",
    "response1": "2",
    "response2": "3",
    "annotator1": 1,
    "annotator2": 1,
    "annotator3": 0,
}


def put(path: Path, rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps(rows).encode()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return path


def llmbar(root: Path, **changes: Any) -> judge_data.JudgeData:
    put(root / "set.json", [LLMBAR_ROW, {**LLMBAR_ROW, "input": "Other.", "label": 2, **changes}])
    return judge_data.llmbar(DataDir(root), {"Natural": "set.json"})


def pandalm(root: Path, *rows: dict[str, Any]) -> judge_data.JudgeData:
    put(root / "pandalm/testset-v1.json.gz", list(rows))
    return judge_data.pandalm(DataDir(root))


# --- ranked responses


def test_llmbar_labels_become_ranks(tmp_path: Path) -> None:
    data = llmbar(tmp_path)
    first, second = data.prompts
    assert [r.rank for r in first.responses] == [0, 1]
    assert [r.rank for r in second.responses] == [1, 0]
    assert (first.messages[0].content, first.category) == ("Count to 3.", "Natural")
    assert first.id != second.id
    assert (data.pairs, data.three_way) == (True, False)


def test_llmbar_mistakes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="label 3 is neither"):
        llmbar(tmp_path, label=3)
    with pytest.raises(DataError, match=r"set\.json: row 1: field 'output_1'"):
        llmbar(tmp_path, output_1=None)
    put(tmp_path / "set.json", [])
    with pytest.raises(DataError, match="no rows"):
        judge_data.llmbar(DataDir(tmp_path), {"Natural": "set.json"})


def test_pandalm_takes_the_majority(tmp_path: Path) -> None:
    tie = {**PANDALM_ROW, "idx": 8, "annotator1": 0}
    none = {**PANDALM_ROW, "idx": 9, "annotator2": 2}
    bare = {**PANDALM_ROW, "idx": 10, "input": "", "response1": True, "annotator1": 2, "annotator2": 2}
    data = pandalm(tmp_path, PANDALM_ROW, tie, none, bare)
    assert [(p.id, [r.rank for r in p.responses]) for p in data.prompts] == [
        ("pandalm-7", [0, 1]),
        ("pandalm-8", [0, 0]),
        ("pandalm-10", [1, 0]),
    ]
    assert data.prompts[0].messages[0].content == "Add.\n\n1 + 1"
    assert (data.prompts[2].messages[0].content, data.prompts[2].responses[0].text) == ("Add.", "True")
    assert [a["pandalm-7"] for a in data.annotators] == [1, 1, 0.5]
    assert data.three_way


def test_pandalm_mistakes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="idx 7"):
        pandalm(tmp_path, PANDALM_ROW, PANDALM_ROW)
    with pytest.raises(DataError, match="idx 7"):
        pandalm(tmp_path, {**PANDALM_ROW, "annotator3": 4})


def tree(number: int, *ranks: int | None, **prompt: Any) -> dict[str, Any]:
    replies = [{"text": f"answer {i}", "role": "assistant", "lang": "en", "rank": r} for i, r in enumerate(ranks)]
    first = {"text": f"question {number}", "role": "prompter", "lang": "en", "replies": replies} | prompt
    return {"message_tree_id": f"t{number}", "prompt": first}


def test_oasst_takes_every_ordered_first_turn(tmp_path: Path) -> None:
    trees = [tree(1, 1, 0, 2), tree(2, 0), tree(3, 0, 0), tree(4, 0, 1, lang="de"), tree(5, None, 1, 0)]
    (tmp_path / "trees.jsonl").write_text("\n".join(map(json.dumps, trees)))
    data = judge_data.oasst(DataDir(tmp_path), "trees.jsonl")
    assert [p.id for p in data.prompts] == ["t1", "t5"]
    assert data.prompts[0].responses[0] == RankedResponse(text="answer 1", rank=0)
    (tmp_path / "trees.jsonl").write_text(json.dumps(tree(2, 0)))
    with pytest.raises(DataError, match="no English first turn"):
        judge_data.oasst(DataDir(tmp_path), "trees.jsonl")


RANKED = {"id": "r", "prompt": "Hi?", "responses": [{"text": "a", "rank": 0}, {"text": "b", "rank": 1}]}


def jsonl_file(tmp_path: Path, *rows: dict[str, Any]) -> Path:
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_jsonl_takes_a_prompt_or_messages(tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi?"}]
    other = {"id": "m", "messages": turns, "responses": RANKED["responses"], "category": "chat"}
    data = judge_data.ranked_jsonl(jsonl_file(tmp_path, RANKED, other))
    assert [p.messages[-1].content for p in data.prompts] == ["Hi?", "Hi?"]
    assert (data.pairs, data.three_way, data.prompts[1].category) == (True, False, "chat")
    tied = {**RANKED, "id": "t", "responses": [{"text": "a", "rank": 0}, {"text": "b", "rank": 0}]}
    assert judge_data.ranked_jsonl(jsonl_file(tmp_path, RANKED, tied)).three_way


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{**RANKED, "rank": 1}], r"mine\.jsonl:1: field 'rank' is unknown"),
        ([RANKED, RANKED], "there more than once"),
        ([{**RANKED, "responses": [{"text": "a", "rank": 0}]}], "responses"),
        ([{**RANKED, "responses": [{"text": "a", "rank": 1}, {"text": "b", "rank": 1}]}], "equal ranks"),
        ([{**RANKED, "messages": [{"role": "user", "content": "x"}]}], "instruction once"),
        ([{"id": "r", "messages": [{"role": "assistant", "content": "x"}], "responses": RANKED["responses"]}], "'r'"),
    ],
)
def test_jsonl_mistakes(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        judge_data.ranked_jsonl(jsonl_file(tmp_path, *rows))


# --- others' verdicts


def result(winners: tuple[Any, Any] = ("1", "1"), **changes: Any) -> dict[str, Any]:
    calls = {f"swap = {swapped}": {"winner": w} for swapped, w in zip((False, True), winners, strict=True)}
    return {**LLMBAR_ROW, "results": [calls], **changes}


def test_llmbar_results_are_found_by_content(tmp_path: Path) -> None:
    data = llmbar(tmp_path)
    rows = [result(("2", "NA"), input="Other.", label=2), result(("1", 2))]
    made = stored.llmbar_results(put(tmp_path / "result.json.gz", rows), data)
    by_id = {(j.prompt_id, j.order): j for j in made}
    first, second = (p.id for p in data.prompts)
    assert [by_id[first, o].score for o in ("ab", "ba")] == [1, 0]
    assert [by_id[second, o].score for o in ("ab", "ba")] == [0, None]
    assert by_id[second, "ba"].reason == "no_verdict"


def test_llmbar_results_in_a_directory(tmp_path: Path) -> None:
    data = llmbar(tmp_path)
    put(tmp_path / "all/Natural/result.json", [result()])
    put(tmp_path / "all/Other/result.json.gz", [result(input="Other.")])
    assert stored.is_llmbar_results(tmp_path / "all")
    assert len(stored.llmbar_results(tmp_path / "all", data)) == 4
    put(tmp_path / "all/Third/result.json", [result()])
    with pytest.raises(DataError, match="ONE evaluator"):
        stored.llmbar_results(tmp_path / "all", data)


def test_every_evaluator_of_llmbar_ends_with_its_verdicts(tmp_path: Path) -> None:
    data = llmbar(tmp_path)
    grades = {"score_1": ["4", "stop"], "score_2": ["4", "stop"]}
    first, last = (result(w)["results"][0] for w in (("1", "2"), ("2", "2")))
    metrics = [["1. Is it right?", "stop"], ["1 2 3", "stop"], last]
    swap = [{k: v | {"completion": ["x", "stop"]} for k, v in first.items()}, last]
    for evaluator, made in {"Metrics_Reference": metrics, "Swap": swap, "Rating": [grades | last]}.items():
        path = put(tmp_path / evaluator / "result.json", [result(results=made)])
        assert stored.is_llmbar_results(path), evaluator
        assert [j.score for j in stored.llmbar_results(path, data)] == [0, 0], evaluator


def test_processed_sets_are_told_by_their_folder(tmp_path: Path) -> None:
    for folder, processed in {
        "Processed/MT-Bench/evaluators/GPT-4/Swap": True,
        "FairEval": True,
        "LLMBar/Natural/evaluators/GPT-4/Vanilla": False,
        "Processed/copied/LLMBar/Natural": False,
        "elsewhere": False,
    }.items():
        path = put(tmp_path / folder / "result.json", [result()])
        for named in (path, path.parent):
            told = (stored.is_llmbar_processed_results(named), stored.is_llmbar_results(named))
            assert told == (processed, not processed), folder


def test_llmbar_results_mistakes(tmp_path: Path) -> None:
    data = llmbar(tmp_path)
    with pytest.raises(DataError, match="not in the data set"):
        stored.llmbar_results(put(tmp_path / "result.json", [result(input="Unknown.")]), data)
    with pytest.raises(DataError, match="both orders"):
        stored.llmbar_results(put(tmp_path / "result.json", [result(results=[{"swap = True": {}}])]), data)
    deep = tmp_path / "result.json"
    deep.write_text("[" * 100_000)
    with pytest.raises(DataError, match="nested too deeply"):
        stored.llmbar_results(deep, data)


def test_pandalm_results_are_joined_by_idx(tmp_path: Path) -> None:
    data = pandalm(tmp_path, *({**PANDALM_ROW, "idx": i} for i in range(5)))
    said = [{"idx": i, "gpt_result": r, "gpt_reason": "x"} for i, r in ((3, "Tie"), (0, "2"), (2, 1), (1, "garbage"))]
    path = put(tmp_path / "verdicts.json", [*said, {"idx": 99, "gpt_result": "1"}])
    made = {j.prompt_id: j for j in stored.pandalm_results(path, data)}
    assert {name: j.score for name, j in made.items()} == {
        "pandalm-3": 0.5,
        "pandalm-0": 0,
        "pandalm-2": 1,
        "pandalm-1": None,
    }
    assert made["pandalm-1"].raw == "garbage"
    with pytest.raises(DataError, match="idx 3 is there twice"):
        stored.pandalm_results(put(tmp_path / "verdicts.json", [*said, said[0]]), data)
    with pytest.raises(DataError, match=r"row 1: .*pandalm_result and gpt_result are the verdicts of several judges"):
        stored.pandalm_results(put(tmp_path / "verdicts.json", [said[0], {"pandalm_result": 1, **said[1]}]), data)


@pytest.mark.parametrize(
    ("said", "score"),
    [(1.0, 1), (2.0, 0), (0.0, 0.5), (" TIE ", 0.5), ("1", 1), (True, None), (1.5, None), ([1], None), (None, None),
     ("\u0661", None), (10**30, None), ("Output (a)", None), ("1" * 1_000_000, None)],
)  # fmt: skip
def test_only_a_label_is_a_label(tmp_path: Path, said: object, score: float | None) -> None:
    data = pandalm(tmp_path, {**PANDALM_ROW, "idx": 0})
    (found,) = stored.pandalm_results(put(tmp_path / "v.json", [{"idx": 0, "gpt_result": said}]), data)
    assert (found.score, found.reason) == (score, None if score is not None else "no_verdict")
    assert len(found.raw) <= 200


@pytest.mark.parametrize("winner", ["3", "1 ", "Output (a)", "\u0661", "NaN", None, 3, 12])
def test_a_winner_that_is_none_is_no_verdict(tmp_path: Path, winner: object) -> None:
    said = put(tmp_path / "result.json", [result((winner, winner))])
    found = stored.llmbar_results(said, llmbar(tmp_path))
    assert [(j.score, j.reason) for j in found] == [(None, "no_verdict")] * 2


def test_a_winner_of_another_type_is_refused(tmp_path: Path) -> None:
    for winner in (True, 1.5, ["1"]):
        with pytest.raises(DataError, match="winner"):
            stored.llmbar_results(put(tmp_path / "result.json", [result((winner, winner))]), llmbar(tmp_path))


def test_a_byte_order_mark_is_no_matter(tmp_path: Path) -> None:
    path = put(tmp_path / "b.json", [{"idx": 0, "pandalm_result": 2}])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert stored.is_pandalm_results(path)
    assert len(stored.pandalm_results(path, pandalm(tmp_path, {**PANDALM_ROW, "idx": 0}))) == 1


def test_files_are_recognised_by_what_they_hold(tmp_path: Path) -> None:
    llmbar_file = put(tmp_path / "a.json.gz", [result()])
    pandalm_file = put(tmp_path / "b.json", [{"idx": 1, "pandalm_result": 2}])
    other = put(tmp_path / "c.json", {"results": {"gsm8k": 1}})
    paths = [llmbar_file, pandalm_file, other, tmp_path / "none.json", tmp_path]
    assert [stored.is_llmbar_results(p) for p in paths] == [True, False, False, False, False]
    assert [stored.is_pandalm_results(p) for p in paths] == [False, True, False, False, False]


@pytest.mark.parametrize("recognise", [stored.is_llmbar_results, stored.is_pandalm_results])
def test_a_damaged_file_is_told_from_an_unknown_one(tmp_path: Path, recognise: Callable[[Path], bool]) -> None:
    torn = put(tmp_path / "d.json.gz", [result()])
    torn.write_bytes(torn.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"d\.json\.gz is damaged"):
        recognise(torn)
