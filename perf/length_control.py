"""How long AlpacaEval's length control takes: 1,000 refits for the interval, against scikit-learn refitting each.

    python perf/length_control.py [--rows 805] [--refits 1000] [--data DIR --model NAME]

Comparisons are made up (the shape of AlpacaEval: 805 rows and 1,610 of the gamed baselines), or with --data those of a
published model. Scikit-learn (liblinear at a tolerance where both agree to 1e-6) refits 20 resamples, scaled up.
How often the intervals hold the truth: perf/derived.py.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from leaderboards.alpaca_eval.length_control import GAMED_WEIGHT, Comparisons, Gamed, length_controlled
from leaderboards.alpaca_eval.logistic import l1_logistic

SAMPLE = 20


def made_up(rows: int) -> tuple[Comparisons, Gamed]:
    rng = np.random.default_rng(0)
    difficulties, deltas = rng.normal(size=rows), np.round(rng.normal(400, 900, size=rows))
    z = -1 - np.tanh(deltas / deltas.std()) + 0.5 * difficulties + rng.normal(size=rows)
    positions = np.tile(np.arange(rows), 2)
    gamed = Gamed(rng.random(2 * rows), rng.normal(size=2 * rows), np.tile(difficulties, 2), positions)
    return Comparisons(1 / (1 + np.exp(-z)), deltas, difficulties, np.arange(rows)), gamed


def published(root: Path, model: str) -> tuple[Comparisons, Gamed]:
    from leaderboards.alpaca_eval.files import by_instruction, load_gamed, load_instructions, read_annotations
    from selfreward_bench.sources.directory import DataDir

    data = DataDir(root)
    file = data.path(f"alpaca_eval/results/{model}/weighted_alpaca_eval_gpt4_turbo/annotations.json")
    found = by_instruction(read_annotations(file))
    tasks = [t for t in load_instructions(data) if t.key in found]
    wins = np.array([(found[t.key].preference or 1.5) - 1 for t in tasks])
    deltas = np.array([float(len(found[t.key].output_1) - len(found[t.key].output_2)) for t in tasks])
    places = np.array([t.position for t in tasks])
    return Comparisons(wins, deltas, np.array([t.difficulty for t in tasks]), places), load_gamed(data)


def one_by_one(found: Comparisons, gamed: Gamed, strength: float) -> tuple[float, float]:
    """Seconds of one scikit-learn refit of such a problem, and the largest difference to our coefficients."""
    from sklearn.linear_model import LogisticRegression

    rng, n, m = np.random.default_rng(1), len(found.wins), len(gamed.wins)
    own = [np.tanh(found.deltas / found.deltas.std(ddof=1)), np.asarray(found.difficulties), np.ones(n)]
    x = np.vstack(
        [np.column_stack([np.tanh(gamed.scaled_deltas), gamed.difficulties, np.zeros(m)]), np.column_stack(own)]
    )
    wins, labels = np.concatenate([gamed.wins, found.wins]), np.repeat([1, 0], n + m)
    seconds, gap = 0.0, 0.0
    for _ in range(SAMPLE):
        weights = np.concatenate([np.full(m, GAMED_WEIGHT), rng.multinomial(n, np.full(n, 1 / n)).astype(float)])
        model = LogisticRegression(
            C=strength, l1_ratio=1.0, solver="liblinear", fit_intercept=False, tol=1e-12, max_iter=10**6
        )
        began = time.perf_counter()
        model.fit(np.vstack([x, x]), labels, sample_weight=np.concatenate([wins * weights, (1 - wins) * weights]))
        seconds += time.perf_counter() - began
        ours = l1_logistic(x[None], wins, weights[None], strength)[0]
        gap = max(gap, float(np.abs(ours - model.coef_[0]).max()))
    return seconds / SAMPLE, gap


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=805)
    parser.add_argument("--refits", type=int, default=1_000)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--model", default="claude-2")
    options = parser.parse_args()
    found, gamed = published(options.data, options.model) if options.data else made_up(options.rows)
    length_controlled(found, gamed, n_refits=0)  # imports are not measured
    times = {}
    for name, refits in (("point", 0), ("all", options.refits)):
        began, used = time.perf_counter(), time.process_time()
        result = length_controlled(found, gamed, n_refits=refits)
        times[name] = (time.perf_counter() - began, time.process_time() - used)
    if result is None:
        raise SystemExit("nothing to fit")
    each, gap = one_by_one(found, gamed, result.strength)
    report = {
        "rows": len(found.wins),
        "win_rate": [result.win_rate, result.low, result.high],
        "seconds, point estimate with cross-validation (wall, processor)": [round(t, 2) for t in times["point"]],
        f"seconds, with {options.refits} refits (wall, processor)": [round(t, 2) for t in times["all"]],
        f"seconds, scikit-learn, {options.refits} refits": round(each * options.refits, 1),
        "largest difference of a coefficient": gap,
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
