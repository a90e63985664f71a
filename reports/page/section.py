"""A section of the page: its HTML, the charts in it, and the bulky data that the page unpacks on demand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from markupsafe import Markup

from reports.facts.run import RunFacts

__all__ = ["Builder", "Chart", "Section"]


@dataclass(frozen=True)
class Chart:
    """A chart, drawn by the page's charting library. The HTML beside it has the same numbers as a table.

    Attributes:
        kind: ``checkpoints`` (small plots side by side, one a measure, with checkpoints on x), ``dots`` (values with
            intervals, one row each), ``lines`` (curves over steps or iterations), ``bars`` (stacked shares),
            ``matrix`` (a heat map with its numbers written in), ``histogram``, ``spark`` (one row of dots with
            intervals, small enough for a table's cell).
        title: what is seen, for the eye and for a screen reader.
        rows: the data, one mapping each. checkpoints: ``panel``, ``x``, ``y``, ``low``, ``high``, ``line`` (whether a
            line goes through it), ``level`` (drawn as a line across: a baseline); dots: ``label``, ``value``, ``low``,
            ``high``, ``series``; lines: ``x``, ``y``, ``series`` (``low``, ``high`` where known; ``apart``: no line
            goes through it); bars: ``label``, ``part``, ``value``; matrix: ``row``, ``column``, ``value``, ``text``;
            histogram: ``label``, ``value``, ``series``; spark: ``x``, ``value``, ``low``, ``high``, ``line`` (whether
            the line goes through it).
        options: ``x``, ``y`` (axis labels), ``unit``, ``zero`` (draw a line there), ``domain`` (two numbers),
            ``panels`` (checkpoints: name, unit and whether it stands below), ``smooth`` (lines: points of a running
            mean that is drawn over them).
    """

    kind: Literal["checkpoints", "dots", "lines", "bars", "matrix", "histogram", "spark"]
    title: str
    rows: Sequence[Mapping[str, Any]]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """One section.

    Attributes:
        id: anchor in the page, such as ``alpaca-eval``.
        body: finished HTML. ``<figure data-chart="ID">`` is where a chart goes.
        charts: id -> chart; ids are unique in the page (begin them with the section's id).
        blobs: id -> JSON bytes; embedded compressed, unpacked when asked for.
    """

    id: str
    title: str
    body: Markup
    charts: Mapping[str, Chart] = field(default_factory=dict)
    blobs: Mapping[str, bytes] = field(default_factory=dict)


class Builder(Protocol):
    """What a module of ``reports.sections`` offers as ``build``; None where the runs have nothing for it."""

    def __call__(self, runs: Sequence[RunFacts]) -> Section | None: ...
