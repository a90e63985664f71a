"""The installed alpaca_eval is found, and a missing one is named."""

from __future__ import annotations

import importlib.util

import pytest

from leaderboards.alpaca_eval.package import package_directory, package_version
from selfreward_bench.errors import MissingDependencyError


def test_its_files_are_found() -> None:
    assert (package_directory() / "evaluators_configs").is_dir()
    assert package_version()[0].isdigit()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match="pip install alpaca-eval"):
        package_directory()
