"""One self-contained HTML page from the facts of one run or several: opens from disk, asks nothing of any network.

Three lines of defence against what models wrote: Jinja2 escapes every value; characters that hide or act are written
out before that; the page's Content-Security-Policy allows its own scripts, by hash, and no request to anywhere. Data
for scripts is JSON in which no ``<`` stands.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import importlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

from markupsafe import Markup

from leaderboards.comparing import Together
from reports import wording
from reports.facts import tables
from reports.facts.run import RunFacts
from reports.page import rendering
from reports.page.section import Builder, Chart, Section
from reports.sections import SECTIONS, methods
from selfreward_bench import __version__
from selfreward_bench.storage.files import write_atomic

__all__ = ["chart_data", "policy", "render", "script_json", "scripts", "sections", "write"]

_SCRIPTS: Final = (
    *("d3.min.js", "plot.umd.min.js", "charts.js", "page.js"),
    *("diff.min.js", "browser.js", "sampled.js", "scatter.js", "download.js", "samples.js", "pairs.js", "open.js"),
)


def render(runs: Sequence[RunFacts], together: Together | None = None) -> str:
    """The page as text that UTF-8 can hold.

    Args:
        runs: one run, or several that are shown side by side, the main one first.
        together: several runs put together; see ``leaderboards.comparing.seeds``.
    """
    built = sections(runs, together)
    texts = scripts()
    charts = {name: chart_data(c) for s in built for name, c in s.charts.items()}
    blobs = {name: _pack(content) for s in built for name, content in s.blobs.items()}
    page = rendering.render(
        "page.html.j2",
        runs=[(facts, tables.lineage(facts)) for facts in runs],
        trained=any(facts.is_run for facts in runs),
        sections=built,
        style=Markup(rendering.asset("style.css") + rendering.asset("samples.css")),  # noqa: S704 - our own file
        scripts=[Markup(s) for s in texts],  # noqa: S704 - our own files; their hashes are in the policy
        policy=policy(texts),
        charts=Markup(script_json(charts)),  # noqa: S704 - no "<" stands in it
        blobs=blobs,
        version=__version__,
    )
    return str(page)


def scripts() -> list[str]:
    """The scripts of a report, in their order."""
    return [rendering.asset(name) for name in _SCRIPTS]


def sections(runs: Sequence[RunFacts], together: Together | None = None) -> list[Section]:
    """The sections that the runs have something for, in the page's order."""
    builders = (cast(Builder, importlib.import_module(f"reports.sections.{name}").build) for name in SECTIONS)
    built = [methods.build(runs, together), *(build(runs) for build in builders)]
    return [s for s in built if s is not None]


def write(runs: Sequence[RunFacts], path: Path, together: Together | None = None) -> None:
    """Writes the page; its arguments are ``render``'s.

    Raises:
        DataError: the operating system refuses.
    """
    write_atomic(path, render(runs, together).encode())


def chart_data(chart: Chart) -> dict[str, Any]:
    """A chart as the page's script takes it."""
    return {"kind": chart.kind, "title": chart.title, "rows": list(chart.rows), "options": dict(chart.options)}


def script_json(value: Any) -> str:
    """JSON that is safe inside ``<script>``: no ``<``, no number that JSON does not know, no half characters."""
    text = json.dumps(_plain(value), ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _plain(value: Any) -> Any:
    """Strings made visible and bounded, numbers that are none made null."""
    if isinstance(value, str):
        return wording.visible(wording.clip(value, 500))
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(_plain(k)): _plain(v) for k, v in value.items()}
    if isinstance(value, Sequence):
        return [_plain(v) for v in value]
    return value


def _pack(content: bytes) -> Markup:
    packed = base64.b64encode(gzip.compress(content, 6, mtime=0)).decode()
    return Markup(packed)  # noqa: S704 - letters, digits, "+", "/" and "=" alone


def policy(scripts: Sequence[str]) -> str:
    """The Content-Security-Policy of a page with these scripts and no others, which asks nothing of anybody."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
