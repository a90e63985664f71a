"""Rows of other people's files: the same whatever holds them, and what is wrong is named with its place."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from pydantic import BaseModel

from selfreward_bench.errors import DataError
from selfreward_bench.sources.rows import content_of, decode, first_row, read_rows

ROWS = [{"id": "a", "text": "one, two", "score": 1.5}, {"id": "b", "text": None, "score": None}]
COLUMNS = {name: [row[name] for row in ROWS] for name in ROWS[0]}


class Scored(BaseModel):
    id: str
    text: str = ""
    score: float | None
    parts: tuple[int, ...] = ()


def holds(name: str, tmp_path: Path, *, packed: bool) -> Path:
    indexed = {column: dict(zip("01", values, strict=True)) for column, values in COLUMNS.items()}
    split = {"columns": list(COLUMNS), "index": [0, 1], "data": [list(row.values()) for row in ROWS]}
    content = {
        "lines.jsonl": "".join(json.dumps(row) + "\n" for row in ROWS),
        "lines.json": "\n".join(map(json.dumps, ROWS)),
        "list.json": json.dumps(ROWS, indent=1),
        "list.jsonl": json.dumps(ROWS),
        "columns.json": json.dumps(indexed),
        "lists.json": json.dumps(COLUMNS),
        "index.json": json.dumps(dict(zip("01", ROWS, strict=True))),
        "split.json": json.dumps(split),
        "table.json": json.dumps({"schema": {"fields": []}, "data": ROWS}),
        "cells.csv": 'id,text,score\na,"one, two",1.5\nb,,\n',
        "cells.tsv": "id\ttext\tscore\na\tone, two\t1.5\nb\t\t\n",
    }[name].encode()
    path = tmp_path / (name + (".gz" if packed else ""))
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + content) if packed else content)
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "lines.jsonl",
        "lines.json",
        "list.json",
        "list.jsonl",
        "columns.json",
        "lists.json",
        "index.json",
        "split.json",
        "table.json",
        "cells.csv",
        "cells.tsv",
    ],
)
def test_rows_are_the_same_whatever_holds_them(tmp_path: Path, name: str, *, packed: bool) -> None:
    path = holds(name, tmp_path, packed=packed)
    assert decode(path, Scored) == [Scored(id="a", text="one, two", score=1.5), Scored(id="b", text="", score=None)]
    assert set(first_row(path)) == {"id", "text", "score"}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", ["lines.jsonl", "list.json", "columns.json", "cells.csv", "cells.tsv"])
def test_rows_are_the_same_in_any_unicode(tmp_path: Path, name: str, encoding: str) -> None:
    path = holds(name, tmp_path, packed=False)
    path.write_bytes(path.read_text().replace("one", "\U0001f600ne").encode(encoding))
    assert decode(path, Scored)[0] == Scored(id="a", text="\U0001f600ne, two", score=1.5)
    assert set(first_row(path)) == {"id", "text", "score"}


def test_a_beginning_in_utf_16_may_end_within_a_character(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(("{}\n" + "\U0001f600" * 99).encode("utf-16"))
    assert content_of(path, 15) == "{}\n\U0001f600".encode()


def test_nan_is_null_and_halves_of_characters_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"id": "\\ud800x\\ud83d\\ude00", "score": NaN}]')
    assert decode(path, Scored) == [Scored(id="\ufffdx\U0001f600", score=None)]


@pytest.mark.parametrize(
    "form",
    [
        '{{"id": "a", "score": {0}}}\n{{"id": "a", "score": 1}}',
        '[{{"id": "a", "score": {0}}}]',
        '{{"id": ["a"], "score": [{0}]}}',
    ],
)
def test_a_whole_number_that_no_float_holds_is_null(tmp_path: Path, form: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(form.format("9" * 400))
    assert decode(path, Scored)[0] == Scored(id="a", score=None)


def test_cells_of_csv_become_what_is_wanted_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,text,score,parts\n12,[3],2,"[1, 2]"\n')
    assert decode(path, Scored) == [Scored(id="12", text="[3]", score=2.0, parts=(1, 2))]
    path.write_text("id,score\na,high\n")
    with pytest.raises(DataError, match=r"a\.csv: row 0: field 'score': .*number"):
        decode(path, Scored)


def test_a_type_is_not_guessed_outside_csv(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": "a", "score": 1}\n{"id": "b", "score": "1"}\n')
    with pytest.raises(DataError, match=r"a\.jsonl:2: field 'score'"):
        decode(path, Scored)


def test_of_a_long_list_the_first_row_is_known_before_the_last(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"id": "a" * 1000}] * 2000)[:-20])  # beyond what is looked at, it is cut
    assert first_row(path)["id"] == "a" * 1000
    with pytest.raises(DataError, match=r"a\.json is no JSON in UTF-8 .* cut off"):
        read_rows(path)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.json", b"[]", "holds no rows"),
        ("a.jsonl", b"\n", "holds no rows"),
        ("a.csv", b"id,score\n", "holds no rows"),
        ("a.json", b"[1]", r"row 0 is no JSON object"),
        ("a.json", b'{"id": 1}', "holds no rows"),
        ("a.json", b'[{"id": 1} {"id": 2}]', r"a '\]' is missing after row 0"),
        ("a.json", b'[{"id": 1}] x', "something follows the end"),
        ("a.json", b"[" * 100_000, "nested too deeply"),
        ("a.jsonl", b'{"id": 1}\n{"id": \n', r"a\.jsonl:2 is not valid JSON"),
        ("a.csv", b"id,score\na,1,2\n", "row 0 has more cells than the header"),
        ("a.csv", b'id,score\n"a,1\n', "line 2: .* cut off"),
        ("a.csv", b"id,score,id\n", "the column 'id' twice"),
        ("a.csv", b"id,score\ncaf\xe9,1\n", "no text in UTF-8 .* Save it as UTF-8"),
        ("a.csv", b"PK\x03\x04\xff", "a zip archive, as workbooks are"),
        ("a.json", b"\xff\xfe[", "is damaged .*utf-16"),
        ("a.json.gz", gzip.compress(b"[]" * 99, mtime=0)[:-9], "is damaged"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=problem):
        read_rows(tmp_path / name)


def test_what_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(b" " * (20 * 2**20)))
    with pytest.raises(DataError, match="holds more than"):
        content_of(path)
