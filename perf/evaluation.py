"""How long ``srbench eval`` takes on the whole micro suite for one checkpoint, benchmark by benchmark.

    python perf/evaluation.py [CHECKPOINT] [--limit N] [--threads 1]

CHECKPOINT is a directory or RUN:MODEL; without one it is the embedded base. The command runs in a process of its own,
as a user starts it, and leaves nothing behind. Beside the wall time stands that process's processor time: what the wall
time would come down to, were the machine doing nothing else.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from leaderboards.nlp.benchmark import MicroNlp
from leaderboards.standings import RESULT, read_result
from leaderboards.suites import default_config
from selfreward_bench.micro import base_path

AIM = 60.0  # seconds in all, on two idle cores
#: lm-eval is first imported when a task runs, so its import is in the NLP benchmark's seconds, once per process
IMPORTING = """
import time
import selfreward_bench.engines.transformers
began = time.monotonic()
import leaderboards.nlp.model
print(time.monotonic() - began)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", default=str(base_path()))
    parser.add_argument("--limit", type=int)
    parser.add_argument("--threads", type=int, default=default_config("micro").threads)
    asked = parser.parse_args()
    command = [sys.executable, "-m", "selfreward_bench.cli", "eval", "--checkpoint", asked.checkpoint]
    command += ["--suite", "micro", "--world", "micro"]
    if ":" not in asked.checkpoint:
        command += ["--set", f"threads={asked.threads}"]  # a run brings its own settings
    command += [] if asked.limit is None else ["--limit", str(asked.limit)]
    print(f"load before: {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores; threads {asked.threads}\n")
    with tempfile.TemporaryDirectory() as folder:
        before, began = os.times(), time.monotonic()
        done = subprocess.run([*command, "--output", folder], capture_output=True, text=True)  # noqa: S603  # ours
        wall, after = time.monotonic() - began, os.times()
        if done.returncode:
            sys.exit(done.stderr)
        results = sorted(map(read_result, Path(folder).glob(f"*/eval/*@*/{RESULT}")), key=lambda r: -r.seconds)
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    importing = float(subprocess.check_output([sys.executable, "-c", IMPORTING], text=True))  # noqa: S603  # ours
    for result in results:
        rows = max(m.n_total for m in result.metrics.values())
        of_it = f"; {importing:.1f} s of it importing lm-eval" if result.benchmark == MicroNlp.key else ""
        print(f"{result.benchmark:<28} {result.seconds:7.1f} s   (up to {rows:,} samples a metric{of_it})")
    told = sum(r.seconds for r in results)
    print(f"{'start, head to head, report':<28} {wall - told:7.1f} s")
    print(f"{'in all':<28} {wall:7.1f} s, of the processor {processor:.1f} s (aim: {AIM:g} s on two idle cores)")


if __name__ == "__main__":
    main()
