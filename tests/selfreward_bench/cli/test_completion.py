"""Values that a shell offers, asked for as the shells do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import selfreward_bench
from leaderboards import suites
from selfreward_bench import recipes
from selfreward_bench.cli import completion
from selfreward_bench.storage.rundir import RunDir


@pytest.fixture
def runs() -> None:
    """A run with M1, another with nothing made, and evaluations in a run's layout."""
    run = RunDir.create(Path("runs/first"), recipes.load("micro"))
    (run.path / "M1" / "checkpoint").mkdir(parents=True)
    (run.path / "human").mkdir()
    RunDir.create(Path("runs/new"), recipes.load("micro"))
    Path("runs/eval/llama/eval").mkdir(parents=True)
    Path("models/one").mkdir(parents=True)


def offered(shell: str, line: str) -> list[str]:
    """What a shell gets for a line whose last word is not complete; bash breaks it at colons, too."""
    words = line.replace(":", " : ").split(" ") if shell == "bash" else line.split(" ")
    words = [word for i, word in enumerate(words) if word or i == len(words) - 1]
    if shell == "bash" and line.endswith(":"):
        words = words[:-1]
    asked = {
        "bash": {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": line},
    }
    environment = os.environ | {"PYTHONPATH": str(Path(selfreward_bench.__file__).parent.parent)}
    environment |= {"_SRBENCH_COMPLETE": f"complete_{shell}", **asked[shell]}
    done = subprocess.run(
        [sys.executable, "-m", "selfreward_bench.cli"], capture_output=True, text=True, env=environment
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_names_are_those_of_the_harness() -> None:
    assert set(completion.SUITES) == set(suites.SUITES)
    assert set(completion.BENCHMARKS) == {name for world in suites.NAMES.values() for name in world}


def test_suites_and_recipes() -> None:
    assert completion.suites("p") == ["paper"]
    assert "micro" in completion.recipes("mic")
    assert completion.worlds("") == ["micro", "real"]


def test_benchmarks_in_a_list() -> None:
    assert completion.benchmarks("alp") == ["alpaca-eval"]
    assert completion.benchmarks("nlp,mt") == ["nlp,mt-bench"]
    assert "nlp,nlp" not in completion.benchmarks("nlp,")
    assert completion.benchmarks("nothing") == []


@pytest.mark.usefixtures("runs")
def test_models_of_runs_and_directories_on_the_way() -> None:
    assert completion.models("ru") == ["runs/"]
    assert completion.models("runs/") == ["runs/eval:llama", "runs/first:M0", "runs/first:M1", "runs/new:M0"]
    assert completion.models("runs/first:") == ["runs/first:M0", "runs/first:M1"]
    assert completion.models("runs/first:M1") == ["runs/first:M1"]
    assert completion.models(f"{Path.cwd()}/runs/f")[0] == f"{Path.cwd()}/runs/first:M0"
    assert completion.models("models/") == ["models/one/"]
    assert completion.models("openai:x") == []


@pytest.mark.slow
@pytest.mark.usefixtures("runs")
def test_bash_gets_the_last_piece_alone() -> None:
    assert offered("bash", "srbench eval --checkpoint runs/fi") == ["runs/first:M0", "runs/first:M1"]
    assert offered("bash", "srbench eval --checkpoint runs/first:") == ["M0", "M1"]
    assert offered("bash", "srbench compare runs/first:M0 runs/first:M") == ["M0", "M1"]
    assert offered("bash", "srbench eval --suite m") == ["micro"]


@pytest.mark.usefixtures("runs")
def test_zsh_gets_it_whole() -> None:
    assert '"paper"' in " ".join(offered("zsh", "srbench eval --suite p"))
    assert '"runs/first\\\\:M1"' in " ".join(offered("zsh", "srbench eval --checkpoint runs/first:M"))
