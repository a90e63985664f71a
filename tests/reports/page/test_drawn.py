"""Charts as SVG: whole documents in which every number has its place, and no text is markup."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from reports.page import drawn
from reports.page.section import Chart

HOSTILE = "</text><script>alert(1)</script>&\"'<image href='http://x.test'/>\x00\x1b[31m\u202e" + "w" * 900
SVG = "{http://www.w3.org/2000/svg}"


def tree(chart: Chart) -> ET.Element:
    text = drawn.svg(chart)
    assert text is not None
    found = ET.fromstring(text)  # noqa: S314 - made a moment ago
    assert {e.tag.removeprefix(SVG) for e in found.iter()} <= {
        *("svg", "title", "rect", "text", "line", "circle", "polyline", "polygon")
    }
    return found


def texts(chart: Chart) -> list[str]:
    return [e.text or "" for e in tree(chart).iter(f"{SVG}text")]


def dot(label: str, series: str, value: float, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    return {"label": label, "series": series, "value": value, "low": low, "high": high}


DOTS = Chart("dots", "T", [dot("a", "M1", 1, 0, 2), dot("a", "M2", 3, 2, 4)], {"x": "points", "zero": 0})
LINES = Chart(
    "lines", "T", [{"x": i, "y": float(i * i), "series": "loss"} for i in range(30)], {"x": "step", "smooth": 5}
)
NAMED = Chart(
    "lines", "T", [{"x": m, "y": 3.0 + i, "low": 2.0, "high": 5.0, "series": "s"} for i, m in enumerate(("M1", "M2"))]
)
BARS = Chart(
    "bars",
    "T",
    [{"label": "a", "part": p, "value": v} for p, v in (("win", 60), ("tie", 30), ("loss", 10))],
    {"scale": "outcomes", "x": "per cent"},
)
PANELS = Chart(
    "checkpoints",
    "T",
    [
        {"panel": "P", "x": m, "y": y, "low": y - 1, "high": y + 1, "line": m != "SFT", "level": m == "SFT"}
        for m, y in (("M0", 1.0), ("SFT", 2.0), ("M1", 3.0))
    ],
    {"panels": [{"name": "P", "unit": "points", "below": False}]},
)
MATRIX = Chart("matrix", "T", [{"row": "a", "column": "b", "value": 50.0, "text": "50 ▲"}], {"order": ["a", "b"]})
ALL = (DOTS, LINES, NAMED, BARS, PANELS, MATRIX)


@pytest.mark.parametrize("chart", ALL, ids=lambda c: c.kind)
def test_every_kind_is_a_document_with_its_title(chart: Chart) -> None:
    assert tree(chart).findtext(f"{SVG}title") == "T"


def test_values_stand_in_their_order_with_their_intervals() -> None:
    circles = [float(e.attrib["cx"]) for e in tree(DOTS).iter(f"{SVG}circle")]
    assert circles[0] < circles[1]
    whiskers = [e.attrib for e in tree(DOTS).iter(f"{SVG}line") if e.attrib["stroke-width"] == "1.6"]
    assert [float(w["x1"]) < x < float(w["x2"]) for w, x in zip(whiskers, circles, strict=True)] == [True, True]


def test_shares_fill_the_bar() -> None:
    fills = {
        e.attrib["fill"]: float(e.attrib["width"]) for e in tree(BARS).iter(f"{SVG}rect") if e.get("height") == "20"
    }
    assert fills["#4f9f72"] == pytest.approx(2 * fills["#c9cdd4"], rel=0.01)
    assert {"60", "30", "10"} <= set(texts(BARS))


def test_the_baseline_is_no_step_of_the_chain() -> None:
    lines = [e.attrib for e in tree(PANELS).iter(f"{SVG}polyline")]
    chain = next(x for x in lines if "stroke-dasharray" not in x)
    assert len(chain["points"].split()) == 2
    assert sum("stroke-dasharray" in x for x in lines) == 1


def test_a_running_mean_is_drawn_over_the_points() -> None:
    assert len(list(tree(LINES).iter(f"{SVG}polyline"))) == 2
    assert len(list(tree(NAMED).iter(f"{SVG}polygon"))) == 1


@pytest.mark.parametrize("chart", ALL, ids=lambda c: c.kind)
def test_text_is_never_markup(chart: Chart) -> None:
    def poisoned(value: Any) -> Any:
        if isinstance(value, str):
            return HOSTILE[:30] + value + HOSTILE
        if isinstance(value, dict):
            return {k: poisoned(v) for k, v in value.items() if k != "scale"}
        return [poisoned(v) for v in value] if isinstance(value, list) else value

    hostile = Chart(chart.kind, HOSTILE, [poisoned(r) for r in chart.rows], poisoned(dict(chart.options)))
    text = drawn.svg(hostile) or ""
    tree(hostile)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\u202e]", text)
    assert "<image" not in text


@pytest.mark.parametrize("value", [math.nan, math.inf, None, 1e300, True])
def test_what_is_no_number_is_not_drawn(value: Any) -> None:
    for chart in ALL:
        key = "y" if "y" in chart.rows[0] else "value"
        assert drawn.svg(Chart(chart.kind, "T", [{**r, key: value} for r in chart.rows], chart.options)) is None or (
            chart.kind == "checkpoints"
        )


def test_equal_values_have_an_axis_too() -> None:
    assert len(list(tree(Chart("dots", "T", [dot("a", "", 2.0)])).iter(f"{SVG}circle"))) == 1


def test_other_kinds_are_none() -> None:
    assert drawn.svg(Chart("spark", "T", [{"x": "M1", "value": 1.0}])) is None
    assert drawn.svg(Chart("dots", "T", [])) is None


def test_names_that_would_run_into_each_other_are_slanted_and_of_many_some_are_left_out() -> None:
    names = [f"ckpt-{i}" for i in range(1, 31)]
    rows = [{"panel": "P", "x": n, "y": float(i), "low": i - 1, "high": i + 1} for i, n in enumerate(names)]
    found = tree(Chart("checkpoints", "T", rows, {"panels": [{"name": "P", "unit": "", "below": False}]}))
    shown = [t for t in found.iter(f"{SVG}text") if t.text in names]
    places = [float(t.get("x", "")) for t in shown]
    assert all("rotate" in t.get("transform", "") for t in shown)
    assert shown[-1].text == "ckpt-30"
    assert min(b - a for a, b in pairwise(places)) >= 13
    assert not any(t.get("transform") for t in tree(PANELS).iter(f"{SVG}text"))


def test_a_matrix_of_many_has_no_numbers_that_run_into_each_other() -> None:
    names = [f"m{i}" for i in range(30)]
    rows = [{"row": a, "column": b, "value": 50.0, "text": "50.0"} for a in names for b in names if a != b]
    assert "50.0" not in texts(Chart("matrix", "T", rows, {"order": names}))
