"""What names stand for: srbench's own rows, and what installed packages bring."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfreward_bench.config import EngineConfig
from selfreward_bench.engines import KINDS, open_engine
from selfreward_bench.errors import PluginError, UnknownNameError
from selfreward_bench.plugins import Table

from .installing import installed

TABLE = Table("number", {"pi": "math:pi"}, "srbench.tests", frozenset({"zero"}))


def test_a_row_is_imported_when_it_is_asked_for() -> None:
    found = TABLE.load("pi")
    assert (round(found.value, 2), found.distribution) == (3.14, "")


def test_a_package_adds_names(tmp_path: Path) -> None:
    points = "[srbench.tests]\ntau = other_numbers:tau\n"
    with installed(tmp_path, "more-numbers", points, {"other_numbers": "tau = 6.28\n"}):
        found = TABLE.load("tau")
        assert (found.value, found.distribution) == (6.28, "more-numbers 1.0")
        assert TABLE.names() == ["pi", "tau"]
        with pytest.raises(UnknownNameError, match=r"Unknown number 'taw'\. Did you mean 'tau'"):
            TABLE.load("taw")
    with pytest.raises(UnknownNameError, match="Known: pi"):
        TABLE.load("tau")


@pytest.mark.parametrize("name", ["pi", "zero"])
def test_a_name_of_srbenchs_own_is_refused(tmp_path: Path, name: str) -> None:
    points = f"[srbench.tests]\n{name} = other_numbers:pi\n"
    with (
        installed(tmp_path, "fake-pi", points, {"other_numbers": "pi = 3\n"}),
        pytest.raises(PluginError, match=rf"{name}' is not used: what fake-pi 1\.0 brings is called like"),
    ):
        TABLE.load(name)


def test_a_name_of_two_packages_is_refused(tmp_path: Path) -> None:
    points = "[srbench.tests]\ntau = other_numbers:tau\n"
    with (
        installed(tmp_path / "a", "one", points, {"other_numbers": "tau = 6\n"}),
        installed(tmp_path / "b", "two", points, {}),
        pytest.raises(PluginError, match=r"two 1\.0 and one 1\.0 bring are both called so"),
    ):
        TABLE.load("tau")


@pytest.mark.parametrize(
    ("code", "told"),
    [("import not_there_at_all", "ModuleNotFoundError: No module"), ("tau = 1 / 0", "ZeroDivisionError"), ("", "tau")],
)
def test_what_cannot_be_imported_names_its_package(tmp_path: Path, code: str, told: str) -> None:
    points = "[srbench.tests]\ntau = other_numbers:tau\n"
    with installed(tmp_path, "broken", points, {"other_numbers": code}), pytest.raises(PluginError) as caught:
        TABLE.load("tau")
    assert "brought by broken 1.0 (other_numbers:tau)" in str(caught.value)
    assert told in str(caught.value)


@pytest.mark.parametrize("kind", ["./engine.py:open", "os:system", "selfreward_bench.engines.scripted:open_scripted"])
def test_an_engines_kind_is_a_name_and_nothing_that_runs(kind: str, tmp_path: Path) -> None:
    (tmp_path / "engine.py").write_text("raise SystemExit('it ran')", encoding="utf-8")
    with pytest.raises(UnknownNameError, match=r"Unknown engine kind .* Known: openai, scripted, transformers, vllm"):
        open_engine(EngineConfig(kind=kind), "x")
    assert KINDS.names() == ["openai", "scripted", "transformers", "vllm"]
