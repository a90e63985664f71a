"""Figures: a file for each chart of the page, and PNG where a program can make it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from reports import figures
from reports.facts.reading import collect
from selfreward_bench.errors import DataError, MissingDependencyError


def test_every_chart_of_the_page_becomes_a_file(full: Any, tmp_path: Path) -> None:
    written = figures.write([collect(full.path)], tmp_path / "out", "svg")
    names = [p.name for p in written]
    assert len(set(names)) == len(names) > 8
    assert names[0] == "verdict-0-checkpoints-main-measures-checkpoint-by-checkpoint.svg"
    assert any(n.startswith("head-to-head-0-0-share-of-comparisons-won") for n in names)
    for path in written:
        text = path.read_text("utf-8")
        ET.fromstring(text)  # noqa: S314 - made a moment ago
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert {p.name for p in (tmp_path / "out").iterdir()} == set(names)


def test_several_runs_have_figures_too(full: Any, tmp_path: Path) -> None:
    facts = collect(full.path)
    assert len(figures.figures([facts, facts])) > len(figures.figures([facts]))


def test_without_a_program_png_is_refused_with_the_way_out(
    full: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("SRBENCH_CHROMIUM", raising=False)
    with pytest.raises(MissingDependencyError, match=r"--format svg.*apt-get install librsvg2-bin"):
        figures.write([collect(full.path)], tmp_path / "out", "png")
    assert not list((tmp_path / "out").iterdir())


def test_a_program_that_makes_nothing_is_told(full: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rsvg-convert").write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
    (tmp_path / "rsvg-convert").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match=r"made no PNG.*--format svg"):
        figures.write([collect(full.path)], tmp_path / "out", "png")


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, figures._PROGRAMS)), reason="no program makes PNG of SVG here")
def test_png_has_twice_the_pixels(full: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = dict(list(figures.figures([collect(full.path)]).items())[:1])
    monkeypatch.setattr(figures, "figures", lambda *_: one)
    (path,) = figures.write([], tmp_path / "out", "png")
    content = path.read_bytes()
    size = [int.from_bytes(content[i : i + 4], "big") for i in (16, 20)]
    (text,) = one.values()
    root = ET.fromstring(text)  # noqa: S314 - made a moment ago
    assert size == [2 * int(root.attrib["width"]), 2 * int(root.attrib["height"])]


def test_nothing_to_draw_is_told(builder: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="srbench eval"):
        figures.write([collect(builder.path)], tmp_path / "out", "svg")
