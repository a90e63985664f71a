"""Which way requests go: never through a proxy to this machine, and proxies' passwords are shown nowhere."""

from __future__ import annotations

import os

import pytest

from selfreward_bench.errors import ConfigError
from selfreward_bench.sources.network import Proxy, is_this_machine, past_proxies, proxy_for

PROXY = "http://me:s3cret%40@proxy.corp:3128"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


HOSTS = "localhost LOCALHOST localhost. 127.0.0.1 127.3.2.1 127.1 0x7f000001 0.0.0.0 [::1] [::] [::ffff:127.0.0.1]"


@pytest.mark.parametrize("host", HOSTS.split())
def test_this_machine_is_reached_directly_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, PROXY)
    monkeypatch.setenv("NO_PROXY", "elsewhere.org")
    for scheme in ("http", "https"):
        assert is_this_machine(f"{scheme}://{host}/v1")
        assert proxy_for(f"{scheme}://{host}:8000/v1") is None


@pytest.mark.parametrize(
    "host", ["example.org", "10.0.0.1", "128.0.0.1", "localhost.example.org", "[::2]", "127.0.0.x"]
)
def test_other_machines_are_not_this_one(host: str) -> None:
    assert not is_this_machine(f"https://{host}/v1")


def test_the_environment_names_the_proxy_and_what_goes_past_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert proxy_for("https://h/v1") is None
    monkeypatch.setenv("ALL_PROXY", "proxy.corp:80")
    assert proxy_for("https://h/v1") == Proxy("http://proxy.corp:80", "http://proxy.corp:80")
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    found = proxy_for("https://h/v1")
    assert found is not None
    assert (found.url, found.name, found.secrets) == (PROXY, "http://proxy.corp:3128", ("s3cret%40", "s3cret@"))
    assert "s3cret" not in repr(found)
    monkeypatch.setenv("NO_PROXY", "h, other:8443")
    assert proxy_for("https://h/v1") is None
    assert proxy_for("https://sub.h:5/v1") is None
    assert proxy_for("https://other:8443/v1") is None
    assert proxy_for("https://other:8444/v1") is not None


@pytest.mark.parametrize(
    "named", ["socks5://me:s3cret@h:1", "http://me:s3cret@[::1", "ftp://me:s3cret@h", "http://me:s3cret@", "http://h:x"]
)
def test_a_proxy_that_cannot_be_used_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", named)
    with pytest.raises(ConfigError, match=r"NO_PROXY=model\.test") as error:
        proxy_for("https://model.test/v1")
    assert "s3cret" not in str(error.value)


def test_within_the_block_libraries_go_past_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "a")
    with past_proxies("http://127.0.0.5:99/x"):
        assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == "a,127.0.0.5"
    assert os.environ["no_proxy"] == "a"
    assert "NO_PROXY" not in os.environ
    monkeypatch.setenv("NO_PROXY", "*")
    with past_proxies("http://127.0.0.5:99/x"):
        assert os.environ["NO_PROXY"] == "*"
