"""The micro-world's experiment: does self-reward truly help, and how much of what the oracle's reward would give?

For each seed: SFT baseline, M1, then M2 and M3 by each reward (self, and the controls random, length, oracle), which
share M1 and the first round's candidates. Every checkpoint is scored; results go to OUT/results.jsonl as they come.

    python perf/micro.py run --seeds 0 1 2 3 4 --out perf/out/micro
    python perf/micro.py table --out perf/out/micro
    python perf/micro.py judges --out perf/out/micro     M1 as judge: expected score against k = 3 sampled ones
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from selfreward_bench import stats

REWARDS = ("self", "random", "length", "oracle")
SHARED = ("prompts", "candidates")


def run_seed(seed: int, rewards: list[str], out: Path, overrides: list[str], recipe: str, until: str) -> None:
    """Trains and scores one seed with each reward; what is there is not made again."""
    import torch

    from leaderboards.harness import evaluate_checkpoint
    from leaderboards.registry import THIN
    from selfreward_bench import recipes
    from selfreward_bench.micro import oracle
    from selfreward_bench.storage.fingerprint import weights_fingerprint
    from selfreward_bench.storage.rundir import RunDir
    from trainers.iteration import finished_models, run_iteration
    from trainers.workshop import checkpoint_of

    first = rewards[0]
    for reward in rewards:
        config = recipes.load(recipe, [*overrides, f"rewards={reward}", f"seed={seed}"])
        torch.set_num_threads(config.threads or 1)
        path = out / f"s{seed}-{reward}"
        fresh = not path.exists()
        run = RunDir.create(path, config) if fresh else RunDir.open(path)
        if fresh and reward != first:
            share(out / f"s{seed}-{first}", path)
        started = time.monotonic()
        run_iteration(run, until=until, oracle=lambda p, text: oracle.score(p.text, text))
        trained = time.monotonic() - started
        names = (
            ["M0", *finished_models(run)]
            if reward == first
            else [m for m in finished_models(run) if m > "M1" and m != "SFT"]
        )
        for name in names:
            directory = checkpoint_of(run, name)
            chosen = THIN if reward == first else ("micro-quality",)  # the controls' judges are not looked at
            out_dir = run.path / name / "eval"
            results = evaluate_checkpoint(directory, name=name, config=config, out_dir=out_dir, benchmarks=chosen)
            metrics = {k: m.value for r in results for k, m in r.metrics.items()}
            row = {"seed": seed, "reward": reward, "model": name, "fingerprint": weights_fingerprint(directory)}
            row |= {"metrics": metrics, "training": training_facts(run.path / name), "seconds": round(trained, 1)}
            with (out / "results.jsonl").open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")
            print(seed, reward, name, summary(metrics), row["training"], f"{trained:.0f} s", flush=True)


def share(source: Path, target: Path) -> None:
    """Copies what does not depend on the reward: SFT, M1, and M1's candidates for the first round."""
    for name in ("SFT", "M1"):
        if (source / name).exists():
            shutil.copytree(source / name, target / name)
    (target / "M2").mkdir()
    for stage in SHARED:
        for file in (source / "M2").glob(f"{stage}*"):
            shutil.copy(file, target / "M2")
    shutil.copy(source / "M2" / "completions.jsonl", target / "M2")


def training_facts(directory: Path) -> dict[str, float]:
    """Yield of pairs, and the share of them the oracle agrees with."""
    from selfreward_bench.micro import oracle
    from selfreward_bench.storage import jsonl
    from selfreward_bench.types import PreferencePair

    file = directory / "pairs.jsonl"
    if not file.exists():
        return {}
    agree, known = 0.0, 0
    pairs = jsonl.read(file, PreferencePair)
    for pair in pairs:
        question = pair.prompt[-1].content
        good, bad = (oracle.score(question, side[-1].content) for side in (pair.chosen, pair.rejected))
        if good is not None and bad is not None:
            known += 1
            agree += 1.0 if good > bad else 0.5 if good == bad else 0.0
    prompts = sum(1 for _ in (directory / "prompts.jsonl").open())
    mean = statistics.mean
    return {
        "pairs": len(pairs),
        "yield": round(len(pairs) / prompts, 3),
        "oracle_agrees": round(agree / known, 3) if known else 0.0,
        "known": round(known / len(pairs), 3),
        "chosen_chars": round(mean(len(p.chosen[-1].content) for p in pairs), 1),
        "rejected_chars": round(mean(len(p.rejected[-1].content) for p in pairs), 1),
    }


COLUMNS = {
    "quality_sampled": "true, sampled",
    "quality_greedy": "true, greedy",
    "exact_sampled": "exact, sampled",
    "exact_greedy": "exact, greedy",
    "oracle_pairwise_accuracy": "judge, fixed answers",
    "oracle_spearman": "Spearman, fixed",
    "own_pairwise_accuracy": "judge, own answers",
    "own_spearman_pooled": "Spearman, own",
    "pairwise_accuracy": "judge vs human ranks",
    "chars_sampled": "characters",
}


def summary(metrics: dict[str, Any]) -> str:
    return " ".join(f"{k}={metrics[k]:.3f}" for k in COLUMNS if metrics.get(k) is not None)


def load(out: Path) -> dict[tuple[int, str, str], dict[str, Any]]:
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    return {(r["seed"], r["reward"], r["model"]): r for r in rows}


def table(out: Path) -> None:
    """Prints the Markdown tables of perf/RESULTS.md."""
    rows = load(out)
    seeds = sorted({seed for seed, _, _ in rows})
    order = [("self", m) for m in ("M0", "SFT", "M1", "M2", "M3")]
    order += [(r, m) for r in REWARDS[1:] for m in ("M2", "M3") if (seeds[0], r, m) in rows]
    print(f"Mean ± standard deviation over {len(seeds)} seeds {seeds}.\n")
    print("| model | " + " | ".join(COLUMNS.values()) + " |")
    print("|---" * (len(COLUMNS) + 1) + "|")
    for reward, model in order:
        cells = []
        for column in COLUMNS:
            values = [rows[s, reward, model]["metrics"].get(column) for s in seeds if (s, reward, model) in rows]
            known = [v for v in values if v is not None]
            spread = statistics.stdev(known) if len(known) > 1 else 0.0
            digits = 1 if column == "chars_sampled" else 3
            cells.append(f"{statistics.mean(known):.{digits}f} ± {spread:.{digits}f}" if known else "-")
        print(f"| {model}{'' if reward == 'self' else f' ({reward})'} | " + " | ".join(cells) + " |")
    print(
        "\n| round | pairs | pairs/prompt | oracle agrees | chosen chars | rejected chars |\n|---|---|---|---|---|---|"
    )
    for reward, model in order:
        facts = [rows[s, reward, model]["training"] for s in seeds if rows.get((s, reward, model), {}).get("training")]
        if facts:
            keys = ("pairs", "yield", "oracle_agrees", "chosen_chars", "rejected_chars")
            print(
                f"| {model} ({reward}) | "
                + " | ".join(f"{statistics.mean(f[k] for f in facts):.3g}" for k in keys)
                + " |"
            )
    differences(out, rows, seeds)


def sampled_grades(out: Path, seed: int, reward: str, model: str, metric: str) -> dict[str, list[float]]:
    """Prompt -> its samples' values of one metric."""
    from leaderboards.base import measures
    from selfreward_bench.storage import jsonl
    from selfreward_bench.types import SampleScore

    home = "self" if model in ("M0", "SFT", "M1") else reward
    found: dict[str, list[float]] = {}
    for row in jsonl.read(out / f"s{seed}-{home}/{model}/eval/micro-quality@1/scores.jsonl", SampleScore):
        value = measures(row).get(metric)
        if value is not None:
            found.setdefault(row.cluster, []).append(value)
    return found


def paired(
    out: Path, seeds: list[int], a: tuple[str, str], b: tuple[str, str], metric: str
) -> tuple[float, float, float]:
    """Difference a - b: mean over seeds and prompts; 95% interval by resampling seeds, and prompts (common to all)."""
    matrix = []
    for seed in seeds:
        left, right = (sampled_grades(out, seed, *x, metric) for x in (a, b))
        prompts = sorted(left.keys() & right.keys())
        matrix.append({p: statistics.mean(left[p]) - statistics.mean(right[p]) for p in prompts})
    common = sorted(set.intersection(*(set(m) for m in matrix)))
    values = np.array([[m[p] for p in common] for m in matrix])
    found = stats.crossed_interval(stats.Totals(values, np.ones_like(values)))
    value, low, high = (float("nan") if x is None else x for x in found)
    return value, low, high


def wins(out: Path, seed: int, a: tuple[str, str], b: tuple[str, str]) -> float:
    left, right = (sampled_grades(out, seed, *x, "quality_sampled") for x in (a, b))
    points = [
        statistics.mean((x > y) + (x == y) / 2 for x in left[p] for y in right[p]) for p in left.keys() & right.keys()
    ]
    return statistics.mean(points)


def differences(out: Path, rows: dict[tuple[int, str, str], dict[str, Any]], seeds: list[int]) -> None:
    heads = (
        "difference",
        "true quality, sampled [95%]",
        "true quality, greedy [95%]",
        "oracle head-to-head (each seed)",
    )
    print(f"\n| {' | '.join(heads)} |")
    print("|---|---|---|---|")
    present = {(r, m) for _, r, m in rows}
    listed = [(("self", "M1"), ("self", "SFT")), (("self", "M2"), ("self", "M1")), (("self", "M3"), ("self", "M2"))]
    listed += [((r, "M3"), ("self", "M1")) for r in REWARDS]
    for a, b in listed:
        if a not in present:
            continue
        cells = [
            "{:+.3f} [{:+.3f}, {:+.3f}]".format(*paired(out, seeds, a, b, m))
            for m in ("quality_sampled", "quality_greedy")
        ]
        each = [wins(out, s, a, b) for s in seeds]
        cells.append(f"{statistics.mean(each):.3f} ({', '.join(f'{w:.3f}' for w in each)})")
        print(f"| {a[1]} ({a[0]}) - {b[1]} | " + " | ".join(cells) + " |")
    if ("oracle", "M3") in present:
        for metric in ("quality_sampled", "quality_greedy"):
            own, true = (paired(out, seeds, (r, "M3"), ("self", "M1"), metric)[0] for r in ("self", "oracle"))
            print(
                f"\nShare of the oracle reward's gain (M3 - M1, {metric}) that self-reward recovers: {own / true:.1%}"
            )


SAMPLED = ["judge.mode=sampled", "judge.samples=3"]


def judges(out: Path, seeds: list[int], recipe: str) -> None:
    """Prints how well each seed's M1 judges: the expected score after its reasons, and the mean of three samples."""
    from leaderboards.harness import evaluate_checkpoint
    from selfreward_bench import recipes

    shown = ("oracle_pairwise_accuracy", "oracle_spearman", "own_pairwise_accuracy", "tie_rate", "parse_failures")
    print(f"| seed | judge | {' | '.join(shown)} |\n{'|---' * (len(shown) + 2)}|")
    for seed in seeds:
        for mode, settings in (("reasons, then expected score", []), ("sampled, k = 3", SAMPLED)):
            config = recipes.load(recipe, [*settings, f"seed={seed}"])
            model = out / f"s{seed}-self" / "M1"
            place = model / ("eval-sampled" if settings else "eval")
            (result,) = evaluate_checkpoint(
                model / "checkpoint", name="M1", config=config, out_dir=place, benchmarks=["micro-judge-accuracy"]
            )
            values = [result.metrics[name].value for name in shown]
            print(f"| {seed} | {mode} | {' | '.join('-' if v is None else f'{v:.3f}' for v in values)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table", "judges"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--rewards", nargs="+", default=list(REWARDS), choices=REWARDS)
    parser.add_argument("--out", type=Path, default=Path("perf/out/micro"))
    parser.add_argument("--recipe", default="micro-plain")
    parser.add_argument("--until", default="M3")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.what == "table":
        table(options.out)
        return
    if options.what == "judges":
        judges(options.out, options.seeds, options.recipe)
        return
    for seed in options.seeds:
        run_seed(seed, options.rewards, options.out, options.overrides, options.recipe, options.until)


if __name__ == "__main__":
    main()
