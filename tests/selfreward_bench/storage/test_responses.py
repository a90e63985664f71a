"""The response store: what is in it stays, is found by everything an answer depends on, and holds no secrets."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from selfreward_bench.errors import DataError
from selfreward_bench.storage.responses import Response, ResponseStore, default_path, response_key

BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "seed": 1, "temperature": 0.7}


def response(key: str, raw: bytes = b'{"a": 1}') -> Response:
    return Response(key, "http://h/v1", "m", raw, snapshot="m-1", prompt_tokens=3, completion_tokens=1)


def test_what_is_put_is_found_byte_by_byte_also_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "new" / "r.sqlite"
    store = ResponseStore(path)
    raw = b'{"b": "\xc3\xa9", "a" : 1}\n'
    store.put([response("k1", raw), response("k2")])
    store.close()
    again = ResponseStore(path)
    found = again.get(["k1", "k2", "k3"])
    assert found["k1"].raw == raw
    assert found["k2"].snapshot == "m-1"
    assert (found["k2"].prompt_tokens, found["k2"].completion_tokens) == (3, 1)
    assert set(found) == {"k1", "k2"}
    assert len(again) == 2
    again.close()


def test_more_keys_than_fit_into_a_query(tmp_path: Path) -> None:
    store = ResponseStore(tmp_path / "r.sqlite")
    keys = [f"k{i}" for i in range(1_201)]
    store.put([response(k) for k in keys])
    assert set(store.get(keys)) == set(keys)
    store.close()


def test_the_first_response_stays_and_is_the_one_to_use(tmp_path: Path) -> None:
    store = ResponseStore(tmp_path / "r.sqlite")
    store.put([response("k", b"{}")])
    assert store.put([response("k", b"other")])["k"].raw == b"{}"
    store.close()


def test_the_key_holds_all_an_answer_depends_on() -> None:
    key = response_key("http://h/v1", "/chat/completions", BODY, 0)
    assert key == response_key("http://h/v1", "/chat/completions", dict(reversed(BODY.items())), 0)
    others = [
        response_key("http://g/v1", "/chat/completions", BODY, 0),
        response_key("http://h/v1", "/completions", BODY, 0),
        response_key("http://h/v1", "/chat/completions", BODY, 1),
        response_key("http://h/v1", "/chat/completions", BODY | {"seed": 2}, 0),
        response_key("http://h/v1", "/chat/completions", BODY | {"model": "n"}, 0),
        response_key("http://h/v1", "/chat/completions", BODY | {"temperature": 0.8}, 0),
        response_key("http://h/v1", "/chat/completions", BODY | {"messages": [{"role": "user", "content": "ho"}]}, 0),
    ]
    assert len({key, *others}) == 8


def test_failures_are_noted_and_never_served(tmp_path: Path) -> None:
    store = ResponseStore(tmp_path / "r.sqlite")
    store.put_failures([("k", "http://h/v1", "m", "failed: HTTP 400")])
    assert store.failures() == [("k", "failed: HTTP 400")]
    assert store.get(["k"]) == {}
    store.close()


def test_threads_share_a_store(tmp_path: Path) -> None:
    store = ResponseStore(tmp_path / "r.sqlite")
    threads = [
        threading.Thread(target=lambda i=i: [store.put([response(f"{i}/{j}")]) for j in range(20)]) for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(store) == 80
    store.close()


WRITER = """
import sys
from pathlib import Path
from selfreward_bench.storage.responses import Response, ResponseStore
store = ResponseStore(Path(sys.argv[1]))
for i in range(int(sys.argv[3])):
    store.put([Response(f"{sys.argv[2]}/{i}", "http://h/v1", "m", b"{}")])
    print(i, flush=True)
"""


def test_several_processes_make_and_fill_one_store(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [subprocess.Popen([*command, name, "30"], stdout=subprocess.DEVNULL) for name in "abcd"]
    assert [w.wait(60) for w in writers] == [0] * 4
    store = ResponseStore(path)
    assert len(store) == 120
    store.close()


def test_what_was_stored_before_kill_9_is_there_after_it(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    command = [sys.executable, "-c", WRITER, str(path), "a", "100000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        said = [writer.stdout.readline() for _ in range(25)]
        writer.kill()
    store = ResponseStore(path)
    stored = [f"a/{int(line)}" for line in said]
    assert set(store.get(stored)) == set(stored)
    store.put([response("after")])
    store.close()


def test_a_file_that_is_no_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "text.sqlite"
    text.write_text("this is no database, " * 100)
    with pytest.raises(DataError, match="damaged or no SQLite file"):
        ResponseStore(text)
    assert text.read_text().startswith("this is no database")
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE mine (a)")
    db.close()
    with pytest.raises(DataError, match="no response store of this version"):
        ResponseStore(other)


def test_damage_inside_is_named_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    store = ResponseStore(path)
    store.put([response(f"k{i}", b"x" * 3000) for i in range(200)])
    store.close()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"damaged.*Move it away"):
        ResponseStore(path).get([f"k{i}" for i in range(200)])


def test_a_response_that_does_not_unpack_is_named(tmp_path: Path) -> None:
    store = ResponseStore(tmp_path / "r.sqlite")
    store.put([response("k")])
    with sqlite3.connect(store.path) as db:
        db.execute("UPDATE responses SET response = ?", (b"not zlib",))
    db.close()
    with pytest.raises(DataError, match="damaged"):
        store.get(["k"])
    store.close()
    store.close()


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="make the directory"):
        ResponseStore(tmp_path / "file" / "r.sqlite")


def test_where_the_store_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SRBENCH_STORE", str(tmp_path / "mine.sqlite"))
    assert default_path() == tmp_path / "mine.sqlite"
    monkeypatch.delenv("SRBENCH_STORE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_path() == tmp_path / "srbench" / "responses.sqlite"
