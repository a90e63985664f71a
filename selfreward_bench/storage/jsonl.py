"""Records as JSONL: one JSON object per line, appended batch by batch, checked when read.

Writing refuses what could not be read back (NaN, lone surrogates); reading names file, line and field of what is wrong.
A process that is killed while it appends can leave a torn last line: ``repair`` cuts it, ``resume`` does so and reads.
Files are read line by line; no line above a bound is ever held in memory.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from selfreward_bench.errors import DataError, did_you_mean
from selfreward_bench.storage.files import open_own, os_errors, sync_directory, whole_file, write_atomic
from selfreward_bench.storage.kinds import HEAD_BYTES, JSONL, kind_of

__all__ = [
    "MAX_LINE_BYTES",
    "append",
    "decode",
    "iterate",
    "lines",
    "lines_of",
    "parse",
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


_SHOWN_PROBLEMS = 5
_SHOWN_CHARACTERS = 60
_INT_DIGITS = 300  # more would be infinite as a double
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
                    f"{path}:{number}: the id {_show(key)} is on line {seen[key]} already. Ids must be unique: remove "
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
            field, fault = _find_fault(values) or ("?", str(error))
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


def _find_fault(value: object, path: str = "") -> tuple[str, str] | None:
    """The dotted path of the first value that JSON in UTF-8 cannot hold, and what is wrong with it."""
    if isinstance(value, dict):
        children = [(str(key), child) for key, child in value.items()]
        for key, _ in children:
            if not _encodable(key):
                return f"{path}.{_show(key)}".lstrip("."), "has a lone surrogate in its name, which UTF-8 cannot hold"
    elif isinstance(value, list | tuple):
        children = [(str(index), child) for index, child in enumerate(value)]
    elif isinstance(value, str) and not _encodable(value):
        return path, "holds a lone surrogate (half of a character), which UTF-8 cannot hold"
    elif isinstance(value, float) and not math.isfinite(value):
        return path, f"is {value}: not a finite number ('unknown' is null)"
    elif isinstance(value, int) and abs(value) >= 10**_INT_DIGITS:
        return path, f"is a number of more than {_INT_DIGITS} digits"
    elif value is not None and not isinstance(value, str | int | float):
        return path, f"is of type {type(value).__name__}, which JSON cannot hold"
    else:
        return None
    return next((f for key, child in children if (f := _find_fault(child, f"{path}.{key}".lstrip(".")))), None)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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


def decode(line: bytes, model: type[T], place: str) -> T:
    """One line as a record.

    Args:
        place: ``FILE:LINE``, which messages begin with.

    Raises:
        DataError: the line cannot be used.
    """
    text = _text(line, place)
    values = _parse(text, place)
    try:
        return model.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise DataError(_describe(error, values, model, place)) from error


def parse(line: bytes, place: str) -> object:
    """One line as plain values.

    Raises:
        DataError: it is no JSON in UTF-8, or holds what JSON cannot (NaN, lone surrogates, a field twice).
    """
    return _parse(_text(line, place), place)


def _text(line: bytes, place: str) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{place}: byte {error.start + 1} of the line (0x{line[error.start]:02x}) is not valid UTF-8. Save the "
            "file as UTF-8."
        ) from error


def _parse(text: str, place: str) -> object:
    """The line as plain values; strict where Python's json is not (NaN, overflow, repeated keys, surrogates)."""
    fault = None
    try:
        try:
            values = json.loads(
                text,
                parse_constant=_suspect,
                parse_float=_finite_float,
                parse_int=_finite_int,
                object_pairs_hook=_unrepeated,
            )
            suspicious = "\\u" in text
        except _SuspiciousNumber:
            values = json.loads(text)
            suspicious = True
        fault = _find_fault(values) if suspicious else None
    except RecursionError as error:
        raise DataError(f"{place}: the value is nested too deeply to be a record. Remove the line.") from error
    except json.JSONDecodeError as error:
        hint = "" if text.endswith("\n") else " The file ends here: its last line was probably cut off while written."
        raise DataError(
            f"{place}: not valid JSON: {error.msg} at column {error.colno}.{hint} Mend or remove the line."
        ) from error
    except ValueError as error:
        raise DataError(f"{place}: {error}. Mend or remove the line.") from error
    if fault:
        raise DataError(f"{place}: field {fault[0]!r} {fault[1]}. Mend or remove the line.")
    return values


class _SuspiciousNumber(Exception):
    """A number that JSON or a double cannot hold; the line is looked at again to name its field."""


def _suspect(_: str) -> NoReturn:
    raise _SuspiciousNumber


def _finite_float(text: str) -> float:
    return value if math.isfinite(value := float(text)) else _suspect(text)


def _finite_int(text: str) -> int:
    return int(text) if len(text) <= _INT_DIGITS else _suspect(text)


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the field {_show(repeated)} is there more than once")
    return values


def _describe(error: ValidationError, values: object, model: type[BaseModel], place: str) -> str:
    if not isinstance(values, dict):
        return f"{place}: the line holds a {_json_type(values)}, not an object like {{...}}. Mend or remove the line."
    problems = error.errors(include_url=False, include_context=False)
    parts = [_problem(p["type"], p["loc"], p["msg"], p["input"], model) for p in problems[:_SHOWN_PROBLEMS]]
    more = f"; and {len(problems) - _SHOWN_PROBLEMS} more" if len(problems) > _SHOWN_PROBLEMS else ""
    return f"{place}: {'; '.join(parts)}{more}. Mend or remove the line."


def _problem(kind: str, location: tuple[int | str, ...], message: str, value: object, model: type[BaseModel]) -> str:
    field = ".".join(str(part) for part in location)
    if not location:
        return message
    if kind == "missing":
        return f"field {field!r} is missing"
    if kind == "extra_forbidden":
        known = list(model.model_fields) if len(location) == 1 else []
        names = f" Known: {', '.join(known)}" if known else ""
        return f"field {_show(field)} is unknown.{did_you_mean(field, known)}{names}"
    return f"field {field!r}: {message[:1].lower()}{message[1:]} (it is {_show(value)})"


def _json_type(value: object) -> str:
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "list", type(None): "null"}
    return names.get(type(value), type(value).__name__)


def _show(value: object) -> str:
    text = ascii(value) if isinstance(value, str) and not _encodable(value) else repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}... ({len(text):,} characters)"


# --- repairing


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
