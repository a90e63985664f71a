"""`srbench plan`: every number in a terminal of 80 columns, exit codes, JSON, and nothing written or downloaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfreward_bench import recipes
from selfreward_bench.cli.requirements import _size
from selfreward_bench.hardware import GIB
from selfreward_bench.storage.rundir import RunDir
from trainers import fitting
from trainers.fitting import Machine

from .conftest import Cli, Terminal, assert_fits, mark_done, unstyled


@pytest.fixture
def llama(tmp_path: Path) -> list[str]:
    """Options for a base of 8 billion parameters that is nothing but its config.json."""
    values = {"model_type": "llama", "vocab_size": 128_256, "hidden_size": 4096, "intermediate_size": 14_336}
    values |= {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "dtype": "bfloat16"}
    (tmp_path / "llama").mkdir()
    (tmp_path / "llama" / "config.json").write_text(json.dumps(values), encoding="utf-8")
    return ["--set", f"base={tmp_path / 'llama'}"]


def numbers(cli: Cli, *arguments: str, code: int = 0) -> dict[str, Any]:
    result = cli("plan", *arguments, "--json")
    assert result.exit_code == code, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_recipe_is_planned_and_nothing_made(cli: Cli, tmp_path: Path, seed_data: list[str]) -> None:
    result = cli("plan", "micro", *seed_data)
    assert result.exit_code == 0
    assert "To make M3 (nothing is done now)" in result.stdout
    assert "The base, micro: 899,968 parameters (counted in LlamaForCausalLM)." in result.stdout
    for title in ("SFT on IFT and EFT", "candidates", "judgments", "DPO's reference", "DPO"):
        assert f"\n{title} " in result.stdout
    assert "It fits into" in result.stdout
    assert "(available now on this machine)" in result.stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["eft.jsonl", "ift.jsonl"]


WHOLE = ("--set", "train={launch: null, sharding: none}")


@pytest.mark.parametrize("options", [[], ["--gpus", "64", "--gpu-memory", "80", *WHOLE]])
def test_the_70b_in_a_terminal_of_80_columns(
    cli: Cli, terminal: Terminal, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Machine("cpu", 16 * GIB, 1, "available now on this machine", 16 * GIB, 100 * GIB)
    monkeypatch.setattr(fitting, "find_machine", lambda _: here)
    wide = cli("plan", "paper-70b", *options).stdout
    terminal(80)
    result = cli("plan", "paper-70b", *options)
    assert result.exit_code == 1  # it does not fit
    assert_fits(unstyled(result.stdout), 80, wide)
    text = " ".join(unstyled(result.stdout).split())
    assert "68,976,648,192 parameters (counted in LlamaForCausalLM, of srbench's copy of its config.json)" in text
    assert "Full training in one process needs 1.1 TB on one device, 16 bytes of each of 68,976,648,192" in text
    assert "It needs sharding (--set train.launch=auto --set train.sharding=fsdp): over" in text
    assert "LoRA (--set 'lora={}') holds about" in text
    assert "without a tokenizer 4 characters are taken for a token" in text


def test_sharding_is_told_for_the_gpus_there_would_be(cli: Cli) -> None:

    few = cli("plan", "paper-70b", "--gpus", "8", "--gpu-memory", "80", *WHOLE).stdout
    assert "train.sharding=fsdp): over 8 GPUs of 80.0 GiB each would hold 144." in few
    assert "which does not fit either." in few
    unknown = cli("plan", "paper-70b", "--gpus", "64", *WHOLE)
    assert unknown.exit_code == 0
    assert "Sharded (--set train.launch=auto --set train.sharding=fsdp) over 64 GPUs each would hold" in unknown.stdout
    assert "state the memory of a device" in unknown.stdout


def test_a_recipe_that_shards_is_told_with_what_each_process_holds(cli: Cli) -> None:
    found = numbers(cli, "paper-70b", "--gpus", "64", "--gpu-memory", "80", code=1)
    memory = {row["kind"]: row for row in found["memory"]}
    count = found["dimensions"]["parameters"]
    assert memory["dpo"]["moments"] == 8 * count // 64
    assert memory["dpo"]["gradients"] == 4 * count // 64
    assert 4 * count // 64 < memory["dpo"]["weights"] < 4 * count // 16
    generating = {"prompts", "candidates", "judgments", "reviews", "answers", "verdicts"}
    assert {kind for s in found["short"] for kind in s["kinds"]} == generating
    assert found["host"]["weights"] == 0  # no process holds the model
    told = cli("plan", "paper-70b", "--gpus", "8", "--gpu-memory", "80").stdout
    assert "Memory of one device, trainings sharded over 8" in told
    assert "It is sharded over 8 processes already" in told
    assert "sft.batch_size=16 feeds 16 of 64 processes at a time" in " ".join(found["assumed"])


def test_the_commands_are_told(cli: Cli, seed_data: list[str]) -> None:
    told = cli("plan", "micro", *seed_data, "--until", "M2").stdout
    asked = " ".join(f"--set {change}" for change in seed_data[1::2])
    assert f": srbench run-iteration runs/micro --recipe micro {asked} --until M2" in " ".join(told.split())
    assert "over machines" not in told
    told = " ".join(cli("plan", "paper-70b", "--gpus", "64").stdout.split())
    assert "srbench run-iteration runs/paper-70b --recipe paper-70b --until M3" in told
    assert "torchrun --nnodes 8 --nproc-per-node 8 --rdzv-backend c10d" in told
    assert told.endswith("--set train.processes=64")


def test_what_does_not_fit_names_settings_with_which_it_does(cli: Cli, llama: list[str], seed_data: list[str]) -> None:
    options = ["micro", *llama, *seed_data, "--gpu-memory", "125"]
    told = cli("plan", *options, "--set", "sft.max_length=2048", "--set", "dpo.max_length=4096")
    assert told.exit_code == 1
    found = numbers(cli, *options, code=1)
    remedies = [setting for s in found["short"] for setting in s["settings"]]
    assert remedies
    assert f"It fits with {' '.join(f'--set {r}' for r in found['short'][0]['settings'])}." in told.stdout
    changed = [part for setting in remedies for part in ("--set", setting)]
    assert numbers(cli, *options, *changed)["fits"] is True


def test_json_has_the_same_numbers(cli: Cli, llama: list[str], seed_data: list[str]) -> None:
    found = numbers(cli, "micro", *llama, *seed_data, "--gpus", "2", "--gpu-memory", "80", code=1)
    assert found["fits"] is False
    assert found["dimensions"]["parameters"] == 8_030_261_248
    memory = {row["kind"]: row for row in found["memory"]}
    assert memory["dpo"]["weights"] == 4 * 8_030_261_248
    assert memory["dpo"]["moments"] == 8 * 8_030_261_248
    parts = ("weights", "gradients", "moments", "activations", "logits", "cache")
    assert all(row["total"] == sum(row[part] for part in parts) for row in memory.values())
    assert {row["name"] for row in found["stages"]} >= {"M1/train", "M2/candidates"}
    assert found["machine"]["devices"] == 2
    assert found["sharded"] < max(row["total"] for row in memory.values())
    assert found["disk"]["total"] > found["disk"]["checkpoints"] == 4 * 2 * 8_030_261_248  # as the base is saved


def test_times_by_what_is_stated(cli: Cli, llama: list[str], seed_data: list[str]) -> None:
    options = ["micro", *llama, *seed_data, "--gpus", "4", "--until", "M2"]
    assert "no estimate for SFT/train" in cli("plan", *options).stdout
    stated = cli("plan", *options, "--tokens-per-second", "5000", "--tflops", "300", "--mfu", "0.4")
    assert "at the rates of the stated throughput" in stated.stdout
    assert "Stated: 5,000 tokens written per second, 300 TFLOP/s x 0.4 of 4 GPUs." in stated.stdout
    launched = ["--set", "train={launch: torchrun --nproc-per-node 4, processes: 4}"]
    for more, used in (([], 1), (launched, 4)):  # one process trains on one GPU
        found = numbers(cli, *options, *more, "--tflops", "300", "--mfu", "0.4")
        dpo = next(row for row in found["stages"] if row["name"] == "M2/train")
        assert dpo["seconds"] == pytest.approx(dpo["flops"] / (used * 300e12 * 0.4))


def test_a_run_is_planned_from_where_it_is(cli: Cli, seed_data: list[str]) -> None:
    cli("init", "a", *seed_data)
    run = RunDir.open(Path("a"))
    mark_done(run, "M2/candidates", {"completions": 6000, "tokens": 60_000, "distinct": 5000}, seconds=30)
    before = {p: p.read_bytes() for p in Path("a").rglob("*") if p.is_file()}
    found = numbers(cli, "a", "--set", "dpo.micro_batch_size=2")
    assert {row["name"] for row in found["stages"]}.isdisjoint({"M2/candidates"})
    written = next(row for row in found["stages"] if row["name"] == "M3/candidates")
    assert (written["written"], written["seconds"]) == ({"number": 60_000, "about": True}, pytest.approx(30))
    assert next(row for row in found["memory"] if row["kind"] == "dpo")["batch"].startswith("2 x 2 x ")
    assert {p: p.read_bytes() for p in Path("a").rglob("*") if p.is_file()} == before


def test_nothing_left_to_do(cli: Cli, seed_data: list[str]) -> None:
    cli("init", "a", *seed_data, "--set", "with_baseline=false", "--set", "iterations=1")
    run = RunDir.open(Path("a"))
    for name in ("M1/ift", "M1/reviews", "M1/eft", "M1/train"):
        mark_done(run, name, {"examples": 1, "judgments": 0, "steps": 1})
    for name in ("prompts", "candidates", "judgments", "pairs", "rehearsal", "train"):
        mark_done(run, f"M2/{name}", {"prompts": 1, "completions": 1, "judgments": 1, "pairs": 1, "steps": 1})
    result = cli("plan", "a")
    assert result.exit_code == 0
    assert "Nothing that needs a model is left to be done." in result.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["micro", "--tflops", "300"], "--tflops and --mfu belong together"),
        (["micro", "--tflops", "300", "--mfu", "40"], "--mfu 40 is a share"),
        (["micro", "--gpu-memory", "-1"], "--gpu-memory -1 must be a positive number"),
        (["micro", "--parameters", "nan"], "--parameters nan must be a positive number"),
        (["micro", "--tokens-per-second", "0"], "--tokens-per-second 0 must be"),
        (["micro", "--set", "base=some/model"], "A plan needs its config.json alone"),
        (["micro", "--until", "M9"], "Unknown model of this run 'M9'"),
        (["mikro"], "Did you mean 'micro'"),
        (["."], "srbench.yaml"),
        (["paper-70b", "--set", "seeds.eft_size=null"], "--set seeds.eft_size=3200"),
    ],
)
def test_what_cannot_be_planned(cli: Cli, arguments: list[str], told: str) -> None:
    result = cli("plan", *arguments)
    assert result.exit_code == 2
    assert told in result.stderr


def test_only_parameters(cli: Cli, seed_data: list[str]) -> None:
    options = ["micro", *seed_data, "--set", "base=some/model", "--parameters", "1e9"]
    result = cli("plan", *options, "--gpu-memory", "80")
    assert result.exit_code == 0
    assert "1,000,000,000 parameters (the number of parameters that was stated)" in result.stdout
    assert "It fits into 80.0 GiB (as stated), as far as the number of parameters tells." in result.stdout


# --- run-iteration --dry-run


def test_a_dry_run_tells_the_same(cli: Cli, seed_data: list[str]) -> None:
    cli("init", "a", *seed_data)
    dry, planned = cli("run-iteration", "a", "--dry-run", "--until", "M3"), cli("plan", "a")
    assert dry.exit_code == 0
    beginning = dry.stdout.index("The base, micro")
    rows = dry.stdout[beginning : dry.stdout.index("It fits into")]
    assert "DPO's reference" in rows
    assert rows in planned.stdout


def test_a_dry_run_of_an_unknown_base_still_shows_the_plan(cli: Cli, seed_data: list[str]) -> None:
    cli("init", "a", *seed_data, "--set", "base=some/model")
    result = cli("run-iteration", "a", "--dry-run")
    assert result.exit_code == 0
    assert "M1/train" in result.stdout
    assert "Memory, tokens and disk are not told: Model 'some/model'" in result.stdout


@pytest.mark.slow
def test_a_dry_run_that_does_not_fit_is_told_and_no_failure(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "find_machine", lambda _: Machine("gpu", 2**20, 1, "free now on this machine's GPU"))
    cli("init", "a", "--recipe", "micro-fast")
    result = cli("run-iteration", "a", "--dry-run")
    assert result.exit_code == 0
    assert "Does not fit: " in result.stdout
    assert "No setting makes it fit." in result.stdout


def test_sizes_in_words() -> None:
    assert [_size(n) for n in (5 * 2**20, 3 * 2**30, 1200 * 2**30)] == ["5 MiB", "3.0 GiB", "1,200 GiB"]


def test_the_recipe_says_what_the_plan_says() -> None:
    assert "1.1 TB" in recipes.source("paper-70b")
