"""Settings that make no method are refused before anything is made, with the key to change."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from selfreward_bench import recipes
from selfreward_bench.cli.checks import config_problems
from selfreward_bench.errors import ConfigError, DataError
from selfreward_bench.storage.rundir import RunDir
from trainers.iteration import run_iteration
from trainers.methods import check, problems

SPIN = ["rewards=human", "prompts.writer=seeds", "pairs.chosen_from=human"]
SELECTED = ["select.every=5"]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["rewards=human"], "prompts.writer: .*needs prompts that come with an answer"),
        (["rewards=human", "prompts.writer=seeds"], "pairs.chosen_from: rewards: human"),
        ([*SPIN, "pairs.min_gap=1.5"], "pairs.min_gap: rewards: human is 1 or 0"),
        (["rewards=verifiable"], "prompts.writer"),
        (["rewards=reward-model"], "reward_model.name"),
        (["meta.by=elo", "judge.mode=reasoned"], "meta.by: .*judge.mode: sampled"),
        (["meta.by=consensus", "judge.mode=sampled", "judge.samples=1"], "meta.by"),
        (["meta.by=elo", "judge.mode=sampled", "meta.prompt=additive-5pt"], "meta.prompt: 'additive-5pt' grades one"),
        (["meta.by=elo", "judge.mode=sampled", "meta.prompt=meta-jugde"], "meta.prompt: .*Did you mean 'meta-judge'"),
        (["consistency=true", "dpo.loss=ipo"], "consistency: .*dpo.loss: sigmoid"),
        (["consistency=true", "dpo.label_smoothing=0.1"], "consistency: .*label_smoothing: 0"),
        (["consistency=true", "rewards=length"], "consistency"),
        (["consistency=true", "iterations=1"], "iterations: consistency begins with M3"),
        (["rewards=implicit", "iterations=1"], "iterations: rewards: implicit begins with M3"),
        (["pairs.rejected_from=own-or-first", "iterations=1"], "iterations: pairs.rejected_from: own-or-first begins"),
        (["rehearsal.alone=true"], "rehearsal.alone: nothing is rehearsed"),
        (["candidates.count=1001"], "candidates.count"),
        (["learn=positives", "meta.by=consensus", "judge.mode=sampled"], "learn: positives trains no preferences"),
        (["learn=positives", "rewards=implicit"], "learn: positives takes .* rewards: implicit is on another scale"),
        (["learn=positives", "rewards=length"], "learn: positives takes .*self, random or oracle"),
        (["learn=positives", *SELECTED], "select.every: learn: positives"),
        ([*SELECTED, "select.prompt=additive-5pt"], "select.prompt: 'additive-5pt' grades one answer"),
        ([*SELECTED, "select.prompt=nothing.yaml"], "select.prompt: "),
        ([*SELECTED, "select.judge=oracle", "base=./elsewhere"], "select.judge: oracle goes with .*base: micro"),
    ],
)
def test_settings_that_make_no_method_are_refused(settings: list[str], told: str, tmp_path: Path) -> None:
    config = recipes.load("micro-plain", settings)
    (problem, *_) = [problem for problem in problems(config) if re.search(told, problem)]
    assert problem in list(config_problems(config, files=False))  # what `srbench validate` and `init` say
    run = RunDir.create(tmp_path / "run", config)
    with pytest.raises(ConfigError, match="do not make a method"):
        run_iteration(run, preflight=False, oracle=lambda prompt, text: None)
    assert not (run.path / "M1").exists()


def test_what_is_not_used_is_not_looked_at() -> None:
    unused = ["select.prompt=nothing.yaml", "meta.prompt=nothing", "select.judge=oracle", "base=./elsewhere"]
    assert list(problems(recipes.load("micro-plain", unused))) == []
    assert (
        list(problems(recipes.load("micro-plain", [*SELECTED, "select.judge=oracle", "select.prompt=nothing"]))) == []
    )


@pytest.mark.parametrize("settings", [["rewards=oracle"], [*SELECTED, "select.judge=oracle"]])
def test_true_grades_need_somebody_who_knows_them(settings: list[str]) -> None:
    config = recipes.load("micro-plain", settings)
    with pytest.raises(ConfigError, match="oracle needs somebody who knows"):
        check(config, oracle=False)
    check(config, oracle=True)


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_can_be(name: str) -> None:
    assert list(problems(recipes.load(name))) == []


def test_files_of_a_selection_and_reward_models_are_looked_for(tmp_path: Path) -> None:
    named = [*SELECTED, f"select.prompts={tmp_path / 'none.jsonl'}", "rewards=reward-model", "reward_model.name=./none"]
    found = list(config_problems(recipes.load("micro-plain", named)))
    assert [problem.partition(": ")[0] for problem in found] == ["reward_model.name", "select.prompts"]
    assert "Give the path of a file or `micro`." in found[1]
    unused = [f"select.prompts={tmp_path / 'none.jsonl'}", "reward_model.name=./none"]
    assert list(config_problems(recipes.load("micro-plain", unused))) == []


def test_prompts_of_a_selection_are_read_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"prompt": "One."}\n{"promt": "Two."}\n')
    run = RunDir.create(
        tmp_path / "run", recipes.load("micro-plain", [*SELECTED, f"select.prompts={tmp_path / 'bad.jsonl'}"])
    )
    with pytest.raises(DataError, match=r"(?s)bad\.jsonl.*line 2"):
        run_iteration(run, preflight=False)
    assert not (run.path / "M1").exists()
