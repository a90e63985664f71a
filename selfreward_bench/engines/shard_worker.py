"""One process of an engine that shares a model out: ``torchrun --nproc-per-node 8 -m ...shard_worker FOLDER``.

All compute every batch, each with its part of the model, and so draw the very same tokens; the first hears what is
asked and answers. What one cannot do ends all of them: the others would wait for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from datetime import timedelta
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any, Final

from selfreward_bench import heap
from selfreward_bench.config import EngineConfig
from selfreward_bench.engines.actors import Answered, Opening, Replica
from selfreward_bench.engines.shared_out import READY, TASK, ShardTask, fail
from selfreward_bench.errors import EngineError
from selfreward_bench.storage.files import write_atomic

__all__ = ["main"]

_PATIENCE: Final = timedelta(days=7)  # that processes wait for the next question
_STRANGERS: Final = 100  # callers without the key that are turned away


def main(folder: Path) -> int:
    """Answers until the driver is gone; returns the exit code."""
    heap.collect_rarely()
    import torch
    from torch import distributed

    try:
        task = ShardTask(**json.loads((folder / TASK).read_text("utf-8")))
        config = EngineConfig.model_validate(task.config)
        on_gpu = torch.cuda.is_available() and config.device != "cpu"
        if on_gpu:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        if task.threads is not None:
            torch.set_num_threads(task.threads)
        distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=_PATIENCE)
        talk = distributed.new_group(backend="gloo", timeout=_PATIENCE)
        opening = Opening(config, task.model, task.threads, task.chat_template)
        replica = Replica(opening, opener=_shard)
        replica.about()
        distributed.barrier(group=talk)
        asking = _listen(folder, task.key) if distributed.get_rank() == 0 else None
        _serve(replica, asking, talk)
        distributed.destroy_process_group()
    except Exception as error:
        fail(folder, error)
        raise
    return 0


def _listen(folder: Path, key: str) -> Connection:
    """Says where it listens and waits for the driver."""
    with Listener(("127.0.0.1", 0), authkey=bytes.fromhex(key)) as listener:
        write_atomic(folder / READY, json.dumps({"port": listener.address[1]}).encode())
        for _ in range(_STRANGERS):
            with contextlib.suppress(AuthenticationError, EOFError, OSError):
                return listener.accept()
    raise EngineError("The driver did not call.")


def _serve(replica: Replica, asking: Connection | None, talk: Any) -> None:
    """Has every process compute what the first is asked."""
    from torch import distributed

    while True:
        question: list[Any] = [_heard(asking)] if asking else [None]
        distributed.broadcast_object_list(question, src=0, group=talk)
        if question[0] is None:
            return
        number, method, batch = question[0]
        answer = getattr(replica, method)(*([batch] if batch else []))
        _refuse_unlike(answer, talk)
        if asking:
            asking.send((number, answer))


def _heard(asking: Connection) -> Any:
    """The next question; None where the driver is gone."""
    try:
        return asking.recv()
    except (EOFError, OSError):
        return None


def _refuse_unlike(answer: Any, talk: Any) -> None:
    """Raises EngineError where processes drew other tokens: their sums would have to differ in rounding."""
    from torch import distributed

    texts = [getattr(item, "text", None) for item in answer.items] if isinstance(answer, Answered) else []
    every: list[Any] = [None] * distributed.get_world_size(talk)
    distributed.all_gather_object(every, texts, group=talk)
    if any(other != texts for other in every):
        raise EngineError(
            "The processes that share the model out drew different texts, so their sums differ in rounding. Report "
            "this with the model's name; engine.sharding=fsdp computes each sum in one process."
        )


def _shard(opening: Opening) -> Any:
    """The engine over this process's part of the model."""
    from torch import distributed
    from transformers.distributed import DistributedConfig

    from selfreward_bench.engines.loading import load_model
    from selfreward_bench.engines.transformers import TransformersEngine

    config, count = opening.config, distributed.get_world_size()
    sizes = {"tp_size": count} if config.sharding == "tensor" else {"fsdp_size": count}
    loaded = load_model(config, opening.model, opening.chat_template, DistributedConfig(**sizes))
    return TransformersEngine(loaded, tokens_per_batch=config.tokens_per_batch)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
