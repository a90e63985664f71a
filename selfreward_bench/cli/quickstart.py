"""``srbench quickstart``: the whole loop on the embedded micro-world, and what came of it."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from selfreward_bench.cli.console import Columns, duration, say, show
from selfreward_bench.cli.environment import idle_threads, use_threads
from selfreward_bench.cli.failures import interruptible
from selfreward_bench.cli.runs import CONFIG_FILE, Wanted, command, open_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from selfreward_bench.storage.rundir import RunDir
    from selfreward_bench.types import EvalResult

_KINDS = {
    "ift": "seed data",
    "reviews": "seed data",
    "eft": "seed data",
    "baseline": "supervised fine-tuning (SFT, M1)",
    "sft": "supervised fine-tuning (SFT, M1)",
    "prompts": "new prompts",
    "candidates": "candidate answers",
    "judgments": "judging",
    "pairs": "preference pairs",
    "positives": "preference pairs",
    "rehearsal": "rehearsal of judging",
    "dpo": "preference training (DPO)",
}


def quickstart(
    fast: Annotated[bool, typer.Option("--fast", help="A run of about a minute, too short to learn much.")] = False,
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="The run's directory.")] = Path(
        "runs/quickstart"
    ),
    seed: Annotated[int, typer.Option("--seed", help="Seed of everything random in the run.")] = 0,
) -> None:
    """Run the whole loop on the embedded micro-world.

    Trains M1, M2 and M3 and an SFT baseline from the embedded base model, evaluates each on all benchmarks of the
    micro-world, and writes a report.
    Takes minutes on a laptop's CPU and needs no network. Called again, it goes on where it was stopped.

    \b
    Examples:
      srbench quickstart
      srbench quickstart --fast --output runs/glance
    """
    began = time.monotonic()
    threads = f"threads={json.dumps(_threads(output))}"
    run = open_run(output, Wanted("micro-fast" if fast else "micro", [threads], seed=seed, with_baseline=True))
    use_threads(run.config.threads)
    again = command("quickstart", *(["--fast"] if fast else []), "--output", output, "--seed", str(seed))
    with interruptible(again):
        worked = _work(run)
    _show(run, time.monotonic() - began, worked)


def _threads(output: Path) -> int | None:
    """A run keeps its number of threads, on which the last bits of its numbers depend; a new one takes what is idle."""
    from selfreward_bench.storage.rundir import RunDir

    return RunDir.open(output).config.threads if (output / CONFIG_FILE).exists() else idle_threads()


def _work(run: RunDir) -> float:
    """Does it all; returns the seconds that stages and evaluations took now."""
    from selfreward_bench.cli.progress import RichReporter
    from selfreward_bench.cli.scoring import BASE
    from selfreward_bench.cli.work import Work
    from trainers.stages import models

    with RichReporter() as reporter:
        reporter.message(f"Run {run.path}: {', '.join(models(run.config))} from the embedded base model")
        work = Work(run, reporter, benchmarks=_benchmarks(), preflight=False)  # tests examine the embedded base
        work.score([BASE])
        work.make(models(run.config)[-1])
    return reporter.worked


def _benchmarks() -> list[str]:
    """All of the micro-world's; what is compared head to head there is the answers of the first."""
    from leaderboards.suites import NAMES, NO_ROWS

    return [row for name, row in NAMES["micro"].items() if name not in NO_ROWS]


def _show(run: RunDir, seconds: float, worked: float) -> None:
    from leaderboards.standings import evaluated_models
    from selfreward_bench.cli.scoring import REPORT, results_of, show_results

    results = [r for model in evaluated_models(run.path) for r in results_of(run.path, model)]
    say()
    show_results(run)
    times = [*_times(run, results), ("loading, comparing, reporting (this call)", duration(max(seconds - worked, 0)))]
    show("", Columns(("WHERE THE TIME WENT", "TIME"), times, right=(1,)))
    say(f"\nThis call took {duration(seconds)}. The report: {run.path / REPORT}")


def _times(run: RunDir, results: Sequence[EvalResult]) -> list[tuple[str, str]]:
    """Seconds by kind of work, also that of earlier calls."""
    from trainers.stages import stage_kind, stages

    spent: defaultdict[str, float] = defaultdict(float)
    for spec in stages(run.config):
        stage = run.finished_stage(spec.name)
        if stage and stage.done:
            spent[_KINDS[stage_kind(spec.name)]] += stage.done.seconds
    spent["evaluation"] = sum(r.seconds for r in results)
    return [(name, duration(value)) for name, value in spent.items()]
