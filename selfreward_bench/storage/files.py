"""What every file srbench touches has in common: whole or not at all, and the operating system's refusals in words."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from selfreward_bench.errors import ConfigError, DataError, SrbenchError

_REASONS: dict[int, str] = {
    errno.ENOSPC: "no space is left on the device. Free some space and start again; what is complete stays as it is.",
    errno.EDQUOT: "the disk quota is used up. Free some space and start again; what is complete stays as it is.",
    errno.EROFS: "the file system is read-only. Choose a directory that can be written to.",
    errno.EACCES: "permission is denied. Change the permissions, or choose another path.",
    errno.EPERM: "the operation is not permitted here. Change the permissions, or choose another path.",
    errno.ENOENT: "there is no such file or directory. Check the path.",
    errno.ENOTDIR: "a part of the path is a file, not a directory. Choose another path.",
    errno.EISDIR: "it is a directory, not a file. Name a file.",
    errno.EEXIST: "something that is no directory is there. Choose another path.",
    errno.ENAMETOOLONG: "the name is too long for the file system. Choose a shorter one.",
    errno.ELOOP: "a symbolic link is in its place, or a circle of them. Delete or mend it.",
    errno.EMFILE: "too many files are open. Raise the limit (`ulimit -n`) and start again.",
    errno.EMLINK: "it is a pipe or a device, not a file. Put a file in its place.",
    errno.EIO: "the device reports an input/output error. Check the disk.",
}


@contextmanager
def os_errors(path: Path, action: str, error: type[SrbenchError] = DataError) -> Iterator[None]:
    """Turns what the operating system refuses inside the block into ``error``: the path, the cause, the way out.

    Nothing is read of a pipe or device, which might never end, but for one that the path names as such (/dev/stdin).

    Args:
        path: named in the message.
        action: what was tried, as in "cannot {action} PATH": ``read``, ``write``.
        error: the class that is raised.

    Raises:
        SrbenchError: of class ``error``, for any OSError and for a path that no file system takes (a NUL in it).
    """
    try:
        if action == "read" and _never_ends(path):
            raise OSError(errno.EMLINK, "no file")
        yield
    except OSError as refusal:
        number = refusal.errno or 0
        reason = _REASONS.get(number, f"{refusal.strerror or refusal}. Check the path and the device.")
        raise error(f"Cannot {action} {path}: {reason}") from refusal
    except ValueError as refusal:
        if "null" not in str(refusal):
            raise
        raise error(f"Cannot {action} {str(path)!r}: the path holds a NUL character. Choose another path.") from refusal


def open_file(path: Path) -> BinaryIO:
    """A file to be read that somebody else may have put there.

    Raises:
        OSError: the system refuses, or it is a pipe or a device, of which reading might never end.
    """
    if _never_ends(path):
        raise OSError(errno.EMLINK, "no file", str(path))
    return path.open("rb")


def _never_ends(path: Path) -> bool:
    """Whether a path leads to a pipe, a socket or a device without saying so."""
    if path.is_absolute() and path.parts[1:2] in (("dev",), ("proc",)):
        return False
    with suppress(OSError, ValueError):
        mode = path.stat().st_mode
        return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
    return False


def expanded(path: Path) -> Path:
    """A path with the user's home for its ``~``; one of a user that nobody knows stays as it is, as in a shell."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def home() -> Path:
    """The user's home directory.

    Raises:
        ConfigError: nothing tells it, as in a container whose user has no name.
    """
    try:
        return Path.home()
    except RuntimeError as error:
        raise ConfigError(
            "No home directory is known: HOME is not set, and this user has no name here. Set HOME to a directory that "
            "can be written to."
        ) from error


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A stream whose content becomes the file at the end of the block: at any moment, power cuts included, it is there
    as before or whole. Where the block raises, it is as before.

    Two processes must not write the same path at once (a run's lock sees to that).

    Raises:
        DataError: when the operating system refuses.
    """
    temporary = path.with_name(f".{path.name}.tmp")  # always the same: what a killed process left is replaced
    with os_errors(path, "write"):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.unlink(missing_ok=True)
            with os.fdopen(open_own(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError, ValueError):
                temporary.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)


def write_atomic(path: Path, content: bytes) -> None:
    """Writes a file as ``whole_file`` does.

    Raises:
        DataError: when the operating system refuses; the file is then as it was.
    """
    with whole_file(path) as stream:
        stream.write(content)


def open_own(path: Path, flags: int) -> int:
    """A descriptor of a file of srbench's own: a link in its place leads anywhere, and is not written through.

    A symbolic link is refused; of a file that has a second name (forks share what is finished) a copy is opened.

    Args:
        flags: as ``os.open`` takes them.

    Raises:
        OSError: the system refuses; a symbolic link is in the file's place (ELOOP), or a pipe or device (EMLINK).
    """
    flags |= sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK"))
    descriptor = os.open(path, flags, 0o666)
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
        return descriptor
    os.close(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EMLINK, "no file")
    write_atomic(path, path.read_bytes())
    return os.open(path, flags, 0o666)


def sync_directory(directory: Path) -> None:
    """Makes a rename or a new file in ``directory`` last through a power cut, where the platform can."""
    with suppress(PermissionError, NotImplementedError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            with suppress(OSError):  # some network file systems cannot sync a directory
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
