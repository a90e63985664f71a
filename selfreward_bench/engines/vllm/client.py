"""What is said to vLLM servers, in token ids: completions, log-probabilities of given tokens, what they serve.

Answers are held against what was asked before anything is made of them: a server may be somebody else's.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, Field, ValidationError

from selfreward_bench.engines.served.faults import clean
from selfreward_bench.engines.served.secrets import remember
from selfreward_bench.errors import ConfigError, EngineError
from selfreward_bench.sources.network import is_this_machine, proxy_for

__all__ = ["AT_ONCE", "KEY_VARIABLE", "Client", "Generated", "Served", "check_url"]

KEY_VARIABLE: Final = "VLLM_API_KEY"  # vLLM's own: the server reads it, too

_ATTEMPTS: Final = 4
_WAIT: Final = 1.0  # seconds before the second attempt; doubled each time
_SILENCE: Final = 1800.0  # seconds without an answer, which comes whole: behind many others it takes a while
_CONNECT: Final = 10.0
_SHORT: Final = 10.0  # seconds for what takes no computing
_MOST_BYTES: Final = 64 * 2**20
_STARTED: Final = re.compile(rb"^process_start_time_seconds ([0-9.e+]{1,40})$", re.MULTILINE)
_ROUNDING: Final = 1e-3  # by which the logarithm of a probability may exceed 0
AT_ONCE: Final = 256  # requests that one server is given
T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Generated:
    """What a server generated: token ids, the end token or a stop string's last token among them."""

    tokens: tuple[int, ...]
    stopped: bool


@dataclass(frozen=True, slots=True)
class Served:
    """One model of a server.

    Attributes:
        name: what requests call it.
        root: the directory or hub id it was read from.
        context: tokens of prompt and answer together, at most; None where the server does not say.
    """

    name: str
    root: str
    context: int | None


class _Listed(BaseModel):
    id: str
    root: str | None = None
    parent: str | None = None
    max_model_len: int | None = None


class _Models(BaseModel):
    data: list[_Listed]


class _Version(BaseModel):
    version: str = Field(pattern=r"^[0-9A-Za-z.+_-]{1,60}$")


class _Logprob(BaseModel):
    logprob: float


class _Next(BaseModel):
    top_logprobs: list[dict[str, float] | None] = []


class _Choice(BaseModel):
    logprobs: _Next | None = None
    token_ids: list[int] | None = None
    finish_reason: Literal["stop", "length"] | None = None
    prompt_logprobs: list[dict[str, _Logprob] | None] | None = None


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1, max_length=1)


class Client:
    """Speaks to one server; several threads may use it.

    Args:
        url: without a path, such as ``http://127.0.0.1:8000``.
        key: None takes what the environment variable ``VLLM_API_KEY`` holds.
    """

    def __init__(self, url: str, key: str | None = None) -> None:
        self.url = check_url(url)
        self._stopped = False
        key = key or _own_key(self.url)
        remember(key)
        proxy = proxy_for(self.url)
        remember(*(proxy.secrets if proxy else ()))
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(_SILENCE, connect=_CONNECT),
            limits=httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE),
            proxy=proxy.url if proxy else None,
            trust_env=False,
        )

    def is_ready(self) -> bool:
        """Whether it answers, and has loaded its model."""
        try:
            return self._http.get("/health", timeout=_SHORT).status_code == 200
        except httpx.HTTPError:
            return False

    def version(self) -> str:
        """vLLM's version.

        Raises:
            EngineError: the server does not tell, or not as vLLM does.
        """
        return _parsed(_Version, self._get("/version"), self.url).version

    def started(self) -> float | None:
        """When its process started, in seconds since the epoch; None where it does not tell (``/metrics``)."""
        try:
            found = _STARTED.search(self._get("/metrics"))
            return float(found[1]) if found else None
        except (EngineError, ValueError):
            return None

    def models(self) -> list[Served]:
        """What it serves: a model, and adapters over it.

        Raises:
            EngineError: the server does not tell, or not as vLLM does.
        """
        listed = _parsed(_Models, self._get("/v1/models"), self.url).data
        contexts = {m.id: m.max_model_len for m in listed}
        return [Served(m.id, m.root or m.id, m.max_model_len or contexts.get(m.parent or "")) for m in listed]

    def generate(self, prompt: Sequence[int], vocabulary: int, **settings: Any) -> Generated:
        """Continues a prompt.

        Args:
            vocabulary: how many token ids there are.
            settings: fields of vLLM's request; ``max_tokens`` among them.

        Raises:
            EngineError: there is no answer, or none that could be one.
        """
        asked = {"prompt": list(prompt), "return_token_ids": True, "stream": False, "n": 1, **settings}
        choice = self._complete(asked)
        tokens = choice.token_ids
        if tokens is None:
            raise EngineError(
                f"{self.url} returns no token ids. srbench needs vLLM 0.10.2 or newer (return_token_ids); see "
                "docs/vllm.md."
            )
        if len(tokens) > settings["max_tokens"] or not all(0 <= t < vocabulary for t in tokens):
            raise EngineError(f"{self.url} returned tokens that were not asked for: is it a vLLM server of this model?")
        return Generated(tuple(tokens), choice.finish_reason == "stop")

    def next_logprobs(self, prompt: Sequence[int], tokens: Sequence[int], **settings: Any) -> tuple[float, ...] | None:
        """Natural-log probabilities of single tokens behind a prompt, which is read once, from the cache where it can.

        Returns:
            One per token; None where the server does not tell them (vLLM before ``logprob_token_ids``).

        Raises:
            EngineError: there is no answer.
        """
        asked = {"prompt": list(prompt), "max_tokens": 1, "temperature": 0.0, **settings}
        named = {"logprobs": 0, "logprob_token_ids": sorted({*tokens}), "return_tokens_as_token_ids": True}
        found = self._complete(asked | named).logprobs
        told = (found.top_logprobs[0] if found and found.top_logprobs else None) or {}
        values = [told.get(f"token_id:{token}", math.nan) for token in tokens]
        return tuple(values) if all(v < _ROUNDING and math.isfinite(v) for v in values) else None

    def logprobs(self, prompt: Sequence[int], start: int, **settings: Any) -> tuple[float, ...]:
        """Natural-log probabilities of a text's tokens from the one at ``start`` (at least 1) on.

        Raises:
            EngineError: there is no answer, or none that could be one.
        """
        asked = {"prompt": list(prompt), "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0, **settings}
        found = self._complete(asked).prompt_logprobs or []
        entries = [(e or {}).get(str(t)) for t, e in zip(prompt[start:], found[start:], strict=False)]
        values = [e.logprob for e in entries if e is not None and math.isfinite(e.logprob) and e.logprob < _ROUNDING]
        if len(found) != len(prompt) or len(values) != len(prompt) - start:
            raise EngineError(f"{self.url} does not tell the log-probabilities of a prompt: is it a vLLM server?")
        return tuple(values)

    def stop(self) -> None:
        """Lets calls that are under way fail at once, instead of trying again."""
        self._stopped = True

    def close(self) -> None:
        """Disconnects, when no call is under way."""
        self.stop()
        self._http.close()

    def _complete(self, asked: dict[str, Any]) -> _Choice:
        for attempt in range(_ATTEMPTS):
            try:
                status, content = self._post("/v1/completions", asked)
            except httpx.HTTPError as error:
                why = f"{type(error).__name__} {clean(error)}"
            else:
                if status == 200:
                    return _parsed(_Completion, content, self.url).choices[0]
                why = f"HTTP {status}: {_words(content)}"
                if status < 500 and status not in (408, 429):
                    raise EngineError(f"{self.url} refuses a request: {why}")
            if self._stopped:
                break
            if attempt + 1 < _ATTEMPTS:
                time.sleep(_WAIT * 2**attempt)
        raise EngineError(f"{self.url} does not answer: {why}. What it answered is stored; start the same again.")

    def _post(self, path: str, body: dict[str, Any]) -> tuple[int, bytes]:
        with self._http.stream("POST", path, json=body) as answer:
            return answer.status_code, self._bounded(answer, _SILENCE)

    def _get(self, path: str) -> bytes:
        try:
            with self._http.stream("GET", path, timeout=_SHORT) as answer:
                status, content = answer.status_code, self._bounded(answer, _SHORT)
        except httpx.HTTPError as error:
            raise EngineError(f"Nothing answers at {self.url} ({type(error).__name__} {clean(error)}).") from error
        if status in (401, 403):
            raise EngineError(f"{self.url} wants another key. Set {KEY_VARIABLE} to the server's.")
        if status != 200:
            raise EngineError(f"{self.url}{path}: HTTP {status}: {_words(content)}. Is it a vLLM server?")
        return content

    def _bounded(self, answer: httpx.Response, seconds: float) -> bytes:
        """An answer's content, which must not come drop by drop either."""
        content, end = bytearray(), time.monotonic() + seconds
        for chunk in answer.iter_bytes():
            content += chunk
            if len(content) > _MOST_BYTES:
                raise EngineError(f"{self.url} answers with more than {_MOST_BYTES:,} bytes.")
            if time.monotonic() > end:
                raise EngineError(f"{self.url} has not ended its answer after {seconds:g} s.")
        return bytes(content)


def check_url(url: str) -> str:
    """A server's address without its path, fit to be stored.

    Raises:
        ConfigError: it is none, or holds a password.
    """
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port)
    except ValueError:
        fine = False
    if not fine or "@" in parts.netloc or parts.query or parts.fragment or parts.path.rstrip("/") not in ("", "/v1"):
        raise ConfigError(
            "engine.urls: each is a server's address such as http://10.0.0.5:8000, without a path, a query or a "
            f"password; the key is read from {KEY_VARIABLE}."
        )
    return f"{parts.scheme}://{parts.netloc}"


def _own_key(url: str) -> str:
    """The user's key, where nobody on the way reads it."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if key and not (url.startswith("https:") or is_this_machine(url) or proxy_for(url) is None):
        raise ConfigError(f"{KEY_VARIABLE} would be read by the proxy on the way to {url}. Use https, or NO_PROXY.")
    return key


def _parsed(kind: type[T], content: bytes, url: str) -> T:
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise EngineError(f"{url} does not answer as vLLM does ({clean(where)}: {clean(first['msg'])}).") from error


def _words(content: bytes) -> str:
    """What an error says."""
    try:
        body = json.loads(content)
        error = body.get("error", body) if isinstance(body, dict) else body
        return clean(error.get("message", error) if isinstance(error, dict) else error)
    except (ValueError, RecursionError):
        return clean(content[:1000].decode("utf-8", "replace"))
