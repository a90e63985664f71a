"""One writer at a time: a lock file that knows its process.

Where the file system has kernel locks, they decide: such a lock ends with its process, however that ends. The process,
host and start time written in the file are for the message, and decide where there are no kernel locks. Whether the
kernel's locks reach another machine cannot be told, so its lock stays until it is deleted by hand; a container that
died on this machine (the same kernel under another host name) is this machine.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from selfreward_bench.errors import IncompatibleRunError
from selfreward_bench.storage.files import open_own, os_errors

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
        descriptor = open_own(path, os.O_RDWR | os.O_CREAT)
    try:
        with os_errors(path, "lock"):
            _acquire(descriptor, path)
        try:
            yield
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        _release(descriptor)


def is_held(path: Path) -> bool | None:
    """Whether a process holds a lock, as far as its file tells; the lock is not touched.

    Returns:
        None where its process is on another machine, and cannot be looked at.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return False
    try:
        owner = _Owner.read(descriptor)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False if owner is None else owner.is_alive() if owner.is_local else None


@dataclass(frozen=True, slots=True)
class _Owner:
    pid: int
    host: str
    started: float  # seconds since the epoch
    boot: str  # of the kernel since it started; empty where the system does not tell

    @classmethod
    def this_process(cls) -> _Owner:
        return cls(os.getpid(), socket.gethostname(), psutil.Process().create_time(), _boot())

    @classmethod
    def read(cls, descriptor: int) -> _Owner | None:
        """Who is written in the lock file; None when nobody is, or when its writer was killed while writing."""
        try:
            values = json.loads(os.pread(descriptor, 4096, 0))
            place = str(values["host"]), float(values["started"]), str(values.get("boot", ""))
            return cls(int(values["pid"]), *place)
        except (ValueError, KeyError, TypeError, OverflowError):
            return None

    def write(self, descriptor: int) -> None:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(self)).encode(), 0)
        os.fsync(descriptor)

    @property
    def is_local(self) -> bool:
        return self.host == socket.gethostname()

    def is_gone(self, kernel_lock: bool) -> bool:
        """Whether the lock has outlived its process; ``kernel_lock``: the kernel has just given it to this process."""
        if self.is_local:
            return not self.is_alive()
        return kernel_lock and bool(self.boot) and self.boot == _boot()

    def is_alive(self) -> bool:
        """Whether that very process runs on this host, not another one that got its number later."""
        try:
            return bool(abs(psutil.Process(self.pid).create_time() - self.started) < _SAME_START_SECONDS)
        except (psutil.NoSuchProcess, ValueError, OverflowError):
            return False
        except psutil.AccessDenied:
            return True


def _acquire(descriptor: int, path: Path) -> None:
    ours = _kernel_lock(descriptor, path)
    owner = _Owner.read(descriptor)
    if ours is False or (owner and not owner.is_gone(kernel_lock=ours is True)):
        raise IncompatibleRunError(_in_use(owner, path))
    if owner:
        _log.warning("Taking over %s: process %d, which had locked it, is gone.", path, owner.pid)
    _Owner.this_process().write(descriptor)


def _kernel_lock(descriptor: int, path: Path) -> bool | None:
    """Whether it is ours now; False when another process holds it, None where there are no such locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        _log.info("The file system of %s has no locks: %s", path, error)
        return None
    return True


def _boot() -> str:
    """Names this start of this machine's kernel; all its containers share it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except (OSError, ValueError):
        return ""


def _release(descriptor: int) -> None:
    """Explicitly, because a forked child may still have the file open."""
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        except OSError as error:
            _log.info("The lock could not be given back: %s", error)
    os.close(descriptor)


def _in_use(owner: _Owner | None, path: Path) -> str:
    place = path.parent
    if owner is None:
        return f"{place} is in use by another process, which is just starting or ending. Try again."
    if not owner.is_local:
        return (
            f"{place} is in use by process {owner.pid} on host {owner.host!r}, which cannot be looked at from here. "
            f"Wait for it to end; if it surely is gone, delete {path} and start again."
        )
    if not owner.is_alive():
        return f"{place} is in use: process {owner.pid} is gone, but a process it started still runs. End that one."
    return f"{place} is in use by process {owner.pid}; one process writes at a time. Wait for it to end, or stop it."
