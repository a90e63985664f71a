"""Do the intervals cover of what is no mean over prompts: strata, pairs of ranked responses, ratings, length control?

Simulated data whose truth is known from the formula, or from a data set so large that its error does not matter.

    python perf/derived.py strata            means of strata (NLP average, MMLU's subjects, LLMBar's subsets)
    python perf/derived.py pairs             judge accuracy over all pairs of two to six ranked responses a prompt
    python perf/derived.py ratings           Bradley-Terry ratings of five checkpoints, all pairs, both orders
    python perf/derived.py length-control    length-controlled win rates and their paired difference
    python perf/derived.py length-control --without-baselines
    python perf/derived.py seeds             means over 2 to 10 training seeds, and how two recipes differ

Each line: the share of 95% intervals that hold the truth, and its Monte-Carlo error. ``--data-sets`` says how many.
Every interval is made by the function that the benchmarks call, with its own number of resamples unless said below.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy loads its threads

import argparse
import math
from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from leaderboards.alpaca_eval import length_control
from leaderboards.alpaca_eval.length_control import Comparisons, Gamed, LengthControlled
from leaderboards.alpaca_eval.logistic import l1_logistic
from leaderboards.head_to_head.ratings import Comparison, bradley_terry
from leaderboards.replicates import Replicates, paired
from selfreward_bench import stats
from selfreward_bench.types import Metric

Floats = NDArray[np.float64]
Found = Iterator[tuple[str, float | None, float | None, float]]  # what, low, high, truth
PROMPTS = (80, 256, 805)


def report(name: str, n_sets: int, once: Callable[[int], Found]) -> None:
    """Prints the share of intervals that hold the truth, for each thing that ``once(seed)`` gives an interval of."""
    held: dict[str, list[bool]] = {}
    for seed in range(n_sets):
        for what, low, high, truth in once(seed):
            held.setdefault(what, []).append(low is not None and high is not None and low <= truth <= high)
    for what, found in held.items():
        share = float(np.mean(found))
        error = 100 * math.sqrt(share * (1 - share) / n_sets)
        print(f"| {name} | {what} | {100 * share:.1f}% +- {error:.1f} | {n_sets} |", flush=True)


# --- strata and pairs


def strata(n_sets: int) -> None:
    """Shares of right answers; the subjects' true rates are fixed, from 0.2 to 0.95."""
    settings = (
        ("5 unlike subsets (92, 134, 47, 46, 100)", (92, 134, 47, 46, 100)),
        ("57 of 5", (5,) * 57),
        ("9 of 32", (32,) * 9),
    )
    for name, sizes in settings:
        rates = np.linspace(0.2, 0.95, len(sizes))

        def once(seed: int, sizes: tuple[int, ...] = sizes, rates: Floats = rates) -> Found:
            rng = np.random.default_rng([len(sizes), seed])
            columns = [(rng.random(n) < p).astype(float).tolist() for n, p in zip(sizes, rates, strict=True)]
            found = stats.stratified_mean([(c, range(len(c)), 1 / len(sizes)) for c in columns])
            yield "mean of means", found.low, found.high, float(rates.mean())

        report(name, n_sets, once)


def pairs(n_sets: int) -> None:
    """A judge that sees each response's worth with an error of its own, so that pairs of a prompt go together."""
    truth = float(np.mean([hit for seed in range(400) for hits in _hits(seed + 10**6, 256) for hit in hits]))
    for n in (80, 256):

        def once(seed: int, n: int = n) -> Found:
            rows = [(i, hit) for i, hits in enumerate(_hits(seed, n)) for hit in hits]
            found = stats.mean_interval([h for _, h in rows], [i for i, _ in rows], seed=seed, bounds=(0.0, 1.0))
            yield "pairwise accuracy", found.low, found.high, truth

        report(f"{n} prompts of 2 to 6", n_sets, once)


def _hits(seed: int, n: int) -> Iterator[list[float]]:
    rng = np.random.default_rng([n, seed])
    for size in rng.integers(2, 7, size=n):
        worth = rng.normal(size=size)
        seen = worth + rng.normal(scale=rng.uniform(0.3, 2.0), size=size)  # some prompts are hard to judge
        yield [float((worth[i] > worth[j]) == (seen[i] > seen[j])) for i, j in combinations(range(size), 2)]


# --- ratings

SKILLS = {"M0": -0.8, "SFT": -0.1, "M1": 0.0, "M2": 0.3, "M3": 0.5}


def ratings(n_sets: int) -> None:
    """Five checkpoints whose answers to a prompt have a common luck each; disagreeing orders are a tie. 300 refits."""
    names = list(SKILLS)
    large = {r.checkpoint: r.rating for r in bradley_terry(names, _games(0, 100_000), anchor="M1", n_boot=2).ratings}
    for n in (80, 256):

        def once(seed: int, n: int = n) -> Found:
            table = bradley_terry(names, _games(seed + 1, n), anchor="M1", n_boot=300, seed=seed)
            yield from (
                (r.checkpoint, r.low, r.high, large[r.checkpoint] or 0.0) for r in table.ratings if r.checkpoint != "M1"
            )

        report(f"{n} prompts, 10 pairs", n_sets, once)


def _games(seed: int, n: int) -> list[Comparison]:
    rng = np.random.default_rng([n, seed])
    worth = np.array(list(SKILLS.values())) + rng.normal(size=(n, len(SKILLS)))
    found = []
    for (i, a), (j, b) in combinations(enumerate(SKILLS), 2):
        gap = worth[:, i] - worth[:, j] + rng.normal(scale=0.5, size=(2, n))  # one judgment per order
        points = (gap > 0).mean(axis=0)
        found += [Comparison(a, b, f"p{k}", float(p), None) for k, p in enumerate(points)]
    return found


# --- length control


def with_length_control(n_sets: int, baselines: bool) -> None:
    """Two models that find the same instructions hard; the second is better, and writes shorter answers."""
    if baselines:  # the exact solver chooses the penalty as liblinear does, in a third of its time
        length_control._liblinear = _exact
    large, gamed = _rivals(np.random.default_rng(0), 400_000, baselines)
    chosen, length_control._choose_strength = length_control._choose_strength, lambda *_: 1e4  # of so many: none
    truth = [_fitted(c, gamed, 0).win_rate for c in large]
    length_control._choose_strength = chosen
    for n in PROMPTS:

        def once(seed: int, n: int = n) -> Found:
            both, gamed = _rivals(np.random.default_rng([n, seed]), n, baselines)
            a, b = (_fitted(c, gamed, length_control.REFITS) for c in both)
            for what, found, true in (("shorter", b, truth[1]), ("longer", a, truth[0])):
                yield f"win rate, {what} answers", found.low, found.high, true
            metrics = [Metric(value=x.win_rate, n_scored=n, n_total=n) for x in (b, a)]
            refits = [Replicates(resamples="", values=tuple(x.refits.tolist())) for x in (b, a)]
            gap = paired("", "", ("b", "a"), (metrics[0], metrics[1]), (refits[0], refits[1]))
            if gap is not None:
                yield "paired difference", gap.low, gap.high, truth[1] - truth[0]

        report(f"{n} instructions", n_sets, once)


def _exact(x: Floats, wins: Floats, weights: Floats, strength: float) -> Floats:
    return np.asarray(l1_logistic(x[None], wins, weights[None], strength)[0])


def _rivals(rng: np.random.Generator, n: int, baselines: bool) -> tuple[list[Comparisons], Gamed | None]:
    hardness = rng.normal(size=n)

    def wins(skill: float, scaled: Floats) -> Floats:
        z = skill + 0.5 * hardness - 1.2 * np.tanh(scaled) + 1.5 * rng.normal(size=n)
        return np.asarray(special.expit(z))

    gamed = None
    if baselines:
        scaled = [rng.normal(mean, 0.6, size=n) for mean in (-1.2, 1.2)]
        gamed = Gamed(
            np.concatenate([wins(-0.5, s) for s in scaled]),
            np.concatenate(scaled),
            np.tile(hardness, 2),
            np.tile(np.arange(n), 2),
        )
    both = []
    for skill, length in ((-0.4, 0.0), (0.0, -500.0)):
        deltas = np.round(rng.normal(length, 600, size=n))
        found = wins(skill, deltas / deltas.std(ddof=1))
        both.append(Comparisons(found, deltas, hardness, np.arange(n)) if baselines else Comparisons(found, deltas))
    return both, gamed


def _fitted(comparisons: Comparisons, gamed: Gamed | None, refits: int) -> LengthControlled:
    found = length_control.length_controlled(comparisons, gamed, n_refits=refits)
    if found is None:
        raise SystemExit("nothing to fit")
    return found


# --- seeds


def seeds(n_sets: int) -> None:
    """Differences of 256 prompts with two samples each; the seeds' standard deviation is small, or a large one."""
    for n in (2, 3, 5, 10):
        for spread in (0.0, 0.1, 0.3):

            def once(seed: int, n: int = n, spread: float = spread) -> Found:
                rng = np.random.default_rng(seed)
                prompts = 1.2 * rng.normal(size=256)

                def run(mean: float) -> stats.Totals:
                    values = mean + spread * rng.normal(size=(n, 1)) + prompts + 1.2 * rng.normal(size=(n, 256))
                    return stats.Totals(2 * values, np.full_like(values, 2.0))

                one, other = run(0.7), run(0.2)
                yield "one recipe", *stats.crossed_interval(one)[1:], 0.7
                yield "two recipes", *stats.crossed_difference(one, other)[1:], 0.5

            report(f"{n} seeds, standard deviation {spread}", n_sets, once)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("strata", "pairs", "ratings", "length-control", "seeds"))
    parser.add_argument("--data-sets", type=int, default=1_000)
    parser.add_argument("--without-baselines", action="store_true", help="length control as in the micro-world")
    options = parser.parse_args()
    print("| setting | interval of | holds the truth | data sets |\n|---|---|---|---|")
    if options.what == "length-control":
        with_length_control(options.data_sets, not options.without_baselines)
    else:
        {"strata": strata, "pairs": pairs, "ratings": ratings, "seeds": seeds}[options.what](options.data_sets)


if __name__ == "__main__":
    main()
