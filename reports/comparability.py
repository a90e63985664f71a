"""Which numbers of a benchmark may stand in one column, and what the others do not share. Nothing is compared here."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Final

from reports import wording
from selfreward_bench.types import EvalResult

__all__ = ["differing", "groups", "unlike"]

_NAMES: Final = {
    "judge": "judge",
    "snapshot": "judge snapshot",
    "prompt": "prompt",
    "parameters": "parameters",
    "order": "order of showing",
    "reference": "reference answers",
    "data": "data",
    "limit": "number of items",
    "annotator": "annotator",
    "baseline": "baseline answers",
    "alpaca_eval": "alpaca_eval version",
    "length_control": "length control",
    "profile": "profile of tasks",
}
_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SHOWN: Final = 60  # characters of a value


def groups(results: Mapping[str, EvalResult]) -> dict[str, str]:
    """Name -> letter; numbers with the same letter were made alike."""
    letters: dict[tuple[object, ...], str] = {}
    found = {}
    for name, result in results.items():
        made = (result.config_hash, *sorted(result.comparability.items()))
        found[name] = letters.setdefault(made, _LETTERS[min(len(letters), len(_LETTERS) - 1)])
    return found


def unlike(results: Mapping[str, EvalResult], *, settings: bool = True) -> list[str]:
    """What the results do not share, a phrase each: ``judge: gpt-4 (M0, M1), gpt-4o (M2)``.

    Args:
        settings: also tell unlike settings where every condition that is stated agrees.
    """
    found = differing({name: r.comparability for name, r in results.items()})
    hashes = {name: r.config_hash for name, r in results.items()}
    if settings and not found and len(set(hashes.values())) > 1:
        found.append(f"settings or data: {_by_value(hashes)}")
    return found


def differing(stated: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Which stated conditions differ, a phrase each."""
    found = []
    for key in dict.fromkeys(key for conditions in stated.values() for key in conditions):
        values = {name: conditions.get(key, "not stated") for name, conditions in stated.items()}
        if len(set(values.values())) > 1:
            found.append(f"{_NAMES.get(key, key)}: {_by_value(values)}")
    return found


def _by_value(values: Mapping[str, str]) -> str:
    by_value: dict[str, list[str]] = {}
    for name, value in values.items():
        by_value.setdefault(value, []).append(name)
    return ", ".join(
        f"{wording.clip(value or 'none', _SHOWN)} ({wording.listing(names)})"
        for value, names in islice(by_value.items(), len(_LETTERS))
    )
