"""Time and memory of a round's stages that only handle records, by the number of prompts; no model is loaded.

    python perf/scale.py [--prompts 2000 10000] [--samples 4] [--judgments 3]

A scripted engine writes the candidates and the judgments of prompts that a file gives, through the loop's own stages,
each in a process of its own: `prompts`, `candidates`, `judgments`, `pairs`, then `check` (the loop's own check of the
pairs, and what it would warn of) and `rehearsal`; the commands `status` and `report` follow. Seconds are those of the
processor. The memory is the most that was resident, without what Python and its libraries take; of the two commands
with it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfreward_bench import recipes
from selfreward_bench.engines.base import ChoiceRequest, GenerationRequest
from selfreward_bench.engines.scripted import ScriptedEngine
from selfreward_bench.progress import Silent
from selfreward_bench.seeding import derive_seed
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.rundir import RunDir
from selfreward_bench.types import Message, Prompt

_FIGURES = "figures: "
_STAGES = ("prompts", "candidates", "judgments", "pairs", "check", "rehearsal", "status", "report")
_COMMAND = """
import runpy, sys
try:
    runpy.run_module("selfreward_bench.cli", run_name="__main__")
finally:
    print(*(line for line in open("/proc/self/status") if line.startswith("VmHWM")), file=sys.stderr, end="")
"""
_WORDS = "the sky over a small town is grey and the people walk home through rain that falls on roofs and trees"


class Scripted(ScriptedEngine):
    """Answers of about 60 words, verdicts of about 30; it keeps no requests."""

    def __init__(self) -> None:
        super().__init__(_said, batch_size=64)

    def _batches(self, requests: Sequence[Any], ids: Sequence[str], done: Any) -> Any:
        for batch in super()._batches(requests, ids, done):
            self.requests.clear()
            yield batch


def _said(request: GenerationRequest | ChoiceRequest, index: int) -> str:
    seed = derive_seed(0, request.id, index)
    if request.id.count("/"):  # a judgment's
        return f"{_WORDS} {seed}.\nScore: {seed % 6}"
    return f"{_WORDS} {_WORDS} {_WORDS} {seed}"


def made(folder: Path, prompts: int, samples: int, judgments: int) -> RunDir:
    """A run whose M1 is there, as far as files tell, and whose prompts come from a file."""
    from selfreward_bench.micro import base_path, data_path

    with jsonl.writing(folder / "prompts.jsonl") as add:
        for i in range(prompts):
            turn = Message(role="user", content=f"{_WORDS} {_WORDS} number {i}?")
            add([Prompt(id=f"p{i}", messages=(turn,))])
    settings = {
        "prompts.writer": str(folder / "prompts.jsonl"),
        "prompts.count": prompts,
        "prompts.max_rouge_l": None,
        "candidates.count": samples,
        "candidates.sampling.max_new_tokens": 512,
        "judge.mode": "sampled",
        "judge.prompt": "additive-5pt",
        "judge.samples": judgments,
        "seeds.ift": str(data_path("ift")),
    }
    run = RunDir.create(folder / "run", recipes.load("micro", [f"{k}={json.dumps(v)}" for k, v in settings.items()]))
    (run.path / "M1").mkdir()
    shutil.copytree(base_path(), run.path / "M1" / "checkpoint")
    return run


def work(stage: str, run: RunDir) -> dict[str, float]:
    """In the child: one stage; seconds, and bytes beyond those of the libraries."""
    import psutil

    from trainers import iteration, workshop

    workshop.open_engine = lambda *_, **__: Scripted()  # type: ignore[assignment]
    loop = iteration._Loop(run, Silent(), None)
    Path("/proc/self/clear_refs").write_text("5")
    before, started = psutil.Process().memory_info().rss, time.process_time()
    if stage == "prompts":
        loop.seed_ift()
        loop.new_prompts("M2", "M1")
    elif stage == "candidates":
        loop.answer("M2", "M1")
    elif stage == "judgments":
        loop.reward("M2", "M1")
    elif stage == "pairs":
        loop.prefer("M2")
    elif stage == "rehearsal":
        loop.rehearse("M2", "M1", len(loop.checked_pairs("M2")))
    else:
        loop.checked_pairs("M2")
        loop.pair_warnings("M2")
    seconds = time.process_time() - started
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
    return {"seconds": seconds, "bytes": _bytes(line) - before}


def _bytes(line: str) -> int:
    return int(line.split()[1]) * 1024


def timed(name: str, run: Path) -> dict[str, float]:
    """A command of srbench; seconds, and the most bytes that were resident, of libraries, too.

    They are told by the program itself: what ``wait4`` tells begins with what this process had when it started it.
    """
    asked, before = [sys.executable, "-c", _COMMAND, name, str(run)], os.times()
    done = subprocess.run(asked, capture_output=True, text=True, check=False)  # noqa: S603 - this package
    if done.returncode:
        raise SystemExit(f"srbench {name} failed:\n{done.stderr}")
    after = os.times()
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    return {"seconds": seconds, "bytes": _bytes(done.stderr.splitlines()[-1])}


def measured(stage: str, run: Path) -> dict[str, float]:
    if stage in ("status", "report"):
        return timed(stage, run)
    asked = [sys.executable, __file__, "--stage", stage, "--run", str(run)]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)  # noqa: S603 - this file
    lines = [line for line in done.stdout.splitlines() if line.startswith(_FIGURES)]
    if not lines:
        raise SystemExit(f"{stage}:\n{done.stderr}")
    found: dict[str, float] = json.loads(lines[-1].removeprefix(_FIGURES))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, nargs="+", default=[2000, 10_000])
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--judgments", type=int, default=3)
    parser.add_argument("--stages", nargs="+", choices=_STAGES, default=list(_STAGES))
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.stage:
        print(_FIGURES + json.dumps(work(args.stage, RunDir.open(args.run))))
        return
    print("| prompts | stage | seconds of CPU | MB |\n|---|---|---|---|")
    for count in args.prompts:
        with tempfile.TemporaryDirectory() as folder:
            run = made(Path(folder), count, args.samples, args.judgments)
            for stage in args.stages:
                found = measured(stage, run.path)
                print(f"| {count:,} | {stage} | {found['seconds']:.1f} | {found['bytes'] / 1e6:.0f} |", flush=True)


if __name__ == "__main__":
    main()
