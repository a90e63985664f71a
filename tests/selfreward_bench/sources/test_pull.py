"""Getting files: from a server on this machine, which misbehaves in every way that servers do."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import shutil
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from selfreward_bench.errors import ConfigError, DataError, IncompatibleRunError
from selfreward_bench.sources import pull as data_pull
from selfreward_bench.sources.published import DataFile
from selfreward_bench.sources.pull import plan, pull
from selfreward_bench.storage.lock import writer_lock

from ...recording_proxy import recording_proxy

Answer = Callable[[BaseHTTPRequestHandler], None]
REAL_CLIENT = data_pull._client


@dataclass
class Server:
    """What its paths answer, one after the other (the last one for ever), and how often each was asked."""

    url: str = ""
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    headers: list[dict[str, str]] = field(default_factory=list)

    def serve(self, path: str, *answers: Answer, content: bytes = b"") -> DataFile:
        """The file that is published at ``path``; without answers it is given as it is."""
        self.answers[path] = list(answers) or [give(content)]
        return DataFile(f"set/{path}", f"{self.url}/{path}", len(content), hashlib.sha256(content).hexdigest())


def quick_client() -> httpx.Client:
    """Without certificates, which take longer to load than all the rest of a test."""
    return httpx.Client(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), timeout=data_pull._SILENCE_SECONDS)


def give(content: bytes, *, claim: int | None = None, status: int = 200, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(content) if claim is None else claim))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)
        handler.close_connection = True

    return answer


def give_for_ever(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.close_connection = True
    for _ in range(10_000):
        handler.wfile.write(b"x" * 10_000)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    told = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.removeprefix("/")
            answers = told.answers[path]
            told.headers.append(dict(self.headers))
            told.asked[path] += 1
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            try:
                answer(self)
            except OSError:
                self.close_connection = True  # the other side had enough

        def log_message(self, format: str, *args: Any) -> None: ...

    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setattr(data_pull, "_client", quick_client)
    monkeypatch.setattr(data_pull, "WAITS", (0.0, 0.0, 0.0))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        told.url = f"http://127.0.0.1:{httpd.server_address[1]}"
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield told
        httpd.shutdown()
        thread.join()


class Told:
    """A reporter that adds up."""

    def __init__(self) -> None:
        self.total: int | None = None
        self.done = 0
        self.counts: Mapping[str, float] = {}

    def started(self, stage: str, total: int | None, unit: str) -> None:
        self.total = total

    def advanced(self, amount: int = 1) -> None:
        self.done += amount

    def finished(self, stage: str, counts: Mapping[str, float], seconds: float, skipped: bool = False) -> None:
        self.counts = counts

    def message(self, text: str) -> None: ...


def names(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()} - {".lock"}


# --- what works


def test_files_arrive_whole_and_are_counted(server: Server, tmp_path: Path) -> None:
    files = [server.serve("a.json", content=b"a" * 200_000), server.serve("deep/b.csv", content=b"b")]
    told = Told()
    pull(files, tmp_path / "new", reporter=told)
    assert names(tmp_path / "new") == {"set/a.json", "set/deep/b.csv"}
    assert (tmp_path / "new/set/a.json").read_bytes() == b"a" * 200_000
    assert told.total == told.done == 200_001
    assert told.counts == {"files": 2, "bytes": 200_001}
    assert plan(files, tmp_path / "new").files == ()


def test_no_compression_is_asked_for_and_nobody_is_named(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_pull, "_client", REAL_CLIENT)
    pull([server.serve("a", content=b"a")], tmp_path)
    (headers,) = server.headers
    assert headers["Accept-Encoding"] == "identity"
    assert headers["User-Agent"].startswith("srbench/")
    assert not {"Authorization", "Cookie"} & headers.keys()


def test_no_files_is_no_work(tmp_path: Path) -> None:
    pull([], tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_what_has_the_published_bytes_is_not_got_again(server: Server, tmp_path: Path) -> None:
    same, packed, other, damaged, missing = (
        server.serve(name, content=name.encode() * 3) for name in ("same", "packed", "other", "damaged", "missing")
    )
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "same").write_bytes(b"same" * 3)
    (folder / "packed.gz").write_bytes(gzip.compress(b"packed" * 3, mtime=0))
    (folder / "other").write_bytes(b"0ther" * 3)
    (folder / "damaged.gz").write_bytes(b"no gzip")
    planned = plan([same, packed, other, damaged, missing, same], tmp_path)
    assert planned.files == (other, damaged, missing)
    assert planned.replaced == (other, damaged)
    assert (planned.kept, planned.size) == (2, other.size + damaged.size + missing.size)
    pull(planned.files, tmp_path)
    assert (folder / "other").read_bytes() == b"other" * 3
    assert plan([same, packed, other, damaged, missing], tmp_path).files == ()
    assert not server.asked["same"] + server.asked["packed"]


def test_what_a_killed_process_left_is_no_obstacle(server: Server, tmp_path: Path) -> None:
    file = server.serve("a", content=b"whole")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / ".a.part").write_bytes(b"half of something longer")
    pull([file], tmp_path)
    assert names(tmp_path) == {"set/a"}
    assert (tmp_path / "set/a").read_bytes() == b"whole"


# --- what passes, and is tried again


@pytest.mark.parametrize(
    "trouble",
    [give(b"", status=503), give(b"", status=429), give(b"who", claim=5), lambda handler: handler.connection.close()],
    ids=["busy", "too many", "cut off", "hung up"],
)
def test_passing_trouble_is_tried_again(server: Server, tmp_path: Path, trouble: Answer) -> None:
    told = Told()
    file = server.serve("a", trouble, trouble, give(b"whole"), content=b"whole")
    pull([file], tmp_path, reporter=told)
    assert (tmp_path / "set/a").read_bytes() == b"whole"
    assert server.asked["a"] == 3
    assert told.done == told.total  # what came in vain is taken back


def test_lasting_trouble_ends_it_and_keeps_what_is_complete(server: Server, tmp_path: Path) -> None:
    good = server.serve("good", content=b"good")
    file = server.serve("bad", give(b"", status=503), content=b"whole")
    with pytest.raises(DataError, match=r"4 times tried: the server answered 503 .*what is complete is kept"):
        pull([good, file], tmp_path)
    assert server.asked["bad"] == 4
    assert names(tmp_path) == {"set/good"}


def test_a_server_that_is_not_there(server: Server, tmp_path: Path) -> None:
    file = DataFile("a", "http://127.0.0.1:1/a", 1, "")
    with pytest.raises(DataError, match=r"127\.0\.0\.1:1/a cannot be got, 4 times tried: ConnectError"):
        pull([file], tmp_path)
    assert names(tmp_path) == set()


def test_a_silent_server_is_not_waited_for_for_ever(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    file = server.serve("a", lambda _: over.wait(20) and None, content=b"whole")
    monkeypatch.setattr(data_pull, "_SILENCE_SECONDS", 0.05)
    monkeypatch.setattr(data_pull, "_client", REAL_CLIENT)
    try:
        with pytest.raises(DataError, match="ReadTimeout"):
            pull([file], tmp_path)
    finally:
        over.set()


def test_a_server_that_gives_drop_by_drop_is_given_up(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = server.serve("a", content=b"whole")
    monkeypatch.setattr(data_pull, "_PATIENCE_SECONDS", -10.0)
    with pytest.raises(DataError, match="too slow, 5 of 5 bytes"):
        pull([file], tmp_path)


# --- what is refused at once


def test_other_bytes_are_refused_and_the_file_that_was_there_stays(server: Server, tmp_path: Path) -> None:
    file = server.serve("a", give(b"whole!"), content=b"wh0le!")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a").write_bytes(b"before")
    with pytest.raises(DataError, match="other bytes than the published") as told:
        pull([file], tmp_path)
    for part in (file.url, file.sha256, hashlib.sha256(b"whole!").hexdigest(), "Nothing of it was kept", file.path):
        assert part in str(told.value)
    assert (tmp_path / "set" / "a").read_bytes() == b"before"
    assert names(tmp_path) == {"set/a"}
    assert server.asked["a"] == 1


def test_other_line_ends_are_put_right(server: Server, tmp_path: Path) -> None:
    content, told = b"[\n" + b"  1,\n" * 50_000 + b"  2\n]", Told()
    file = server.serve("a.json", give(content.replace(b"\n", b"\r\n")), content=content)
    pull([file], tmp_path, reporter=told)
    assert (tmp_path / file.path).read_bytes() == content
    assert told.done == told.total
    other = server.serve("b.json", give(content.replace(b"\n", b"\r\n").replace(b"2", b"3")), content=content)
    with pytest.raises(DataError, match="more than the"):
        pull([other], tmp_path)
    assert names(tmp_path) == {"set/a.json"}


@pytest.mark.parametrize("answer", [give(b"whole and more"), give_for_ever], ids=["longer", "endless"])
def test_no_more_is_read_than_is_published(server: Server, tmp_path: Path, answer: Answer) -> None:
    with pytest.raises(DataError, match="more than the 5 bytes"):
        pull([server.serve("a", answer, content=b"whole")], tmp_path)
    assert names(tmp_path) == set()


def test_fewer_bytes_are_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected 5 with .* got 4 with"):
        pull([server.serve("a", give(b"whol"), content=b"whole")], tmp_path)


@pytest.mark.parametrize("status", [204, 304, 401, 404])
def test_an_answer_that_is_no_file(server: Server, tmp_path: Path, status: int) -> None:
    with pytest.raises(DataError, match=f"the server answered {status}"):
        pull([server.serve("a", give(b"", status=status), content=b"whole")], tmp_path)
    assert server.asked["a"] == 1


# --- redirections


def test_a_redirection_is_followed(server: Server, tmp_path: Path) -> None:
    file = server.serve("a", give(b"moved", status=302, Location="/b"), content=b"whole")
    server.serve("b", content=b"whole")
    pull([file], tmp_path)
    assert (tmp_path / "set/a").read_bytes() == b"whole"


def test_a_circle_of_redirections_is_left(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="redirects more than 5 times"):
        pull([server.serve("a", give(b"", status=301, Location="/a"), content=b"whole")], tmp_path)
    assert server.asked["a"] == 6


@pytest.mark.parametrize(
    "location", ["http://example.org/a", "file:///etc/hostname", "ftp://127.0.0.1/a", "http://127.0.0.2/a"]
)
def test_no_other_scheme_is_followed(server: Server, tmp_path: Path, location: str) -> None:
    with pytest.raises(DataError, match="only https is followed"):
        pull([server.serve("a", give(b"", status=302, Location=location), content=b"whole")], tmp_path)


@pytest.mark.parametrize("location", ["http://127.0.0.1/a", "http://origin/a"])
def test_a_public_address_leads_to_https_only(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        there = "https://mirror/a" if request.url.host == "origin" else location
        return httpx.Response(302, headers={"Location": there})

    monkeypatch.setattr(data_pull, "_client", lambda: httpx.Client(transport=httpx.MockTransport(answer)))
    with pytest.raises(DataError, match="only https is followed"):
        pull([DataFile("a", "https://origin/a", 1, "")], tmp_path)
    assert asked == ["https://origin/a", "https://mirror/a"]


@pytest.mark.parametrize("url", ["http://origin/a", "file:///etc/hostname", "ftp://origin/a"])
def test_a_table_with_other_addresses_is_refused(server: Server, tmp_path: Path, url: str) -> None:
    with pytest.raises(DataError, match="only https is followed"):
        pull([DataFile("a", url, 1, "")], tmp_path)


# --- the machine


def test_ctrl_c_leaves_no_half_file_and_no_lock(server: Server, tmp_path: Path) -> None:
    class Interrupting(Told):
        def advanced(self, amount: int = 1) -> None:
            if (tmp_path / "set/.b.part").exists():
                raise KeyboardInterrupt

    files = [server.serve("a", content=b"a"), server.serve("b", content=b"b" * 10_000)]
    with pytest.raises(KeyboardInterrupt):
        pull(files, tmp_path, reporter=Interrupting())
    assert names(tmp_path) == {"set/a"}
    pull(plan(files, tmp_path).files, tmp_path)
    assert names(tmp_path) == {"set/a", "set/b"}
    assert server.asked == {"a": 1, "b": 2}


def test_a_disk_that_is_too_full_is_told_before(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = server.serve("a", content=b"whole")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000))
    with pytest.raises(DataError, match="1,000 bytes free, and 1,048,581 are needed"):
        pull([file], tmp_path)
    assert not server.asked


def test_a_disk_that_fills_up_is_told(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file = server.serve("a", content=b"whole")
    monkeypatch.setattr(data_pull.os, "fsync", full)
    with pytest.raises(DataError, match="no space is left"):
        data_pull._download(quick_client(), file, tmp_path / "set/a", Told())
    assert names(tmp_path) == set()


def test_a_place_that_cannot_be_a_directory(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="a part of the path is a file"):
        pull([server.serve("a", content=b"a")], tmp_path / "file" / "data")


def test_one_process_gets_files_at_a_time(server: Server, tmp_path: Path) -> None:
    with writer_lock(tmp_path / ".lock"), pytest.raises(IncompatibleRunError, match="in use"):
        pull([server.serve("a", content=b"a")], tmp_path)


def test_a_proxy_that_cannot_be_used_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "nonsense://somewhere")
    with pytest.raises(ConfigError, match="proxy or the certificates"):
        pull([DataFile("a", "https://origin/a", 1, "")], tmp_path)


def test_a_proxys_password_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://me:s3cret:pass@somewhere:port")
    with pytest.raises(ConfigError, match="proxy or the certificates") as error:
        pull([DataFile("a", "https://origin/a", 1, "")], tmp_path)
    assert "s3cret" not in str(error.value)


def test_this_machine_is_never_asked_through_a_proxy(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_pull, "_client", REAL_CLIENT)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name)
    with recording_proxy() as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        pull([server.serve("a", content=b"a")], tmp_path)
        assert proxy.heard == b""
    assert names(tmp_path) == {"set/a"}
