"""How long texts become: what the tokenizer counts, and what the settings allow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfreward_bench import recipes
from selfreward_bench.errors import TrainingError
from selfreward_bench.judges.prompts import load_judge_prompt
from selfreward_bench.micro import base_path
from trainers import seeds
from trainers.eft import build_eft
from trainers.lengths import Measured, Span, bounds, measure
from trainers.rendering import load_tokenizer, render_turns

CONFIG = recipes.load("micro-fast")


@pytest.fixture(scope="module")
def measured() -> Measured:
    return measure(CONFIG, base_path())


@pytest.mark.slow
def test_seed_data_is_counted_as_it_is_trained(measured: Measured) -> None:
    tokenizer = load_tokenizer(base_path())
    ift = seeds.load_ift(CONFIG.seeds, CONFIG.seed)
    judge = load_judge_prompt(CONFIG.judge.prompt)
    eft = build_eft(seeds.load_eft(CONFIG.seeds, CONFIG.seed), [], judge, CONFIG.seeds, CONFIG.seed).examples
    for examples, span in ((ift, measured.ift), (eft, measured.eft)):
        lengths = [len(turn) for turn in render_turns(tokenizer, [(e.id, e.prompt, e.completion) for e in examples])]
        assert span is not None
        assert max(lengths) <= span.longest <= 1.1 * max(lengths)  # EFT leaves some of its responses out
        assert span.mean == pytest.approx(sum(lengths) / len(lengths), rel=0.05)
    assert measured.assumed == ()
    assert 0 < measured.frame < 10
    assert measured.rubric > measured.frame


def test_judgments_that_are_preferred_are_the_longest_that_is_trained(measured: Measured) -> None:
    meta = recipes.change(CONFIG, ["meta.by=consensus", "judge.mode=sampled"])
    plain, found = (bounds(config, measured, None) for config in (CONFIG, meta))
    assert found.answered == found.judged + CONFIG.judge.sampling.max_new_tokens > plain.answered
    assert bounds(meta, measured, plain.answered).answered == plain.answered  # no more than there are positions for


def test_without_a_tokenizer_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    for directory in (None, tmp_path):
        found = measure(CONFIG, directory)
        assert (found.ift, found.eft, found.task) == (None, None, None)
        assert "4 characters are taken for a token" in found.assumed[0]


def test_a_tokenizers_own_code_runs_where_it_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def load(*_: Any, **options: Any) -> None:
        asked.update(options)
        raise TrainingError("none")

    monkeypatch.setattr("trainers.rendering.load_tokenizer", load)
    measure(recipes.change(CONFIG, ["engine.trust_remote_code=true"]), base_path())
    assert asked["trust_remote_code"] is True


def test_seed_data_that_is_not_there_is_taken_to_be_as_long_as_it_may(tmp_path: Path) -> None:
    missing = recipes.change(CONFIG, [f"seeds.ift={tmp_path / 'ift.jsonl'}", "sft.max_length=300"])
    found = measure(missing, base_path())
    assert found.ift is None
    assert found.eft is not None
    assert "as long as sft.max_length" in found.assumed[0]
    lengths = bounds(missing, found, 512)
    assert (lengths.ift, lengths.sft) == (300, 300)


def test_bounds_are_those_of_the_settings() -> None:
    config = recipes.load(None, ["prompts.sampling.max_new_tokens=200", "candidates.sampling.max_new_tokens=500"])
    found = Measured(Span(900, 100, 10), Span(1500, 300, 10), Span(50, 20, 10), frame=10, rubric=400)
    lengths = bounds(config, found, None)
    assert (lengths.ift, lengths.sft) == (900, 1500)
    assert (lengths.prompt, lengths.answered) == (210, 710)
    assert lengths.judged == 400 + 200 + 500
    assert lengths.context == 120 + 6 * 50 + 2 * 200 + 10
    short = bounds(recipes.change(config, ["sft.max_length=1000", "dpo.max_length=600"]), found, 800)
    assert (short.ift, short.sft, short.answered) == (800, 800, 600)
    assert (short.prompt, short.judged) == (210, 800 - 256)  # a judgment must follow


def test_prompts_and_answers_of_people_are_as_long_as_they_are() -> None:
    settings = ["prompts.sampling.max_new_tokens=20", "candidates.sampling.max_new_tokens=50", "prompts.writer=seeds"]
    config = recipes.load(None, settings)
    found = Measured(Span(900, 100, 10), Span(1500, 300, 10), Span(300, 20, 10), frame=10, rubric=400)
    lengths = bounds(config, found, None)
    assert (lengths.prompt, lengths.answered, lengths.judged) == (310, 360, 400 + 300 + 50)
    spin = recipes.change(config, ["pairs.chosen_from=human"])
    assert bounds(spin, found, None).answered == 310 + 900
    assert bounds(spin, Measured(), None).answered == spin.dpo.max_length


def test_a_judge_that_writes_nothing_leaves_its_prompt_all_positions() -> None:
    config = recipes.load(None, ["judge.mode=expected"])
    assert bounds(config, Measured(rubric=10_000), 512).judged == 512


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 5000), st.integers(2, 10_000))
def test_nothing_exceeds_the_positions(longest: int, new: int, most: int, positions: int) -> None:
    options = [f"candidates.sampling.max_new_tokens={new}", f"sft.max_length={most}", f"dpo.max_length={most}"]
    span = Span(longest, 1.0, 1)
    found = replace(Measured(), ift=span, eft=span, task=span)
    lengths = bounds(recipes.load(None, options), found, positions)
    assert max(lengths.ift, lengths.sft, lengths.answered) <= min(most, positions)
    assert min(lengths.context, lengths.prompt, lengths.judged) >= 1
    assert max(lengths.context, lengths.prompt, lengths.judged) <= positions
