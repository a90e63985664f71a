"""Diversity and loops of texts; BLEU held against sacrebleu's own."""

from __future__ import annotations

import random

import pytest
from sacrebleu.metrics.bleu import BLEU

from leaderboards.health.text import MAX_WORDS, distinct, is_loop, self_bleu


@pytest.mark.parametrize(
    ("n", "expected"),
    [(1, 4 / 6), (2, 3 / 4), (3, 2 / 2), (4, None)],
)
def test_distinct_counts_over_all_texts(n: int, expected: float | None) -> None:
    texts = [["the", "red", "cat"], ["the", "red", "dog"]]
    assert distinct(texts, n) == (pytest.approx(expected) if expected else None)


def test_self_bleu_is_the_mean_of_sacrebleus_sentence_scores() -> None:
    rng = random.Random(7)
    texts = [[rng.choice("abcdef") for _ in range(rng.randint(1, 14))] for _ in range(25)]
    bleu = BLEU(tokenize="none", effective_order=True, smooth_method="exp")
    lines = [" ".join(text) for text in texts]
    expected = [bleu.sentence_score(line, lines[:i] + lines[i + 1 :]).score / 100 for i, line in enumerate(lines)]
    assert self_bleu(texts) == pytest.approx(sum(expected) / len(expected), abs=1e-12)


def test_self_bleu_of_equal_and_of_unlike_texts() -> None:
    same = ["a", "cat", "sat", "on", "a", "mat"]
    assert self_bleu([same, same, same]) == pytest.approx(1.0)
    assert self_bleu([["a"] * 3, ["b"] * 3]) == pytest.approx(0.0)
    assert self_bleu([same, []]) is None
    assert self_bleu([]) is None


def test_self_bleu_looks_at_the_beginning_of_long_texts() -> None:
    begun = [str(i) for i in range(MAX_WORDS)]
    assert self_bleu([begun + ["x"] * 500, begun + ["y"] * 500]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "text",
    [
        "I like it. " * 4,
        "well " * 8,
        "A fine answer that begins well. " + "and then the dog saw the cat " * 5,
        "x" * 3 + " one two" * 4 + " at the end it stops",
        "Unn" + "ha" * 60,
        "word " * 30_000,
        "हा" * 60,
        "ไม่ไป" * 8,
    ],
)
def test_loops_are_found(text: str) -> None:
    assert is_loop(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "No, no, no, no!",
        "I like it. " * 3,
        "very very very very good, and then something else entirely",
        "✅ | ✅ | " * 20,
        "| a | b |\n| --- | --- |\n" + "-" * 200,
        "2, 4, 6, 8, 10, 12, 14, 16, 18, 20",
        "The cat is red. The dog is red. The bus is red. The hat is red. The pea is red.",
    ],
)
def test_lists_rulers_and_emphasis_are_no_loops(text: str) -> None:
    assert not is_loop(text)


def test_loops_are_found_as_by_looking_at_every_place() -> None:
    rng = random.Random(11)
    seen = set()
    for _ in range(4_000):
        period, times = rng.randint(1, 5), rng.randint(1, 6)
        passage = [rng.choice("abc") for _ in range(period)]
        before, after = ([rng.choice("abc") for _ in range(rng.randint(0, 6))] for _ in range(2))
        found = before + passage * times + after
        looped = any(
            found[i : i + p] * k == found[i : i + p * k]
            for p in range(1, 17)
            for k in [max(4, -(-8 // p))]
            for i in range(len(found) - p * k + 1)
        )
        assert is_loop(" ".join(found)) == looped, found
        seen.add(looped)
    assert seen == {True, False}
