"""Rows of CSV, as spreadsheets of any language write it: between cells stands a comma, a semicolon or a tab.

Cells are texts, and ``held`` reads those that are meant to be none.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from selfreward_bench.errors import DataError
from selfreward_bench.storage import jsonl

__all__ = ["FileRow", "Values", "delimited", "delimiter_of", "held", "whole_number"]

_DECIMAL_COMMA: Final = re.compile(r"-?[0-9]+,[0-9]+")
_DIGITS: Final = 300  # of a whole number; more would be infinite as a float
_SHOWN: Final = 100  # characters of a column's name
Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class FileRow:
    """One row of a file.

    Attributes:
        place: for messages: ``FILE:LINE``, or ``FILE: row N`` (from 0).
        values: by column.
        delimiter: of CSV, whose values are all texts; empty for all else.
    """

    place: str
    values: Values
    delimiter: str = ""


def delimiter_of(text: str, usual: str = ",") -> str:
    r"""Comma, semicolon or tab, whichever the first line has most of.

    >>> delimiter_of("id;text\n1;a, b, c"), delimiter_of("id\ttext"), delimiter_of("id", usual="\t")
    (';', '\t', '\t')
    """
    header = text.partition("\n")[0]
    return max([usual, ",", ";", "\t"], key=header.count)


def delimited(path: Path, text: str, usual: str) -> Iterator[FileRow]:
    """The rows below the header; those without a text are left out, empty cells are null.

    Args:
        usual: what stands between cells where the header, of one column, does not tell.

    Raises:
        DataError: it is no CSV, or a column is there twice.
    """
    csv.field_size_limit(jsonl.MAX_LINE_BYTES)
    delimiter = delimiter_of(text, usual)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        if twice := [name for name, n in Counter(header).items() if n > 1 and name]:
            raise DataError(f"{path} has the column {twice[0][:_SHOWN]!r} twice. Keep one of them.")
        for number, cells in enumerate(reader):
            place = f"{path}: row {number}"
            if len(cells) > len(header):
                raise DataError(f"{place} has more cells than the header. Save it again with quotes around texts.")
            if any(cells):
                values = {name: cell or None for name, cell in zip_longest(header, cells)}  # a row may end early
                yield FileRow(place, values, delimiter)
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}. Was writing it cut off? Save it again.") from error


def held(row: FileRow, column: str) -> Any:
    """A value that is meant to be no text: in CSV a number (``1,5`` where no commas stand between cells), or JSON.

    Raises:
        DataError: a list or an object is no JSON.
    """
    value = row.values.get(column)
    if not row.delimiter or not isinstance(value, str):
        return value
    text = value.strip()
    if row.delimiter != "," and _DECIMAL_COMMA.fullmatch(text):
        text = text.replace(",", ".")
    try:
        return json.loads(text, parse_constant=lambda _: None, parse_int=whole_number)
    except (ValueError, RecursionError) as error:
        if text.startswith(("[", "{")):
            raise DataError(f"{row.place}: {column!r} is no JSON, as lists and objects in CSV must be.") from error
    return value


def whole_number(digits: str) -> int | None:
    """For ``json``: a whole number; None of one with more digits than any count or score has.

    >>> whole_number("12"), whole_number("9" * 400)
    (12, None)
    """
    return int(digits) if len(digits) <= _DIGITS else None
