"""How often does the interval of two paired shares miss the truth? Every outcome counted with its probability.

    python perf/paired_shares.py    the table of perf/RESULTS.md, about two minutes of processor time

An outcome is how many prompts one checkpoint alone has right (wins) and how many the other (losses). With the true
difference d and the share s of prompts that differ, wins and losses are multinomial. For each number of prompts the
worst of all settings is told: how often an end lies beyond the truth (a sure gate at exactly the true difference fails
without cause), and how often an arrow is drawn where there is no difference at all.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import special

from selfreward_bench.stats import paired_share_interval

Floats = NDArray[np.float64]
PROMPTS = (5, 10, 20, 28, 50, 80, 128, 256, 512, 805)
DIFFERENCES = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5)
DIFFERING = 40  # shares of differing prompts that are tried for each difference
EXPECTED = 115  # prompts that differ, at most: of more no outcome is left out whose probability counts
MOST = 170


def outcomes(n: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Wins, losses and both ends of the interval, of every outcome."""
    most = min(n, MOST)
    counts = [(w, k) for w in range(most + 1) for k in range(most + 1 - w)]
    table = np.array([(w, k, *paired_share_interval(w, k, n)) for w, k in counts])
    return table[:, 0], table[:, 1], table[:, 2], table[:, 3]


def settings(n: int) -> Iterator[tuple[float, float]]:
    """``(true difference, share of prompts that differ)``."""
    for difference in DIFFERENCES:
        for more in (0.0, 1e-6, *np.geomspace(0.1 / n, 1, DIFFERING)):
            share = difference + float(more)
            if 0 < share <= 1 and (n <= MOST or share * n <= EXPECTED):
                yield difference, share


def probabilities(wins: Floats, losses: Floats, n: int, difference: float, share: float) -> Floats:
    """Of every outcome."""
    ways = special.gammaln(n + 1) - special.gammaln(wins + 1) - special.gammaln(losses + 1)
    ways -= special.gammaln(n - wins - losses + 1)
    chances = ((wins, (share + difference) / 2), (losses, (share - difference) / 2), (n - wins - losses, 1 - share))
    return np.asarray(np.exp(ways + sum(special.xlogy(times, p) for times, p in chances)))


def main() -> None:
    print("| prompts | an end beyond the truth, at most | at d, share | arrow without a difference, at most |")
    print("|---|---|---|---|")
    for n in PROMPTS:
        wins, losses, low, high = outcomes(n)
        worst, arrow, place = 0.0, 0.0, (0.0, 0.0)
        for difference, share in settings(n):
            p = probabilities(wins, losses, n, difference, share)
            ends = [float(p[low > difference + 1e-12].sum()), float(p[high < difference - 1e-12].sum())]
            if max(ends) > worst:
                worst, place = max(ends), (difference, share)
            arrow = max(arrow, sum(ends)) if difference == 0 else arrow
        print(f"| {n} | {worst:.2%} | {place[0]:g}, {place[1]:.3g} | {arrow:.2%} |", flush=True)


if __name__ == "__main__":
    main()
