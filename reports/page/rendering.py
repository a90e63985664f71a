"""Jinja2 as the report uses it: every value escaped, and before that made visible and bounded."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import resources
from typing import Any, Final

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from reports import wording

__all__ = ["asset", "render"]

_RIGHT_TO_LEFT: Final = "[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]+"
_RUN: Final = re.compile(f"{_RIGHT_TO_LEFT}(?: {_RIGHT_TO_LEFT})*")
#: what is no running text of ours: tags, what holds no tags, and texts of others, which are isolated as a whole
_OTHER: Final = re.compile(
    r'(<(?:svg|script|style|title)\b.*?</(?:svg|script|style|title)>|<\w+ class="text\b[^>]*>[^<]*|<[^>]*>)', re.DOTALL
)
_DOCUMENTS: Final = ("page.html.j2", "local.html.j2", "notebook.html.j2")


def render(template: str, **values: Any) -> Markup:
    """A template of ``reports/templates``, filled in."""
    text = _environment().get_template(template).render(wording=wording, **values)
    text = _isolated(text) if template in _DOCUMENTS else text
    return Markup(text)  # noqa: S704 - the template's own markup; every value in it was escaped


def _isolated(text: str) -> str:
    """Names that are written from right to left by themselves: numbers behind them would change their places."""
    if not _RUN.search(text):
        return text
    parts = _OTHER.split(text)
    parts[::2] = [_RUN.sub(r"<bdi>\g<0></bdi>", part) for part in parts[::2]]
    return "".join(parts)


def asset(name: str) -> str:
    """A file of ``reports/assets``."""
    return (resources.files("reports") / "assets" / name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _environment() -> Environment:
    folder = resources.files("reports") / "templates"
    sources = {f.name: f.read_text(encoding="utf-8") for f in folder.iterdir() if f.name.endswith(".j2")}
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
