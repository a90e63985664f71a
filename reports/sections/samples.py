"""Single samples: the answers of two checkpoints side by side, filtered, searched, linked to.

The browser is the page's script on packed data; the few samples that changed most are in the HTML as well, for print
and for readers without scripts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from reports import wording
from reports.facts.run import RunFacts
from reports.page import rendering
from reports.page.section import Section
from reports.samples import blobs as sample_blobs
from reports.samples import collect as samples
from reports.samples import files, points
from reports.samples.blobs import Packed
from reports.samples.records import Sample, SampleSet

__all__ = ["build"]

_STATIC: Final = 12
_STATIC_CHARACTERS: Final = 700


@dataclass(frozen=True)
class _Pane:
    """One checkpoint's column of a sample."""

    name: str
    value: str
    points: str
    text: str
    words: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _Example:
    """A sample as the HTML shows it."""

    title: str
    id: str
    change: str
    prompt: str
    beside: tuple[tuple[str, str], ...]
    panes: tuple[_Pane, _Pane]


def build(runs: Sequence[RunFacts]) -> Section | None:
    """The section; see ``reports.page.section.Builder``."""
    sets, gaps = samples.collect(runs)
    if not sets and not gaps:
        return None
    packed = sample_blobs.pack(sets)
    blobs = {f"samples-{i}": p.content for i, p in enumerate(packed)}
    if packed:
        blobs["samples"] = json.dumps(_index(packed), separators=(",", ":")).encode()
    body = rendering.render(
        "samples.html.j2",
        packed=packed,
        total=sum(p.total for p in packed),
        examples=_examples(sets, packed),
        unread=gaps,
        limit=files.LIMIT,
        short=sample_blobs.SHORT,
    )
    return Section("samples", "Samples", body, blobs=blobs)


def _index(packed: Sequence[Packed]) -> dict[str, Any]:
    """What the script knows before it unpacks a benchmark."""
    return {
        "points": points.POINTS,
        "benchmarks": [
            {
                "key": p.benchmark,
                "title": wording.title(p.benchmark),
                "blob": f"samples-{i}",
                "checkpoints": p.checkpoints,
                "groups": p.groups,
                "start": p.start,
            }
            for i, p in enumerate(packed)
        ],
    }


# --- the few that are in the HTML


def _examples(sets: Sequence[SampleSet], packed: Sequence[Packed]) -> list[_Example]:
    """Of each benchmark the largest loss and the largest gain."""
    found = [_example(x, p, sample) for x, p in zip(sets, packed, strict=True) for sample in x.extremes]
    return found[:_STATIC]


def _example(of: SampleSet, packed: Packed, sample: Sample) -> _Example:
    a, b = of.start
    values = sample.values(a, b)
    metric = dict(zip(of.metrics, packed.groups, strict=True))[sample.metric]
    panes = tuple(_pane(of, sample, k, _value(metric, v)) for k, v in zip((a, b), values, strict=True))
    first = next(iter(sample.sides.values()))
    return _Example(
        wording.title(of.benchmark),
        sample.id,
        f"{metric['label']}: {of.checkpoints[a]} {_value(metric, values[0])}, "
        f"{of.checkpoints[b]} {_value(metric, values[1])}",
        wording.clip(first.prompt, _STATIC_CHARACTERS),
        tuple((label, wording.clip(text, _STATIC_CHARACTERS)) for label, text in first.beside),
        (panes[0], panes[1]),
    )


def _pane(of: SampleSet, sample: Sample, number: int, value: str) -> _Pane:
    side = sample.sides.get(number)
    judged = side.judged if side else ()
    return _Pane(
        of.checkpoints[number],
        value,
        "" if side is None or side.points is None else points.told(side.points),
        wording.clip(side.answer or "", _STATIC_CHARACTERS) if side else "",
        tuple((label, wording.clip(text, _STATIC_CHARACTERS)) for label, text in judged),
    )


def _value(metric: dict[str, Any], value: float | None) -> str:
    """As the script shows it."""
    if value is None:
        return "not scored"
    if metric["words"] and value in (0, 0.5, 1):
        return {0: "wrong", 0.5: "tie", 1: "right"}[value]
    number = f"{value * metric['scale']:z.{metric['digits']}f}"  # z: zero has no sign
    return f"{number}{metric['suffix']}".replace("-", "\u2212")
