"""The ``transformers`` engine over several processes, each with a part of the model (``engine.sharding``).

This process renders and plans, as for replicas; torchrun starts one process for each device of this machine, and they
compute each planned batch together (``shard_worker``). transformers shards a model while it reads it, so no process
ever holds it. Machines beyond this one are a matter of vLLM.
"""

from __future__ import annotations

import json
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any, Final

from selfreward_bench.config import EngineConfig
from selfreward_bench.engines.actors import About, Answered, Opening
from selfreward_bench.engines.processes import Program, last_lines, of_this_code
from selfreward_bench.engines.replicas import ReplicatedEngine
from selfreward_bench.errors import ConfigError, EngineError, SrbenchError, first_line
from selfreward_bench.sources.hub import model_directory
from selfreward_bench.storage.adapters import parts
from selfreward_bench.storage.files import write_atomic

__all__ = ["ERROR", "READY", "TASK", "ShardTask", "Shards", "open_shards", "problems"]

TASK: Final = "task.json"
READY: Final = "ready.json"  # where the first process listens
ERROR: Final = "error.json"  # what a process could not do
_LOG: Final = "shards.log"
_LOOK: Final = 1.0  # seconds without an answer after which it is looked whether the processes are there


@dataclass(frozen=True)
class ShardTask:
    """What the processes are told.

    Attributes:
        config: of the engine, as JSON.
        key: by which the first process knows who asks it.
    """

    config: dict[str, Any]
    model: str
    threads: int | None
    chat_template: str | None
    key: str


def open_shards(
    config: EngineConfig, model: str | Path, *, threads: int | None = None, chat_template: str | None = None
) -> ReplicatedEngine:
    """Opens a model that processes share; arguments as with ``selfreward_bench.engines.open_engine``.

    Raises:
        ConfigError: the settings do not go together, or there are no several devices.
        EngineError: the model cannot be loaded so, or a process ended.
    """
    source = model_directory(model)
    if found := next(problems(config), None):
        raise ConfigError(found)
    if source.is_dir() and parts(source).adapter:
        raise ConfigError(f"engine.sharding={config.sharding}: {model} is an adapter. Merge it first (lora.merge).")
    opening = Opening(config, str(source.resolve()), threads, chat_template)
    return ReplicatedEngine(opening, Shards(opening, _processes(config)), name=str(model))


def problems(config: EngineConfig) -> Iterator[str]:
    """What of the settings cannot work together, each with its key."""
    if config.sharding == "none":
        return
    if config.kind != "transformers":
        yield f"engine.sharding={config.sharding}: engine.kind={config.kind} shares no model out. Leave it out."
    if config.quantize:
        yield f"engine.sharding={config.sharding}: weights of few bits (engine.quantize) cannot be shared out."
    if config.device not in ("auto", "cpu", "cuda"):
        yield f"engine.sharding={config.sharding} takes a device for each process. Leave engine.device out."


def _processes(config: EngineConfig) -> int:
    import torch

    on_gpus = torch.cuda.is_available() and config.device != "cpu"
    devices = torch.cuda.device_count() if on_gpus else 1
    count = config.processes or devices
    if count < 2:
        raise ConfigError(
            f"engine.sharding={config.sharding} shares a model out over several processes, and there is one device "
            "here. Leave it out; on CPUs say how many (engine.processes)."
        )
    if on_gpus and count > devices:
        raise ConfigError(f"engine.processes is {count}, and {devices} GPU(s) are here. Lower it, or leave it out.")
    return count


class Shards:
    """The processes that share a model, with the methods of ``actors.Pool``.

    Raises:
        EngineError: they cannot be started or end, or the model cannot be loaded.
    """

    def __init__(self, opening: Opening, processes: int) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="srbench-shards-"))  # this user's alone
        self._asked = 0
        key = secrets.token_hex(32)
        task = ShardTask(
            opening.config.model_dump(mode="json"), opening.model, opening.threads, opening.chat_template, key
        )
        write_atomic(self._folder / TASK, json.dumps(asdict(task)).encode())
        local = ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
        worker = ["--nproc-per-node", str(processes), "-m", "selfreward_bench.engines.shard_worker"]
        self._connection: Connection | None = None
        self._program: Program | None = None
        try:
            self._program = Program(
                [sys.executable, *local, *worker, str(self._folder)],
                title="The engine that shares a model out",
                setting="engine.sharding",
                environment=of_this_code(alone=True),
                log=self._folder / _LOG,
            )
            told = [self._folder / READY, self._folder / ERROR]
            self._program.wait_until(lambda: any(f.exists() for f in told), opening.config.start_timeout)
            self._refuse_failed()
            port = json.loads((self._folder / READY).read_text("utf-8"))["port"]
            self._connection = Client(("127.0.0.1", int(port)), authkey=bytes.fromhex(key))
            self.about: About = self._ask("about", [])
        except BaseException:
            self.close()
            raise

    def run(self, method: str, batches: Iterable[Sequence[Any]]) -> Iterator[Answered]:
        """Has batches computed by the method of that name; yields the answers in their order.

        Raises:
            EngineError: a batch cannot be computed, or a process ended; the engine is of no use then.
        """
        for batch in batches:
            answered: Answered = self._ask(method, list(batch))
            yield answered

    def close(self) -> None:
        """Ends the processes."""
        if self._connection is not None:
            self._connection.close()
        if self._program is not None:
            self._program.close()
        self._connection = self._program = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def _ask(self, method: str, batch: list[Any]) -> Any:
        if self._connection is None or self._program is None:
            raise EngineError("The processes that share the model out have ended; open a new engine.")
        self._asked += 1
        try:
            self._connection.send((self._asked, method, batch))
            while True:
                while not self._connection.poll(_LOOK):
                    if self._program.exit_code() is not None:
                        raise EOFError
                number, answer = self._connection.recv()
                if number == self._asked:  # and not one that was interrupted
                    return answer
        except (EOFError, OSError) as error:
            found = self._failure()
            self.close()
            raise found from error

    def _refuse_failed(self) -> None:
        if (self._folder / ERROR).exists():
            raise self._failure()

    def _failure(self) -> SrbenchError:
        try:
            return EngineError(json.loads((self._folder / ERROR).read_text("utf-8"))["error"])
        except (OSError, ValueError, KeyError):
            shown = last_lines(self._folder / _LOG)
            return EngineError(f"A process that shares the model out has ended. The end of its log:\n{shown}")


def fail(folder: Path, error: BaseException) -> None:
    """Says for a process what it could not do; the first that says something is heard."""
    if not (folder / ERROR).exists():
        text = str(error) if isinstance(error, SrbenchError) else f"{type(error).__name__}: {first_line(error)}"
        write_atomic(folder / ERROR, json.dumps({"error": text}).encode())
