"""What an answer of the micro-world says: the things it names, the facts it states, and whether its form is proper."""

from __future__ import annotations

import re

from selfreward_bench.micro.lexicon import (
    ATTRIBUTE_OF,
    NOUNS,
    PREPOSITIONS,
    THINGS,
    VALUES,
    VERBS,
    article,
    capital,
    enumerate_words,
)

NOUN = "|".join(NOUNS)
SIZE, COLOUR, KIND, PLACE = ("|".join(VALUES[a]) for a in ("size", "colour", "kind", "place"))
_VALUE = f"(?:{SIZE}|{COLOUR}|an? (?:(?:{SIZE}) )?(?:(?:{COLOUR}) )?(?:{KIND}))"
_CLAUSE = f"an? (?:{NOUN}) is {_VALUE}"
_STATEMENT = re.compile(
    f"(?:{_CLAUSE}|{_CLAUSE} but {_CLAUSE}|it is {_VALUE}|you find (?:it|an? (?:{NOUN})) in the (?:{PLACE})"
    f"|an? (?:{NOUN}) is (?:{SIZE}) and (?:{COLOUR}))"
)
NOUN_PHRASE = f"the (?:(?:{SIZE}) )?(?:(?:{COLOUR}) )?(?:{NOUN})"
_BESIDE = "|".join(PREPOSITIONS)
STORY = re.compile(
    f"{NOUN_PHRASE} (?:{'|'.join(VERBS)}) (?:{_BESIDE}) {NOUN_PHRASE}(?: (?:and|{_BESIDE}) {NOUN_PHRASE}){{0,2}}"
)


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def nouns(text: str) -> list[str]:
    return [w for w in words(text) if w in THINGS]


def claims(text: str) -> list[tuple[str, str, str]]:
    """Facts stated of a thing named before them: ``(noun, attribute, value)`` each."""
    stated, subject = [], None
    for word in words(text):
        if word in THINGS:
            subject = word
        elif subject and word in ATTRIBUTE_OF:
            stated.append((subject, ATTRIBUTE_OF[word], word))
    return stated


def is_true(claim: tuple[str, str, str]) -> bool:
    noun, attribute, value = claim
    return THINGS[noun][attribute] == value


def sentences(text: str) -> list[str]:
    """The sentences of a text that ends in a full stop and begins each with a capital; empty otherwise."""
    if not re.fullmatch(r"(?:[A-Z][a-z0-9, ]*\.)(?: [A-Z][a-z0-9, ]*\.)*", text) or re.search(
        r"\b(\w+) \1\b", text.lower()
    ):
        return []
    return [s.strip().lower() for s in text.rstrip(".").split(".")]


def is_statements(text: str) -> bool:
    parts = sentences(text)
    return bool(parts) and all(_STATEMENT.fullmatch(s) for s in parts)


def listed(text: str, with_article: str) -> bool:
    """Whether the text is a list ``An apple, a pea and a cat.`` of at least one thing."""
    found = nouns(text)
    named = [f"the {n}" if with_article == "the" else article(n) for n in found]
    return bool(found) and text == capital(enumerate_words(named)) + "."


def describe_facts(noun: str, *, place: bool) -> str:
    thing = THINGS[noun]
    text = f"{article(noun)} is {article(thing['size'])} {thing['colour']} {thing['kind']}"
    return f"{capital(text)}." + (f" You find it in the {thing['place']}." if place else "")


def one_fact(noun: str, attribute: str) -> str:
    value = THINGS[noun][attribute]
    if attribute == "place":
        return f"You find {article(noun)} in the {value}."
    return capital(f"{article(noun)} is {article(value) if attribute == 'kind' else value}.")
