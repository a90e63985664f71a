"""A proxy on 127.0.0.1 that writes down all that it can read: requests in the clear, and what opens a tunnel.

    with recording_proxy({"model.test:443": ("127.0.0.1", port)}) as proxy:
        ...  # with HTTPS_PROXY=proxy.url
        proxy.heard  # bytes: the heads of all requests, and their bodies where they came in the clear

A tunnel is opened to the places that are mapped, and refused with 502 to others; plain requests are answered by 502.
"""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from socketserver import StreamRequestHandler, ThreadingTCPServer

_END = b"\r\n\r\n"


@dataclass
class RecordingProxy:
    """A running proxy."""

    port: int
    tunnels: Mapping[str, tuple[str, int]]
    refuses_with: int | None = None
    heard: bytes = b""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        """As it is named in HTTPS_PROXY."""
        return f"http://127.0.0.1:{self.port}"

    def hear(self, content: bytes) -> None:
        with self.lock:
            self.heard += content


class _Server(ThreadingTCPServer):
    daemon_threads = True
    proxy: RecordingProxy


class _Handler(StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        with suppress(OSError):
            head = b""
            while _END not in head and (content := self.request.recv(65536)):
                head += content
                self.server.proxy.hear(content)
            method, _, rest = head.partition(b" ")
            target = self.server.proxy.tunnels.get(rest.split(b" ")[0].decode("latin-1"))
            status = self.server.proxy.refuses_with or (502 if method != b"CONNECT" or target is None else None)
            if status is not None or target is None:
                self.request.sendall(f"HTTP/1.1 {status} no\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
                return
            with socket.create_connection(target, timeout=10) as other:
                self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                _tunnel(self.request, other)


def _tunnel(one: socket.socket, other: socket.socket) -> None:
    ways = {one: other, other: one}
    while True:
        for source in select.select(list(ways), [], [], 10)[0]:
            content = source.recv(65536)
            if not content:
                return
            ways[source].sendall(content)


@contextmanager
def recording_proxy(
    tunnels: Mapping[str, tuple[str, int]] | None = None, refuses_with: int | None = None
) -> Iterator[RecordingProxy]:
    """Starts one, and stops it at the end."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.proxy = RecordingProxy(server.server_address[1], tunnels or {}, refuses_with)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.proxy
        finally:
            server.shutdown()
            thread.join(5)
