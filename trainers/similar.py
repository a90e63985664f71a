"""Which text is most like another: the cosine of their words, the rarer a word the heavier."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from selfreward_bench.text import words

__all__ = ["nearest"]

_AT_ONCE: Final = 2**23  # pairs of texts that are held against each other at a time


def nearest(texts: Sequence[str]) -> Iterator[int | None]:
    """For each text the number of the most similar other one; None where no other shares a word with it.

    A text is held against all others when it is reached, some at a time: all of them take the square of their number.

    >>> list(nearest(["Name a red food.", "Describe a bus.", "Name three red foods.", "7"]))
    [2, 0, 0, None]
    """
    import numpy as np
    from scipy.sparse import csr_array

    holders = Counter(word for text in texts for word in dict.fromkeys(words(text)))
    places = {word: at for at, word in enumerate(holders)}
    rows, columns, values = array("i"), array("i"), array("d")
    for at, text in enumerate(texts):
        weights = {w: n * math.log((1 + len(texts)) / holders[w]) for w, n in Counter(words(text)).items()}
        norm = math.sqrt(sum(w * w for w in weights.values())) or 1.0
        rows.extend([at] * len(weights))
        columns.extend(places[word] for word in weights)
        values.extend(w / norm for w in weights.values())
    table = csr_array((values, (rows, columns)), shape=(len(texts), max(len(places), 1)))
    step = max(1, _AT_ONCE // max(len(texts), 1))
    for start in range(0, len(texts), step):
        likeness = (table[start : start + step] @ table.T).toarray()
        own = np.arange(len(likeness))
        likeness[own, start + own] = 0.0
        best = likeness.argmax(axis=1)
        yield from [int(at) if likeness[i, at] > 0 else None for i, at in enumerate(best)]
