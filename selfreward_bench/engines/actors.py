"""Engines as actors of a Ray cluster: started, asked for whole batches in order, replaced by Ray where one is lost.

A pool of Ray Data ends with each dataset and would load the model anew for every round of new prompts, so these are
plain actors, which Ray restarts and whose calls it repeats just the same (docs/cluster.md). Ray is imported when a pool
is opened.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, Final

from selfreward_bench import __version__
from selfreward_bench.config import ClusterConfig, EngineConfig
from selfreward_bench.engines.base import ChoiceRequest, GenerationRequest
from selfreward_bench.engines.lazy import LazyEngine
from selfreward_bench.errors import EngineError, MissingDependencyError, SrbenchError, first_line

__all__ = ["About", "Answered", "Opening", "Pool", "Replica"]

_RESTARTS: Final = 32  # of one replica, over all its calls; machines that were taken away are not counted by Ray
_RETRIES: Final = 3  # of one batch: what ends its replica each time is not a lost machine
_QUEUED: Final = 2  # batches that a replica has before it, so that it does not wait for this process
_LOOK: Final = 30.0  # seconds without an answer after which a replica is asked whether it is there
_STORE: Final = 256 * 2**20  # bytes for requests and texts under way, on a machine alone
_CLOSING: Final = 60.0
_HEALTH: Final = "health"  # calls of this group are answered while a batch is computed
#: for a Ray that is started here: nothing is reported, nothing listens but on the loopback, nobody is let in without
#: a token of its own
_ALONE: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray's switch for a machine that joins no cluster, whatever its name
    "RAY_AUTH_MODE": "token",
    "RAY_worker_niceness": "0",  # else replicas would wait for whatever else runs here
}


@dataclass(frozen=True)
class Opening:
    """What a replica opens: the arguments of ``open_engine``; ``model`` is a directory that all machines see."""

    config: EngineConfig
    model: str
    threads: int | None
    chat_template: str | None


@dataclass(frozen=True)
class About:
    """What a replica tells of itself.

    Attributes:
        installed: versions on its machine, which decide what it computes.
        version: of its engine's server, as ``VllmEngine.version``.
        equal_lengths: whether a batch may hold prompts of one length only.
    """

    installed: Mapping[str, str]
    version: str = ""
    equal_lengths: bool = False


@dataclass(frozen=True)
class Answered:
    """A batch's answers.

    Attributes:
        failures: of the batch, as ``Engine.failures``.
        halved: how often it had to be halved to fit the memory.
    """

    items: list[Any]
    about: About
    failures: Mapping[str, str] = field(default_factory=dict)
    halved: int = 0


class Replica:
    """An engine in a process of Ray's. It is opened at the first call, also after Ray had to start the process anew."""

    def __init__(self, opening: Opening, opener: Callable[[Opening], Any] | None = None) -> None:
        self._engine = LazyEngine(lambda: (opener or _open)(opening))

    def about(self) -> About:
        engine = self._engine.open()
        installed = {name: metadata.version(name) for name in ("torch", "transformers")} | {"srbench": __version__}
        return About(installed, self._engine.version, bool(getattr(engine, "equal_lengths", False)))

    def generate(self, requests: Sequence[GenerationRequest]) -> Answered:
        return self._answered(requests, [c for batch in self._engine.generate(requests) for c in batch])

    def choice_logprobs(self, requests: Sequence[ChoiceRequest]) -> Answered:
        return self._answered(requests, [c for batch in self._engine.choice_logprobs(requests) for c in batch])

    def _answered(self, requests: Sequence[GenerationRequest] | Sequence[ChoiceRequest], items: list[Any]) -> Answered:
        asked = {r.id for r in requests}
        failures = {name: why for name, why in self._engine.failures.items() if name in asked}
        halved = int(getattr(self._engine.open(), "halved", 0))
        self._engine.take_notes()  # begins to count anew
        return Answered(items, self.about(), failures, halved)

    def alive(self) -> bool:
        return True

    def close(self) -> None:
        self._engine.close()


def _open(opening: Opening) -> Any:
    from selfreward_bench.engines import open_engine

    return open_engine(opening.config, opening.model, threads=opening.threads, chat_template=opening.chat_template)


class Pool:
    """The replicas of one engine.

    Args:
        timeout: seconds in which all have to be ready, and in which a lost one has to be back.

    Attributes:
        about: what they all tell of themselves.

    Raises:
        MissingDependencyError: Ray is not installed.
        EngineError: the cluster is not there or has no room for them, a replica cannot open its engine, or their
            machines have other versions installed.
    """

    def __init__(self, cluster: ClusterConfig, opening: Opening, *, timeout: float) -> None:
        self._cluster, self._timeout = cluster, timeout
        self._cpus = opening.threads or 1
        _settle(alone=cluster.address is None)
        self._ray = _import()
        self._owns = _connect(self._ray, cluster, self._cpus)
        self._actors: list[Any] = []
        try:
            actor = self._ray.remote(
                num_cpus=self._cpus,
                num_gpus=cluster.gpus_per_replica,
                max_restarts=_RESTARTS,
                max_task_retries=_RETRIES,
                concurrency_groups={_HEALTH: 1},
            )(Replica)
            self._actors = [actor.remote(opening) for _ in range(cluster.replicas)]
            self.about = self._agreed()
        except BaseException:
            self.close()
            raise

    def run(self, method: str, batches: Iterable[Sequence[Any]]) -> Iterator[Answered]:
        """Has batches computed by the method of that name; yields the answers in the order of the batches.

        Raises:
            EngineError: a replica's engine raised it, or a replica is lost for good.
        """
        waiting: deque[tuple[Any, Any]] = deque()  # actor, reference to what it answers
        for batch in batches:
            if len(waiting) >= _QUEUED * len(self._actors):
                yield self._next(waiting)
            actor = self._least_busy(waiting)
            waiting.append((actor, getattr(actor, method).remote(batch)))
        while waiting:
            yield self._next(waiting)

    def close(self) -> None:
        """Ends the replicas, with what their engines started, and Ray where it was started here."""
        ray, closing = self._ray, [actor.close.remote() for actor in self._actors]
        with contextlib.suppress(ray.exceptions.RayError):
            ray.wait(closing, num_returns=len(closing), timeout=_CLOSING) if closing else None
        for actor in self._actors:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.kill(actor)
        self._actors = []
        if self._owns:
            ray.shutdown()
            self._owns = False

    def _least_busy(self, waiting: Iterable[tuple[Any, Any]]) -> Any:
        told = list(waiting)
        references = [reference for _, reference in told]
        ended = set(self._ray.wait(references, num_returns=len(references), timeout=0)[0]) if references else set()
        busy = [actor for actor, reference in told if reference not in ended]
        return min(self._actors, key=lambda actor: sum(other is actor for other in busy))

    def _next(self, waiting: deque[tuple[Any, Any]]) -> Answered:
        actor, reference = waiting.popleft()
        with self._explained():
            while not self._ray.wait([reference], timeout=_LOOK)[0]:
                self._ray.get(actor.alive.options(concurrency_group=_HEALTH).remote(), timeout=self._timeout)
            answered: Answered = self._ray.get(reference)
        if answered.about != self.about:
            raise EngineError(_unlike(self.about, answered.about))
        return answered

    def _agreed(self) -> About:
        """What all replicas tell, once all are ready."""
        told = [actor.about.remote() for actor in self._actors]
        with self._explained():
            found = self._ray.wait(told, num_returns=len(told), timeout=self._timeout)[0]
            if len(found) < len(told):
                raise EngineError(self._no_room(len(found)))
            abouts: list[About] = self._ray.get(told)
        here = metadata.version("torch"), __version__
        for about in abouts:
            if (about.installed["torch"], about.installed["srbench"]) != here or about != abouts[0]:
                other = about if about != abouts[0] else About(dict(zip(("torch", "srbench"), here, strict=True)))
                raise EngineError(_unlike(abouts[0], other))
        return abouts[0]

    def _no_room(self, ready: int) -> str:
        wanted = f"{self._cpus} CPU(s) and {self._cluster.gpus_per_replica} GPU(s)"
        free = self._ray.available_resources()
        return (
            f"{ready} of {self._cluster.replicas} replicas are ready after {self._timeout:g} s (engine.start_timeout). "
            f"Each takes {wanted} of one machine; free in the cluster are {free.get('CPU', 0):g} CPU(s) and "
            f"{free.get('GPU', 0):g} GPU(s). Lower cluster.replicas or cluster.gpus_per_replica, or add machines."
        )

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Ray's errors as srbench's."""
        errors = self._ray.exceptions
        try:
            yield
        except errors.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, SrbenchError):
                raise cause from None
            raise EngineError(f"A replica failed: {first_line(cause)}") from error
        except (errors.GetTimeoutError, errors.RayActorError) as error:
            raise EngineError(
                f"A replica is lost, and Ray could not replace it ({type(error).__name__}): either there is no machine "
                f"for it within {self._timeout:g} s (engine.start_timeout), or what it computes ends it again and "
                "again, by running out of memory for example (then lower engine.tokens_per_batch). What was done "
                "stays: start the same again."
            ) from error
        except errors.RayError as error:
            raise EngineError(f"The Ray cluster failed: {first_line(error)}") from error


def _settle(alone: bool) -> None:
    """Settings that Ray reads from the environment as it is imported; what the user has set there stays.

    Args:
        alone: it will be started for this process.
    """
    if alone and "ray" not in sys.modules:
        for name, value in (_ALONE | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}).items():
            os.environ.setdefault(name, value)


def _import() -> Any:
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError(
            "cluster: replicas over machines need Ray: pip install 'srbench[ray]' (docs/cluster.md)."
        ) from error
    return ray


def _connect(ray: Any, cluster: ClusterConfig, cpus: int) -> bool:
    """Connects this process, where it is not connected yet; whether a Ray was started for it.

    Raises:
        EngineError: there is no such cluster, or this machine alone has no room.
    """
    if ray.is_initialized():
        return False
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if cluster.address is not None:
            ray.init(address=cluster.address, **quiet)
            return False
        ray.init(
            address="local",
            num_cpus=cpus * cluster.replicas,
            object_store_memory=_STORE,
            include_dashboard=False,
            _node_ip_address="127.0.0.1",
            **quiet,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = "on this machine" if cluster.address is None else f"at cluster.address={cluster.address}"
        raise EngineError(f"Ray cannot be reached {where}: {first_line(error)}") from error
    there, wanted = ray.cluster_resources().get("GPU", 0), cluster.gpus_per_replica * cluster.replicas
    if there < wanted:
        ray.shutdown()
        raise EngineError(
            f"cluster: {cluster.replicas} replica(s) of {cluster.gpus_per_replica} GPU(s) want {wanted}, and this "
            f"machine has {there:g}. Set cluster.gpus_per_replica=0 to compute on CPUs, lower cluster.replicas, or "
            "name a cluster (cluster.address)."
        )
    return True


def _unlike(first: About, second: About) -> str:
    names = first.installed.keys() & second.installed.keys()
    told = [f"{name} {first.installed[name]} and {second.installed[name]}" for name in sorted(names)]
    told += [f"{first.version} and {second.version}"] if first.version != second.version else []
    differ = [text for text in told if len(set(text.split(" ", 1)[1].split(" and "))) > 1]
    return (
        f"The machines of the cluster have other versions installed ({'; '.join(differ) or 'engines unlike'}), and "
        "would compute other texts. Install the same everywhere, and start the same again."
    )
