"""An OpenAI-compatible server for tests, in its own process on 127.0.0.1: answers follow from the request; faults.

    with fake_server(faults={"500": 0.1, "reset": 0.1}) as server:
        engine = ServedEngine(f"openai:judge@{server.url}", ...)
        server.stats()["requests"]  # request hash -> {"asked": 2, "answered": 1, "repeated": 0, "times": [...]}

A fault is drawn from (seed, request, attempt), and after ``max_faults`` attempts there is none: retries succeed. Kinds:
a status (``"429"`` brings ``Retry-After``), ``reset`` (in mid-answer), ``hang``, ``truncated`` (JSON cut off, sent
with the right length), ``garbage`` (no JSON), ``empty`` (no choices), ``null`` (no content), ``huge``; and answers
that are no faults of the connection: ``no_logprobs``, ``babble`` (no verdict), ``filtered``, ``refusal``, ``length``.
It knows no streaming and checks no parameters.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import os
import select
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

START_SECONDS = 20.0


@dataclass(frozen=True)
class Behaviour:
    """How the server behaves.

    Attributes:
        faults: kind -> share of the attempts.
        max_faults: an attempt with this number (from 0) has no fault.
        latency: seconds before an answer.
        hang_seconds: how long a ``hang`` lasts before the connection is closed.
        retry_after: the header's text, seconds or a date.
        key: the only key that is let in; None lets everybody in.
        replies: part of the last message -> what is answered; the first that fits. Others get an answer of their own.
        text_completions: whether there is ``/v1/completions``.
        certificate: a PEM file with a certificate and its key: https instead of http.
        lifetime: seconds after which the process ends by itself.
    """

    faults: Mapping[str, float] = field(default_factory=dict)
    max_faults: int = 3
    latency: float = 0.0
    hang_seconds: float = 5.0
    retry_after: str = "0"
    key: str | None = None
    replies: Mapping[str, str] = field(default_factory=dict)
    text_completions: bool = True
    seed: int = 0
    port: int = 0
    certificate: str | None = None
    lifetime: float = 300.0


def request_hash(body: Mapping[str, Any]) -> str:
    """What the server calls a request: a hash of its JSON, whatever the order of its fields."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]


def uniform(*parts: object) -> float:
    """A number in [0, 1) that depends on ``parts`` alone."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:6], "big") / 2**48


# --- the test's side


@dataclass(frozen=True)
class FakeServer:
    """A running server."""

    url: str
    process: subprocess.Popen[str]

    def stats(self) -> dict[str, Any]:
        """``requests``: hash -> counts; ``headers``: of the last request.

        ``in_flight``: requests that are answered now; ``in_flight_max``: the most at once so far.
        """
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusting)
        opener = urllib.request.build_opener(*handlers)
        with opener.open(self.url.removesuffix("/v1") + "/stats", timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
        return found


@contextmanager
def fake_server(**behaviour: Any) -> Iterator[FakeServer]:
    """Starts a server with a :class:`Behaviour` and stops it, by its process, at the end."""
    settings = json.dumps(asdict(Behaviour(**behaviour)))
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve()), settings], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
        line = process.stdout.readline() if ready else ""
        if not line.startswith("port "):
            raise RuntimeError(f"the fake server did not start within {START_SECONDS:g} s (it said {line!r})")
        scheme = "https" if behaviour.get("certificate") else "http"
        yield FakeServer(f"{scheme}://127.0.0.1:{int(line.split()[1])}/v1", process)
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
        if process.stdout is not None:
            process.stdout.close()


# --- the server's side


class Server:
    """Speaks as much HTTP/1.1 as a client of such a server needs."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.requests: dict[str, dict[str, Any]] = {}
        self.in_flight = self.in_flight_max = 0
        self.headers: dict[str, str] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, kept alive."""
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while await self._one(reader, writer):
                await writer.drain()
        writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ", 2)
        headers = {name.strip().lower(): value.strip() for name, _, value in (h.partition(":") for h in head[1:] if h)}
        content = await reader.readexactly(int(headers.get("content-length", 0)))
        if method == "GET":
            found = path in ("/stats", "/v1/models")
            _send(
                writer, 200 if found else 404, self._stats() if path == "/stats" else _MODELS if found else _error("?")
            )
            return True
        self.headers = headers
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self.in_flight)
        try:
            return await self._answer(path, headers, json.loads(content), reader, writer)
        finally:
            self.in_flight -= 1

    async def _answer(
        self,
        path: str,
        headers: Mapping[str, str],
        body: dict[str, Any],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        counts = self.requests.setdefault(request_hash(body), {"asked": 0, "answered": 0, "repeated": 0, "times": []})
        attempt = counts["asked"]
        counts["asked"] += 1
        counts["repeated"] += counts["answered"] > 0
        counts["times"].append(time.monotonic())
        kind = self._fault(request_hash(body), attempt)
        await asyncio.sleep(self.behaviour.hang_seconds if kind == "hang" else self.behaviour.latency)
        if reader.at_eof():  # nobody is there any more
            return False
        if self.behaviour.key is not None and headers.get("authorization") != f"Bearer {self.behaviour.key}":
            _send(writer, 401, _error(f"wrong key: {headers.get('authorization', 'none')}"))
            return True
        if path != "/v1/chat/completions" and not (path == "/v1/completions" and self.behaviour.text_completions):
            _send(writer, 404, _error(f"no such path: {path}"))
            return True
        if kind.isdigit():
            wait = {"Retry-After": self.behaviour.retry_after} if kind == "429" else {}
            _send(writer, int(kind), _error(f"fault {kind}, you sent {headers.get('authorization', 'no key')}"), wait)
            return True
        return self._send_answer(writer, kind, body, counts)

    def _send_answer(
        self, writer: asyncio.StreamWriter, kind: str, body: dict[str, Any], counts: dict[str, Any]
    ) -> bool:
        whole = json.dumps(answer(body, self.behaviour.replies, kind)).encode()
        if kind in ("reset", "hang"):
            writer.write(_head(200, len(whole), {}) + whole[: len(whole) // 2])
            if kind == "reset":
                writer.transport.abort()
            return False
        broken = {"truncated": whole[: len(whole) // 2], "garbage": b"<html>busy</html>", "huge": b" " * 2**21}
        counts["answered"] += kind not in {*broken, "empty", "null"}
        sent = broken.get(kind, whole)
        writer.write(_head(200, len(sent), {}) + sent)
        return True

    def _fault(self, name: str, attempt: int) -> str:
        if attempt >= self.behaviour.max_faults:
            return ""
        at = uniform(self.behaviour.seed, name, attempt)
        for kind, share in self.behaviour.faults.items():
            if at < share:
                return kind
            at -= share
        return ""

    def _stats(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "in_flight": self.in_flight,
            "in_flight_max": self.in_flight_max,
            "headers": self.headers,
        }


_MODELS = {"object": "list", "data": [{"id": "judge", "object": "model"}]}


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "fake", "code": None}}


def _head(status: int, length: int, headers: Mapping[str, str]) -> bytes:
    fields = {"Content-Type": "application/json", "Content-Length": str(length), **headers}
    return (f"HTTP/1.1 {status} X\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items()) + "\r\n").encode()


def _send(writer: asyncio.StreamWriter, status: int, value: object, headers: Mapping[str, str] | None = None) -> None:
    content = json.dumps(value).encode()
    writer.write(_head(status, len(content), headers or {}) + content)


def answer(body: Mapping[str, Any], replies: Mapping[str, str], kind: str = "") -> dict[str, Any]:
    """The response to a request: a verdict (m or M) where log-probabilities are asked for, else a text."""
    chat = "messages" in body
    asked = str(body["messages"][-1]["content"] if chat else body["prompt"])
    share = uniform("verdict", request_hash(body))
    verdict = "m" if share > 0.5 else "M"
    own = verdict if body.get("logprobs") else f"Answer {request_hash(body)} to {len(asked)} characters."
    text = next((reply for part, reply in replies.items() if part in asked), own)
    tokens = 1 if body.get("max_tokens") == 1 else len(text.split())
    reason = {"filtered": "content_filter", "length": "length"}.get(kind, "stop")
    choice: dict[str, Any] = {"index": 0, "finish_reason": "length" if text == verdict else reason}
    if chat:
        choice["message"] = {"role": "assistant", "content": None if kind == "null" else text}
        if kind == "refusal":
            choice["message"] = {"role": "assistant", "content": None, "refusal": "I cannot help with that."}
    else:
        choice["text"] = None if kind == "null" else text
    if body.get("logprobs") and kind != "no_logprobs":
        first = _first_token("The" if kind == "babble" else "m", share)
        older = {"top_logprobs": [{t["token"]: t["logprob"] for t in first["top_logprobs"]}]}
        choice["logprobs"] = {"content": [first]} if chat else older
    return {
        "id": "fake-" + request_hash(body),
        "object": "chat.completion" if chat else "text_completion",
        "model": f"{body['model']}-2024",
        "choices": [] if kind == "empty" else [choice],
        "usage": {
            "prompt_tokens": len(asked) // 4,
            "completion_tokens": tokens,
            "total_tokens": len(asked) // 4 + tokens,
        },
    }


def _first_token(verdict: str, share: float) -> dict[str, Any]:
    shares = {verdict: 0.9 * share, verdict.swapcase(): 0.9 * (1 - share), " m": 0.1}  # " m" is not "m"
    top = [{"token": token, "logprob": math.log(max(p, 1e-9)), "bytes": None} for token, p in shares.items()]
    return {**max(top[:2], key=lambda t: float(t["logprob"])), "top_logprobs": top}


async def _main(behaviour: Behaviour) -> None:
    tls = None
    if behaviour.certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(behaviour.certificate)
    server = await asyncio.start_server(Server(behaviour).serve, "127.0.0.1", behaviour.port, backlog=1024, ssl=tls)
    print(f"port {server.sockets[0].getsockname()[1]}", flush=True)
    parent, end = os.getppid(), time.monotonic() + behaviour.lifetime
    while time.monotonic() < end and os.getppid() == parent:  # a killed test run leaves no server behind
        await asyncio.sleep(0.2)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(_main(Behaviour(**json.loads(sys.argv[1]))))
