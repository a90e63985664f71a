"""Preference pairs a model was trained on: chosen beside rejected, with the judge's words; a few are in the HTML."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from reports.facts.run import RunFacts
from reports.page import rendering
from reports.page.section import Section
from reports.samples import preferences
from reports.samples.preferences import Iteration, Pair

__all__ = ["build"]

_STATIC: Final = 6
_STATIC_CHARACTERS: Final = 2_000


def build(runs: Sequence[RunFacts]) -> Section | None:
    """The section; see ``reports.page.section.Builder``. None where no model can have been trained."""
    if not any(facts.is_run for facts in runs):
        return None
    iterations, gaps = preferences.collect(runs)
    contents, limit = preferences.contents(iterations)
    blobs = {f"pairs-{i}": content for i, content in enumerate(contents)}
    if iterations:
        index = [
            {"model": it.model, "blob": f"pairs-{i}", "total": it.total, "shown": len(it.pairs)}
            for i, it in enumerate(iterations)
        ]
        blobs["pairs"] = json.dumps({"iterations": index}, separators=(",", ":")).encode()
    body = rendering.render(
        "pairs.html.j2",
        told=[(it, _spread(it)) for it in iterations],
        most=preferences.MAX_PAIRS,
        limit=limit,
        unread=gaps,
        characters=_STATIC_CHARACTERS,
    )
    return Section("pairs", "Preference pairs", body, blobs=blobs)


def _spread(iteration: Iteration) -> list[Pair]:
    """A few pairs, from the smallest margin to the largest."""
    ranked = sorted(iteration.pairs, key=lambda p: (p.scores[0] or 0) - (p.scores[1] or 0))
    if len(ranked) <= _STATIC:
        return ranked
    return [ranked[k * (len(ranked) - 1) // (_STATIC - 1)] for k in range(_STATIC)]
