"""Sheets: blind, balanced, the same for the same seed, and nothing that anybody could be told by."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from leaderboards.human.answers import find
from leaderboards.human.drawing import draw, pairs_of
from leaderboards.human.judges import text_hash
from leaderboards.human.records import Sheet
from selfreward_bench.errors import ConfigError, DataError
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.rundir import RunDir
from selfreward_bench.types import Completion, Judgment

from .conftest import answered

PAIRS = [("M2", "M1"), ("M2", "SFT")]


def test_a_seed_draws_one_sheet(run: RunDir) -> None:
    first, again, other = (draw(run.path, PAIRS, 30, seed) for seed in (0, 0, 1))
    assert first == again
    assert first.key.sheet != other.key.sheet
    assert {s.id for s in first.shown}.isdisjoint(s.id for s in other.shown)


def test_each_model_stands_first_equally_often(run: RunDir) -> None:
    key = draw(run.path, PAIRS, 31, 3).key
    for a, b in PAIRS:
        sides = [i.first for i in key.items if (i.a, i.b) == (a, b)]
        assert abs(sides.count("a") - sides.count("b")) <= 1


def test_sides_are_not_always_the_same_way_round(run: RunDir) -> None:
    odd = [draw(run.path, [("M2", "M1")], 21, seed).key for seed in range(12)]
    assert len({sum(i.first == "a" for i in key.items) > len(key.items) / 2 for key in odd}) == 2


def test_pairs_have_the_same_prompts_in_mixed_order(run: RunDir) -> None:
    key = draw(run.path, PAIRS, 30, 0).key
    asked = {pair: {i.prompt_id for i in key.items if (i.a, i.b) == pair} for pair in PAIRS}
    same = {pair: {p for a, b, p in key.identical if (a, b) == pair} for pair in PAIRS}
    assert asked[PAIRS[0]] | same[PAIRS[0]] == asked[PAIRS[1]] | same[PAIRS[1]]
    order = [(i.a, i.b) for i in key.items]
    assert order != sorted(order)
    assert order != sorted(order, reverse=True)


def test_what_is_shown_is_what_the_key_says(sheet: Sheet, run: RunDir) -> None:
    texts = find(run.path, ["M1", "M2"]).texts
    for item, shown in zip(sheet.key.items, sheet.shown, strict=True):
        names = (item.a, item.b) if item.first == "a" else (item.b, item.a)
        assert (shown.first, shown.second) == tuple(texts[n][item.prompt_id] for n in names)
        assert shown.id == item.id
        assert (item.text_a, item.text_b) == tuple(text_hash(texts[n][item.prompt_id]) for n in (item.a, item.b))


def test_equal_answers_are_not_asked_about(sheet: Sheet) -> None:
    assert len(sheet.key.identical) == 8
    assert len(sheet.shown) == 72
    assert not [s for s in sheet.shown if s.first == s.second]


def test_ids_are_letters_that_nobody_can_make(run: RunDir, sheet: Sheet) -> None:
    ids = [s.id for s in sheet.shown]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z]{10}", i) for i in ids)
    # a model that answers otherwise where the sheet does not look changes all ids: they are of what raters never see
    some = draw(run.path, [("M2", "M1")], 20, 0)
    path = run.path / "M1" / "eval" / "micro-quality@1" / "answers.jsonl"
    unseen = next(c for c in jsonl.read(path, Completion) if c.prompt_id not in {i.prompt_id for i in some.key.items})
    changed = [
        c.model_copy(update={"text": "Otherwise."}) if c.prompt_id == unseen.prompt_id else c
        for c in jsonl.read(path, Completion)
    ]
    jsonl.write(path, changed)
    assert {s.id for s in draw(run.path, [("M2", "M1")], 20, 0).shown}.isdisjoint(s.id for s in some.shown)


def test_prompts_that_checkpoints_have_graded_come_first(run: RunDir) -> None:
    prompts = [p.id for p in find(run.path, ["M1", "M2"]).prompts]
    graded = prompts[40:70]
    folder = run.path / "drift" / "M1"
    folder.mkdir(parents=True)
    made = [Judgment(prompt_id=f"{p}#{'0' * 16}", index=0, judge="j", score=3, raw="") for p in graded]
    jsonl.write(folder / "judgments-abc.jsonl", made)
    key = draw(run.path, [("M2", "M1")], 25, 0).key
    assert {i.prompt_id for i in key.items} <= set(graded)
    assert not {i.prompt_id for i in draw(run.path, [("M2", "M1")], 60, 0).key.items} <= set(graded)


def test_models_without_common_answers_are_told(run: RunDir) -> None:
    with pytest.raises(DataError, match=r"M3, M2 have all answered.*srbench eval --run"):
        draw(run.path, [("M3", "M2")], 5, 0)
    with pytest.raises(ConfigError, match="--n 80"):
        draw(run.path, [("M2", "M1")], 81, 0)


def test_finished_alpaca_outputs_will_do(tmp_path: Path) -> None:
    for model in ("a", "b"):
        folder = tmp_path / model / "eval" / "alpaca-eval@1"
        folder.mkdir(parents=True)
        rows = [{"instruction": f"Do {i}.", "output": f"{model}{i}", "generator": model} for i in range(9)]
        (folder / "model_outputs.json").write_text(json.dumps(rows), encoding="utf-8")
    found = draw(tmp_path, [("a", "b")], 9, 0)
    assert found.key.source == "alpaca-eval@1"
    assert {s.prompt.text for s in found.shown} == {f"Do {i}." for i in range(9)}


@pytest.mark.parametrize("text", ["M1", "M1:M1", "M1:", "a:b:c", "M2:M1,M1:M2", " "])
def test_what_is_no_pair_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--pairs"):
        pairs_of([text])


def test_other_models_answers_do_not_matter(run: RunDir, sheet: Sheet) -> None:
    answered(run, "M3", lambda i, _: f"x{i}")
    assert draw(run.path, [("M2", "M1")], 80, 0) == sheet
