"""Variants of the micro-world's rounds side by side: seeds x variants, one command, one table.

For each seed the first variant is trained whole (M1, M2, M3); every other one is a fork of it (`srbench fork`), so that
all share M1 and what their settings do not touch. Each model is scored by the thin benchmarks. OUT/results.jsonl and
OUT/table.md grow as results come; called again it goes on where it was stopped.

    python perf/variants.py --seeds 0 1 2 3 4 --variants none own soft own+contrast --out perf/out/rehearsal
    python perf/variants.py --table --out perf/out/rehearsal       the table alone, of what is there
    python perf/variants.py --table --variants none own --picture rehearsal.svg --out perf/out/rehearsal

A variant is `none`, kinds of rehearsal joined by +, with `@128` for judgments a step, `/alone` for no preferences and
`/random` for random rewards (`soft@128`, `own/random`), or a name with settings: `ipo:dpo.loss=ipo,dpo.beta=0.2`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from micro import training_facts

from selfreward_bench import stats

KINDS = ("none", "own", "contrast", "soft", "eft", "renewed")
JUDGE, QUALITY = "micro-judge-accuracy@1", "micro-quality@1"
FIXED, OWN = "oracle_pairwise_accuracy", "own_pairwise_accuracy"
MODELS = ("M1", "M2", "M3")

Key = tuple[int, str, str]  # seed, variant, model
Rows = dict[Key, dict[str, Any]]


def settings_of(variant: str) -> list[str]:
    """What a variant sets.

    >>> settings_of("own+contrast@128/alone")
    ['rehearsal.what=[own, contrast]', 'rehearsal.size=128', 'rehearsal.alone=true']
    """
    name, colon, given = variant.partition(":")
    if colon:
        return given.split(",")
    name, *marks = name.split("/")
    name, _, size = name.partition("@")
    if unknown := set(name.split("+")) - set(KINDS) | set(marks) - {"alone", "random"}:
        raise SystemExit(f"{variant}: unknown {', '.join(sorted(unknown))}; kinds are {', '.join(KINDS)}")
    found = [] if name == "none" else [f"rehearsal.what=[{', '.join(name.split('+'))}]"]
    found += [f"rehearsal.size={size}"] if size else []
    return found + [{"alone": "rehearsal.alone=true", "random": "rewards=random"}[mark] for mark in marks]


def folder(out: Path, seed: int, variant: str) -> Path:
    return out / f"s{seed}-{variant.partition(':')[0].replace('/', '-')}"


def train(out: Path, seed: int, variant: str, first: str, overrides: Sequence[str], recipe: str, until: str) -> Any:
    """The variant's run, trained up to ``until``."""
    import torch

    from selfreward_bench import recipes
    from selfreward_bench.errors import ConfigError
    from selfreward_bench.micro import oracle
    from selfreward_bench.storage.rundir import RunDir
    from trainers.forking import fork
    from trainers.iteration import run_iteration

    path = folder(out, seed, variant)
    if path.exists():
        run = RunDir.open(path)
    elif variant == first:
        run = RunDir.create(path, recipes.load(recipe, [*overrides, *settings_of(variant), f"seed={seed}"]))
    else:
        whole = RunDir.open(folder(out, seed, first))
        changed = recipes.change(whole.config, settings_of(variant))
        try:
            fork(whole, path, changed, {}, None)
        except ConfigError:  # nothing of it would be kept
            RunDir.create(path, changed)
        run = RunDir.open(path)
    torch.set_num_threads(run.config.threads or 1)
    run_iteration(run, until=until, oracle=lambda p, text: oracle.score(p.text, text))
    return run


def score(run: Any, seed: int, variant: str, model: str) -> dict[str, Any]:
    """One row of ``results.jsonl``."""
    from leaderboards.harness import evaluate_checkpoint
    from leaderboards.registry import THIN
    from trainers.workshop import checkpoint_of

    directory = checkpoint_of(run, model)
    results = evaluate_checkpoint(
        directory, name=model, config=run.config, out_dir=run.path / model / "eval", benchmarks=THIN
    )
    metrics = {k: m.value for r in results for k, m in r.metrics.items()}
    scored = {k: [m.n_scored, m.n_total] for r in results for k, m in r.metrics.items() if k in (FIXED, OWN)}
    return {
        "seed": seed,
        "variant": variant,
        "model": model,
        "fingerprint": fingerprint(run, model),
        "metrics": metrics,
        "scored": scored,
        "training": training_facts(run.path / model),
        "stages": {s.name: [s.seconds, s.counts] for s in stages_of(run, model)},
    }


def fingerprint(run: Any, model: str) -> str:
    """Of the model's weights."""
    from selfreward_bench.storage.fingerprint import weights_fingerprint
    from trainers.workshop import checkpoint_of

    return weights_fingerprint(checkpoint_of(run, model))


def stages_of(run: Any, model: str) -> Iterator[Any]:
    from trainers.stages import stages

    found = (run.finished_stage(spec.name) for spec in stages(run.config) if spec.model == model)
    return (stage for stage in found if stage)


def load(out: Path) -> Rows:
    file = out / "results.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return {(r["seed"], r["variant"], r["model"]): r for r in rows}


# --- the table


def values(out: Path, key: Key, benchmark: str, metric: str) -> dict[str, tuple[str, float]]:
    """Sample -> its prompt and its value."""
    from leaderboards.base import measures
    from selfreward_bench.storage import jsonl
    from selfreward_bench.types import SampleScore

    seed, variant, model = key
    rows = jsonl.read(folder(out, seed, variant) / model / "eval" / benchmark / "scores.jsonl", SampleScore)
    found = ((r, measures(r).get(metric)) for r in rows)
    return {r.sample_id: (r.cluster, value) for r, value in found if value is not None}


def difference(out: Path, pairs: Sequence[tuple[Key, Key]], benchmark: str, metric: str) -> tuple[float, float, float]:
    """Mean of a - b over what both scored; 95% interval over seeds and prompts (``stats.crossed_interval``)."""
    sums: list[dict[str, list[float]]] = []
    for a, b in pairs:
        left, right = values(out, a, benchmark, metric), values(out, b, benchmark, metric)
        found: dict[str, list[float]] = {}
        for sample in left.keys() & right.keys():
            found.setdefault(left[sample][0], []).append(left[sample][1] - right[sample][1])
        sums.append(found)
    prompts = sorted({prompt for found in sums for prompt in found})
    totals = np.array([[sum(found.get(p, [])) for p in prompts] for found in sums], dtype=float)
    counts = np.array([[len(found.get(p, [])) for p in prompts] for found in sums], dtype=float)
    crossed = stats.crossed_interval(stats.Totals(totals, counts))
    value, low, high = (float("nan") if x is None else x for x in crossed)
    return value, low, high


def told(change: tuple[float, float, float]) -> str:
    return "{:+.3f} [{:+.3f}, {:+.3f}]".format(*change)


def table(out: Path, first: str) -> str:
    """Markdown: of each variant what M1, M2 and M3 came to, over the seeds that have all three."""
    rows = load(out)
    variants = list(dict.fromkeys(variant for _, variant, _ in rows))
    seeds = {v: sorted({s for s, w, m in rows if w == v and m == "M3" and (s, first, "M1") in rows}) for v in variants}
    variants = [v for v in variants if seeds[v]]

    def place(seed: int, variant: str, model: str) -> Key:
        own = (seed, variant, model)
        return own if own in rows else (seed, first, model)  # M1, where a variant leaves it as it is

    def mean(variant: str, model: str, metric: str, digits: int = 3) -> str:
        found = [rows[place(s, variant, model)]["metrics"].get(metric) for s in seeds[variant]]
        known = [x for x in found if x is not None]
        return f"{statistics.fmean(known):.{digits}f}" if known else "-"

    def chain(variant: str, metric: str) -> str:
        return " ".join(mean(variant, model, metric) for model in MODELS)

    def change(variant: str, model: str, benchmark: str, metric: str) -> str:
        pairs = [(place(s, variant, model), place(s, variant, "M1")) for s in seeds[variant]]
        return told(difference(out, pairs, benchmark, metric))

    def without_grade(variant: str) -> str:
        found = [rows[place(s, variant, m)]["metrics"].get("parse_failures") for m in MODELS for s in seeds[variant]]
        each = [found[i * len(seeds[variant]) : (i + 1) * len(seeds[variant])] for i in range(len(MODELS))]
        return " ".join(f"{100 * statistics.fmean(x or 0.0 for x in one):.1f}" for one in each)

    def minutes(variant: str) -> str:
        spent = [
            sum(seconds for m in ("M2", "M3") for seconds, _ in rows[s, variant, m]["stages"].values())
            for s in seeds[variant]
        ]
        return f"{statistics.fmean(spent) / 60:.1f}"

    def right(variant: str) -> str:
        found = [
            rows[s, variant, m]["training"].get("oracle_agrees", 0.0) for m in ("M2", "M3") for s in seeds[variant]
        ]
        half = len(found) // 2
        return f"{statistics.fmean(found[:half]):.3f} {statistics.fmean(found[half:]):.3f}"

    heads = (
        *("variant", "seeds", "judge, fixed answers: M1 M2 M3", "M2 - M1", "M3 - M1", "judge, own answers: M1 M2 M3"),
        *("without a grade, %: M1 M2 M3", "quality: M1 M2 M3", "M3 - M1", "greedy: M1 M2 M3", "characters: M1 M2 M3"),
        *("pairs right: M2 M3", "minutes of both rounds"),
    )
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for v in variants:
        cells = (
            *(v, str(len(seeds[v])), chain(v, FIXED), change(v, "M2", JUDGE, FIXED), change(v, "M3", JUDGE, FIXED)),
            *(
                chain(v, OWN),
                without_grade(v),
                chain(v, "quality_sampled"),
                change(v, "M3", QUALITY, "quality_sampled"),
            ),
            *(
                chain(v, "quality_greedy"),
                " ".join(mean(v, m, "chars_sampled", 1) for m in MODELS),
                right(v),
                minutes(v),
            ),
        )
        lines.append(f"| {' | '.join(cells)} |")
    heads = ("against " + first, "seeds", "judge of M2", "judge of M3", "quality of M3")
    lines += ["", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for v in variants:
        common = [s for s in seeds[v] if s in seeds.get(first, [])]
        if v != first and common:
            judged = [difference(out, [((s, v, m), (s, first, m)) for s in common], JUDGE, FIXED) for m in ("M2", "M3")]
            quality = difference(out, [((s, v, "M3"), (s, first, "M3")) for s in common], QUALITY, "quality_sampled")
            lines.append(f"| {v} | {len(common)} | {' | '.join(map(told, (*judged, quality)))} |")
    lines += ["", "Seed by seed, judge on fixed answers (M1 M2 M3) and quality of M3:", ""]
    for v in variants:
        for s in seeds[v]:
            judge = " ".join(f"{rows[place(s, v, m)]['metrics'][FIXED]:.3f}" for m in MODELS)
            lines.append(f"- {v}, seed {s}: {judge}; {rows[s, v, 'M3']['metrics']['quality_sampled']:.3f}")
    return "\n".join(lines) + "\n"


# --- the picture


_COLOURS = ("#888888", "#2266aa", "#cc6622", "#228833", "#aa3377", "#66aa00")
_PANELS = ((FIXED, "judging fixed answers: pairs in the right order"), ("quality_sampled", "true quality, sampled"))


def picture(out: Path, first: str, variants: Sequence[str]) -> str:
    """SVG: judging and quality over M1, M2 and M3, a line for each variant, the seeds faint behind it."""
    rows = load(out)
    seeds = {v: sorted({s for s, w, m in rows if w == v and m == "M3" and (s, first, "M1") in rows}) for v in variants}
    drawn = []
    for panel, (metric, title) in enumerate(_PANELS):
        chains = {
            v: [[rows[s, first if m == "M1" else v, m]["metrics"][metric] for m in MODELS] for s in seeds[v]]
            for v in variants
            if seeds[v]
        }
        every = [value for of in chains.values() for chain in of for value in chain]
        low, high = min(every), max(every)
        left = 60 + 400 * panel

        def line(chain: Sequence[float], style: str, left: int = left, low: float = low, high: float = high) -> str:
            places = ((left + 20 + 130 * i, 300 - 240 * (v - low) / (high - low)) for i, v in enumerate(chain))
            return f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}" fill="none" {style}/>'

        drawn.append(
            f'<text x="{left}" y="36">{title}</text><path d="M{left} 50V310H{left + 300}" fill="none" stroke="#999"/>'
        )
        ticks = [(304 - 60 * i, low + (high - low) * i / 4) for i in range(5)]
        drawn += [f'<text x="{left - 6}" y="{y}" text-anchor="end" fill="#666">{tick:.2f}</text>' for y, tick in ticks]
        drawn += [
            f'<text x="{left + 20 + 130 * i}" y="328" text-anchor="middle">{m}</text>' for i, m in enumerate(MODELS)
        ]
        for colour, chained in zip(_COLOURS, chains.values(), strict=False):
            drawn += [line(chain, f'stroke="{colour}" stroke-opacity="0.25"') for chain in chained]
        for colour, chained in zip(_COLOURS, chains.values(), strict=False):
            means = [statistics.fmean(values) for values in zip(*chained, strict=True)]
            drawn.append(line(means, f'stroke="{colour}" stroke-width="2.5"'))
    for i, (colour, v) in enumerate(zip(_COLOURS, [v for v in variants if seeds[v]], strict=False)):
        mark = f'<path d="M{60 + 150 * i} 352h24" stroke="{colour}" stroke-width="3"/>'
        drawn.append(f'{mark}<text x="{90 + 150 * i}" y="356">{v}, {len(seeds[v])} seeds</text>')
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 820 372" font-family="sans-serif" font-size="12">'
        f'<title>Judging and quality with and without a rehearsal</title><rect width="820" height="372" fill="#fff"/>'
        f"{''.join(drawn)}</svg>\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--variants", nargs="+", default=["none", "own", "soft", "own+contrast"])
    parser.add_argument("--out", type=Path, default=Path("perf/out/rehearsal"))
    parser.add_argument("--recipe", default="micro-plain")
    parser.add_argument("--until", choices=MODELS, default="M3")
    parser.add_argument("--set", action="append", default=["with_baseline=false"], dest="overrides")
    parser.add_argument("--table", action="store_true", help="trains nothing")
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    first = options.variants[0]
    for seed in [] if options.table else options.seeds:
        for variant in options.variants:
            wanted = MODELS[: MODELS.index(options.until) + 1] if variant == first else ("M2", "M3")
            if all((seed, variant, model) in load(options.out) for model in wanted):
                continue
            began = time.monotonic()
            run = train(options.out, seed, variant, first, options.overrides, options.recipe, options.until)
            shared = load(options.out).get((seed, first, "M1"), {}).get("fingerprint")
            if "M1" not in wanted and fingerprint(run, "M1") != shared:
                wanted = MODELS
            for model in wanted:
                row = score(run, seed, variant, model)
                with (options.out / "results.jsonl").open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(row) + "\n")
                shown = {
                    k: round(v, 3)
                    for k in (FIXED, OWN, "quality_sampled", "parse_failures")
                    if (v := row["metrics"].get(k)) is not None
                }
                print(seed, variant, model, shown, row["training"], flush=True)
            print(f"{seed} {variant}: {time.monotonic() - began:.0f} s", flush=True)
            (options.out / "table.md").write_text(table(options.out, first), encoding="utf-8")
    text = table(options.out, first)
    (options.out / "table.md").write_text(text, encoding="utf-8")
    print(text)
    if options.picture:
        options.picture.write_text(picture(options.out, first, options.variants), encoding="utf-8")


if __name__ == "__main__":
    main()
