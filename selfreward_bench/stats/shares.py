"""The difference of two shares over the same prompts, one yes or no for each: an interval that holds where few differ.

A bootstrap of such differences jumps: with three prompts that differ it excludes zero far too often. All that counts is
how many prompts one side alone has right, and how many the other.
"""

from __future__ import annotations

import math
from functools import lru_cache

from scipy import special

__all__ = ["paired_share_interval"]

_CORRECTION = 1.0  # pairs: wins minus losses moves in steps of two where as many differ, as in McNemar's corrected test
_HALVINGS = 60


@lru_cache(maxsize=4096)
def paired_share_interval(wins: int, losses: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of ``(wins - losses) / n``: the true difference of two shares over the same ``n`` prompts.

    Tango's (1998, "Equivalence Test and Confidence Interval for the Difference in Proportions for the Paired-Sample
    Design") score interval with a continuity correction of one pair, at least as wide as what McNemar's conditional
    distribution says (Clopper and Pearson's interval of wins among the prompts that differ). So it excludes zero only
    where McNemar's exact test has p < 1 - level, and each end is passed with a probability of at most half that: over
    all outcomes, with 5 to 805 prompts, in 2.4% of the cases at most (``perf/paired_shares.py``).

    Args:
        wins: prompts that the first side alone has right.
        losses: prompts that the second side alone has right.
        n: all prompts.

    Raises:
        ValueError: more prompts differ than there are, or there is none.

    >>> [round(x, 3) for x in paired_share_interval(8, 2, 80)]
    [-0.018, 0.18]
    """
    if n < 1 or wins < 0 or losses < 0 or wins + losses > n:
        raise ValueError(f"{wins} wins and {losses} losses of {n} prompts: there are not so many")
    z = float(special.ndtri((1 + level) / 2))
    low, high = -_score_end(losses, wins, n, z), _score_end(wins, losses, n, z)
    differ = (wins + losses) / n
    alpha = (1 - level) / 2
    least = float(special.betaincinv(wins, losses + 1, alpha)) if wins else 0.0
    most = float(special.betaincinv(wins + 1, losses, 1 - alpha)) if losses else 1.0
    return min(low, differ * (2 * least - 1)), max(high, differ * (2 * most - 1))


def _score_end(wins: int, losses: int, n: int, z: float) -> float:
    """The largest difference that the corrected score test does not refute."""
    kept, refuted = (wins - losses) / n, 1.0
    for _ in range(_HALVINGS):
        middle = (kept + refuted) / 2
        if _score(wins, losses, n, middle) < -z:
            refuted = middle
        else:
            kept = middle
    return (kept + refuted) / 2


def _score(wins: int, losses: int, n: int, difference: float) -> float:
    """Tango's statistic; the share of losses is the likeliest one under ``difference`` (a quadratic equation)."""
    b = (2 * n - wins + losses) * difference - wins - losses
    c = -losses * difference * (1 - difference)
    share = max(0.0, (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n))
    variance = n * (2 * share + difference * (1 - difference))
    corrected = wins - losses - n * difference + _CORRECTION
    return corrected / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, corrected)
