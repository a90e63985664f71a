"""docs/cli.md and docs/settings.md are what the code says of itself, and every example of a command runs."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from leaderboards.human.records import read_key
from selfreward_bench import recipes
from selfreward_bench.bases.findings import Examination
from selfreward_bench.cli.app import COMMANDS, load
from selfreward_bench.cli.docs import FILES, render
from selfreward_bench.settings import settings
from selfreward_bench.storage.origin import Fork
from selfreward_bench.storage.rundir import RunDir
from selfreward_bench.types import EvalResult, Example, Message, Metric

from .conftest import Cli, store_answers, store_results

ROOT = Path(__file__).parents[3]
TEXT = render()
#: what `data` and `human` have of their own (`### srbench data pull`) is run by tests of its own
OF_COMMANDS = re.sub(r"^### .*?(?=^## )", "", TEXT, flags=re.DOTALL | re.MULTILINE)
EXAMPLES = re.findall(r"^    srbench (.+)$", OF_COMMANDS, re.MULTILINE)


@pytest.mark.parametrize("name", FILES)
def test_what_is_made_of_the_code_is_current(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == FILES[name](), "run `make docs`"


def test_settings_are_told_with_their_full_keys() -> None:
    lines = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8").splitlines()
    sections = {s.section for s in settings()}  # the empty one is the run's own
    assert sum(line.startswith("## ") for line in lines) == len(sections) > 11
    assert {line.count(" | ") for line in lines if line.startswith("| ")} == {3}
    assert [line.split("`")[1] for line in lines if line.startswith("| `")] == [s.key for s in settings() if s.name]


def test_every_command_has_help_and_an_example() -> None:
    for name in COMMANDS:
        assert any(shlex.split(example)[0] == name for example in EXAMPLES), name
        assert f"## srbench {name}\n" in TEXT


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_in_the_list_is_the_first_line_of_the_commands_help(name: str) -> None:
    assert load(name).help.partition("\n")[0] == COMMANDS[name][1]


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_runs(cli: Cli, quick: Any, monkeypatch: pytest.MonkeyPatch, example: str) -> None:
    """Only training, evaluation and the looks at this machine and at a base are replaced."""
    from reports.live import server
    from selfreward_bench.cli import diagnosis, scoring

    result = EvalResult(
        checkpoint="M2",
        fingerprint="f",
        benchmark="micro-quality@1",
        judge=None,
        metrics={"quality_sampled": Metric(value=3.5, low=3.4, high=3.6, n_scored=9, n_total=10)},
        config_hash="c",
        versions={},
        seconds=1.0,
    )
    monkeypatch.setattr(scoring, "results_of", lambda *_: [result])
    monkeypatch.setattr(diagnosis, "CHECKS", diagnosis.CHECKS[:1])
    monkeypatch.setattr("trainers.examination.examine_base", lambda *_, **__: Examination(base="model"))
    monkeypatch.setattr("leaderboards.session.evaluate_model", lambda *_, **__: [])
    monkeypatch.setattr("leaderboards.evaluation.Evaluation.is_scored", True)
    monkeypatch.setattr("leaderboards.head_to_head.tournament.HeadToHead.answer", lambda *_: None)
    monkeypatch.setattr("leaderboards.models.fingerprint_of", lambda path, finished=False: "f" * 32)
    monkeypatch.setenv("SRBENCH_DATA_DIR", "data")
    taken = Fork(parent="first", parent_settings="s", at="M2/pairs", kept=("M1/ift",), changes={})
    monkeypatch.setattr("trainers.forking.fork", lambda *_: taken)
    bound = server.serve
    monkeypatch.setattr(server, "serve", lambda root, port, course_of: bound(root, 0, course_of))
    monkeypatch.setattr(server.Server, "serve_forever", lambda *_: None)  # until Ctrl-C
    monkeypatch.setattr("webbrowser.open", lambda *_: True)
    command = shlex.split(example.partition(">")[0])
    if command[0] not in ("init", "quickstart"):
        run = RunDir.create(Path("runs/first"), recipes.load("micro"))
        for model in ("SFT", "M1", "M2"):
            (run.path / model).mkdir()
            (run.path / model / "iteration.json").write_text("{}", encoding="utf-8")
    if command[0] in ("compare", "report"):
        RunDir.create(Path("runs/second"), recipes.load("micro"))
        for name in ("runs/first", "runs/second"):
            store_results(Path(name))
    Path("mine.yaml").write_text("extends: micro\n", encoding="utf-8")
    Path("data").mkdir()
    Path("data/ift.jsonl").write_text(
        json.dumps({"id": "a", "prompt": "x", "completion": "y"}) + "\n", encoding="utf-8"
    )
    Path("alpaca_data.json").write_text(json.dumps([{"instruction": "x", "output": "y"}]), encoding="utf-8")
    Path("model").mkdir()
    Path("model/config.json").write_text("{}", encoding="utf-8")
    Path("prices.yaml").write_text("models: {NAME: {prompt: 2.5, completion: 10}}\n", encoding="utf-8")
    row = {"instruction": "x", "output_1": "y", "output_2": "z", "generator_1": "a", "generator_2": "b"}
    Path("annotations.json").write_text(json.dumps([row | {"preference": 1.5}]), encoding="utf-8")
    questions = Path("data/alpaca_eval/alpaca_eval.json")
    questions.parent.mkdir()
    questions.write_text(json.dumps([{"instruction": "x", "output": "y"}]), encoding="utf-8")
    if "--dry-run" in command or command[0] == "plan":
        turns = [(Message(role=role, content="x"),) for role in ("user", "assistant")]
        few = [Example(id=f"e{n}", prompt=turns[0], completion=turns[1]) for n in range(10)]
        monkeypatch.setattr("trainers.seeds.load_ift", lambda *_: few)
        monkeypatch.setattr("trainers.seeds.load_eft", lambda *_: [])
    if command[0] == "human":
        store_answers(Path("runs/first"))
    if command[:2] == ["human", "score"]:
        cli("human", "sheet", "runs/first", "--pairs", "M2:M1", "--n", "9")
        key = read_key(Path("runs/first"))
        for rater in "abc":
            rows = "\n".join(f"{key.sheet},{item.id},1" for item in key.items)
            Path(f"{rater}.csv").write_text(f"sheet,item,choice\n{rows}", encoding="utf-8")
    done = cli(*command)
    assert done.exit_code == 0, done.output
    assert done.stdout
