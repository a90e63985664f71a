"""Dots with their intervals as places in an inline SVG: a plot that needs no script, for where none may run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from reports.wording import Tone

__all__ = ["Dots", "Point", "dots", "ticks"]

WIDTH: Final = 700
_LEFT, _RIGHT = 250, 520  # between them values are drawn; labels stand before, numbers after
_TOP, _ROW, _FOOT = 26, 20, 38
_TICKS: Final = 5
_HUGE: Final = 1e15  # no metric is as large
_COLOURS: Final = {"better": "#2e8b57", "worse": "#c0392b", "neutral": "#4a78c8"}


@dataclass(frozen=True, slots=True)
class Point:
    """One row.

    Attributes:
        text: the value in words.
        values: the value and its interval's ends, in the axis' unit; None is not drawn.
    """

    label: str
    text: str
    values: tuple[float | None, float | None, float | None]
    tone: Tone = "neutral"


@dataclass(frozen=True, slots=True)
class _Row:
    label: str
    text: str
    colour: str
    y: int
    x: str = ""
    low: str = ""
    high: str = ""


@dataclass(frozen=True, slots=True)
class Dots:
    """What a template draws.

    Attributes:
        ticks: ``(x, label)``.
        zero: where zero is; empty where it is not shown.
    """

    title: str
    axis: str
    rows: tuple[_Row, ...]
    ticks: tuple[tuple[str, str], ...]
    zero: str
    height: int
    width: int = WIDTH
    left: int = _LEFT
    right: int = _RIGHT


def dots(title: str, axis: str, points: Sequence[Point], *, zero: bool = False) -> Dots | None:
    """Rows of values on one axis; None where there is no number.

    Args:
        zero: a line there; the axis holds it.
    """
    drawn = [tuple(map(_finite, p.values)) for p in points]
    known = [v for row in drawn if row[0] is not None for v in row if v is not None] + ([0.0] if zero else [])
    if not any(row[0] is not None for row in drawn):
        return None
    low, high = min(known), max(known)
    margin = 0.05 * (high - low) or max(abs(high), 1) / 10
    low, high = low - margin, high + margin

    def place(value: float | None) -> str:
        return "" if value is None else f"{_LEFT + (value - low) / (high - low) * (_RIGHT - _LEFT):.1f}"

    rows = tuple(
        _Row(p.label, p.text, _COLOURS[p.tone], _TOP + _ROW * k + _ROW // 2, *map(place, values))
        for k, (p, values) in enumerate(zip(points, drawn, strict=True))
    )
    marks = tuple((place(value), text) for value, text in ticks(low, high))
    return Dots(title, axis, rows, marks, place(0.0) if zero else "", _TOP + _ROW * len(rows) + _FOOT)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) and abs(value) < _HUGE else None


def ticks(low: float, high: float) -> list[tuple[float, str]]:
    """A few round numbers in a range.

    >>> [text for _, text in ticks(0.0, 1.0)]
    ['0.0', '0.2', '0.4', '0.6', '0.8', '1.0']
    """
    rough = (high - low) / _TICKS
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * n for n in (1, 2, 5, 10) if size * n >= rough)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    first = math.ceil(low / step - 1e-9)
    found = [k * step for k in range(first, first + 2 * _TICKS + 2) if k * step <= high + 1e-9 * step]
    return [(value, f"{value + 0.0:,.{digits}f}".replace("-", "\u2212")) for value in found]
