"""Records on disk: what is written can be read, what cannot be used is named, what is torn is cut."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfreward_bench.errors import DataError
from selfreward_bench.storage import files, jsonl
from selfreward_bench.types import Completion, Judgment, Message, Prompt, SampleScore

LINE = '{"prompt_id":"a","index":0,"judge":"j","score":1.0,"raw":"x"}\n'


def judgment(index: int = 0, **changes: Any) -> Judgment:
    return Judgment(**{"prompt_id": "p", "index": index, "judge": "j", "score": 3.0, "raw": "Score: 3"} | changes)


def error_of(path: Path, content: str | bytes, **options: Any) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError) as caught:
        jsonl.read(path, Judgment, **options)
    return str(caught.value)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.jsonl"


# --- there and back


def test_appending_writes_the_new_lines_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    written: list[int] = []
    write = os.write

    def watched(descriptor: int, data: bytes) -> int:
        written.append(len(data))
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", watched)
    records = [Prompt(id=f"p{i}", messages=(Message(role="user", content="x"),)) for i in range(4)]
    for record in records:
        jsonl.append(path, [record])
    assert len(set(written)) == 1, "a later record costs more than the first"
    assert sum(written) == path.stat().st_size


def test_batches_are_appended_in_order_and_read_back(path: Path) -> None:
    jsonl.append(path, [judgment(0), judgment(1, score=None, reason="no_verdict")])
    jsonl.append(path, [])
    jsonl.append(path, [judgment(2, raw="zwei\nZeilen \u2028 \x00 \U0001f600")])
    assert [r.index for r in jsonl.read(path, Judgment)] == [0, 1, 2]
    assert jsonl.read(path, Judgment)[1].score is None
    assert path.read_bytes().count(b"\n") == 3


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(st.characters(exclude_categories=["Cs"])),
    score=st.none() | st.floats(allow_nan=False, allow_infinity=False),
)
def test_any_text_and_number_survives(path: Path, text: str, score: float | None) -> None:
    records = [judgment(0, raw=text, score=score), judgment(1, raw=text * 2)]
    jsonl.write(path, records)
    assert jsonl.read(path, Judgment) == records


def test_nested_records_keep_their_field_order(path: Path) -> None:
    prompt = Prompt(id="p", messages=(Message(role="user", content="hi"),), source="s")
    jsonl.append(path, [prompt])
    assert path.read_text() == ('{"id":"p","messages":[{"role":"user","content":"hi"}],"source":"s","category":null}\n')
    assert jsonl.read(path, Prompt) == [prompt]


def test_no_records_make_an_empty_file(path: Path) -> None:
    jsonl.append(path, [])
    assert path.read_bytes() == b""
    assert jsonl.read(path, Judgment, allow_empty=True) == []


def test_hand_made_files_are_let_through(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + LINE.replace("\n", "\r\n").encode() + b"\n  \n" + LINE.rstrip().encode())
    assert len(jsonl.read(path, Judgment)) == 2


def test_write_replaces_the_whole_file_and_leaves_nothing_beside_it(path: Path) -> None:
    jsonl.append(path, [judgment(0), judgment(1)])
    jsonl.write(path, [judgment(7)])
    assert [r.index for r in jsonl.read(path, Judgment)] == [7]
    assert [p.name for p in path.parent.iterdir()] == [path.name]


# --- what cannot be written


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"score": float("nan")}, "score"), ({"score": float("inf")}, "score"), ({"raw": "half \ud800"}, "raw")],
)
@pytest.mark.parametrize("function", [jsonl.append, jsonl.write])
def test_a_value_that_cannot_be_read_back_is_refused_and_nothing_written(
    path: Path, changes: dict[str, Any], field: str, function: Any
) -> None:
    jsonl.append(path, [judgment(0)])
    before = path.read_bytes()
    with pytest.raises(DataError, match=rf"record 2 \(Judgment\).*field '{field}'") as caught:
        function(path, [judgment(1), Judgment.model_construct(**{**judgment(2).model_dump(), **changes})])
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before


def test_a_fault_deep_in_a_record_is_named_by_its_path(path: Path) -> None:
    score = SampleScore(sample_id="s", value=1.0, detail={"turns": [{"mean": float("nan")}], "object": None})
    with pytest.raises(DataError, match=r"'detail\.turns\.0\.mean' is nan"):
        jsonl.append(path, [score])
    with pytest.raises(DataError, match=r"'detail\.object' is of type object"):
        jsonl.append(path, [score.model_copy(update={"detail": {"object": object()}})])


def test_a_line_too_long_to_be_read_is_not_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", 1000)
    with pytest.raises(DataError, match="more than the 1,000 of one line"):
        jsonl.append(path, [judgment(0, raw="x" * 1000)])
    assert not path.exists()


def test_no_space_left_is_said_and_the_file_is_cut_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jsonl.append(path, [judgment(0)])
    before = path.read_bytes()
    real_write = os.write

    def half_then_full(descriptor: int, content: Any) -> int:
        if len(content) < 90:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_write(descriptor, content[: len(content) - 80])

    monkeypatch.setattr(os, "write", half_then_full)
    with pytest.raises(DataError, match=r"Cannot write .*records\.jsonl: no space is left.*Free some space"):
        jsonl.append(path, [judgment(i) for i in range(5)])
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("number", "sentence"),
    [(errno.EROFS, "read-only"), (errno.EACCES, "permission is denied"), (errno.ENOTUNIQ, "Check the path")],
)
def test_a_refusal_of_the_system_leaves_the_file_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int, sentence: str
) -> None:
    jsonl.write(path, [judgment(0)])

    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "fsync", refuse)
    with pytest.raises(DataError, match=sentence) as caught:
        jsonl.write(path, [judgment(1)])
    assert str(path) in str(caught.value)
    assert [r.index for r in jsonl.read(path, Judgment)] == [0]
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_paths_that_cannot_be_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        jsonl.read(tmp_path / "none.jsonl", Judgment)
    with pytest.raises(DataError, match="it is a directory"):
        jsonl.read(tmp_path, Judgment)
    with pytest.raises(DataError, match="NUL"):
        jsonl.read(tmp_path / "a\0b", Judgment)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"Cannot write"):
        jsonl.append(tmp_path / "file" / "x.jsonl", [judgment()])


# --- what cannot be read


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"prompt_id": "a"', "not valid JSON: .* at column 18.*cut off while written"),
        ("{'a': 1}\n", r"not valid JSON: .* at column 2\. Mend"),
        ("[1]\n", "the line holds a list, not an object"),
        ("3\n", "the line holds a number"),
        (LINE.replace("1.0", '"1"'), r"field 'score': input should be a valid number \(it is '1'\)"),
        (LINE.replace("1.0", "true"), r"field 'score': .*\(it is True\)"),
        (LINE.replace(":0,", ":0.0,"), "field 'index': input should be a valid integer"),
        (LINE.replace('"index":0,', ""), "field 'index' is missing"),
        (
            LINE.replace('"raw"', '"rav"'),
            r"field 'raw' is missing; field 'rav' is unknown\. Did you mean 'raw'\? Known: ",
        ),
        (LINE.replace("1.0", "NaN"), r"field 'score' is nan: not a finite number"),
        (LINE.replace("1.0", "-Infinity"), "field 'score' is -inf"),
        (LINE.replace("1.0", "1e999"), "field 'score' is inf"),
        (LINE.replace("1.0", "1" + "0" * 400), "field 'score' is a number of more than 300 digits"),
        (LINE.replace("1.0", "1" * 5000), "5000 digits"),
        (LINE.replace('"x"', '"x","raw":"y"'), "the field 'raw' is there more than once"),
        (LINE.replace('"x"', r'"\ud800"'), "field 'raw' holds a lone surrogate"),
        (LINE.replace('"x"', '"\x01"'), "not valid JSON: Invalid control character"),
        ("[" * 100_000 + "\n", "nested too deeply"),
        (LINE.replace('"x"', "[" * 300 + "]" * 300), "recursion limit"),
        (LINE.replace('"x"', "[" * 900 + r'"\u0041"' + "]" * 900), "nested too deeply|recursion limit"),
    ],
)
def test_an_unusable_line_is_named_with_its_field(path: Path, line: str, expected: str) -> None:
    path.write_text(LINE + line)
    with pytest.raises(DataError, match=expected) as caught:
        jsonl.read(path, Judgment)
    assert str(caught.value).startswith(f"{path}:2: ")


def test_bytes_that_are_no_utf8_are_named(path: Path) -> None:
    assert "byte 1 of the line (0xff) is not valid UTF-8" in error_of(path, b"\xff\n")
    assert f"{path}:2: " in error_of(path, LINE.encode() + LINE.encode("utf-16"))


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_an_empty_file_is_an_error_unless_allowed(path: Path, content: str) -> None:
    assert "holds no records" in error_of(path, content)
    assert jsonl.read(path, Judgment, allow_empty=True) == []


def test_repeated_ids_name_both_lines(path: Path) -> None:
    message = error_of(path, LINE + "\n" + LINE, unique=lambda record: record.id)
    assert message.startswith(f"{path}:3: the id 'a/0/0' is on line 1 already")


def test_a_long_line_is_refused_without_being_read(path: Path) -> None:
    message = error_of(path, LINE + LINE.replace('"x"', '"' + "x" * 5000 + '"'), max_line_bytes=1000)
    assert message.startswith(f"{path}:2: the line is longer than 1,000 bytes")
    assert "16,777,216" in error_of(path, b"x" * (jsonl.MAX_LINE_BYTES + 1))


def test_a_ten_megabyte_prompt_is_a_record_like_any_other(path: Path) -> None:
    jsonl.append(path, [judgment(0, raw="x" * 10_000_000)])
    assert len(jsonl.read(path, Judgment)[0].raw) == 10_000_000


def test_errors_stay_short_whatever_the_value(path: Path) -> None:
    line = json.dumps({"prompt_id": "x" * 10_000, "index": "y" * 10_000, **{f"unknown{i}": 1 for i in range(100)}})
    message = error_of(path, line)
    assert len(message) < 2000
    assert "and 99 more" in message


def test_records_are_yielded_before_a_bad_line_is_met(path: Path) -> None:
    path.write_text(LINE + "{\n")
    records = jsonl.iterate(path, Judgment)
    assert next(records).prompt_id == "a"
    with pytest.raises(DataError, match=":2: "):
        next(records)


# --- torn ends


@pytest.mark.parametrize(
    "torn", [b'{"prompt_id":"p","ind', LINE.encode().rstrip(), b"\x00" * 200_000, b"{}x\n", b"\xff\n"]
)
def test_a_torn_last_line_is_cut_and_the_rest_kept(path: Path, torn: bytes) -> None:
    jsonl.append(path, [judgment(0), judgment(1, raw="x" * 100_000)])
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert jsonl.repair(path) == len(torn)
    assert path.read_bytes() == whole
    assert jsonl.repair(path) == 0


def test_every_cut_of_a_batch_leaves_its_whole_records(path: Path) -> None:
    records = [judgment(i, raw="é" * i) for i in range(4)]
    jsonl.append(path, records)
    whole = path.read_bytes()
    for length in range(0, len(whole) + 1, 3):  # newlines, fields and the two bytes of é all get cut
        path.write_bytes(whole[:length])
        resumed = jsonl.resume(path, Judgment, unique=lambda r: r.id)
        assert resumed == records[: whole[:length].count(b"\n")]
        jsonl.append(path, records[len(resumed) :])
        assert path.read_bytes() == whole


def test_sound_empty_and_missing_files_are_left_alone(path: Path) -> None:
    assert jsonl.repair(path) == 0
    assert jsonl.resume(path, Completion) == []
    assert not path.exists()
    path.touch()
    assert jsonl.repair(path) == 0
    path.write_bytes(b"torn, and nothing else")
    assert jsonl.repair(path) == 22
    assert path.read_bytes() == b""


def test_only_the_last_line_is_ever_cut(path: Path) -> None:
    path.write_text("garbage\nmore garbage\nand more\n")
    assert jsonl.repair(path) == len("and more\n")
    with pytest.raises(DataError, match=":1: not valid JSON"):
        jsonl.resume(path, Judgment)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"PAR1\x15\x04", "Parquet"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (f" [{LINE}]".encode(), "a JSON array"),
        (b'{\n  "prompt_id": "a"\n}', "one JSON object over several lines"),
        (b"\x80\x04\x95", "a pickle, which is never opened: it can run code"),
    ],
)
def test_other_kinds_of_files_are_called_by_their_names(path: Path, content: bytes, kind: str) -> None:
    assert error_of(path, content).startswith(f"{path}: this is {kind}, not JSONL")


def test_a_file_of_blank_lines_is_bounded(path: Path) -> None:
    assert "more than 1,000,000 blank lines" in error_of(path, b"\n" * 1_000_002)
