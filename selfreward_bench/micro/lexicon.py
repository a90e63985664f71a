"""The things of the micro-world and their four attributes. Everything else in the world is made from this table."""

from __future__ import annotations

from typing import Final

ATTRIBUTES: Final = ("size", "colour", "kind", "place")

_TABLE = """
animal  cat black small house; dog brown small house; cow white big farm; horse brown big farm; pig pink big farm
animal  hen white small farm; frog green small pond; duck yellow small pond; fox orange small forest
animal  bear brown big forest; wolf grey big forest; owl grey small forest; mouse grey small house; goat black big farm
animal  swan white big pond; whale blue big sea; crab red small sea
food    apple red small garden; tomato red small garden; banana yellow small kitchen; lemon yellow small kitchen
food    carrot orange small garden; pumpkin orange big garden; melon green big garden; cake white big kitchen
food    cherry red small garden; pea green small garden; egg white small kitchen; pear green small kitchen
food    potato brown small kitchen; cabbage green big garden
tool    hammer grey small workshop; saw grey big workshop; ladder brown big workshop; shovel brown big garden
tool    rake green big garden; broom yellow big house; knife grey small kitchen; pan black big kitchen
tool    spoon white small kitchen; nail grey small workshop; brush red small house; bucket blue big garden
tool    axe red big workshop
vehicle car red small street; bus yellow big street; truck blue big street; bike green small street
vehicle train black big station; boat white small sea; ship grey big sea; tractor green big farm
vehicle taxi yellow small street; scooter pink small street; van white big street; tram orange big street
garment hat black small shop; coat brown big shop; scarf red small shop; shoe brown small shop; sock white small house
garment glove black small house; dress pink big shop; shirt blue small house; boot black big shop; belt brown small shop
"""


def _read() -> dict[str, dict[str, str]]:
    things: dict[str, dict[str, str]] = {}
    for line in _TABLE.strip().splitlines():
        kind, _, rest = line.partition(" ")
        for entry in rest.split(";"):
            name, colour, size, place = entry.split()
            things[name] = {"kind": kind, "colour": colour, "size": size, "place": place}
    return things


THINGS: Final = _read()
NOUNS: Final = tuple(sorted(THINGS))
VALUES: Final = {a: tuple(sorted({t[a] for t in THINGS.values()})) for a in ATTRIBUTES}
ATTRIBUTE_OF: Final = {value: a for a in ATTRIBUTES for value in VALUES[a]}
VERBS: Final = ("sat", "stood", "was", "fell", "stayed")
PREPOSITIONS: Final = ("near", "behind", "under", "beside", "by")
NUMBERS: Final = {2: "two", 3: "three", 4: "four"}


def matches(noun: str, constraints: dict[str, str]) -> bool:
    """Whether a thing has all the given attribute values."""
    return all(THINGS[noun][a] == v for a, v in constraints.items())


def fitting(constraints: dict[str, str]) -> list[str]:
    """All things that have the given attribute values, in alphabetical order."""
    return [n for n in NOUNS if matches(n, constraints)]


def article(word: str) -> str:
    """The word with its indefinite article: ``an apple``."""
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def capital(text: str) -> str:
    """The text with its first letter in upper case, the rest as it is."""
    return text[:1].upper() + text[1:]


def enumerate_words(words: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
