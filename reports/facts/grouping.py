"""Which of several runs are seeds of one recipe, and what a group of them is called: by recipe or run, in a word."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

from reports import wording
from reports.facts.run import RunFacts
from reports.facts.tables import Grid

__all__ = ["Group", "differing", "group", "names"]

SEED: Final = "seed"
_RECIPE: Final = "name"
_DATE: Final = "engine.date"
_IGNORED: Final = (SEED, _RECIPE, "threads")
_LONGEST: Final = 60  # characters of a name
_SETTINGS: Final = 40
_WORD_ENDS: Final = re.compile(r"[-_. ]")


@dataclass(frozen=True, slots=True)
class Group:
    """Runs with equal settings but for the seed.

    Attributes:
        label: the recipe's name where it tells the groups apart; else the run's, or what the runs' names share.
    """

    label: str
    runs: tuple[RunFacts, ...]


def group(runs: Sequence[RunFacts]) -> list[Group]:
    """The runs by settings, in the order given. A run of unknown settings, or of a seed that is there, is alone."""
    found: dict[object, list[RunFacts]] = {}
    for i, facts in enumerate(runs):
        key = tuple(sorted(_settings(facts).items()))
        seeds = [r.settings.get(SEED) for r in found.get(key, ())]
        alone = not key or facts.settings.get(SEED) in seeds
        found.setdefault(i if alone else key, []).append(facts)
    members = list(found.values())
    return [Group(label, tuple(m)) for label, m in zip(_labels(members), members, strict=True)]


def differing(groups: Sequence[Group]) -> Grid | None:
    """The settings that are not the same in all groups; None where there is nothing to tell."""
    found = [_settings(g.runs[0]) for g in groups]
    keys = dict.fromkeys(k for settings in found for k in settings)
    rows = [(k, *(wording.clip(s.get(k, "not set"), _LONGEST) for s in found)) for k in keys]
    rows = [row for row in rows if len(set(row[1:])) > 1]
    if not rows:
        return None
    note = "" if len(rows) <= _SETTINGS else f"The first {_SETTINGS} of {len(rows)}."
    return Grid("What their settings differ in", ("Setting", *(g.label for g in groups)), tuple(rows[:_SETTINGS]), note)


def _settings(facts: RunFacts) -> dict[str, str]:
    """What runs of one method share. The day of a run is none of it, where no chat template shows it."""
    shows_date = any(r.date for m in facts.models for r in m.results.values())
    ignored = _IGNORED if shows_date else (*_IGNORED, _DATE)
    return {k: v for k, v in facts.settings.items() if k not in ignored}


def names(runs: Sequence[RunFacts]) -> list[str]:
    """The runs' names; of equal ones, with their number."""
    return _told_apart([facts.name for facts in runs])


def _labels(members: Sequence[Sequence[RunFacts]]) -> list[str]:
    recipes = [m[0].settings.get(_RECIPE, "") for m in members]
    shared = [_shared([facts.name for facts in m]) for m in members]
    told = recipes if all(recipes) and len(set(recipes)) == len(recipes) else shared
    return _told_apart([wording.clip(text, _LONGEST) for text in told])


def _shared(found: Sequence[str]) -> str:
    """What names have in common, with a star for the rest.

    >>> _shared(["s0-self", "s1-self"])
    's*-self'
    """
    first = _beginning(found)
    rest = [name[len(first) :] for name in found]
    last = _beginning([name[::-1] for name in rest])[::-1]
    if all(name == last for name in rest):
        return first + last
    word = _WORD_ENDS.search(last)  # a letter that names happen to end in tells nothing
    last = last[word.start() :] if word else ""
    return f"{first}*{last}" if first or last else f"{found[0]} and {len(found) - 1} more"


def _beginning(found: Sequence[str]) -> str:
    return "".join(c[0] for c in takewhile(lambda c: len(set(c)) == 1, zip(*found, strict=False)))


def _told_apart(found: Sequence[str]) -> list[str]:
    return [n if found.count(n) == 1 else f"{n} ({i})" for i, n in enumerate(found, 1)]
