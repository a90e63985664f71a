"""`data`: what is shown before anything is got, what is got, and what scripts are told."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import selfreward_bench
from selfreward_bench.cli import data as command
from selfreward_bench.sources import pull as data_pull
from selfreward_bench.sources.directory import ENVIRONMENT_VARIABLE, default_root
from selfreward_bench.sources.published import DataFile, DataSet

from .conftest import Cli

CONTENTS = {"alpha/a.json": b"[1]", "alpha/runs/b.json": b"[2, 3]", "group/c.csv": b"c\n" * 600, "group/d.csv": b"d\n"}


@pytest.fixture
def served() -> Iterator[dict[str, bytes]]:
    """What the server of this machine gives; the key ``url`` is its address."""
    contents = dict(CONTENTS)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = contents[self.path.removeprefix("/")]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        contents["url"] = f"http://127.0.0.1:{server.server_address[1]}".encode()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield contents
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served: dict[str, bytes]) -> Path:
    """A table of three small sets, and a data directory that is not there yet."""

    def file(path: str, *, verification: bool = False) -> DataFile:
        content = CONTENTS[path]
        url = f"{served['url'].decode()}/{path}"
        return DataFile(path, url, len(content), hashlib.sha256(content).hexdigest(), verification)

    sets = (
        DataSet(
            "alpha",
            "alpha",
            "the first",
            "CC BY-NC 4.0",
            False,
            (file("alpha/a.json"), file("alpha/runs/b.json", verification=True)),
        ),
        DataSet("group/c", "group", "the second", "MIT", True, (file("group/c.csv"),)),
        DataSet("group/d", "group", "the third", "Apache-2.0", True, (file("group/d.csv"),)),
    )
    monkeypatch.setattr("selfreward_bench.sources.published.sets", lambda: {data.name: data for data in sets})
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path / "files"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    return tmp_path / "files"


def names(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()} - {".lock"}


# --- pull


def test_pull_gets_what_benchmarks_read(cli: Cli, place: Path) -> None:
    done = cli("data", "pull", "alpha", "group", "--yes")
    assert done.exit_code == 0, done.output
    assert names(place) == {"alpha/a.json", "group/c.csv", "group/d.csv"}
    assert (place / "group/c.csv").read_bytes() == CONTENTS["group/c.csv"]
    assert f"In {place}, with the published sha256: 3 files." in done.stdout
    assert "download" in done.stderr


def test_licence_size_source_and_place_are_shown_first(cli: Cli, place: Path) -> None:
    done = cli("data", "pull", "alpha", "group/c", "--with-verification", "--dry-run")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[1].split() == ["alpha", "2", "1", "kB", "CC", "BY-NC", "4.0"]
    assert lines[2].split() == ["group/c", "1", "2", "kB", "MIT"]
    assert "From: 127.0.0.1:" in done.stdout
    assert f"To:   {place}\n" in done.stdout
    assert "NON-COMMERCIAL USE ONLY: alpha." in done.stdout
    assert "To get: 3 files, 2 kB." in done.stdout
    assert not place.exists()


def test_no_warning_where_none_is_needed(cli: Cli) -> None:
    assert "NON-COMMERCIAL" not in cli("data", "pull", "group", "--dry-run").stdout


def test_what_only_verifies_comes_when_asked_for(cli: Cli, place: Path) -> None:
    cli("data", "pull", "alpha", "--yes", "--with-verification")
    assert names(place) == {"alpha/a.json", "alpha/runs/b.json"}


def test_what_is_complete_is_kept_and_other_bytes_are_replaced(cli: Cli, place: Path) -> None:
    (place / "group").mkdir(parents=True)
    (place / "group/c.csv.gz").write_bytes(gzip.compress(CONTENTS["group/c.csv"], mtime=0))
    (place / "group/d.csv").write_bytes(b"x\n")
    done = cli("data", "pull", "group", "--yes")
    assert "Complete already, kept: 1 file." in done.stdout
    assert "to be replaced: 1 file." in done.stdout
    assert names(place) == {"group/c.csv.gz", "group/d.csv"}
    assert (place / "group/d.csv").read_bytes() == CONTENTS["group/d.csv"]
    again = cli("data", "pull", "group")  # nothing to get: nothing to ask
    assert again.exit_code == 0
    assert "There is nothing to get." in again.stdout


def test_nobody_to_ask_is_no_consent(cli: Cli, place: Path) -> None:
    done = cli("data", "pull", "alpha")
    assert done.exit_code == 2
    assert "add --yes" in done.stderr
    assert "CC BY-NC 4.0" in done.stdout
    assert not place.exists()


@pytest.mark.parametrize(("answer", "got"), [("y\n", {"alpha/a.json"}), ("n\n", set()), ("\n", set())])
def test_at_a_terminal_it_asks(place: Path, monkeypatch: pytest.MonkeyPatch, answer: str, got: set[str]) -> None:
    from typer.testing import CliRunner

    from selfreward_bench.cli.app import app

    monkeypatch.setattr(command, "at_terminal", lambda: True)
    done = CliRunner().invoke(app, ["data", "pull", "alpha"], input=answer, catch_exceptions=False)
    assert done.exit_code == 0
    assert "Get 1 file under these licences?" in done.stderr
    assert names(place) == got
    assert ("Nothing was got." in done.stderr) == (not got)


def test_other_bytes_than_the_published_are_an_error(cli: Cli, place: Path, served: dict[str, bytes]) -> None:
    served["alpha/a.json"] = b"[4]"
    done = cli("data", "pull", "alpha", "--yes")
    assert done.exit_code == 2
    assert done.stderr.count(hashlib.sha256(b"[1]").hexdigest()) == 1
    assert names(place) == set()


@pytest.mark.parametrize("sub", ["pull", "path"])
def test_an_unknown_set(cli: Cli, sub: str) -> None:
    done = cli("data", sub, "alfa")
    assert done.exit_code == 2
    assert "Unknown data set 'alfa'. Did you mean 'alpha'?" in done.stderr


def test_a_place_that_cannot_be_written(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = cli("data", "pull", "alpha", "--yes", "--data-dir", tmp_path / "file")
    assert done.exit_code == 2
    assert "Error: Cannot" in done.stderr


def test_stopped_it_says_how_to_go_on(cli: Cli, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(data_pull, "pull", stop)
    done = cli("data", "pull", "alpha", "--yes", "--with-verification", "--data-dir", "my files")
    assert done.exit_code == 130
    assert "srbench data pull alpha --data-dir 'my files' --with-verification --yes" in done.stderr


def test_without_a_named_place_files_go_to_the_usual_one(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT_VARIABLE)
    assert "(not there)" in cli("data", "status").stdout
    assert cli("data", "pull", "group/d", "--yes").exit_code == 0
    assert names(default_root()) == {"group/d.csv"}
    assert cli("data", "path").stdout == f"{default_root()}\n"
    assert "(not there)" not in cli("data", "status").stdout


# --- status


def rows(stdout: str) -> dict[str, list[str]]:
    lines = stdout.splitlines()[3:6]
    return {line.split()[0]: line.split() for line in lines}


def test_status_of_nothing(cli: Cli, place: Path) -> None:
    done = cli("data", "status")
    assert done.exit_code == 0
    assert f"Data directory: {place} (not there)" in done.stdout
    assert rows(done.stdout)["alpha"] == ["alpha", "0/1", "0/1", "1", "kB", "missing", "CC", "BY-NC", "4.0"]
    assert rows(done.stdout)["group/c"] == ["group/c", "0/1", "-", "2", "kB", "missing", "MIT"]


def test_status_before_and_after_hashing(cli: Cli, place: Path) -> None:
    cli("data", "pull", "alpha", "group", "--yes")
    assert rows(cli("data", "status").stdout)["alpha"][1:6] == ["1/1", "0/1", "1", "kB", "unchecked"]
    done = cli("data", "status", "--verify")
    assert done.exit_code == 0
    assert [row[-2] for row in rows(done.stdout).values() if row[0] != "alpha"] == ["ok", "ok"]


def test_status_finds_other_bytes(cli: Cli, place: Path) -> None:
    cli("data", "pull", "alpha", "group", "--yes", "--with-verification")
    (place / "alpha/runs/b.json").write_bytes(b"[2, 4]")  # of the same length
    assert "differ" not in cli("data", "status").stdout
    done = cli("data", "status", "--verify")
    assert done.exit_code == 1
    assert rows(done.stdout)["alpha"][5:7] == ["1", "differs"]
    assert "With other bytes than the published ones: alpha/runs/b.json" in done.stdout
    (place / "alpha/runs/b.json").write_bytes(b"[]")
    quick = cli("data", "status")
    assert quick.exit_code == 0
    assert rows(quick.stdout)["alpha"][5:7] == ["1", "differs"]


def test_the_command_that_status_names_mends_it(cli: Cli, place: Path) -> None:
    cli("data", "pull", "alpha", "--yes", "--with-verification")
    (place / "alpha/runs/b.json").write_bytes(b"[]")
    (line,) = [line for line in cli("data", "status").stdout.splitlines() if "gets them anew" in line]
    named = line.split("`")[1].split()[1:]
    assert cli(*named, "--yes").exit_code == 0
    assert cli("data", "status", "--verify").exit_code == 0


# --- path


def test_path_for_scripts(cli: Cli, place: Path) -> None:
    cli("data", "pull", "alpha", "group", "--yes")
    assert cli("data", "path").stdout == f"{place}\n"
    assert cli("data", "path", "alpha").stdout == f"{place}/alpha\n"
    assert cli("data", "path", "group").stdout == f"{place}/group\n"
    assert cli("data", "path", "group/d").stdout == f"{place}/group\n"


def test_path_of_what_is_not_there(cli: Cli, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = cli("data", "path")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "`srbench data pull SET`" in done.stderr
    cli("data", "pull", "group/c", "--yes")
    done = cli("data", "path", "group")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "1 of 2 files are missing" in done.stderr
    assert "`srbench data pull group`" in done.stderr
    monkeypatch.delenv(ENVIRONMENT_VARIABLE)
    assert cli("data", "path", "group/c").exit_code == 2
    assert cli("data", "path", "group/c", "--data-dir", place).exit_code == 0


# --- the command line


def test_the_help_names_every_set(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    from selfreward_bench.sources.published import sets

    text = cli("data", "--help").stdout
    assert [name for name in sets() if name not in text] == []


@pytest.mark.parametrize("sub", ["pull", "status", "path"])
def test_every_command_has_help_and_an_example(cli: Cli, sub: str) -> None:
    text = cli("data", sub, "--help").stdout
    assert f"    srbench data {sub}" in text
    assert "--data-dir" in text


@pytest.mark.parametrize("arguments", [["--help"], ["data", "--help"], ["data", "pull", "--help"], ["data", "status"]])
def test_nothing_loads_httpx_before_it_is_needed(arguments: list[str]) -> None:
    program = (
        f"import sys; sys.argv = ['srbench', *{arguments}]\n"
        "from selfreward_bench.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print(sorted({'httpx', 'torch', 'numpy', 'pandas'} & sys.modules.keys()))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(selfreward_bench.__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
