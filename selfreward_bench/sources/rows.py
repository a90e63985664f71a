"""Rows of other people's finished files, whatever holds them: JSONL, JSON (rows or columns), CSV or TSV, also gzipped.

What holds them is told by the content; CSV alone (``cells``), which has no mark of its own, by its name. UTF-16, as
spreadsheets and PowerShell write it, is read as UTF-8 is. NaN is null, as pandas writes what is missing, and so is a
whole number that no float holds. Everything is bounded, and a file that cannot be read is named with the place and the
way out. Seed data, which may be larger than memory, have ``tables``.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from selfreward_bench.errors import DataError
from selfreward_bench.sources.cells import FileRow, Values, delimited, held, whole_number
from selfreward_bench.sources.tables import unpacked_limit
from selfreward_bench.storage import decoding, jsonl, kinds
from selfreward_bench.storage.files import os_errors

__all__ = [
    "SUFFIXES",
    "content_of",
    "decode",
    "decode_row",
    "first_row",
    "iterate_rows",
    "read_rows",
]

_PLAIN: Final = (".json", ".jsonl", ".csv", ".tsv")
SUFFIXES: Final = (*_PLAIN, *(f"{suffix}.gz" for suffix in _PLAIN))
MAX_BYTES: Final = 512 * 2**20  # unpacked
MAX_ROWS: Final = 1_000_000
_HEAD: Final = 2**20  # bytes in which a first row ends, nearly always
_HALF: Final = re.compile(rb"\\u[dD][89a-fA-F]")  # of a character beyond the first plane

T = TypeVar("T", bound=BaseModel)


def read_rows(path: Path) -> list[FileRow]:
    """All rows of a file; see ``iterate_rows``."""
    return list(iterate_rows(path))


def iterate_rows(path: Path) -> Iterator[FileRow]:
    """The rows of a file.

    A JSON file holds a list of objects, or columns as pandas writes them (``{"output": {"0": ...}}``, ``{"output":
    [...]}``, ``split``, ``index`` and ``table``). Cells of CSV are texts (see ``held``), empty ones null. Halves of
    characters (lone surrogates), which no file takes, become U+FFFD.

    Raises:
        DataError: the file cannot be read, is damaged, holds no rows or rows that are no objects.
    """
    content = content_of(path)
    found = _rows(path, content)
    if _HALF.search(content):
        found = (replace(row, values=_whole_characters(row.values)) for row in found)
    first = next(found, None)
    if first is None:
        raise DataError(f"{path} holds no rows. Check that this is the right file.")
    yield first
    for number, row in enumerate(found, 2):
        if number > MAX_ROWS:
            raise DataError(f"{path} has more than {MAX_ROWS:,} rows; no finished file has.")
        yield row


def first_row(path: Path) -> Values:
    """The first row, for which most of a file need not be read; empty where the file is one JSON object without rows.

    Raises:
        DataError: as ``iterate_rows``, of what is read.
    """
    head = content_of(path, _HEAD)
    if len(head) == _HEAD:
        with suppress(DataError, StopIteration):  # it does not end there, or columns hold it
            return next(_rows(path, head)).values
    try:
        return next(iterate_rows(path)).values
    except _NoRowsError:
        return {}


def content_of(path: Path, limit: int = MAX_BYTES) -> bytes:
    """What a file holds, unpacked, or the first ``limit`` bytes of it; in UTF-8 without a byte order mark.

    Raises:
        DataError: it is not there, damaged or too large.
    """
    if not path.is_file():
        raise DataError(f"{path} is no file.")
    whole = limit == MAX_BYTES
    with os_errors(path, "read"), path.open("rb") as stream:
        packed = stream.peek(2)[:2] == b"\x1f\x8b"
        bound = min(limit, unpacked_limit(path.stat().st_size)) if packed else limit
        try:
            content = (gzip.GzipFile(fileobj=stream) if packed else stream).read(bound + whole)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"{path} is damaged ({error}). Get or save it again.") from error
    if whole and len(content) > bound:
        raise DataError(f"{path} holds more than {bound:,} bytes; no file of finished outputs is that large.")
    try:
        return kinds.in_utf8(content, cut=not whole)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is damaged ({error}). {_AGAIN}") from error


# --- what holds the rows


class _NoRowsError(DataError):
    """A JSON object that is neither a row nor columns."""


def _rows(path: Path, content: bytes) -> Iterator[FileRow]:
    name = path.name.removesuffix(".gz")
    begins = content[:_HEAD].lstrip()[:1]
    if name.endswith((".csv", ".tsv")) and begins not in (b"[", b"{"):
        return delimited(path, _text(path, content), "\t" if name.endswith(".tsv") else ",")
    if begins == b"[":
        return _elements(path, _text(path, content))
    if begins == b"{" and (name.endswith(".jsonl") or _has_lines(content)):
        return _lines(path, content)
    if not begins and name.endswith(".jsonl"):
        return iter(())
    return _object(path, _text(path, content))


def _text(path: Path, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data" and len(content) == _HEAD:
            return content.decode(errors="ignore")  # only a head was read
        if (kind := kinds.kind_of(content)) not in (kinds.JSONL, kinds.JSON_ARRAY):
            raise DataError(f"{path} is {kind}; rows are read from {', '.join(SUFFIXES)}.") from error
        raise DataError(f"{path} is no text in UTF-8 ({error}). Was writing it cut off? Save it as UTF-8.") from error


def _has_lines(content: bytes) -> bool:
    """Whether an object ends with the first line, and another one follows."""
    line, _, rest = content.partition(b"\n")
    return line.rstrip().endswith(b"}") and rest[:_HEAD].lstrip().startswith(b"{")


def _lines(path: Path, content: bytes) -> Iterator[FileRow]:
    for number, line in enumerate(io.BytesIO(content), 1):
        if len(line) > jsonl.MAX_LINE_BYTES:
            raise DataError(f"{path}:{number}: the line is longer than {jsonl.MAX_LINE_BYTES:,} bytes.")
        if line.strip():
            place = f"{path}:{number}"
            yield _row(place, _parsed(place, _text(path, line), "Mend or remove the line."))


def _elements(path: Path, text: str) -> Iterator[FileRow]:
    """Of a JSON list, one at a time, so that the first is known before the last is read."""
    decoder = json.JSONDecoder(parse_constant=lambda _: None, parse_int=whole_number)
    at, number = _beyond(text, text.index("[") + 1), 0
    while text[at : at + 1] != "]":
        values, at = _decoded(decoder, path, text, at)
        yield _row(f"{path}: row {number}", values)
        at, number = _beyond(text, at), number + 1
        if text[at : at + 1] == ",":
            at = _beyond(text, at + 1)
        elif text[at : at + 1] != "]":
            raise DataError(f"{path} is no JSON in UTF-8: a ']' is missing after row {number - 1}. {_AGAIN}")
    if text[at + 1 :].strip():
        raise DataError(f"{path} is no JSON in UTF-8: something follows the end of the list. {_AGAIN}")


def _beyond(text: str, at: int) -> int:
    """The place of the next character that is no white space."""
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


_AGAIN: Final = "Was writing it cut off? Get or save it again."


def _decoded(decoder: json.JSONDecoder, path: Path, text: str, at: int) -> tuple[Any, int]:
    try:
        return decoder.raw_decode(text, at)
    except RecursionError as error:
        raise DataError(f"{path} is nested too deeply to be a file of finished outputs.") from error
    except ValueError as error:
        raise DataError(f"{path} is no JSON in UTF-8 ({error}). {_AGAIN}") from error


def _object(path: Path, text: str) -> Iterator[FileRow]:
    decoder = json.JSONDecoder(parse_constant=lambda _: None, parse_int=whole_number)
    is_object = text.lstrip().startswith("{")
    try:
        found, at = _decoded(decoder, path, text, _beyond(text, 0))
    except DataError as error:
        raise _NoRowsError(str(error)) if is_object else error from error
    rows = _of_columns(found) if is_object and not text[at:].strip() else None
    if rows is None:
        raise _NoRowsError(
            f"{path} is one JSON value and holds no rows. The file must be a JSON list of objects, or have one on each "
            "line."
        )
    for number, values in enumerate(rows):
        yield _row(f"{path}: row {number}", values)


def _of_columns(found: dict[str, Any]) -> Sequence[Any] | None:
    """The rows of one JSON object; None where it holds none."""
    columns, data = found.get("columns"), found.get("data")
    if isinstance(columns, list) and isinstance(data, list):  # pandas: split
        return [dict(zip(map(str, columns), row, strict=False)) if isinstance(row, list) else row for row in data]
    if isinstance(data, list) and "schema" in found:  # pandas: table
        return data
    cells = list(found.values())
    if not cells:
        return None
    lists = {name: c for name, c in found.items() if isinstance(c, list)}
    of_columns = len(lists) > 1 or len(lists) == len(found)  # one list among other values is a value
    if of_columns and len({len(c) for c in lists.values()}) == 1 and not any(isinstance(c, dict) for c in cells):
        same = {name: c for name, c in found.items() if name not in lists}  # what is one value holds for all rows
        return [same | dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    if all(isinstance(c, dict) for c in cells) and all(c.keys() == cells[0].keys() for c in cells):  # pandas: columns
        if all(map(str.isdigit, found)) and not all(map(str.isdigit, cells[0])):  # pandas: index
            return cells
        return [{name: column[index] for name, column in found.items()} for index in cells[0]]
    return None


def _parsed(place: str, text: str, way_out: str) -> Any:
    try:
        return json.loads(text, parse_constant=lambda _: None, parse_int=whole_number)
    except RecursionError as error:
        raise DataError(f"{place} is nested too deeply to be a record.") from error
    except ValueError as error:
        raise DataError(f"{place} is not valid JSON ({error}). {way_out}") from error


def _row(place: str, values: Any) -> FileRow:
    if not isinstance(values, dict):
        raise DataError(
            f"{place} is no JSON object. The file must be a JSON list of objects, or have one on each line."
        )
    return FileRow(place, values)


def _whole_characters(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, list):
        return [_whole_characters(inner) for inner in value]
    if isinstance(value, dict):
        return {_whole_characters(key): _whole_characters(inner) for key, inner in value.items()}
    return value


# --- as records


def decode(path: Path, model: type[T]) -> list[T]:
    """All rows of a file as records.

    Raises:
        DataError: as ``iterate_rows``, and for the first row that is no such record.
    """
    return [decode_row(row, model) for row in iterate_rows(path)]


def decode_row(row: FileRow, model: type[T]) -> T:
    """One row as a record. A null is as good as nothing, where the field may be missing.

    Raises:
        DataError: it is none.
    """
    given = {key: value for key, value in row.values.items() if value is not None or _must_be_there(model, key)}
    if not row.delimiter:
        return decoding.decode(json.dumps(given).encode(), model, row.place)
    try:
        return _from_texts(row, given, model)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(map(str, problem["loc"]))
        what = problem["msg"].removeprefix("Value error, ")
        told = f"field {field!r}: {what}" if field else what
        raise DataError(f"{row.place}: {told}. Mend or remove the line.") from error


def _must_be_there(model: type[BaseModel], key: str) -> bool:
    field = model.model_fields.get(key)
    return field is not None and field.is_required()


def _from_texts(row: FileRow, cells: Values, model: type[T]) -> T:
    """A record from the cells of CSV: what is no text there is read as ``held`` says, and NaN is null here, too."""
    try:
        record = model.model_validate(cells, strict=False)
    except ValidationError as error:
        wrong = {str(problem["loc"][0]) for problem in error.errors() if problem["loc"]}
        cells = cells | {name: held(row, name) for name in wrong if name in cells}
        record = model.model_validate(cells, strict=False)
    none = [name for name, value in record if isinstance(value, float) and not math.isfinite(value)]
    return model.model_validate(cells | dict.fromkeys(none), strict=False) if none else record
