"""``srbench view`` in a real browser: sorted, filtered, kept over a reload, loaded again while something runs."""

# ruff: noqa: F811 - tests take imported fixtures as arguments
from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reports.live.server import Server, serve
from reports.live.watching import Course, Stage

from ..browser import TIMEOUT, Chromium, chromium  # noqa: F401 - fixtures
from ..conftest import RunBuilder
from ..test_accessibility import AXE

if TYPE_CHECKING:
    from playwright.sync_api import Page

HOSTILE = "<img src=x onerror=window.__pwned=1>"
MIGHT = (
    "document.querySelectorAll('img, iframe, object, embed, base, link, form').length + ('__pwned' in window ? 1 : 0)"
)


def course(path: Path) -> Course:
    running = path.name == "middle"
    stages = (Stage("M1/train", "done", "steps", 4, 4), Stage("M2/train", "partial", "steps", 1, 4, 3.0))
    return Course(stages[: 2 if running else 1], running, 3.0 if running else None)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("view") / "runs"
    for name, quality in (("low", 2.0), ("middle", 3.0), (f"high {HOSTILE}".replace("/", ""), 4.0)):
        run = RunBuilder(root / name)
        run.result("M1", quality_sampled=1.5)
        run.result("M2", quality_sampled=quality)
        steps = [{"step": i, "loss": 1 / (i + 1)} for i in range(20)]
        (run.path / "M2" / "log.jsonl").write_text("".join(json.dumps(s) + "\n" for s in steps))
        said = {"prompt_id": HOSTILE, "text": HOSTILE}
        (run.path / "M2" / "completions.jsonl").write_text(json.dumps(said) + "\n")
    with serve(root, 0, course) as found:
        thread = threading.Thread(target=found.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield found
        found.shutdown()
        thread.join(10)


@pytest.fixture
def page(chromium: Chromium, server: Server) -> Iterator[Page]:
    chromium.faults.clear()
    with chromium.driving():
        context = chromium.browser.new_context(viewport={"width": 1280, "height": 900})
        context.set_default_timeout(TIMEOUT)
        opened = context.new_page()
        faults = chromium.faults
        opened.on("console", lambda m: faults.append(m.text) if m.type in ("error", "warning") else None)
        opened.on("pageerror", lambda error: faults.append(str(error)))
        opened.on("request", lambda r: None if r.url.startswith(server.address) else faults.append(r.url))
        opened.goto(server.address)
        yield opened
        context.close()
    faults = [f for f in chromium.faults if "favicon" not in f and "404" not in f]  # browsers ask for an icon
    assert not faults, faults


def runs(page: Page) -> list[str]:
    rows = page.locator("table.board tr.row:visible")
    return [t.split("\n")[0].split()[0] for t in rows.locator("th").all_inner_texts()]


@pytest.mark.slow
def test_the_board_is_sorted_filtered_and_stays_so_over_a_reload(page: Page) -> None:
    assert len(runs(page)) == 3
    head = page.locator("table.board thead th", has_text="True quality, sampled")
    head.locator("button").click()
    assert runs(page) == ["high", "middle", "low"]
    assert head.get_attribute("aria-sort") == "descending"
    head.locator("button").press("Enter")
    assert runs(page) == ["low", "middle", "high"]
    page.uncheck("#last")
    assert len(runs(page)) == 6
    page.check("#last")
    page.fill("#filter", "MIDD")
    page.wait_for_url("**#MIDD/**")
    assert runs(page) == ["middle"]
    page.reload()
    assert runs(page) == ["middle"]
    assert page.text_content("#count") == "1 shown"
    page.fill("#filter", "")
    page.wait_for_url("**#/**")
    assert runs(page) == ["low", "middle", "high"]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.slow
def test_a_run_in_progress_is_watched_and_leads_to_its_report(page: Page) -> None:
    page.locator("table.board a:visible", has_text="middle").first.click()
    assert page.text_content("h1 .state") == "running"
    assert "1 of 4 steps" in page.inner_text("table.course")
    page.wait_for_selector("figure[data-chart] svg")
    assert HOSTILE in page.inner_text(".said p")
    assert page.is_checked("#again")
    page.uncheck("#again")
    page.reload()
    assert not page.is_checked("#again")  # what a reader holds stays held
    page.click("text=Its report")
    page.wait_for_selector("#verdict")
    assert page.evaluate(MIGHT) == 0


@pytest.mark.slow
def test_it_is_loaded_again_while_it_runs(page: Page, server: Server) -> None:
    page.locator("table.board a:visible", has_text="middle").first.click()
    page.evaluate("document.getElementById('again').dataset.marked = 'yes'")
    with page.expect_navigation(timeout=TIMEOUT):
        pass
    assert page.locator("#again[data-marked]").count() == 0
    page.go_back()
    page.locator("table.board a:visible", has_text="low").first.click()
    assert page.locator("#again").count() == 0  # of a run that is done nothing changes


@pytest.mark.slow
def test_hostile_names_are_text(page: Page) -> None:
    assert HOSTILE in page.inner_text("table.board")
    page.locator("table.board a:visible", has_text="high").first.click()
    assert HOSTILE in page.inner_text("h1")
    assert page.evaluate(MIGHT) == 0


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_no_violation_that_is_more_than_minor(chromium: Chromium, server: Server, width: int) -> None:
    with chromium.driving():
        context = chromium.browser.new_context(viewport={"width": width, "height": 900}, bypass_csp=True)
        context.set_default_timeout(TIMEOUT)
        opened = context.new_page()
        found = []
        opened.goto(server.address)
        link = opened.locator("table.board a").first.get_attribute("href")
        for address in (server.address, f"{server.address.rstrip('/')}{link}"):
            opened.goto(address)
            opened.add_script_tag(path=str(AXE))
            result = opened.evaluate("axe.run()")
            found += [f"{v['impact']} {v['id']}: {v['nodes'][0]['html']}" for v in result["violations"]]
        context.close()
    assert [v for v in found if not v.startswith("minor ")] == []
