"""The page's charts as files: SVG for papers and slides, PNG where a program that can make it is installed.

srbench brings no program that makes pixels of an SVG; it takes ``rsvg-convert``, Inkscape or Chromium, whichever is
there, and says what to install where none is.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, cast

from leaderboards.comparing import Together
from reports.facts.run import RunFacts
from reports.page import drawn
from reports.page.section import Builder
from reports.sections import SECTIONS, methods
from selfreward_bench.errors import DataError, MissingDependencyError
from selfreward_bench.storage.files import os_errors, write_atomic

__all__ = ["FORMATS", "figures", "write"]

FORMATS: Final = ("svg", "png")

_WITHOUT: Final = ("samples", "pairs", "glossary")  # have no charts, and are long
_SCALE: Final = 2  # pixels of a PNG per unit of the SVG
_SECONDS: Final = 60
_CHROMIUM: Final = "SRBENCH_CHROMIUM"  # names the program, where it is not called as usual

Command = Callable[[str, Path, Path], list[str]]


def figures(runs: Sequence[RunFacts], together: Together | None = None) -> dict[str, str]:
    """Name -> SVG, of every chart of the page that can be drawn on its own.

    Args:
        together: several runs put together, as ``reports.html.render`` takes them.
    """
    names = (s for s in SECTIONS if s not in _WITHOUT)
    builders = (cast(Builder, importlib.import_module(f"reports.sections.{name}").build) for name in names)
    found: dict[str, str] = {}
    for section in [methods.build(runs, together), *(build(runs) for build in builders)]:
        for chart_id, chart in section.charts.items() if section else ():
            if (text := drawn.svg(chart)) is not None:
                found[_file_name(f"{chart_id}-{chart.title.lower()}")] = text
    return found


def write(runs: Sequence[RunFacts], directory: Path, format: str, together: Together | None = None) -> list[Path]:
    """Writes a file per figure; returns them in the order of the page.

    Args:
        together: as in ``figures``.

    Raises:
        MissingDependencyError: no program is installed that makes a PNG of an SVG.
        DataError: there is nothing to draw, the program failed, or the operating system refuses.
    """
    found = figures(runs, together)
    if not found:
        raise DataError("There is no number yet that a figure could be made of. Evaluate first: srbench eval --run RUN")
    with os_errors(directory, "make"):
        directory.mkdir(parents=True, exist_ok=True)
    if format == "png":
        return list(_pixels(found, directory))
    for name, text in found.items():
        write_atomic(directory / f"{name}.svg", text.encode())
    return [directory / f"{name}.svg" for name in found]


def _file_name(text: str) -> str:
    """Of the chart's place and title: ``head-to-head-0-0-share-of-comparisons-won-tied-and-lost``."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")[:100].strip("-") or "figure"


# --- PNG


def _pixels(found: dict[str, str], directory: Path) -> Iterator[Path]:
    program, command = _converter()
    with tempfile.TemporaryDirectory() as folder:
        for name, text in found.items():
            source, made = Path(folder) / f"{name}.svg", Path(folder) / f"{name}.png"
            source.write_text(text, encoding="utf-8")
            _run([*command(program, source, made)], folder)
            if not made.is_file() or not made.read_bytes().startswith(b"\x89PNG"):
                raise DataError(f"{program} made no PNG of the figure {name}. Take --format svg.")
            write_atomic(directory / made.name, made.read_bytes())
            yield directory / made.name


def _run(command: Sequence[str], folder: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_SECONDS, cwd=folder)  # noqa: S603 - a program of PATH
    except subprocess.TimeoutExpired as error:
        raise DataError(f"{command[0]} made no figure in {_SECONDS} seconds. Take --format svg.") from error
    except (subprocess.CalledProcessError, OSError) as error:
        raise DataError(f"{command[0]} cannot make figures ({error}). Take --format svg.") from error


def _converter() -> tuple[str, Command]:
    """A program that makes a PNG of an SVG, and how it is called.

    Raises:
        MissingDependencyError: there is none.
    """
    for name, command in _PROGRAMS.items():
        if path := (os.environ.get(_CHROMIUM) if command is _by_chromium else None) or shutil.which(name):
            return path, command
    raise MissingDependencyError(
        "PNG figures need a program that makes them of SVG: rsvg-convert (librsvg), Inkscape or Chromium, and none is "
        "installed. Take --format svg, which every browser and office program shows, or install one of them "
        "(apt-get install librsvg2-bin)."
    )


def _by_rsvg(program: str, source: Path, made: Path) -> list[str]:
    return [program, "--zoom", str(_SCALE), "--output", str(made), str(source)]


def _by_inkscape(program: str, source: Path, made: Path) -> list[str]:
    return [program, f"--export-dpi={96 * _SCALE}", f"--export-filename={made}", str(source)]


def _by_chromium(program: str, source: Path, made: Path) -> list[str]:
    """Its window is as large as the figure."""
    width, height = re.findall(r'<svg [^>]*width="(\d+)" height="(\d+)"', source.read_text(encoding="utf-8"))[0]
    flags = ["--headless", "--disable-gpu", "--hide-scrollbars", f"--force-device-scale-factor={_SCALE}"]
    flags += ["--no-sandbox"] if os.geteuid() == 0 else []  # it refuses to be root in one; the page is our own
    home = f"--user-data-dir={source.parent / 'profile'}"
    return [program, *flags, home, f"--window-size={width},{height}", f"--screenshot={made}", source.as_uri()]


_PROGRAMS: Final[dict[str, Command]] = {
    "rsvg-convert": _by_rsvg,
    "inkscape": _by_inkscape,
    "chromium": _by_chromium,
    "chromium-browser": _by_chromium,
    "google-chrome": _by_chromium,
}
