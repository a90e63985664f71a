"""Accessibility, as axe-core finds it in a real browser: light and dark, on a desktop and on a phone.

``assets/axe.min.js`` is axe-core 4.14.1 (MPL-2.0, its licence lies beside it); it is for tests alone.
"""

# ruff: noqa: F811 - tests take imported fixtures as arguments
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reports import html
from reports.facts.reading import collect

from . import whole_run
from .browser import Chromium, chromium  # noqa: F401 - fixtures

if TYPE_CHECKING:
    from playwright.sync_api import Page

AXE = Path(__file__).parent / "assets" / "axe.min.js"
TIMEOUT = 240_000  # milliseconds; axe looks at every element of a long page
FOUND = """async () => (await axe.run({resultTypes: ["violations"]})).violations.map((v) =>
  `${v.impact} ${v.id}: ${v.nodes.slice(0, 3).map((n) => n.target.join(" ")).join(" | ")}`)"""
UNFOLD = """async () => {
  for (const e of document.querySelectorAll("details")) e.open = true;
  for (const place of document.querySelectorAll("figure, section")) {
    place.scrollIntoView({ behavior: "instant" });
    await new Promise((resolve) => setTimeout(resolve, 40));
  }
}"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("accessibility")
    html.write([collect(whole_run.write(folder / "demo"))], folder / "report.html")
    return folder / "report.html"


def violations(page: Page, report: Path) -> list[str]:
    page.set_default_timeout(TIMEOUT)
    page.goto(report.as_uri())
    page.evaluate(UNFOLD)
    for browser in ("samples", "pairs"):
        page.wait_for_selector(f"[data-browser={browser}] .detail h3", state="attached")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[str] = page.evaluate(FOUND)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), [(1200, False), (390, True)], ids=["desktop-light", "phone-dark"])
def test_no_violation_that_is_more_than_minor(chromium: Chromium, report: Path, width: int, dark: bool) -> None:
    with chromium.driving():
        context = chromium.browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", bypass_csp=True
        )
        try:
            found = violations(context.new_page(), report)
        finally:
            context.close()
    assert [v for v in found if not v.startswith("minor ")] == []


@pytest.mark.slow
def test_several_runs_in_one_page_have_none_either(chromium: Chromium, tmp_path: Path) -> None:
    runs = [collect(whole_run.write(tmp_path / name)) for name in ("first", "second")]
    html.write(runs, tmp_path / "report.html")
    with chromium.driving():
        context = chromium.browser.new_context(bypass_csp=True)
        try:
            found = violations(context.new_page(), tmp_path / "report.html")
        finally:
            context.close()
    assert [v for v in found if not v.startswith("minor ")] == []


@pytest.mark.slow
def test_a_page_with_a_fault_is_found_out(chromium: Chromium, report: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    text = report.read_text(encoding="utf-8")
    begin, end = text.index("<section"), text.rindex("</section>")
    broken.write_text(text[:begin] + '<img src="data:,"><p style="color: #ddd">pale</p>' + text[end + 10 :])
    with chromium.driving():
        context = chromium.browser.new_context(bypass_csp=True)
        try:
            page = context.new_page()
            page.goto(broken.as_uri())
            page.evaluate(AXE.read_text(encoding="utf-8"))
            found = page.evaluate(FOUND)
        finally:
            context.close()
    assert {v.split()[1] for v in found} >= {"image-alt:", "color-contrast:"}
