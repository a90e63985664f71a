"""Runs one training: in this process on a CPU, in a process of its own where an accelerator's memory is at stake.

A framework does not give all of an accelerator's memory back before its process ends, and an engine was open in this
one. On a CPU the memory does come back, and a process of its own would cost its imports (about 10 s) for each model.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from selfreward_bench.config import DpoConfig, SftConfig
from selfreward_bench.errors import TrainingError
from selfreward_bench.progress import Reporter
from trainers.training import TrainProgress, TrainResult


def run_training(
    kind: str,
    parent: str | Path,
    records: Sequence[Any],
    config: SftConfig | DpoConfig,
    out_dir: Path,
    *,
    seed: int,
    threads: int | None,
    reporter: Reporter,
    stage: str,
    isolate: bool | None = None,
) -> TrainResult:
    """Trains ``parent`` on the records: ``kind`` is ``sft`` (Example) or ``dpo`` (PreferencePair).

    Args:
        isolate: whether in a process of its own; None decides by whether an accelerator is there.

    Raises:
        TrainingError: training stopped; also when its process ended without a word.
    """
    watch = _Watch(reporter, stage)
    if isolate if isolate is not None else _has_accelerator():
        return _in_own_process((kind, parent, list(records), config, out_dir, seed, threads), watch)
    return _train(kind, parent, records, config, out_dir, seed, threads, watch)


class _Watch:
    """Turns a training's progress into the reporter's."""

    def __init__(self, reporter: Reporter, stage: str) -> None:
        self._reporter, self._stage, self._step = reporter, stage, 0

    def __call__(self, progress: TrainProgress) -> None:
        if not self._step:
            self._reporter.started(self._stage, progress.total_steps, "steps")
        self._reporter.advanced(progress.step - self._step)
        self._step = progress.step


def _has_accelerator() -> bool:
    import torch

    return bool(torch.accelerator.is_available())


def _train(
    kind: str,
    parent: str | Path,
    records: Sequence[Any],
    config: Any,
    out_dir: Path,
    seed: int,
    threads: int | None,
    progress: Any,
) -> TrainResult:
    import torch

    if threads:
        torch.set_num_threads(threads)
    if kind == "dpo":
        from trainers.dpo import train_dpo

        return train_dpo(Path(parent), records, config, out_dir, seed=seed, progress=progress)
    from trainers.sft import train_sft

    return train_sft(parent, records, config, out_dir, seed=seed, progress=progress)


def _in_own_process(task: tuple[Any, ...], watch: _Watch) -> TrainResult:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(there, task))
    child.start()
    there.close()
    try:
        while True:
            message = here.recv()
            if isinstance(message, TrainProgress):
                watch(message)
            elif isinstance(message, TrainResult):
                return message
            else:
                raise message
    except EOFError:
        child.join()
        raise TrainingError(
            f"The training process ended with exit code {child.exitcode} and without a result (out of memory?). What "
            "it saved is kept: run the same command again to go on."
        ) from None
    finally:
        child.join(timeout=60)
        if child.is_alive():
            child.terminate()


def _child(connection: Connection, task: tuple[Any, ...]) -> None:
    try:
        kind, parent, records, config, out_dir, seed, threads = task
        connection.send(_train(kind, parent, records, config, out_dir, seed, threads, connection.send))
    except BaseException as error:
        connection.send(error)
        raise
