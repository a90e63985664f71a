"""The data directory: which one it is, what lies in it, and what is said of what does not."""

from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path

import pytest

from selfreward_bench.errors import DataError
from selfreward_bench.sources.directory import ENVIRONMENT_VARIABLE, DataDir, default_root
from selfreward_bench.sources.published import DataFile

CONTENT = "zwölf\n".encode()
FILE = DataFile("a/b.txt", "https://example.org/b", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def put(root: Path, content: bytes, name: str = "b.txt") -> DataDir:
    (root / "a").mkdir(parents=True, exist_ok=True)
    (root / "a" / name).write_bytes(content)
    return DataDir(root)


# --- which one


def test_what_is_given_goes_before_the_environment_and_that_before_the_usual_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert DataDir.find().root is None
    default_root().mkdir(parents=True)
    assert DataDir.find().root == default_root()
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "elsewhere")
    assert DataDir.find().root == Path("elsewhere")
    assert DataDir.find(tmp_path).root == tmp_path
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "")
    assert DataDir.find().root == default_root()


@pytest.mark.parametrize(
    ("named", "place"), [("", "{home}/.local/share"), ("rel", "{home}/.local/share"), ("/x", "/x")]
)
def test_the_usual_place_follows_the_desktop_convention(
    home: Path, monkeypatch: pytest.MonkeyPatch, named: str, place: str
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", named)
    assert default_root() == Path(place.format(home=home)) / "srbench" / "data"


# --- what lies in it


@pytest.mark.parametrize(("name", "content"), [("b.txt", CONTENT), ("b.txt.gz", gzip.compress(CONTENT, mtime=0))])
def test_plain_and_gzipped_files_read_the_same(tmp_path: Path, name: str, content: bytes) -> None:
    data = put(tmp_path, content, name)
    assert data.path(FILE.path).name == name
    assert data.read(FILE.path) == CONTENT
    assert data.text(FILE.path).read() == "zwölf\n"
    assert data.sha256(FILE.path) == FILE.sha256


@pytest.mark.parametrize(
    "content", [b"no gzip at all", gzip.compress(CONTENT, mtime=0)[:-9], gzip.compress(b"x" * 999, mtime=0)[:20]]
)
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DataError, match=r"b\.txt\.gz is damaged .*Remove it and get it again"):
        put(tmp_path, content, "b.txt.gz").read(FILE.path)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not UTF-8 text"):
        put(tmp_path, b"\xff").text(FILE.path)


def test_a_file_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfreward_bench.sources.directory._MAX_BYTES", 5)
    data = put(tmp_path, CONTENT)
    with pytest.raises(DataError, match="more than 5 bytes"):
        data.read(FILE.path)
    assert data.state(FILE, verify=True) == "other"


# --- what does not


@pytest.mark.parametrize(
    ("relative", "command"),
    [
        ("alpaca_eval/alpaca_eval.json", "srbench data pull alpaca-eval`"),
        ("nlp/gsm8k/test.jsonl", "srbench data pull nlp/gsm8k`"),
        ("nlp/gsm8k/example_model_solutions.jsonl", "srbench data pull nlp/gsm8k --with-verification`"),
        ("mt_bench/own.jsonl", "srbench data pull mt-bench`"),
    ],
)
def test_a_missing_file_is_told_with_the_command_that_gets_it(tmp_path: Path, relative: str, command: str) -> None:
    with pytest.raises(DataError, match="no data directory is known") as nowhere:
        DataDir().path(relative)
    with pytest.raises(DataError, match="is not there") as missing:
        DataDir(tmp_path).path(relative)
    for told in (nowhere, missing):
        assert command in str(told.value)
        assert ENVIRONMENT_VARIABLE in str(told.value)


def test_an_unreadable_place_is_told(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (tmp_path / "a").mkdir(mode=0)
    with pytest.raises(DataError, match="permission"):
        DataDir(tmp_path).path(FILE.path)


# --- compared with what is published


def test_states_without_a_look_inside(tmp_path: Path) -> None:
    assert DataDir().state(FILE, verify=False) == "missing"
    assert DataDir(tmp_path).state(FILE, verify=False) == "missing"
    assert put(tmp_path, gzip.compress(b"other", mtime=0), "b.txt.gz").state(FILE, verify=False) == "unchecked"
    assert put(tmp_path, b"x" * len(CONTENT)).state(FILE, verify=False) == "unchecked"
    assert put(tmp_path, b"x").state(FILE, verify=False) == "other"


def test_states_of_hashed_files(tmp_path: Path) -> None:
    assert DataDir(tmp_path).state(FILE, verify=True) == "missing"
    assert put(tmp_path, gzip.compress(CONTENT, mtime=0), "b.txt.gz").state(FILE, verify=True) == "same"
    assert put(tmp_path, gzip.compress(CONTENT, mtime=0)[:-4], "b.txt.gz").state(FILE, verify=True) == "other"
    assert put(tmp_path, b"x" * len(CONTENT)).state(FILE, verify=True) == "other"
    assert put(tmp_path, CONTENT).state(FILE, verify=True) == "same"


@pytest.mark.slow
def test_a_packed_file_of_empty_lists_is_refused_before_they_are_made(tmp_path: Path) -> None:
    """60 KB, and gigabytes of memory once it is read as JSON."""
    packed = gzip.compress(b"[" + b"[]," * 20_000_000 + b"[]]")
    assert len(packed) < 100_000
    with pytest.raises(DataError, match="holds more than 20,000,000 lists and objects"):
        put(tmp_path, packed, "b.txt.gz").read("a/b.txt")
