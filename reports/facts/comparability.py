"""Which numbers of a benchmark may stand in one column, and what the others do not share. Nothing is compared here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final

from leaderboards.comparing.records import SETTINGS, conditions
from reports import wording
from selfreward_bench.types import EvalResult

__all__ = [
    "PARAMETERS",
    "differing",
    "differing_settings",
    "groups",
    "in_words",
    "named",
    "other_settings",
    "setting_name",
    "settings_apart",
    "unlike",
]

PARAMETERS: Final = "parameters"

_NAMES: Final = {
    "judge": "judge",
    "snapshot": "judge snapshot",
    "prompt": "prompt",
    PARAMETERS: PARAMETERS,
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
_SETTING_NAMES: Final = {
    "engine.kind": "engine",
    "engine.dtype": "number type",
    "finished": "kind of finished files",
    "date": "day that the chat template shows",
    "request": "how servers were asked",
}
_NO_PARAMETERS: Final = ("benchmark", "seed", "engine.", "date", "chat_template")  # settings that are no condition
_MOST: Final = 12  # settings that are told
_MOST_IN_WORDS: Final = 100
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
    said = _settings(results)
    return differing(stated, said) or (differing(hashes, said) if settings else [])


def other_settings(results: Mapping[str, EvalResult]) -> str:
    """Settings that are no condition (the seed, the number type) and differ all the same; empty where none do."""
    hashes = {name: r.config_hash[:12] for name, r in results.items()}
    if len(set(hashes.values())) < 2 or unlike(results):
        return ""
    return "; ".join(differing_settings(_settings(results))) or _by_value(hashes)


def differing(
    stated: Mapping[str, Mapping[str, str]], settings: Mapping[str, Mapping[str, str]] | None = None
) -> list[str]:
    """Which stated conditions differ, a phrase each.

    Args:
        stated: name -> condition -> value.
        settings: name -> setting -> value; they stand for a condition that is told as a hash of settings.
    """
    found = []
    for key, values in _apart(stated).items():
        told: list[str] = []
        if key == SETTINGS:
            told = differing_settings(settings or {})
        elif key == PARAMETERS and all(map(_HASH.fullmatch, values.values())):
            told = differing_settings(settings or {}, without=_NO_PARAMETERS)
        found += told or [f"{_NAMES.get(key, key)}: {_by_value(values)}"]
    return found


def in_words(settings: Mapping[str, str]) -> str:
    """A result's settings in a line: ``answering.temperature=0.7; answering.max_new_tokens=64``.

    Hashes and long texts are left out, and of tasks of lm-eval all but the number of examples: they fill pages.
    """
    told = (
        f"{key}={value}"
        for key, value in settings.items()
        if len(value) <= _SHOWN
        and not _HASH.fullmatch(value)
        and (not key.startswith("tasks.") or key.endswith(".num_fewshot"))
    )
    return "; ".join(islice(told, _MOST_IN_WORDS))


def differing_settings(settings: Mapping[str, Mapping[str, str]], without: tuple[str, ...] = ()) -> list[str]:
    """Which settings differ, a phrase each: ``sampling temperature: 0.7 (M1), 1.0 (M2)``.

    Args:
        settings: name -> setting -> value.
        without: how those begin that are left out.
    """
    apart = {key: values for key, values in _apart(settings).items() if not (without and key.startswith(without))}
    told = [f"{setting_name(key)}: {_by_value(values)}" for key, values in islice(apart.items(), _MOST)]
    return told + [f"{len(apart) - _MOST} other settings"] * (len(apart) > _MOST)


def settings_apart(results: Mapping[str, EvalResult]) -> dict[str, dict[str, str]]:
    """The settings that differ, where all results say theirs: setting -> name -> value; a bounded number."""
    return dict(islice(_apart(_settings(results)).items(), _MOST))


def _settings(results: Mapping[str, EvalResult]) -> dict[str, Mapping[str, str]]:
    """Of each result; of none where one is of an early version and does not say them."""
    return {name: r.settings for name, r in results.items()} if all(r.settings for r in results.values()) else {}


def setting_name(key: str) -> str:
    """Such as ``sampling temperature``."""
    named = {**_NAMES, **_SETTING_NAMES}.get(key, key.removeprefix("eval.").replace(".", " ").replace("_", " "))
    return wording.clip(named, _SHOWN)


def _apart(stated: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """What is not the same in all: key -> name -> value."""
    keys = dict.fromkeys(key for made in stated.values() for key in made)
    found = {key: {name: made.get(key, "not stated") for name, made in stated.items()} for key in keys}
    return {key: values for key, values in found.items() if len(set(values.values())) > 1}


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
