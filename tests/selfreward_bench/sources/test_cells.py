"""CSV as spreadsheets of any language write it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from selfreward_bench.errors import DataError
from selfreward_bench.sources.cells import FileRow, delimited, held
from selfreward_bench.sources.rows import decode


class Scored(BaseModel):
    id: str
    text: str
    score: float | None = None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "id;text;score\r\na;1,5 or more, maybe;1,5\r\n;;\r\n\r\n"),
        ("a.csv", "id\ttext\tscore\na\t1,5 or more, maybe\t1,5\n"),
        ("a.tsv", 'id, text ,score\na,"1,5 or more, maybe",1.5\n'),
        ("a.csv", '"text";"id";"score"\n"1,5 or more, maybe";"a";1.5\n'),
    ],
)
def test_what_stands_between_cells_is_told_by_the_header(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    assert decode(path, Scored) == [Scored(id="a", text="1,5 or more, maybe", score=1.5)]


def test_a_text_keeps_its_decimal_comma_and_between_commas_none_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id;text\n1,5;2,5\n")
    assert decode(path, Scored) == [Scored(id="1,5", text="2,5")]
    path.write_text('id,text,score\na,b,"1,500"\n')
    with pytest.raises(DataError, match="field 'score'"):
        decode(path, Scored)


@pytest.mark.parametrize("cell", ["NaN", "nan", "inf", "-Infinity", "1e400", ""])
def test_what_is_no_number_is_null_where_a_number_may_be_missing(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"id,text,score\nNaN,nan,{cell}\n")
    assert decode(path, Scored) == [Scored(id="NaN", text="nan", score=None)]


def test_rows_may_end_early_and_rows_without_a_text_are_none() -> None:
    rows = list(delimited(Path("a.csv"), "a,b\n1\n,\n\n2,3\n", ","))
    assert [row.values for row in rows] == [{"a": "1", "b": None}, {"a": "2", "b": "3"}]
    assert [row.place for row in rows] == ["a.csv: row 0", "a.csv: row 3"]


@pytest.mark.parametrize(
    ("cell", "delimiter", "meant"),
    [
        ("12", ",", 12),
        ("1.5", ",", 1.5),
        ("1,5", ";", 1.5),
        ("1,5", ",", "1,5"),
        ("NaN", ",", None),
        ("true", ",", True),
        ('[["a"], 1]', ",", [["a"], 1]),
        ("A", ",", "A"),
        ("1,5", "", "1,5"),
        ([1], "", [1]),
    ],
)
def test_values_that_are_meant_to_be_no_texts(cell: Any, delimiter: str, meant: object) -> None:
    assert held(FileRow("a.csv: row 0", {"x": cell}, delimiter), "x") == meant


def test_lists_that_are_no_json_are_told() -> None:
    with pytest.raises(DataError, match=r"a\.csv: row 0: 'x' is no JSON"):
        held(FileRow("a.csv: row 0", {"x": "['a']"}, ","), "x")
