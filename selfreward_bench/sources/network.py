"""Which way a request goes: to this machine directly, to others as the environment's proxies say. Sends nothing itself.

A proxy's user name and password come from its URL in the environment and go to the proxy alone.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from selfreward_bench.errors import ConfigError

__all__ = ["DIRECT", "Proxy", "is_this_machine", "past_proxies", "proxy_for"]

#: hosts that never go through a proxy, as ``mounts`` of an httpx client
DIRECT: Final = {"all://localhost": None, "all://127.0.0.1": None, "all://[::1]": None}

_SCHEMES: Final = ("http", "https")
_EXCEPTIONS: Final = ("NO_PROXY", "no_proxy")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that the environment names.

    Attributes:
        url: with its user name and password, where it has them; never to be shown.
        name: for messages: without them.
    """

    url: str = field(repr=False)
    name: str

    @property
    def secrets(self) -> tuple[str, ...]:
        """Its password, as it stands in the URL and as it is meant."""
        password = urlsplit(self.url).password
        return (password, unquote(password)) if password else ()


def is_this_machine(url: str) -> bool:
    """Whether a URL's host is this machine by its name or number; no name is looked up.

    >>> [is_this_machine(f"http://{host}:8000/v1") for host in ("localhost", "127.9.9.9", "[::1]", "0.0.0.0", "gpu-1")]
    [True, True, True, True, False]
    """
    host = (urlsplit(url).hostname or "").rstrip(".")
    if host == "localhost":
        return True
    with suppress(OSError, ValueError):  # also 127.1 and 0x7f000001, as the operating system reads them
        host = socket.inet_ntoa(socket.inet_aton(host)) if host[:1].isdigit() else host
    with suppress(ValueError):
        address = ipaddress.ip_address(host)
        mapped = getattr(address, "ipv4_mapped", None) or address
        return bool(mapped.is_loopback or mapped.is_unspecified)
    return False


def proxy_for(url: str) -> Proxy | None:
    """The proxy that the environment names for a URL; None for this machine, whatever the environment says.

    Raises:
        ConfigError: what it names is no HTTP proxy.
    """
    parts = urlsplit(url)
    named = urllib.request.getproxies()
    proxy = named.get(parts.scheme) or named.get("all")
    if not proxy or is_this_machine(url) or urllib.request.proxy_bypass(_place(parts)):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    try:
        found = urlsplit(proxy)
        if found.scheme in _SCHEMES and found.hostname:
            return Proxy(proxy, f"{found.scheme}://{_place(found)}")
    except ValueError:
        pass
    raise ConfigError(
        f"The environment names a proxy for {parts.scheme}://{_place(parts)} that cannot be used (not shown, as it may "
        f"hold a password): only http:// and https:// proxies work. Change {parts.scheme.upper()}_PROXY or ALL_PROXY, "
        f"or except the host: NO_PROXY={parts.hostname}."
    )


def _place(parts: SplitResult) -> str:
    """Host and port."""
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return host if parts.port is None else f"{host}:{parts.port}"


@contextmanager
def past_proxies(url: str) -> Iterator[None]:
    """Within, libraries that go by ``NO_PROXY`` reach the host of ``url`` without a proxy."""
    before = {name: os.environ.get(name) for name in _EXCEPTIONS}
    if "*" not in before.values():
        hosts = dict.fromkeys([*filter(None, before.values()), urlsplit(url).hostname or ""])
        os.environ |= dict.fromkeys(_EXCEPTIONS, ",".join(hosts))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
