"""The YAML block at the beginning of a model's card, ``README.md``, whoever wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from selfreward_bench.recipes.strict import load_plain
from selfreward_bench.storage.files import open_file

__all__ = ["front_matter"]

_MOST: Final = 2**18  # bytes; of a longer block reading alone takes many seconds
_MARK: Final = "---\n"


def front_matter(card: Path) -> dict[str, Any]:
    """What the block says; empty where there is none that can be read, or a very long one."""
    try:
        with open_file(card) as stream:
            text = stream.read(_MOST).decode("utf-8-sig", "replace").replace("\r\n", "\n") + "\n"
        block, end, _ = text.removeprefix(_MARK).partition(f"\n{_MARK}")
        found = load_plain(block) if text.startswith(_MARK) and end else None
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
