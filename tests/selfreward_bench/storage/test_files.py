"""Files of srbench's own, in a directory that somebody else made: nothing outside it is written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from selfreward_bench.errors import ConfigError, DataError
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.decoding import json_file
from selfreward_bench.storage.files import expanded, home, write_atomic
from selfreward_bench.storage.lock import writer_lock
from selfreward_bench.types import Message

ROW = Message(role="user", content="x")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A file of the user's."""
    file = tmp_path / "precious"
    file.write_text("as it was\n")
    return file


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def test_a_link_in_the_place_of_a_temporary_file_is_not_followed(run: Path, outside: Path) -> None:
    (run / ".standings.json.tmp").symlink_to(outside)
    write_atomic(run / "standings.json", b"{}")
    assert (run / "standings.json").read_bytes() == b"{}"
    assert outside.read_text() == "as it was\n"
    assert sorted(p.name for p in run.iterdir()) == ["standings.json"]


def test_a_link_in_the_place_of_the_file_is_replaced(run: Path, outside: Path) -> None:
    (run / "standings.json").symlink_to(outside)
    write_atomic(run / "standings.json", b"{}")
    assert (outside.read_text(), (run / "standings.json").is_symlink()) == ("as it was\n", False)


def test_what_a_killed_process_left_is_replaced(run: Path) -> None:
    (run / ".a.tmp").write_text("half")
    write_atomic(run / "a", b"whole")
    assert [(p.name, p.read_bytes()) for p in run.iterdir()] == [("a", b"whole")]


def lock(path: Path) -> None:
    with writer_lock(path):
        pass


def append(path: Path) -> None:
    jsonl.append(path, [ROW])


@pytest.mark.parametrize("write", [lock, append])
@pytest.mark.parametrize("there", [True, False])
def test_a_link_in_the_place_of_a_file_that_is_written_on_is_refused(
    run: Path, outside: Path, write: Callable[[Path], None], there: bool
) -> None:
    """Also one that leads to nothing: a file would be made there."""
    target = outside if there else outside.with_name("none")
    (run / "file").symlink_to(target)
    with pytest.raises(DataError, match="a symbolic link is in its place"):
        write(run / "file")
    assert (outside.read_text(), target.exists()) == ("as it was\n", there)


@pytest.mark.parametrize("write", [lock, append])
def test_a_second_name_of_a_file_is_parted_from_it(run: Path, outside: Path, write: Callable[[Path], None]) -> None:
    """Forks share large files of finished stages."""
    jsonl.write(outside, [ROW])
    os.link(outside, run / "file")
    write(run / "file")
    assert jsonl.read(outside, Message) == [ROW]
    if write is append:
        assert jsonl.read(run / "file", Message) == [ROW, ROW]


def test_a_torn_line_is_cut_in_a_copy_of_a_shared_file(run: Path, outside: Path) -> None:
    outside.write_text('{"role": "user", "content": "x"}\n{"ro')
    os.link(outside, run / "file")
    assert jsonl.resume(run / "file", Message) == [ROW]
    assert outside.read_text().endswith('{"ro')


@pytest.mark.parametrize("write", [lock, append])
def test_a_pipe_is_refused(run: Path, write: Callable[[Path], None]) -> None:
    os.mkfifo(run / "file")
    with pytest.raises(DataError, match=r"pipe or a device|No such device"):
        write(run / "file")


def test_nothing_is_read_of_a_pipe_or_a_device_that_is_not_named_as_such(run: Path) -> None:
    """Reading one might never end: it holds up whoever is given a directory with it."""
    os.mkfifo(run / "pipe.json")
    (run / "device.json").symlink_to("/dev/zero")
    for name in ("pipe.json", "device.json"):
        with pytest.raises(DataError, match=rf"^Cannot read .*{name}: it is a pipe or a device, not a file\."):
            jsonl.read(run / name, Message)
        assert json_file(run / name) is None
    reader, writer = os.pipe()  # as bash's <(COMMAND) names one
    os.write(writer, ROW.model_dump_json().encode() + b"\n")
    os.close(writer)
    assert jsonl.read(Path(f"/dev/fd/{reader}"), Message) == [ROW]
    os.close(reader)


def test_a_home_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container whose user has no name and no HOME; a ``~`` of somebody else."""

    def unknown(path: object = None) -> Path:
        raise RuntimeError("Could not determine home directory.")

    assert expanded(Path("~nobody-of-this-name/x")) == Path("~nobody-of-this-name/x")
    monkeypatch.setattr(Path, "home", unknown)
    with pytest.raises(ConfigError, match="Set HOME"):
        home()
