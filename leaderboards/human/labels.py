"""Ratings as people send them back: CSV, written by the rating page or by a spreadsheet program.

One file is one rater. A row needs ``sheet``, ``item`` and ``choice``: 1 the first answer, 2 the second, 3 neither;
empty is not rated. All other columns are the raters' own and are not read. What is wrong is told with file, row and
column, all of it at once.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Final

from leaderboards.human.records import Choice, Key, Rating
from selfreward_bench.errors import DataError
from selfreward_bench.storage.files import os_errors
from selfreward_bench.storage.kinds import in_utf8

__all__ = ["CHOICES", "COLUMNS", "neutralised", "ratings", "restored", "sheet_of"]

COLUMNS: Final = ("sheet", "item", "choice")
#: what stands in the column -> what it says
CHOICES: Final[Mapping[str, Choice]] = {
    "1": "first",
    "1.0": "first",
    "2": "second",
    "2.0": "second",
    "3": "tie",
    "3.0": "tie",
    "tie": "tie",
}
#: what a spreadsheet takes for the beginning of a formula, full-width forms included
_FORMULA: Final = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20\u2212")
_MAX_BYTES: Final = 32 * 2**20
_SHOWN: Final = 10  # problems
_ALIKE: Final = 20  # equal ratings that are one rater twice
_SHOWN_TEXT: Final = 40  # characters


def neutralised(text: str) -> str:
    """A cell that no spreadsheet takes for a formula; ``restored`` undoes it.

    >>> neutralised("=1+1"), restored(neutralised("=1+1")), restored(neutralised("'quoted'"))
    ("'=1+1", '=1+1', "'quoted'")
    """
    return f"'{text}" if text.startswith((*_FORMULA, "'")) else text


def restored(cell: str) -> str:
    """What ``neutralised`` was given."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith((*_FORMULA, "'")) else cell


def sheet_of(path: Path) -> str:
    """Which sheet a file rates, by its first row.

    Raises:
        DataError: it is no such file.
    """
    for _, row in _rows(path):
        return row["sheet"]
    raise DataError(f"{path}: there is no row below the header. Send the file that the rating page saves.")


def ratings(paths: Sequence[Path], key: Key) -> list[Rating]:
    """All ratings, rater by rater: A is the first file.

    Raises:
        DataError: a file cannot be read, is not of this sheet, or is there twice.
    """
    if len(paths) > len(ascii_uppercase):
        raise DataError(f"{len(paths)} files are more raters than there are letters ({len(ascii_uppercase)}).")
    there: set[Path] = set()
    for path in paths:  # whatever they are called: browsers give all raters' files one name
        if (place := path.resolve()) in there:
            raise DataError(f"{path} is there twice. Each file is one rater: name each of them once.")
        there.add(place)
    found: list[Rating] = []
    seen: dict[frozenset[tuple[str, str]], str] = {}
    for rater, path in zip(ascii_uppercase, paths, strict=False):
        own = _ratings_of(path, rater, key)
        said = frozenset((r.item, r.choice) for r in own)
        if len(said) >= _ALIKE and said in seen:
            raise DataError(
                f"{path} holds the very ratings of {seen[said]}. Each file is one rater: name each of them once."
            )
        seen[said] = str(path)
        found += own
    return found


def _ratings_of(path: Path, rater: str, key: Key) -> list[Rating]:
    items = {item.id for item in key.items}
    rows: dict[str, int] = {}
    found: list[Rating] = []
    problems: list[str] = []
    for number, row in _rows(path):
        item, choice = row["item"], row["choice"].casefold()
        if row["sheet"] != key.sheet:
            problems.append(_told(path, number, "sheet", row["sheet"], f"is another sheet than {key.sheet}"))
        elif item not in items:
            problems.append(_told(path, number, "item", item, "is no item of this sheet"))
        elif item in rows:
            problems.append(_told(path, number, "item", item, f"was rated in row {rows[item]} already"))
        elif choice and choice not in CHOICES:
            problems.append(_told(path, number, "choice", row["choice"], "is none of 1 (first), 2 (second), 3 (tie)"))
        elif choice:
            found.append(Rating(rater=rater, item=item, choice=CHOICES[choice]))
        rows.setdefault(item, number)
    if problems:
        more = f"\n  and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        listed = "\n".join(f"  {p}" for p in problems[:_SHOWN])
        raise DataError(f"{path} cannot be used as ratings:\n{listed}{more}\nMend these cells; nothing was counted.")
    if not found:
        raise DataError(f"{path}: no item is rated. The column 'choice' takes 1 (first), 2 (second) or 3 (tie).")
    return found


def _told(path: Path, number: int, column: str, value: str, why: str) -> str:
    shown = value if len(value) <= _SHOWN_TEXT else f"{value[:_SHOWN_TEXT]}..."
    return f"{path}: row {number}, column {column}: {shown!r} {why}"


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows with their numbers as a spreadsheet shows them, the header being row 1; empty ones are left out."""
    text = _text(path)
    reader = csv.reader(io.StringIO(text), delimiter=_delimiter(text), strict=True)
    number, header = 0, []
    try:
        for number, cells in enumerate(reader, 1):
            if number == 1:
                header = _header(path, cells)
            elif any(cell.strip() for cell in cells):
                yield number, {name: _cell(cells, header.index(name)) for name in COLUMNS}
    except csv.Error as error:
        raise DataError(f"{path}: row {number + 1} is no CSV ({error}). Save the sheet as CSV again.") from error
    if not number:
        raise DataError(f"{path} is empty. Send the file that the rating page saves.")


def _header(path: Path, cells: Sequence[str]) -> list[str]:
    header = [cell.strip().casefold() for cell in cells]
    lacking = [name for name in COLUMNS if name not in header]
    if lacking:
        raise DataError(
            f"{path}: row 1 has no column {' and no column '.join(lacking)}; it has "
            f"{', '.join(h[:_SHOWN_TEXT] for h in header[:8] if h) or 'none'}. Keep the header of the sheet as it is."
        )
    if twice := [name for name in COLUMNS if header.count(name) > 1]:
        raise DataError(f"{path}: row 1 has the column {twice[0]} twice. Keep one of them.")
    return header


def _cell(cells: Sequence[str], place: int) -> str:
    return restored(cells[place].strip()) if place < len(cells) else ""


def _delimiter(text: str) -> str:
    """Comma, semicolon or tab: what parts the header into our columns, else what it has most of. Programs of other
    languages write semicolons."""
    header = text.partition("\n")[0]

    def ours(delimiter: str) -> int:
        cells = [cell.strip(' "').casefold() for cell in header.split(delimiter)]
        return sum(name in cells for name in COLUMNS)

    return max(",;\t", key=lambda delimiter: (ours(delimiter), header.count(delimiter)))


def _text(path: Path) -> str:
    with os_errors(path, "read"), path.open("rb") as stream:
        content = stream.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise DataError(f"{path} is larger than {_MAX_BYTES:,} bytes; it is no file of ratings.")
    if content.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise DataError(f"{path} is a workbook, not CSV. Save the sheet as CSV in your spreadsheet program.")
    try:
        return in_utf8(content).decode().replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start:,}). Save it as CSV in UTF-8.") from error
