"""Where the key of a served model goes: to that server alone, never to a proxy, into no file and no message."""

from __future__ import annotations

import base64
import json
import logging
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from selfreward_bench.engines.served import ServedEngine, parse_spec
from selfreward_bench.engines.served.answers import completions
from selfreward_bench.engines.served.faults import readable
from selfreward_bench.errors import ConfigError, EngineError
from selfreward_bench.storage.responses import ResponseStore

from ....fake_server import fake_server
from ....recording_proxy import recording_proxy
from ....scripted_server import Answer, Asked, said, scripted_server
from .test_engine import FAST, ask, written
from .test_secrets import SPELLINGS

KEY = "sk-s3cret/never+to.be-seen"
PASSWORD = "pr0xy-p@ss"  # noqa: S105  # made up
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
CLIENT = """
import sys
from pathlib import Path
from selfreward_bench.engines.base import GenerationRequest
from selfreward_bench.engines.served import Limits, ServedEngine
from selfreward_bench.storage.responses import ResponseStore
from selfreward_bench.types import Message

store = ResponseStore(Path(sys.argv[2]))
engine = ServedEngine(sys.argv[1], store=store, limits=Limits(attempts=2, backoff=0.01, concurrency=2))
requests = [GenerationRequest(f"r{i}", (Message(role="user", content=f"Say {i}"),)) for i in range(6)]
print(sum(len(batch) for batch in engine.generate(requests)), dict(engine.failures))
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ResponseStore]:
    made = ResponseStore(tmp_path / "store" / "responses.sqlite")
    yield made
    made.close()


@pytest.fixture(autouse=True)
def key_and_no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A throw-away certificate of model.test, with its key; it is its own authority."""
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=model.test"
    command += " -addext subjectAltName=DNS:model.test -keyout key.pem -out certificate.pem"
    subprocess.run(command.split(), check=True, capture_output=True, cwd=folder)
    both = folder / "both.pem"
    both.write_bytes((folder / "key.pem").read_bytes() + (folder / "certificate.pem").read_bytes())
    return both


def client(tmp_path: Path, spec: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Six calls in a process of its own, which reads certificates and proxies when it starts."""
    command = [sys.executable, "-c", CLIENT, spec, str(tmp_path / "client.sqlite")]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ | environment)


# --- proxies


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_is_never_asked_through_a_proxy(
    store: ResponseStore, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    with fake_server(key=KEY) as server, recording_proxy() as proxy:
        for name in PROXIES:
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("NO_PROXY", "elsewhere.org")
        url = server.url.replace("127.0.0.1", host)
        assert len(written(ServedEngine(f"m@{url}", store=store, limits=FAST), [ask("a")])) == 1
        assert server.stats()["headers"]["authorization"] == f"Bearer {KEY}"
        assert proxy.heard == b""


@pytest.mark.slow
def test_this_machine_is_never_asked_through_a_proxy_over_https(certificate: Path, tmp_path: Path) -> None:
    with fake_server(key=KEY, certificate=str(certificate)) as server, recording_proxy() as proxy:
        done = client(tmp_path, f"m@{server.url}", **dict.fromkeys(PROXIES, proxy.url), SSL_CERT_FILE=str(certificate))
        assert proxy.heard == b""
    assert "certificate" in done.stderr  # it is model.test's; so far the connection came without the proxy


@pytest.mark.slow
def test_over_https_the_proxy_gets_its_own_password_and_nothing_else(certificate: Path, tmp_path: Path) -> None:
    with fake_server(key=KEY, certificate=str(certificate)) as server:
        port = int(server.url.split(":")[2].partition("/")[0])
        with recording_proxy({"model.test:443": ("127.0.0.1", port)}) as proxy:
            named = proxy.url.replace("//", f"//me:{PASSWORD.replace('@', '%40')}@")
            done = client(tmp_path, "m@https://model.test/v1", HTTPS_PROXY=named, SSL_CERT_FILE=str(certificate))
            heard = proxy.heard
        headers = server.stats()["headers"]
    assert done.stdout == "6 {}\n", done.stderr
    assert headers["authorization"] == f"Bearer {KEY}"
    assert PASSWORD not in str(headers)
    assert "proxy-authorization" not in headers
    credentials = base64.b64encode(f"me:{PASSWORD}".encode())
    assert heard.startswith(b"CONNECT model.test:443 ")
    assert heard.count(b"CONNECT ") == heard.lower().count(b"authorization: ") == heard.count(credentials)
    assert KEY.encode() not in heard
    assert KEY.encode() not in base64.b64decode(credentials)
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    for secret in (KEY, PASSWORD):
        assert secret not in done.stdout + done.stderr
        assert secret.encode() not in kept


@pytest.mark.parametrize(("status", "said"), [(407, "wants a user name and password"), (403, "opens no tunnel")])
def test_a_proxy_that_refuses_is_told_without_its_password(tmp_path: Path, status: int, said: str) -> None:
    with recording_proxy(refuses_with=status) as proxy:
        named = proxy.url.replace("//", "//me:pr0xy-pass@")
        done = client(tmp_path, "m@https://model.test/v1", HTTPS_PROXY=named)
        assert b"CONNECT model.test:443" in proxy.heard
        assert KEY.encode() not in proxy.heard
    assert said in done.stdout + done.stderr
    assert proxy.url in done.stdout + done.stderr
    assert "pr0xy-pass" not in done.stdout + done.stderr


def test_no_key_goes_in_the_clear_through_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", KEY)
    with recording_proxy() as proxy:
        done = client(tmp_path, "m@http://model.test/v1", HTTP_PROXY=proxy.url)  # without a key: none was named for it
        assert b"POST http://model.test/v1/chat/completions" in proxy.heard
        assert KEY.encode() not in proxy.heard
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        with pytest.raises(ConfigError, match=r"would read the key.*NO_PROXY=model\.test"):
            parse_spec("m@http://model.test/v1#MINE").key()
    assert "HTTP 502" in done.stdout + done.stderr
    monkeypatch.setenv("NO_PROXY", "model.test")
    assert parse_spec("m@http://model.test/v1#MINE").key() == KEY


# --- a server that repeats the key


@pytest.mark.slow
def test_a_server_that_repeats_the_key_leaves_it_nowhere(
    store: ResponseStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor that of another server, which a run may name besides."""
    monkeypatch.setenv("OTHER", "0ther-s3cret-key")
    caplog.set_level(logging.DEBUG)
    parse_spec("judge@https://elsewhere/v1#OTHER").key()
    spellings = [spell(key) for spell in SPELLINGS.values() for key in (KEY, "0ther-s3cret-key")]

    def script(asked: Asked) -> Answer:
        spelled = spellings[asked.number % len(spellings)]
        if asked.number % 3 == 0:
            return 400, {"error": {"message": "x" * (4096 - asked.number % 40) + spelled, "code": spelled}}
        if asked.number % 3 == 1:
            return 400, f"<html>{'y' * (asked.number * 100 % 5000)}{spelled}</html>".encode(), {"Retry-After": KEY}
        status, body = said(f"You sent {spelled}.")
        return status, body | {"model": spelled, "echo": {spelled: spelled}}

    with scripted_server(script) as server:
        engine = ServedEngine(f"m@{server.url}", store=store, limits=FAST, concurrency=4)
        found = written(engine, [ask(f"r{i}") for i in range(3 * len(spellings))])
        assert len(server.asked) == 3 * len(spellings)
    assert len(found) == len(spellings)
    rows = store._db.execute("SELECT key FROM responses").fetchall()
    raw = [response.raw.decode() for response in store.get([row[0] for row in rows]).values()]
    shown = [c.model_dump_json() for c in found] + [*engine.failures.values(), engine.snapshot, caplog.text, *raw]
    shown += [reason for _, reason in store.failures()]
    kept = b"".join(path.read_bytes() for path in store.path.parent.iterdir())
    for spelled in spellings:
        piece = spelled[2:16]
        assert piece not in "\n".join(shown)
        assert piece.encode() not in kept


@pytest.mark.parametrize("at", range(1, len(KEY)))
def test_a_key_in_two_parts_is_not_put_together(at: int) -> None:
    parts = [{"type": "text", "text": KEY[:at]}, {"type": "text", "text": KEY[at:]}]
    parse_spec("m@https://h/v1").key()
    body = json.loads(readable(json.dumps(said(parts)[1]).encode()))
    (found,) = completions(ask("a"), [body], len)
    assert not any(KEY[i : i + 13] in found.text for i in range(len(KEY) - 12))


def test_an_error_for_all_requests_holds_no_key(store: ResponseStore) -> None:
    with scripted_server(lambda asked: (401, {"error": f"{'z' * 4090}no: {asked.headers['authorization']}"})) as server:
        engine = ServedEngine(f"m@{server.url}", store=store, limits=FAST)
        with pytest.raises(EngineError, match="HTTP 401") as error:
            written(engine, [ask("a")])
    lines = traceback.format_exception(error.value)
    assert KEY[:9] not in "".join(lines) + repr(engine._client)
