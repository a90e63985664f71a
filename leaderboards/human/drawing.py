"""Draws the sheet that raters get: which prompts, whose answer stands first, in which order.

All of it follows from the seed and from all answers of the models, also those that are not on the sheet: who has the
sheet alone cannot draw it again. Of each pair of models each stands first equally often (one more where the number is
odd). Equal answers are not asked about.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Collection, Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import Final

from leaderboards.human import judges
from leaderboards.human.answers import Answers, find
from leaderboards.human.records import Item, Key, Sheet, Shown
from selfreward_bench.errors import ConfigError
from selfreward_bench.seeding import derive_seed
from selfreward_bench.storage.rundir import hash_json
from selfreward_bench.types import Prompt

__all__ = ["draw", "pairs_of"]

_LETTERS: Final = 10  # of an item's id: no digits, which spreadsheets would take for numbers
_MOST: Final = 2_000  # comparisons on a sheet


def pairs_of(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of models as a user writes them.

    >>> pairs_of(["M3:SFT,M2:SFT"])
    [('M3', 'SFT'), ('M2', 'SFT')]

    Raises:
        ConfigError: one is no pair, or there twice.
    """
    found: list[tuple[str, str]] = []
    for text in (part for whole in texts for part in whole.split(",") if part.strip()):
        a, colon, b = (part.strip() for part in text.partition(":"))
        if not colon or not a or not b or a == b or ":" in b:
            raise ConfigError(f"--pairs {text!r} is no pair of models. Write A:B, such as M3:SFT; several with commas.")
        if (a, b) in found or (b, a) in found:
            raise ConfigError(f"--pairs: {a} and {b} are there twice.")
        found.append((a, b))
    if not found:
        raise ConfigError("--pairs names no models. Write A:B, such as M3:SFT.")
    return found


def draw(root: Path, pairs: Sequence[tuple[str, str]], n: int, seed: int) -> Sheet:
    """A sheet of ``n`` prompts for each pair, the same prompts for all of them.

    Prompts whose answers the run's checkpoints have graded (``drift``) are taken first, so that these judges can be
    held against people.

    Raises:
        DataError: the models have not answered the same prompts.
        ConfigError: there are fewer prompts than asked for, or too many comparisons.
    """
    found = find(root, list(dict.fromkeys(name for pair in pairs for name in pair)))
    if n > len(found.prompts):
        raise ConfigError(
            f"--n {n}: {', '.join(found.texts)} have answered {len(found.prompts)} prompts of {found.source} in "
            f"common. Ask for so many at most: --n {len(found.prompts)}"
        )
    if n * len(pairs) > _MOST:
        raise ConfigError(f"--n {n} for {len(pairs)} pairs is more than {_MOST:,} comparisons, which nobody rates.")
    material = hash_json([[p.id, *(texts[p.id] for texts in found.texts.values())] for p in found.prompts])
    chance = random.Random(derive_seed(seed, "human", hash_json(list(map(list, pairs))), n, material))
    prompts = _prompts(found, n, chance, judges.graded_prompts(root))
    items, shown, identical = [], [], []
    for a, b in pairs:
        asked = [p for p in prompts if found.texts[a][p.id] != found.texts[b][p.id]]
        identical += [(a, b, p.id) for p in prompts if p not in asked]
        for prompt, a_first in zip(asked, _sides(len(asked), chance), strict=True):
            texts = (found.texts[a][prompt.id], found.texts[b][prompt.id])
            name = "".join(chance.choices(ascii_lowercase, k=_LETTERS))
            side = {"first": "a" if a_first else "b", "text_a": judges.text_hash(texts[0])}
            hashes = {**side, "text_b": judges.text_hash(texts[1])}
            items.append(Item.model_validate({"id": name, "a": a, "b": b, "prompt_id": prompt.id, **hashes}))
            shown.append(Shown(name, prompt, *(texts if a_first else texts[::-1])))
    order = list(range(len(items)))
    chance.shuffle(order)
    key = Key(
        sheet=_letters(hash_json([seed, n, material, [items[i].model_dump() for i in order]])),
        seed=seed,
        n=n,
        source=found.source,
        checkpoints=dict(found.checkpoints),
        pairs=tuple(pairs),
        items=tuple(items[i] for i in order),
        identical=tuple(identical),
    )
    return Sheet(key, tuple(shown[i] for i in order))


def _prompts(found: Answers, n: int, chance: random.Random, graded: Collection[str]) -> list[Prompt]:
    preferred = [p for p in found.prompts if p.id in graded]
    return chance.sample(preferred if len(preferred) >= n else list(found.prompts), n)


def _sides(n: int, chance: random.Random) -> list[bool]:
    """As many of one kind as of the other, in random order."""
    sides = [i % 2 == 0 for i in range(n)] if chance.random() < 0.5 else [i % 2 == 1 for i in range(n)]
    chance.shuffle(sides)
    return sides


def _letters(text: str) -> str:
    """A name of letters alone."""
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return "".join(ascii_lowercase[number // 26**k % 26] for k in range(_LETTERS))
