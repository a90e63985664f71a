"""A runner of commands, small seed data, and a training that takes no time."""

from __future__ import annotations

import functools
import json
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import typer.testing
from rich.cells import cell_len
from typer.testing import CliRunner, Result

from leaderboards import standings
from leaderboards.base import row, summarise
from leaderboards.micro import test_prompts as prompts_of
from selfreward_bench import recipes
from selfreward_bench.cli.app import app
from selfreward_bench.cli.environment import _THREADS
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.fingerprint import weights_fingerprint
from selfreward_bench.storage.rundir import RunDir
from selfreward_bench.types import Completion, EvalResult

from ...reports.conftest import builder, full, whole  # noqa: F401 - runs that a report has something to say of

Cli = Callable[..., Result]
Terminal = Callable[[int], None]

_STYLE = re.compile(r"\x1b\[[0-9;]*m")


_command = functools.cache(typer.testing._get_command)  # of the app, made once


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs a command; what it raises beyond its exit code is a bug and reaches the test."""
    monkeypatch.setattr(typer.testing, "_get_command", _command)

    def run(*arguments: str | Path) -> Result:
        return CliRunner().invoke(app, [str(a) for a in arguments], prog_name="srbench", catch_exceptions=False)

    return run


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Makes what is printed to a terminal of so many columns, which draws no bars."""

    def widen(columns: int) -> None:
        values = {"TTY_COMPATIBLE": "1", "TTY_INTERACTIVE": "0", "COLUMNS": str(columns), "TERM": "xterm-256color"}
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("NO_COLOR", raising=False)

    return widen


def unstyled(text: str) -> str:
    """What a terminal shows, without bold, dim and colours."""
    return _STYLE.sub("", text)


def assert_fits(text: str, columns: int, words: str = "", *others: str) -> None:
    """No line is longer than the terminal, and every word that can be whole is one of ``words``.

    Args:
        text: what the terminal shows.
        words: the same where nothing is broken.
        others: words that are shown in the narrow form alone.
    """
    lines = unstyled(text).splitlines()
    assert not [line for line in lines if cell_len(line) > columns]
    if words:
        assert {word for line in lines for word in line.split()} <= {*words.split(), *others}


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has a working directory of its own, and leaves no thread settings behind."""
    monkeypatch.chdir(tmp_path)
    for name in _THREADS:
        monkeypatch.setenv(name, "1")


@pytest.fixture
def seed_data(tmp_path: Path) -> list[str]:
    """Ten IFT examples and four ranked prompts with reviews, as ``--set`` options."""
    ift = [{"id": f"i{n}", "prompt": f"Name number {n}.", "completion": f"It is {n}."} for n in range(10)]
    responses = [{"text": "Yes.", "rank": 0, "review": "Score: 5"}, {"text": "No.", "rank": 1, "review": "Score: 1"}]
    eft = [{"id": f"e{n}", "prompt": f"Tell of {n}.", "responses": responses} for n in range(4)]
    for name, lines in (("ift", ift), ("eft", eft)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    values = {"seeds.ift": "ift.jsonl", "seeds.eft": "eft.jsonl", "seeds.exclude": "null"}
    return [part for key, value in values.items() for part in ("--set", f"{key}={value}")]


def store_results(run: Path) -> None:
    """A checkpoint with one tensor and a result for each of M1 and M2; M2 is better by half a point for sure."""
    for number, model in enumerate(("M1", "M2")):
        folder = run / model / "eval" / "micro-quality@1"
        header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
        (run / model / "checkpoint").mkdir(parents=True)
        content = struct.pack("<Q", len(header)) + header + struct.pack("<f", number)
        (run / model / "checkpoint" / "model.safetensors").write_bytes(content)
        better = (0.4, 0.6)  # by not quite the same everywhere: no spread would be no certainty
        measures = [
            {"quality_sampled": 3 + number * better[n // 2 % 2] + n % 2, "exact_greedy": n % 2} for n in range(20)
        ]
        rows = [row(f"s{n}", f"p{n}", numbers) for n, numbers in enumerate(measures)]
        jsonl.write(folder / standings.SCORES, rows)
        result = EvalResult(
            checkpoint=model,
            fingerprint=weights_fingerprint(run / model / "checkpoint"),
            benchmark="micro-quality@1",
            judge="oracle",
            metrics=summarise(rows),
            config_hash="c",
            versions={},
            seconds=1.0,
        )
        standings.write_record(folder / standings.RESULT, result)


def store_answers(run: Path) -> None:
    """M1's and M2's answers to the first of the micro-world's prompts."""
    for model in ("M1", "M2"):
        folder = run / model / "eval" / "micro-quality@1"
        folder.mkdir(parents=True, exist_ok=True)
        texts = [(p.id, f"={model[1:]} would say {i} <b>") for i, p in enumerate(prompts_of(recipes.load("micro")))]
        jsonl.write(
            folder / "answers.jsonl",
            [
                Completion(prompt_id=p, index=0, text=text, n_tokens=1, finish_reason="stop", seed=0)
                for p, text in texts[:60]
            ],
        )


@pytest.fixture
def two_results(tmp_path: Path) -> Path:
    """A run with results of M1 and M2."""
    run = RunDir.create(tmp_path / "run", recipes.load("micro"))
    store_results(run.path)
    return run.path


@dataclass
class Recorded:
    """What the patched training, evaluation and report were asked for."""

    calls: list[dict[str, Any]] = field(default_factory=list)
    evaluated: list[list[str]] = field(default_factory=list)
    reports: int = 0
    benchmarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Made:
    model: str


def mark_done(run: RunDir, name: str, counts: dict[str, float], seconds: float = 2.0) -> None:
    """Finishes a stage as if it had taken ``seconds``."""
    stage = run.stage(name, {}, {})
    stage.finish(counts, {})
    marker = json.loads(stage.done_path.read_text(encoding="utf-8"))
    stage.done_path.write_text(json.dumps(marker | {"seconds": seconds}), encoding="utf-8")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """Replaces training, evaluation and report by what only leaves their marks."""
    from trainers.stages import models

    recorded = Recorded()

    def train(run: RunDir, *, until: str, **rest: Any) -> list[Made]:
        recorded.calls.append({"until": until, **rest})
        made = []
        for model in models(run.config):
            path = run.path / model / "iteration.json"
            if not path.exists():
                path.parent.mkdir(exist_ok=True)
                path.write_text("{}", encoding="utf-8")
                made.append(Made(model))
            if model == until:
                break
        return made

    def evaluate(run: RunDir, names: list[str], reporter: Any, benchmarks: Any = ()) -> None:
        recorded.benchmarks = list(benchmarks)
        recorded.evaluated.append(list(names))

    def report(root: Path) -> Path:
        recorded.reports += 1
        return root / "report.html"

    monkeypatch.setattr("trainers.iteration.run_iteration", train)
    monkeypatch.setattr("selfreward_bench.cli.scoring.evaluate_models", evaluate)
    monkeypatch.setattr("selfreward_bench.cli.scoring.compare_models", lambda root: None)
    monkeypatch.setattr("selfreward_bench.cli.scoring.write_report", report)
    return recorded
