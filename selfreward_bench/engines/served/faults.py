"""What comes back from an OpenAI-compatible server: bytes made readable, token counts, and what may go wrong.

All that comes from a server is hostile: it is freed of keys, bounded, parsed as JSON, and shown as one short line.
"""

from __future__ import annotations

import json
import math
import re
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final

from selfreward_bench.engines.served.secrets import redacted, redacted_bytes
from selfreward_bench.engines.served.streams import joined
from selfreward_bench.prices import Usage

__all__ = [
    "ChangeError",
    "Check",
    "FaultError",
    "FinalError",
    "LimitedError",
    "Problem",
    "TransientError",
    "clean",
    "other_interface",
    "parse_json",
    "parse_retry_after",
    "parse_usage",
    "readable",
    "unpacked",
    "way_out",
]

_EXCERPT: Final = 200  # characters of other people's texts in a message
#: fields of answers, whose they are, and where the same server speaks OpenAI's
_INTERFACES: Final = (
    ({"message", "done"}, "Ollama's own", "http://localhost:11434/v1"),
    ({"response", "done"}, "Ollama's own", "http://localhost:11434/v1"),
    ({"content", "stop_reason"}, "Anthropic's own", "https://api.anthropic.com/v1"),
    ({"candidates"}, "Gemini's own", "https://generativelanguage.googleapis.com/v1beta/openai"),
    ({"promptFeedback"}, "Gemini's own", "https://generativelanguage.googleapis.com/v1beta/openai"),
    ({"output", "status"}, "OpenAI's newer (responses)", "https://api.openai.com/v1"),
)
_MAX_TOKENS: Final = 10**9  # a count beyond this is a server's mistake


def parse_json(raw: bytes) -> dict[str, Any]:
    """A response's body.

    Raises:
        ValueError: it is no JSON object.
    """
    try:
        value = json.loads(raw)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("no JSON object")
    return value


def other_interface(body: Mapping[str, Any]) -> str:
    """What to do about an answer in a known interface that is not the one asked for; empty of any other body.

    >>> other_interface({"model": "llama3", "message": {"role": "assistant", "content": "A"}, "done": True})
    "It answers in Ollama's own interface: name its OpenAI-compatible one, such as http://localhost:11434/v1."
    """
    if body.get("choices") or body.get("error"):
        return ""
    whose = next(((name, url) for fields, name, url in _INTERFACES if fields <= body.keys()), None)
    return "It answers in {} interface: name its OpenAI-compatible one, such as {}.".format(*whose) if whose else ""


def parse_usage(body: Mapping[str, Any]) -> Usage | None:
    """The tokens that a response counts; None where it does not, or not sensibly.

    Some servers count what a model thinks apart from its answer; it is billed, and counts here.
    """
    usage = body.get("usage")
    if not isinstance(usage, dict):
        return None
    prompt, total = _count(usage, "prompt_tokens", "input_tokens"), _count(usage, "total_tokens")
    completion = _count(usage, "completion_tokens", "output_tokens")
    if not prompt or (completion is None and total is None):  # no prompt has no tokens: nothing was counted
        return None
    return Usage(prompt, max(completion or 0, (total or 0) - prompt))


def _count(counts: Mapping[str, Any], *names: str) -> int | None:
    found = next((counts[name] for name in names if counts.get(name) is not None), None)
    if isinstance(found, str) and re.fullmatch(r"[0-9]{1,10}", found):
        found = int(found)
    if isinstance(found, int | float) and 0 <= found <= _MAX_TOKENS and found == int(found):
        return int(found)
    return None


# --- what may go wrong

_NOTHING: Final = Usage()


class FaultError(Exception):
    """An attempt failed.

    Attributes:
        usage: what the server billed; None where nobody knows.
    """

    def __init__(self, reason: str, *, usage: Usage | None = _NOTHING) -> None:
        super().__init__(reason)
        self.usage = usage


class TransientError(FaultError):
    """In a way that may pass.

    Attributes:
        wait: seconds that the server asks for; None where it does not.
        connected: whether there was a connection.
        silent: whether the server said nothing in time.
    """

    def __init__(
        self,
        reason: str,
        *,
        usage: Usage | None = _NOTHING,
        wait: float | None = None,
        connected: bool = True,
        silent: bool = False,
    ) -> None:
        super().__init__(reason, usage=usage)
        self.wait, self.connected, self.silent = wait, connected, silent


class LimitedError(FaultError):
    """There are too many calls; ``wait`` as in ``TransientError``."""

    def __init__(self, reason: str, *, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class ChangeError(FaultError):
    """The server wants this request otherwise; ``change`` as in ``served_dialect.Dialect``."""

    def __init__(self, reason: str, change: str) -> None:
        super().__init__(reason)
        self.change = change


class FinalError(FaultError):
    """The request gets no answer, however often it is asked."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a response, and whether asking again may help."""

    reason: str
    again: bool


#: what is wrong with a response's body, if anything
Check = Callable[[Mapping[str, Any]], Problem | None]


def clean(text: object) -> str:
    """A server's or a library's words, fit for a message: without a key, one line, short."""
    shown = redacted(str(text))[: 50 * _EXCERPT]
    shown = "".join(c if c.isprintable() else " " for c in shown)
    shown = " ".join(shown.split())
    return shown if len(shown) <= _EXCERPT else f"{shown[: _EXCERPT - 3]}..."


def readable(raw: bytes) -> bytes:
    """A response's body as everything after this may see it: whole, without keys, and in UTF-8."""
    encoding = json.detect_encoding(raw)
    if not encoding.startswith("utf-8"):  # in which a key would not be found
        raw = raw.decode(encoding, "replace").encode()
    return redacted_bytes(joined(raw))


def unpacked(raw: bytes, encoding: str, most: int) -> bytes:
    """A body without the compression that some servers put on unasked; of one larger than ``most`` a byte more.

    Raises:
        ValueError: it is damaged, or compressed in another way than gzip's and deflate's.
    """
    if encoding.casefold() in ("", "identity"):
        return raw
    if encoding.casefold() not in ("gzip", "x-gzip", "deflate"):
        raise ValueError(f"an answer in the encoding {encoding}, which was not asked for")
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(raw, most + 1)
    except zlib.error as error:
        raise ValueError(f"an answer that cannot be unpacked ({error})") from error


def way_out(meaning: str, path: str, variable: str) -> str:
    """What to do about an error that meets every request; empty for any other.

    Args:
        meaning: of ``errors``.
    """
    ways = {
        "wrong_key": f"The server wants a key, or another one: set the environment variable {variable}, or name the "
        "variable that holds it (openai:NAME@URL#VARIABLE).",
        "not_there": "Check the model's name and the URL, which mostly ends in /v1; GET /models lists a server's "
        f"models. Not every server has {path}: text prompts need /completions, messages /chat/completions.",
        "used_up": "The account is used up. What was answered is stored; start again when it is filled up.",
        "elsewhere": "The server is elsewhere, and redirections are not followed: name its final URL.",
        "proxy": "It wants a user name and password, or others: put them into its URL "
        "(HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT), or except the host (NO_PROXY).",
    }
    return ways.get(meaning, "")


def parse_retry_after(text: str | None, most: float) -> float | None:
    """Seconds that a ``Retry-After`` header asks for (a number or an HTTP date), at most ``most``; None without one.

    >>> parse_retry_after("3", 60), parse_retry_after("86400", 60), parse_retry_after("soon", 60)
    (3.0, 60, None)
    """
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return None if math.isnan(seconds) else min(max(0.0, seconds), most)
