"""A chat template is a program of unknown origin: each rendering gets so much time and memory, and is told otherwise.

Jinja's sandbox keeps it from files and from Python's insides, not from loops without end and texts without bound.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import psutil

from selfreward_bench.errors import EngineError

__all__ = ["bound_rendering", "bounded"]

SECONDS: Final = 20.0
_INTERVAL: Final = 0.05  # seconds between two looks
MEMORY: Final = 2 << 30  # bytes more than the process had


class _OverrunError(BaseException):
    """No ``Exception``: a library that catches those must not go on."""


def bound_rendering(tokenizer: Any) -> None:
    """Bounds what a tokenizer's chat template may take; ``EngineError`` says which bound it broke."""
    import transformers.utils.chat_template_utils  # noqa: F401  # what rendering loads is no memory of the template's

    render = tokenizer.apply_chat_template

    def rendered(*messages: Any, **options: Any) -> Any:
        with bounded(f"The chat template of {tokenizer.name_or_path or 'the tokenizer'}"):
            return render(*messages, **options)

    tokenizer.apply_chat_template = rendered


@contextmanager
def bounded(what: str, seconds: float = SECONDS, memory: int = MEMORY) -> Iterator[None]:
    """Stops Python code that does not end by itself.

    Args:
        what: begins the message.
        memory: bytes; watched on Linux alone.

    Raises:
        EngineError: it took longer, or more.
    """
    bound = _Bound(threading.get_ident(), time.monotonic() + seconds)
    _WATCH.begin(bound)
    try:
        with _memory(memory):
            yield
    except _OverrunError:
        if not bound.broken:  # that of a bound around this one
            raise
        raise EngineError(f"{what} was still at work after {seconds:g} seconds. {_WAY_OUT}") from None
    except MemoryError:
        raise EngineError(f"{what} took more than {memory >> 20:,} MiB. {_WAY_OUT}") from None
    finally:
        _WATCH.end(bound)


_WAY_OUT: Final = "It does not end, or wants to do harm: look into it, and mend or replace it (chat_template)."


@dataclass(eq=False, slots=True)
class _Bound:
    thread: int
    deadline: float
    broken: bool = False


class _Watch:
    """One thread that looks, several times a second, whether a bound is broken: a rendering takes microseconds, and a
    thread of its own for each would take ten times as long.
    """

    def __init__(self) -> None:
        self._bounds: set[_Bound] = set()
        self._lock = threading.Lock()
        self._process = 0  # whose thread it is: a fork has none

    def begin(self, bound: _Bound) -> None:
        with self._lock:
            self._bounds.add(bound)
            if self._process != os.getpid():
                self._process = os.getpid()
                threading.Thread(target=self._look, name="srbench-watchdog", daemon=True).start()

    def end(self, bound: _Bound) -> None:
        with self._lock:
            self._bounds.discard(bound)
            if bound.broken:  # what came too late to be raised is taken back
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(bound.thread), None)

    def _look(self) -> None:
        while True:
            time.sleep(_INTERVAL)
            now = time.monotonic()
            with self._lock:
                for bound in [b for b in self._bounds if b.deadline < now and not b.broken]:
                    bound.broken = True
                    overrun = ctypes.py_object(_OverrunError)
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(bound.thread), overrun)


_WATCH: Final = _Watch()


@contextmanager
def _memory(limit: int) -> Iterator[None]:
    if sys.platform != "linux":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = _held.now() + limit
    if soft != resource.RLIM_INFINITY and soft <= wanted:
        yield
        return
    resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


class _Held:
    """Address space of this process, in bytes, asked for again after a moment."""

    def __init__(self) -> None:
        self._bytes, self._until = 0, 0.0

    def now(self) -> int:
        if time.monotonic() > self._until:
            self._bytes = int(psutil.Process().memory_info().vms)
            self._until = time.monotonic() + _INTERVAL
        return self._bytes


_held: Final = _Held()
