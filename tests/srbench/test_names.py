"""The names that ``import srbench`` hands on: lazily, completely, and visible to a type checker."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import srbench
from selfreward_bench import errors

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "transformers", "trl", "datasets", "pandas", "numpy", "scipy", "sklearn", "lm_eval", "alpaca_eval"}


def modules_after(code: str) -> set[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    program = f"import sys; {code}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    return set(done.stdout.split())


def test_the_import_loads_nothing_that_is_not_used() -> None:
    loaded = modules_after("import srbench; dir(srbench)")
    assert not loaded & (HEAVY | {"pydantic", "yaml", "rich", "typer", "leaderboards", "trainers", "reports"})
    assert not modules_after("import srbench; srbench.Run, srbench.evaluate, srbench.compare, srbench.report") & HEAVY


def test_names_are_sorted_listed_and_there() -> None:
    assert srbench.__all__ == sorted(srbench.__all__)
    assert set(srbench.__all__) <= set(dir(srbench))
    assert set(srbench.__all__) == {*srbench._PLACES, "__version__"}
    for name, (module, own) in srbench._PLACES.items():
        assert getattr(srbench, name) is getattr(importlib.import_module(module), own)


def test_a_type_checker_sees_what_is_handed_on() -> None:
    """The imports under TYPE_CHECKING are those of the table."""
    tree = ast.parse((ROOT / "srbench" / "__init__.py").read_text("utf-8"))
    (checked,) = (n for n in tree.body if isinstance(n, ast.If) and isinstance(n.test, ast.Name))
    found = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in checked.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert found == srbench._PLACES
    assert (ROOT / "srbench" / "py.typed").is_file()


def test_all_errors_are_handed_on() -> None:
    assert {n for n in errors.__all__ if n[0].isupper()} <= set(srbench.__all__)


def test_an_unknown_name_tells_the_closest() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'evalute'\. Did you mean 'evaluate'"):
        srbench.evalute  # type: ignore[attr-defined]  # noqa: B018
    assert not hasattr(srbench, "__wrapped__")
