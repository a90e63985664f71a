"""Takes keys out of all that servers and libraries say, before any of it is cut, shown or written down.

A server may repeat a key in any spelling: as it is, escaped as in JSON, URLs or HTML, as base64 or hex, or cut off.
``redacted`` finds all of these. It knows the secrets that this process has read from its environment (``remember``),
whichever server they are for; nothing here is stored.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

__all__ = ["is_secret", "redacted", "redacted_bytes", "remember"]

MASK: Final = b"***"

_LEAST: Final = 8  # characters of a secret; shorter ones, and words, stand in any text
_LEAST_MIXED: Final = 6  # where it is not all letters
_ENOUGH: Final = 12  # bytes of a piece, more than of the beginnings that many keys have in common
_BACKSLASH: Final = ord("\\")
_ROUNDS: Final = 3  # of escapes within escapes
#: what local servers are given because clients want some key; an answer may well hold these words
_PLACEHOLDERS: Final = frozenset(
    {"anything", "dummy-key", "lm-studio", "no-key", "no-key-required", "none", "not-needed", "not-used"}
    | {"placeholder", "sk-no-key-required", "your-api-key", "your_api_key"}
)
_NAMED: Final = {b"amp": 38, b"lt": 60, b"gt": 62, b"quot": 34, b"apos": 39}
_ESCAPES: Final = (
    rb"(?<!\\)\\++(?:u(?:00){1,3}?(?P<u>[0-9a-f]{2})(?![0-9a-f]{2})|u\{0*(?P<v>[0-9a-f]{2})\}|x(?P<x>[0-9a-f]{2}))"
    rb"|%(?:25)*(?P<p>[0-9a-f]{2})"
    rb"|&(?:amp;)*(?:#0*(?P<d>[0-9]{2,3})|#x0*(?P<h>[0-9a-f]{2})|(?P<n>amp|lt|gt|quot|apos));"
)
_PERCENT: Final = re.compile(rb"%[0-9a-fA-F]{2}")
_ENTITY: Final = re.compile(rb"&(?:#[0-9xX]|[a-zA-Z]{2,4};)")


def is_secret(text: str) -> bool:
    """Whether a key is one: placeholders and short words are none, and are left in answers.

    >>> [is_secret(key) for key in ("sk-abc123", "s3cret", "EMPTY", "ollama", "lm-studio")]
    [True, True, False, False, False]
    """
    if text.casefold() in _PLACEHOLDERS:
        return False
    return len(text) >= (_LEAST if text.isalpha() else _LEAST_MIXED)


def remember(*secrets: str) -> None:
    """From now on these are taken out of everything; what ``is_secret`` calls none is not."""
    global _redactor
    more = {s for s in secrets if is_secret(s)}
    if not more <= _redactor.secrets:
        _redactor = _Redactor(_redactor.secrets | more)


def redacted(text: str) -> str:
    """``text`` with ``***`` for each remembered secret, however it is spelled."""
    return redacted_bytes(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")


def redacted_bytes(content: bytes) -> bytes:
    """The same for bytes in UTF-8 or another extension of ASCII."""
    return _redactor(content)


class _Redactor:
    def __init__(self, secrets: frozenset[str] = frozenset()) -> None:
        self.secrets = secrets
        known = [s.encode() for s in secrets]
        # found without regard to case: a secret in capitals is still to be guessed
        self._plain = [needle.lower() for secret in known for needle in (secret, secret.hex().encode())]
        self._base64 = [needle for secret in known for needle in _base64_needles(secret)]
        self._pieces = {
            piece for needle in self._plain for piece in (needle[: _part(needle)], needle[-_part(needle) :])
        }
        ends = (piece for needle in self._base64 for piece in (needle[: _part(needle)], needle[-_part(needle) :]))
        self._base64_pieces = set(ends)
        held = b"".join([*known, *self._base64])
        odd = b"".join(c for c in (b"/", b'"', b"'") if c in held)
        before = rb"|(?<!\\)\\++(?P<c>[" + odd + b"])" if odd else b""
        more = rb"|[\\" + odd + b"]" if b"\\" in held else b"|[" + odd + b"]" if odd else b""
        doubled = rb"|\\(?P<b>\\)" if b"\\" in held else b""
        self._escape = re.compile(_ESCAPES + before + doubled, re.IGNORECASE)
        # begins with one character, so that it passes quickly over texts without escapes
        self._signs = [_PERCENT, _ENTITY, re.compile(rb"\\(?:[uU](?:00|\{)|[xX][2-7]" + more + b")")]

    def __call__(self, content: bytes) -> bytes:
        if not self.secrets or not any(map(self._holds, self._readings(content))):
            return content
        return _masked(content, self._all_spans(content))

    def _readings(self, content: bytes) -> Iterator[bytes]:
        """As it is, and with escapes read once, twice, .."""
        yield content
        for _ in range(_ROUNDS):
            if not any(sign.search(content) for sign in self._signs):
                return
            content = self._escape.sub(_byte, content)
            yield content

    def _holds(self, content: bytes) -> bool:
        lower = content.lower()
        return any(piece in lower for piece in self._pieces) or any(piece in content for piece in self._base64_pieces)

    def _all_spans(self, content: bytes) -> Iterator[tuple[int, int]]:
        yield from self._spans(content)
        places: Sequence[int] = range(len(content) + 1)
        for _ in range(_ROUNDS):
            content, starts = _decode(content, self._escape)
            if len(starts) == len(places):  # no escapes
                return
            places = [places[start] for start in starts]
            yield from ((places[start], places[end]) for start, end in self._spans(content))

    def _spans(self, content: bytes) -> Iterator[tuple[int, int]]:
        lower = content.lower()
        for needle in self._plain:
            yield from _occurrences(lower, needle)
        for needle in self._base64:
            yield from _occurrences(content, needle)


def _base64_needles(secret: bytes) -> Iterator[bytes]:
    """The characters that a secret alone determines, wherever it stands in what was encoded; both alphabets."""
    for before in range(3):
        whole = base64.b64encode(bytes(before) + secret + bytes(2))
        sure = whole[-(-before * 8 // 6) : (before + len(secret)) * 8 // 6]
        yield from {sure, sure.translate(bytes.maketrans(b"+/", b"-_"))}


def _part(needle: bytes) -> int:
    """How many bytes from its beginning, or to its end, are taken for the secret itself."""
    n = len(needle)
    return max(n // 3, min(n // 2, _ENOUGH), min(n, _LEAST))


def _occurrences(content: bytes, needle: bytes) -> Iterator[tuple[int, int]]:
    """Where a secret stands, or a piece from its beginning or to its end that is long enough to be one."""
    n, part = len(needle), _part(needle)
    at = content.find(needle[:part])
    while at >= 0:
        end = at + _common(content[at : at + n], needle)
        yield at + (not _is_free(content, at)), end
        at = content.find(needle[:part], end)
    at = content.find(needle[-part:])
    while at >= 0:
        end = at + part
        start = end - _common(content[max(0, end - n) : end][::-1], needle[::-1])
        yield start + (not _is_free(content, start)), end
        at = content.find(needle[-part:], end)


def _common(one: bytes, other: bytes) -> int:
    """Bytes that two texts have in common at their beginning."""
    if one == other:
        return len(one)
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def _is_free(content: bytes, at: int) -> bool:
    """Whether the byte at a place is no escape's letter, as the n of a line end in JSON is."""
    start = at
    while start and content[start - 1] == _BACKSLASH:
        start -= 1
    return (at - start) % 2 == 0


def _decode(content: bytes, escape: re.Pattern[bytes]) -> tuple[bytes, list[int]]:
    """Without escapes, and for each byte of it (and the end) where it begins in ``content``."""
    parts: list[bytes] = []
    starts: list[int] = []
    at = 0
    for match in escape.finditer(content):
        parts += [content[at : match.start()], _byte(match)]
        starts += [*range(at, match.start()), match.start()]
        at = match.end()
    return b"".join([*parts, content[at:]]), [*starts, *range(at, len(content) + 1)]


def _byte(match: re.Match[bytes]) -> bytes:
    return bytes([_meant(match)])


def _meant(match: re.Match[bytes]) -> int:
    kind, value = match.lastgroup or "", match[match.lastgroup or 0]
    if kind == "n":
        return _NAMED[value.lower()]
    if kind in "bc":
        return value[0]
    return int(value) % 256 if kind == "d" else int(value, 16)


def _masked(content: bytes, spans: Iterable[tuple[int, int]]) -> bytes:
    parts: list[bytes] = []
    at = 0
    for start, end in sorted(spans):
        if end > at:
            parts += [content[at:start], MASK] if start > at or not parts else []
            at = end
    return b"".join([*parts, content[at:]])


_redactor = _Redactor()
