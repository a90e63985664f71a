"""Runs under a directory: found wherever they lie, never through a link, and bounded."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import pytest

from reports.live import found
from reports.live.found import look

from ..conftest import RunBuilder


def names(root: Path) -> list[str]:
    return sorted(p.name for p in look(root).places)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    for name in ("first", "deep/er/second"):
        RunBuilder(root / name).result("M1", quality_sampled=3.0)
    elsewhere = RunBuilder(root / "eval")
    elsewhere.result("mine", quality_sampled=3.0)
    (root / "eval" / "srbench.yaml").unlink()
    return root


def test_runs_and_evaluations_are_found_at_any_depth_but_not_within_each_other(runs: Path) -> None:
    RunBuilder(runs / "first" / "M9" / "inner")
    (runs / "notes").mkdir()
    (runs / "notes" / "x.txt").write_text("x")
    (runs / ".hidden").mkdir()
    RunBuilder(runs / ".hidden" / "run")
    RunBuilder(runs / "a" / "b" / "c" / "d" / "e" / "f" / "too deep")
    assert names(runs) == ["deep/er/second", "eval", "first"]


def test_a_directory_that_is_a_run_is_listed_itself(runs: Path) -> None:
    assert names(runs / "first") == ["first"]
    assert names(runs / "notes") == []


def test_links_are_not_followed_and_a_run_with_one_that_leads_out_is_not_read(runs: Path, tmp_path: Path) -> None:
    outside = RunBuilder(tmp_path / "outside")
    (runs / "linked").symlink_to(outside.path)
    (runs / "circle").symlink_to(runs)
    assert names(runs) == ["deep/er/second", "eval", "first"]
    (runs / "first" / "M1" / "secret.jsonl").symlink_to("/etc/hostname")
    (runs / "eval" / "mine" / "own").symlink_to(runs / "deep")
    refused = {p.name: p.refused for p in look(runs).places}
    assert "leads out" in refused.pop("first")
    assert set(refused.values()) == {""}
    (runs / "eval" / "mine" / "loop").symlink_to("loop")
    assert "leads out" in {p.name: p.refused for p in look(runs).places}["eval"]


def test_directories_may_be_nested_deeper_than_calls_can_be(tmp_path: Path) -> None:
    RunBuilder(tmp_path / "run").result("M1", quality_sampled=3.0)
    (tmp_path / "run" / "M1").joinpath(*"d" * 150).mkdir(parents=True)
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 100)
    try:
        found = names(tmp_path)
    finally:
        sys.setrecursionlimit(usual)
    assert found == ["run"]


def test_the_settings_of_a_run_may_be_no_link(tmp_path: Path) -> None:
    (tmp_path / "runs" / "x").mkdir(parents=True)
    (tmp_path / "runs" / "x" / "srbench.yaml").symlink_to(RunBuilder(tmp_path / "outside").path / "srbench.yaml")
    assert names(tmp_path / "runs") == []


def test_ids_hold_no_path_and_stamps_follow_the_files(runs: Path) -> None:
    places = {p.name: p for p in look(runs).places}
    assert all(len(p.id) == 16 and set(p.id) <= set("0123456789abcdef") for p in places.values())
    assert len({p.id for p in places.values()}) == 3
    again = {p.name: p for p in look(runs).places}
    assert {n: p.stamp for n, p in again.items()} == {n: p.stamp for n, p in places.items()}
    (runs / "first" / "M1" / "new.jsonl").write_text("{}")
    after = {p.name: p for p in look(runs).places}
    assert after["first"].stamp != places["first"].stamp
    assert after["eval"].stamp == places["eval"].stamp
    assert look(runs).places[0].name == "first"  # the latest stands first


def test_of_very_many_runs_and_files_some_are_listed_and_that_is_said(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(found, "MAX_RUNS", 2)
    listing = look(runs)
    assert len(listing.places) == 2
    assert "more than 2 runs" in listing.gaps[0]
    monkeypatch.setattr(found, "_MAX_ENTRIES", 3)
    assert any("more files" in gap for gap in look(runs).gaps)
    assert all(p.refused for p in look(runs / "first").places)


def test_what_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    assert look(tmp_path / "nothing").places == ()
    (tmp_path / "file").write_text("x")
    assert look(tmp_path / "file").places == ()
