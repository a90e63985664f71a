"""What is said to an OpenAI-compatible server: names and keys, bounds, calls. Sends nothing."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from selfreward_bench.engines.served.secrets import redacted, remember
from selfreward_bench.errors import ConfigError
from selfreward_bench.prices import Usage
from selfreward_bench.sources.network import is_this_machine, proxy_for
from selfreward_bench.storage.responses import Response, response_key

__all__ = ["PREFIX", "Answer", "Call", "Limits", "ServedSpec", "parse_spec", "refuse_keys"]

PREFIX: Final = "openai:"
DEFAULT_KEY_VARIABLE: Final = "OPENAI_API_KEY"
FORM: Final = "openai:NAME@URL, such as openai:gpt-4o@https://api.openai.com/v1 or openai:mine@http://localhost:8000/v1"
AZURE: Final = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")

_SPEC = re.compile(
    r"(?:openai:)?(?P<model>(?!openai:).+?)@(?P<url>https?://[^#]+)(?:#(?P<variable>[A-Za-z_][A-Za-z0-9_]*))?"
)
_EXCERPT: Final = 200  # characters of a name in a message
_FROM_ENVIRONMENT: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_VERSION: Final = re.compile(r"api-version=[A-Za-z0-9.-]{1,40}")  # Azure's: the only query that holds no secret
_TOKEN: Final = re.compile(r"ey[^.]*\.[^.]*\.[^.]*")  # which a Microsoft account gives in place of a key


@dataclass(frozen=True, slots=True)
class ServedSpec:
    """A served model as the user names it: ``openai:NAME@URL`` or ``openai:NAME@URL#VARIABLE``.

    Attributes:
        base_url: with Azure's ``?api-version=``, where it has one.
        key_variable: the environment variable with the key; None takes ``OPENAI_API_KEY`` where that is safe.
    """

    model: str
    base_url: str
    key_variable: str | None = None

    @property
    def variable(self) -> str:
        """The environment variable that the key is looked for in."""
        return self.key_variable or DEFAULT_KEY_VARIABLE

    def url(self, path: str) -> str:
        """Where a path of the server is, such as ``/chat/completions``."""
        base, mark, query = self.base_url.partition("?")
        return f"{base}{path}{mark}{query}"

    def headers(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """What carries the key (nothing without one), and more; of two of one name that of ``more`` counts.

        Args:
            more: headers in which ``${VARIABLE}`` stands for what the environment holds.

        Raises:
            ConfigError: as ``key``; a variable is not set or holds no header, or a proxy would read it.
        """
        key, found = self.key(), self._filled_in(more or {})
        is_azure = (urlsplit(self.base_url).hostname or "").endswith(AZURE) or "?" in self.base_url
        name = "api-key" if key and is_azure and not _TOKEN.fullmatch(key) else "Authorization"
        if key and name.casefold() not in map(str.casefold, found):
            found[name] = key if name == "api-key" else f"Bearer {key}"
        return found

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
        variable = self.variable
        key = os.environ.get(variable, "").strip()
        remember(key, os.environ.get(DEFAULT_KEY_VARIABLE, "").strip())
        if not key and self.key_variable:
            raise ConfigError(f"{self.name}: the environment variable {variable} is to hold the key, and is not set.")
        if not re.fullmatch(r"[!-~]*", key):
            raise ConfigError(f"The environment variable {variable} holds no key: a key has no blanks and is ASCII.")
        if key and self.key_variable:
            self.refuse_readers()
        private = self.base_url.startswith("https:") or is_this_machine(self.base_url)
        return key if key and (private or self.key_variable) else None

    def _filled_in(self, named: Mapping[str, str]) -> dict[str, str]:
        found = {name: _FROM_ENVIRONMENT.sub(lambda at: self._variable(at[1]), text) for name, text in named.items()}
        if found != dict(named):
            self.refuse_readers()
        return found

    def _variable(self, name: str) -> str:
        value = os.environ.get(name, "").strip()
        remember(value)
        if not re.fullmatch(r"[ -~]+", value):
            raise ConfigError(
                f"judge.request.extra_headers: the environment variable {name} is not set, or holds no header of plain "
                "ASCII."
            )
        return value

    def refuse_readers(self) -> None:
        """Refuses a way to the server on which a proxy reads what is sent.

        Raises:
            ConfigError: a proxy stands in between, and the URL is plain http.
        """
        if self.base_url.startswith("http:") and (proxy := proxy_for(self.base_url)):
            host = urlsplit(self.base_url).hostname
            raise ConfigError(
                f"{self.name}: over plain http the proxy {proxy.name} would read the key. Name an https URL, or except "
                f"the host from the proxy: NO_PROXY={host}."
            )


def parse_spec(spec: str) -> ServedSpec:
    """Reads ``openai:NAME@URL`` or ``openai:NAME@URL#VARIABLE``; the ``openai:`` may be missing.

    >>> parse_spec("openai:org/model@http://localhost:8000/v1/#MY_KEY")
    ServedSpec(model='org/model', base_url='http://localhost:8000/v1', key_variable='MY_KEY')

    Raises:
        ConfigError: it has another form, or holds a key.
    """
    found = _SPEC.fullmatch(spec)
    if not found:
        shown = "this (not shown, as it may hold a key)" if "#" in spec or "?" in spec else repr(spec[:_EXCERPT])
        raise ConfigError(f"{shown} names no served model. The form is {FORM}; #VARIABLE may name the key's variable.")
    url, mark, query = found["url"].partition("?")
    url = url.rstrip("/")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or not url.isascii() or re.search(r"\s", url):
        raise ConfigError(f"The URL of {found['model']!r} has no usable host or port. The form is {FORM}.")
    if "@" in parts.netloc or (mark and not _VERSION.fullmatch(query)):
        raise ConfigError(
            f"The URL of {found['model']!r} holds a password or a query, and would be shown in results (of queries "
            "only Azure's ?api-version=... can be used). Keys come from the environment: openai:NAME@URL#VARIABLE."
        )
    remember(*(os.environ.get(name, "").strip() for name in (found["variable"] or "", DEFAULT_KEY_VARIABLE)))
    refuse_keys(found["model"] + found["url"], "The name or URL of a served model")
    return ServedSpec(found["model"], url.removesuffix("/chat/completions") + mark + query, found["variable"])


def refuse_keys(text: str, what: str) -> None:
    """Refuses a text with a key that this process knows, before it is shown or stored.

    Raises:
        ConfigError: there is one; what it says holds nothing of it.
    """
    if redacted(text) != text:
        raise ConfigError(
            f"{what} holds the key itself (not shown), and would be shown in results. Keys come from the environment: "
            "openai:NAME@URL#VARIABLE, and in headers ${VARIABLE}."
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the calls to one server. Times in seconds.

    Attributes:
        attempts: of one call, the first included.
        backoff: about so long before the second attempt, twice as long before each further one.
        max_wait: longest wait before an attempt, also where the server asks for more.
        patience: how long a server may refuse all calls as too many before that ends it; a fifth of it where it never
            answered one. Such refusals (429) are no attempts.
        read_timeout: longest silence of a server; without streaming it is silent until the answer is made.
        total_timeout: one attempt from the first to the last byte.
    """

    concurrency: int = 32
    attempts: int = 8
    backoff: float = 0.5
    max_wait: float = 60.0
    patience: float = 600.0
    connect_timeout: float = 10.0
    read_timeout: float = 300.0
    total_timeout: float = 600.0
    max_response_bytes: int = 4 * 2**20

    def __post_init__(self) -> None:
        waits = (self.backoff, self.max_wait, self.patience)
        numbers = (*waits, self.connect_timeout, self.read_timeout, self.total_timeout)
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
    def make(
        cls, server: str, path: str, body: Mapping[str, Any], sample: int = 0, unsent: Collection[str] = ()
    ) -> Call:
        """With its key and its worst case (two bytes per token of the prompt, which few texts exceed).

        Args:
            server: what the key knows the server by.
            unsent: names in ``body`` that have no meaning there: they are part of the key, and are not sent.
        """
        prompt = json.dumps(body.get("messages") or body.get("prompt"), ensure_ascii=False)
        limits = [body.get(name) for name in ("max_tokens", "max_completion_tokens")]
        most = max((limit for limit in limits if isinstance(limit, int)), default=0)
        worst = Usage(len(prompt.encode("utf-8", "replace")) // 2 + 16, most)
        sent = {name: value for name, value in body.items() if name not in unsent}
        return cls(response_key(server, path, body, sample), path, sent, sample, worst)

    @property
    def texts(self) -> list[str]:
        """What the prompt is made of."""
        return [self.body["prompt"]] if "prompt" in self.body else [m["content"] for m in self.body["messages"]]


@dataclass(frozen=True, slots=True)
class Answer:
    """A stored response, or why there is none (``over_budget``, ``failed: ...``, or what the check said)."""

    key: str
    response: Response | None
    reason: str = ""
