"""One writer at a time: a lock file that knows its process.

Where the file system has kernel locks, they decide: such a lock ends with its process, however that ends. The process,
host and start time written in the file are for the message, and decide where there are no kernel locks.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from selfreward_bench.errors import IncompatibleRunError
from selfreward_bench.files import os_errors

try:
    import fcntl
except ImportError:  # a platform without it relies on the owner's process being alive or not
    fcntl = None  # type: ignore[assignment]  # a module elsewhere

_SAME_START_SECONDS = 2.0  # a process's start time is rounded, and moves a little when the clock is set
_log = logging.getLogger(__name__)


@contextmanager
def writer_lock(path: Path) -> Iterator[None]:
    """Holds the lock for the block; it is not re-entrant. A lock whose process is gone is taken over, with a warning.

    Args:
        path: the lock file, in the directory that is protected. It stays, empty, when the lock is given back.

    Raises:
        IncompatibleRunError: another process (or this one) holds it.
        DataError: the operating system refuses.
    """
    with os_errors(path, "lock"):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
    try:
        with os_errors(path, "lock"):
            _acquire(descriptor, path)
        try:
            yield
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        _release(descriptor)


@dataclass(frozen=True, slots=True)
class _Owner:
    pid: int
    host: str
    started: float  # seconds since the epoch

    @classmethod
    def this_process(cls) -> _Owner:
        return cls(os.getpid(), socket.gethostname(), psutil.Process().create_time())

    @classmethod
    def read(cls, descriptor: int) -> _Owner | None:
        """Who is written in the lock file; None when nobody is, or when its writer was killed while writing."""
        try:
            values = json.loads(os.pread(descriptor, 4096, 0))
            return cls(int(values["pid"]), str(values["host"]), float(values["started"]))
        except (ValueError, KeyError, TypeError, OverflowError):
            return None

    def write(self, descriptor: int) -> None:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": self.pid, "host": self.host, "started": self.started}).encode(), 0)
        os.fsync(descriptor)

    @property
    def is_local(self) -> bool:
        return self.host == socket.gethostname()

    def is_alive(self) -> bool:
        """Whether that very process runs on this host, not another one that got its number later."""
        try:
            return bool(abs(psutil.Process(self.pid).create_time() - self.started) < _SAME_START_SECONDS)
        except (psutil.NoSuchProcess, ValueError, OverflowError):
            return False
        except psutil.AccessDenied:
            return True


def _acquire(descriptor: int, path: Path) -> None:
    is_free = _kernel_lock(descriptor, path)
    owner = _Owner.read(descriptor)
    if not is_free or (owner and (not owner.is_local or owner.is_alive())):
        raise IncompatibleRunError(_in_use(owner, path))
    if owner:
        _log.warning("Taking over %s: process %d, which had locked it, is gone.", path, owner.pid)
    _Owner.this_process().write(descriptor)


def _kernel_lock(descriptor: int, path: Path) -> bool:
    """False when another process holds it; True when it is ours now, or when the file system knows no locks."""
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            _log.info("The file system of %s has no locks: %s", path, error)
    return True


def _release(descriptor: int) -> None:
    """Explicitly, because a forked child may still have the file open."""
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        except OSError as error:
            _log.info("The lock could not be given back: %s", error)
    os.close(descriptor)


def _in_use(owner: _Owner | None, path: Path) -> str:
    run = path.parent
    if owner is None:
        return f"{run} is in use by another process, which is just starting or ending. Try again."
    if not owner.is_local:
        return (
            f"{run} is in use by process {owner.pid} on host {owner.host!r}, which cannot be looked at from here. Wait "
            f"for it to end; if it surely is gone, delete {path} and start again."
        )
    if not owner.is_alive():
        return f"{run} is in use: process {owner.pid} is gone, but a process it started still runs. End that one."
    return f"{run} is in use by process {owner.pid}; a run has one writer. Wait for it to end, or stop it."
