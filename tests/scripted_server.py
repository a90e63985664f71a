"""A threaded server on 127.0.0.1 that answers as a function says: for what one provider or another really answers.

    with scripted_server(lambda asked: (400, {"error": {"message": "no"}})) as server:
        engine = ServedEngine(f"m@{server.url}", ...)
        server.asked  # the requests, as they came

Many of its answers are under way at once; nothing is checked.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Asked:
    """A request: its number from 0, path with query, headers by lower-case name, JSON, and when it came (seconds)."""

    number: int
    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    at: float


Answer = tuple[int, object] | tuple[int, object, Mapping[str, str]]
Script = Callable[[Asked], Answer]


@dataclass
class ScriptedServer:
    """A running server.

    Attributes:
        asked: all requests, in the order they came.
    """

    url: str
    asked: list[Asked] = field(default_factory=list)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has gone is no news."""


@contextmanager
def scripted_server(script: Script, latency: float = 0.0) -> Iterator[ScriptedServer]:
    """Starts one, and stops it at the end.

    Args:
        script: makes the answer to a request: status and body (bytes as they are, all else as JSON), maybe headers.
        latency: seconds before each answer.
    """
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            with lock:
                asked = Asked(len(made.asked), self.path, headers, json.loads(content), time.monotonic())
                made.asked.append(asked)
            time.sleep(latency)
            status, body, *more = script(asked)
            with suppress(OSError):
                self._send(status, body if isinstance(body, bytes) else json.dumps(body).encode(), *more)

        def _send(self, status: int, content: bytes, headers: Mapping[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None: ...

    with _Server(("127.0.0.1", 0), Handler) as server:
        made = ScriptedServer(f"http://127.0.0.1:{server.server_address[1]}/v1")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join(5)


def said(text: object, **choice: Any) -> tuple[int, dict[str, Any]]:
    """A whole answer with this content; 60 tokens are counted."""
    message = {"role": "assistant", "content": text, **choice.pop("message", {})}
    made = {"index": 0, "finish_reason": "stop", "message": message, **choice}
    usage = {"prompt_tokens": 50, "completion_tokens": 10}
    return 200, {"model": "scripted-1", "choices": [made], "usage": usage}
