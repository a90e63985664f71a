"""docs/python.md is executed, block by block, in one session."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import srbench

from ..selfreward_bench.cli.conftest import Recorded, quick, store_results  # noqa: F401 - fixtures

# ruff: noqa: F811 - tests take imported fixtures as arguments

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_blocks_run_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half a minute: two models are trained, as everything else on the page is about them."""
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "python.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) > 8
    session: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "python.md", "exec"), session)  # noqa: S102  # our own page
    shown = capsys.readouterr().out
    assert "['M1', 'M2'] ('M1', 'M2') M3" in shown
    assert "Did you mean 'alpaca-eval'" in shown
    assert set(srbench.Run("runs/mine").models) == {"M1", "M2"}
    for name in ("runs/mine/report.html", "results.csv"):
        assert Path(name).is_file()


def test_the_page_names_what_there_is() -> None:
    page = (ROOT / "docs" / "python.md").read_text("utf-8")
    assert {n for n in re.findall(r"srbench\.(\w+)", page) if n != "yaml"} <= set(srbench.__all__)
    for name in re.findall(r"\| `run\.(\w+)", page) + re.findall(r", `run\.(\w+)", page):
        assert hasattr(srbench.Run, name)


def test_the_lines_of_the_readme_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: Recorded, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only training and evaluation are replaced."""
    monkeypatch.chdir(tmp_path)
    store_results(srbench.Run("runs/mine", recipe="micro").path)
    (tmp_path / "runs/mine/M2").rename(tmp_path / "runs/mine/M3")
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    exec(compile(block, "README.md", "exec"), {})  # noqa: S102  # our own page
    assert quick.evaluated[-1] == ["SFT", "M1", "M2", "M3"]
    shown = capsys.readouterr().out
    assert "quality_sampled" in shown
    assert "checkpoint" in shown
