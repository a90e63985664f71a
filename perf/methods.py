"""Every method on the micro-world, at one budget: what docs/methods.md has its table and its picture from.

A method is a recipe. Each goes on from the same M1 (`trainers.forking`), with as many prompts and candidates a round;
M2 and M3 are scored on the same prompts, and judge in the same way whatever judged in training. `micro-plain` is the
paper's way, which each of the others changes in one thing; `micro` adds a rehearsal (perf/variants.py).

    python perf/methods.py run --seeds 0 1 2 --out perf/out/methods     three seeds: hours of one thread
    python perf/methods.py table --out perf/out/methods --picture docs/gallery/methods.svg
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from html import escape
from pathlib import Path
from typing import Any

from micro import training_facts
from variants import FIXED, JUDGE, QUALITY, difference, told

METHODS = (
    "micro-plain",
    "micro",
    "micro-best-random",
    "micro-sppo",
    "micro-meta",
    "micro-temporal",
    "micro-cream",
    "micro-dice",
    "micro-irpo",
    "micro-spin",
    "micro-random",
    "micro-length",
)
BASE = METHODS[0]
SCORED = ("M2", "M3")
COLUMNS = {
    "quality_sampled": "quality",
    "quality_greedy": "greedy",
    "oracle_pairwise_accuracy": "judge, fixed answers",
    "own_pairwise_accuracy": "judge, own answers",
    "chars_sampled": "characters",
}


def run_seed(seed: int, methods: list[str], out: Path, overrides: list[str]) -> None:
    """Trains and scores one seed with each method; what is there is not made again."""
    import torch

    from leaderboards.harness import evaluate_checkpoint
    from leaderboards.registry import THIN
    from selfreward_bench import recipes
    from selfreward_bench.storage.rundir import RunDir
    from trainers.forking import fork
    from trainers.iteration import run_iteration

    judging = recipes.load(BASE, [*overrides, f"seed={seed}"])
    torch.set_num_threads(judging.threads or 1)
    for method in dict.fromkeys([BASE, *methods]):
        path = out / f"s{seed}-{method}"
        if not path.exists():
            config = recipes.load(method, [*overrides, f"seed={seed}"])
            if method == BASE:
                RunDir.create(path, config)
            else:
                fork(RunDir.open(out / f"s{seed}-{BASE}"), path, config, {}, None)
        run = RunDir.open(path)
        run_iteration(run, until=SCORED[-1], preflight=False)
        for model in (*(("M1",) if method == BASE else ()), *SCORED):
            results = evaluate_checkpoint(
                run.path / model / "checkpoint",
                name=model,
                config=judging,
                out_dir=run.path / model / "eval",
                benchmarks=THIN,
            )
            metrics = {name: metric.value for result in results for name, metric in result.metrics.items()}
            row = {"seed": seed, "method": method, "model": model, "metrics": metrics} | work(run.path, model)
            with (out / "methods.jsonl").open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")
            shown = " ".join(f"{k}={v:.3f}" for k in COLUMNS if (v := metrics.get(k)) is not None)
            print(seed, method, model, shown, row["training"], f"{row['minutes']:.1f} min", flush=True)


def work(run: Path, model: str) -> dict[str, Any]:
    """What a round took: minutes of all its stages, steps of its trainings, and what its pairs were."""
    stages = [json.loads(file.read_text("utf-8")) for file in sorted((run / model).rglob("*.stage.json"))]
    steps = sum(stage["counts"].get("steps", 0) for stage in stages)
    minutes = sum(stage["seconds"] for stage in stages) / 60
    return {"minutes": minutes, "steps": steps, "training": training_facts(run / model)}


def load(out: Path) -> dict[tuple[str, str], dict[int, dict[str, Any]]]:
    """(Method, model) -> seed -> its last row."""
    rows: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
    for line in (out / "methods.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        rows.setdefault((row["method"], row["model"]), {})[row["seed"]] = row
    return rows


def table(rows: dict[tuple[str, str], dict[int, dict[str, Any]]], out: Path) -> None:
    """Prints the tables of docs/methods.md: means of M3 over seeds, with their standard deviation; differences from the
    first method, with an interval over seeds and prompts."""
    seeds = sorted({seed for of in rows.values() for seed in of})
    heads = ["method", *COLUMNS.values(), "pairs right (M2, M3)", "steps", "minutes (median)"]
    print(f"M3 of seeds {seeds}; mean ± standard deviation.\n\n| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    listed = [(BASE, "M1"), *((method, "M3") for method in METHODS)]
    for key in [key for key in listed if key in rows]:
        method, model = key
        cells = [_spread([row["metrics"].get(name) for row in rows[key].values()], name) for name in COLUMNS]
        rounds = [rows.get((method, name), {}) for name in SCORED] if model == "M3" else []
        right = [_spread([row["training"].get("oracle_agrees") for row in of.values()], "share") for of in rounds]
        steps, minutes = ([sum(of[s][what] for of in rounds) for s in rows[key]] for what in ("steps", "minutes"))
        cells += [", ".join(right), f"{statistics.mean(steps):.0f}", f"{statistics.median(minutes):.1f}"]
        if model == "M1":
            cells[-3:] = ["-", "-", "-"]
        print(f"| {'M1' if model == 'M1' else f'`{method}`'} | {' | '.join(cells)} |")
    print(f"\n| M3 against `{BASE}`'s | quality | judge, fixed answers |\n|---|---|---|")
    for method in (method for method in METHODS[1:] if (method, "M3") in rows):
        pairs = [((seed, method, "M3"), (seed, BASE, "M3")) for seed in rows[method, "M3"]]
        cells = [told(difference(out, pairs, *what)) for what in ((QUALITY, "quality_sampled"), (JUDGE, FIXED))]
        print(f"| `{method}` | {' | '.join(cells)} |")


def _spread(values: list[float | None], name: str) -> str:
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return "-"
    digits = 1 if name.startswith("chars") else 3 if name != "share" else 2
    spread = f" ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else ""
    return f"{statistics.mean(known):.{digits}f}{spread}"


def picture(rows: dict[tuple[str, str], dict[int, dict[str, Any]]]) -> str:
    """SVG: quality of M3 against its judging on fixed answers, a point for each method, lines to the seeds."""
    of = {
        ("M1" if model == "M1" else method): found for (method, model), found in rows.items() if model in ("M1", "M3")
    }
    points = {
        name: [(r["metrics"]["oracle_pairwise_accuracy"], r["metrics"]["quality_sampled"]) for r in found.values()]
        for name, found in of.items()
    }
    every = [point for group in points.values() for point in group]
    across, up = (_ticks([p[axis] for p in every], step) for axis, step in ((0, 0.05), (1, 0.25)))

    def place(point: tuple[float, float]) -> tuple[float, float]:
        x, y = ((v - ticks[0]) / (ticks[-1] - ticks[0]) for v, ticks in zip(point, (across, up), strict=True))
        return 70 + 640 * x, 400 - 350 * y

    middles = {name: place((_mean(group, 0), _mean(group, 1))) for name, group in points.items()}
    taken = [(760.0, 0.0, 1000.0, 460.0), *((x - 5, y - 5, x + 5, y + 5) for x, y in middles.values())]
    marks = []
    for name, (x, y) in middles.items():
        ends = map(place, points[name])
        marks += [f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{a:.1f}" y2="{b:.1f}" class="seed"/>' for a, b in ends]
        label = "micro (rehearsal)" if name == "micro" else name.removeprefix("micro-")
        left, low = _free(x, y, 6.6 * len(label), taken)
        marks.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/><text x="{left:.1f}" y="{low:.1f}">{escape(label)}</text>'
        )
    ticks = [f'<text x="{place((v, up[0]))[0]:.1f}" y="420" class="tick">{v:.2f}</text>' for v in across]
    ticks += [f'<text x="62" y="{place((across[0], v))[1] + 4:.1f}" class="y">{v:.2f}</text>' for v in up]
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 460" font-family="sans-serif" font-size="12">'
        "<style>.seed{stroke:#8886}.tick{text-anchor:middle;fill:#666}.y{text-anchor:end;fill:#666}circle{fill:#2266aa}"
        "</style><title>Quality and judging of M3 by method</title>"
        '<rect width="760" height="460" fill="#fff"/><path d="M70 50V400H710" fill="none" stroke="#999"/>'
        f'{"".join(ticks)}{"".join(marks)}<text x="390" y="445" text-anchor="middle">judging: share of pairs of fixed '
        'answers in the right order</text><text x="30" y="28">true quality of sampled answers, 0 to 5</text></svg>\n'
    )


def _mean(group: list[tuple[float, float]], axis: int) -> float:
    return statistics.mean(point[axis] for point in group)


def _ticks(values: list[float], step: float) -> list[float]:
    """Round numbers from below the least value to above the greatest."""
    return [step * n for n in range(math.floor(min(values) / step), math.ceil(max(values) / step) + 1)]


def _free(x: float, y: float, width: float, taken: list[tuple[float, float, float, float]]) -> tuple[float, float]:
    """Where a label beside a point covers nothing, if there is such a place; takes it."""
    places = [(x + 7, y + 4), (x - 7 - width, y + 4), (x - width / 2, y - 9), (x - width / 2, y + 17)]
    boxes = [(left, low - 10, left + width, low + 2) for left, low in places]
    free = [
        not any(a < right and left < c and b < low and top < d for a, b, c, d in taken)
        for left, top, right, low in boxes
    ]
    at = free.index(True) if True in free else 0
    taken.append(boxes[at])
    return places[at]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--out", type=Path, default=Path("perf/out/methods"))
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--set", action="append", default=["with_baseline=false"], dest="overrides")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.what == "run":
        for seed in options.seeds:
            run_seed(seed, options.methods, options.out, options.overrides)
        return
    rows = load(options.out)
    table(rows, options.out)
    if options.picture:
        options.picture.write_text(picture(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
