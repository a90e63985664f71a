"""The whole page in a real browser: every section, charts, keys and links, both colour schemes, a phone, paper."""

# ruff: noqa: F811 - tests take imported fixtures as arguments
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from reports import html
from reports.facts.reading import collect

from . import whole_run
from .browser import Chromium, OpenPage, chromium, open_page  # noqa: F401 - fixtures

if TYPE_CHECKING:
    from playwright.sync_api import Page

SAMPLES = "#samples .browser"
# What the policy blocks is noticed by an observer that the test puts into the page before anything else.
WATCH = """addEventListener("securitypolicyviolation", (e) =>
  console.error(`blocked: ${e.violatedDirective} ${e.blockedURI}`));"""
# Opens every fold and goes to every chart; those that stay undrawn.
UNDRAWN = """async () => {
  for (const e of document.querySelectorAll("details")) e.open = true;
  const undrawn = () => [...document.querySelectorAll("figure[data-chart]")].filter((f) => !f.querySelector("svg"));
  for (let round = 0; round < 20 && undrawn().length; round++)
    for (const figure of undrawn()) {
      figure.scrollIntoView({ behavior: "instant" });
      await new Promise((resolve) => setTimeout(resolve, 40));
    }
  return undrawn().map((f) => f.dataset.chart);
}"""
TOO_WIDE = "() => document.documentElement.scrollWidth - innerWidth"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    html.write([collect(whole_run.write(folder / "demo"))], folder / "report.html")
    return folder / "report.html"


@pytest.fixture
def watched(open_page: OpenPage, chromium: Chromium) -> Any:
    """``open_page`` that also notices what the page's own policy blocked."""

    def opened(path: Path, **options: Any) -> Page:
        page = open_page(path, **options)
        page.context.add_init_script(WATCH)
        page.reload()
        return page

    return opened


def test_every_section_is_there_and_every_chart_is_drawn(watched: Any, report: Path) -> None:
    page = watched(report)
    assert page.eval_on_selector_all("main > section", "all => all.map((s) => s.id)") == list(whole_run.SECTIONS)
    assert page.eval_on_selector_all("main > section", "all => all.filter((s) => s.innerText.length < 40).length") == 0
    assert page.locator("figure[data-chart]").count() > 20
    assert page.evaluate(UNDRAWN) == []
    unnamed = 'all => all.filter((s) => s.getAttribute("role") !== "img" || !s.getAttribute("aria-label")).length'
    assert page.eval_on_selector_all("figure[data-chart] > :is(svg, * > svg[aria-label])", unnamed) == 0
    assert page.evaluate("performance.getEntriesByType('resource').length") == 0


def test_the_navigation_leads_to_every_section(watched: Any, report: Path) -> None:
    page = watched(report, height=700)
    links = page.eval_on_selector_all("body > nav a", "all => all.map((a) => a.getAttribute('href'))")
    assert links == [f"#{s}" for s in whole_run.SECTIONS]
    for target in ("#training", "#provenance", "#nlp"):
        page.click(f"body > nav a[href='{target}']")
        assert page.evaluate("location.hash") == target
        assert page.evaluate(f"document.querySelector('{target}').getBoundingClientRect().top") < 200
    again = watched(report, fragment="#head-to-head", height=700)
    assert -5 < again.evaluate("document.querySelector('#head-to-head').getBoundingClientRect().top") < 200


def test_the_keyboard_alone_reaches_differences_and_samples(watched: Any, report: Path) -> None:
    page = watched(report)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#main"
    assert page.locator("#nlp .diff.base").first.is_visible()
    page.focus("#versus")
    page.keyboard.press("End")
    assert page.input_value("#versus") == "none"
    assert page.locator(".diff:visible").count() == 0
    page.keyboard.press("Home")
    assert page.locator("#nlp .diff.base").first.is_visible()
    page.focus("body > nav a[href='#samples']")
    page.keyboard.press("Enter")
    page.wait_for_selector(f"{SAMPLES} .detail h3")
    seen = []
    page.focus(f"{SAMPLES} .list")
    for _ in range(3):
        seen.append(page.text_content(f"{SAMPLES} [aria-selected=true] .name"))
        page.keyboard.press("ArrowDown")
    assert len({*seen}) == 3
    summary = page.locator("#provenance summary").first
    summary.focus()
    page.keyboard.press("Enter")
    assert summary.evaluate("s => s.parentElement.open")


def test_two_checkpoints_stand_side_by_side_and_can_be_swapped(watched: Any, report: Path) -> None:
    page = watched(report, fragment="#sample=alpaca-eval%401/unscored/M1/M3")
    page.wait_for_selector(f"{SAMPLES} .detail h3")
    first, second = page.locator(f"{SAMPLES} .pane > h4").all_text_contents()
    assert (first[:6], second[:6]) == ("A · M1", "B · M3")
    left, right = (page.locator(f"{SAMPLES} .pane").nth(k).bounding_box() for k in (0, 1))
    assert left["x"] + left["width"] <= right["x"]
    page.click(f"{SAMPLES} [data-action=swap]")
    first, second = page.locator(f"{SAMPLES} .pane > h4").all_text_contents()
    assert (first[:6], second[:6]) == ("A · M3", "B · M1")
    page.select_option(f"{SAMPLES} [data-control=kind]", label="Not scored (1)")
    assert page.locator(f"{SAMPLES} .entry").count() == 1


@pytest.mark.parametrize(("width", "dark"), [(1200, True), (390, False)], ids=["dark", "phone"])
def test_nothing_is_wider_than_the_window(watched: Any, report: Path, width: int, dark: bool) -> None:
    page = watched(report, width=width, dark=dark)
    assert page.evaluate(TOO_WIDE) <= 0
    assert page.evaluate(UNDRAWN) == []
    page.evaluate("document.querySelector('#samples').scrollIntoView()")
    page.wait_for_selector(f"{SAMPLES} .detail h3")
    assert page.evaluate(TOO_WIDE) <= 0
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(ground.removeprefix("rgb(").split(",")[0]) < 60) == dark


def test_on_paper_it_is_black_on_white_whole_and_without_controls(watched: Any, report: Path) -> None:
    page = watched(report, width=760, dark=True)  # an A4 page's width
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("body > nav").is_hidden()
    assert page.locator("#samples .fallback").is_visible()
    assert page.locator("figure[data-chart]:not(:has(svg)):visible").count() == 0  # nobody scrolled to them
    assert page.evaluate(TOO_WIDE) <= 0
    assert page.pdf(format="A4").startswith(b"%PDF")


@pytest.mark.parametrize("width", [1280, 1180])
def test_no_column_of_the_first_table_is_out_of_sight(
    open_page: OpenPage, full: Any, tmp_path: Path, width: int
) -> None:
    """Five models, each held against others, and what was published."""
    html.write([collect(full.path)], tmp_path / "report.html")
    page = open_page(tmp_path / "report.html", width=width)
    beyond = "(e) => [e.querySelectorAll('thead th').length, e.parentElement.scrollWidth - e.parentElement.clientWidth]"
    columns, hidden = page.locator("table.glance").evaluate(beyond)
    assert columns == 9
    assert hidden <= 0
