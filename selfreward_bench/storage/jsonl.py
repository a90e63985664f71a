"""Records as JSONL: one JSON object per line, appended batch by batch, checked when read.

Writing refuses what could not be read back (NaN, lone surrogates); reading names file, line and field of what is wrong
(``decoding``).
A process that is killed while it appends can leave a torn last line: ``repair`` cuts it, ``resume`` does so and reads.
Files are read line by line; no line above a bound is ever held in memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

from pydantic import BaseModel

from selfreward_bench.errors import DataError
from selfreward_bench.storage.decoding import decode, find_fault, shown
from selfreward_bench.storage.files import open_own, os_errors, sync_directory, whole_file, write_atomic
from selfreward_bench.storage.kinds import HEAD_BYTES, JSONL, kind_of

__all__ = [
    "MAX_LINE_BYTES",
    "append",
    "iterate",
    "lines",
    "lines_of",
    "read",
    "repair",
    "resume",
    "write",
    "writing",
]

MAX_LINE_BYTES = 16 * 2**20  # a longer line is a mistake (a whole file on one line), not a record

T = TypeVar("T", bound=BaseModel)


class _Readable(Protocol):
    def readline(self, size: int, /) -> bytes: ...


_BOM = b"\xef\xbb\xbf"
_MAX_BLANK_LINES = 1_000_000


def append(path: Path, records: Iterable[BaseModel]) -> None:
    """Adds records to a file (made if missing, also for no records), in one write that is on the disk on return.

    Raises:
        DataError: a record that cannot be written down (nothing is written then), or the operating system refuses (the
            file is cut back to what it was).
    """
    content = _encode(path, records)
    with os_errors(path, "write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        with os.fdopen(open_own(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab", buffering=0) as stream:
            before = stream.seek(0, os.SEEK_END)
            try:
                _write_all(stream.fileno(), content)
                os.fsync(stream.fileno())
            except OSError:
                with suppress(OSError):
                    os.ftruncate(stream.fileno(), before)
                raise
        if is_new:
            sync_directory(path.parent)


def write(path: Path, records: Iterable[BaseModel]) -> None:
    """Writes a whole file: it is there as before or complete, never in between.

    Raises:
        DataError: a record that cannot be written down, or the operating system refuses; the file is then as it was.
    """
    write_atomic(path, _encode(path, records))


@contextmanager
def writing(path: Path) -> Iterator[Callable[[Iterable[BaseModel]], None]]:
    """As ``write``, in parts: gives what adds records to the file, which is there, whole, at the end of the block.

    Raises:
        DataError: as ``write``; the file is then as it was, and so where the block raises.
    """
    with whole_file(path) as stream:
        yield lambda records: _put(stream, _encode(path, records))


def read(
    path: Path,
    model: type[T],
    *,
    unique: Callable[[T], str] | None = None,
    allow_empty: bool = False,
    max_line_bytes: int = MAX_LINE_BYTES,
) -> list[T]:
    """All records of a file, in the file's order. See ``iterate``."""
    return list(iterate(path, model, unique=unique, allow_empty=allow_empty, max_line_bytes=max_line_bytes))


def iterate(
    path: Path,
    model: type[T],
    *,
    unique: Callable[[T], str] | None = None,
    allow_empty: bool = False,
    max_line_bytes: int = MAX_LINE_BYTES,
) -> Iterator[T]:
    """The records of a file, one at a time.

    Args:
        path: UTF-8, one JSON object per line. Blank lines, Windows line ends and a byte order mark are let through.
        model: what each line must be; types are not guessed (``"3"`` is no number).
        unique: what must differ from record to record, such as ``lambda r: r.id``.
        allow_empty: whether a file without records is fine.
        max_line_bytes: longest line that is accepted.

    Raises:
        DataError: the first line that cannot be used, named as ``FILE:LINE`` with its fields and the way out.
    """
    seen: dict[str, int] = {}
    number = 0
    for number, line in lines(path, max_line_bytes):
        record = decode(line, model, f"{path}:{number}")
        if unique is not None:
            key = unique(record)
            if key in seen:
                raise DataError(
                    f"{path}:{number}: the id {shown(key)} is on line {seen[key]} already. Ids must be unique: remove "
                    "one of the two records or give it another id."
                )
            seen[key] = number
        yield record
    if number == 0 and not allow_empty:
        raise DataError(
            f"{path}: the file holds no records. One JSON object per line is needed; check that this is the right file "
            "and that writing it was not cut off."
        )


def repair(path: Path) -> int:
    """Cuts a torn last line: one that does not end, or that is no JSON. For files that ``append`` made.

    Returns:
        How many bytes were cut; 0 for a sound or missing file.

    Raises:
        DataError: the operating system refuses.
    """
    with os_errors(path, "repair"):
        return _cut_torn_line(path) if path.exists() else 0


def resume(path: Path, model: type[T], *, unique: Callable[[T], str] | None = None) -> list[T]:
    """What an interrupted stage already has: ``repair``, then ``read``; nothing where there is no file yet."""
    repair(path)
    return read(path, model, unique=unique, allow_empty=True) if path.exists() else []


# --- writing


def _put(stream: BinaryIO, content: bytes) -> None:
    stream.write(content)


def _encode(path: Path, records: Iterable[BaseModel]) -> bytes:
    encoded = []
    for number, record in enumerate(records, 1):
        values = record.model_dump()
        try:
            text = json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            encoded.append(text.encode())
        except (ValueError, TypeError) as error:  # UnicodeEncodeError is a ValueError
            place = f"Cannot write record {number} ({type(record).__name__}) to {path}"
            field, fault = find_fault(values) or ("?", str(error))
            raise DataError(f"{place}: field {field!r} {fault}. Nothing was written; mend the value.") from error
        if len(encoded[-1]) >= MAX_LINE_BYTES:
            raise DataError(
                f"Cannot write record {number} ({type(record).__name__}) to {path}: it takes {len(encoded[-1]):,} "
                f"bytes, more than the {MAX_LINE_BYTES:,} of one line. Nothing was written; shorten its texts."
            )
    return b"".join(line + b"\n" for line in encoded)


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


# --- reading


def lines(path: Path, max_line_bytes: int = MAX_LINE_BYTES) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, as they are, with their numbers (from 1).

    Raises:
        DataError: the file cannot be read, is of another kind, or a line is too long.
    """
    with os_errors(path, "read"), path.open("rb") as stream:
        kind = kind_of(stream.peek(HEAD_BYTES))
        if kind != JSONL:
            raise DataError(
                f"{path}: this is {kind}, not JSONL (one JSON object per line). `srbench data import` reads JSON "
                "arrays, Parquet and gzip, and writes JSONL."
            )
        yield from lines_of(stream, path, max_line_bytes)


def lines_of(stream: _Readable, path: Path, max_line_bytes: int = MAX_LINE_BYTES) -> Iterator[tuple[int, bytes]]:
    """As ``lines``, of a stream; ``path`` is named in messages."""
    number = n_blank = 0
    while line := stream.readline(max_line_bytes + 1):
        number += 1
        if len(line) > max_line_bytes:
            raise DataError(
                f"{path}:{number}: the line is longer than {max_line_bytes:,} bytes. JSONL has one record per "
                "line; check that the file is JSONL, and shorten or remove this record."
            )
        if number == 1:
            line = line.removeprefix(_BOM)
        if line.strip():
            yield number, line
        elif (n_blank := n_blank + 1) > _MAX_BLANK_LINES:
            raise DataError(f"{path}: has more than {_MAX_BLANK_LINES:,} blank lines. Check that it is the right file.")


# --- torn lines


def _cut_torn_line(path: Path) -> int:
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        start, end = _last_line(stream.fileno(), size)
        if start == size or (end < size and _is_object(os.pread(stream.fileno(), end - start, start))):
            return 0
    with os.fdopen(open_own(path, os.O_RDWR), "r+b") as stream:
        os.ftruncate(stream.fileno(), start)
        os.fsync(stream.fileno())
        return size - start


def _last_line(descriptor: int, size: int, block: int = 1 << 16) -> tuple[int, int]:
    """Where the last line starts, and where its text ends (``size`` if no newline ends it)."""
    end = size
    if size and os.pread(descriptor, 1, size - 1) == b"\n":
        end = size - 1
    position = end
    while position:
        start = max(0, position - block)
        found = os.pread(descriptor, position - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1, end
        position = start
    return 0, end


def _is_object(line: bytes) -> bool:
    if len(line) > MAX_LINE_BYTES:
        return False
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
