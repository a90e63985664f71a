"""``srbench plan``: what a run will need, before anything is downloaded or trained."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from selfreward_bench.cli import completion, costs, options
from selfreward_bench.cli.console import say, show
from selfreward_bench.errors import ConfigError

if TYPE_CHECKING:
    from selfreward_bench.config import RunConfig
    from selfreward_bench.storage.rundir import RunDir
    from trainers.fitting import Machine
    from trainers.requirements import Throughput

_UNMADE = Path("runs") / ".plan"  # the runs beside it tell how long work takes
_OF_ONE = 8  # GPUs that a machine usually has at most


def plan(
    target: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE|RUN",
            help="A built-in recipe, a YAML file, or a run's directory.",
            autocompletion=completion.recipes,
        ),
    ],
    until: Annotated[
        str | None, typer.Option("--until", metavar="MODEL", help="Of all models up to this one; of all without.")
    ] = None,
    change: options.Set = None,
    parameters: Annotated[
        float | None,
        typer.Option("--parameters", metavar="N", help="Parameters of the base, such as 7e9, for its count."),
    ] = None,
    gpus: Annotated[
        int | None, typer.Option("--gpus", min=1, help="GPUs there would be; without, this machine.")
    ] = None,
    gpu_memory: Annotated[
        float | None, typer.Option("--gpu-memory", metavar="GIB", help="GiB that each of them has for the run.")
    ] = None,
    tokens_per_second: Annotated[
        float | None, typer.Option("--tokens-per-second", help="Tokens that all GPUs together write in a second.")
    ] = None,
    tflops: Annotated[
        float | None, typer.Option("--tflops", help="TFLOP/s that one GPU can do at most; needs --mfu.")
    ] = None,
    mfu: Annotated[
        float | None, typer.Option("--mfu", help="Share of it that training and reading reach, such as 0.4.")
    ] = None,
    prices: costs.Prices = None,
    as_json: Annotated[bool, typer.Option("--json", help="Prints the numbers as JSON.")] = False,
) -> None:
    """Show what a run will need: tokens, memory, disk, time.

    From the base's config.json and tokenizer alone: no weights are read or downloaded. What does not fit is told with
    the setting that makes it fit. Times are those of finished runs beside it, or follow from a throughput that you
    state; nothing is guessed (docs/plan.md).

    Exit code 0: it fits, or nobody said how much memory there is. 1: it does not fit. 2: it cannot be told.

    \b
    Examples:
      srbench plan micro
      srbench plan runs/first --set sft.micro_batch_size=4
      srbench plan mine.yaml --gpu-memory 24 --json
      srbench plan paper-70b --gpus 64 --tokens-per-second 20000 --tflops 312 --mfu 0.4
    """
    from selfreward_bench.cli.dryrun import show_plan, show_role_calls
    from selfreward_bench.cli.requirements import as_json as numbers
    from selfreward_bench.cli.requirements import show_requirements
    from trainers.requirements import require
    from trainers.stages import models

    run, table = _run(target, change or []), costs.price_table(prices)
    machine = _machine(gpus, gpu_memory)
    stated = _throughput(tokens_per_second, tflops, mfu, machine.devices)
    count = None if parameters is None else round(_positive("--parameters", parameters))
    last = until or models(run.config)[-1]
    found = require(run, machine, until=last, parameters=count, stated=stated)
    if as_json:
        say(json.dumps(numbers(found, table), indent=1, allow_nan=False))
    else:
        show_plan(found.plan)
        show_role_calls(found.served, table)
        if stated.said:
            say(f"Stated: {stated.said}.")
        show_requirements(found)
        for line in _commands(target, run.config, last, change or [], machine.devices):
            show(line)
    if found.fits is False:
        raise typer.Exit(1)


def _run(target: str, changes: list[str]) -> RunDir:
    from selfreward_bench import recipes
    from selfreward_bench.storage.rundir import RunDir

    if Path(target).is_dir():
        run = RunDir.open(Path(target))
        return RunDir(run.path, recipes.change(run.config, changes))
    return RunDir(_UNMADE, recipes.load(target, changes))


def _commands(target: str, config: RunConfig, until: str, changes: list[str], devices: int) -> Iterator[str]:
    """What makes all this, and goes on with it wherever it stopped."""
    words = [target] if Path(target).is_dir() else [f"runs/{config.name}", "--recipe", target]
    words += [word for change in changes for word in ("--set", change)]
    command = shlex.join(["srbench", "run-iteration", *words, "--until", until])
    yield f"\nTo make it, and to go on wherever it stopped: {command}"
    if config.train.launch == "auto" and devices > _OF_ONE:
        launch = (
            f"srun --ntasks-per-node=1 torchrun --nnodes {-(-devices // _OF_ONE)} --nproc-per-node {_OF_ONE} "
            "--rdzv-backend c10d --rdzv-endpoint $HEAD:29500 --max-restarts 3"
        )
        yield (
            f"train.launch=auto takes the GPUs of one machine. Over machines of {_OF_ONE} each, inside an allocation "
            f"(srbench recipes copy slurm): --set 'train.launch={launch}' --set train.processes={devices}"
        )


def _machine(gpus: int | None, gpu_memory: float | None) -> Machine:
    from selfreward_bench.hardware import GIB
    from trainers.fitting import Machine, find_machine

    if gpus is None and gpu_memory is None:
        return find_machine(_UNMADE)
    memory = None if gpu_memory is None else round(_positive("--gpu-memory", gpu_memory) * GIB)
    return Machine("gpu", memory, gpus or 1, "as stated")


def _throughput(tokens: float | None, tflops: float | None, mfu: float | None, devices: int) -> Throughput:
    from trainers.requirements import Throughput

    if (tflops is None) != (mfu is None):
        raise ConfigError("--tflops and --mfu belong together: what a GPU can do, and the share of it that is reached.")
    said = [] if tokens is None else [f"{_positive('--tokens-per-second', tokens):,g} tokens written per second"]
    flops = None
    if tflops is not None and mfu is not None:
        flops = _positive("--tflops", tflops) * 1e12 * _positive("--mfu", mfu) * devices
        said.append(f"{tflops:g} TFLOP/s x {mfu:g} of {devices} GPU{'' if devices == 1 else 's'}")
        if mfu > 1:
            raise ConfigError(f"--mfu {mfu:g} is a share, at most 1; 0.4 is 40%.")
    return Throughput(tokens, flops, ", ".join(said))


def _positive(option: str, value: float) -> float:
    if not 0 < value < float("inf"):
        raise ConfigError(f"{option} {value:g} must be a positive number.")
    return value
