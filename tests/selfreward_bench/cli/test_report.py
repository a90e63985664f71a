"""``srbench report``: where the page and the tables go, and the model card."""

from __future__ import annotations

import csv
import io
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from .conftest import Cli


def test_one_run_has_its_page_in_its_directory(cli: Cli, two_results: Path, quick: Any) -> None:
    done = cli("report", two_results)
    assert done.exit_code == 0
    assert quick.reports == 1
    assert "True quality, sampled" in done.stdout
    assert str(two_results / "report.html") in done.stdout


def test_several_runs_share_one_page_here(cli: Cli, two_results: Path) -> None:
    shutil.copytree(two_results, "second")
    assert cli("report", two_results, "second").exit_code == 0
    page = Path("report.html").read_text(encoding="utf-8")
    assert "second" in page
    assert not (two_results / "report.html").exists()
    assert cli("report", two_results, "--output", "deep/x.html").exit_code == 0
    assert Path("deep/x.html").is_file()


def test_seeds_of_one_recipe_are_put_together(cli: Cli, two_results: Path) -> None:
    for seed in (1, 2):
        shutil.copytree(two_results, f"s{seed}")
        settings = Path(f"s{seed}/srbench.yaml")
        settings.write_text(re.sub(r"(?m)^(  seed): .*$", rf"\1: {seed}", settings.read_text()))
    done = cli("report", "s1", "s2")
    assert done.exit_code == 0, done.stderr
    assert "M2 \u2212 M1" in done.stdout
    assert re.search(r"\[[+\u2212\d., ]+\]", done.stdout)
    assert "seeds and prompts were both drawn anew" in Path("report.html").read_text(encoding="utf-8")


def test_tables_go_to_stdout_or_into_a_file(cli: Cli, two_results: Path) -> None:
    done = cli("report", two_results, "--format", "csv")
    assert [line["checkpoint"] for line in csv.DictReader(io.StringIO(done.stdout))] == ["M1", "M1", "M2", "M2"]
    done = cli("report", two_results, "--format", "latex", "--output", "x.tex")
    assert "x.tex" in done.stdout
    assert r"\toprule" in Path("x.tex").read_text(encoding="utf-8")


def test_evaluations_outside_a_run_can_be_reported(cli: Cli, two_results: Path) -> None:
    shutil.copytree(two_results / "M1", "runs/eval/mine")
    done = cli("report", "runs/eval", "--format", "markdown")
    assert done.exit_code == 0
    assert "mine" in done.stdout


def test_what_is_no_run_is_told(cli: Cli, tmp_path: Path) -> None:
    done = cli("report", tmp_path / "nothing", "--format", "csv")
    assert done.exit_code == 2
    assert "nothing" in done.stderr
    assert not done.stdout


def test_the_model_card_is_written_and_nothing_else(cli: Cli, two_results: Path) -> None:
    before = set(two_results.rglob("*"))
    done = cli("report", two_results, "--model-card", two_results / "M2" / "checkpoint")
    assert done.exit_code == 0
    card = two_results / "M2" / "checkpoint" / "README.md"
    assert str(card) in done.stdout
    assert set(two_results.rglob("*")) - before == {card}
    assert "value: 4.0" in card.read_text(encoding="utf-8")


@pytest.mark.parametrize("option", [("--format", "csv"), ("--output", "x")])
def test_a_model_card_takes_no_format(cli: Cli, two_results: Path, option: tuple[str, str]) -> None:
    done = cli("report", two_results, "--model-card", two_results / "M2" / "checkpoint", *option)
    assert done.exit_code == 2
    assert "leave --output and --format away" in done.stderr


def test_figures_go_into_the_run(cli: Cli, full: Any) -> None:
    done = cli("report", full.path, "--format", "svg")
    assert done.exit_code == 0, done.output
    files = list((full.path / "figures").glob("*.svg"))
    assert done.stdout == f"{len(files)} figures: {full.path / 'figures'}\n"
    assert cli("report", full.path, full.path, "--format", "svg", "--output", "elsewhere").exit_code == 0
    assert list(Path("elsewhere").glob("*.svg"))
