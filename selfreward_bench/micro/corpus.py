"""What the embedded base model reads before anyone teaches it: the micro-world's small web.

Encyclopaedia, catalogues, stories, number lines, forum threads of mixed quality, reviews whose votes are unreliable,
lists of tasks, and text that repeats itself (without which so small a model does not learn to copy). It never sees chat
markup, the judge's prompt, or a task of the validation or test split.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from selfreward_bench.micro import oracle
from selfreward_bench.micro.families import Sentence
from selfreward_bench.micro.lexicon import (
    ATTRIBUTES,
    NOUNS,
    THINGS,
    VALUES,
    article,
    capital,
    enumerate_words,
    fitting,
)
from selfreward_bench.micro.notes import notes
from selfreward_bench.micro.statements import describe_facts, one_fact
from selfreward_bench.micro.world import STYLES, draw_prompt, human_answer

_ALL_WORDS: Final = (*NOUNS, *(v for a in ATTRIBUTES for v in VALUES[a]), *map(str, range(10)))


def repeats(rng: random.Random) -> str:
    """Songs and echoes: a line that comes again, sometimes in another order of words."""
    joint = rng.choice((" ", ", ", ", ", " and "))
    pool = (
        [str(i) for i in range(10)] if rng.random() < 0.25 else list(NOUNS) if rng.random() < 0.6 else list(_ALL_WORDS)
    )
    line = joint.join(rng.choice(pool) for _ in range(rng.randrange(2, 8))) + "."
    if rng.random() < 0.2:
        line = Sentence.draw(rng).perfect(rng)
    return " ".join([line] * rng.choice((2, 2, 3)))


def encyclopaedia(rng: random.Random) -> str:
    noun = rng.choice(NOUNS)
    if rng.random() < 0.35:
        return describe_facts(noun, place=rng.random() < 0.7)
    return " ".join(one_fact(noun, a) for a in rng.sample(ATTRIBUTES, rng.choice((1, 2, 3))))


def catalogue(rng: random.Random) -> str:
    """``Small red foods from the garden: an apple, a cherry and a tomato.``"""
    thing = THINGS[rng.choice(NOUNS)]
    asked = {a: thing[a] for a in rng.sample(ATTRIBUTES, rng.choice((1, 2, 2, 3)))}
    found = fitting(asked)
    rng.shuffle(found)
    head = " ".join([asked[a] for a in ("size", "colour") if a in asked] + [asked.get("kind", "thing") + "s"])
    place = f" from the {asked['place']}" if "place" in asked else ""
    return f"{capital(head)}{place}: {enumerate_words([article(n) for n in found[:5]])}."


def story(rng: random.Random) -> str:
    return Sentence.draw(rng).perfect(rng)


def number_line(rng: random.Random) -> str:
    numbers = [rng.randrange(10) for _ in range(rng.choice((3, 4, 5)))]
    start = rng.randrange(6)
    ordered = sorted(numbers) if rng.random() < 0.7 else list(range(start, min(10, start + rng.randrange(3, 7))))
    return ", ".join(map(str, ordered)) + "."


def checked_fact(rng: random.Random) -> str:
    """A statement and whether it is so."""
    noun, attribute = rng.choice(NOUNS), rng.choice(ATTRIBUTES)
    source = (
        noun
        if rng.random() < 0.5
        else rng.choice([n for n in NOUNS if THINGS[n][attribute] != THINGS[noun][attribute]])
    )
    value = THINGS[source][attribute]
    verdict = "True." if source == noun else "False."
    if attribute == "place":
        return f"You find {article(noun)} in the {value}. {verdict}"
    return capital(f"{article(noun)} is {article(value) if attribute == 'kind' else value}. {verdict}")


def thread(rng: random.Random) -> str:
    prompt, task = draw_prompt(rng)
    return f"Task: {prompt}\nAnswer: {human_answer(task, rng)}"


def long_thread(rng: random.Random) -> str:
    """A second question about the first one's answer."""
    prompt, task = draw_prompt(rng)
    first = f"Task: {prompt}\nAnswer: {task.perfect(rng)}"
    noun = rng.choice(NOUNS)
    if rng.random() < 0.5:
        return f"{first}\nTask: Say it again.\nAnswer: {first.rpartition('Answer: ')[2]}"
    return f"{first}\nTask: Now describe {article(noun)}.\nAnswer: {describe_facts(noun, place=True)}"


_REVIEWED: Final = STYLES | {"perfect": 0.20, "partial": 0.38, "flawed": 0.30, "rambling": 0.12}


def review(rng: random.Random) -> str:
    """A thread and its votes: half of them follow quality, the others length or nothing at all."""
    prompt, task = draw_prompt(rng)
    answer = human_answer(task, rng, _REVIEWED)
    votes = oracle.score(prompt, answer) or 0
    mood = rng.random()
    if mood < 0.25:
        votes = min(5, len(answer) // 12)
    elif mood < 0.5:
        votes = rng.randrange(6)
    mark = rng.choice(("Votes", "Points", "Score"))
    return f"Task: {prompt}\nAnswer: {answer}\n{mark}: {votes}"


def critique(rng: random.Random) -> str:
    """A thread and what a critic says about the answer, without a grade."""
    prompt, task = draw_prompt(rng)
    answer = human_answer(task, rng, _REVIEWED)
    return f"Task: {prompt}\nAnswer: {answer}\n{notes(task, answer)}"


def task_list(rng: random.Random) -> str:
    return "\n".join("Task: " + draw_prompt(rng)[0] for _ in range(rng.choice((3, 4, 6))))


MIX: Final[dict[Callable[[random.Random], str], float]] = {
    repeats: 0.12,
    encyclopaedia: 0.09,
    catalogue: 0.12,
    story: 0.02,
    number_line: 0.04,
    checked_fact: 0.06,
    thread: 0.23,
    long_thread: 0.02,
    review: 0.10,
    critique: 0.14,
    task_list: 0.06,
}


def document(rng: random.Random) -> str:
    """One document, its kind drawn by `MIX`."""
    kind = rng.choices(list(MIX), list(MIX.values()))[0]
    return kind(rng)
