"""The micro-world's people: who asks what, how well humans answer, and how annotators grade. Seeded, nothing is stored.

Prompts fall into three splits by a hash of what they ask (not of their wording), so no rewording of a test prompt is
ever seen in pre-training or seed data: ``train``, ``validation`` (tuning) and ``test`` (no choice is made on it).
"""

from __future__ import annotations

import hashlib
import random
import re
from typing import Final, Literal

from selfreward_bench.micro.families import FAMILIES, Task
from selfreward_bench.micro.lexicon import ATTRIBUTES, NOUNS, VALUES, article, capital
from selfreward_bench.micro.statements import describe_facts, one_fact

Split = Literal["train", "validation", "test"]

WEIGHTS: Final = {
    "describe": 2.0,
    "compare": 2.0,
    "sentence": 2.5,
    "name": 3.0,
    "riddle": 2.0,
    "select": 2.0,
    "sort": 1.5,
    "fact": 1.0,
}


def parse(text: str) -> Task | None:
    """The task a prompt asks for, or None when the world has no such task."""
    for family in FAMILIES.values():
        task: Task | None = family.parse(text)
        if task is not None:
            return task
    return None


def split_of(task: Task) -> Split:
    digest = hashlib.blake2b(f"{task.family}:{task!r}".encode(), digest_size=4, person=b"micro-2").digest()
    bucket = int.from_bytes(digest, "big") % 10
    return "test" if bucket == 0 else "validation" if bucket == 1 else "train"


def draw_task(rng: random.Random, split: Split = "train") -> Task:
    """A task of the split; families by `WEIGHTS`."""
    while True:
        family = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        task: Task = FAMILIES[family].draw(rng)
        if split_of(task) == split:
            return task


def draw_prompt(rng: random.Random, split: Split = "train") -> tuple[str, Task]:
    task = draw_task(rng, split)
    return rng.choice(task.wordings()), task


# ---- how humans answer ---------------------------------------------------------------------------------------------

STYLES: Final = {"perfect": 0.22, "partial": 0.50, "flawed": 0.18, "rambling": 0.10}


#: those who wrote the IFT answers are terser: imitating them is terse also when decoded greedily
DEMONSTRATIONS: Final = {"perfect": 0.15, "partial": 0.60, "flawed": 0.15, "rambling": 0.10}


def human_answer(task: Task, rng: random.Random, styles: dict[str, float] = STYLES) -> str:
    """An answer as people give it: full, terse, with mistakes, or with more than was asked."""
    style = rng.choices(list(styles), list(styles.values()))[0]
    text = task.perfect(rng) if style == "perfect" or rng.random() < 0.45 * (style != "partial") else task.partial(rng)
    if style == "flawed":
        for _ in range(rng.choice((1, 1, 2))):
            text = _spoil(text, rng)
    elif style == "rambling":
        text = _ramble(text, rng)
    return text


def _ramble(text: str, rng: random.Random) -> str:
    extra = []
    for _ in range(rng.choice((1, 1, 2))):
        noun = rng.choice(NOUNS)
        extra.append(
            rng.choice((describe_facts(noun, place=rng.random() < 0.4), one_fact(noun, rng.choice(ATTRIBUTES)), text))
        )
    return " ".join([text, *extra])


def _spoil(text: str, rng: random.Random) -> str:
    pieces = text.split(" ")
    at = rng.randrange(len(pieces))
    kind = rng.choices(("swap", "stop", "case", "drop", "double", "cut", "astray"), (45, 12, 10, 8, 8, 9, 8))[0]
    if kind == "swap":
        return _swap(pieces, rng)
    if kind == "stop":
        return text.rstrip(".")
    if kind == "case":
        return text[:1].lower() + text[1:]
    if kind == "drop" and len(pieces) > 2:
        return " ".join(pieces[:at] + pieces[at + 1 :])
    if kind == "double":
        return " ".join([*pieces[: at + 1], *pieces[at:]])
    if kind == "cut":
        return " ".join(pieces[: max(1, int(len(pieces) * rng.uniform(0.2, 0.8)))])
    return draw_task(rng).perfect(rng)


def _swap(pieces: list[str], rng: random.Random) -> str:
    """Replaces one content word by another of its sort, its article with it."""
    places = [i for i, piece in enumerate(pieces) if re.sub(r"\W", "", piece.lower()) in SWAPS]
    if not places:
        return " ".join(pieces)
    at = rng.choice(places)
    core = re.match(r"\w+", pieces[at])[0]  # type: ignore[index]  # a piece with a word in it, see `places`
    new = rng.choice(SWAPS[core.lower()])
    pieces = pieces.copy()
    pieces[at] = (capital(new) if core[0].isupper() else new) + pieces[at][len(core) :]
    if at and pieces[at - 1].lower() in ("a", "an"):
        joint = article(new).split(" ")[0]
        pieces[at - 1] = capital(joint) if pieces[at - 1][0] == "A" else joint
    return " ".join(pieces)


SWAPS: Final = {
    **{v: [w for w in VALUES[a] if w != v] for a in ATTRIBUTES for v in VALUES[a]},
    **{n: [m for m in NOUNS if m != n] for n in NOUNS},
    **{str(i): [str(j) for j in range(10) if j != i] for i in range(10)},
}


# ---- how annotators grade ------------------------------------------------------------------------------------------


def annotate(score: int, rng: random.Random, noise: float = 0.06) -> int:
    """A human grade: the true one, sometimes one point off."""
    return min(5, max(0, score + rng.choice((-1, 1)))) if rng.random() < noise else score
