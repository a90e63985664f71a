"""docs/extending.md, carried out: the benchmark, the engine and the judge of the page, as a user would use them."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from leaderboards import descriptions
from selfreward_bench.judges.prompts import load_judge_prompt
from selfreward_bench.storage.rundir import RunDir

from ..installing import installed
from .conftest import Cli

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.+?)^```$", TEXT, re.MULTILINE | re.DOTALL)
BENCHMARK, ENGINE = (code for kind, code in BLOCKS if kind == "python")
BENCHMARK_POINT, ENGINE_POINT = (code for kind, code in BLOCKS if kind == "toml")
(JUDGE,) = (code for kind, code in BLOCKS if kind == "yaml")

#: an engine whose answers lie in the model's directory
CANNED = """
import json
from pathlib import Path
from selfreward_bench.engines.scripted import ScriptedEngine

def open_canned(config, model, *, threads=None):
    return ScriptedEngine(json.loads((Path(model) / "answers.json").read_text()))
"""
RIGHT = dict(re.findall(r'"(\w+)": "(\w+)"[,}]', BENCHMARK))


def entry_points(toml: str) -> str:
    """A block of ``pyproject.toml`` as it stands in an installed package's ``entry_points.txt``."""
    header, line = toml.strip().splitlines()
    return f"[{header.split(chr(34))[1]}]\n{line.replace(chr(34), '')}\n"


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    descriptions._learned.clear()
    descriptions.info.cache_clear()


@pytest.fixture
def models(tmp_path: Path) -> Iterator[list[str]]:
    """Two models: the one knows a capital and talks much, the other says all capitals and little else."""
    Path("mine.py").write_text(BENCHMARK, encoding="utf-8")
    said = {
        "first": {
            "What is the capital of Peru?": "The capital of that country is Lima, I think.",
            "*": "I do not know, and I am sorry to say so.",
        },
        "second": {f"What is the capital of {country}?": f"{capital}." for country, capital in RIGHT.items()},
    }
    for number, (name, answers) in enumerate(said.items()):
        folder = Path(name)
        folder.mkdir()
        header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
        weights = struct.pack("<Q", len(header)) + header + struct.pack("<f", number)
        (folder / "model.safetensors").write_bytes(weights)
        (folder / "answers.json").write_text(json.dumps(answers), encoding="utf-8")
    points = "[srbench.engines]\ncanned = canned_engine:open_canned\n"
    with installed(tmp_path / "site", "canned", points, {"canned_engine": CANNED}):
        yield ["--checkpoint", "first", "--checkpoint", "second", "--set", "engine.kind=canned", "--output", "out"]


def result_of(model: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(Path(f"out/{model}/eval/capitals@1/result.json").read_text(encoding="utf-8"))
    return found


def value(found: dict[str, object], metric: str) -> float:
    metrics = found["metrics"]
    assert isinstance(metrics, dict)
    return float(metrics[metric]["value"])


@pytest.mark.slow
@pytest.mark.parametrize("world", ["micro", "real"])
def test_the_benchmark_runs_in_both_worlds(cli: Cli, models: list[str], world: str) -> None:
    given = ["eval", *models, "--benchmarks", "./mine.py:Capitals", "--world", world]
    planned = cli(*given, "--dry-run")
    assert re.search(r"first +capitals@1 +to do +10 +\d+", planned.stdout), planned.stdout
    done = cli(*given)
    assert done.exit_code == 0, done.output
    assert re.search(r"Capitals\n +Capital named +10\.0 % \S+ \S+ +100\.0 %", done.stdout), done.stdout
    assert (value(result_of("first"), "right"), value(result_of("second"), "right")) == (0.1, 1)
    full = cli(*given, "--full")
    assert re.search(r"second +capitals@1 +Answer length +6\.", full.stdout), full.stdout


@pytest.mark.slow
def test_a_report_knows_it_where_the_file_is_not(cli: Cli, models: list[str]) -> None:
    done = cli("eval", *models, "--benchmarks", "mine.py:Capitals")
    assert done.exit_code == 0, done.output
    Path("mine.py").unlink()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "selfreward_bench.cli"]
    told = subprocess.run(
        [*command, "report", "out", "--format", "markdown"], capture_output=True, text=True, env=environment
    )
    assert "Capitals" in told.stdout, told.stderr
    assert "Capital named" in told.stdout
    descriptions._learned.clear()
    descriptions.info.cache_clear()
    assert cli("report", "out").exit_code == 0
    page = Path("out/report.html").read_text(encoding="utf-8")
    shown = re.sub(r"<[^>]+>|\s+", " ", page)
    assert "Other benchmarks" in page
    assert "Capitals" in shown
    better, shorter = (re.search(rf'class="change diff better[^>]*>.{{0,300}}?>{arrow}<', page) for arrow in "▲▼")
    assert better, "more capitals are better"
    assert shorter, "shorter answers are better"


def test_compare_and_gates_know_it(cli: Cli, models: list[str]) -> None:
    cli("eval", *models, "--benchmarks", "mine.py:Capitals")
    gate = cli("compare", "out/first", "out/second", "--fail-if", "capitals/chars<0 characters")
    assert "Capital named" in gate.output
    assert "▲" in gate.output
    assert gate.exit_code == 1, gate.output


def test_what_fails_in_it_is_told_as_the_page_says(cli: Cli, models: list[str]) -> None:
    Path("mine.py").write_text(BENCHMARK.replace("CAPITALS[country] in", "CAPITALS['Chile'] in"), encoding="utf-8")
    failed = cli("eval", *models, "--benchmarks", "mine.py:Capitals")
    assert failed.exit_code == 2
    assert re.search(r"capitals@1: mine\.py:Capitals fails in line \d+: KeyError: 'Chile'\.", failed.output)


def test_a_package_brings_it_by_its_name(cli: Cli, models: list[str], tmp_path: Path) -> None:
    points = entry_points(BENCHMARK_POINT.replace("my_package.capitals", "capitals_package"))
    with installed(tmp_path / "more", "capitals-package", points, {"capitals_package": BENCHMARK}):
        done = cli("eval", *models, "--benchmarks", "capitals")
        assert done.exit_code == 0, done.output
        found = result_of("second")
        comparability = found["description"]
        assert isinstance(comparability, dict)
        assert comparability["title"] == "Capitals"
        assert "Did you mean 'capitals'" in cli("eval", *models, "--benchmarks", "capitols").output
        before = found["config_hash"]
    code = {"capitals_package": BENCHMARK.replace("Capital named", "Capital said")}
    with installed(tmp_path / "newer", "capitals-package", points, code):
        cli("eval", *models, "--benchmarks", "capitals")
        assert result_of("second")["config_hash"] != before


def test_the_engine_answers(cli: Cli, models: list[str], tmp_path: Path) -> None:
    with installed(tmp_path / "more", "echo", entry_points(ENGINE_POINT), {"echo_engine": ENGINE}):
        given = (*models[:4], "--set", "engine.kind=echo", "--output", "out")
        done = cli("eval", *given, "--benchmarks", "mine.py:Capitals")
        assert done.exit_code == 0, done.output
        answer = json.loads(Path("out/first/eval/capitals@1/answers.jsonl").read_text(encoding="utf-8").splitlines()[0])
        assert answer["text"] == "What is the capital of Cuba?"
        assert cli("init", "runs/x", "--recipe", "micro", "--set", "engine.kind=echo").exit_code == 0
        assert RunDir.open(Path("runs/x")).config.engine.kind == "echo"
    unknown = cli("init", "runs/y", "--recipe", "micro", "--set", "engine.kind=echo")
    assert unknown.exit_code == 2
    assert "Unknown engine kind 'echo'" in unknown.output


def test_the_judge_is_one(tmp_path: Path) -> None:
    Path("brief.yaml").write_text(JUDGE, encoding="utf-8")
    assert load_judge_prompt("./brief.yaml").key.startswith("brief@1")


def test_every_place_that_the_page_names_is_there() -> None:
    named = re.findall(r"`((?:leaderboards|reports|selfreward_bench)/[\w/]+\.(?:py|csv))`", TEXT)
    assert named
    assert [place for place in named if not (ROOT / place).is_file()] == []
