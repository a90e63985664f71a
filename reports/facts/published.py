"""The paper's own numbers, to be set BESIDE measured ones: another base model, another judge, other prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from reports import wording
from reports.facts.tables import Grid

if TYPE_CHECKING:
    from leaderboards.published import PublishedRow

__all__ = ["BESIDE", "NOTE", "grids", "line", "match_line"]

#: the paper's name of a model -> ours
BESIDE: Final = {"SFT Baseline": "SFT", "M1": "M1", "M2": "M2", "M3": "M3"}
NOTE: Final = (
    "Published, not measured here: Llama 2 70B, other prompts and another judge. A point of orientation; comparable "
    "with no number of this run."
)


def grids(benchmark: str) -> list[Grid]:
    """What was published on a benchmark, a table per source."""
    by_source: dict[str, list[PublishedRow]] = {}
    for row in _rows(benchmark):
        by_source.setdefault(row.source, []).append(row)
    return [_grid(benchmark, source, rows) for source, rows in by_source.items()]


def _grid(benchmark: str, source: str, rows: Sequence[PublishedRow]) -> Grid:
    family = wording.family(benchmark)
    metrics = list(dict.fromkeys(name for r in rows for name in r.metrics))
    shown = {
        m: wording.info(f"{family}@1" if family != "judge-accuracy" else "judge-accuracy-oasst@1", m) for m in metrics
    }
    return Grid(
        f"Published: {source}",
        ("Model", *(shown[m].label for m in metrics)),
        tuple((r.model, *(wording.number(r.metrics.get(m), shown[m].unit) for m in metrics)) for r in rows),
        f"{NOTE} Made with: {rows[0].conditions}.",
    )


def line(benchmark: str, metric: str) -> str:
    """``SFT 6.85 → M1 6.78 → M2 7.01 → M3 7.25``; empty where nothing was published."""
    unit = wording.info(benchmark, metric).unit
    values = {r.model: r.metrics[metric] for r in _rows(benchmark) if r.model in BESIDE and metric in r.metrics}
    return " → ".join(f"{BESIDE[m]} {wording.number(v, unit).removesuffix(' %')}" for m, v in values.items())


def match_line(against: str) -> str:
    """``M1 31/39/31, M2 ...``: what the paper's GPT-4 said against a model, win / tie / loss in per cent."""
    found = [r for r in _rows("head-to-head") if r.source.endswith("GPT-4") and " vs " in r.model]
    told = []
    for row in found:
        a, b = (BESIDE.get(name, name) for name in row.model.split(" vs "))
        if b == against:
            shares = "/".join(f"{100 * row.metrics[k]:.0f}" for k in ("win", "tie", "loss"))
            told.append(f"{a} {shares}")
    return f"{', '.join(told)} (win/tie/loss)" if told else ""


def _rows(benchmark: str) -> list[PublishedRow]:
    from leaderboards.published import paper_rows

    return paper_rows(wording.family(benchmark))
