"""Jinja2 as the report uses it: every value escaped, and before that made visible and bounded."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from reports import wording

__all__ = ["asset", "render"]


def render(template: str, **values: Any) -> Markup:
    """A template of ``reports/templates``, filled in."""
    text = _environment().get_template(template).render(wording=wording, **values)
    return Markup(text)  # noqa: S704 - the template's own markup; every value in it was escaped


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
