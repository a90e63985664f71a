"""`validate`: every problem at once, with file, line and field."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selfreward_bench import recipes
from selfreward_bench.cli.formats import JSONL_FORMATS, recognise

from .conftest import Cli

MESSAGES = [{"role": "user", "content": "Hi."}]
SAMPLES = {
    "ift": {"id": "a", "prompt": "Hi.", "completion": "Hello."},
    "eft": {"id": "a", "prompt": "Hi.", "responses": [{"text": "x", "rank": 0}, {"text": "y", "rank": 1}]},
    "prompts": {"id": "a", "messages": MESSAGES},
    "completions": {"prompt_id": "a", "index": 0, "text": "x", "n_tokens": 1, "finish_reason": "stop", "seed": 1},
    "judgments": {"prompt_id": "a", "index": 0, "judge": "micro", "score": None, "raw": "?", "reason": "no_verdict"},
    "rewards": {"prompt_id": "a", "index": 0, "score": 3.0, "n_parsed": 1, "n_judgments": 1},
    "pairs": {
        "prompt_id": "a",
        "prompt": MESSAGES,
        "chosen": [{"role": "assistant", "content": "x"}],
        "rejected": [{"role": "assistant", "content": "y"}],
        "chosen_score": 4.0,
        "rejected_score": 1.0,
        "chosen_index": 0,
        "rejected_index": 1,
    },
    "two-turn": {"id": "a", "category": "c", "turns": ["x", "y"], "reference": ["x", "y"]},
    "choices": {"id": "a", "question": "?", "choices": ["x", "y"], "answer": 0},
}


def lines(path: str, *records: object) -> Path:
    file = Path(path)
    file.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records), encoding="utf-8")
    return file


@pytest.mark.parametrize("format", SAMPLES)
def test_each_format_is_recognised_by_its_fields(cli: Cli, format: str) -> None:
    file = lines("some.jsonl", SAMPLES[format])
    assert recognise(file) == format
    result = cli("validate", file)
    assert result.exit_code == 0
    assert result.stdout == f"some.jsonl: fine (1 {format} records)\n"


@pytest.mark.parametrize("format", JSONL_FORMATS)
def test_each_format_can_be_named_and_refuses_what_it_is_not(cli: Cli, format: str) -> None:
    sample = {"examples": SAMPLES["ift"] | {"prompt": MESSAGES, "completion": MESSAGES}, "ranked": SAMPLES["eft"]}
    record = sample.get(format) or SAMPLES[format]
    if format == "ranked":
        record = {"id": "a", "messages": MESSAGES, "responses": record["responses"]}
    assert cli("validate", lines("x.jsonl", record), "--format", format).exit_code == 0
    assert cli("validate", lines("x.jsonl", record | {"colour": "red"}), "--format", format).exit_code == 1


def test_every_problem_of_a_file_is_printed(cli: Cli) -> None:
    good = SAMPLES["ift"]
    file = lines("ift.jsonl", good, {"id": "b", "prompt": "x"}, "{broken", good, good | {"id": "c", "prompt": "\ud800"})
    result = cli("validate", file)
    assert result.exit_code == 1
    problems = result.stdout.splitlines()
    assert [p.partition(": ")[0] for p in problems] == [f"ift.jsonl:{n}" for n in (2, 3, 4, 5)]
    for problem, word in zip(
        problems, ("'completion' is missing", "not valid JSON", "line 1 already", "surrogate"), strict=True
    ):
        assert word in problem


def test_a_hundred_problems_are_enough(cli: Cli) -> None:
    result = cli("validate", lines("x.jsonl", *["{}"] * 250), "--format", "ift")
    assert len(result.stdout.splitlines()) == 101
    assert "and 150 more" in result.stdout


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_file_is_a_problem(cli: Cli, content: str) -> None:
    Path("ift.jsonl").write_text(content, encoding="utf-8")
    result = cli("validate", "ift.jsonl")
    assert result.exit_code == 1
    assert "holds no records" in result.stdout


def test_files_that_cannot_be_read_or_recognised_are_problems_of_theirs(cli: Cli) -> None:
    good = lines("ift.jsonl", SAMPLES["ift"])
    unknown = lines("what.jsonl", {"a": 1})
    result = cli("validate", "none.jsonl", unknown, good)
    assert result.exit_code == 1
    assert "none.jsonl: there is no such file" in result.stdout
    assert "Name it with --format" in result.stdout
    assert "ift.jsonl: fine" in result.stdout


def test_an_unknown_format_is_a_usage_error_with_a_suggestion(cli: Cli) -> None:
    result = cli("validate", lines("x.jsonl", {}), "--format", "pair")
    assert result.exit_code == 2
    assert "Did you mean 'pairs'?" in result.stderr


def test_a_recipe_with_all_its_problems_and_lines(cli: Cli) -> None:
    Path("mine.yaml").write_text(
        "extends: micro\ndpo:\n  bta: 0.1\n  epochs: many\nseeds:\n  ift: none.jsonl\n", encoding="utf-8"
    )
    result = cli("validate", "mine.yaml")
    assert result.exit_code == 1
    problems = result.stdout.splitlines()
    assert len(problems) == 2
    assert any(problem.startswith("mine.yaml:3: dpo.bta: unknown key.") for problem in problems)
    assert any(problem.startswith("mine.yaml:4: dpo.epochs: ") for problem in problems)
    Path("mine.yaml").write_text("extends: micro\nseeds:\n  ift: none.jsonl\n", encoding="utf-8")
    assert f"mine.yaml: seeds.ift: no file {str(Path('none.jsonl').resolve())!r}" in cli("validate", "mine.yaml").stdout


@pytest.mark.parametrize("given", ["", "oasst:", "hf:"])
def test_seed_data_without_a_name_is_told(cli: Cli, given: str) -> None:
    Path("mine.yaml").write_text(f"extends: micro\nseeds: {{ift: '{given}'}}\n", encoding="utf-8")
    found = cli("validate", "mine.yaml").stdout
    assert f"mine.yaml: seeds.ift: {given!r} names no data. Write a path or a name behind it." in found


def test_every_shipped_recipe_and_judge_prompt_is_fine(cli: Cli) -> None:
    from importlib import resources

    folder = resources.files("selfreward_bench") / "data"
    judges = [str(f) for f in (folder / "judges").iterdir() if f.name.endswith(".yaml")]
    own = [n for n in recipes.names() if "micro" in recipes.load(n).seeds.ift]
    for name in own:
        Path(f"own-{name}.yaml").write_text(f"extends: {name}\n", encoding="utf-8")
    result = cli("validate", *judges, *(f"own-{n}.yaml" for n in own))
    assert result.exit_code == 0, result.stdout
    assert result.stdout.count(": fine (judge)") == len(judges) >= 4
    assert result.stdout.count(": fine (recipe)") == len(own) >= 5


def test_a_judge_prompt_with_its_lines(cli: Cli) -> None:
    Path("judge.yaml").write_text(
        "name: mine\nversion: one\nkind: pointwise\naspects: [a]\ntemplate: |\n  {instruction} {respnse}\n"
        "parser:\n  kind: score-line\n  label: 'Score:'\nrange: [0, 5]\nfence:\n  style: tag\n  open: a\n  close: b\n",
        encoding="utf-8",
    )
    result = cli("validate", "judge.yaml")
    assert result.exit_code == 1
    assert any(line.startswith("judge.yaml:2: version: ") for line in result.stdout.splitlines()), result.stdout


@pytest.mark.parametrize("text", ["{", "[1, 2]", "a: &x 1\nb: *x", "\x00"])
def test_text_that_is_no_recipe(cli: Cli, text: str) -> None:
    Path("bad.yaml").write_text(text, encoding="utf-8")
    result = cli("validate", "bad.yaml")
    assert result.exit_code == 1
    assert "bad.yaml" in result.stdout
