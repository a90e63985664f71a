"""Do the intervals cover, do the tests hold their level, and is the smallest detectable difference detected?

Simulated comparisons of two checkpoints whose truth is known. A prompt's difficulty is common to both checkpoints, and
each has a prompt effect of its own; where a prompt has two values they share these, and one value in ten is not scored.
Without effect the checkpoints are alike; with effect their true difference is the one ``planned_detectable_difference``
gives for this many prompts, so that a test should find it in 80 of 100 data sets.

    python perf/inference.py --data-sets 6000   the tables of perf/RESULTS.md, 25 to 35 minutes of processor time
    python perf/inference.py                    with 1,200 data sets each, 5 minutes
    python perf/inference.py --speed            milliseconds per call, and the exact coverage of shares

Every figure is one of the functions of ``selfreward_bench.stats`` as the benchmarks call it, only with fewer resamples.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy loads its threads

import argparse
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special
from scipy import stats as distributions

from selfreward_bench import stats

Floats = NDArray[np.float64]
N_BOOT = 1_000
BATCH = 100  # data sets that share a seed, and with it their resamples
DIFFICULTY, OWN, UNSCORED = 0.4, 0.2, 0.1  # shares of a value's latent variance; share of values without a score
GRADES = np.array([0.03, 0.04, 0.08, 0.15, 0.30, 0.40])  # of 0 to 5


@dataclass(frozen=True)
class Kind:
    """How values are distributed.

    Attributes:
        quantile: uniform numbers -> values.
        half: whether the other side is 1/2 throughout, as for a win rate.
    """

    name: str
    quantile: Callable[[Floats], Floats]
    half: bool = False

    @property
    def binary(self) -> bool:
        return self.name.startswith("binary")


def binary(rate: float) -> Kind:
    return Kind(f"binary, p = {rate:g}", lambda u: (u > 1 - rate).astype(np.float64))


def grades(u: Floats) -> Floats:
    return np.searchsorted(np.cumsum(GRADES)[:-1], u).astype(np.float64)


def student(u: Floats) -> Floats:
    """Student's t with 2 degrees of freedom: heavy tails in closed form."""
    u = np.clip(u, 1e-12, 1 - 1e-12)
    return np.asarray((2 * u - 1) / np.sqrt(2 * u * (1 - u)))


def skewed_half(u: Floats) -> Floats:
    """0.4 or 0.9, on average 1/2: most prompts are lost by a little, few won by much."""
    return np.where(u > 0.8, 0.9, 0.4)


PREFERENCE = Kind("preference, heavy tails", lambda u: special.expit(-3 + 1.5 * student(u)))
WIN_RATE = Kind("weighted win rate", lambda u: special.expit(6 * special.ndtri(u)), half=True)
KINDS = (binary(0.1), binary(0.5), Kind("grades 0-5, skewed", grades), PREFERENCE, WIN_RATE)
SETTINGS = [(kind, n, clustered) for kind in KINDS for clustered in (False, True) for n in (80, 256, 805)]
LIMITS = [
    (binary(0.02), 80, False),
    (binary(0.02), 256, False),
    (binary(0.1), 20, False),
    (KINDS[2], 20, False),
    (PREFERENCE, 20, False),
    (Kind("0.4 or 0.9 against 1/2", skewed_half, half=True), 80, False),
    (Kind("0.4 or 0.9 against 1/2", skewed_half, half=True), 805, False),
]


# --- data


def draw(
    kind: Kind, effect: float, rng: np.random.Generator, n_sets: int, n: int, clustered: bool
) -> tuple[Floats, Floats]:
    """Both sides' values, NaN where not scored; shapes (n_sets, n * values per prompt)."""
    each = 2 if clustered else 1
    difficulty = rng.standard_normal((n_sets, n, 1))
    sides = []
    for shift in (effect, 0.0):
        own, rest = rng.standard_normal((n_sets, n, 1)), rng.standard_normal((n_sets, n, each))
        latent = math.sqrt(DIFFICULTY) * difficulty + math.sqrt(OWN) * own + math.sqrt(1 - DIFFICULTY - OWN) * rest
        values = kind.quantile(special.ndtr(latent + shift))
        if clustered:
            values[rng.random(values.shape) < UNSCORED] = np.nan
        sides.append(values.reshape(n_sets, -1))
    return sides[0], np.full_like(sides[1], 0.5) if kind.half else sides[1]


@cache
def true_mean(kind: Kind, effect: float) -> float:
    latent = special.ndtri((np.arange(50_000) + 0.5) / 50_000)
    return float(kind.quantile(special.ndtr(latent + effect)).mean())


def true_difference(kind: Kind, effect: float) -> float:
    return true_mean(kind, effect) - (0.5 if kind.half else true_mean(kind, 0.0))


def true_sd(kind: Kind, effect: float, clustered: bool, n: int = 100_000) -> float:
    """Standard deviation per prompt of the mean difference, from one large data set."""
    a, b = draw(kind, effect, np.random.default_rng(7), 1, n, clustered)
    gaps = (a - b).reshape(n, -1)
    totals, counts = np.nansum(gaps, axis=1), (~np.isnan(gaps)).sum(axis=1)
    residuals = totals - counts * (totals.sum() / counts.sum())
    return float(np.sqrt(n * (residuals**2).sum()) / counts.sum())


@cache
def detectable_effect(kind: Kind, n: int, clustered: bool) -> float:
    """The shift whose difference is just the smallest detectable one."""

    def missing(effect: float) -> float:
        planned = stats.planned_detectable_difference(n, true_sd(kind, effect, clustered))
        return true_difference(kind, effect) - planned

    return float(optimize.brentq(missing, 0.0, 4.0, xtol=1e-3))


# --- one setting


def evaluate(kind: Kind, n: int, clustered: bool, n_sets: int) -> tuple[Counter[str], float, float]:
    """How often what happened, the true difference, and the mean estimate of the smallest detectable one over it."""
    effect = detectable_effect(kind, n, clustered)
    mean, difference = true_mean(kind, 0.0), true_difference(kind, effect)
    labels = np.repeat(np.arange(n), 2).tolist() if clustered else None
    happened: Counter[str] = Counter()
    estimates = []
    for seed, (a, b, null_a, null_b) in data_sets(kind, effect, n, clustered, n_sets):
        bounds = (0.0, 1.0) if kind.binary else None
        single = stats.mean_interval(null_a, labels, seed=seed, n_boot=N_BOOT, bounds=bounds)
        paired = stats.paired_difference(a, b, labels, seed=seed, n_boot=N_BOOT)
        null = stats.paired_difference(null_a, null_b, labels, seed=seed, n_boot=N_BOOT)
        happened["mean"] += covers(single.low, single.high, mean)
        happened["difference"] += covers(paired.low, paired.high, difference)
        happened["sign-flip power"] += found(paired.p_value)
        happened["sign-flip size"] += found(null.p_value)
        happened["sign power"] += found(stats.sign_test(a, b, labels).p_value)
        happened["sign size"] += found(stats.sign_test(null_a, null_b, labels).p_value)
        if kind.binary and not clustered:
            happened["McNemar power"] += found(stats.mcnemar(a, b).p_value)
            happened["McNemar size"] += found(stats.mcnemar(null_a, null_b).p_value)
        estimates.append(stats.detectable_difference(a, b, labels) or 0.0)
    return happened, difference, float(np.mean(estimates)) / difference


def data_sets(
    kind: Kind, effect: float, n: int, clustered: bool, n_sets: int
) -> Iterator[tuple[int, tuple[Floats, ...]]]:
    rng = np.random.default_rng([n, clustered, *kind.name.encode()])
    for seed in range(-(-n_sets // BATCH)):
        size = min(BATCH, n_sets - seed * BATCH)
        columns = (*draw(kind, effect, rng, size, n, clustered), *draw(kind, 0.0, rng, size, n, clustered))
        for row in zip(*columns, strict=True):
            yield seed, row


def covers(low: float | None, high: float | None, truth: float) -> bool:
    return low is not None and high is not None and low - 1e-9 <= truth <= high + 1e-9


def found(p_value: float | None) -> bool:
    return p_value is not None and p_value <= 0.05


# --- tables

TESTS = ("sign-flip", "McNemar", "sign")
SHOWN = ("mean", "difference", *(f"{test} size" for test in TESTS), *(f"{test} power" for test in TESTS))
BOUNDS = {"mean": (0.93, 0.97), "difference": (0.93, 0.97), "size": (0.0, 0.065), "power": (0.0, 1.0)}


def table(settings: list[tuple[Kind, int, bool]], n_sets: int) -> list[str]:
    """Prints a row per setting; returns what misses its target."""
    heads = ["values", "per prompt", "prompts", "mean covered", "difference covered"]
    heads += [f"false: {test}" for test in TESTS] + ["true difference"] + [f"found: {test}" for test in TESTS]
    heads += ["estimated / true detectable"]
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    missed = []
    for kind, n, clustered in settings:
        happened, difference, ratio = evaluate(kind, n, clustered, n_sets)
        share = {name: count / n_sets for name, count in happened.items()}
        cells = [f"{share[name]:.1%}" if name in share else "-" for name in SHOWN]
        row = [kind.name, f"{1 + clustered}", f"{n}", *cells[:5], f"{difference:.3f}", *cells[5:], f"{ratio:.2f}"]
        print("| " + " | ".join(row) + " |", flush=True)
        for name, value in share.items():
            low, high = BOUNDS[name.split()[-1]]
            if not low <= value <= high:
                missed.append(f"{kind.name}, {n} prompts, {1 + clustered} per prompt: {name} {value:.1%}")
    return missed


def pooled_correlation(n_sets: int) -> None:
    """Coverage of ``bootstrap_interval`` for Spearman's correlation over normal values whose correlation is 0.5."""
    truth = 6 / math.pi * math.asin(0.25)
    print("| Spearman, pooled | per prompt | prompts | covered |\n|---|---|---|---|")
    for n, each in ((80, 1), (80, 2)):
        rng, labels, covered = np.random.default_rng([n, each]), np.repeat(np.arange(n), each).tolist(), 0
        for index in range(n_sets):
            prompt, rest = rng.standard_normal((3, n, 1)), rng.standard_normal((3, n, each))
            common, own_x, own_y = math.sqrt(0.6) * prompt + math.sqrt(0.4) * rest
            x, y = ((common + own).ravel() for own in (own_x, own_y))
            interval = stats.bootstrap_interval(stats.spearman, [x, y], labels, seed=index // BATCH, n_boot=N_BOOT // 2)
            covered += covers(interval.low, interval.high, truth)
        print(f"| {truth:.3f} | {each} | {n} | {covered / n_sets:.1%} |", flush=True)


def exact_shares() -> None:
    """Coverage of a share with one value per prompt, over all outcomes with their probabilities: no simulation."""
    rates = (0.002, 0.02, 0.1, 0.5)
    grid = np.concatenate([np.linspace(0.0002, 0.03, 300), np.linspace(0.03, 0.5, 900)])
    print("| prompts | " + " | ".join(f"share {p:g}" for p in rates) + " | lowest, shares of 0.0002 to 0.5 |")
    print("|---" * (len(rates) + 2) + "|")
    for n in (20, 80, 256, 805):
        found = [stats.mean_interval([1.0] * k + [0.0] * (n - k), bounds=(0.0, 1.0)) for k in range(n + 1)]
        low, high = (np.array([getattr(m, end) for m in found]) for end in ("low", "high"))

        def covered(rate: float, n: int = n, low: Floats = low, high: Floats = high) -> float:
            return float(distributions.binom.pmf(np.arange(n + 1), n, rate)[(low <= rate) & (rate <= high)].sum())

        lowest = min(map(covered, grid))
        print(f"| {n} | " + " | ".join(f"{covered(p):.1%}" for p in rates) + f" | {lowest:.1%} |", flush=True)


def speed() -> None:
    """Milliseconds of processor time per call on lists, first call and best of five later ones."""
    heads = ("prompts x values", "mean_interval, 10,000", "mean_interval, 2,000", "paired_difference, 5,000")
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    rng = np.random.default_rng(0)
    for n, each in ((80, 2), (256, 2), (805, 1)):
        a, b = rng.normal(size=(2, n * each)).tolist()
        labels = [f"prompt-{i // each}" for i in range(n * each)]
        calls: tuple[Callable[[], object], ...] = (
            lambda a=a, labels=labels: stats.mean_interval(a, labels),
            lambda a=a, labels=labels: stats.mean_interval(a, labels, n_boot=2_000),
            lambda a=a, b=b, labels=labels: stats.paired_difference(a, b, labels, n_boot=5_000),
        )
        cells = []
        for call in calls:
            times = []
            for _ in range(6):
                began = time.process_time()
                call()
                times.append(1000 * (time.process_time() - began))
            cells.append(f"{times[0]:.1f}, then {min(times[1:]):.1f}")
        print(f"| {n} x {each} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-sets", type=int, default=1_200)
    parser.add_argument("--speed", action="store_true", help="only the speed")
    options = parser.parse_args()
    speed()
    print()
    exact_shares()
    if options.speed:
        return
    began = time.monotonic()
    print(f"\n{options.data_sets} data sets per row, {N_BOOT} resamples.\n")
    missed = table(SETTINGS, options.data_sets)
    print("\nWhere it ends:\n")
    table(LIMITS, options.data_sets)
    print()
    pooled_correlation(min(options.data_sets, 300))
    print("\nOutside 93-97% covered or above 6.5% false: " + ("; ".join(missed) or "none of the first table") + ".")
    print(f"{time.monotonic() - began:.0f} seconds.")


if __name__ == "__main__":
    main()
