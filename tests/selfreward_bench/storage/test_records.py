"""Records that are read when they are asked for, and files that are written in parts."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest

from selfreward_bench.errors import DataError
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.records import Made, Records, packed
from selfreward_bench.types import Message

TURNS = [Message(role="user", content=text) for text in ("a", "\u00e4\U0001f600", "c" * 5000, "d")]


def test_records_are_those_of_the_file_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "turns.jsonl"
    jsonl.write(path, TURNS)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\n\n", 1))  # a blank line is let through
    found = Records(path, Message)
    assert (list(found), len(found)) == (TURNS, 4)
    assert [found[at] for at in (3, 0, 2, 1, -1)] == [TURNS[at] for at in (3, 0, 2, 1, -1)]
    assert found[1:3] == TURNS[1:3]
    with pytest.raises(IndexError):
        found[4]
    assert [turn for turn, _ in zip(found, found, strict=True)] == TURNS  # two readers at once


def test_a_line_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    path = tmp_path / "turns.jsonl"
    path.write_text('{"role":"user","content":"a"}\n\n{"role":"nobody","content":"b"}\n')
    found = Records(path, Message)
    assert found[0].content == "a"
    with pytest.raises(DataError, match=r"turns\.jsonl:3: field 'role'"):
        found[1]


def test_another_process_opens_the_file_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    jsonl.write(Path("turns.jsonl"), TURNS)
    here, there = multiprocessing.Pipe()
    there.send(Records(Path("turns.jsonl"), Message))
    monkeypatch.chdir("/")
    assert list(here.recv()) == TURNS


def test_files_without_records(tmp_path: Path) -> None:
    path = tmp_path / "none.jsonl"
    with pytest.raises(DataError, match="no such file"):
        Records(path, Message)
    path.touch()
    with pytest.raises(DataError, match="holds no records"):
        Records(path, Message)
    assert list(Records(path, Message, allow_empty=True)) == []


def test_items_are_made_when_they_are_asked_for() -> None:
    asked: list[int] = []

    def make(at: int) -> str:
        asked.append(at)
        return f"item {at}"

    made = Made(1000, make)
    assert (len(made), made[-1], made[2:4], asked) == (1000, "item 999", ["item 2", "item 3"], [999, 2, 3])
    with pytest.raises(IndexError):
        made[1000]


def test_records_held_as_bytes_are_the_same_records() -> None:
    assert list(packed(iter(TURNS))) == TURNS
    assert (packed(TURNS)[-1], packed(TURNS)[1:3], len(packed([]))) == (TURNS[-1], TURNS[1:3], 0)


def test_a_file_written_in_parts_is_there_at_the_end_as_if_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "turns.jsonl"
    with jsonl.writing(path) as add:
        add(TURNS[:1])
        assert not path.exists()
        add([])
        add(TURNS[1:])
    jsonl.write(tmp_path / "whole.jsonl", TURNS)
    assert path.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_what_fails_in_between_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "turns.jsonl"
    jsonl.write(path, TURNS[:1])

    def broken() -> Iterator[Message]:
        yield TURNS[1]
        raise KeyError

    with pytest.raises(KeyError), jsonl.writing(path) as add:
        add(broken())
    with pytest.raises(DataError, match="lone surrogate"), jsonl.writing(path) as add:
        add([Message(role="user", content="\ud800")])
    assert jsonl.read(path, Message) == TURNS[:1]
    assert [p.name for p in tmp_path.iterdir()] == ["turns.jsonl"]
