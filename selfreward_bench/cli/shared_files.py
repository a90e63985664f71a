"""What ``srbench doctor --cluster DIR`` looks at: whether the file system of a directory is fit for many machines.

It can only be looked at from one machine at a time: whether locks reach the others is read off what is mounted.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Final

from selfreward_bench.cli.diagnosis import Finding
from selfreward_bench.errors import DataError
from selfreward_bench.storage.files import os_errors, write_atomic

__all__ = ["check_cluster"]

#: kinds of file systems that are one machine's own
_OWN: Final = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "f2fs", "squashfs", "apfs"})
_BUCKETS: Final = ("s3fs", "gcsfuse", "goofys", "rclone", "mountpoint-s3", "blobfuse", "ossfs", "s3backer")
#: options with which locks end at the machine that takes them
_LOCAL_LOCKS: Final = ("nolock", "local_lock=all", "local_lock=flock", "localflock", "noflock", "nobrl")
#: kind -> what has its locks reach other machines, where the options of the mount do not tell
_UNTOLD: Final = {
    "beegfs": "its locks reach other machines only with tuneUseGlobalFileLocks=true in each client's beegfs-client.conf"
}
_TRY_LOCK: Final = "import fcntl, sys; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)"
_RENAMES: Final = 100
_SYNCS: Final = 10
_SLOW_SYNC: Final = 0.1  # seconds; each batch of answers waits for one
_SKEW: Final = 2.0  # seconds


@dataclass(frozen=True, slots=True)
class _Mount:
    kind: str
    source: str
    options: tuple[str, ...]


def check_cluster(directory: Path) -> Iterator[Finding]:
    """Findings of a directory that all machines are to see, and of what is installed for several.

    Args:
        directory: where runs are or will be; files are made in it and deleted.
    """
    with os_errors(directory, "look into"):
        there = next(p for p in (directory.absolute(), *directory.absolute().parents) if p.is_dir())
    yield _mounted(there)
    try:
        with os_errors(there, "write into"):
            room = tempfile.TemporaryDirectory(prefix=".srbench-doctor-", dir=there)
        with room as name:
            for check in (_locks, _renames, _syncs, _clock):
                yield check(Path(name))
    except (DataError, OSError) as error:
        yield Finding("fail", "shared files", str(error))
    yield _ray()


def _mounted(directory: Path) -> Finding:
    found = _mount_of(directory, _mounts())
    what, of = "shared file system", f"{directory} is on"
    if found is None:
        return Finding("warn", what, f"this system does not tell what {directory} is on")
    told = f"{of} {found.kind} ({found.source})"
    if any(name in f"{found.kind} {found.source}".lower() for name in _BUCKETS):
        return Finding("fail", what, f"{told}: a bucket has no locks, no rename and no append. Take a file system")
    if off := [option for option in found.options if option in _LOCAL_LOCKS]:
        return Finding("fail", what, f"{told} mounted with {', '.join(off)}: two machines could write one run at once")
    if found.kind == "fuse.sshfs":
        return Finding("fail", what, f"{told}, whose locks end at this machine: two could write one run at once")
    if found.kind in _UNTOLD:
        return Finding("warn", what, f"{told}: {_UNTOLD[found.kind]}")
    if found.kind in _OWN:
        return Finding("warn", what, f"{told}, which is this machine's own: other machines do not see it")
    return Finding("ok", what, told)


def _mounts() -> list[str]:
    try:
        return Path("/proc/mounts").read_text("utf-8", "replace").splitlines()
    except OSError:
        return []


def _mount_of(directory: Path, mounts: list[str]) -> _Mount | None:
    """Of lines as in /proc/mounts, the last one whose place holds the directory most closely."""
    best: tuple[int, _Mount] | None = None
    path = directory.resolve()
    for line in mounts:
        source, place, kind, options, *_ = [*line.split(" "), "", "", ""]
        point = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), place))  # \\040 is a space
        if (point == path or point in path.parents) and (best is None or len(point.parts) >= best[0]):
            best = len(point.parts), _Mount(kind, source, tuple(options.split(",")))
    return best[1] if best else None


def _locks(room: Path) -> Finding:
    """A lock of this process must be refused to another one, and given to it afterwards."""
    file = room / "lock"
    try:
        import fcntl

        with file.open("wb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            refused = not _can_lock(file)
        given = _can_lock(file)
    except (ImportError, OSError, subprocess.SubprocessError) as error:
        return Finding("fail", "locks", f"there are none (flock: {error}): two processes could write one run at once")
    if refused and given:
        return Finding("ok", "locks", "flock keeps a second process out, on this machine")
    fault = "lets two processes have the same lock" if not refused else "does not give a lock back"
    return Finding("fail", "locks", f"flock {fault}: two processes could write one run at once")


def _can_lock(file: Path) -> bool:
    command = [sys.executable, "-c", _TRY_LOCK, str(file)]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)  # noqa: S603  # this interpreter
    return done.returncode == 0


def _renames(room: Path) -> Finding:
    """Whoever reads while a file is replaced must find the one or the other, whole."""
    file, contents = room / "file", (b"a" * 65_536, b"b" * 65_536)
    write_atomic(file, contents[0])
    torn: list[str] = []
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            try:
                if file.read_bytes() not in contents:
                    torn.append("a part of it")
            except FileNotFoundError:
                torn.append("nothing")
            except OSError as error:  # an open file that was replaced: NFS calls it stale
                torn.append(f"an error ({error.strerror})")

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(_RENAMES):
            write_atomic(file, contents[number % 2])
    finally:
        ended.set()
        reader.join()
    if torn:
        return Finding("fail", "rename", f"while a file was replaced, a reader found {torn[0]} in its place")
    return Finding("ok", "rename", f"a file was replaced {_RENAMES} times, and always there as a whole")


def _syncs(room: Path) -> Finding:
    """What was appended is on the disk when fsync returns, as far as the system says."""
    seconds = []
    with (room / "records").open("ab", buffering=0) as stream:
        for _ in range(_SYNCS):
            started = time.perf_counter()
            stream.write(b"{}\n")
            os.fsync(stream.fileno())
            seconds.append(time.perf_counter() - started)
    usual = median(seconds)
    if usual > _SLOW_SYNC:
        return Finding("warn", "fsync", f"takes {usual * 1e3:.0f} ms, which every batch of answers waits for")
    return Finding("ok", "fsync", f"{usual * 1e3:.1f} ms")


def _clock(room: Path) -> Finding:
    """A file's time is the server's; what is compared with it is this machine's."""
    file = room / "now"
    file.touch()
    apart = abs(file.stat().st_mtime - time.time())
    if apart > _SKEW:
        return Finding("warn", "clock", f"the file system's is {apart:.0f} s from this machine's; set both by NTP")
    return Finding("ok", "clock", "this machine's and the file system's agree")


def _ray() -> Finding:
    try:
        address = os.environ.get("RAY_ADDRESS")
        told = f"; RAY_ADDRESS={address}" if address else "; RAY_ADDRESS is not set"
        return Finding("ok", "Ray", metadata.version("ray") + told)
    except metadata.PackageNotFoundError:
        return Finding("warn", "Ray", "not installed: replicas (cluster) need pip install 'srbench[ray]'")
