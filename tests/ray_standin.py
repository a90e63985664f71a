"""A stand-in for Ray: what ``selfreward_bench.engines.actors`` asks of it, with each actor a thread of this process.

What Ray itself does, restarting actors and repeating their calls, is tried with the real one
(tests/trainers/test_cluster.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as _wait
from types import SimpleNamespace
from typing import Any

STATE: dict[str, Any] = {"options": None, "actors": [], "resources": {"CPU": 8.0}}


class RayError(Exception):
    pass


class RayActorError(RayError):
    pass


class GetTimeoutError(RayError, TimeoutError):
    pass


class RayTaskError(RayError):
    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


exceptions = SimpleNamespace(
    RayError=RayError, RayActorError=RayActorError, GetTimeoutError=GetTimeoutError, RayTaskError=RayTaskError
)


class _Method:
    def __init__(self, pool: ThreadPoolExecutor, call: Callable[..., Any]) -> None:
        self._pool, self._call = pool, call

    def options(self, concurrency_group: str) -> _Method:
        return _Method(ThreadPoolExecutor(1), self._call)

    def remote(self, *arguments: Any) -> Future[Any]:
        def run() -> Any:
            try:
                return self._call(*arguments)
            except RayError:
                raise
            except Exception as error:
                raise RayTaskError(error) from error

        return self._pool.submit(run)


class _Actor:
    def __init__(self, instance: Any) -> None:
        self.instance, self._pool, self.killed = instance, ThreadPoolExecutor(1), False

    def __getattr__(self, name: str) -> _Method:
        return _Method(self._pool, getattr(self.instance, name))


def is_initialized() -> bool:
    return STATE["options"] is not None


def init(**options: Any) -> None:
    if options["address"] == "nobody:1":
        raise ConnectionError("Could not find any running Ray instance")
    STATE["options"] = options


def shutdown() -> None:
    STATE["options"] = None


def cluster_resources() -> dict[str, float]:
    return dict(STATE["resources"])


available_resources = cluster_resources


def remote(**options: Any) -> Callable[[type], Any]:
    def made(cls: type) -> Any:
        def start(*arguments: Any) -> _Actor:
            STATE["actors"].append(_Actor(cls(*arguments)))
            actor: _Actor = STATE["actors"][-1]
            return actor

        return SimpleNamespace(remote=start, options=options)

    return made


def get(asked: Any, timeout: float | None = None) -> Any:
    if isinstance(asked, list):
        return [get(one, timeout) for one in asked]
    return asked.result(timeout)


def wait(
    asked: Sequence[Future[Any]], num_returns: int = 1, timeout: float | None = None
) -> tuple[list[Any], list[Any]]:
    assert num_returns <= len(asked)
    found = _wait(asked, timeout).done
    return [f for f in asked if f in found], [f for f in asked if f not in found]


def kill(actor: _Actor) -> None:
    actor.killed = True
