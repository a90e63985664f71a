"""The page's charts as SVG files, for where there is no page: papers, slides, issues. No script, no library.

Drawn are ``dots``, ``lines``, ``bars``, ``checkpoints`` and ``matrix`` (``reports.page.section.Chart``), in colours
that colour-blind readers tell apart (Okabe and Ito 2008), on white, with every text escaped.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from markupsafe import escape

from reports import wording
from reports.page.section import Chart
from reports.page.svg import ticks

__all__ = ["KINDS", "svg"]

_WIDTH: Final = 720
_COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#a8a000")
_GRADES: Final = ("#08519c", "#3182bd", "#6baed6", "#9ecae1", "#c6dbef", "#e6eef8")  # the best first
_OUTCOMES: Final = {"win": "#4f9f72", "tie": "#c9cdd4", "loss": "#cf7a72"}
_LABEL: Final = 230  # where labels end
_ROW: Final = 20
_FEW: Final = 2  # points that make a line
_CLIP: Final = 60  # characters of a label
_CUT: Final = 10  # characters of a name below an axis
_SLANTED: Final = 15.0  # pixels that a slanted name takes of an axis
_DEEP: Final = 32.0  # pixels that slanted names reach below it
_WRITTEN: Final = 36.0  # pixels of a cell, from which on its number is written in


@dataclass(frozen=True, slots=True)
class _Scale:
    """Values to places."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def svg(chart: Chart) -> str | None:
    """The chart as an SVG document; None where it is of another kind, or has no number."""
    drawn = KINDS[chart.kind](chart) if chart.kind in KINDS and chart.rows else None
    if drawn is None:
        return None
    parts, height = drawn
    size = f'width="{_WIDTH}" height="{height:.0f}"'
    font = 'font-family="Helvetica, Arial, sans-serif" font-size="12"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {_WIDTH} {height:.0f}" {font} role="img">',
            f"<title>{_escaped(chart.title)}</title>",
            f'<rect {size} fill="white"/>',
            _text(8, 18, chart.title, weight="bold", clip=100),
            *parts,
            "</svg>",
            "",
        ]
    )


Drawn = tuple[list[str], float]


# --- kinds


def _dots(chart: Chart) -> Drawn | None:
    """A row per label and series, with its interval."""
    rows = [r for r in chart.rows if _is_number(r.get("value"))]
    zero = chart.options.get("zero")
    values = [zero, *(r.get(k) for r in rows for k in ("value", "low", "high"))]
    scale = _scale(values, chart, _LABEL + 110, _WIDTH - 20) if rows else None
    if scale is None:
        return None
    colours = _colours(r.get("series", "") for r in rows)
    top = 36
    bottom = top + _ROW * len(rows)
    parts = [*_axis_x(scale, top, bottom, chart.options.get("x"))]
    if zero is not None and _is_number(zero):
        parts.append(_line(scale(zero), top, scale(zero), bottom, "#555555", 1.2))
    place = 0
    for label, group in groupby(rows, key=lambda r: str(r.get("label", ""))):
        own = list(group)
        for i, text in enumerate(_wrapped(label, 34, len(own))):
            parts.append(_text(_LABEL, top + _ROW * (place + i + 0.5) + 4, text, anchor="end"))
        for i, row in enumerate(own):
            y, colour = top + _ROW * (place + i + 0.5), colours[row.get("series", "")]
            parts.append(_text(_LABEL + 100, y + 4, row.get("series", ""), anchor="end", fill=colour, clip=14))
            parts += _whisker(scale, row, y, colour)
            parts.append(f'<circle cx="{scale(row["value"]):.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')
        place += len(own)
    return parts, bottom + 42


def _wrapped(text: str, width: int, most: int) -> list[str]:
    """In so many lines at most; what does not fit is left out, with a sign."""
    return textwrap.wrap(" ".join(text.split()), width, max_lines=most, placeholder="\u2026") or [""]


def _whisker(scale: _Scale, row: Mapping[str, Any], y: float, colour: str) -> Iterator[str]:
    if _is_number(row.get("low")) and _is_number(row.get("high")):
        yield _line(scale(row["low"]), y, scale(row["high"]), y, colour, 1.6)


def _lines(chart: Chart) -> Drawn | None:
    """Curves over numbers or names."""
    rows = [r for r in chart.rows if _is_number(r.get("y"))]
    names = list(dict.fromkeys(r["x"] for r in rows))
    places = [x if _is_number(x) else names.index(x) for x in names]
    at = dict(zip(names, places, strict=True))
    y = _scale([r.get(k) for r in rows for k in ("y", "low", "high")], chart, 300, 40)
    x = _Scale(min(places), max(places), 70, _WIDTH - 180) if len(names) >= _FEW else None
    if x is None or y is None:
        return None
    parts = list(_axis_y(y, 60, _WIDTH - 170, chart.options.get("y")))
    parts += _names_x(x, at, 318) if isinstance(names[0], str) else _numbers_x(x, 318, chart.options.get("x"))
    colours = _colours(r.get("series", "") for r in rows)
    for i, (series, colour) in enumerate(colours.items()):
        own = [r for r in rows if r.get("series", "") == series]
        parts += _band([r for r in own if not r.get("apart")], x, y, at, colour)
        parts += _curve([r for r in own if not r.get("apart")], x, y, at, colour, chart.options.get("smooth"))
        parts += [_point(x(at[r["x"]]), y, r, colour) for r in own if r.get("apart") or len(own) <= 12]
        parts.append(f'<rect x="{_WIDTH - 160}" y="{44 + 18 * i}" width="12" height="12" fill="{colour}"/>')
        parts.append(_text(_WIDTH - 142, 54 + 18 * i, series or " ", clip=20))
    return parts, max(350.0 + _DEEP * isinstance(names[0], str), 60 + 18 * len(colours))


def _curve(
    rows: Sequence[Mapping[str, Any]], x: _Scale, y: _Scale, at: Mapping[Any, float], colour: str, window: Any
) -> Iterator[str]:
    places = [(x(at[r["x"]]), float(r["y"])) for r in rows]
    if len(places) < _FEW:
        return
    faint = isinstance(window, int) and window > 1
    yield _path([(px, y(py)) for px, py in places], colour, 1.0 if faint else 1.8, 0.35 if faint else 1.0)
    if faint:
        values = [py for _, py in places]
        half = window // 2
        means = [sum(v) / len(v) for i in range(len(values)) if (v := values[max(0, i - half) : i + half + 1])]
        yield _path([(px, y(m)) for (px, _), m in zip(places, means, strict=True)], colour, 2.0, 1.0)


def _band(
    rows: Sequence[Mapping[str, Any]], x: _Scale, y: _Scale, at: Mapping[Any, float], colour: str
) -> Iterator[str]:
    known = [r for r in rows if _is_number(r.get("low")) and _is_number(r.get("high"))]
    if len(known) >= _FEW:
        upper = [(x(at[r["x"]]), y(r["high"])) for r in known]
        lower = [(x(at[r["x"]]), y(r["low"])) for r in reversed(known)]
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in (*upper, *lower))
        yield f'<polygon points="{points}" fill="{colour}" fill-opacity="0.15"/>'


def _bars(chart: Chart) -> Drawn | None:
    """Stacked shares."""
    rows = [r for r in chart.rows if _is_number(r.get("value"))]
    labels = list(dict.fromkeys(r["label"] for r in rows))
    sums = [sum(max(0.0, r["value"]) for r in rows if r["label"] == label) for label in labels]
    if not rows or not max(sums):
        return None
    names = list(dict.fromkeys(r["part"] for r in rows))
    known = _OUTCOMES if chart.options.get("scale") == "outcomes" else {}
    palette = _GRADES if chart.options.get("scale") == "grades" else _COLOURS
    colours = {n: known.get(n, palette[i % len(palette)]) for i, n in enumerate(names)}
    scale, top = _Scale(0, max(sums), _LABEL, _WIDTH - 20), 56
    bottom = top + 26 * len(labels)
    parts = [*_axis_x(scale, top, bottom, chart.options.get("x"))]
    for i, name in enumerate(names):
        x, y = _LABEL + 90 * (i % 5), 28 + 14 * (i // 5)
        parts.append(f'<rect x="{x}" y="{y}" width="11" height="11" fill="{colours[name]}"/>')
        parts.append(_text(x + 16, y + 10, name, clip=12))
    for i, label in enumerate(labels):
        parts.append(_text(_LABEL - 10, top + 26 * i + 17, label, anchor="end"))
        parts += _stack([r for r in rows if r["label"] == label], scale, top + 26 * i + 3, colours)
    return parts, bottom + 42


def _stack(rows: Sequence[Mapping[str, Any]], scale: _Scale, y: float, colours: Mapping[str, str]) -> Iterator[str]:
    start = 0.0
    for row in rows:
        left, right = scale(start), scale(start + max(0.0, row["value"]))
        start += max(0.0, row["value"])
        yield f'<rect x="{left:.1f}" y="{y}" width="{right - left:.1f}" height="20" fill="{colours[row["part"]]}"/>'
        if right - left > 30:
            ink = "#ffffff" if _is_dark(colours[row["part"]]) else "#222222"
            yield _text((left + right) / 2, y + 14, f"{row['value']:.3g}", anchor="middle", fill=ink)


def _is_dark(colour: str) -> bool:
    """Whether white can be read on it better than black (relative luminance, WCAG 2)."""
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] < 0.179


def _checkpoints(chart: Chart) -> Drawn | None:
    """Small plots side by side, one a measure."""
    panels = chart.options.get("panels", ())
    parts: list[str] = []
    across, wide, high = 3, (_WIDTH - 20) / 3, 206 + _DEEP
    for i, panel in enumerate(panels):
        rows = [r for r in chart.rows if r["panel"] == panel["name"] and _is_number(r.get("y"))]
        left, top = 10 + wide * (i % across), 40 + high * (i // across)
        parts += _panel(panel, rows, left, top, wide, high)
    return (parts, 50 + high * math.ceil(len(panels) / across)) if parts else None


def _panel(
    panel: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], left: float, top: float, wide: float, high: float
) -> Iterator[str]:
    y = _scale([r.get(k) for r in rows for k in ("y", "low", "high")], None, top + high - 44 - _DEEP, top + 44)
    if y is None:
        return
    unit = f" ({panel['unit']})" if panel.get("unit") else ""
    for i, text in enumerate(_wrapped(f"{panel['name']}{unit}", 37, 2)):
        yield _text(left + 4, top + 12 + 14 * i, text, size=11)
    yield from _axis_y(y, left + 40, left + wide - 8, "")
    x = _Scale(0, max(1, len(rows) - 1), left + 58, left + wide - 26)
    chained = [(x(i), y(r["y"])) for i, r in enumerate(rows) if r.get("line")]
    if len(chained) >= _FEW:
        yield _path(chained, _COLOURS[0], 1.6, 0.7)
    for i, row in enumerate(rows):
        colour = _COLOURS[1] if row.get("level") else _COLOURS[0]
        if row.get("level"):
            ends = [(left + 44, y(row["y"])), (left + wide - 8, y(row["y"]))]
            yield _path(ends, colour, 1.2, 1.0, dashes="4 3")
        yield _point(x(i), y, row, colour)
    yield from _names_x(x, {row["x"]: i for i, row in enumerate(rows)}, top + high - 26 - _DEEP)


def _matrix(chart: Chart) -> Drawn | None:
    """Cells with their numbers written in."""
    rows = [r for r in chart.rows if _is_number(r.get("value"))]
    if not rows:
        return None
    names = list(chart.options.get("order") or dict.fromkeys(r["row"] for r in rows))
    columns = list(chart.options.get("order") or dict.fromkeys(r["column"] for r in rows))
    values = [float(r["value"]) for r in rows]
    least, most = min(values), max(values)
    side, left = min(90.0, (_WIDTH - 160) / len(columns)), 140
    slanted = any(_wide(name) > side for name in columns)
    top = 70 + _DEEP * slanted
    anchor = "start" if slanted else "middle"
    parts = [
        _text(left + side * (i + 0.5), top - 8, name, anchor=anchor, size=10, clip=_CUT, slanted=slanted)
        for i, name in enumerate(columns)
    ]
    parts += [_text(left - 8, top + 28 * (i + 0.65), name, anchor="end", clip=18) for i, name in enumerate(names)]
    axes = f"{chart.options.get('y', '')} \u2193  {chart.options.get('x', '')} \u2192"
    parts.append(_text(left, 42, axes, size=11))
    for row in (r for r in rows if r["row"] in names and r["column"] in columns):
        x, y = left + side * columns.index(row["column"]), top + 28 * names.index(row["row"])
        share = (row["value"] - least) / (most - least) if most > least else 0.5
        fill = f'fill="#0072b2" fill-opacity="{0.08 + 0.42 * share:.2f}"'
        parts.append(f'<rect x="{x:.1f}" y="{y}" width="{side - 2:.1f}" height="26" {fill}/>')
        if side >= _WRITTEN:
            parts.append(_text(x + side / 2, y + 17, row.get("text", f"{row['value']:.3g}"), anchor="middle", clip=14))
    return parts, top + 28 * len(names) + 20


KINDS: Final[Mapping[str, Callable[[Chart], Drawn | None]]] = {
    "dots": _dots,
    "lines": _lines,
    "bars": _bars,
    "checkpoints": _checkpoints,
    "matrix": _matrix,
}


# --- axes and marks


def _scale(values: Iterable[Any], chart: Chart | None, start: float, end: float) -> _Scale | None:
    """From the least to the greatest, with some room; what the chart says itself goes before it."""
    known = [float(v) for v in values if _is_number(v)]
    if not known:
        return None
    low, high = (chart.options.get("domain") if chart else None) or (min(known), max(known))
    room = 0.05 * (high - low) or max(abs(high), 1.0) / 10
    return _Scale(low - room, high + room, start, end)


def _axis_x(scale: _Scale, top: float, bottom: float, label: Any) -> Iterator[str]:
    for value, text in ticks(scale.low, scale.high):
        yield _line(scale(value), top, scale(value), bottom, "#dddddd", 1)
        yield _text(scale(value), bottom + 15, text, anchor="middle", size=11)
    if label:
        yield _text(scale.end, bottom + 32, label, anchor="end", size=11)


def _axis_y(scale: _Scale, left: float, right: float, label: Any) -> Iterator[str]:
    for value, text in ticks(scale.low, scale.high):
        yield _line(left, scale(value), right, scale(value), "#dddddd", 1)
        yield _text(left - 4, scale(value) + 4, text, anchor="end", size=10)
    if label:
        yield _text(left - 4, scale.end - 6, label, size=10, anchor="middle")


def _numbers_x(scale: _Scale, y: float, label: Any) -> Iterator[str]:
    for value, text in ticks(scale.low, scale.high):
        yield _text(scale(value), y, text, anchor="middle", size=11)
    if label:
        yield _text(scale.end, y + 18, label, anchor="end", size=11)


def _names_x(scale: _Scale, at: Mapping[Any, float], y: float) -> Iterator[str]:
    """Names below an axis: slanted where they would run into each other; of very many some, the last among them."""
    names = [str(name) for name in at]
    step = (scale.end - scale.start) / max(1, len(names) - 1)
    slanted = any(_wide(name) > step for name in names) and len(names) > 1
    every = math.ceil(_SLANTED / step) if slanted else 1
    for i, (name, place) in enumerate(zip(names, at.values(), strict=True)):
        if (len(names) - 1 - i) % every == 0:
            yield _text(
                scale(place), y, name, anchor="end" if slanted else "middle", size=10, clip=_CUT, slanted=slanted
            )


def _wide(name: str) -> float:
    """About how wide a name below an axis is set, in pixels."""
    return 5.6 * min(len(name), _CUT) + 4


def _point(x: float, y: _Scale, row: Mapping[str, Any], colour: str) -> str:
    mark = f'<circle cx="{x:.1f}" cy="{y(row["y"]):.1f}" r="3.5" fill="{colour}"/>'
    if _is_number(row.get("low")) and _is_number(row.get("high")):
        return _line(x, y(row["low"]), x, y(row["high"]), colour, 1.4) + mark
    return mark


def _path(points: Sequence[tuple[float, float]], colour: str, width: float, opacity: float, *, dashes: str = "") -> str:
    told = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    style = f'stroke="{colour}" stroke-width="{width}" stroke-opacity="{opacity}"'
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<polyline points="{told}" fill="none" {style}{dashed}/>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float) -> str:
    places = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {places} stroke="{colour}" stroke-width="{width}"/>'


def _text(
    x: float,
    y: float,
    text: Any,
    *,
    anchor: str = "start",
    size: int = 12,
    fill: str = "#222222",
    weight: str = "normal",
    clip: int = _CLIP,
    slanted: bool = False,
) -> str:
    told = str(text)
    shown = told if len(told) <= clip else f"{told[: clip - 1]}\u2026"
    style = f'text-anchor="{anchor}" font-size="{size}" fill="{fill}" font-weight="{weight}"'
    turned = f' transform="rotate(-40 {x:.1f} {y:.1f})"' if slanted else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}{turned}>{_escaped(shown)}</text>'


def _escaped(text: str) -> str:
    return str(escape(wording.visible(" ".join(text.split()))))


def _colours(series: Iterable[Any]) -> dict[Any, str]:
    return {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(dict.fromkeys(series))}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and abs(value) < 1e15
