"""The most similar other text shares the rarest words."""

from __future__ import annotations

import random

from trainers.similar import nearest

TEXTS = ["Name a red food.", "Describe a bus.", "Name three red foods.", "7", "Describe the big bus."]


def test_rare_words_count_more_than_common_ones() -> None:
    assert list(nearest(TEXTS)) == [2, 4, 0, None, 1]


def test_a_text_is_never_its_own_and_equal_ones_find_each_other() -> None:
    assert list(nearest(["a b", "a b"])) == [1, 0]
    assert list(nearest(["alone"])) == [None]
    assert list(nearest([])) == []


def test_many_texts_are_held_against_all_others() -> None:
    """More than are taken at a time."""
    rng = random.Random(0)
    texts = [f"w{i} x{rng.randrange(50)} y{rng.randrange(50)}" for i in range(1100)]
    texts += [f"{text} more" for text in texts[:3]]
    found = list(nearest(texts))
    assert [found[i] for i in (0, 1, 2, 1100, 1101, 1102)] == [1100, 1101, 1102, 0, 1, 2]
