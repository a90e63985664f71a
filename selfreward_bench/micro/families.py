"""The eight kinds of task of the micro-world: how a prompt is drawn, read, answered (well and half-well) and graded.

Each family is chosen so that checking an answer is easier than writing it: several constraints must hold at once, or an
open answer may say more or less. Grading is additive, one point for each of five criteria (see `Criteria`); a family
says what each means for it. Nothing here is visible to training: `trainers` may not import this module.
"""

from __future__ import annotations

import math
import random
import re
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

from selfreward_bench.micro.lexicon import (
    ATTRIBUTE_OF,
    NOUNS,
    NUMBERS,
    PREPOSITIONS,
    THINGS,
    VALUES,
    VERBS,
    article,
    capital,
    enumerate_words,
    fitting,
    matches,
)
from selfreward_bench.micro.statements import (
    COLOUR,
    KIND,
    NOUN,
    PLACE,
    SIZE,
    STORY,
    claims,
    describe_facts,
    is_statements,
    is_true,
    listed,
    nouns,
    one_fact,
    sentences,
    words,
)


class Criteria(NamedTuple):
    """The five additive points of the oracle's rubric."""

    relevant: bool  # speaks of what was asked
    substantial: bool  # at least half of what was asked is there
    complete: bool  # all that was asked is there
    correct: bool  # substantial, and nothing false, repeated or beside the point
    well_formed: bool  # relevant, and a proper sentence or list

    @property
    def score(self) -> int:
        return sum(self)


class Task(Protocol):
    """One task: what a prompt asks, independent of its wording."""

    family: ClassVar[str]

    def wordings(self) -> list[str]: ...
    def perfect(self, rng: random.Random) -> str: ...
    def partial(self, rng: random.Random) -> str: ...
    def criteria(self, answer: str) -> Criteria: ...


# ---- open answers of graded quality --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Describe:
    """``Describe a cat.`` The more of its four attributes an answer states, the better."""

    noun: str
    family: ClassVar[str] = "describe"

    @classmethod
    def draw(cls, rng: random.Random) -> Describe:
        return cls(rng.choice(NOUNS))

    @classmethod
    def parse(cls, text: str) -> Describe | None:
        found = re.fullmatch(rf"(?:Describe|Tell me about|Write about) an? ({NOUN})\.", text)
        return cls(found[1]) if found else None

    def wordings(self) -> list[str]:
        return [f"{verb} {article(self.noun)}." for verb in ("Describe", "Tell me about", "Write about")]

    def perfect(self, rng: random.Random) -> str:
        return describe_facts(self.noun, place=True)

    def partial(self, rng: random.Random) -> str:
        if rng.random() < 0.7:
            return one_fact(self.noun, rng.choices(("colour", "size", "kind", "place"), (80, 8, 6, 6))[0])
        thing = THINGS[self.noun]
        return rng.choice(
            [
                describe_facts(self.noun, place=False),
                capital(f"{article(self.noun)} is {article(thing['colour'])} {thing['kind']}."),
                capital(f"{article(self.noun)} is {article(thing['size'])} {thing['kind']}."),
                capital(f"{article(self.noun)} is {thing['size']}. It is {thing['colour']}."),
            ]
        )

    def criteria(self, answer: str) -> Criteria:
        stated = claims(answer)
        true = {c for c in stated if c[0] == self.noun and is_true(c)}
        relevant = self.noun in nouns(answer)
        substantial = relevant and len(true) >= 2
        clean = len(stated) == len(true) and set(nouns(answer)) == {self.noun}
        return Criteria(
            relevant,
            substantial,
            relevant and len(true) == 4,
            substantial and clean,
            relevant and is_statements(answer),
        )


@dataclass(frozen=True)
class Compare:
    """``Compare a cat and a bus.`` Size, colour and kind of both make a full answer."""

    first: str
    second: str
    family: ClassVar[str] = "compare"

    @classmethod
    def draw(cls, rng: random.Random) -> Compare:
        return cls(*rng.sample(NOUNS, 2))

    @classmethod
    def parse(cls, text: str) -> Compare | None:
        found = re.fullmatch(rf"Compare an? ({NOUN}) (?:and|with) an? ({NOUN})\.", text)
        return cls(found[1], found[2]) if found and found[1] != found[2] else None

    def wordings(self) -> list[str]:
        return [f"Compare {article(self.first)} {joint} {article(self.second)}." for joint in ("and", "with")]

    def _say(self, *attributes: str) -> str:
        halves = []
        for noun in (self.first, self.second):
            value = " ".join(THINGS[noun][a] for a in attributes)
            halves.append(f"{article(noun)} is {article(value) if 'kind' in attributes else value}")
        return capital(" but ".join(halves)) + "."

    def perfect(self, rng: random.Random) -> str:
        return self._say("size", "colour", "kind")

    def partial(self, rng: random.Random) -> str:
        if rng.random() < 0.15:
            return describe_facts(self.first, place=False)
        if rng.random() < 0.65:
            return self._say("colour")
        return self._say(*rng.choice([("size",), ("colour",), ("kind",), ("colour", "kind"), ("size", "kind")]))

    def criteria(self, answer: str) -> Criteria:
        stated, both = claims(answer), {self.first, self.second}
        true = {c for c in stated if c[0] in both and is_true(c)}
        per = [sum(c[0] == n for c in true) for n in (self.first, self.second)]
        relevant = bool(both & set(nouns(answer)))
        substantial = min(per) >= 2
        clean = len(stated) == len(true) and set(nouns(answer)) == both
        return Criteria(relevant, substantial, min(per) >= 3, substantial and clean, relevant and is_statements(answer))


@dataclass(frozen=True)
class Sentence:
    """``Write a sentence with cat, bus and hat.`` Every word must be used, and no other thing."""

    asked: tuple[str, ...]
    family: ClassVar[str] = "sentence"

    @classmethod
    def draw(cls, rng: random.Random) -> Sentence:
        return cls(tuple(rng.sample(NOUNS, rng.choice((3, 3, 4)))))

    @classmethod
    def parse(cls, text: str) -> Sentence | None:
        found = re.fullmatch(
            rf"(?:Write|Make) a sentence with ((?:(?:{NOUN}), ){{1,2}}(?:{NOUN}) and (?:{NOUN}))\.", text
        )
        asked = tuple(re.split(", | and ", found[1])) if found else ()
        return cls(asked) if found and len(set(asked)) == len(asked) else None

    def wordings(self) -> list[str]:
        return [f"{verb} a sentence with {enumerate_words(list(self.asked))}." for verb in ("Write", "Make")]

    def _tell(self, named: list[str], rng: random.Random, adjectives: float) -> str:
        phrases = []
        for noun in named:
            adjective = THINGS[noun][rng.choice(("size", "colour"))] + " " if rng.random() < adjectives else ""
            phrases.append(f"the {adjective}{noun}")
        text = f"{phrases[0]} {rng.choice(VERBS)} {rng.choice(PREPOSITIONS)} {phrases[1]}"
        if len(phrases) == 4:
            text += f" {rng.choice(PREPOSITIONS)} {phrases[2]}"
        return capital(text + (f" and {phrases[-1]}" if len(phrases) > 2 else "")) + "."

    def perfect(self, rng: random.Random) -> str:
        return self._tell(rng.sample(self.asked, len(self.asked)), rng, 0.3)

    def partial(self, rng: random.Random) -> str:
        used = rng.sample(self.asked, 2)
        if rng.random() < 0.5:
            used[1] = rng.choice([n for n in NOUNS if n not in self.asked])
        return self._tell(used, rng, 0.2)

    def criteria(self, answer: str) -> Criteria:
        found = nouns(answer)
        hit = set(found) & set(self.asked)
        adjectives = [
            (n, ATTRIBUTE_OF[a], a)
            for a, n in re.findall(rf"\b({SIZE}|{COLOUR}) (?=(?:(?:{COLOUR}) )?({NOUN})\b)", answer.lower())
        ]
        substantial = len(hit) >= 2
        clean = set(found) <= set(self.asked) and len(set(found)) == len(found) and all(map(is_true, adjectives))
        parts = sentences(answer)
        return Criteria(
            bool(hit),
            substantial,
            len(hit) == len(self.asked),
            substantial and clean,
            bool(hit) and len(parts) == 1 and bool(STORY.fullmatch(parts[0])),
        )


# ---- several constraints at once -----------------------------------------------------------------------------------


def _draw_constraints(rng: random.Random, counts: tuple[int, ...]) -> dict[str, str]:
    seed = THINGS[rng.choice(NOUNS)]
    chosen = rng.sample(("size", "colour", "kind", "place"), rng.choice(counts))
    return {a: seed[a] for a in ("size", "colour", "kind", "place") if a in chosen}


def _constraints(**found: str | None) -> dict[str, str]:
    return {a: v.strip() for a, v in found.items() if v and v.strip() and v.strip() != "thing"}


@dataclass(frozen=True)
class Name:
    """``Name three small red foods from the garden.`` Each must meet every constraint; the number counts."""

    count: int
    constraints: tuple[tuple[str, str], ...]
    family: ClassVar[str] = "name"

    @classmethod
    def draw(cls, rng: random.Random) -> Name:
        while True:
            constraints, count = _draw_constraints(rng, (1, 2, 2, 3)), rng.choice((2, 3, 3, 4))
            if len(fitting(constraints)) >= count:
                return cls(count, tuple(constraints.items()))

    @classmethod
    def parse(cls, text: str) -> Name | None:
        found = re.fullmatch(
            rf"(?:Name|List|Give me) (two|three|four) ((?:{SIZE}) )?((?:{COLOUR}) )?({KIND}|thing)s"
            rf"(?: from the ({PLACE}))?\.",
            text,
        )
        if not found:
            return None
        count = next(n for n, word in NUMBERS.items() if word == found[1])
        constraints = _constraints(size=found[2], colour=found[3], kind=found[4], place=found[5])
        return cls(count, tuple(constraints.items())) if constraints and len(fitting(constraints)) >= count else None

    def wordings(self) -> list[str]:
        asked = dict(self.constraints)
        adjectives = "".join(f"{asked[a]} " for a in ("size", "colour") if a in asked)
        place = f" from the {asked['place']}" if "place" in asked else ""
        what = f"{NUMBERS[self.count]} {adjectives}{asked.get('kind', 'thing')}s{place}."
        return [f"{verb} {what}" for verb in ("Name", "List", "Give me")]

    def _valid(self) -> list[str]:
        return fitting(dict(self.constraints))

    @staticmethod
    def _write(items: list[str]) -> str:
        return capital(enumerate_words([article(n) for n in items])) + "."

    def perfect(self, rng: random.Random) -> str:
        return self._write(rng.sample(self._valid(), self.count))

    def partial(self, rng: random.Random) -> str:
        items = rng.sample(self._valid(), self.count)
        if rng.random() < 0.4:
            return self._write(items[: rng.randrange(1, self.count)])
        wrong = [n for n in NOUNS if not matches(n, dict(self.constraints))]
        near = [n for n in wrong if any(matches(n, {a: v}) for a, v in self.constraints)]
        for i in rng.sample(range(self.count), rng.randrange(1, self.count)):
            items[i] = rng.choice(near or wrong)
        return self._write(items)

    def criteria(self, answer: str) -> Criteria:
        found, valid = nouns(answer), set(self._valid())
        good = set(found) & valid
        relevant = any(matches(n, {a: v}) for n in found for a, v in self.constraints)
        substantial = len(good) >= math.ceil(self.count / 2)
        return Criteria(
            relevant,
            substantial,
            len(good) == self.count and len(found) == self.count,
            substantial and set(found) <= valid and len(set(found)) == len(found),
            relevant and listed(answer, "a"),
        )


@dataclass(frozen=True)
class Riddle:
    """``Which vehicle is big and green?`` Finding a thing takes a search; checking it takes two look-ups."""

    constraints: tuple[tuple[str, str], ...]
    family: ClassVar[str] = "riddle"

    @classmethod
    def draw(cls, rng: random.Random) -> Riddle:
        while True:
            constraints = _draw_constraints(rng, (2, 3, 3))
            if set(constraints) != {"kind", "place"} or rng.random() < 0.5:
                return cls(tuple(constraints.items()))

    @classmethod
    def parse(cls, text: str) -> Riddle | None:
        found = re.fullmatch(
            rf"(?:Find|Show me) an? ((?:{SIZE}) )?((?:{COLOUR}) )?({KIND}|thing)(?: from the ({PLACE}))?\.",
            text,
        )
        constraints = _constraints(size=found[1], colour=found[2], kind=found[3], place=found[4]) if found else {}
        return cls(tuple(constraints.items())) if len(constraints) >= 2 and fitting(constraints) else None

    def wordings(self) -> list[str]:
        asked = dict(self.constraints)
        what = " ".join([asked[a] for a in ("size", "colour") if a in asked] + [asked.get("kind", "thing")])
        place = f" from the {asked['place']}" if "place" in asked else ""
        return [f"{verb} {article(what)}{place}." for verb in ("Find", "Show me")]

    def perfect(self, rng: random.Random) -> str:
        return self._write(rng.choice(fitting(dict(self.constraints))), rng)

    def partial(self, rng: random.Random) -> str:
        near = [n for n in NOUNS if any(matches(n, {a: v}) for a, v in self.constraints)]
        wrong = [n for n in near if not matches(n, dict(self.constraints))]
        return self._write(rng.choice(wrong), rng)

    @staticmethod
    def _write(noun: str, rng: random.Random) -> str:
        return capital(article(noun)) + "." if rng.random() < 0.6 else describe_facts(noun, place=False)

    def criteria(self, answer: str) -> Criteria:
        found, stated = nouns(answer), claims(answer)
        met = sum(matches(found[0], {a: v}) for a, v in self.constraints) if found else 0
        solved = bool(found) and met == len(self.constraints)
        relevant = bool(found) and met >= 1
        clean = solved and set(found) == {found[0]} and all(map(is_true, stated)) and len(set(stated)) == len(stated)
        form = listed(answer, "a") or is_statements(answer)
        return Criteria(relevant, relevant and met >= len(self.constraints) / 2, solved, clean, relevant and form)


@dataclass(frozen=True)
class Select:
    """``Which of these are red: bus, apple, cherry, sock?`` All that fit, and none that does not."""

    attribute: str
    value: str
    options: tuple[str, ...]
    family: ClassVar[str] = "select"

    @classmethod
    def draw(cls, rng: random.Random) -> Select:
        attribute = rng.choice(("colour", "kind", "kind", "size", "place"))
        value = rng.choice(VALUES[attribute])
        good = fitting({attribute: value})
        size = rng.choice((4, 4, 5))
        right = rng.sample(good, min(rng.choice((1, 2, 2, 3)), len(good)))
        wrong = rng.sample([n for n in NOUNS if n not in good], size - len(right))
        options = right + wrong
        rng.shuffle(options)
        return cls(attribute, value, tuple(options))

    @classmethod
    def parse(cls, text: str) -> Select | None:
        found = re.fullmatch(
            rf"Which of these are (?:from the ({PLACE})|({KIND})s|({SIZE}|{COLOUR})): "
            rf"((?:(?:{NOUN}), ){{3,4}}(?:{NOUN}))\?",
            text,
        )
        if not found:
            return None
        value, options = found[1] or found[2] or found[3], tuple(found[4].split(", "))
        task = cls(ATTRIBUTE_OF[value], value, options)
        return task if len(set(options)) == len(options) and task._right() else None

    def wordings(self) -> list[str]:
        what = {"place": f"from the {self.value}", "kind": f"{self.value}s"}.get(self.attribute, self.value)
        return [f"Which of these are {what}: {', '.join(self.options)}?"]

    def _right(self) -> list[str]:
        return [n for n in self.options if matches(n, {self.attribute: self.value})]

    @staticmethod
    def _write(items: list[str]) -> str:
        return capital(enumerate_words([f"the {n}" for n in items])) + "."

    def perfect(self, rng: random.Random) -> str:
        return self._write(self._right())

    def partial(self, rng: random.Random) -> str:
        right = self._right()
        wrong = [n for n in self.options if n not in right]
        if len(right) > 1 and rng.random() < 0.5:
            kept = rng.sample(right, rng.randrange(1, len(right)))
        else:
            kept = rng.sample(right, rng.randrange(len(right) + 1)) + rng.sample(wrong, 1)
        return self._write([n for n in self.options if n in kept])

    def criteria(self, answer: str) -> Criteria:
        found, right = nouns(answer), set(self._right())
        good, bad = set(found) & right, set(found) - right
        relevant = bool(set(found) & set(self.options))
        substantial = len(good) >= len(right) / 2 and len(good) > len(bad)
        return Criteria(
            relevant,
            substantial,
            good == right,
            substantial and not bad and len(set(found)) == len(found),
            relevant and listed(answer, "the"),
        )


# ---- one right answer ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sort:
    """``Sort these numbers: 4, 1, 7.``"""

    numbers: tuple[int, ...]
    family: ClassVar[str] = "sort"

    @classmethod
    def draw(cls, rng: random.Random) -> Sort:
        return cls(tuple(rng.randrange(10) for _ in range(rng.choice((3, 4, 4, 5)))))

    @classmethod
    def parse(cls, text: str) -> Sort | None:
        found = re.fullmatch(r"(?:Sort these numbers|Put these numbers in order): (\d(?:, \d){2,4})\.", text)
        return cls(tuple(int(x) for x in found[1].split(", "))) if found else None

    def wordings(self) -> list[str]:
        what = ", ".join(map(str, self.numbers))
        return [f"Sort these numbers: {what}.", f"Put these numbers in order: {what}."]

    @staticmethod
    def _write(numbers: list[int]) -> str:
        return ", ".join(map(str, numbers)) + "."

    def perfect(self, rng: random.Random) -> str:
        return self._write(sorted(self.numbers))

    def partial(self, rng: random.Random) -> str:
        numbers = sorted(self.numbers)
        if rng.random() < 0.5:
            numbers.pop(rng.randrange(len(numbers)))
        else:
            i = rng.randrange(len(numbers) - 1)
            numbers[i], numbers[i + 1] = numbers[i + 1], numbers[i]
        return self._write(numbers)

    def criteria(self, answer: str) -> Criteria:
        found, target = [int(x) for x in re.findall(r"\d", answer)], sorted(self.numbers)
        relevant = bool(set(found) & set(target)) and not nouns(answer)
        substantial = relevant and sum(a == b for a, b in zip(found, target, strict=False)) >= len(target) / 2
        return Criteria(
            relevant,
            substantial,
            relevant and sorted(found) == target,
            substantial and found == sorted(found) and set(found) <= set(target),
            relevant and bool(re.fullmatch(r"\d(?:, \d)*\.", answer)),
        )


@dataclass(frozen=True)
class Fact:
    """``What colour is a cat?`` A word is right; a sentence that names the thing is better."""

    noun: str
    attribute: str
    family: ClassVar[str] = "fact"

    @classmethod
    def draw(cls, rng: random.Random) -> Fact:
        return cls(rng.choice(NOUNS), rng.choice(("colour", "place", "kind", "size")))

    @classmethod
    def parse(cls, text: str) -> Fact | None:
        for attribute, form in _QUESTIONS.items():
            if found := re.fullmatch(form.replace("?", r"\?").format(f"an? ({NOUN})"), text):
                return cls(found[1], attribute)
        return None

    def wordings(self) -> list[str]:
        return [_QUESTIONS[self.attribute].format(article(self.noun))]

    def perfect(self, rng: random.Random) -> str:
        return one_fact(self.noun, self.attribute)

    def partial(self, rng: random.Random) -> str:
        if rng.random() < 0.7:
            return capital(THINGS[self.noun][self.attribute]) + "."
        wrong = rng.choice([n for n in NOUNS if THINGS[n][self.attribute] != THINGS[self.noun][self.attribute]])
        return capital(THINGS[wrong][self.attribute]) + "."

    def criteria(self, answer: str) -> Criteria:
        value = THINGS[self.noun][self.attribute]
        given = [w for w in words(answer) if w in VALUES[self.attribute]]
        others = [w for w in words(answer) if ATTRIBUTE_OF.get(w, self.attribute) != self.attribute]
        relevant, substantial = bool(given), value in given
        clean = given == [value] and set(nouns(answer)) <= {self.noun} and not others
        short = bool(given) and answer == capital(given[0]) + "."
        return Criteria(
            relevant,
            substantial,
            substantial and self.noun in nouns(answer),
            substantial and clean,
            relevant and (short or is_statements(answer)),
        )


_QUESTIONS = {
    "colour": "What colour is {}?",
    "place": "Where do you find {}?",
    "kind": "What kind of thing is {}?",
    "size": "Is {} big or small?",
}

FAMILIES: dict[str, type[Describe | Compare | Sentence | Name | Riddle | Select | Sort | Fact]] = {
    family.family: family for family in (Describe, Compare, Sentence, Name, Riddle, Select, Sort, Fact)
}
