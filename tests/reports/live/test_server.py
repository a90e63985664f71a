"""The server of ``srbench view``: for this machine alone, reading alone, trusting no file and no request."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from markupsafe import escape

from reports.live import pages
from reports.live import server as live
from reports.live.server import Server, Viewer, serve
from reports.live.watching import Course, Stage
from selfreward_bench.errors import DataError

from .. import whole_run
from ..conftest import RunBuilder
from ..test_hostile import HARMLESS, PAYLOADS, Structure

SHIFTS = (0, 23, 46, 69)
FRAMES = "; frame-ancestors 'none'"


def course(path: Path) -> Course:
    return Course(
        (Stage("M1/train", "done", "steps", 4, 4), Stage("M2/train", "partial", "steps", 1, 4, 3.0)), True, 3.0
    )


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    found = RunBuilder(tmp_path / "runs" / "first")
    found.result("M1", quality_sampled=3.0)
    return tmp_path / "runs"


@pytest.fixture
def server(runs: Path) -> Iterator[Server]:
    with serve(runs, 0, course) as found:
        thread = threading.Thread(target=found.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield found
        found.shutdown()
        thread.join(10)


def ask(server: Server, path: str, method: str = "GET", **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=30)  # type: ignore[arg-type]
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    response.text = response.read().decode()  # type: ignore[attr-defined]
    connection.close()
    return response


def text(response: http.client.HTTPResponse) -> str:
    return str(response.text)  # type: ignore[attr-defined]


def only(server: Server) -> str:
    (place,) = live.found.look(server.viewer.root).places
    return place.id


def test_it_listens_on_this_machine_alone(server: Server) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert server.address == f"http://127.0.0.1:{server.server_address[1]}/"


def test_the_leaderboard_leads_to_the_run_and_its_report(server: Server) -> None:
    first = ask(server, "/")
    assert first.status == 200
    run = f"/run/{only(server)}/"
    assert f'href="{run}"' in text(first)
    assert "3.00" in text(first)
    seen = ask(server, run)
    assert "1 of 4 steps" in text(seen)
    assert "about 3.0 s left" in text(seen)
    assert f'href="{run}report"' in text(seen)
    report = ask(server, f"{run}report")
    assert "srbench report" in text(report)
    assert text(report) == live.html.render([live.facts.collect(server.viewer.root / "first")])


@pytest.mark.parametrize("path", ["/", "RUN", "REPORT", "/nothing"])
def test_every_answer_has_its_policy_and_asks_nothing_of_anybody(server: Server, path: str) -> None:
    run = f"/run/{only(server)}/"
    found = ask(server, {"RUN": run, "REPORT": f"{run}report"}.get(path, path))
    policy = found.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert policy.endswith(FRAMES)
    assert "unsafe-eval" not in policy
    assert "connect-src" not in policy
    if found.status == 200:  # the page itself says the same
        assert f'content="{escape(policy.removesuffix(FRAMES))}"' in text(found)
    for name, value in live._HEADERS.items():
        assert found.headers[name] == value
    assert "Python" not in found.headers["Server"]


def test_head_is_answered_without_a_body_and_nothing_else_is(server: Server) -> None:
    head = ask(server, "/", "HEAD")
    assert (head.status, text(head)) == (200, "")
    assert int(head.headers["Content-Length"]) > 1_000
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "EVIL"):
        found = ask(server, "/", method)
        assert (found.status, found.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "host",
    ["evil.test", "evil.test:PORT", "127.0.0.1", "localhost", "127.0.0.1:1", "127.0.0.1.evil.test:PORT", "", "0:PORT"],
)
def test_only_the_name_of_this_machine_is_answered(server: Server, host: str) -> None:
    port = str(server.server_address[1])
    found = ask(server, "/", Host=host.replace("PORT", port))
    assert found.status == 421
    assert "first" not in text(found)
    assert ask(server, "/", Host=f"localhost:{port}").status == 200


def raw(server: Server, request: bytes) -> bytes:
    with socket.create_connection(server.server_address[:2], timeout=30) as connection:  # type: ignore[arg-type]
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        found = b""
        while block := connection.recv(65_536):
            found += block
    return found


def test_a_request_without_a_host_or_with_two_is_not_answered(server: Server) -> None:
    port = server.server_address[1]
    for hosts in ("", f"Host: 127.0.0.1:{port}\r\nHost: evil.test\r\n"):
        assert b" 421 " in raw(server, f"GET / HTTP/1.1\r\n{hosts}\r\n".encode())


def test_garbage_is_answered_in_plain_words_and_the_server_goes_on(server: Server) -> None:
    for request in (
        b"\x00\xff\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9.9\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
    ):
        assert b"<" not in raw(server, request).split(b"\r\n\r\n")[-1]
    assert ask(server, "/").status == 200


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/run/../../etc/passwd",
        "/run/first/",
        "/run/ffffffffffffffff/",
        "/run/ffffffffffffffff/report",
        "/run//report",
        "/first/srbench.yaml",
        "/run/ID/../../first/srbench.yaml",
        "/run/ID/report/",
        "/run/ID/srbench.yaml",
        "/run/ID",
        "//etc/passwd",
        "/favicon.ico",
        "/%00",
        "/run/ID/%D9%A0",
        *(f"/{'a' * n}" for n in (1, 5_000)),
    ],
)
def test_there_is_no_way_to_a_file(server: Server, path: str) -> None:
    found = ask(server, path.replace("ID", only(server)))
    assert found.status == 404
    assert text(found) == "There is no such page.\n"


def test_a_run_with_a_link_out_is_listed_and_not_read(server: Server, runs: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text('{"prompt_id": "p", "text": "SECRET"}\n')
    (runs / "first" / "M2").mkdir()
    (runs / "first" / "M2" / "completions.jsonl").symlink_to(secret)
    board = ask(server, "/")
    assert "a link that leads out" in text(board)
    assert "href" not in text(board)[text(board).index("<tbody>") : text(board).index("</tbody>")]
    for path in (f"/run/{only(server)}/", f"/run/{only(server)}/report"):
        assert ask(server, path).status == 404


def test_nothing_is_written(server: Server, runs: Path) -> None:
    def state() -> dict[str, tuple[int, int]]:
        return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in (runs, *runs.rglob("*"))}

    before = state()
    for path in ("/", f"/run/{only(server)}/", f"/run/{only(server)}/report"):
        assert ask(server, path).status == 200
    assert state() == before


def test_a_file_that_changes_is_read_again_and_others_are_not(
    server: Server, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    RunBuilder(runs / "second").result("M1", quality_sampled=4.0)
    read: list[str] = []
    collect = live.facts.collect
    monkeypatch.setattr(live.facts, "collect", lambda path: (read.append(path.name), collect(path))[1])
    for _ in range(2):
        assert ask(server, "/").status == 200
    assert sorted(read) == ["first", "second"]
    result = runs / "first" / "M1" / "eval" / "micro-quality@1" / "result.json"
    result.write_text(result.read_text().replace("3.0,", "2.125,", 1))
    assert "2.12" in text(ask(server, "/"))
    assert read[2:] == ["first"]


@pytest.mark.parametrize(("running", "times"), [(False, 1), (True, 2), (None, 2)])
def test_how_far_a_run_is_is_kept_only_where_nobody_works_on_it(runs: Path, running: bool | None, times: int) -> None:
    asked: list[str] = []

    def followed(path: Path) -> Course:
        asked.append(path.name)
        return Course((Stage("M1/train", "partial", "steps", 1, 4),), running)

    viewer = Viewer(runs, followed)
    assert viewer.page("/") is not None
    assert viewer.page("/") is not None
    assert asked == ["first"] * times
    (runs / "first" / ".lock").write_text("{}")  # as who begins to work on it does
    viewer.page("/")
    assert len(asked) == times + 1


@pytest.mark.parametrize(
    ("course", "told"),
    [
        (Course((Stage("M1/train", "new", "steps"),), True, 0.2, least=True), ""),
        (Course((Stage("M1/train", "partial", "steps", 1, 4, 3.0),), True, 3.0, least=True), "at least 3.0 s left"),
        (Course((Stage("M1/train", "partial", "steps", 1, 4, 0.2),), True, 0.2), "about 0.2 s left"),
    ],
)
def test_what_is_left_is_told_where_that_tells_anything(course: Course, told: str) -> None:
    assert pages._left(course) == told


def test_a_stage_to_come_that_takes_no_time_says_nothing_of_it() -> None:
    stages = (Stage("M2/pairs", "new", "pairs", 0, 60, 0.01), Stage("M2/train", "partial", "steps", 1, 4, 3.0))
    assert [pages._left_of(s) for s in (*stages, Stage("M1/ift", "done", "examples", 1))] == ["", "3.0 s", ""]


def test_one_of_a_thing_is_no_several() -> None:
    stages = (Stage("a", "new", "steps", 0, 1), Stage("b", "partial", "steps", 1, 2), Stage("c", "done", "steps", 1))
    assert [pages._told(s) for s in stages] == ["1 step", "1 of 2 steps", "1 step"]


def test_what_goes_wrong_is_told_without_details(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Viewer, path: str) -> None:
        raise RuntimeError("/a/secret/path")

    monkeypatch.setattr(Viewer, "page", broken)
    found = ask(server, "/")
    assert found.status == 500
    assert "secret" not in text(found)


def test_more_requests_than_there_is_room_for_are_sent_away(server: Server) -> None:
    for _ in range(live._AT_ONCE):
        assert server.room.acquire(blocking=False)
    assert ask(server, "/").status == 503
    server.room.release()
    assert ask(server, "/").status == 200


def test_a_port_that_is_taken_is_told_with_a_way_out(server: Server, runs: Path) -> None:
    with pytest.raises(DataError, match="--port 0"):
        serve(runs, server.server_address[1], course)


# --- hostile content


def pages_of(folder: Path, template: Path, texts: Sequence[str], shift: int) -> list[str]:
    root = folder / "runs"
    root.mkdir(parents=True)
    shutil.copytree(template, root / "copy")
    run = whole_run.fill(root / "copy", texts, shift)
    lines = [{"prompt_id": t, "text": t, "score": 1} for t in texts]
    (run / "M3" / "completions.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))

    def hostile(path: Path) -> Course:
        told = [texts[(k + shift) % len(texts)] for k in range(4)]
        return Course(
            (Stage(told[0], "partial", told[1], 1, 2, 1.0), Stage(told[2], "new", told[3])), True, 1.0, False, told[0]
        )

    viewer = Viewer(root, hostile)
    found = [viewer.page("/")]
    found += [viewer.page(f"/run/{p.id}/") for p in live.found.look(root).places]
    assert all(found)
    return [page.text for page in found if page]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole_run.write(tmp_path_factory.mktemp("live template") / "run")


@pytest.mark.slow
@pytest.mark.parametrize("shift", SHIFTS)
def test_hostile_words_make_the_same_pages_as_harmless_ones(template: Path, tmp_path: Path, shift: int) -> None:
    hostile = pages_of(tmp_path / "hostile", template, PAYLOADS, shift)
    harmless = pages_of(tmp_path / "harmless", template, HARMLESS, shift)
    assert len(hostile) == 2
    for one, other in zip(hostile, harmless, strict=True):
        assert Structure(one).found == Structure(other).found
        assert one.encode()
