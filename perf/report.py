"""How large the report is, how long it takes to build, and how long a browser takes to open it.

    python perf/report.py                     synthetic run: 4 checkpoints x 5 benchmarks x 805 samples, 2 kB answers
    python perf/report.py --run runs/first    an existing run
    python perf/report.py --samples 100000 --benchmarks 1 --answer 500

The synthetic texts are random words whose frequencies fall as those of a language do; gzip leaves about as much of them
as of real answers (0.34 to 0.38 of what chat models answer to AlpacaEval). Loading is timed in headless Chromium where
there is one, driven by playwright: to the first paint, to the `load` event, and from there to the first samples on the
screen; on a busy machine look at the processor time of the page's thread beside it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import resource
import shutil
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from leaderboards.standings import write_record
from reports import html
from reports.facts import reading as facts
from selfreward_bench.config import RunConfig
from selfreward_bench.storage.rundir import RunDir
from selfreward_bench.types import EvalResult, Metric

CHECKPOINTS = ("M0", "M1", "M2", "M3")
BENCHMARKS = {
    "alpaca-eval@1": "win_rate",
    "mt-bench@1": "grade",
    "nlp@1": "gsm8k",
    "chat@1": "score",
    "essays@1": "score",
}
SCALES = {"win_rate": 100.0, "grade": 10.0, "gsm8k": 1.0, "score": 5.0}
PAIRS = 2_000  # of an iteration, with answers of 2,000 characters
ANSWER = 2_000
LOADS = 5


# --- texts


class Language:
    """Random words, a few of them frequent."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        syllables = ["".join((a, b, c)) for a in "bcdfglmnprst" for b in "aeiou" for c in ("", "n", "r", "s")]
        counts = (1, 2, 2, 3)
        self.words = list({"".join(self.random.choices(syllables, k=self.random.choice(counts))) for _ in range(9_000)})
        self.weights = [1 / (rank + 2.7) for rank in range(len(self.words))]

    def text(self, characters: int) -> str:
        """Sentences, and a new paragraph now and then."""
        count = self.random.randint(characters // 2, characters * 3 // 2) // 7
        words = self.random.choices(self.words, self.weights, k=max(3, count))
        sentences = []
        while words:
            n = self.random.randint(6, 18)
            sentences.append(" ".join(words[:n]).capitalize() + ("." if self.random.random() < 0.85 else ".\n\n"))
            words = words[n:]
        return " ".join(sentences)


# --- a run


def build(root: Path, samples: int, benchmarks: int, answer: int) -> None:
    """Writes the run's files."""
    RunDir.create(root, RunConfig())
    language = Language(0)
    prompts = [language.text(200) for _ in range(samples)]
    references = [language.text(answer) for _ in range(samples)]
    for name in CHECKPOINTS:
        for benchmark, metric in list(BENCHMARKS.items())[:benchmarks]:
            folder = root / name / "eval" / benchmark
            values: list[float | None] = []
            _write(folder / "scores.jsonl", _rows(language, metric, prompts, references, answer, values))
            scored = [v for v in values if v is not None]
            mean = Metric(
                value=statistics.mean(scored), low=0.0, high=SCALES[metric], n_scored=len(scored), n_total=samples
            )
            result = EvalResult(
                checkpoint=name,
                fingerprint=f"f-{name}",
                benchmark=benchmark,
                judge="a judge",
                metrics={metric: mean},
                config_hash="0" * 32,
                versions={},
                seconds=1.0,
            )
            write_record(folder / "result.json", result)
        if name in ("M2", "M3"):
            _write(root / name / "pairs.jsonl", (_pair(language, i) for i in range(PAIRS)))
            _write(root / name / "judgments.jsonl", (j for i in range(PAIRS) for j in _judgments(language, i)))


def _rows(
    language: Language,
    metric: str,
    prompts: Sequence[str],
    references: Sequence[str],
    answer: int,
    values: list[float | None],
) -> Iterator[dict[str, Any]]:
    """The samples of one checkpoint; their values are added to ``values``."""
    for i, (prompt, reference) in enumerate(zip(prompts, references, strict=True)):
        row = _row(language, metric, i, prompt, reference, answer)
        values.append(row["value"])
        yield row


def _row(language: Language, metric: str, i: int, prompt: str, reference: str, answer: int) -> dict[str, Any]:
    value = language.random.choice((0.0, 0.5, 1.0, None)) if i % 9 == 0 else language.random.random()
    value = None if value is None else value * SCALES[metric]
    detail = {
        "measures": {metric: value, "avg_length": answer, "truncated": float(i % 50 == 0)},
        "category": ("koala", "vicuna", "selfinstruct")[i % 3],
        "prompt": prompt,
        "answer": language.text(answer),
        "judgments": {"ab": language.text(150)},
    }
    if metric == "win_rate":
        detail["reference"] = reference
    reason = None if value is not None else "no_verdict"
    return {"sample_id": f"sample-{i:04d}", "value": value, "cluster": f"{i}", "reason": reason, "detail": detail}


def _pair(language: Language, i: int) -> dict[str, Any]:
    turns = {"prompt": ("user", 200), "chosen": ("assistant", ANSWER), "rejected": ("assistant", ANSWER)}
    texts = {k: [{"role": role, "content": language.text(size)}] for k, (role, size) in turns.items()}
    score = language.random.random()
    scores = {"chosen_score": 3 + score, "rejected_score": 3 - score, "chosen_index": 0, "rejected_index": 1}
    return {"prompt_id": f"p{i}", **texts, **scores}


def _judgments(language: Language, i: int) -> Iterator[dict[str, Any]]:
    for index in range(4):
        yield {
            "prompt_id": f"p{i}",
            "index": index,
            "sample": 0,
            "score": 3.0,
            "raw": language.text(300),
            "reason": None,
        }


def _write(path: Path, rows: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)


# --- measuring


def measure(run: Path, page: Path) -> None:
    """Builds the page of a run and says how long, how large."""
    wall, cpu = time.perf_counter(), time.process_time()
    collected = facts.collect(run)
    html.write([collected], page)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    size = page.stat().st_size
    print(f"built in {wall:.1f} s ({cpu:.1f} s of one core, {most / 1e6:.0f} MB of memory), {size / 1e6:.2f} MB")


def load(page: Path) -> None:
    """Opens the page a few times in headless Chromium."""
    path = os.environ.get("SRBENCH_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        path = None
    if path is None:
        print("no Chromium or no playwright: loading is not measured")
        return
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        found = [_load(browser.new_page(), page.resolve().as_uri()) for _ in range(LOADS)]
        browser.close()
    for k, what in enumerate(("to the first paint", "to the load event", "from there to the first samples")):
        wall, cpu = ([f[k][i] for f in found] for i in (0, 1))
        work = "" if math.isnan(cpu[0]) else f"; the page's own thread works {statistics.median(cpu):.2f} s"
        print(f"{what}: median {statistics.median(wall):.2f} s, best {min(wall):.2f} s, worst {max(wall):.2f} s{work}")


def _load(tab: Any, url: str) -> list[tuple[float, float]]:
    """Wall clock and processor time, to the first paint, to the load event, and from there to the first samples."""
    session = tab.context.new_cdp_session(tab)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def worked() -> float:
        found = session.send("Performance.getMetrics")["metrics"]
        return next(m["value"] for m in found if m["name"] == "TaskDuration")

    tab.goto(url, wait_until="load")
    paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN"
    loaded = tab.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd") / 1_000
    to_load, started = worked(), time.perf_counter()
    tab.evaluate("location.hash = '#samples'")
    tab.wait_for_selector("#samples .detail .sides", timeout=120_000)
    shown = time.perf_counter() - started
    to_samples = worked() - to_load
    painted = tab.evaluate(paint) / 1_000
    tab.close()
    return [(painted, math.nan), (loaded, to_load), (shown, to_samples)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="an existing run in place of the synthetic one")
    parser.add_argument("--samples", type=int, default=805, help="of a checkpoint and benchmark")
    parser.add_argument("--benchmarks", type=int, default=len(BENCHMARKS))
    parser.add_argument("--answer", type=int, default=ANSWER, help="characters of one")
    parser.add_argument("--keep", type=Path, help="where the page is kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run, page = options.run or Path(folder) / "run", options.keep or Path(folder) / "report.html"
        if options.run is None:
            build(run, options.samples, options.benchmarks, options.answer)
            language = Language(1)
            sample = "".join(language.text(ANSWER) for _ in range(300)).encode()
            ratio = len(zlib.compress(sample, 9)) / len(sample)
            asked = f"{len(CHECKPOINTS)} x {options.benchmarks} x {options.samples:,} samples"
            print(f"{asked}; gzip leaves {ratio:.2f} of the texts")
        measure(run, page)
        if "torch" in sys.modules:
            raise SystemExit("the report imported torch")
        load(page)


if __name__ == "__main__":
    main()
