"""Where the installed alpaca_eval keeps its files.

It is found without being imported, which takes seconds, sets the root logger and loads a ``.env``.
"""

from __future__ import annotations

import importlib.util
from importlib.metadata import version
from pathlib import Path

from selfreward_bench.errors import MissingDependencyError

__all__ = ["package_directory", "package_version"]


def package_directory() -> Path:
    """Its directory.

    Raises:
        MissingDependencyError: it is not installed.
    """
    spec = importlib.util.find_spec("alpaca_eval")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError("AlpacaEval's prompts are in the package alpaca_eval: pip install alpaca-eval.")
    return Path(next(iter(spec.submodule_search_locations)))


def package_version() -> str:
    """Its version."""
    return version("alpaca_eval")
