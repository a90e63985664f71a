"""Replicas of an engine over the machines of a cluster: this process renders and plans, they compute.

The unit is the planned batch: a replica computes it whole, and batches come back in the plan's order. So with the
``transformers`` engine every text is that of one process, bit for bit, whoever computed it and however often.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from selfreward_bench.config import ClusterConfig, EngineConfig
from selfreward_bench.engines.actors import About, Answered, Opening, Pool
from selfreward_bench.engines.base import ChoiceLogprobs, ChoiceRequest, GenerationRequest
from selfreward_bench.engines.chat import PromptEncoder
from selfreward_bench.engines.plan import Job, plan_batches
from selfreward_bench.engines.rendering import RenderingEngine
from selfreward_bench.errors import ConfigError, EngineError
from selfreward_bench.sources.hub import model_directory
from selfreward_bench.types import Completion

__all__ = ["ReplicatedEngine", "open_replicas", "problems"]

KINDS: Final = ("transformers", "vllm")
_ADDRESS: Final = "RAY_ADDRESS"


def open_replicas(
    config: EngineConfig,
    cluster: ClusterConfig,
    model: str | Path,
    *,
    threads: int | None = None,
    chat_template: str | None = None,
) -> ReplicatedEngine:
    """Opens a model on all replicas; arguments and errors as with ``selfreward_bench.engines.open_engine``.

    Raises:
        ConfigError: the settings do not go together.
        EngineError: see ``Pool``.
    """
    if found := next(problems(config, cluster), None):
        raise ConfigError(found)
    source = str(model_directory(model).resolve())
    opening = Opening(config, source, threads, chat_template)
    return ReplicatedEngine(opening, Pool(cluster, opening, timeout=config.start_timeout), name=str(model))


def problems(config: EngineConfig, cluster: ClusterConfig) -> Iterator[str]:
    """What of the settings cannot work on this machine, each with its key."""
    if config.kind not in KINDS:
        yield f"cluster: engine.kind={config.kind} has no replicas, only {' and '.join(KINDS)} have. Leave it out."
        return
    if config.urls:
        yield "cluster: engine.urls names servers that are there, over which requests are dealt already. Leave one out."
    if config.sharding != "none":
        yield f"engine.sharding={config.sharding} is of this machine, cluster of several. Leave one out."
    if config.device not in ("auto", "cpu", "all"):
        yield f"engine.device={config.device}: Ray says which devices a replica has (cluster.gpus_per_replica)."
    parallel = re.search(r"(?<!\S)(--tensor-parallel-size|-tp)(?![\w-])", config.args)
    if config.kind == "vllm" and cluster.gpus_per_replica > 1 and not parallel:
        yield (
            f"cluster.gpus_per_replica={cluster.gpus_per_replica}: a vLLM server takes one of them. Set "
            f"engine.args='--tensor-parallel-size {cluster.gpus_per_replica}'."
        )
    if config.kind == "transformers" and cluster.gpus_per_replica > 1 and config.device != "all":
        yield (
            f"cluster.gpus_per_replica={cluster.gpus_per_replica}: a model takes one of them. Set engine.device=all to "
            "put its layers onto all."
        )
    given = cluster.address
    if given not in (None, "auto", os.environ.get(_ADDRESS)):
        yield (
            f"cluster.address: who answers at {given!r} could have any code run here, and a recipe or a run of "
            f"somebody else can hold it. If you want it, say so on this machine: export {_ADDRESS}={shlex.quote(given)}"
        )
    if importlib.util.find_spec("ray") is None:
        yield "cluster: replicas over machines need Ray: pip install 'srbench[ray]' (docs/cluster.md)."


class Computing(Protocol):
    """What computes planned batches: a ``Pool`` of replicas, or processes that share a model (``shared_out``)."""

    about: About

    def run(self, method: str, batches: Iterable[Sequence[Any]]) -> Iterator[Answered]: ...

    def close(self) -> None: ...


class ReplicatedEngine(RenderingEngine):
    """An ``Engine`` over other processes that compute.

    Attributes:
        version: of the servers that replicas started, as ``VllmEngine.version``; empty for models in their processes.
        halved: as ``TransformersEngine.halved``, over all replicas.
    """

    def __init__(self, opening: Opening, pool: Computing, *, name: str) -> None:
        from selfreward_bench.engines.files import read_files

        try:
            files = read_files(opening.config, Path(opening.model), opening.chat_template)
        except BaseException:
            pool.close()
            raise
        encoder = PromptEncoder(files.tokenizer, name=name, context=files.context, chat_template=opening.chat_template)
        super().__init__(f"{opening.config.kind}:{name}", encoder)  # how answers end, the replicas know
        self.version, self.halved = pool.about.version, 0
        self._pool: Computing | None = pool
        self._budget, self._equal_lengths = opening.config.tokens_per_batch, pool.about.equal_lengths

    def generate(self, requests: Sequence[GenerationRequest], done: Collection[str] = ()) -> Iterator[list[Completion]]:
        """Answers requests; see ``Engine``.

        Raises:
            EngineError: a request is not valid, or see ``Pool.run``.
        """
        self._open()
        return self._run("generate", self._prompts(requests).jobs, done, requests)

    def choice_logprobs(
        self, requests: Sequence[ChoiceRequest], done: Collection[str] = ()
    ) -> Iterator[list[ChoiceLogprobs]]:
        """Scores choices; see ``Engine``.

        Raises:
            EngineError: as ``generate``.
        """
        self._open()
        return self._run("choice_logprobs", self._scorables(requests).jobs, done, requests)

    def take_notes(self) -> tuple[str, ...]:
        """That memory was short, where it was since the last call."""
        halved, self.halved = self.halved, 0
        if not halved:
            return ()
        return (f"{halved} batches did not fit a replica's memory and were halved; lower engine.tokens_per_batch.",)

    def close(self) -> None:
        """Ends the replicas."""
        if self._pool is not None:
            self._pool.close()
        self._pool = None

    def _open(self) -> Computing:
        if self._pool is None:
            raise EngineError(f"The engine of {self.name} was closed; open a new one.")
        return self._pool

    def _run(
        self, method: str, jobs: Sequence[Job], done: Collection[str], requests: Sequence[Any]
    ) -> Iterator[list[Any]]:
        batches = plan_batches(jobs, self._budget, equal_lengths=self._equal_lengths)
        left = ([requests[j.index] for j in batch] for batch in batches if not all(j.id in done for j in batch))
        for answered in self._open().run(method, left):
            self.failures = {**self.failures, **answered.failures}
            self.halved += answered.halved
            yield answered.items
