"""Gets the real benchmark files from where they are published; httpx is imported only when something is got.

A file appears under its name only when all its bytes are there and have the published sha256; where it arrives with
CRLF for line ends, these are put right first. What is complete is not got again; a file that was cut off starts anew.
Nothing that is received is executed, unpacked or interpreted.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from selfreward_bench.errors import ConfigError, DataError
from selfreward_bench.progress import Reporter, Silent
from selfreward_bench.sources.directory import DataDir
from selfreward_bench.sources.network import DIRECT
from selfreward_bench.storage.files import open_own, os_errors, sync_directory
from selfreward_bench.storage.lock import writer_lock

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from selfreward_bench.sources.published import DataFile

__all__ = ["Plan", "plan", "pull"]

STAGE: Final = "download"
WAITS: Final = (1.0, 5.0, 15.0)  # seconds before the second, third and fourth try
_SILENCE_SECONDS: Final = 30.0  # without a byte, or a connection
_PATIENCE_SECONDS: Final = 120.0  # for one try of one file, and what its size takes at the slowest rate
_SLOWEST: Final = 5_000  # bytes per second
_MAX_REDIRECTS: Final = 5
_SPARE_BYTES: Final = 2**20  # that must stay free


@dataclass(frozen=True, slots=True)
class Plan:
    """What there is to get.

    Attributes:
        files: missing here, or not what is published.
        replaced: those of them that are there with other bytes.
        kept: files that are complete.
    """

    files: tuple[DataFile, ...]
    replaced: tuple[DataFile, ...]
    kept: int

    @property
    def size(self) -> int:
        """Bytes to get."""
        return sum(file.size for file in self.files)


def plan(files: Sequence[DataFile], root: Path) -> Plan:
    """Compares the files below ``root`` with what is published; every file that is there is hashed.

    Raises:
        DataError: the operating system does not let a file be read.
    """
    wanted = {file.path: file for file in files}.values()
    states = {file: DataDir(root).state(file, verify=True) for file in wanted}
    missing = tuple(file for file, state in states.items() if state != "same")
    return Plan(missing, tuple(f for f in missing if states[f] == "other"), len(states) - len(missing))


def pull(files: Sequence[DataFile], root: Path, *, reporter: Reporter | None = None) -> None:
    """Gets files, one after the other, each whole or not at all.

    Args:
        files: what to get; nothing is looked up or skipped here, see ``plan``.
        root: the data directory; it is made if needed.
        reporter: told the bytes as they arrive.

    Raises:
        DataError: an address cannot be reached or does not give the published bytes, or the disk refuses.
        ConfigError: the environment names a proxy or certificates that cannot be used.
        IncompatibleRunError: another process is getting files into the same directory.
    """
    if not files:
        return
    with os_errors(root, "make"):
        root.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(root).free
    needed = sum(file.size for file in files) + _SPARE_BYTES
    if free < needed:
        raise DataError(f"{root} has {free:,} bytes free, and {needed:,} are needed. Free some, or name another place.")
    reporter = reporter or Silent()
    start = time.monotonic()
    with writer_lock(root / ".lock"), _client() as client:
        reporter.started(STAGE, sum(file.size for file in files), "bytes")
        for file in files:
            _get(client, file, root / file.path, reporter)
        counts = {"files": len(files), "bytes": sum(file.size for file in files)}
        reporter.finished(STAGE, counts, time.monotonic() - start)


def _client() -> httpx.Client:
    import httpx

    from selfreward_bench import __version__

    headers = {"User-Agent": f"srbench/{__version__}", "Accept-Encoding": "identity"}
    try:
        return httpx.Client(headers=headers, timeout=_SILENCE_SECONDS, mounts=DIRECT)
    except (ImportError, OSError, ValueError, httpx.InvalidURL) as error:
        why = "invalid URL" if isinstance(error, httpx.InvalidURL) else error  # whose words may hold a password
        raise ConfigError(
            f"The proxy or the certificates that the environment names cannot be used: {why}. "
            "See HTTPS_PROXY, ALL_PROXY and SSL_CERT_FILE."
        ) from None


class _PassingError(Exception):
    """Something that another try may not meet."""


def _get(client: httpx.Client, file: DataFile, target: Path, reporter: Reporter) -> None:
    """One file, with as many tries as there are waits, and one."""
    for wait in (*WAITS, None):
        try:
            _download(client, file, target, reporter)
        except _PassingError as trouble:
            if wait is None:
                raise DataError(
                    f"{file.url} cannot be got, {len(WAITS) + 1} times tried: {trouble}. Check the connection and call "
                    "it again; what is complete is kept."
                ) from trouble
            time.sleep(wait)
        else:
            return


def _download(client: httpx.Client, file: DataFile, target: Path, reporter: Reporter) -> None:
    temporary = target.with_name(f".{target.name}.part")
    with os_errors(target, "write"):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.unlink(missing_ok=True)
            with os.fdopen(open_own(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL), "w+b") as stream:
                _receive(client, file, stream, reporter.advanced)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(target)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        sync_directory(target.parent)


def _receive(client: httpx.Client, file: DataFile, stream: IO[bytes], advanced: Callable[[int], None]) -> None:
    """Writes what the address gives, and refuses what is not the published file."""
    import httpx

    digest, received = hashlib.sha256(), 0
    give_up = time.monotonic() + _PATIENCE_SECONDS + file.size / _SLOWEST
    try:
        with _opened(client, file.url) as response:
            _check_status(response, file)
            for chunk in response.iter_raw():
                received += len(chunk)
                advanced(len(chunk))
                if received > 2 * file.size:  # a CR in every line is less
                    break
                if time.monotonic() > give_up:
                    raise _PassingError(f"too slow, {received:,} of {file.size:,} bytes came")
                digest.update(chunk)
                stream.write(chunk)
    except _PassingError:
        advanced(-received)
        raise
    except (httpx.RequestError, httpx.InvalidURL) as error:
        advanced(-received)
        raise _PassingError(f"{type(error).__name__}: {error}") from error
    if received > file.size and _is_put_right(stream, file):
        advanced(file.size - received)
    else:
        _check_content(file, received, digest.hexdigest())


def _is_put_right(stream: IO[bytes], file: DataFile) -> bool:
    """Whether what was written is the published file but for its line ends; then these are made its own."""
    stream.seek(0)
    content = stream.read().replace(b"\r\n", b"\n")
    if (len(content), hashlib.sha256(content).hexdigest()) != (file.size, file.sha256):
        return False
    stream.seek(0)
    stream.truncate()
    stream.write(content)
    return True


@contextmanager
def _opened(client: httpx.Client, address: str) -> Iterator[httpx.Response]:
    """The answer of an address, or of what it redirects to, yet to be read; a redirection's own content is not read."""
    import httpx

    url = httpx.URL(address)
    schemes = {"https", url.scheme} if url.host == "127.0.0.1" else {"https"}  # this machine needs no certificate
    for _ in range(_MAX_REDIRECTS + 1):
        if url.scheme not in schemes or (url.scheme == "http" and url.host != "127.0.0.1"):
            raise DataError(f"{address} leads to {url.scheme}://{url.host}; only https is followed. Nothing was kept.")
        with client.stream("GET", url) as response:
            if not response.has_redirect_location:
                yield response
                return
            url = response.url.join(response.headers["Location"])
    raise DataError(f"{address} redirects more than {_MAX_REDIRECTS} times. Nothing was kept.")


def _check_status(response: httpx.Response, file: DataFile) -> None:
    status = f"{response.status_code} {response.reason_phrase}".strip()
    if response.status_code == 429 or response.status_code >= 500:
        raise _PassingError(f"the server answered {status}")
    if response.status_code != 200:
        raise DataError(f"{file.url} cannot be got: the server answered {status}. {_way_out(file)}")


def _check_content(file: DataFile, received: int, sha256: str) -> None:
    if received > file.size:
        raise DataError(f"{file.url} gives more than the {file.size:,} bytes that are published. {_way_out(file)}")
    if (received, sha256) != (file.size, file.sha256):
        raise DataError(
            f"{file.url} gives other bytes than the published ones: expected {file.size:,} with sha256 {file.sha256}, "
            f"got {received:,} with {sha256}. {_way_out(file)}"
        )


def _way_out(file: DataFile) -> str:
    return (
        f"Nothing of it was kept. A copy from elsewhere, with the published sha256, can be put at {file.path} "
        "in the data directory."
    )
