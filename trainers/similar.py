"""Which text is most like another: the cosine of their words, the rarer a word the heavier."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

from selfreward_bench.text import words

__all__ = ["nearest"]

_AT_ONCE: Final = 512  # texts held against all others at a time


def nearest(texts: Sequence[str]) -> list[int | None]:
    """For each text the number of the most similar other one; None where no other shares a word with it.

    >>> nearest(["Name a red food.", "Describe a bus.", "Name three red foods.", "7"])
    [2, 0, 0, None]
    """
    import numpy as np
    from scipy.sparse import csr_array

    found = [Counter(words(text)) for text in texts]
    holders = Counter(word for counts in found for word in counts)
    places = {word: at for at, word in enumerate(holders)}
    rows, columns, values = [], [], []
    for at, counts in enumerate(found):
        weights = {word: n * math.log((1 + len(texts)) / holders[word]) for word, n in counts.items()}
        norm = math.sqrt(sum(w * w for w in weights.values())) or 1.0
        rows += [at] * len(weights)
        columns += [places[word] for word in weights]
        values += [w / norm for w in weights.values()]
    table = csr_array((values, (rows, columns)), shape=(len(texts), max(len(places), 1)))
    chosen: list[int | None] = []
    for start in range(0, len(texts), _AT_ONCE):
        likeness = (table[start : start + _AT_ONCE] @ table.T).toarray()
        own = np.arange(len(likeness))
        likeness[own, start + own] = 0.0
        best = likeness.argmax(axis=1)
        chosen += [int(at) if likeness[i, at] > 0 else None for i, at in enumerate(best)]
    return chosen
