"""Forks of this process, for what is to be killed or to run as several processes.

They have all libraries already. A new interpreter takes eight seconds of a core to import those that train, and is
started where that is what is tested.
"""

from __future__ import annotations

import functools
import gc
import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping
from multiprocessing.connection import wait
from multiprocessing.context import ForkContext, ForkProcess
from pathlib import Path

import pytest

#: what trainings import
_LOADED = {
    "transformers": ("AutoModelForCausalLM", "AutoTokenizer", "LlamaForCausalLM"),
    "trl": ("DPOTrainer", "SFTTrainer"),
}
_GRACE = 30.0  # seconds between asking a process to end and killing it
_MOST = 1500  # seconds after which a fork that hangs is ended


@functools.cache
def fork_context() -> ForkContext:
    """What starts forks, with the libraries that train loaded for them."""
    import torch

    if torch.accelerator.is_available():
        pytest.skip("a forked process cannot use the accelerator")
    from selfreward_bench.engines.quantised import import_quietly

    import_quietly()
    for library, names in _LOADED.items():
        for name in names:  # each is imported when it is asked for
            getattr(importlib.import_module(library), name)
    gc.collect()
    gc.freeze()
    return multiprocessing.get_context("fork")


def fork(
    action: Callable[[], object], log: Path | None = None, environment: Mapping[str, str] | None = None
) -> ForkProcess:
    """A fork that does something; its exit code is 1 where that raises, and what ``sys.exit`` says otherwise.

    Args:
        log: what it prints is added to it.
        environment: what it finds beside this process's own variables.
    """

    def work() -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_MOST)
        if log:
            printed = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            for stream in (1, 2):
                os.dup2(printed, stream)
            sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, closefd=False) for n in (1, 2))
        os.environ.update(environment or {})
        action()

    process = fork_context().Process(target=work)
    process.start()
    return process


def srbench(*arguments: str | Path) -> None:
    """The command itself, for a fork: it ends the process."""
    from selfreward_bench.cli import main

    sys.argv = ["srbench", *map(str, arguments)]
    main()


def end(*processes: ForkProcess) -> None:
    """Asks processes to end, and kills those that do not."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(_GRACE)
        process.kill()
        process.join()


class Group:
    """Forks that find each other as those of torchrun do.

    Args:
        action: what each of them does.
        count: how many there are.
        start: how often they were begun anew.
    """

    def __init__(self, action: Callable[[], object], count: int, log: Path, start: int = 0) -> None:
        from torch.distributed import TCPStore

        self._store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        shared = {
            "GLOO_SOCKET_IFNAME": "lo",
            "CUDA_VISIBLE_DEVICES": "",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(self._store.port),
            "TORCHELASTIC_RESTART_COUNT": str(start),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
            "WORLD_SIZE": str(count),
            "LOCAL_WORLD_SIZE": str(count),
        }
        self.processes = [fork(action, log, shared | {"RANK": str(n), "LOCAL_RANK": str(n)}) for n in range(count)]

    def exit_code(self) -> int | None:
        """The first that is not 0; None while all of the others run on."""
        codes = [process.exitcode for process in self.processes]
        return next(filter(None, codes), None if None in codes else 0)

    def join(self) -> int:
        """Waits until one has failed or all have ended; none is left."""
        try:
            while (code := self.exit_code()) is None:
                if running := [process.sentinel for process in self.processes if process.exitcode is None]:
                    wait(running)  # for none of them it would wait for ever: they may have ended just now
            return code
        finally:
            end(*self.processes)


def run_together(action: Callable[[], object], count: int, log: Path, restarts: int = 0) -> None:
    """Has forks do something together; all are begun anew where one of them fails, so many times."""
    codes = []
    for start in range(restarts + 1):
        codes.append(Group(action, count, log, start).join())
        if codes[-1] == 0:
            return
    pytest.fail(f"exit codes {codes}\n{log.read_text()[-6000:]}")
