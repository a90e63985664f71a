"""A judge's look at a sample of the pairs a model was trained on, in an evaluation and in the report's words."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from leaderboards import evaluate
from leaderboards.base import Setting
from leaderboards.head_to_head.preferences import MOST, PairsCheck, sample_pairs
from leaderboards.session import prepare
from reports.facts.pairs_check import judged
from selfreward_bench import recipes
from selfreward_bench.errors import ConfigError
from selfreward_bench.micro import base_path, data_path, world
from selfreward_bench.models.candidates import parse_candidates
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.rundir import RunDir
from selfreward_bench.types import Message, PreferencePair, Prompt


def pair(prompt: Prompt, chosen: str, rejected: str) -> PreferencePair:
    said = [(Message(role="assistant", content=text),) for text in (chosen, rejected)]
    return PreferencePair(
        prompt_id=prompt.id,
        prompt=prompt.messages,
        chosen=said[0],
        rejected=said[1],
        chosen_score=4,
        rejected_score=1,
        chosen_index=0,
        rejected_index=1,
    )


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """Of eight pairs five are right, two the wrong way round, and in one both answers are as bad."""
    made = RunDir.create(tmp_path / "run", recipes.load("micro"))
    prompts = jsonl.read(data_path("validation"), Prompt)[:8]
    good = [
        world.human_answer(task, random.Random(0), {"perfect": 1.0}) for p in prompts if (task := world.parse(p.text))
    ]
    sides = [(g, "no") for g in good[:5]] + [("no", g) for g in good[5:7]] + [("no", "nothing")]
    for model in ("M1", "M2"):
        shutil.copytree(base_path(), made.path / model / "checkpoint")
    pairs = [pair(p, *both) for p, both in zip(prompts, sides, strict=True)]
    jsonl.write(made.path / "M2" / "pairs.jsonl", pairs)
    return made


def test_an_evaluation_asks_about_what_each_model_was_trained_on(run: RunDir) -> None:
    found = evaluate([f"{run.path}:M1", f"{run.path}:M2"], benchmarks="pairs")
    assert not found.errors
    assert found.is_scored
    assert [(m, h.pairs[0].wins, h.pairs[0].losses) for m, h in found.preferences.items()] == [("M2", 5, 2)]
    gaps: list[str] = []
    told = judged(run.path, "M2", gaps)
    assert "Of 8 drawn at random, micro-oracle@1" in told
    assert "better in 5, the rejected one in 2 and neither in 1: 68.8 % [" in told
    assert judged(run.path, "M1", gaps) == ""
    assert gaps == []


def test_it_is_planned_with_its_judgments(run: RunDir) -> None:
    plans = prepare(parse_candidates([f"{run.path}:M1", f"{run.path}:M2"]), benchmarks="pairs").plan()
    assert [(p.model, p.benchmark, p.plan.answers.calls, p.plan.judgments.calls) for p in plans] == [
        ("M2", "pairs", 0, 8)
    ]


def test_pairs_that_were_made_anew_since_are_told_and_not_shown(run: RunDir) -> None:
    evaluate(f"{run.path}:M2", benchmarks="pairs")
    path = run.path / "M2" / "pairs.jsonl"
    jsonl.write(path, jsonl.read(path, PreferencePair)[:5])
    gaps: list[str] = []
    assert judged(run.path, "M2", gaps) == ""
    assert "other pairs were judged" in gaps[0]


def test_a_prompt_can_have_several_pairs(run: RunDir) -> None:
    path = run.path / "M2" / "pairs.jsonl"
    first = jsonl.read(path, PreferencePair)[0]
    other = first.model_copy(update={"chosen": first.rejected, "rejected": first.chosen, "chosen_index": 1})
    jsonl.write(path, [first, other])
    evaluate(f"{run.path}:M2", benchmarks="pairs")
    assert "better in 1, the rejected one in 1 and" in judged(run.path, "M2", [])


def test_models_without_pairs_are_an_error(run: RunDir) -> None:
    assert "none of these models" in evaluate(f"{run.path}:M1", benchmarks="pairs").errors[0]


def test_nobody_judges_what_the_model_judged_itself(run: RunDir) -> None:
    with pytest.raises(ConfigError, match=r"pairs of M2.*--judge openai:MODEL@URL"):
        PairsCheck(run.path, "M2", Setting(run.config, judge=None))


def test_a_sample_is_drawn_by_ids_and_keeps_the_order_of_the_file(tmp_path: Path) -> None:
    prompts = [Prompt(id=f"p{i}", messages=(Message(role="user", content=str(i)),)) for i in range(3 * MOST)]
    path = tmp_path / "pairs.jsonl"
    jsonl.write(path, [pair(p, "a", "b") for p in prompts])
    drawn = [p.id for p in sample_pairs(path, 20, seed=1)]
    assert len(drawn) == 20 == len(set(drawn))
    assert drawn == sorted(drawn, key=lambda i: int(i[1:]))
    assert drawn != [p.id for p in sample_pairs(path, 20, seed=2)]
    assert len(sample_pairs(path, None, seed=1)) == MOST
    jsonl.write(path, [pair(p, "a", "b") for p in reversed(prompts)])
    assert {p.id for p in sample_pairs(path, 20, seed=1)} == set(drawn)
