"""The directory with the real benchmark files: found, read, hashed, compared with what is published.

Files may be plain or gzipped (``NAME.gz``). Getting them is ``pull``'s work.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Literal

from selfreward_bench.errors import ConfigError, DataError
from selfreward_bench.sources.published import DataFile, set_of
from selfreward_bench.storage.files import home, os_errors

__all__ = ["ENVIRONMENT_VARIABLE", "DataDir", "State", "default_root"]

ENVIRONMENT_VARIABLE: Final = "SRBENCH_DATA_DIR"
_MAX_BYTES: Final = 512 * 2**20  # unpacked; no benchmark file is larger
_MAX_VALUES: Final = (
    20_000_000  # each takes some 60 bytes of memory and more, and a packed file of them next to nothing
)


class _DamagedError(DataError):
    """A file that can be opened, but not be what was published."""


#: of a file: ``same`` has the published bytes, ``unchecked`` was not looked into, ``other`` has different bytes
State = Literal["same", "unchecked", "other", "missing"]


def default_root() -> Path:
    """Where files are kept when the user names no place: ``$XDG_DATA_HOME/srbench/data`` (``~/.local/share``).

    Raises:
        ConfigError: no home directory is known.
    """
    named = Path(os.environ.get("XDG_DATA_HOME") or "")
    return (named if named.is_absolute() else home() / ".local" / "share") / "srbench" / "data"


@dataclass(frozen=True, slots=True)
class DataDir:
    """Where the benchmark files are.

    Attributes:
        root: None when the user named no place.
    """

    root: Path | None = None

    @classmethod
    def find(cls, given: Path | None = None) -> DataDir:
        """``given``, or what the environment variable ``SRBENCH_DATA_DIR`` names, or the usual place if it is there."""
        if given is not None:
            return cls(given)
        if named := os.environ.get(ENVIRONMENT_VARIABLE):
            return cls(Path(named))
        with suppress(ConfigError):  # without a home there is no usual place
            return cls(usual if (usual := default_root()).is_dir() else None)
        return cls(None)

    def path(self, relative: str) -> Path:
        """The file as it lies there, plain or gzipped.

        Raises:
            DataError: it is not there; the message says which command gets it.
        """
        if self.root is None:
            raise DataError(f"{relative} is needed, and no data directory is known. {_get_it(relative)}")
        if (found := self._look(relative)) is None:
            plain = self.root / relative
            raise DataError(f"{plain} (or {plain.name}.gz) is not there. {_get_it(relative)}")
        return found

    def read(self, relative: str) -> bytes:
        """The unpacked content.

        Raises:
            DataError: it is not there, damaged, or too large.
        """
        path = self.path(relative)
        with os_errors(path, "read"):
            try:
                with _open(path) as stream:
                    content = stream.read(_MAX_BYTES + 1)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise _DamagedError(f"{path} is damaged ({error}). Remove it and get it again.") from error
        if content.count(b"[") + content.count(b"{") > _MAX_VALUES:
            raise _DamagedError(f"{path} holds more than {_MAX_VALUES:,} lists and objects; no benchmark file does.")
        if len(content) > _MAX_BYTES:
            raise _DamagedError(f"{path} holds more than {_MAX_BYTES:,} bytes; no benchmark file is that large.")
        return content

    def text(self, relative: str) -> io.StringIO:
        """The unpacked content as UTF-8 text.

        Raises:
            DataError: as ``read``, or it is no UTF-8.
        """
        try:
            return io.StringIO(self.read(relative).decode("utf-8"))
        except UnicodeDecodeError as error:
            raise DataError(f"{self.path(relative)} is not UTF-8 text ({error}).") from error

    def sha256(self, relative: str) -> str:
        """Of the unpacked content, hex."""
        return hashlib.sha256(self.read(relative)).hexdigest()

    def state(self, file: DataFile, *, verify: bool) -> State:
        """How the file compares with what is published.

        Args:
            file: what is published.
            verify: reads and hashes it; without, only the size of a plain file can tell it from another one.

        Raises:
            DataError: the operating system does not let it be read.
        """
        if (path := self._look(file.path)) is None:
            return "missing"
        if not verify:
            return "unchecked" if path.suffix == ".gz" or path.stat().st_size == file.size else "other"
        try:
            return "same" if self.sha256(file.path) == file.sha256 else "other"
        except _DamagedError:
            return "other"

    def _look(self, relative: str) -> Path | None:
        if self.root is None:
            return None
        plain = self.root / relative
        with os_errors(plain, "read"):
            return next((p for p in (plain, plain.with_name(plain.name + ".gz")) if p.is_file()), None)


def _get_it(relative: str) -> str:
    """The way out for a file that is not there."""
    known = set_of(relative)
    name = known[0].name if known else relative.split("/")[0].replace("_", "-")
    flag = " --with-verification" if known and known[1].verification else ""
    return (
        f"Get it with `srbench data pull {name}{flag}`, "
        f"or name its directory with --data-dir or {ENVIRONMENT_VARIABLE}."
    )


def _open(path: Path) -> IO[bytes] | gzip.GzipFile:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")
