"""Small models of real kinds, made once, and an examination of their files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ...small_models import make


@pytest.fixture(scope="session")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def of(kind: str) -> Path:
        if kind not in made:
            made[kind] = make(kind, tmp_path_factory.mktemp(kind) / kind)
        return made[kind]

    return of


@pytest.fixture
def model(_made: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a small model, to be spoilt."""
    return lambda kind: Path(shutil.copytree(_made(kind), tmp_path / kind))
