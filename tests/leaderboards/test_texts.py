"""The texts behind a benchmark's rows: whole answers, the judge's words, both sides of a comparison."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from leaderboards.evaluation import Evaluation
from leaderboards.standings import HeadToHead, Tournament
from leaderboards.texts import MAX_TEXT, matches, texts
from selfreward_bench.types import EvalResult, SampleScore


def write(path: Path, *lines: Mapping[str, Any] | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines))


def rows(*ids: str, **detail: Any) -> list[SampleScore]:
    return [SampleScore(sample_id=i, value=1.0, detail={"measures": {"m": 1.0}, **detail}) for i in ids]


def answer(prompt_id: str, text: str, index: int = 0, **more: Any) -> dict[str, Any]:
    return {"prompt_id": prompt_id, "index": index, "text": text, **more}


def said(prompt_id: str, raw: str, **more: Any) -> dict[str, Any]:
    return {"prompt_id": prompt_id, "index": 0, "sample": 0, "raw": raw, "order": None, **more}


# --- one model's rows


def test_whole_answers_take_the_place_of_their_beginnings(tmp_path: Path) -> None:
    write(tmp_path / "answers.jsonl", answer("a", "whole"), answer("other", "no row"), answer("a", "whole, again"))
    write(tmp_path / "judgments.jsonl", said("a", "first", order="ab"), said("a", "second", order="ba"))
    detail = {"prompt": "p", "answer": "wh", "reference": "r", "judgments": {"ab": "fi"}, "grade": 3}
    found = texts(tmp_path, "micro-alpaca-eval@1", rows("a", "b", **detail))
    assert found["a"] == {
        "prompt": "p", "answer": "whole, again", "reference": "r", "judgment_ab": "first", "grade": 3,
        "judgment_ba": "second",
    }  # fmt: skip
    assert found["b"] == {"prompt": "p", "answer": "wh", "reference": "r", "judgment_ab": "fi", "grade": 3}


def test_answers_of_the_micro_world_by_decoding_and_number(tmp_path: Path) -> None:
    write(tmp_path / "answers.jsonl", answer("t", "zero"), answer("t", "one", 1))
    write(tmp_path / "greedy.jsonl", answer("t", "greedy"))
    found = texts(tmp_path, "micro-quality@1", rows("sampled/t/0", "sampled/t/1", "greedy/t/0"))
    assert [f["answer"] for f in found.values()] == ["zero", "one", "greedy"]


def test_mt_bench_by_turn_order_and_attempt(tmp_path: Path) -> None:
    write(tmp_path / "turn-1.jsonl", answer("81/1", "one"))
    write(tmp_path / "turn-2.jsonl", answer("81/2", "two"))
    verdicts = [answer(n, n) for n in ("81/1", "81/1~1", "81/2/ab", "81/2/ba", "81/2/ba~2")]
    write(tmp_path / "judge.jsonl", *verdicts)
    found = texts(tmp_path, "mt-bench@1", rows("81/1", "81/2", turn=1))
    assert found["81/1"] == {"turn": 1, "answer": "one", "judgment": "81/1~1"}
    assert found["81/2"] == {"turn": 1, "answer": "two", "judgment_ab": "81/2/ab", "judgment_ba": "81/2/ba~2"}


@pytest.mark.parametrize("benchmark", ["micro-judge-accuracy@1", "judge-accuracy-llmbar@1"])
def test_judges_by_response_sample_and_order(tmp_path: Path, benchmark: str) -> None:
    judged = [said("q", "first"), said("q", "again", sample=1), said("q", "pair", order="ab")]
    write(tmp_path / "judgments.jsonl", *judged)
    write(tmp_path / "own-answers.jsonl", answer("q", "mine", 3))
    write(tmp_path / "own-judgments.jsonl", said("q", "of mine", index=3))
    found = texts(tmp_path, benchmark, rows("response/q/0", "pair/q/0", "own_response/q/3", raw=["f", "a", "t"]))
    assert found["response/q/0"] == {"judgment_1": "first", "judgment_2": "again", "judgment_3": "t"}
    assert found["pair/q/0"]["judgment_ab"] == "pair"
    assert found["own_response/q/3"]["answer"] == "mine"
    assert found["own_response/q/3"]["judgment_1"] == "of mine"


def test_a_benchmark_of_somebody_has_what_its_rows_keep_and_answers_to_its_prompts(tmp_path: Path) -> None:
    write(tmp_path / "answers.jsonl", answer("a", "whole"), answer("b", "of no row"))
    detail = {"prompt": "p", "responses": ["x", "y"], "n": 3, "none": None, "deep": {"a": {"b": 1}, "c": "d"}, "l": [1]}
    (found,) = texts(tmp_path, "mine@7", rows("a", **detail)).values()
    assert found == {
        "prompt": "p",
        "response_1": "x",
        "response_2": "y",
        "n": 3,
        "none": None,
        "deep_c": "d",
        "answer": "whole",
    }


def test_texts_are_bounded_and_damaged_lines_are_no_texts(tmp_path: Path) -> None:
    torn = '{"prompt_id": "a", "index": 0, "te'
    odd = ["[1]", "null", "[" * 9_000, json.dumps({"text": "no id"}), json.dumps(answer("a", "x") | {"text": 3})]
    write(tmp_path / "answers.jsonl", answer("a", "y" * 50_000), *odd, torn)
    detail = {"prompt": "z" * 50_000, **{f"k{n}": "v" for n in range(100)}}
    (found,) = texts(tmp_path, "alpaca-eval@1", rows("a", **detail)).values()
    assert str(found["answer"]).startswith("y" * MAX_TEXT + " [... 50,000")
    assert max(len(str(text)) for text in found.values()) < MAX_TEXT + 40
    assert len(found) < 50


def test_a_text_is_no_template(tmp_path: Path) -> None:
    write(tmp_path / "answers.jsonl", answer("{0.__class__}", "a"), answer("%s", "b"))
    found = texts(tmp_path, "alpaca-eval@1", rows("{0.__class__}", "%s"))
    assert [f["answer"] for f in found.values()] == ["a", "b"]


def test_texts_stand_before_measures_and_take_no_columns_place(tmp_path: Path) -> None:
    folder = tmp_path / "M1" / "eval" / "mine@1"
    detail = {"measures": {"m": 1.0, "grade": 5.0}, "prompt": "p", "value": "no", "checkpoint": "no", "grade": "no"}
    write(folder / "scores.jsonl", {"sample_id": "a", "value": 2.0, "detail": detail})
    values = {"checkpoint": "M1", "fingerprint": "f", "benchmark": "mine@1", "judge": None, "metrics": {}}
    result = EvalResult(**values, config_hash="c", versions={}, seconds=0.0)  # type: ignore[arg-type]
    found = Evaluation(tmp_path, (result,)).samples("mine")
    assert list(found.columns) == ["checkpoint", "sample_id", "cluster", "value", "reason", "prompt", "m", "grade"]
    assert found.iloc[0].to_dict() | {"reason": None} == {
        "checkpoint": "M1", "sample_id": "a", "cluster": "", "value": 2.0, "reason": None, "prompt": "p", "m": 1.0,
        "grade": 5.0,
    }  # fmt: skip


# --- head to head


def held(root: Path, *names: str, truncated: str = "judged as they stand") -> Tournament:
    pairs = [
        HeadToHead(
            benchmark="head-to-head@1", judge="j", a=a, b=b, win_rate=None, low=None, high=None, p_value=None, win=None,
            tie=None, loss=None, n_scored=0, n_total=0, n_prompts=1,
        )
        for b, a in pairwise(names)
    ]  # fmt: skip
    return Tournament(
        benchmark="head-to-head@1", checkpoints=dict.fromkeys(names, "f"), judge="j", rule="agree", anchor=names[0],
        n_prompts=1, pairs=tuple(pairs), ratings=(), comparability={"truncated": truncated},
    )  # fmt: skip


def prepare(root: Path, answers: Mapping[str, Mapping[str, str]], verdicts: Sequence[Mapping[str, Any]]) -> None:
    ids = dict.fromkeys(i for found in answers.values() for i in found)
    asked = [{"id": i, "messages": [{"role": "user", "content": f"What is {i}?"}]} for i in ids]
    write(root / "head-to-head" / "prompts.jsonl", *asked)
    write(root / "head-to-head" / "comparisons.jsonl", *verdicts)
    for name, found in answers.items():
        lines = [answer(i, t, finish_reason="length" if t.endswith("…") else "stop") for i, t in found.items()]
        write(root / name / "eval" / "head-to-head@1" / "answers.jsonl", *lines)


def verdict(a: str, b: str, prompt_id: str, order: str, preference: float | None, raw: str = "x") -> dict[str, Any]:
    why = None if preference is not None else "no_verdict"
    return {"a": a, "b": b, "prompt_id": prompt_id, "order": order, "preference": preference, "raw": raw, "reason": why}


def test_both_orders_from_the_first_models_side(tmp_path: Path) -> None:
    stored = [verdict("M2", "M1", "p", "ab", 0.9, "own first"), verdict("M2", "M1", "p", "ba", 0.8, "other first")]
    prepare(tmp_path, {"M1": {"p": "one"}, "M2": {"p": "two"}}, stored)
    first, second = matches(tmp_path, held(tmp_path, "M1", "M2"))
    assert first == {
        "checkpoint": "M2", "against": "M1", "sample_id": "p", "order": "ab", "value": 0.9, "reason": None,
        "judgment": "own first", "prompt": "What is p?", "answer": "two", "answer_against": "one",
    }  # fmt: skip
    assert (second["order"], second["value"]) == ("ba", pytest.approx(0.2))


def test_a_verdict_that_the_file_tells_from_the_other_side(tmp_path: Path) -> None:
    prepare(tmp_path, {"M1": {"p": "one"}, "M2": {"p": "two"}}, [verdict("M1", "M2", "p", "ab", 0.9)])
    (row,) = matches(tmp_path, held(tmp_path, "M1", "M2"))
    assert (row["checkpoint"], row["order"], row["value"]) == ("M2", "ba", pytest.approx(0.1))


def test_what_nobody_was_asked_about(tmp_path: Path) -> None:
    answers = {"M1": {"same": "x", "cut": "y…", "gone": "z", "new": "v"}, "M2": {"same": "x", "cut": "w", "new": "u"}}
    former = [verdict("M2", "M1", i, "ab", 1.0) for i in ("same", "cut")] + [verdict("M2", "M1", "new", "ab", None)]
    prepare(tmp_path, answers, former)
    strict = held(tmp_path, "M1", "M2", truncated="not scored")
    told = {r["sample_id"]: (r["value"], r["reason"]) for r in matches(tmp_path, strict)}
    assert told == {
        "same": (0.5, "same_answer"), "cut": (None, "answer_truncated"), "gone": (None, "no_answer"),
        "new": (None, "no_verdict"),
    }  # fmt: skip
    judged = {r["sample_id"]: r["value"] for r in matches(tmp_path, held(tmp_path, "M1", "M2"))}
    assert judged["cut"] == 1.0
    prepare(tmp_path, answers, [])
    assert {r["sample_id"]: r["reason"] for r in matches(tmp_path, strict)}["new"] == "not_judged"


def test_a_name_in_a_file_leads_nowhere_else(tmp_path: Path) -> None:
    root = tmp_path / "run"
    prepare(root, {"M1": {"p": "one"}}, [])
    write(
        tmp_path / "secret" / "eval" / "head-to-head@1" / "answers.jsonl", answer("p", "secret", finish_reason="stop")
    )
    found = list(matches(root, held(root, "M1", "../secret")))
    assert [r["answer"] for r in found] == [None]
