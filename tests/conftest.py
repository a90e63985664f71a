"""For all tests: no network but the loopback, one thread, model libraries told to stay offline."""

from __future__ import annotations

import functools
import gc
import importlib.metadata
import ipaddress
import os
import re
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

#: a busy machine is no fault, and neither is a case that was never drawn before
hypothesis.settings.register_profile("steady", max_examples=50, deadline=None, derandomize=True)
hypothesis.settings.load_profile("steady")

gc.set_threshold(50_000, 20, 20)  # imports make many objects and no garbage

# before any library is imported, and for the processes that tests start
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


_set_aside = 0  # modules whose objects no collection of garbage looks through


def pytest_runtest_setup() -> None:
    """Tests and libraries are a million objects that stay, and each model that is dropped would have all of them looked
    through for what else is garbage. Libraries of models are imported by the first test that needs them."""
    global _set_aside
    if len(sys.modules) > _set_aside + 100:
        _set_aside = len(sys.modules)
        gc.collect()
        gc.freeze()


class NetworkBlockedError(RuntimeError):
    """A test tried to leave the machine. Not an OSError: code that retries or hides those must not hide this."""


def _is_local(host: object) -> bool:
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host is None or host in ("", "localhost", socket.gethostname()):
        return True
    try:
        return ipaddress.ip_address(str(host).partition("%")[0]).is_loopback
    except ValueError:
        return False


def _refusing_connect(original: Callable[..., Any]) -> Callable[..., Any]:
    def connect(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_local(address[0]):
            raise NetworkBlockedError(f"tests have no network; something tried to reach {address!r}")
        return original(self, address)

    return connect


def _refusing_look_up(original: Callable[..., Any]) -> Callable[..., Any]:
    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        if not _is_local(host):
            raise NetworkBlockedError(f"tests have no network; something looked up {host!r}")
        return original(host, *args, **kwargs)

    return getaddrinfo


_CONNECT = _refusing_connect(socket.socket.connect)
_CONNECT_EX = _refusing_connect(socket.socket.connect_ex)
_LOOK_UP = _refusing_look_up(socket.getaddrinfo)


@pytest.fixture(autouse=True)
def block_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections and name look-ups that leave the machine raise ``NetworkBlockedError``."""
    _block(monkeypatch)


@pytest.fixture(autouse=True, scope="session")
def block_network_for_shared_fixtures() -> Iterator[None]:
    """The same for fixtures of a wider scope; again per test, as a plugin may restore sockets after each one."""
    with pytest.MonkeyPatch.context() as patch:
        _block(patch)
        yield


def _block(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(socket.socket, "connect", _CONNECT)
    patch.setattr(socket.socket, "connect_ex", _CONNECT_EX)
    patch.setattr(socket, "getaddrinfo", _LOOK_UP)


@pytest.fixture(autouse=True, scope="session")
def nothing_waits_for_the_disk() -> Iterator[None]:
    """What a process wrote outlives it without a sync, which only a power cut makes needed: thousands of them, of
    milliseconds each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        patch.setattr("selfreward_bench.storage.responses._SYNCHRONOUS", "OFF")
        yield


@pytest.fixture(autouse=True, scope="session")
def what_is_installed_is_read_once() -> Iterator[None]:
    """accelerate reads peft's metadata five to ten times a training, for a tenth of its time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.metadata, "metadata", functools.cache(importlib.metadata.metadata))
        yield


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As pytest's own, which looks through the directories of all tests before for a number that is free."""
    name = re.sub(r"\W", "_", request.node.name)[:30]
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=tmp_path_factory.getbasetemp()))


@pytest.fixture(autouse=True)
def ctrl_c_interrupts() -> Iterator[None]:
    """A test run started in the background ignores SIGINT from the start; tests that send it need it to arrive."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests in a browser or on real benchmark data are slow ones, too. The longest files begin first: one process has
    a file to itself, and the others would wait for it at the end."""
    for item in items:
        if "open_page" in getattr(item, "fixturenames", ()) or item.path.stem.endswith("_conformance"):
            item.add_marker(pytest.mark.slow)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    longest = {item.path for item in items if item.path in slow and item.get_closest_marker("timeout")}
    items.sort(key=lambda item: (item.path not in longest, item.path not in slow))
