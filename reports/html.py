"""One self-contained HTML page from a run's facts: no script, no request to anywhere, everything a model wrote escaped.

Three lines of defence: Jinja2 escapes every value; characters that hide or act are written out before that; the page's
Content-Security-Policy allows its own style sheet, by hash, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from reports import tables, wording
from reports.facts import RunFacts
from selfreward_bench import __version__
from selfreward_bench.files import write_atomic
from selfreward_bench.types import Message

__all__ = ["render", "write"]

_TEMPLATES: Final = ("report.html.j2", "macros.html.j2", "style.css.j2")


def render(facts: RunFacts) -> str:
    """The page as text that UTF-8 can hold."""
    environment = _environment()
    style = environment.get_template("style.css.j2").render()
    return environment.get_template("report.html.j2").render(
        facts=facts,
        style=Markup(style),  # noqa: S704 - our own file; its hash is in the policy
        policy=_policy(style),
        version=__version__,
        sentences=wording.verdict(facts),
        highlights=tables.highlights(facts),
        results=tables.results(facts),
        breakdowns=[t for t in (tables.breakdown(facts), tables.histogram(facts)) if t is not None],
        matches=tables.head_to_head(facts),
        stage_rows=tables.stage_rows,
        said=_said,
        wording=wording,
    )


def write(facts: RunFacts, path: Path) -> None:
    """Writes the page.

    Raises:
        DataError: the operating system refuses.
    """
    write_atomic(path, render(facts).encode())


@lru_cache(maxsize=1)
def _environment() -> Environment:
    folder = resources.files("reports") / "templates"
    sources = {name: (folder / name).read_text(encoding="utf-8") for name in _TEMPLATES}
    return Environment(
        loader=DictLoader(sources),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _finalize(value: Any) -> Any:
    """Runs on every value before it is escaped."""
    if isinstance(value, Markup):
        return value
    if isinstance(value, str):
        return wording.visible(wording.clip(value))
    return value


def _policy(style: str) -> str:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _said(messages: tuple[Message, ...], role: str) -> str:
    """What one side said: the last turn of a role."""
    return next((m.content for m in reversed(messages) if m.role == role), "")
