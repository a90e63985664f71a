"""The order of checkpoints: of training in a run, the user's outside one; each is held against its parent."""

from __future__ import annotations

from pathlib import Path

import pytest

from leaderboards import chain


def test_models_of_a_run_come_in_the_order_of_training() -> None:
    assert chain.model_order(["M2", "M10", "SFT", "M1", "M0"]) == ["M0", "SFT", "M1", "M2", "M10"]


def test_numbers_in_names_are_numbers() -> None:
    assert chain.model_order(["ckpt-192", "ckpt-1000", "ckpt-96"]) == ["ckpt-96", "ckpt-192", "ckpt-1000"]
    assert chain.model_order(["v1.10", "v1.9", "a"]) == ["a", "v1.9", "v1.10"]


@pytest.mark.parametrize(
    ("name", "parent"), [("M0", None), ("SFT", "M0"), ("M1", "M0"), ("M2", "M1"), ("M4", "M2"), ("elsewhere", None)]
)
def test_the_parent_in_a_run(name: str, parent: str | None) -> None:
    assert chain.predecessor(name, ["M0", "SFT", "M1", "M2", "M4"]) == parent


def test_outside_a_run_the_one_before_and_the_first_are_held_against() -> None:
    names = ["full", "ckpt-96", "ckpt-192"]
    assert [chain.predecessor(n, names) for n in names] == [None, "full", "ckpt-96"]
    assert chain.anchor(names) == "full"
    assert chain.anchor(["M0", "SFT", "M2", "M3"]) == "M2"
    assert chain.anchor([]) is None


def test_the_users_order_is_kept_and_new_models_stand_behind(tmp_path: Path) -> None:
    chain.keep_order(tmp_path, ["full", "ckpt-96"])
    chain.keep_order(tmp_path, ["ckpt-192"])
    assert chain.given_order(tmp_path) == ("full", "ckpt-96", "ckpt-192")
    chain.keep_order(tmp_path, ["ckpt-96", "ckpt-192", "full"])  # all of them, told anew
    assert chain.given_order(tmp_path) == ("ckpt-96", "ckpt-192", "full")
    found = chain.model_order(["full", "ckpt-192", "ckpt-96", "z"], chain.given_order(tmp_path))
    assert found == ["ckpt-96", "ckpt-192", "full", "z"]


def test_a_run_keeps_the_order_of_its_training(tmp_path: Path) -> None:
    (tmp_path / "srbench.yaml").write_text("")
    chain.keep_order(tmp_path, ["M2", "M1"])
    assert chain.given_order(tmp_path) == ()


@pytest.mark.parametrize("content", ["", "{", "{}", "[" * 50_000, "\xff"])
def test_a_damaged_order_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / chain.ORDER).write_text(content, encoding="latin-1")
    assert chain.given_order(tmp_path) == ()
