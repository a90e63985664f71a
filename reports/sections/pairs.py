"""Preference pairs a model was trained on: chosen beside rejected."""

from __future__ import annotations

from collections.abc import Sequence

from reports import rendering
from reports.facts import RunFacts
from reports.section import Section
from selfreward_bench.types import Message

__all__ = ["build"]


def build(runs: Sequence[RunFacts]) -> Section:
    """The section; see ``reports.section.Builder``."""
    return Section("pairs", "Preference pairs", rendering.render("pairs.html.j2", runs=runs, said=_said))


def _said(messages: tuple[Message, ...], role: str) -> str:
    """What one side said: the last turn of a role."""
    return next((m.content for m in reversed(messages) if m.role == role), "")
