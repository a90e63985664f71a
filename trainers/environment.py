"""What launchers (torchrun, accelerate, MPI) leave in a shell's environment, and trainings that take no notice of it.

The training libraries read these variables: a left-over ``WORLD_SIZE`` lets a training wait for ever for processes that
nobody started, and ``ACCELERATE_MIXED_PRECISION`` changes its arithmetic whatever the recipe says.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Final

from selfreward_bench.errors import ConfigError
from selfreward_bench.progress import Tell

#: who this process is among others
PROCESSES: Final = (
    *("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE"),
    *("ROLE_RANK", "ROLE_WORLD_SIZE", "ROLE_NAME", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_*"),
    *("PMI_RANK", "PMI_SIZE", "OMPI_COMM_WORLD_*", "MV2_COMM_WORLD_*"),
)
#: settings of ``accelerate launch``; a training's settings are those of its recipe
SETTINGS: Final = ("ACCELERATE_*",)
JOIN_SECONDS = 120.0  # that the processes of one training may need to find each other
_WORK: Final = timedelta(hours=2)  # that one may wait for the others later: the first writes checkpoints


def left_over(patterns: tuple[str, ...] = (*PROCESSES, *SETTINGS)) -> list[str]:
    """The variables that are set here and meant for a launcher's processes, sorted."""
    return sorted(name for name in os.environ if any(fnmatchcase(name, pattern) for pattern in patterns))


@contextmanager
def without_settings() -> Iterator[None]:
    """Hides the settings of ``accelerate launch``; who this process is stays, so that torchrun works."""
    with _without(SETTINGS, None):
        yield


def join_processes() -> None:
    """Joins the processes that a launcher started for this training; where ``WORLD_SIZE`` says none, nothing is done.

    The libraries would do the same, but wait half an hour for processes that may never have been started.

    Raises:
        ConfigError: they did not find each other within ``JOIN_SECONDS``.
    """
    count = os.environ.get("WORLD_SIZE", "1")
    if count in ("", "0", "1"):
        return
    import torch
    from torch.distributed.rendezvous import rendezvous

    if torch.distributed.is_initialized():
        return
    try:
        waiting = timedelta(seconds=JOIN_SECONDS)
        store, rank, size = next(iter(rendezvous("env://", timeout=waiting)))
    except (RuntimeError, ValueError) as error:
        said = str(error).strip().splitlines()[0][:200]
        raise ConfigError(
            f"WORLD_SIZE is {count[:20]}, so other processes of this training should be there, but they were not found "
            f"within {JOIN_SECONDS:g} seconds ({said}). Start all of them, with torchrun; where the variables are left "
            f"over from something else: unset {' '.join(left_over(PROCESSES))}"
        ) from error
    store.set_timeout(_WORK)
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_WORK)


def require_one_process() -> None:
    """Raises ConfigError when torchrun started this process and others beside it: one process makes a run."""
    count = os.environ.get("WORLD_SIZE", "1")
    if "TORCHELASTIC_RUN_ID" in os.environ and count != "1":
        raise ConfigError(
            f"torchrun started {count} processes (WORLD_SIZE), but a run is made by one. Start it without torchrun "
            "(where these variables are only left over: unset TORCHELASTIC_RUN_ID); train_sft and train_dpo can be "
            "called under torchrun."
        )


@contextmanager
def one_process(tell: Tell | None = None) -> Iterator[None]:
    """Hides everything of launchers: what is done inside is done by this process alone.

    Raises:
        ConfigError: as ``require_one_process``.
    """
    require_one_process()
    with _without((*PROCESSES, *SETTINGS), tell):
        yield


@contextmanager
def _without(patterns: tuple[str, ...], tell: Tell | None) -> Iterator[None]:
    hidden = {name: os.environ.pop(name) for name in left_over(patterns)}
    if hidden and tell is not None:
        names = ", ".join(hidden)
        tell(f"No notice is taken of {names} (a launcher's): this process makes the run, as its recipe says.")
    try:
        yield
    finally:
        for name in left_over(patterns):  # set by the libraries meanwhile
            del os.environ[name]
        os.environ.update(hidden)
