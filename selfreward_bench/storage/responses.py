"""What servers answered, kept in one SQLite file, so that no answer is paid for twice and a run can be replayed.

The key is a hash of everything the answer depends on: server, model, full prompt, parameters, seed, number of the
sample. Prompts themselves and API keys are never in the file. Failures are noted with their reason, and never served.
It does not decide what is worth keeping, and it never forgets: the file is the user's to remove.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from selfreward_bench.errors import DataError
from selfreward_bench.storage.files import expanded, home, os_errors

__all__ = ["ENVIRONMENT_VARIABLE", "Response", "ResponseStore", "default_path", "response_key"]

ENVIRONMENT_VARIABLE: Final = "SRBENCH_STORE"
MAX_RESPONSE_BYTES: Final = 64 * 2**20  # unpacked; what is larger was not written by srbench

_SCHEMA_VERSION: Final = 1
_BUSY_SECONDS: Final = 60.0  # another process's transaction takes milliseconds
_KEYS_PER_QUERY: Final = 500
_SYNCHRONOUS = "FULL"  # responses cost money; the engine commits them in groups
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS responses (
    key TEXT PRIMARY KEY, base_url TEXT NOT NULL, model TEXT NOT NULL, snapshot TEXT NOT NULL,
    prompt_tokens INTEGER, completion_tokens INTEGER, created REAL NOT NULL, response BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS failures (
    key TEXT NOT NULL, base_url TEXT NOT NULL, model TEXT NOT NULL, reason TEXT NOT NULL, created REAL NOT NULL);
"""
# a table of its own, which older versions do not know and do not miss
_CHANGES: Final = "CREATE TABLE IF NOT EXISTS changes (key TEXT PRIMARY KEY, changes TEXT NOT NULL)"
_SELECT: Final = (
    "SELECT key, base_url, model, response, snapshot, prompt_tokens, completion_tokens, created, coalesce(changes, '') "
    "FROM responses LEFT JOIN changes USING (key)"
)


@dataclass(frozen=True, slots=True)
class Response:
    """One successful answer of a server.

    Attributes:
        key: see :func:`response_key`.
        base_url, model: whom it was asked of, as the user named them.
        raw: the response's body, byte by byte.
        snapshot: the model that the server named in it.
        prompt_tokens, completion_tokens: as the server counted; None where it did not say.
        created: seconds since 1970.
        changes: what the server wanted otherwise in the request than the key says, joined by commas; mostly empty.
    """

    key: str
    base_url: str
    model: str
    raw: bytes
    snapshot: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    created: float = 0.0
    changes: str = ""


def response_key(base_url: str, path: str, body: Mapping[str, object], sample: int) -> str:
    """SHA-256 (hex) of what an answer depends on.

    Args:
        path: ``/chat/completions`` or ``/completions``.
        body: the request: model, messages or prompt, all parameters, the seed.
        sample: number of the sample of one prompt: two samples are two answers, also where no seed tells them apart.
    """
    value = {"base_url": base_url, "path": path, "body": dict(body), "sample": sample}
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def default_path() -> Path:
    """What the environment variable ``SRBENCH_STORE`` names, else ``srbench/responses.sqlite`` in the user's cache."""
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    return expanded(Path(named)) if named else _user_cache() / "srbench" / "responses.sqlite"


def _user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or home() / ".cache")


class ResponseStore:
    """The file. Several processes and threads may use it at once; ``kill -9`` and power cuts leave it sound.

    Args:
        path: made if missing; None takes :func:`default_path`.

    Raises:
        DataError: the file cannot be opened, is damaged, or is something else.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or default_path()
        self._lock = threading.Lock()
        with os_errors(self.path, "make the directory of"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._errors():
            self._db = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def get(self, keys: Sequence[str]) -> dict[str, Response]:
        """The stored responses among these keys.

        Raises:
            DataError: the file is damaged.
        """
        found = {}
        for start in range(0, len(keys), _KEYS_PER_QUERY):
            some = keys[start : start + _KEYS_PER_QUERY]
            query = _SELECT + f" WHERE key IN ({','.join('?' * len(some))})"
            with self._errors(), self._lock:
                rows = self._db.execute(query, some).fetchall()
            found.update({row[0]: Response(row[0], row[1], row[2], self._unpack(row[3]), *row[4:]) for row in rows})
        return found

    def put(self, responses: Sequence[Response]) -> dict[str, Response]:
        """Stores responses in one transaction, which is on the disk on return.

        Returns:
            What is stored under their keys now: where another process was faster, its response. That is the one to
            use, or a replay would give another result.

        Raises:
            DataError: the file is damaged, locked for a minute, or the disk is full.
        """
        now = time.time()
        rows = [
            (r.key, r.base_url, r.model, r.snapshot, r.prompt_tokens, r.completion_tokens, r.created or now, packed)
            for r in responses
            for packed in [zlib.compress(r.raw)]
        ]
        changed = [(r.key, r.changes, r.key) for r in responses if r.changes]
        self._insert(
            # first: of a key that is there already they belong to the response that lost
            (
                "INSERT OR IGNORE INTO changes SELECT ?, ? WHERE NOT EXISTS (SELECT 1 FROM responses WHERE key = ?)",
                changed,
            ),
            ("INSERT OR IGNORE INTO responses VALUES (?,?,?,?,?,?,?,?)", rows),
        )
        return self.get([r.key for r in responses])

    def put_failures(self, failures: Sequence[tuple[str, str, str, str]]) -> None:
        """Notes why requests got no answer, for people to look at; they are asked again the next time.

        Args:
            failures: (key, base_url, model, reason) of each.

        Raises:
            DataError: as ``put``.
        """
        self._insert(("INSERT INTO failures VALUES (?,?,?,?,?)", [(*failure, time.time()) for failure in failures]))

    def failures(self) -> list[tuple[str, str]]:
        """All noted failures as (key, reason), oldest first."""
        with self._errors(), self._lock:
            return self._db.execute("SELECT key, reason FROM failures ORDER BY rowid").fetchall()

    def __len__(self) -> int:
        """How many responses there are."""
        with self._errors(), self._lock:
            return int(self._db.execute("SELECT count(*) FROM responses").fetchone()[0])

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._db.close()

    def _insert(self, *inserts: tuple[str, Sequence[tuple[object, ...]]]) -> None:
        """All in one transaction."""
        if not any(rows for _, rows in inserts):
            return
        with self._errors(), self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for statement, rows in inserts:
                    self._db.executemany(statement, rows)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _prepare(self) -> None:
        with self._errors():
            self._db.execute(f"PRAGMA synchronous={_SYNCHRONOUS}")
            self._use_write_ahead_log()
            version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
            tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if version not in (0, _SCHEMA_VERSION) or (version == 0 and tables):
                raise DataError(
                    f"{self.path} is no response store of this version of srbench (its user_version is {version}). "
                    f"Name another file with {ENVIRONMENT_VARIABLE}."
                )
            if version == 0:
                self._db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version={_SCHEMA_VERSION}; COMMIT;")
            if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'changes'").fetchone():
                self._db.execute(_CHANGES)

    def _use_write_ahead_log(self) -> None:
        """SQLite does not wait for others when it changes the mode, so that two new processes may collide."""
        end = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > end:
                    raise
                time.sleep(0.02)

    def _unpack(self, packed: bytes) -> bytes:
        unpacker = zlib.decompressobj()
        try:
            raw = unpacker.decompress(packed, MAX_RESPONSE_BYTES)
        except zlib.error as error:
            raise DataError(self._damaged(error)) from error
        if not unpacker.eof:
            raise DataError(self._damaged("a response is cut off or too large"))
        return raw

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise DataError(
                f"The response store {self.path} cannot be used: {error}. Check that its directory can be written to, "
                "that the disk has room and that it is no network drive; or name another file with "
                f"{ENVIRONMENT_VARIABLE}."
            ) from error
        except sqlite3.DatabaseError as error:
            raise DataError(self._damaged(error)) from error

    def _damaged(self, what: object) -> str:
        return (
            f"The response store {self.path} is damaged or no SQLite file ({what}). Move it away, or save what it "
            f"still holds with `sqlite3 {self.path.name} .recover | sqlite3 new.sqlite`; without it, answers are asked "
            "for and paid for again."
        )
