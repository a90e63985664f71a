"""What is said to an OpenAI-compatible server, and what it may say back: names, bounds, calls, errors. Sends nothing.

All that comes from a server is hostile: it is bounded, parsed as JSON, and shown as one short line without the key.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

from selfreward_bench.engines.served_secrets import redacted, redacted_bytes, remember
from selfreward_bench.errors import ConfigError, EngineError
from selfreward_bench.prices import Usage
from selfreward_bench.sources.network import is_this_machine, proxy_for
from selfreward_bench.storage.responses import Response, response_key

__all__ = [
    "PREFIX",
    "Answer",
    "Call",
    "Check",
    "FinalError",
    "Limits",
    "Problem",
    "ServedSpec",
    "TransientError",
    "clean",
    "error_text",
    "parse_json",
    "parse_retry_after",
    "parse_spec",
    "parse_usage",
    "readable",
    "refusal",
]

PREFIX: Final = "openai:"
DEFAULT_KEY_VARIABLE: Final = "OPENAI_API_KEY"
FORM: Final = "openai:NAME@URL, such as openai:gpt-4o@https://api.openai.com/v1 or openai:mine@http://localhost:8000/v1"

_SPEC = re.compile(
    r"(?:openai:)?(?P<model>(?!openai:).+?)@(?P<url>https?://[^#]+)(?:#(?P<variable>[A-Za-z_][A-Za-z0-9_]*))?"
)
_EXCERPT: Final = 200  # characters of other people's texts in a message
_MAX_TOKENS: Final = 10**9  # a count beyond this is a server's mistake
_TRY_AGAIN: Final = frozenset({408, 409, 425, 429, *range(500, 600)})


@dataclass(frozen=True, slots=True)
class ServedSpec:
    """A served model as the user names it: ``openai:NAME@URL`` or ``openai:NAME@URL#VARIABLE``.

    Attributes:
        key_variable: the environment variable with the key; None takes ``OPENAI_API_KEY`` where that is safe.
    """

    model: str
    base_url: str
    key_variable: str | None = None

    @property
    def name(self) -> str:
        """The name without the variable."""
        return f"openai:{self.model}@{self.base_url}"

    def key(self) -> str | None:
        """The key, or None for a server without one.

        ``OPENAI_API_KEY`` goes over https or stays on this machine; a variable that the user named goes anywhere, but
        never in the clear through a proxy.

        Raises:
            ConfigError: the variable that the user named is not set, holds no key, or a proxy would read the key.
        """
        variable = self.key_variable or DEFAULT_KEY_VARIABLE
        key = os.environ.get(variable, "").strip()
        remember(key, os.environ.get(DEFAULT_KEY_VARIABLE, "").strip())
        if not key and self.key_variable:
            raise ConfigError(f"{self.name}: the environment variable {variable} is to hold the key, and is not set.")
        if not re.fullmatch(r"[!-~]*", key):
            raise ConfigError(f"The environment variable {variable} holds no key: a key has no blanks and is ASCII.")
        private = self.base_url.startswith("https:") or is_this_machine(self.base_url)
        if key and self.key_variable and not private and (proxy := proxy_for(self.base_url)):
            host = urlsplit(self.base_url).hostname
            raise ConfigError(
                f"{self.name}: over plain http the proxy {proxy.name} would read the key. Name an https URL, or except "
                f"the host from the proxy: NO_PROXY={host}."
            )
        return key if key and (private or self.key_variable) else None


def parse_spec(spec: str) -> ServedSpec:
    """Reads ``openai:NAME@URL`` or ``openai:NAME@URL#VARIABLE``; the ``openai:`` may be missing.

    >>> parse_spec("openai:org/model@http://localhost:8000/v1/#MY_KEY")
    ServedSpec(model='org/model', base_url='http://localhost:8000/v1', key_variable='MY_KEY')

    Raises:
        ConfigError: it has another form.
    """
    found = _SPEC.fullmatch(spec)
    if not found:
        shown = "this (not shown, as it may hold a key)" if "#" in spec or "?" in spec else repr(spec[:_EXCERPT])
        raise ConfigError(f"{shown} names no served model. The form is {FORM}; #VARIABLE may name the key's variable.")
    url = found["url"].rstrip("/")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or not url.isascii() or re.search(r"\s", url):
        raise ConfigError(f"The URL of {found['model']!r} has no usable host or port. The form is {FORM}.")
    if parts.query or "@" in parts.netloc:
        raise ConfigError(
            f"The URL of {found['model']!r} holds a password or a query, and would be shown in results. Keys come from "
            "the environment: openai:NAME@URL#VARIABLE."
        )
    return ServedSpec(found["model"], url.removesuffix("/chat/completions"), found["variable"])


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the calls to one server. Times in seconds.

    Attributes:
        attempts: of one call, the first included.
        backoff: about so long before the second attempt, twice as long before each further one.
        max_wait: longest wait before an attempt, also where the server asks for more.
        read_timeout: longest silence of a server; without streaming it is silent until the answer is made.
        total_timeout: one attempt from the first to the last byte.
    """

    concurrency: int = 32
    attempts: int = 8
    backoff: float = 0.5
    max_wait: float = 60.0
    connect_timeout: float = 10.0
    read_timeout: float = 300.0
    total_timeout: float = 600.0
    max_response_bytes: int = 4 * 2**20

    def __post_init__(self) -> None:
        numbers = (self.backoff, self.max_wait, self.connect_timeout, self.read_timeout, self.total_timeout)
        if min(self.concurrency, self.attempts, self.max_response_bytes) < 1 or not all(0 <= n < 1e6 for n in numbers):
            raise ConfigError(f"{self}: counts must be at least 1, and times not negative and finite.")


@dataclass(frozen=True, slots=True)
class Call:
    """One question to a server.

    Attributes:
        path: ``/chat/completions`` or ``/completions``.
        body: the request's JSON.
        sample: number of the sample of this prompt.
        worst: the most tokens it can take, for the budget.
    """

    key: str
    path: str
    body: Mapping[str, Any]
    sample: int
    worst: Usage

    @classmethod
    def make(cls, base_url: str, path: str, body: Mapping[str, Any], sample: int = 0) -> Call:
        """With its key and its worst case (two bytes per token of the prompt, which few texts exceed)."""
        prompt = json.dumps(body.get("messages") or body.get("prompt"), ensure_ascii=False)
        worst = Usage(len(prompt.encode("utf-8", "replace")) // 2 + 16, int(body["max_tokens"]))
        return cls(response_key(base_url, path, body, sample), path, body, sample, worst)


@dataclass(frozen=True, slots=True)
class Answer:
    """A stored response, or why there is none (``over_budget``, ``failed: ...``, or what the check said)."""

    key: str
    response: Response | None
    reason: str = ""


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


def parse_usage(body: Mapping[str, Any]) -> Usage | None:
    """The tokens that a response counts; None where it does not, or not sensibly."""
    usage = body.get("usage")
    if not isinstance(usage, dict):
        return None
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not isinstance(prompt, int) or not isinstance(completion, int):
        return None
    return Usage(prompt, completion) if 0 <= prompt <= _MAX_TOKENS and 0 <= completion <= _MAX_TOKENS else None


# --- what comes back


class TransientError(Exception):
    """An attempt failed in a way that may pass.

    Attributes:
        wait: seconds that the server asks for; None where it does not.
        billed: whether the server may have billed it.
        connected: whether there was a connection.
    """

    def __init__(self, reason: str, *, wait: float | None = None, billed: bool = False, connected: bool = True) -> None:
        super().__init__(reason)
        self.wait, self.billed, self.connected = wait, billed, connected


class FinalError(Exception):
    """The request gets no answer, however often it is asked."""

    def __init__(self, reason: str, *, billed: bool = False) -> None:
        super().__init__(reason)
        self.billed = billed


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
    return " ".join(shown.split())[:_EXCERPT]


def readable(raw: bytes) -> bytes:
    """A response's body as everything after this may see it: without keys, and in UTF-8."""
    encoding = json.detect_encoding(raw)
    if not encoding.startswith("utf-8"):  # in which a key would not be found
        raw = raw.decode(encoding, "replace").encode()
    return redacted_bytes(raw)


def error_text(raw: bytes) -> str:
    """What the server said: its message and code where it has the usual form."""
    with suppress(ValueError):
        error = parse_json(raw).get("error")
        if isinstance(error, dict):
            return " ".join(str(error[k]) for k in ("message", "code") if error.get(k))
    return raw[:4096].decode("utf-8", "replace")


def refusal(status: int, said: str, retry_after: str | None, call: Call, spec: ServedSpec, most: float) -> Exception:
    """What a status other than 200 means: EngineError where it would meet every request.

    Args:
        said: the server's words, clean.
        most: the longest wait in seconds.
    """
    way_out = _way_out(status, said, call.path, spec.key_variable or DEFAULT_KEY_VARIABLE)
    if way_out:
        return EngineError(f"{spec.name}: HTTP {status} ({said}). {way_out}")
    if status in _TRY_AGAIN:
        return TransientError(f"HTTP {status}: {said}", wait=parse_retry_after(retry_after, most))
    if status == 400 and "content_filter" in said:
        return FinalError("refused")
    if "logprobs" in said and "logprobs" in call.body:
        return FinalError("no_logprobs")
    return FinalError(f"failed: HTTP {status}: {said}")


def _way_out(status: int, said: str, path: str, variable: str) -> str:
    if status in (401, 403):
        return (
            f"The server wants a key, or another one: set the environment variable {variable}, or name the variable "
            "that holds it (openai:NAME@URL#VARIABLE)."
        )
    if status == 404:
        return (
            "Check the model's name and the URL, which mostly ends in /v1; GET /models lists a server's models. "
            f"Not every server has {path}: text prompts need /completions, messages /chat/completions."
        )
    if status == 402 or (status == 429 and "insufficient_quota" in said):
        return "The account is used up. What was answered is stored; start again when it is filled up."
    if 300 <= status < 400:
        return "The server is elsewhere, and redirections are not followed: name its final URL."
    return ""


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
