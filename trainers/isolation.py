"""Runs one training: in this process on a CPU, in a process of its own where an accelerator's memory is at stake, in
those of a launcher where the recipe names one (``trainers.launched``).

A framework does not give all of an accelerator's memory back before its process ends, and an engine was open in this
one. On a CPU the memory does come back, and a process of its own would cost its imports (about 10 s) for each model.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from selfreward_bench import heap
from selfreward_bench.config import DpoConfig, EngineConfig, LoraConfig, SftConfig, TrainConfig
from selfreward_bench.engines.processes import end_abandoned
from selfreward_bench.errors import TrainingError
from selfreward_bench.progress import Reporter
from selfreward_bench.storage.records import Records
from trainers.commands import AUTO, command_line
from trainers.launched import launched
from trainers.rehearsing import Rehearsal
from trainers.tasks import Task, terminable
from trainers.tasks import train as do
from trainers.tracking import Tracking
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
    chat_template: str | None = None,
    reporter: Reporter,
    stage: str,
    engine: EngineConfig = EngineConfig(),  # noqa: B008  # frozen
    lora: LoraConfig | None = None,
    track: Tracking | None = None,
    rehearsal: Rehearsal | None = None,
    until: int | None = None,
    train: TrainConfig = TrainConfig(),  # noqa: B008  # frozen
    isolate: bool | None = None,
) -> TrainResult:
    """Trains ``parent`` on the records: ``kind`` is ``sft`` (Example) or ``dpo`` (PreferencePair).

    Args:
        chat_template: as in ``train_sft``; DPO takes the one that ``parent`` brings.
        engine: how the run's models are read: ``trust_remote_code``, ``date``, ``attn_implementation``.
        lora: trains an adapter; None trains all weights.
        track: the experiment trackers that are told each step.
        rehearsal: judgments that DPO trains beside the pairs.
        until: as in ``train_dpo``.
        train: the processes that do it.
        isolate: whether in a process of its own; None decides by whether an accelerator is there.

    Raises:
        TrainingError: training stopped; also when its process ended without a word.
        ConfigError: ``train.launch`` cannot be used.
        KeyboardInterrupt: interrupted, with the state of the last step saved.
        Terminated: likewise, where a process that trains got SIGTERM, and not this one.
    """
    watch = _Watch(reporter, stage)
    if ended := end_abandoned():  # it would hold the memory that this training needs
        watch.tell(f"Ended {ended} program(s) that a killed srbench had left running.")
    options: dict[str, Any] = {
        "seed": seed,
        "trust_remote_code": engine.trust_remote_code,
        "date": engine.date,
        "attn_implementation": engine.attn_implementation,
    }
    if until:
        options["until"] = until
    task = Task(kind, parent, records, config, out_dir, threads, chat_template, lora, track, rehearsal, train, options)
    if command := command_line(train, _devices() if train.launch == AUTO else 1):
        return launched(task, command, watch, watch.tell)
    if train.launch:
        watch.tell("train.launch=auto finds one device here: the training stays in one process, and is not sharded.")
    if isolate if isolate is not None else _has_accelerator():
        return _in_own_process(task, watch)
    return do(task, watch, watch.tell)


class _Watch:
    """Turns a training's progress into the reporter's."""

    def __init__(self, reporter: Reporter, stage: str) -> None:
        self._reporter, self._stage, self._step = reporter, stage, 0
        self.tell = reporter.message

    def __call__(self, progress: TrainProgress) -> None:
        if not self._step:
            self._reporter.started(self._stage, progress.total_steps, "steps")
        self._reporter.advanced(progress.step - self._step)
        self._step = progress.step


def _has_accelerator() -> bool:
    import torch

    return bool(torch.accelerator.is_available())


def _devices() -> int:
    import torch

    return max(1, torch.accelerator.device_count())


def _in_own_process(task: Task, watch: _Watch) -> TrainResult:
    """Ctrl-C is passed on: the first asks the training to save and stop after its step, a second stops it at once."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    records = task.records if isinstance(task.records, Records) else list(task.records)
    child = context.Process(target=_child, args=(there, replace(task, records=records)))
    interrupted = False
    child.start()
    there.close()
    try:
        while True:
            try:
                wait([here])
                message = here.recv()
                if isinstance(message, TrainProgress):
                    watch(message)
                    continue
                if isinstance(message, str):
                    watch.tell(message)
                    continue
            except KeyboardInterrupt:
                interrupted = True
                if child.pid is not None:
                    os.kill(child.pid, signal.SIGINT)
                continue
            if isinstance(message, TrainResult):
                return message
            raise message
    except EOFError:
        child.join()
        if interrupted:
            raise KeyboardInterrupt from None
        raise TrainingError(
            f"The training process ended with exit code {child.exitcode} and without a result (out of memory?). What "
            "it saved is kept: run the same command again to go on."
        ) from None
    finally:
        here.close()  # a training that nobody listens to any more stops at its next step
        child.join(timeout=60)
        if child.is_alive():
            child.kill()  # it keeps SIGTERM for later


def _child(connection: Connection, task: Task) -> None:
    heap.collect_rarely()
    if hasattr(os, "setsid"):
        os.setsid()  # a terminal's Ctrl-C goes to the parent alone, which passes it on
    try:
        with terminable():
            result = do(task, connection.send, connection.send)
        connection.send(result)
    except BrokenPipeError:  # the parent is gone; what was saved is kept
        sys.exit(1)
    except BaseException as error:
        connection.send(error)
        sys.exit(1)  # the parent says it; a traceback here would say it twice
