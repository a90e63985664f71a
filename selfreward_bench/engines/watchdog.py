"""A chat template is a program of unknown origin: each rendering gets so much time and memory, and is told otherwise.

Jinja's sandbox keeps it from files and from Python's insides, not from loops without end and texts without bound.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psutil

from selfreward_bench.errors import EngineError

__all__ = ["bound_rendering", "bounded"]

SECONDS: Final = 20.0
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
    ended, lock, thread = threading.Event(), threading.Lock(), threading.get_ident()

    def interrupt() -> None:
        with lock:
            if not ended.is_set():
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(_OverrunError))

    timer = threading.Timer(seconds, interrupt)
    timer.daemon = True
    timer.start()
    try:
        with _memory(memory):
            yield
    except _OverrunError:
        raise EngineError(f"{what} was still at work after {seconds:g} seconds. {_WAY_OUT}") from None
    except MemoryError:
        raise EngineError(f"{what} took more than {memory >> 20:,} MiB. {_WAY_OUT}") from None
    finally:
        with lock:
            ended.set()
        timer.cancel()


_WAY_OUT: Final = "It does not end, or wants to do harm: look into it, and mend or replace it (chat_template)."


@contextmanager
def _memory(limit: int) -> Iterator[None]:
    if sys.platform != "linux":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = psutil.Process().memory_info().vms + limit
    if soft != resource.RLIM_INFINITY and soft <= wanted:
        yield
        return
    resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
