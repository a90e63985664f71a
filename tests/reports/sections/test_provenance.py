"""Provenance: commands that make exactly the run they are said to make, and conditions that are shared or not."""

from __future__ import annotations

import json
import re
import subprocess
from html import unescape
from itertools import pairwise
from typing import Any

import pytest

from leaderboards.health.records import HEALTH, Health, IterationHealth
from leaderboards.standings import read_result, write_record
from reports.facts import collect, reproduction
from reports.facts import training as training_facts
from reports.page.section import Section
from reports.sections import provenance
from selfreward_bench import recipes
from selfreward_bench.config import RunConfig
from selfreward_bench.storage.rundir import RunDir

TEXTS = (
    "plain",
    "true",
    "1e-4",
    "null",
    "",
    " spaces ",
    'it\'s "quoted" \\ and $HOME `x` ;|&>',
    "line\nbreak\ttab",
    "a: b # c",
    "\u202e\u200b\u0085\u2028 \U0001f600 你好",
    "<script>alert(1)</script>",
    "--until",
)


def commands_of(path: Any) -> list[list[str]]:
    facts = collect(path)
    made = reproduction.origin(training_facts.configuration(facts))
    return [argv(c.text) for c in reproduction.commands(facts, made)]


def argv(command: str) -> list[str]:
    """What a shell makes of it."""
    script = f'srbench() {{ printf "%s\\0" srbench "$@"; }}\n{command}'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


def text_of(section: Section) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", str(section.body))).split())


def made_by(command: list[str]) -> RunConfig:
    """The configuration that a ``srbench init`` command makes."""
    assert command[:2] == ["srbench", "init"]
    recipe = command[command.index("--recipe") + 1]
    changes = [value for option, value in pairwise(command) if option == "--set"]
    if "--seed" in command:
        changes.append(f"seed={command[command.index('--seed') + 1]}")
    return recipes.load(recipe, changes)


@pytest.mark.parametrize(
    ("recipe", "changes", "options"),
    [
        ("micro", [], 0),
        ("micro", ["seed=3", "dpo.beta=0.2"], 2),
        ("micro-oracle", ["prompts.max_rouge_l=0.7", "threads=null", "with_baseline=false"], 3),
        ("paper-70b", ["base=./model", "eval.order=both", "sft.learning_rate=1e-5"], 3),
    ],
)
def test_the_command_makes_the_same_settings(tmp_path: Any, recipe: str, changes: list[str], options: int) -> None:
    config = RunDir.create(tmp_path / "first", recipes.load(recipe, changes)).config
    init = commands_of(tmp_path / "first")[0]
    assert made_by(init) == config
    assert init[2:5] == ["runs/first-again", "--recipe", recipe]
    assert [p for p in init if p.startswith("engine.date=")]  # the day in its chat templates, which a run keeps
    assert (len(init) - 5) // 2 == options + 1


@pytest.mark.slow
@pytest.mark.parametrize("text", TEXTS)
def test_any_text_survives_yaml_and_shell(tmp_path: Any, text: str) -> None:
    given = RunConfig.model_validate({"base": text, "eval": {"annotator": text}})
    config = RunDir.create(tmp_path / "run", given).config
    assert made_by(commands_of(tmp_path / "run")[0]) == config
    assert all(ord(c) < 0x7F for c in reproduction.scalar(text))


def test_a_recipe_of_ones_own_is_told_from_the_nearest(tmp_path: Any) -> None:
    config = recipes.load("micro-length", ["name=mine", "dpo.beta=0.5"])
    RunDir.create(tmp_path / "run", config)
    made = reproduction.origin(training_facts.configuration(collect(tmp_path / "run")))
    assert made is not None
    assert made.recipe == "micro-length"
    assert {d.key: (d.value, d.default) for d in made.differences} == {
        "name": ("mine", "micro-length"),
        "dpo.beta": (0.5, 0.1),
        "engine.date": (RunDir.open(tmp_path / "run").config.engine.date, None),
    }


def test_settings_of_another_version_have_no_command(builder: Any) -> None:
    yaml = builder.path / "srbench.yaml"
    yaml.write_text(yaml.read_text().replace("  seed: 0", "  seed: 0\n  from_the_future: 1"))
    assert not [c for c in commands_of(builder.path) if c[1] == "init"]
    text = text_of(provenance.build([collect(builder.path)]))
    assert "cannot be given on a command line" in text
    assert "from_the_future 1 no such setting" in text


def test_a_command_that_is_too_long_is_not_shown(tmp_path: Any) -> None:
    RunDir.create(tmp_path / "run", RunConfig(base="b" * 7_000))
    assert not [c for c in commands_of(tmp_path / "run") if c[1] == "init"]
    section = provenance.build([collect(tmp_path / "run")])
    assert "too long" in text_of(section)
    assert len(section.body) < 20_000


def test_without_settings_there_is_no_command(tmp_path: Any) -> None:
    (tmp_path / "loose").mkdir()
    assert commands_of(tmp_path / "loose") == []
    assert "no readable srbench.yaml" in text_of(provenance.build([collect(tmp_path / "loose")]))


def result(run: Any, model: str, benchmark: str, **values: Any) -> None:
    run.result(model, benchmark, win_rate=0.5)
    path = run.path / model / "eval" / benchmark / "result.json"
    write_record(path, read_result(path).model_copy(update=values))


def test_training_and_evaluations_have_their_commands(builder: Any) -> None:
    for model in ("M1", "M2"):
        (builder.path / model).mkdir()
        (builder.path / model / "iteration.json").write_text('{"parent": "M0"}')
        result(builder, model, "alpaca-eval@1", comparability={"judge": "openai:gpt-4o@https://x/v1"})
        result(builder, model, "judge-accuracy-llmbar@1", comparability={"judge": "additive@1/M1"})
        result(builder, model, "micro-quality@1", comparability={"judge": "oracle"})
    _, train, *evaluations, report = commands_of(builder.path)
    assert train == ["srbench", "run-iteration", "runs/demo-again", "--until", "M2"]
    assert report == ["srbench", "report", "runs/demo-again"]
    start = ["srbench", "eval", "--run", "runs/demo-again", "--benchmarks"]
    assert [*start, "alpaca-eval", "--judge", "openai:gpt-4o@https://x/v1"] in evaluations
    assert [*start, "judge-accuracy-llmbar,micro-quality"] in evaluations


def test_a_long_command_is_broken_as_a_shell_takes_it(builder: Any) -> None:
    facts = collect(builder.path)
    made = reproduction.origin(training_facts.configuration(facts))
    text = reproduction.commands(facts, made)[0].text
    assert " \\\n  --set" in text
    assert argv(text) == argv(text.replace("\\\n", ""))
    assert "\n" not in "".join(argv(text))


@pytest.mark.parametrize("name", ["$(reboot)", "a b", "x\ny", "\u202egnp", "-rf", "'; ls #"])
def test_the_name_of_a_directory_is_no_command(tmp_path: Any, name: str) -> None:
    RunDir.create(tmp_path / name, RunConfig())
    for command in commands_of(tmp_path / name):
        assert command[0] == "srbench"
        assert [c for c in command if c.startswith("runs/")] == [
            f"runs/{name}-again" if name == "-rf" else "runs/run-again"
        ]


def test_time_tokens_and_cost_are_summed(builder: Any) -> None:
    builder.stage("M1", "train", {"tokens": 1_000}, seconds=60)
    builder.stage("M2", "candidates", {"tokens": 500}, seconds=30)
    result(builder, "M2", "alpaca-eval@1", seconds=10.0, cost=1.25)
    section = provenance.build([collect(builder.path)])
    assert "All 1 min 40 s 1,500 1.25" in text_of(section)
    bars = [(r["label"], r["part"], r["value"]) for r in section.charts["provenance-0-time"].rows if r["value"]]
    assert bars == [("M1", "training", 60.0), ("M2", "candidates", 30.0), ("M2", "evaluation", 10.0)]


def test_who_judged_in_training(builder: Any) -> None:
    rounds = (IterationHealth(model="M2", parent="M1", judge="prompt@1/sampled/M1"),)
    write_record(builder.path / HEALTH, Health(iterations=rounds))
    assert "Judge of M2's rewards prompt@1/sampled/M1" in text_of(provenance.build([collect(builder.path)]))


def test_what_results_share_and_what_they_do_not(builder: Any) -> None:
    result(builder, "M1", "alpaca-eval@1", comparability={"judge": "gpt", "data": "abc"}, versions={"torch": "1"})
    result(builder, "M2", "alpaca-eval@1", comparability={"judge": "other", "data": "abc"}, versions={"torch": "2"})
    text = text_of(provenance.build([collect(builder.path)]))
    assert "judge M1: gpt; M2: other NO" in text
    assert "data abc by all 2" in text
    assert "Not comparable." in text
    assert "torch 1" in text
    assert "torch 2" in text


MACHINE = {"cpu": "A processor", "usable_cores": 2, "memory_gib": 7.6}


def identity_of(path: Any) -> dict[str, str]:
    """The page's list of names and values."""
    page = str(provenance.build([collect(path)]).body)
    found = re.findall(r"<dt>([^<]*)</dt><dd>(.*?)</dd>", page, flags=re.S)
    return {unescape(key): unescape(re.sub(r"<[^>]*>", "", value)) for key, value in found}


def ran_on(path: Any, model: str, stage: str, hardware: object) -> None:
    (path / model).mkdir(parents=True, exist_ok=True)
    (path / model / f"{stage}.stage.json").write_text(json.dumps({"finished_at": "2026-01-01", "hardware": hardware}))


def test_a_chat_template_that_is_not_the_models_own_is_named(builder: Any) -> None:
    result(builder, "M1", "alpaca-eval@1")
    assert "Chat template" not in text_of(provenance.build([collect(builder.path)]))
    result(builder, "M0", "alpaca-eval@1", chat_template="fastchat:tulu#0123456789ab")
    for versions in ({"srbench": "0.1.0"}, {"torch": "2"}):  # with and without a column for unlike versions
        result(builder, "M2", "alpaca-eval@1", versions=versions)
        text = text_of(provenance.build([collect(builder.path)]))
        assert "Chat template" in text
        assert re.search(r"M0 \S+ alpaca-eval@1 oracle \w+( srbench \S+)? 0 fastchat:tulu#0123456789ab M1", text)
        assert re.search(r"M1 \S+ alpaca-eval@1 oracle \w+( srbench \S+)? 0 the model's own M2", text)


def test_what_was_found_of_the_base_is_told(builder: Any) -> None:
    assert "as examined" not in text_of(provenance.build([collect(builder.path)]))
    finding = {"severity": "note", "topic": "tokenizer", "text": "An answer ends at <b>'<|end|>'</b> (1)."}
    found = {"base": "micro", "facts": {"architecture": "LlamaForCausalLM", "positions": 4096}, "findings": [finding]}
    (builder.path / "check.json").write_text(json.dumps({"examination": found}), encoding="utf-8")
    text = text_of(provenance.build([collect(builder.path)]))
    assert "Base, as examined LlamaForCausalLM, positions 4,096" in text
    assert "Base: note (tokenizer) An answer ends at <b>'<|end|>'</b> (1)." in text
    (builder.path / "check.json").write_text('{"examination": 3}', encoding="utf-8")
    assert "as examined" not in text_of(provenance.build([collect(builder.path)]))


def test_hardware_that_nobody_recorded_is_said_to_be(builder: Any) -> None:
    assert identity_of(builder.path)["Hardware"] == "not recorded"


def test_one_machine_is_told_once_though_torch_tells_more_of_it(tmp_path: Any) -> None:
    RunDir.create(tmp_path, RunConfig())
    ran_on(tmp_path, "M1", "ift", MACHINE)
    ran_on(tmp_path, "M1", "train", {**MACHINE, "torch_device": "cpu"})
    told = {k: v for k, v in identity_of(tmp_path).items() if k.startswith("Hardware")}
    assert told == {"Hardware": "cpu A processor, usable cores 2, memory (GiB) 7.6, torch device cpu"}


def test_several_machines_are_told_apart(tmp_path: Any) -> None:
    RunDir.create(tmp_path, RunConfig())
    ran_on(tmp_path, "M1", "train", MACHINE)
    ran_on(tmp_path, "M2", "train", {"cpu": "<b>Another</b>", "nested": [1], "nan": float("nan")})
    ran_on(tmp_path, "M2", "pairs", "not a record")
    told = {k: v for k, v in identity_of(tmp_path).items() if k.startswith("Hardware")}
    assert told == {
        "Hardware of M1/train": "cpu A processor, usable cores 2, memory (GiB) 7.6",
        "Hardware of M2/train": "cpu <b>Another</b>",
        "Hardware of M2/pairs": "not recorded",
    }


def test_the_hardware_of_an_evaluation_is_told(builder: Any) -> None:
    builder.result("M1", quality_sampled=3.0)
    (path,) = builder.path.glob("M1/eval/*/result.json")
    write_record(path, read_result(path).model_copy(update={"hardware": MACHINE}))
    told = {k: v for k, v in identity_of(builder.path).items() if k.startswith("Hardware")}
    assert "cpu A processor, usable cores 2, memory (GiB) 7.6" in told.values()


def test_hashes_name_the_stage_that_made_them(builder: Any) -> None:
    for model, stage, inputs, outputs in (
        ("M2", "candidates", {"model": "outside"}, {"completions.jsonl": "h1"}),
        ("M2", "judgments", {"completions": "h1"}, {"judgments.jsonl": "h2"}),
    ):
        builder.stage(model, stage, {"n": 1})
        path = builder.path / model / f"{stage}.stage.json"
        marker = json.loads(path.read_text()) | {
            "outputs": outputs,
            "identity": {"inputs": inputs, "settings": {"seed": 11}},
        }
        path.write_text(json.dumps(marker))
    text = text_of(provenance.build([collect(builder.path)]))
    assert "M2/judgments read completions h1 M2/candidates" in text
    assert "M2/candidates read model outside outside the run" in text
    assert "Seed 11;" in text


@pytest.mark.parametrize(
    "payload",
    [
        "<script>alert(1)</script>",
        "</code></div><img src=x onerror=x>",
        '" autofocus onfocus="x',
        "{{ 7 * 191 }}",
        "a\u202eb\u200b",
        "\x1b[2J",
    ],
)
def test_hostile_texts_are_text(tmp_path: Any, builder: Any, payload: str) -> None:
    yaml = builder.path / "srbench.yaml"
    yaml.write_text(yaml.read_text().replace("base: micro", f"base: {json.dumps(payload)}\n  {json.dumps(payload)}: 1"))
    result(
        builder,
        "M1",
        "alpaca-eval@1",
        judge=payload,
        config_hash=payload,
        versions={payload: payload},
        comparability={"judge": payload, payload: payload},
    )
    builder.stage("M1", "train", {payload: 1})
    path = builder.path / "M1" / "train.stage.json"
    identity = {"inputs": {payload: payload}, "settings": {"seed": payload}}
    path.write_text(
        json.dumps(
            {
                "counts": {},
                "seconds": 1,
                "identity": identity,
                "outputs": {payload: payload},
                "finished_at": payload,
                "srbench": payload,
            }
        )
    )
    body = str(provenance.build([collect(builder.path)]).body)
    assert "<script" not in body
    assert "<img" not in body
    assert 'onfocus="' not in body
    assert "1337" not in body
    assert not re.search("[\u202e\u200b\x1b]", body)
