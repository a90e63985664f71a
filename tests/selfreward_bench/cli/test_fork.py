"""`fork`: what it says of the run it makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfreward_bench.storage.rundir import RunDir

from .conftest import Cli, mark_done


@pytest.mark.parametrize(("done", "on"), [(["M1/ift"], "SFT/train"), (["M1/ift", "SFT/train"], "M1/reviews")])
def test_it_says_where_the_new_run_goes_on(cli: Cli, monkeypatch: pytest.MonkeyPatch, done: list[str], on: str) -> None:
    """The parent has not come as far as ``--from``."""
    monkeypatch.setattr("trainers.forking.check_stages", lambda run, at: None)  # the stages are made up
    cli("init", "a")
    for stage in done:
        mark_done(RunDir.open(Path("a")), stage, {"examples": 3200})
    result = cli("fork", "a", "b", "--from", "M2/pairs", "--set", "dpo.beta=0.2")
    assert f"Made b from a: it keeps {len(done)} stages and goes on at {on}." in result.stdout
    assert "dpo.beta: 0.1 -> 0.2" in result.stdout
