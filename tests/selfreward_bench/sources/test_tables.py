"""Containers: the same rows whatever holds them; damage, other kinds and bombs are told, nothing is unpickled."""

from __future__ import annotations

import gzip
import hashlib
import json
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pytest
from pyarrow import parquet

from selfreward_bench.errors import DataError
from selfreward_bench.sources import arrow
from selfreward_bench.sources.tables import open_table
from selfreward_bench.storage.jsonl import MAX_LINE_BYTES

ROWS: list[dict[str, Any]] = [
    {"id": "a", "prompt": "Name a food — «été» 🍎\n", "completion": "An apple.", "category": None},
    {"id": "b", "prompt": 'brackets ]}[{ and "quotes" \\', "completion": "x" * 70_000},
    {"id": "c", "prompt": "三", "completion": "y", "category": "k"},
]
WITHOUT_NULLS = [{key: value for key, value in row.items() if value is not None} for row in ROWS]


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_parquet(rows: list[dict[str, Any]], **settings: Any) -> bytes:
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.Table.from_pylist(rows), sink, **settings)
    return sink.getvalue().to_pybytes()


CONTAINERS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "JSONL": jsonl,
    "a JSON array": lambda rows: json.dumps(rows).encode(),
    "a JSON array, spread": lambda rows: b"\xef\xbb\xbf \n" + json.dumps(rows, indent=2, ensure_ascii=False).encode(),
    "Parquet": as_parquet,
    "gzipped JSONL": lambda rows: gzip.compress(jsonl(rows), mtime=0),
    "a gzipped JSON array": lambda rows: gzip.compress(json.dumps(rows).encode(), mtime=0),
    "gzipped Parquet": lambda rows: gzip.compress(as_parquet(rows), mtime=0),
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_rows_are_the_same_in_every_file(tmp_path: Path, container: str) -> None:
    path = tmp_path / "anything.bin"  # the name tells nothing
    path.write_bytes(CONTAINERS[container](ROWS))
    table = open_table(str(path))
    rows = list(table.rows())
    assert [row.values for row in rows] == [row.values for row in table.rows()] == WITHOUT_NULLS
    assert table.container == container.removesuffix(", spread")
    assert table.digest() == hashlib.sha256(path.read_bytes()).hexdigest()
    assert rows[2].place == (f"{path}:3" if "JSONL" in container else f"{path}, row 3")


def test_directories_of_datasets(tmp_path: Path) -> None:
    data = datasets.Dataset.from_list(ROWS)
    data.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"test": data.select([0]), "train": data}).save_to_disk(str(tmp_path / "two"))
    datasets.DatasetDict({"only": data}).save_to_disk(str(tmp_path / "single"))
    datasets.DatasetDict({"a": data, "b": data}).save_to_disk(str(tmp_path / "unclear"))
    tables = [open_table(str(tmp_path / name)) for name in ("one", "two", "single")]
    assert all([row.values for row in table.rows()] == WITHOUT_NULLS for table in tables)
    assert len({table.digest() for table in tables}) == 1
    assert tables[0].columns == ("id", "prompt", "completion", "category")
    with pytest.raises(DataError, match=r"Name one: .*unclear/a, .*unclear/b"):
        open_table(str(tmp_path / "unclear"))
    with pytest.raises(DataError, match="a directory, but not one that `datasets` wrote"):
        open_table(str(tmp_path))
    (tmp_path / "one" / "state.json").write_text("{")
    with pytest.raises(DataError, match="`datasets` cannot load it"):
        open_table(str(tmp_path / "one"))


@pytest.mark.parametrize("inside", [".", "data"])
def test_a_data_set_as_the_hub_keeps_it(tmp_path: Path, inside: str) -> None:
    def write(name: str, rows: list[dict[str, Any]]) -> None:
        (tmp_path / inside).mkdir(exist_ok=True)
        (tmp_path / inside / name).write_bytes(as_parquet([dict.fromkeys(ROWS[0]) | row for row in rows]))

    (tmp_path / "README.md").write_text("A card.")
    write("test-00000-of-00001.parquet", ROWS[:1])
    write("valid.parquet", ROWS[:1])
    with pytest.raises(
        DataError, match=r"has several splits, and none is called train. Name a file in it: .*test-0000"
    ):
        open_table(str(tmp_path))
    write("train-00001-of-00002-0ab1.parquet", ROWS[1:])
    write("train-00000-of-00002-9cf2.parquet", ROWS[:1])
    table = open_table(str(tmp_path))
    assert [row.values for row in table.rows()] == [row.values for row in table.rows()] == WITHOUT_NULLS
    assert table.container == "a directory of Parquet files"
    assert Path(next(iter(table.rows())).place).name == "train-00000-of-00002-9cf2.parquet, row 1"
    before = table.digest()
    write("train-00000-of-00002-9cf2.parquet", ROWS[1:2])
    assert open_table(str(tmp_path)).digest() != before


def test_files_that_name_no_split_are_one(tmp_path: Path) -> None:
    for number, row in enumerate(ROWS):
        (tmp_path / f"{number:04}.parquet").write_bytes(as_parquet([dict.fromkeys(ROWS[0]) | row]))
    table = open_table(str(tmp_path))
    assert [row.values for row in table.rows()] == WITHOUT_NULLS
    (tmp_path / "0001.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"0001\.parquet: damaged"):
        open_table(str(tmp_path))


def test_data_sets_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def load(name: str, subset: str | None, *, revision: str | None, split: str | None) -> Any:
        asked.append((name, subset, revision, split))
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load)
    for given in ("hf:me/mine", "hf:me/mine/sub@v1.0#test_2"):
        table = open_table(given)
        assert [row.values for row in table.rows()] == WITHOUT_NULLS
        assert (table.name, table.container) == (given, "a data set of the hub")
    assert asked == [("me/mine", None, None, None), ("me/mine", "sub", "v1.0", "test_2")]
    for wrong in ("hf:", "hf:mine", "hf:../../etc/passwd", "hf:a/b#", "hf:https://x.y/z"):
        with pytest.raises(DataError, match="names no data set"):
            open_table(wrong)


def test_a_directory_does_not_stand_for_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "me" / "mine").mkdir(parents=True)
    with pytest.raises(DataError, match="me/mine is here, too"):
        open_table("hf:me/mine")


def test_a_hub_out_of_reach_is_told() -> None:
    with pytest.raises(DataError, match=r"hf:me/mine: `datasets` cannot load it: .*(Offline|offline)"):
        open_table("hf:me/mine")
    with pytest.raises(DataError, match=r"no such file or directory\. Check the path; .* would be hf:me/mine\."):
        open_table("me/mine")


@pytest.mark.parametrize(("name", "encoding"), [("a.csv", "utf-8-sig"), ("a.tsv.gz", "utf-16")])
def test_csv_is_told_by_its_name(tmp_path: Path, name: str, encoding: str) -> None:
    content = 'prompt;completion;category\n"Name a food; \n«été» 🍎";[1];\nQ;A;k\n'.encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    table = open_table(str(tmp_path / name))
    first, second = table.rows()
    assert (table.container, second.place) == ("CSV", f"{tmp_path / name}, row 2")
    assert first.values == {"prompt": "Name a food; \n«été» 🍎", "completion": "[1]"}
    assert second.values == {"prompt": "Q", "completion": "A", "category": "k"}
    (tmp_path / "b.csv").write_bytes(b"PK\x03\x04\xff")
    with pytest.raises(DataError, match=r"b\.csv is a zip archive"):
        list(open_table(str(tmp_path / "b.csv")).rows())


# --- what is wrong with a file


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04....", "this is a zip archive"),
        (b"\x28\xb5\x2f\xfd....", "this is zstandard"),
        (gzip.compress(b"BZh9....", mtime=0), "gzipped, this is bzip2"),
        (pickle.dumps(ROWS), "this is a pickle, which is never opened"),
        ("[]".encode("utf-16"), "this is UTF-16 text"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"<!DOCTYPE html><html>", "this is a web page"),
        (b'{\n "data": [1]\n}', "this is one JSON object over several lines"),
        (b"", "holds no records"),
        (gzip.compress(b" \n", mtime=0), "holds no records"),
    ],
)
def test_other_kinds_are_called_by_their_names(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_table(str(tmp_path / "f"))


ARRAY = json.dumps(WITHOUT_NULLS).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ARRAY[:-1], "the file ends where ']' is needed, after row 3"),
        (ARRAY[:130], "row 2: not valid JSON"),
        (b"[{},]", "row 2: not valid JSON: Expecting value"),
        (b"[{} {}]", "'{' stands where ']' is needed, after row 1"),
        (b"[{}] x", "something follows"),
        (b'[{"a": \xff}]', "not valid UTF-8"),
        (b'[{"a" 1}' + b" " * 100_000 + b"]", "row 1: not valid JSON: Expecting ':' delimiter"),
        (b"[" * 100_000, "nested too deeply"),
        (b'[{"a": "' + b"x" * (MAX_LINE_BYTES + 100_000) + b'"}]', "row 1: longer than"),
        (as_parquet(ROWS)[:-20], "damaged, or no such table"),
        (gzip.compress(as_parquet(ROWS), mtime=0)[:-9], "damaged or cut off"),
        (gzip.compress(jsonl(ROWS), mtime=0)[:-9], "damaged or cut off"),
        (b"\x1f\x8b\x08 no gzip at all", "damaged or cut off"),
    ],
)
def test_damaged_files_are_told(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        list(open_table(str(tmp_path / "f")).rows())
    assert len(str(caught.value)) < 500


def test_bad_rows_are_rows_with_a_fault(tmp_path: Path) -> None:
    bad = [b"{", b'["list"]', b'{"a": NaN}', b'{"a": "\\ud800"}', b'{"a": 1, "a": 2}', b"\xff", b"[" * 9999]
    (tmp_path / "f.jsonl").write_bytes(b'{"id": "a"}\n' + b"\n".join(bad) + b'\n{"id": "b"}\n')
    rows = list(open_table(str(tmp_path / "f.jsonl")).rows())
    assert [bool(row.fault) for row in rows] == [False, *[True] * len(bad), False]
    assert rows[-1].place == f"{tmp_path / 'f.jsonl'}:9"
    (tmp_path / "f.json").write_bytes(b'[{"id": "a"}, ["list"], {"a": NaN}, 3, {"id": "b"}]')
    assert [bool(row.fault) for row in open_table(str(tmp_path / "f.json")).rows()] == [False, True, True, True, False]


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_bombs_are_bounded(tmp_path: Path) -> None:
    zeros, newlines = (
        gzip.compress(b'{"a": "' + b"0" * 40_000_000, 9, mtime=0),
        gzip.compress(b"{}" + b"\n" * 2_000_000, 9, mtime=0),
    )
    wide = as_parquet([{"prompt": "x" * 1_000_000, "completion": "y"}] * 30, compression="zstd")
    many = as_parquet([{"messages": [{"role": "user", "content": "x" * 900_000}] * 100}], compression="zstd")
    lines = gzip.compress((b'{"prompt": "' + b"0" * 9_999_980 + b'"}\n') * 9, 9, mtime=0)
    assert max(map(len, (lines, zeros, newlines, wide, many))) < 1_000_000
    for name, content, message in (
        ("zeros", zeros, "unpacks to more than 200 times its size"),
        ("newlines", newlines, "more than 1,000,000 blank lines"),
        ("lines", lines, "unpacks to more than 200 times its size"),
        ("wide", wide, "unpacks to far more than its size"),
        ("many", many, "unpacks to far more than its size"),
    ):
        (tmp_path / name).write_bytes(content)
        started = time.perf_counter()
        with pytest.raises(DataError, match=message):
            list(open_table(str(tmp_path / name)).rows())
        assert time.perf_counter() - started < 20, name


def test_only_columns_of_shapes_are_read(tmp_path: Path) -> None:
    rows = [{"prompt": "x", "picture": b"\x89PNG" * 9, "completion": "y", "pickled": pickle.dumps(ROWS)}]
    (tmp_path / "f.parquet").write_bytes(as_parquet(rows))
    table = open_table(str(tmp_path / "f.parquet"))
    assert [row.values for row in table.rows()] == [{"prompt": "x", "completion": "y"}]
    assert table.columns == ("prompt", "picture", "completion", "pickled")


def test_a_long_array_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"id": str(i), "text": "é" * (i % 977)} for i in range(4000)]
    (tmp_path / "f.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    for chunk in (1 << 16, 997):
        monkeypatch.setattr("selfreward_bench.sources.tables._CHUNK", chunk)
        assert [row.values for row in open_table(str(tmp_path / "f.json")).rows()] == rows


def test_strings_that_are_no_utf8_are_told(tmp_path: Path) -> None:
    column = pyarrow.array([b"\xff\xfe"]).view(pyarrow.string())
    parquet.write_table(pyarrow.table({"prompt": column}), tmp_path / "f.parquet")
    with pytest.raises(DataError, match="damaged"):
        list(arrow.Parquet(tmp_path / "f.parquet").rows())
