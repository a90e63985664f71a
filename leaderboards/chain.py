"""In which order checkpoints stand, and which other one each is held against.

A run's checkpoints form a chain: every one was trained from its parent, M1 and the SFT baseline both from M0. Models
evaluated outside a run stand in the order the user gave them, which ``order.json`` beside their results keeps.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from selfreward_bench.storage.decoding import json_file
from selfreward_bench.storage.files import os_errors, write_atomic

__all__ = [
    "BASE",
    "ORDER",
    "anchor",
    "given_order",
    "in_turn",
    "iterations",
    "keep_order",
    "model_order",
    "predecessor",
]

BASE: Final = "M0"
BASELINE: Final = "SFT"
ORDER: Final = "order.json"

_RUN: Final = "srbench.yaml"
_ITERATION: Final = re.compile(r"M(\d{1,6})")
_NUMBERS: Final = re.compile(r"(\d{1,18})")


def model_order(names: Iterable[str], given: Sequence[str] = ()) -> list[str]:
    """Names as given; others in the order of training: M0, then what is no iteration (the SFT baseline), M1, M2, ...

    >>> model_order(["M10", "M2", "SFT", "M0", "M1"])
    ['M0', 'SFT', 'M1', 'M2', 'M10']
    >>> model_order(["step-96", "step-192", "full"], given=["full"])
    ['full', 'step-96', 'step-192']
    """
    place = {name: i for i, name in enumerate(given)}
    return sorted(names, key=lambda n: (place.get(n, len(place)), *_rank(n)))


def _rank(name: str) -> tuple[float, list[tuple[int, str]], str]:
    match = _ITERATION.fullmatch(name)
    parts = _NUMBERS.split(name)  # every second part is a number
    natural = [(int(part), "") if i % 2 else (-1, part) for i, part in enumerate(parts)]
    return (int(match[1]) if match else 0.5, natural, name)


def in_turn(names: Iterable[str]) -> list[str]:
    """The models of one run in the order of training; where others are among them, all as they come."""
    there = list(names)
    return model_order(there) if all(_ITERATION.fullmatch(n) or n == BASELINE for n in there) else there


def iterations(names: Iterable[str]) -> list[str]:
    """The models that training made in turn: M1, M2, ..."""
    return [n for n in names if _ITERATION.fullmatch(n) and n != BASE]


def anchor(names: Sequence[str]) -> str | None:
    """What growth is measured against: M1, or the first iteration there is; of models outside a run, the first."""
    return next(iter(iterations(names)), None) or next((n for n in names if n != BASE), None)


def predecessor(name: str, names: Sequence[str]) -> str | None:
    """What a model was trained from, as far as names tell: M2 of M3, M0 of M1 and of the SFT baseline.

    Of models outside a run, the one before.

    >>> predecessor("M1", ["M0", "SFT", "M1"]), predecessor("SFT", ["M0", "SFT", "M1"])
    ('M0', 'M0')
    """
    before = list(names[: names.index(name)]) if name in names else []
    trained = iterations(names)
    if not trained:
        return before[-1] if before else None
    earlier = [n for n in before if n in trained] if name in trained else []
    return earlier[-1] if earlier else BASE if BASE in before else None


# --- the order a user gave


def given_order(root: Path) -> tuple[str, ...]:
    """The names as a user gave them; none where nobody did, or where the file is damaged."""
    found = json_file(root / ORDER)
    return tuple(dict.fromkeys(str(name) for name in found)) if isinstance(found, list) else ()


def keep_order(root: Path, names: Sequence[str]) -> None:
    """Keeps the order of models that were evaluated in ``root``; new ones stand behind those already there.

    Nothing is kept in a run, whose models stand in the order of their training.

    Raises:
        DataError: the operating system refuses to write.
    """
    if (root / _RUN).exists():
        return
    before = given_order(root)
    kept = list(names) if set(names) >= set(before) else list(dict.fromkeys([*before, *names]))
    if tuple(kept) != before:
        with os_errors(root / ORDER, "write"):
            write_atomic(root / ORDER, json.dumps(kept, ensure_ascii=True).encode() + b"\n")
