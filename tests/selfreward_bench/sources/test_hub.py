"""Models of the hub: what is asked of it, what is kept, and what a user reads when it does not go well.

The hub is a server on this machine that speaks as much of its protocol as the client needs for a snapshot.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import close_session, constants

from selfreward_bench.errors import EngineError
from selfreward_bench.sources.hub import hub_description, hub_directory, is_hub_name, model_directory
from selfreward_bench.storage.fingerprint import weights_fingerprint

from ...recording_proxy import recording_proxy

HEADER = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
SAFE = {"config.json": b"{}", "tokenizer.json": b"{}"}
MARK = "hf_never_to_be_seen"


def weights(value: float) -> bytes:
    return struct.pack("<Q", len(HEADER)) + HEADER + struct.pack("<f", value)


def commit(revision: str) -> str:
    return hashlib.sha256(revision.encode()).hexdigest()[:40]


@dataclass
class Hub:
    """What there is: name -> branch or tag -> file -> bytes; names with a code are refused with it."""

    models: dict[str, dict[str, dict[str, bytes]]]
    refused: dict[str, tuple[int, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)  # files that are cut off in the middle

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        self.asked.append(path)
        parts = path.removeprefix("/api/models").strip("/").split("/")
        name, kind, revision, file = "/".join(parts[:2]), *[*parts[2:4], "", ""][:2], "/".join(parts[4:])
        if name not in self.models:
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        found = [r for r in self.models[name] if revision in (r, commit(r))]
        if not found:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        sha, files = commit(found[0]), self.models[name][found[0]]
        if kind == "revision":
            return 200, {}, json.dumps({"id": name, "sha": sha, "siblings": [{"rfilename": f} for f in files]}).encode()
        if kind == "tree":
            rows = [{"type": "file", "path": f, "size": len(b), "oid": commit(str(b))} for f, b in files.items()]
            return 200, {}, json.dumps(rows).encode()
        if name in self.refused:
            status, code = self.refused[name]
            return status, {"X-Error-Code": code} if code else {}, b""
        return 200, {"ETag": f'"{commit(str(files[file]))}"', "X-Repo-Commit": sha}, files[file]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    made = Hub({"me/mine": {"main": SAFE | {"model.safetensors": weights(1)}}})

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            status, headers, content = made.answer(path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            is_broken = path.rpartition("/")[2] in made.broken
            if self.command == "GET":
                self.wfile.write(content[: len(content) // 2] if is_broken else content)
            self.close_connection = is_broken

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.daemon_threads = True
        address = f"http://127.0.0.1:{httpd.server_address[1]}"
        for name, value in {
            "ENDPOINT": address,
            "HUGGINGFACE_CO_URL_TEMPLATE": address + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(tmp_path / "cache"),
            "HF_HUB_OFFLINE": False,
        }.items():
            monkeypatch.setattr(constants, name, value)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(name, "127.0.0.1")
        monkeypatch.setenv("HF_TOKEN", MARK)
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        httpd.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("text", "could_be"),
    [
        ("meta-llama/Llama-3.1-8B", True),
        ("me/mine@v1.0", True),
        ("me/mine@refs/pr/7", True),
        ("me/mine@" + "0" * 40, True),
        ("me/mine@", False),
        ("me/mine@../../x", False),
        ("me/mine@a@b", False),
        ("mine", False),
        ("./mine", False),
        ("/me/mine", False),
        ("a/b/c", False),
    ],
)
def test_names(text: str, could_be: bool) -> None:
    assert is_hub_name(text) == could_be


def test_a_hub_on_this_machine_is_never_asked_through_a_proxy(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would see the token."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name)
    with recording_proxy() as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        close_session()
        assert hub_directory("me/mine").name == commit("main")
        assert proxy.heard == b""
        assert "NO_PROXY" not in os.environ


def test_a_model_arrives_once_and_is_there_without_a_connection(hub: Hub, tmp_path: Path) -> None:
    hub.models["me/mine"]["main"] |= {
        "chat_template.jinja": b"x",
        "code.py": b"raise SystemExit",
        "pytorch_model.bin": b"pickle",
        "consolidated.safetensors": b"the same again",
        "original/model.safetensors": b"and again",
    }
    found = hub_directory("me/mine")
    assert found.name == commit("main")
    assert {file.name for file in found.iterdir()} == {*SAFE, "model.safetensors", "chat_template.jinja", "code.py"}
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "model.safetensors").write_bytes(weights(1))
    assert weights_fingerprint(found) == weights_fingerprint(tmp_path / "local")
    hub.asked.clear()
    assert hub_directory("me/mine", offline=True) == hub_directory(f"me/mine@{commit('main')}", offline=True) == found
    assert hub.asked == []
    kept = [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]
    assert kept
    assert not any(MARK.encode() in file.read_bytes() for file in kept)


def test_what_describes_a_model_comes_without_its_weights(hub: Hub) -> None:
    hub.models["me/mine"]["main"] |= {"chat_template.jinja": b"x", "original/config.json": b"{}"}
    found = hub_description("me/mine")
    assert {file.name for file in found.iterdir()} == {*SAFE, "chat_template.jinja"}
    assert not any("safetensors" in path for path in hub.asked)
    assert hub_description("me/mine", offline=True) == found
    with pytest.raises(EngineError, match="not wholly, in the cache"):
        hub_directory("me/mine", offline=True)
    assert hub_directory("me/mine") == found  # the rest comes when it is asked for
    assert (found / "model.safetensors").is_file()
    assert hub_description("me/mine", offline=True) == found


def test_a_model_without_configuration_describes_nothing(hub: Hub) -> None:
    hub.models["me/bare"] = {"main": {"tokenizer.json": b"{}"}}
    with pytest.raises(EngineError, match=r"'me/bare' has no config\.json"):
        hub_description("me/bare")


def test_a_revision_stays_what_it_is(hub: Hub) -> None:
    hub.models["me/mine"]["v1"] = SAFE | {"model.safetensors": weights(2)}
    main, tag, pinned = (hub_directory(f"me/mine{at}") for at in ("", "@v1", f"@{commit('v1')}"))
    assert main != tag == pinned
    assert tag.name == commit("v1")
    assert weights_fingerprint(main) != weights_fingerprint(tag)


@pytest.mark.slow
def test_an_adapter_brings_its_base(hub: Hub) -> None:
    settings = {"peft_type": "LORA", "base_model_name_or_path": "me/mine", "revision": "v1"}
    files = {"adapter_config.json": json.dumps(settings).encode(), "adapter_model.safetensors": weights(3)}
    hub.models |= {"me/lora": {"main": files}, "me/mine": {"v1": SAFE | {"model.safetensors": weights(2)}}}
    with pytest.raises(EngineError, match=r"base of the adapter .* cannot be had\. Model 'me/mine@v1' .*in the cache"):
        model_directory(hub_directory("me/lora"), offline=True)
    found = model_directory("me/lora")
    first = weights_fingerprint(found)
    hub.asked.clear()
    assert model_directory("me/lora", offline=True) == found
    assert model_directory(found, offline=True) == found
    assert hub.asked == []
    hub.models["me/mine"]["v2"] = SAFE | {"model.safetensors": weights(9)}
    hub.models["me/lora"]["other"] = files | {"adapter_config.json": json.dumps(settings | {"revision": "v2"}).encode()}
    assert weights_fingerprint(model_directory("me/lora@other")) != first


@pytest.mark.slow
def test_a_download_that_broke_off_goes_on_with_the_next_call(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    hub.broken.add("model.safetensors")
    with pytest.raises(EngineError, match=r"the download from http://127\.\S+ failed \(\w+\)\. Check the connection"):
        hub_directory("me/mine")
    with pytest.raises(EngineError, match="not, or not wholly, in the cache"):
        hub_directory("me/mine", offline=True)
    hub.broken.clear()
    assert (hub_directory("me/mine") / "model.safetensors").read_bytes() == weights(1)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("you/none", r"http://127\S+/you/none is not there, or is private\. Check the name .*HF_TOKEN"),
        ("me/mine@v9", r"it has no revision 'v9'\. Those that it has are listed at http://127\S+/me/mine\."),
        ("me/gated", r"only accounts that accepted its terms get it\. Accept them at http://127\S+/me/gated"),
        ("me/closed", r"answered 403\. To use another token, log in"),
        ("me/a--b", "that can be no name there"),
        ("me/pickled", r"^me/pickled has its weights as a Python pickle \(pytorch_model\.bin\)"),
        ("me/empty", "^me/empty has no weights"),
    ],
)
def test_what_the_hub_does_not_give(hub: Hub, text: str, told: str) -> None:
    files = SAFE | {"model.safetensors": weights(1)}
    hub.models |= {"me/gated": {"main": files}, "me/closed": {"main": files}, "me/empty": {"main": SAFE}}
    hub.models["me/pickled"] = {"main": SAFE | {"pytorch_model.bin": b"pickle"}}
    hub.refused = {"me/gated": (403, "GatedRepo"), "me/closed": (403, "")}
    with pytest.raises(EngineError, match=told) as error:
        hub_directory(text)
    assert MARK not in str(error.value)
    assert not any(path.endswith(".bin") for path in hub.asked)


def test_without_a_connection_what_is_not_in_the_cache_is_told(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EngineError, match=r"in the cache \(\S+cache\), and no connection is to be made\. .*directory"):
        hub_directory("me/mine")
    assert hub.asked == []


def test_nothing_is_printed(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub_directory("me/mine")
    assert capsys.readouterr() == ("", "")
