"""The directory with the real benchmark files: found, read and hashed. Files may be plain or gzipped (``NAME.gz``)."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from selfreward_bench.errors import DataError
from selfreward_bench.files import os_errors

__all__ = ["ENVIRONMENT_VARIABLE", "DataDir"]

ENVIRONMENT_VARIABLE: Final = "SRBENCH_DATA_DIR"
_MAX_BYTES: Final = 512 * 2**20  # unpacked; no benchmark file is larger


@dataclass(frozen=True, slots=True)
class DataDir:
    """Where the benchmark files are.

    Attributes:
        root: None when the user named no place.
    """

    root: Path | None = None

    @classmethod
    def find(cls, given: Path | None = None) -> DataDir:
        """``given``, or the place that the environment variable ``SRBENCH_DATA_DIR`` names."""
        named = os.environ.get(ENVIRONMENT_VARIABLE)
        return cls(given or (Path(named) if named else None))

    def path(self, relative: str) -> Path:
        """The file as it lies there, plain or gzipped.

        Raises:
            DataError: it is not there; the message says which command gets it.
        """
        name = relative.split("/")[0].replace("_", "-")
        get_it = (
            f"Get it with `srbench data pull {name}`, or name its directory with --data-dir or {ENVIRONMENT_VARIABLE}."
        )
        if self.root is None:
            raise DataError(f"{relative} is needed, and no data directory is known. {get_it}")
        plain = self.root / relative
        for candidate in (plain, plain.with_name(plain.name + ".gz")):
            if candidate.is_file():
                return candidate
        raise DataError(f"{plain} (or {plain.name}.gz) is not there. {get_it}")

    def read(self, relative: str) -> bytes:
        """The unpacked content.

        Raises:
            DataError: it is not there, damaged, or too large.
        """
        path = self.path(relative)
        try:
            with os_errors(path, "read"), _open(path) as stream:
                content = stream.read(_MAX_BYTES + 1)
        except (EOFError, zlib.error) as error:
            raise DataError(f"{path} is damaged ({error}). Remove it and get it again.") from error
        if len(content) > _MAX_BYTES:
            raise DataError(f"{path} holds more than {_MAX_BYTES:,} bytes; no benchmark file is that large.")
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


def _open(path: Path) -> IO[bytes] | gzip.GzipFile:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")
