"""Packages that seem installed: a folder with code and entry points, first on the path."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from selfreward_bench import plugins


@contextmanager
def installed(folder: Path, name: str, entry_points: str, modules: Mapping[str, str]) -> Iterator[None]:
    """A distribution ``name 1.0``; everything is as before afterwards.

    Args:
        entry_points: as in ``entry_points.txt``.
        modules: module -> its code.
    """
    information = folder / f"{name}-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    (information / "entry_points.txt").write_text(entry_points, encoding="utf-8")
    for module, code in modules.items():
        (folder / f"{module}.py").write_text(code, encoding="utf-8")
    sys.path.insert(0, str(folder))
    plugins._brought.cache_clear()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        plugins._brought.cache_clear()
        for module in modules:
            sys.modules.pop(module, None)
