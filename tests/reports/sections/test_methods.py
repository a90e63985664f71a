"""Several runs side by side on the page: one table, the best where it is shown, hostile names as text."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from leaderboards.comparing import Contrast, OverSeeds, Together
from reports import html
from reports.facts.reading import collect
from reports.facts.run import RunFacts
from reports.sections import methods

from ..conftest import QUALITY, RunBuilder
from ..test_hostile import PAYLOADS, Structure

ASKED = {"benchmark": QUALITY, "metric": "quality_sampled", "model": "M3"}


def runs(folder: Path, texts: Sequence[str]) -> list[RunFacts]:
    """Two methods of two seeds; texts are names of runs and recipes, keys and values of settings."""
    first = RunBuilder(folder / "template")
    first.result("M1", quality_sampled=3.0)
    first.result("M3", quality_sampled=3.5)
    plain = ["".join(c for c in text if c.isprintable())[:300] for text in texts]
    found = []
    for k in range(4):
        method = k // 2
        named, told, key = (plain[(method + shift) % len(plain)] for shift in (0, 2, 4))
        path = folder / f"{k} {plain[k % len(plain)].replace('/', '|')[:80]}".rstrip(". ")
        shutil.copytree(first.path, path)
        settings = yaml.safe_load((path / "srbench.yaml").read_text())
        settings["config"] |= {"name": f"{named} {method}", "seed": k % 2, "rewards": f"{method} {told}"}
        settings["config"] |= {f"key {key}": f"{method}{told}", "base": "b"}
        (path / "srbench.yaml").write_text(yaml.safe_dump(settings))
        found.append(collect(path))
    return found


def put_together(gap: str = "") -> Together:
    over = OverSeeds(**ASKED, value=3.5, sd=0.1, low=3.2, high=3.8, n_seeds=2, n_prompts=9)
    contrast = Contrast(**ASKED, a=1, b=0, value=0.5, low=0.2, high=0.8)
    return Together(pooled=((over,), (over,)), contrasts=(contrast,), gaps=(gap,) if gap else ())


def test_one_run_has_no_such_section(builder: RunBuilder) -> None:
    builder.result("M1", quality_sampled=3.0)
    assert methods.build([collect(builder.path)]) is None


def test_methods_stand_in_one_table_with_the_best_where_it_is_shown(tmp_path: Path) -> None:
    found = runs(tmp_path, ["word"])
    section = methods.build(found, put_together())
    assert section is not None
    assert "4 runs of 2 methods" in section.body
    assert section.body.count('class="best"') == 1
    assert "seeds and prompts were both drawn anew" in section.body
    assert "Differences of M3 between methods" in section.body
    without = methods.build(found)
    assert without is not None
    assert 'class="best"' not in without.body
    assert "drawn anew" not in without.body
    assert "0 word" in section.body  # what the settings differ in


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, len(PAYLOADS), 6))
def test_hostile_names_and_settings_are_text(tmp_path: Path, start: int) -> None:
    texts = PAYLOADS[start : start + 6]
    hostile = html.render(runs(tmp_path / "hostile", texts), put_together(texts[0]))
    harmless = html.render(runs(tmp_path / "harmless", [f"word{n}" for n in range(len(texts))]), put_together("gap"))
    assert Structure(hostile).found == Structure(harmless).found
