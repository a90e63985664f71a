"""One process of a launched training: ``torchrun --nproc-per-node 8 -m trainers.worker OUT/launched/task.json``.

It does what the task says, with the others, and tells its course to the driver (``trainers.launched``) through a file.
Exit codes: 0 trained; 1 an error; 143 SIGTERM and 130 Ctrl-C, or the driver's wish, with the last step's state saved.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final

from selfreward_bench import heap
from selfreward_bench.errors import ConfigError, SrbenchError
from trainers.probes import probe
from trainers.rendering import local_directory
from trainers.sharding import sharding_of, usable
from trainers.tasks import COUNTED, RESTARTS, STOP, Task, add_event, read_events, read_task, terminable, train
from trainers.training import TrainProgress

__all__ = ["main"]

#: what the libraries say where another process of the training is gone
_LOST: Final = re.compile(r"gloo|nccl|c10d|connection (closed|reset|refused)|broken pipe|TCPStore", re.IGNORECASE)


def main(file: Path) -> int:
    """Trains; returns the exit code."""
    heap.collect_rarely()
    folder = file.parent
    try:
        with terminable():
            _refuse_to_repeat(folder)
            task = read_task(file)
            _check_processes(task, folder)
            is_first = os.environ.get("RANK", "0") == "0"
            if task.train.sharding != "none" and int(os.environ.get("WORLD_SIZE") or "1") < 2:
                add_event(folder, tell="train.launch started one process: it holds all of the model, unsharded.")
            result = train(task, _progress(folder, is_first), lambda text: add_event(folder, tell=text))
            parent, trusted = local_directory(task.parent), bool(task.options.get("trust_remote_code"))
            sharding = usable(sharding_of(task.train), parent, task.config, task.lora)
            if (task.out_dir / "checkpoint").is_dir():  # not of a training that is to go on
                probe(parent, task.out_dir, sharding, trust_remote_code=trusted)
            if is_first:
                add_event(folder, result={name: getattr(result, name) for name in COUNTED})
            _leave()
    except KeyboardInterrupt:
        code = 128 + (signal.SIGINT if (folder / STOP).exists() else signal.SIGTERM)
        add_event(folder, stopped=code)
        return code
    except SrbenchError as error:
        if _is_of_another(error):
            traceback.print_exc()
            add_event(folder, lost=str(error))
        else:
            add_event(folder, error=str(error), kind=type(error).__name__)
        return 1
    return 0


def _progress(folder: Path, is_first: bool) -> Callable[[TrainProgress], None]:
    def told(progress: TrainProgress) -> None:
        if not is_first:
            return
        add_event(folder, step=progress.step, steps=progress.total_steps)
        if (folder / STOP).exists():
            raise KeyboardInterrupt

    return told


def _check_processes(task: Task, folder: Path) -> None:
    """Raises ConfigError where the launcher started other processes than the recipe says, or several trainings."""
    count, wanted = int(os.environ.get("WORLD_SIZE") or "1"), task.train.processes
    if wanted is not None and count != wanted:
        raise ConfigError(
            f"train.processes is {wanted}, but what train.launch starts is a training of {count} process(es) "
            f"({task.train.launch!r}). Make them agree, or leave train.processes out."
        )
    if os.environ.get("RANK", "0") == "0":
        try:
            (folder / f"first-{os.environ.get(RESTARTS, '0')}").touch(exist_ok=False)
        except FileExistsError:
            raise ConfigError(
                "train.launch starts several trainings of one process each, and not several processes of one. Let "
                "torchrun or accelerate start them: srun --ntasks-per-node 1 torchrun --nproc-per-node 8 ..."
            ) from None


def _refuse_to_repeat(folder: Path) -> None:
    """A launcher that starts processes anew would meet an error again that only the user can mend."""
    if os.environ.get(RESTARTS, "0") != "0":
        errors = (event for event in read_events(folder, 0)[0] if "error" in event)
        if found := next(errors, None):
            print(f"Not begun again: {found['error']}", file=sys.stderr)
            sys.exit(1)


def _is_of_another(error: BaseException | None) -> bool:
    """Whether an error only shows that another process of the training is gone."""
    if int(os.environ.get("WORLD_SIZE") or "1") < 2:
        return False
    while error is not None:
        if isinstance(error, RuntimeError) and _LOST.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def _leave() -> None:
    """Together: a process that went first would take the others' connections with it."""
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
