"""Ratings: read from whatever a spreadsheet program makes of the sheet, and refused with row, column and reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderboards.human.labels import neutralised, ratings, restored, sheet_of
from leaderboards.human.records import Sheet
from selfreward_bench.errors import DataError

from .conftest import Write


def lines(sheet: Sheet, *choices: str, separator: str = ",", header: str = "sheet,item,choice") -> str:
    rows = [
        separator.join((sheet.key.sheet, item.id, choice))
        for item, choice in zip(sheet.key.items, choices, strict=False)
    ]
    return "\n".join([header.replace(",", separator), *rows])


def refused(path: Path, sheet: Sheet) -> str:
    with pytest.raises(DataError) as caught:
        ratings([path], sheet.key)
    return str(caught.value)


def test_raters_are_letters_in_the_order_of_the_files(sheet: Sheet, write: Write) -> None:
    ids = [item.id for item in sheet.key.items]
    paths = [write("eve@example.csv", {ids[0]: "1"}), write("mallory.csv", {ids[0]: "3", ids[1]: "2"})]
    found = [(r.rater, r.item, r.choice) for r in ratings(paths, sheet.key)]
    assert found == [("A", ids[0], "first"), ("B", ids[0], "tie"), ("B", ids[1], "second")]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_spreadsheets_save(sheet: Sheet, tmp_path: Path, separator: str, encoding: str) -> None:
    path = tmp_path / "a.csv"
    text = lines(sheet, "1", "2.0", " 3 ", "TIE", "", separator=separator)
    path.write_bytes(text.replace("\n", "\r\n").encode(encoding))
    assert [r.choice for r in ratings([path], sheet.key)] == ["first", "second", "tie", "tie"]


def test_other_columns_and_cells_of_several_lines_are_no_matter(sheet: Sheet, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    item = sheet.key.items[0].id
    path.write_text(
        f'my notes,Item,prompt,CHOICE,sheet\n"a ""long""\nnote","{item}","\'=1+1\n,",2,{sheet.key.sheet}\n,,,,\n',
        encoding="utf-8",
    )
    assert [(r.item, r.choice) for r in ratings([path], sheet.key)] == [(item, "second")]
    assert sheet_of(path) == sheet.key.sheet


def test_the_columns_tell_what_parts_them_whatever_else_the_header_holds(sheet: Sheet, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(lines(sheet, "2", header="sheet,item,choice,good; bad; unsure; why; how"), encoding="utf-8")
    assert [r.choice for r in ratings([path], sheet.key)] == ["second"]


def test_all_that_is_wrong_is_told_with_row_and_column(sheet: Sheet, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    ids = [item.id for item in sheet.key.items]
    rows = [
        f"{sheet.key.sheet},{ids[0]},4",
        f"{sheet.key.sheet},nobody,1",
        f"other,{ids[1]},1",
        f"{sheet.key.sheet},{ids[2]},1",
        f"{sheet.key.sheet},{ids[2]},2",
    ]
    path.write_text("\n".join(["sheet,item,choice", *rows]), encoding="utf-8")
    told = refused(path, sheet)
    assert "a.csv: row 2, column choice: '4' is none of 1 (first), 2 (second), 3 (tie)" in told
    assert "a.csv: row 3, column item: 'nobody' is no item of this sheet" in told
    assert f"a.csv: row 4, column sheet: 'other' is another sheet than {sheet.key.sheet}" in told
    assert f"a.csv: row 6, column item: '{ids[2]}' was rated in row 5 already" in told


def test_many_problems_are_counted(sheet: Sheet, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(lines(sheet, *["9"] * 30), encoding="utf-8")
    told = refused(path, sheet)
    assert told.count("column choice") == 10
    assert "and 20 more" in told


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"item,choice\nx,1\n", "no column sheet; it has item, choice"),
        (b"sheet,item,choice,choice\n", "the column choice twice"),
        (b"sheet,item,choice\n", "no item is rated"),
        (b'sheet,item,choice\n"x', "row 2 is no CSV"),
        (b"sheet,item,choice\n\xff\xfe", "not UTF-8 text"),
        (b"PK\x03\x04rest", "is a workbook"),
    ],
)
def test_files_that_are_no_ratings(sheet: Sheet, tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    assert words in refused(path, sheet)


def test_one_rater_counts_once(sheet: Sheet, write: Write) -> None:
    said = {item.id: "123"[n % 3] for n, item in enumerate(sheet.key.items)}
    paths = [write("a.csv", said), write("copy.csv", said)]
    with pytest.raises(DataError, match=r"copy\.csv holds the very ratings of .*a\.csv"):
        ratings(paths, sheet.key)


def test_one_file_is_one_rater_however_it_is_called(sheet: Sheet, write: Write, tmp_path: Path) -> None:
    """Few ratings may be alike by chance; the same file is never two people."""
    path = write("a.csv", {sheet.key.items[0].id: "1"})
    (tmp_path / "link.csv").symlink_to(path)
    for other in (path, tmp_path / "link.csv", tmp_path / "x" / ".." / "a.csv"):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(DataError, match=r"\.csv is there twice\. Each file is one rater"):
            ratings([path, other], sheet.key)


def test_files_of_one_name_are_told_apart(sheet: Sheet, write: Write, tmp_path: Path) -> None:
    """The page gives every rater's file the same name."""
    for name in ("anna", "ben"):
        (tmp_path / name).mkdir()
    first, second = sheet.key.items[:2]
    paths = [write("anna/ratings.csv", {first.id: "1"}), write("ben/ratings.csv", {first.id: "1", second.id: "9"})]
    with pytest.raises(DataError, match=r"ben/ratings\.csv: row 3, column choice: '9'"):
        ratings(paths, sheet.key)
    write("ben/ratings.csv", {first.id: "1"})
    assert [r.rater for r in ratings(paths, sheet.key)] == ["A", "B"]


def test_a_hostile_cell_is_cut_and_shown_as_text(sheet: Sheet, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(lines(sheet, "\x1b[2J" + "x" * 500), encoding="utf-8")
    told = refused(path, sheet)
    assert "\\x1b[2Jx" in told
    assert len(told) < 400


@given(st.text())
def test_what_is_neutralised_comes_back(text: str) -> None:
    assert restored(neutralised(text)) == text
    assert not neutralised(text).startswith(("=", "+", "-", "@", "\t", "\r"))
