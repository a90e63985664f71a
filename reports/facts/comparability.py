"""Which numbers of a benchmark may stand in one column, and what the others do not share. Nothing is compared here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final

from leaderboards.comparing.records import SETTINGS, conditions
from reports import wording
from selfreward_bench.types import EvalResult

__all__ = ["differing", "groups", "named", "other_settings", "unlike"]

_NAMES: Final = {
    "judge": "judge",
    "snapshot": "judge snapshot",
    "prompt": "prompt",
    "parameters": "parameters",
    "request": "how servers were asked",
    "order": "order of showing",
    "reference": "reference answers",
    "data": "data",
    "limit": "number of items",
    "annotator": "annotator",
    "baseline": "baseline answers",
    "alpaca_eval": "alpaca_eval version",
    "length_control": "length control",
    "profile": "profile of tasks",
    SETTINGS: "settings or data",
}
_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SHOWN: Final = 60  # characters of a value
_HASH: Final = re.compile(r"[0-9a-f]{8,64}")
_WORDS: Final = ("one", "another", "a third")


def groups(results: Mapping[str, EvalResult]) -> dict[str, str]:
    """Name -> letter; numbers with the same letter may be compared."""
    letters: dict[tuple[tuple[str, str], ...], str] = {}
    found = {}
    for name, result in results.items():
        made = tuple(sorted(conditions(result).items()))
        found[name] = letters.setdefault(made, _LETTERS[min(len(letters), len(_LETTERS) - 1)])
    return found


def unlike(results: Mapping[str, EvalResult], *, settings: bool = True) -> list[str]:
    """What the results do not share and would have to, a phrase each: ``judge: gpt-4 (M0, M1), gpt-4o (M2)``.

    Args:
        settings: False leaves out that settings differ where no condition is stated.
    """
    stated = {name: dict(conditions(r)) for name, r in results.items()}
    hashes = {name: {k: v for k, v in found.items() if k == SETTINGS} for name, found in stated.items()}
    for found in stated.values():
        found.pop(SETTINGS, None)
    return differing(stated) or (differing(hashes) if settings else [])


def other_settings(results: Mapping[str, EvalResult]) -> str:
    """Settings that are no condition (the seed, the number type) and differ all the same; empty where none do."""
    hashes = {name: r.config_hash[:12] for name, r in results.items()}
    return _by_value(hashes) if len(set(hashes.values())) > 1 and not unlike(results) else ""


def differing(stated: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Which stated conditions differ, a phrase each."""
    found = []
    for key in dict.fromkeys(key for made in stated.values() for key in made):
        values = {name: made.get(key, "not stated") for name, made in stated.items()}
        if len(set(values.values())) > 1:
            found.append(f"{_NAMES.get(key, key)}: {_by_value(values)}")
    return found


def named(a: Mapping[str, str], b: Mapping[str, str]) -> list[str]:
    """The conditions that are not the same, by name."""
    return [_NAMES.get(k, k) for k in dict.fromkeys((*a, *b)) if a.get(k) != b.get(k)]


def _by_value(values: Mapping[str, str]) -> str:
    by_value: dict[str, list[str]] = {}
    for name, value in values.items():
        by_value.setdefault(value, []).append(name)
    told = _in_words(list(by_value))
    return ", ".join(
        f"{wording.clip(told[value] or 'none', _SHOWN)} ({wording.listing(names)})"
        for value, names in islice(by_value.items(), len(_LETTERS))
    )


def _in_words(values: Sequence[str]) -> dict[str, str]:
    """A hash tells nobody anything: where values are such, they are only told apart."""
    if not all(_HASH.fullmatch(v) for v in values if v not in ("", "not stated")):
        return {v: v for v in values}
    words = iter((*_WORDS, *(f"{n}th" for n in range(len(_WORDS) + 1, len(values) + 1))))
    return {v: v if v in ("", "not stated") else next(words) for v in values}
