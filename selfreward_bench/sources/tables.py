"""Rows of a table, one at a time, whatever holds them: JSONL, a JSON array or Parquet, also gzipped; more in ``arrow``.

What a file is, is told by its content, not by its name, but for CSV, which ``rows`` reads. Every read is bounded: a
line, an element or a batch of rows, and what a gzipped file may unpack to. A line that cannot be read is a row with a
fault; a file that cannot is an error.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from selfreward_bench.errors import DataError
from selfreward_bench.storage import jsonl, kinds
from selfreward_bench.storage.decoding import parse
from selfreward_bench.storage.files import os_errors

__all__ = ["Row", "Table", "open_table", "unpacked_limit"]

_CHUNK: Final = 1 << 16
_MAX_RATIO: Final = 200  # unpacked to packed bytes; text of any sort is below 100
_MAX_UNPACKED: Final = 16 * 2**30
_FREE: Final = 16 * 2**20  # unpacked bytes that are let through whatever the ratio
_MAX_PARQUET_UNPACKED: Final = 2**30  # a gzipped Parquet file must be held whole


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Attributes:
        place: ``FILE:LINE`` or ``FILE, row N`` (from 1).
        values: by column, without those that are null; empty where there is a fault.
        fault: why the row could not be read.
    """

    place: str
    values: dict[str, Any]
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table that was opened.

    Attributes:
        name: as it was given.
        container: what holds it, in words.
        columns: those that are declared (Parquet, ``datasets``); empty where only the rows tell.
        rows: reads it from the beginning; of declared columns only those that some shape has.
        digest: sha256 (hex) of the file's bytes; of a table that is no single file, of its rows.
    """

    name: str
    container: str
    columns: tuple[str, ...]
    rows: Callable[[], Iterator[Row]]
    digest: Callable[[], str]


def open_table(given: str) -> Table:
    """A file, a directory of ``datasets``, or ``hf:OWNER/NAME`` (see ``arrow.hub``).

    Raises:
        DataError: there is none, or it is of a kind that holds no table.
    """
    from selfreward_bench.sources import arrow

    path = Path(given)
    if given.startswith(arrow.HUB_PREFIX):
        return arrow.hub(given)
    if path.is_dir():
        return arrow.directory(path)
    if arrow.is_hub_name(given) and not path.parent.exists():
        raise DataError(
            f"Cannot read {given}: there is no such file or directory. Check the path; a data set of the hub would be "
            f"{arrow.HUB_PREFIX}{given}."
        )
    with _opened(path) as stream:
        kind = kinds.kind_of(_head(stream, path))
    packed = kind == kinds.GZIP
    if packed:
        with _opened(path, packed) as stream:
            kind = kinds.kind_of(_head(stream, path))
    if path.name.removesuffix(".gz").endswith((".csv", ".tsv")) and kind not in (kinds.PARQUET, kinds.JSON_ARRAY):
        return Table(str(path), "CSV", (), lambda: _csv_rows(path), lambda: _sha256(path))
    if kind not in _READERS:
        raise DataError(f"{path}: {'gzipped, ' if packed else ''}this is {kind}. {_READ}")
    container = (f"gzipped {kind}" if packed else kind).replace("gzipped a ", "a gzipped ")
    return _READERS[kind](path, packed, container)


_READ: Final = (
    "What can be read: JSONL, a JSON array, Parquet or CSV (.csv, .tsv), also gzipped, and a directory written by "
    "`datasets`."
)


def _csv_rows(path: Path) -> Iterator[Row]:
    from selfreward_bench.sources.rows import iterate_rows

    for number, row in enumerate(iterate_rows(path), 1):
        yield Row(f"{path}, row {number}", {name: cell for name, cell in row.values.items() if cell is not None})


def _lines_table(path: Path, packed: bool, container: str) -> Table:
    def rows() -> Iterator[Row]:
        with _opened(path, packed) as stream:
            for number, line in jsonl.lines_of(stream, path):
                yield _row(line, f"{path}:{number}")

    return Table(str(path), container, (), rows, lambda: _sha256(path))


def _array_table(path: Path, packed: bool, container: str) -> Table:
    def rows() -> Iterator[Row]:
        with _opened(path, packed) as stream:
            for number, element in enumerate(_elements(stream, path), 1):
                yield _row(element.encode("utf-8", "surrogatepass"), f"{path}, row {number}")

    return Table(str(path), container, (), rows, lambda: _sha256(path))


def _parquet_table(path: Path, packed: bool, container: str) -> Table:
    from selfreward_bench.sources import arrow

    content = None
    if packed:
        with _opened(path, packed) as stream:
            content = stream.read(_MAX_PARQUET_UNPACKED + 1)
        if len(content) > _MAX_PARQUET_UNPACKED:
            raise DataError(f"{path}: unpacks to more than {_MAX_PARQUET_UNPACKED:,} bytes. Unpack it first (gunzip).")
    opened = arrow.Parquet(path, content)
    return Table(str(path), container, opened.columns, opened.rows, lambda: _sha256(path))


_READERS: Final[dict[str, Callable[[Path, bool, str], Table]]] = {
    kinds.JSONL: _lines_table,
    kinds.JSON_ARRAY: _array_table,
    kinds.PARQUET: _parquet_table,
}


def _row(line: bytes, place: str) -> Row:
    try:
        values = parse(line, place)
    except DataError as error:
        return Row(place, {}, str(error).removeprefix(f"{place}: "))
    if not isinstance(values, dict):
        return Row(place, {}, "this is no JSON object like {...}")
    return Row(place, {key: value for key, value in values.items() if value is not None})


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with os_errors(path, "read"), path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


# --- bytes


class _Bounded:
    """A stream that ends with an error where it unpacks to more than it may, or is damaged."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile, path: Path, limit: int) -> None:
        self._stream, self._path, self._left = stream, path, limit

    def read(self, size: int) -> bytes:
        return self._checked(self._stream.read, size)

    def readline(self, size: int, /) -> bytes:
        return self._checked(self._stream.readline, size)

    def _checked(self, read: Callable[[int], bytes], size: int) -> bytes:
        try:
            found = read(size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(
                f"{self._path}: the compressed file is damaged or cut off ({error}). Fetch it again."
            ) from error
        self._left -= len(found)
        if self._left < 0:
            raise DataError(
                f"{self._path}: unpacks to more than {_MAX_RATIO} times its size, or to more than "
                f"{_MAX_UNPACKED:,} bytes. No text does; if it is meant to, unpack it first (gunzip)."
            )
        return found


def unpacked_limit(size: int) -> int:
    """How many bytes a compressed file of so many bytes may hold."""
    return min(max(_FREE, size * _MAX_RATIO), _MAX_UNPACKED)


@contextmanager
def _opened(path: Path, packed: bool = False) -> Iterator[_Bounded]:
    with os_errors(path, "read"), path.open("rb") as stream:
        if not packed:
            yield _Bounded(stream, path, 2**62)
            return
        size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        with gzip.GzipFile(fileobj=stream) as unpacked:
            yield _Bounded(unpacked, path, unpacked_limit(size))


def _head(stream: _Bounded, path: Path) -> bytes:
    head = stream.read(kinds.HEAD_BYTES)
    if not head.strip():
        raise DataError(
            f"{path}: the file holds no records. Check that it is the right one and was written to the end."
        )
    return head


# --- a JSON array, element by element


def _elements(stream: _Bounded, path: Path) -> Iterator[str]:
    """The text of each element of a JSON array; no more than one element is held."""
    window = _Window(stream, path)
    window.skip("[", 0)
    number = 0
    if window.next_character(number) == "]":
        window.skip("]", number)
    else:
        while True:
            number += 1
            yield window.element(number)
            if window.next_character(number) != ",":
                break
            window.skip(",", number)
        window.skip("]", number)
    if window.next_character(number):
        raise DataError(f"{path}: something follows the end of the JSON array, after row {number}. Remove it.")


class _Window:
    """The part of a JSON text that is looked at."""

    def __init__(self, stream: _Bounded, path: Path) -> None:
        self._stream, self._path = stream, path
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._text, self._at, self._ended = "", 0, False
        self._parse = json.JSONDecoder().raw_decode

    def next_character(self, number: int) -> str:
        """The next one that is no white space, without moving past it; nothing at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._text) or not self._more(number):
                return self._text[self._at : self._at + 1]

    def skip(self, wanted: str, number: int) -> None:
        found = self.next_character(number)
        if found != wanted:
            what = f"{found!r} stands" if found else "the file ends"
            raise DataError(
                f"{self._path}: {what} where {wanted!r} is needed, after row {number}. The JSON array is damaged or "
                "was cut off while written."
            )
        self._at += 1

    def element(self, number: int) -> str:
        self.next_character(number)
        while True:
            try:
                _, end = self._parse(self._text, self._at)
            except json.JSONDecodeError as error:
                is_cut = error.msg.startswith("Unterminated string") or error.pos + 16 > len(self._text)
                if not (is_cut and self._more(number)):
                    raise DataError(
                        f"{self._path}, row {number}: not valid JSON: {error.msg}. The JSON array is damaged or was "
                        "cut off while written."
                    ) from error
            except RecursionError as error:
                raise DataError(f"{self._path}, row {number}: nested too deeply to be a record.") from error
            except ValueError as error:  # a number of more digits than Python reads
                raise DataError(f"{self._path}, row {number}: {error}.") from error
            else:
                start, self._at = self._at, end
                if end - start > jsonl.MAX_LINE_BYTES:
                    raise self._too_long(number)
                return self._text[start:end]

    def _more(self, number: int) -> bool:
        """Reads on, twice as much each time, so that a long element is parsed a few times only."""
        pending = len(self._text) - self._at
        if self._ended:
            return False
        if pending > jsonl.MAX_LINE_BYTES:
            raise self._too_long(number)
        block = self._stream.read(max(_CHUNK, pending))
        self._ended = not block
        try:
            self._text, self._at = self._text[self._at :] + self._decode(block, self._ended), 0
        except UnicodeDecodeError as error:
            raise DataError(f"{self._path}: after row {number}: not valid UTF-8. Save the file as UTF-8.") from error
        return not self._ended

    def _too_long(self, number: int) -> DataError:
        return DataError(
            f"{self._path}, row {number}: longer than {jsonl.MAX_LINE_BYTES:,} characters; no record is. Shorten or "
            "remove it."
        )
