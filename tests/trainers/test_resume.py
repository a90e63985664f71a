"""Saved states: what is whole, what is damaged, and which one a training goes on from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selfreward_bench.errors import DataError, IncompatibleRunError
from trainers.resume import MARKER, ResumeStore, StepLog


@pytest.fixture
def store(tmp_path: Path) -> ResumeStore:
    """States of the steps 3 and 6."""
    made = ResumeStore(tmp_path / "resume")
    for step in (3, 6):
        state = made.directory / f"checkpoint-{step}"
        (state / "deep").mkdir(parents=True)
        (state / "model.safetensors").write_bytes(b"weights of step %d" % step)
        (state / "deep" / "optimizer.pt").write_bytes(bytes(1000))
        made.seal(step, made.hashes(step))
    return made


def newest(store: ResumeStore) -> int | None:
    state = store.latest()
    return state.step if state else None


@pytest.mark.parametrize("file", ["model.safetensors", "deep/optimizer.pt"])
def test_one_wrong_byte_and_the_one_before_is_taken(store: ResumeStore, file: str) -> None:
    assert (store.discard_torn(), newest(store)) == ([], 6)
    damaged = store.directory / "checkpoint-6" / file
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    assert (store.discard_torn(), newest(store)) == ([6], 3)
    assert not damaged.exists()


def test_what_was_never_whole_is_no_damage(store: ResumeStore) -> None:
    (store.directory / "checkpoint-6" / MARKER).unlink()
    assert (store.discard_torn(), newest(store)) == ([], 3)


def test_states_of_early_versions_are_known_by_their_sizes(store: ResumeStore) -> None:
    marker = store.directory / "checkpoint-6" / MARKER
    told = json.loads(marker.read_text())
    del told["hashes"]
    marker.write_text(json.dumps(told))
    assert (store.discard_torn(), newest(store)) == ([], 6)


def test_a_link_to_elsewhere_deletes_nothing_there(store: ResumeStore, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "resume").symlink_to(store.directory)
    with pytest.raises(IncompatibleRunError, match="symbolic link"):
        ResumeStore(tmp_path / "run" / "resume").refuse_link()
    store.refuse_link()
    (tmp_path / "log.jsonl").symlink_to(tmp_path / "precious")
    log = StepLog(tmp_path / "log.jsonl")
    log.write({"step": 1})
    with pytest.raises(DataError, match="a symbolic link is in its place"):
        log.flush()
    assert not (tmp_path / "precious").exists()
