"""Open Assistant conversation trees as seed data: what the paper took its IFT and EFT from (arXiv 2401.10020).

English first turns and their human-ranked answers (see ``selfreward_bench.sources.oasst``). One third of the prompts
with a human order goes to EFT, by a hash of their text; all others go to IFT. So the two are disjoint whatever the
sizes and seeds, and a prompt that is asked twice is on one side only.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from selfreward_bench.errors import DataError
from selfreward_bench.seeding import derive_seed
from selfreward_bench.sources.oasst import Tree, read_trees
from selfreward_bench.types import Example, Message, RankedPrompt
from trainers.filters import normalised

__all__ = ["load_examples", "load_ranked"]

_EFT_SHARE: Final = 3  # one prompt of so many
_T = TypeVar("_T", Example, RankedPrompt)


def load_examples(path: Path) -> list[Example]:
    """IFT: first turns with the answer of rank 0.

    Raises:
        DataError: the file cannot be read, or holds none.
    """
    return _load(path, _example)


def load_ranked(path: Path) -> list[RankedPrompt]:
    """EFT: first turns with at least two answers that humans ranked differently.

    Raises:
        DataError: the file cannot be read, or holds none.
    """
    return _load(path, lambda tree: tree.ranked() if _is_eft(tree) and tree.is_ordered else None)


def _is_eft(tree: Tree) -> bool:
    return derive_seed("oasst/eft", normalised(tree.prompt.text)) % _EFT_SHARE == 0


def _load(path: Path, convert: Callable[[Tree], _T | None]) -> list[_T]:
    found: dict[str, _T] = {}
    for tree in read_trees(path):
        record = convert(tree) if tree.usable else None
        if record:
            found.setdefault(record.id, record)
    if not found:
        raise DataError(f"{path}: holds no usable English first turn with ranked answers. Is it the tree export?")
    return list(found.values())


def _example(tree: Tree) -> Example | None:
    answers = tree.answers()
    if not answers or answers[0].rank != 0 or (_is_eft(tree) and tree.is_ordered):
        return None
    return Example(
        id=tree.message_tree_id,
        prompt=(Message(role="user", content=tree.prompt.text),),
        completion=(Message(role="assistant", content=answers[0].text),),
        source="oasst",
    )
