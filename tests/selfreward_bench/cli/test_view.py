"""``srbench view``: what it needs, what it says, and how far it says that a run is."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from selfreward_bench.cli.view import course_of
from selfreward_bench.config import RunConfig
from selfreward_bench.storage.lock import writer_lock
from selfreward_bench.storage.rundir import RunDir

from .conftest import Cli


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    from reports.live.server import Server

    def interrupted(self: Any, poll_interval: float = 0.5) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", interrupted)


def test_it_says_where_it_is_and_ends_with_ctrl_c(cli: Cli, tmp_path: Path, stopped: None) -> None:
    done = cli("view", tmp_path, "--port", "0")
    assert done.exit_code == 0
    assert "http://127.0.0.1:" in done.stdout


def test_a_directory_that_is_not_there_is_told(cli: Cli, tmp_path: Path) -> None:
    done = cli("view", tmp_path / "nothing")
    assert done.exit_code == 2
    assert "srbench view DIR" in done.stderr


def test_a_port_that_is_taken_is_told(cli: Cli, tmp_path: Path, stopped: None) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        done = cli("view", tmp_path, "--port", str(other.getsockname()[1]))
    assert done.exit_code == 2
    assert "--port 0" in done.stderr


def test_a_run_is_told_from_its_own_files(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "first", RunConfig())
    found = course_of(run.path)
    assert [s.status for s in found.stages] == ["new"] * len(found.stages)
    assert found.running is False
    assert found.least
    with writer_lock(run.path / ".lock"):
        assert course_of(run.path).running is True
    assert course_of(run.path).running is False


def test_a_run_whose_settings_cannot_be_read_is_told_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "srbench.yaml").write_text("format: 1\nconfig: [")
    assert "srbench.yaml" in course_of(tmp_path).problem
    assert course_of(tmp_path / "nothing").problem


def test_nothing_outside_the_run_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seed data and models are named by the run's settings, which may be anybody's."""
    outside = tmp_path / "outside.jsonl"
    outside.write_text("{}\n")
    config = RunConfig.model_validate({"base": str(outside), "seeds": {"ift": str(outside), "eft": str(outside)}})
    run = RunDir.create(tmp_path / "runs" / "first", config)
    os.utime(outside, (1, 1))
    opened: list[str] = []
    original = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *a, **k: (opened.append(str(self)), original(self, *a, **k))[1])
    assert course_of(run.path).stages
    assert not [p for p in opened if not p.startswith(str(run.path))]
    assert threading.active_count() >= 1
