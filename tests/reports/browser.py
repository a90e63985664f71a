"""A real headless Chromium for tests of the page: opened from disk, with every error and every request noticed.

Take the fixtures into a test module with ``from .browser import chromium, open_page``. Tests are skipped where there
is no Chromium or no driver; browsers are never downloaded. ``SRBENCH_CHROMIUM`` names another executable.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["Chromium", "OpenPage", "chromium", "open_page"]

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
)
TIMEOUT = 60_000  # milliseconds; machines that run tests are often busy

OpenPage = Callable[..., "Page"]


@dataclass
class Chromium:
    """The session's browser, and what its pages did that they must not do."""

    browser: Browser
    loop: asyncio.AbstractEventLoop | None
    faults: list[str] = field(default_factory=list)

    @contextmanager
    def driving(self) -> Iterator[None]:
        """The driver's event loop counts as running within; outside of it, tests may run loops of their own."""
        asyncio._set_running_loop(self.loop)
        try:
            yield
        finally:
            asyncio._set_running_loop(None)


def executable() -> str | None:
    """Where Chromium is."""
    return os.environ.get("SRBENCH_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    """One browser for all tests of a session."""
    path = executable()
    if path is None:
        pytest.skip("there is no Chromium here")
    api = pytest.importorskip("playwright.sync_api")
    driver = api.sync_playwright().start()
    found = Chromium(driver.chromium.launch(executable_path=path, args=list(FLAGS)), asyncio._get_running_loop())
    asyncio._set_running_loop(None)
    yield found
    with found.driving():
        found.browser.close()
        driver.stop()


@pytest.fixture
def open_page(chromium: Chromium) -> Iterator[OpenPage]:
    """``open_page(path)`` opens a file; the test fails on an error in the console and on any request.

    Keyword arguments: ``fragment`` (``#samples``), ``width`` and ``height`` of the window, ``dark``, ``scripts``
    (False: as a reader without JavaScript sees it).
    """
    chromium.faults.clear()
    with chromium.driving():
        contexts = []

        def opened(
            path: Path,
            *,
            fragment: str = "",
            width: int = 1200,
            height: int = 900,
            dark: bool = False,
            scripts: bool = True,
        ) -> Page:
            scheme: Literal["dark", "light"] = "dark" if dark else "light"
            context = chromium.browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=scheme, java_script_enabled=scripts
            )
            context.set_default_timeout(TIMEOUT)
            contexts.append(context)
            page = context.new_page()
            _watch(page, path.resolve(), chromium.faults)
            page.goto(path.resolve().as_uri() + fragment)
            return page

        yield opened
        for context in contexts:
            context.close()
    assert not chromium.faults, chromium.faults


def _watch(page: Page, path: Path, faults: list[str]) -> None:
    def requested(url: str) -> None:
        if urlsplit(url).scheme not in ("blob", "data") and url.partition("#")[0] != path.as_uri():
            faults.append(f"request: {url}")

    page.on("console", lambda m: faults.append(f"{m.type}: {m.text}") if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(f"uncaught: {error}"))
    page.on("request", lambda r: requested(r.url))
    page.on("dialog", lambda d: (faults.append(f"dialog: {d.message}"), d.dismiss()))
