"""A server on this machine alone that hands the pages out. It reads and never writes, and answers GET and HEAD.

An address holds no path: a run is named by an id that is looked up among the runs found. Only requests that name this
machine in their Host header are answered, so that no page elsewhere can have its name lead here (DNS rebinding).
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from reports import html
from reports.facts import reading as facts
from reports.facts.run import RunFacts
from reports.live import board, found, pages, watching
from reports.live.board import Entry
from reports.live.found import Listing, Place
from reports.live.pages import Page
from reports.live.watching import Course
from selfreward_bench.errors import DataError

__all__ = ["HOST", "Server", "Viewer", "serve"]

T = TypeVar("T")

HOST: Final = "127.0.0.1"
_RUN: Final = re.compile(r"/run/([0-9a-f]{16})/(report)?")
_KEPT_REPORTS: Final = 4
_KEPT_FACTS: Final = 400
_AT_ONCE: Final = 8  # requests
_TIMEOUT: Final = 15.0  # seconds that a client may take
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Viewer:
    """What is shown of a directory; what was read is kept until a file of it changes."""

    def __init__(self, root: Path, course_of: Callable[[Path], Course]) -> None:
        self.root, self._course_of = root, course_of
        self._facts: OrderedDict[str, RunFacts] = OrderedDict()
        self._reports: OrderedDict[str, Page] = OrderedDict()
        self._courses: OrderedDict[str, Course] = OrderedDict()
        self._lock = threading.Lock()  # one reads at a time: it is work for one core, and requests are few

    def page(self, path: str) -> Page | None:
        """The page of an address; None where there is none."""
        with self._lock:
            listing = found.look(self.root)
            if path == "/":
                return self._board(listing)
            asked = _RUN.fullmatch(path)
            place = next((p for p in listing.places if asked and p.id == asked[1] and not p.refused), None)
            if place is None or asked is None:
                return None
            return self._report(place) if asked[2] else self._run(place)

    def _board(self, listing: Listing) -> Page:
        entries = [self._entry(place) for place in listing.places]
        return pages.leaderboard(board.arrange(entries), entries, listing.gaps, self.root.resolve().name)

    def _entry(self, place: Place) -> Entry:
        if place.refused:
            return Entry(place, None, "not read")
        of = self._read(place)
        return Entry(place, of, _state(self._course(place)) if of.is_run else "evaluated")

    def _course(self, place: Place) -> Course:
        """Kept where nobody works on the run: whoever begins to writes its lock, which is one of its files."""
        if place.stamp in self._courses:
            return _latest(self._courses, place.stamp, _KEPT_FACTS)
        found = self._course_of(place.path)
        if found.running is False:
            self._courses[place.stamp] = found
            _latest(self._courses, place.stamp, _KEPT_FACTS)
        return found

    def _read(self, place: Place) -> RunFacts:
        if place.stamp not in self._facts:
            self._facts[place.stamp] = facts.collect(place.path)
        return _latest(self._facts, place.stamp, _KEPT_FACTS)

    def _run(self, place: Place) -> Page:
        seen = watching.watch(place.path, self._course_of)
        state = _state(seen.course) if self._read(place).is_run else "evaluated"
        return pages.run(place, seen, state)

    def _report(self, place: Place) -> Page:
        """As ``srbench report`` writes it, made in memory."""
        if place.stamp not in self._reports:
            text = html.render([self._read(place)])
            self._reports[place.stamp] = Page(text, html.policy(html.scripts()))
        return _latest(self._reports, place.stamp, _KEPT_REPORTS)


def _latest(kept: OrderedDict[str, T], key: str, most: int) -> T:
    kept.move_to_end(key)
    while len(kept) > most:
        kept.popitem(last=False)
    return kept[key]


def _state(course: Course) -> str:
    if course.running:
        return "running"
    if course.problem:
        return "not followed"
    return "finished" if course.finished else "in another machine's hands" if course.running is None else "stopped"


def serve(root: Path, port: int, course_of: Callable[[Path], Course]) -> Server:
    """A server that is bound and does not answer yet (``serve_forever`` does).

    Args:
        port: 0 takes any that is free.

    Raises:
        DataError: the port is taken, or the operating system refuses.
    """
    try:
        return Server(port, Viewer(root, course_of))
    except (OSError, OverflowError) as error:
        raise DataError(f"Port {port} of {HOST} cannot be used ({error}). Name another: --port 0 takes any.") from error


class Server(ThreadingHTTPServer):
    """Answers few requests at once, from this machine alone."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int, viewer: Viewer) -> None:
        self.viewer = viewer
        self.room = threading.BoundedSemaphore(_AT_ONCE)
        super().__init__((HOST, port), _Handler)

    @property
    def address(self) -> str:
        """To open in a browser."""
        return f"http://{HOST}:{self.server_address[1]}/"

    @property
    def names(self) -> frozenset[str]:
        """What a Host header may say."""
        port = self.server_address[1]
        return frozenset({f"{HOST}:{port}", f"localhost:{port}"})

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is nobody's concern."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = _TIMEOUT
    server_version, sys_version = "srbench", ""
    protocol_version = "HTTP/1.0"  # a connection is for one request

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        """Whatever comes of it is sent here."""
        if self.headers.get_all("Host", []) not in [[name] for name in self.server.names]:
            self._say(HTTPStatus.MISDIRECTED_REQUEST, "This server is asked by the name of this machine alone.")
            return
        if not self.server.room.acquire(blocking=False):
            self._say(HTTPStatus.SERVICE_UNAVAILABLE, "Too many requests at once.")
            return
        try:
            page = self.server.viewer.page(urlsplit(self.path).path)
        except Exception:
            self._say(HTTPStatus.INTERNAL_SERVER_ERROR, "This page could not be made.")
            return
        finally:
            self.server.room.release()
        if page is None:
            self._say(HTTPStatus.NOT_FOUND, "There is no such page.")
        else:
            self._send(HTTPStatus.OK, "text/html", page.text.encode("utf-8", "replace"), page.policy)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """In plain words, with nothing of the request in them; also for methods other than GET and HEAD."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            code = HTTPStatus.METHOD_NOT_ALLOWED
        self._say(HTTPStatus(code), "This server answers GET and HEAD.")

    def _say(self, status: HTTPStatus, text: str) -> None:
        self._send(status, "text/plain", f"{text}\n".encode(), "default-src 'none'")

    def _send(self, status: HTTPStatus, kind: str, content: bytes, policy: str) -> None:
        with suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Security-Policy", f"{policy}; frame-ancestors 'none'")
            for name, value in _HEADERS.items():
                self.send_header(name, value)
            if status is HTTPStatus.METHOD_NOT_ALLOWED:
                self.send_header("Allow", "GET, HEAD")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged: requests say nothing that anybody needs."""
