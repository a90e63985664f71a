"""``perf/scale.py``, by which time and memory of a round's stages are measured, on a few prompts."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from selfreward_bench.storage import jsonl
from selfreward_bench.types import PreferencePair
from trainers import workshop


@pytest.mark.slow
def test_the_scripted_engine_goes_through_all_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "perf"))
    monkeypatch.delitem(sys.modules, "scale", raising=False)
    scale = importlib.import_module("scale")
    monkeypatch.setattr(workshop, "open_engine", workshop.open_engine)  # it is exchanged
    run = scale.made(tmp_path, prompts=6, samples=4, judgments=3)
    for stage in scale._STAGES[:6]:
        assert scale.work(stage, run)["seconds"] > 0
    assert len((run.path / "M2" / "judgments.jsonl").read_bytes().splitlines()) == 6 * 4 * 3
    assert (run.path / "M2" / "rehearsal.jsonl").stat().st_size > 0
    assert 0 < len(jsonl.read(run.path / "M2" / "pairs.jsonl", PreferencePair)) <= 6
