"""Measures of texts alone: how varied answers are, and whether they loop. No model, and no notion of right.

All depend on how many texts there are and how long they are: compare only what was measured on the same prompts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final

from selfreward_bench.text import words

__all__ = ["distinct", "is_loop", "self_bleu"]

MAX_WORDS: Final = 512  # of a text that diversity looks at, from its beginning
_MAX_CHARACTERS: Final = 20_000  # of a text's end that are searched for a loop
_PERIODS: Final = range(1, 17)  # words of a passage that may be repeated
_TIMES: Final = 4  # so often in a row is a loop
_MIN_LOOP: Final = 8  # words of a loop: "no, no, no, no" is speech

_MAX_WORD: Final = 31  # letters; a longer one may be a stutter
_STUTTER: Final = re.compile(r"(.{1,4}?)\1{23}")  # without a space: hahaha...


def distinct(texts: Iterable[Sequence[str]], n: int) -> float | None:
    """Different n-grams by all n-grams of all texts, 0..1 (Li et al. 2016); None where there are none.

    >>> distinct([["a", "cat"], ["a", "dog"]], 1)
    0.75
    """
    seen: set[tuple[str, ...]] = set()
    total = 0
    for text in texts:
        grams = _grams(text, n)
        seen.update(grams)
        total += len(grams)
    return len(seen) / total if total else None


def self_bleu(texts: Sequence[Sequence[str]]) -> float | None:
    """Mean BLEU-4 of each text against all others, 0..1 (Zhu et al. 2018); 1 where all texts are the same.

    BLEU is sacrebleu's, with its ``exp`` smoothing and orders no longer than the text. What a text's n-grams are
    clipped at (the largest count in any other text) is taken from the two largest counts over all texts, so that the
    work grows with the number of texts, not with its square.

    Args:
        texts: as words; empty ones are left out.

    Returns:
        None for fewer than two texts.
    """
    from sacrebleu.metrics.bleu import BLEU

    texts = [text[:MAX_WORDS] for text in texts if text]
    if len(texts) < 2:
        return None
    counts = [[Counter(_grams(text, n)) for n in range(1, 5)] for text in texts]
    largest = [_two_largest(text[n] for text in counts) for n in range(4)]
    lengths = Counter(len(text) for text in texts)
    scores = []
    for text, grams in zip(texts, counts, strict=True):
        correct = [_clipped(grams[n], largest[n]) for n in range(4)]
        total = [max(len(text) - n, 0) for n in range(4)]
        reference = _closest(len(text), lengths)
        scored = BLEU.compute_bleu(correct, total, len(text), reference, smooth_method="exp", effective_order=True)
        scores.append(scored.score / 100)
    return sum(scores) / len(scores)


def _grams(text: Sequence[str], n: int) -> list[tuple[str, ...]]:
    text = text[:MAX_WORDS]
    return list(zip(*(text[k:] for k in range(n)), strict=False))


def _two_largest(counts: Iterable[Counter[tuple[str, ...]]]) -> dict[tuple[str, ...], tuple[int, int]]:
    """n-gram -> its largest and its second largest count in one text."""
    found: dict[tuple[str, ...], tuple[int, int]] = {}
    for gram, count in chain.from_iterable(c.items() for c in counts):
        first, second = found.get(gram, (0, 0))
        if count > first:
            found[gram] = (count, first)
        elif count > second:
            found[gram] = (first, count)
    return found


def _clipped(grams: Counter[tuple[str, ...]], largest: dict[tuple[str, ...], tuple[int, int]]) -> int:
    """How many of a text's n-grams stand in some other text, no n-gram more often than in that one."""
    matched = 0
    for gram, count in grams.items():
        first, second = largest[gram]
        matched += min(count, second if count == first else first)
    return matched


def _closest(length: int, lengths: Counter[int]) -> int:
    """The length of another text that is nearest; the shorter of two equally near."""
    others = (n for n, times in lengths.items() if n != length or times > 1)
    return min(others, key=lambda n: (abs(n - length), n))


def is_loop(text: str) -> bool:
    """Whether a passage of up to 16 words stands at least four times in a row (and eight words at least).

    >>> is_loop("I went home. " * 4), is_loop("No, no, no, no!")
    (True, False)
    """
    found = words(text[-_MAX_CHARACTERS:])
    stutters = any(len(word) > _MAX_WORD and _STUTTER.search(word) for word in found)
    return stutters or any(_repeats(found, period) for period in _PERIODS)


def _repeats(found: Sequence[str], period: int) -> bool:
    """Whether enough words in a row equal the one ``period`` before them.

    A run of ``needed`` such words covers every ``needed``-th place, so only these are looked at first.
    """
    needed = max(_TIMES * period, _MIN_LOOP) - period
    for place in range(period + needed - 1, len(found), needed):
        first = last = place
        if found[place] != found[place - period]:
            continue
        while first > period and last - first < needed and found[first - 1] == found[first - 1 - period]:
            first -= 1
        while last + 1 < len(found) and last - first < needed and found[last + 1] == found[last + 1 - period]:
            last += 1
        if last - first + 1 >= needed:
            return True
    return False
