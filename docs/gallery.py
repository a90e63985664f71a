"""Pictures of a run's report, by headless Chromium: ``make gallery REPORTED=runs/NAME``.

Writes ``docs/report.png`` (the verdict) and ``docs/gallery/*.png``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reports import html
from reports.facts import reading as facts

if TYPE_CHECKING:
    from playwright.sync_api import Browser

DOCS = Path(__file__).parent
NAMES = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True)
class Picture:
    """One picture: where the page is opened, how large the window is, what has to be there first."""

    file: str
    fragment: str
    width: int = 1180
    height: int = 800
    dark: bool = False
    wait: str = "main"


PICTURES = (
    Picture("report.png", "", height=1100),
    Picture("gallery/dark.png", "", height=900, dark=True),
    Picture("gallery/judging.png", "#judge-accuracy"),
    Picture("gallery/training.png", "#training"),
    Picture("gallery/samples.png", "#samples", wait="#samples .detail h3"),
    Picture("gallery/phone.png", "", width=400, height=860),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Makes all pictures of one run; 1 where there is no Chromium or no run."""
    parser = argparse.ArgumentParser(description="Pictures of a run's report for docs/.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--output", type=Path, default=DOCS, help="directory for the pictures (docs/)")
    chosen = parser.parse_args(arguments)
    chromium = os.environ.get("SRBENCH_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if chromium is None:
        print("There is no Chromium. Install it (apt-get install chromium) or name it in SRBENCH_CHROMIUM.")
        return 1
    if not chosen.run.is_dir():
        print(f"There is no run in {chosen.run}. Name one: make gallery REPORTED=runs/NAME")
        return 1
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        page = Path(folder) / "report.html"
        html.write([facts.collect(chosen.run)], page)
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for picture in PICTURES:
            _take(browser, page, picture, chosen.output / picture.file)
        browser.close()
    total = sum((chosen.output / p.file).stat().st_size for p in PICTURES)
    print(f"{len(PICTURES)} pictures, {total / 1e3:.0f} kB, in {chosen.output}")
    return 0


def _take(browser: Browser, page: Path, picture: Picture, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    context = browser.new_context(
        viewport={"width": picture.width, "height": picture.height}, color_scheme="dark" if picture.dark else "light"
    )
    opened = context.new_page()
    opened.set_default_timeout(120_000)
    opened.goto(page.resolve().as_uri() + picture.fragment)
    opened.wait_for_selector(picture.wait)
    opened.wait_for_timeout(800)  # charts in sight are drawn by an observer
    opened.screenshot(path=path)
    context.close()


if __name__ == "__main__":
    sys.exit(main())
