"""Other models in a run's roles, from the command line: refused, planned, priced, told, and named in status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfreward_bench.storage.rundir import RunDir

from .conftest import Cli

URL = "http://127.0.0.1:9/v1"
ROLES = {"prompts.writer": "w", "seeds.reviewer": "r", "judge.model": "j"}
SERVED = [part for role, name in ROLES.items() for part in ("--set", f"{role}=openai:{name}@{URL}")]
SERVED += ["--set", "judge.mode=sampled", "--set", "judge.samples=2", "--set", "prompts.format=chat"]
SMALL = [
    "--set",
    "with_baseline=false",
    "--set",
    "prompts.count=10",
    "--set",
    "candidates.count=3",
    "--set",
    "iterations=1",
]


@pytest.fixture
def prices() -> str:
    models = {name: {"prompt": 2.0, "completion": 8.0} for name in "wrj"}
    Path("prices.yaml").write_text(json.dumps({"currency": "EUR", "models": models}), encoding="utf-8")
    return "prices.yaml"


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("engine.kind=openai", "engine.kind: openai is a served model, whose weights cannot be trained here"),
        (f"judge.model=openai:j@{URL}", "Set judge.mode=sampled"),  # the micro recipe's judge reasons
        ("judge.model=nowhere", "judge.model: "),
        ("prompts.writer=none.jsonl", "prompts.writer: no file"),
        ("seeds.reviewer=@http://127.0.0.1/v1", "seeds.reviewer: "),
    ],
)
def test_what_cannot_be_makes_no_run(cli: Cli, setting: str, told: str) -> None:
    result = cli("init", "a", "--set", setting)
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.split())
    assert not Path("a").exists()


def test_rlaif_is_called_by_its_name(cli: Cli) -> None:
    made = cli("init", "a", *SERVED)
    assert f"RLAIF: openai:j@{URL} rewards the answers (judge.model). This is not self-reward." in made.stderr
    status = cli("status", "a").stdout
    assert "rewards from another model's judgments (RLAIF, not self-reward)" in " ".join(status.split())
    assert f"seeds.reviewer: openai:r@{URL}" in status
    plain = cli("init", "b")
    assert "RLAIF" not in plain.output + cli("status", "b").output


def test_a_variable_that_holds_a_key_is_told_to_nobody(cli: Cli) -> None:
    made = cli("init", "a", "--set", "judge.mode=sampled", "--set", f"judge.model=openai:j@{URL}#MY_KEY")
    told = made.output + made.stderr + cli("status", "a").output
    assert "openai:j@" in told
    assert "MY_KEY" not in told


def test_a_plan_counts_and_prices_the_calls_of_each_role(cli: Cli, seed_data: list[str], prices: str) -> None:
    bare = Path("bare.jsonl")
    responses = [{"text": "Yes.", "rank": 0}, {"text": "No.", "rank": 1, "review": "Score: 1"}]
    asked = [{"role": "user", "content": "Say it."}]
    bare.write_text(json.dumps({"id": "a", "messages": asked, "responses": responses}) + "\n", encoding="utf-8")
    chosen = [*seed_data, *SERVED, *SMALL, "--set", f"seeds.eft={bare}", "--set", "seeds.eft_samples=5"]
    found = json.loads(cli("plan", "micro-plain", *chosen, "--prices", prices, "--json").stdout)
    by_role = {asked["role"]: asked for asked in found["served"]}
    assert {role: asked["calls"] for role, asked in by_role.items()} == {
        "prompts.writer": 10 * 6,
        "seeds.reviewer": 1 * 5,
        "judge.model": 10 * 3 * 2,
    }
    for asked in by_role.values():
        assert asked["cost"] == pytest.approx((asked["read"] * 2 + asked["written"] * 8) / 1e6)
        assert (asked["currency"], asked["read"] > 0) == ("EUR", True)
    assert by_role["prompts.writer"]["written"] == 60 * 28
    assert not [stage for stage in found["stages"] if stage["name"].startswith("SFT")]  # it reviews nothing
    needed = {need["kind"] for need in found["memory"]}
    assert needed == {"sft", "candidates", "reference", "dpo"}  # what servers do takes nothing here
    shown = cli("plan", "micro", *chosen, "--prices", prices).stdout
    assert "prompts.writer: w: 60 calls, at most " in " ".join(shown.split())
    assert "its price is not known (--prices)" in " ".join(cli("plan", "micro", *chosen).stdout.split())


def test_a_dry_run_says_what_a_plan_says(cli: Cli, seed_data: list[str], prices: str) -> None:
    cli("init", "a", *seed_data, *SERVED, *SMALL)
    dry = " ".join(cli("run-iteration", "a", "--until", "M2", "--dry-run", "--prices", prices).stdout.split())
    planned = " ".join(cli("plan", "a", "--prices", prices).stdout.split())
    for role in ("prompts.writer: w:", "judge.model: j:"):
        start = dry.index(role)
        assert dry[start : dry.index(")", start)] in planned
    assert "seeds.reviewer: r:" not in dry  # all reviews are there


def test_a_file_of_prompts_is_planned_as_one(cli: Cli, seed_data: list[str]) -> None:
    Path("mine.jsonl").write_text(json.dumps({"id": "a", "prompt": "Say it."}) + "\n", encoding="utf-8")
    result = cli("plan", "micro", *seed_data, "--set", "prompts.writer=mine.jsonl")
    assert result.exit_code == 0
    assert "drawn from " in result.stdout
    assert "continuations" not in result.stdout


def test_costs_are_told_before_and_after(cli: Cli, quick: Any, seed_data: list[str], prices: str) -> None:
    cli("init", "a", *seed_data, *SERVED, *SMALL)
    options = ("--prices", prices, "--max-cost", "7.5", "--concurrency", "3")
    result = cli("run-iteration", "a", "--until", "M2", *options)
    assert result.exit_code == 0
    told = " ".join(result.stderr.split())
    assert told.index("judge.model: j: 60 calls, at most ") < told.index(
        "Served models cost 0.0000 EUR. --max-cost 7.5"
    )
    services = quick.calls[-1]["services"]
    assert (services.budget.max_cost, services.concurrency, services.replay) == (7.5, 3, False)
    replayed = cli("run-iteration", "a", "--until", "M2", "--replay")
    assert "at most" not in replayed.stderr
    assert quick.calls[-1]["services"].replay


def test_a_run_without_helpers_says_nothing_of_costs(cli: Cli, quick: Any) -> None:
    cli("init", "a")
    assert "cost" not in cli("run-iteration", "a").stderr


def test_the_judge_of_a_run_cannot_change(cli: Cli) -> None:
    cli("init", "a", *SERVED)
    result = cli("run-iteration", "a", "--set", "judge.model=self", "--dry-run")
    assert result.exit_code == 2
    assert "judge.model" in result.stderr
    assert RunDir.open(Path("a")).config.judge.model == f"openai:j@{URL}"
