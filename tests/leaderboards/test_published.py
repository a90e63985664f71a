"""Published rows: what the paper says."""

from __future__ import annotations

import pytest

from leaderboards.metrics import BUILT_IN
from leaderboards.published import paper_rows


def value(benchmark: str, model: str, metric: str) -> float:
    (row,) = (r for r in paper_rows(benchmark) if r.model == model and "human" not in r.source)
    return row.metrics[metric]


def test_the_papers_figures() -> None:
    assert [value("alpaca-eval", m, "win_rate") for m in ("M1", "M2", "M3")] == [9.94, 15.38, 20.44]
    assert [value("mt-bench", m, "grade") for m in ("SFT Baseline", "M1", "M2", "M3")] == [6.85, 6.78, 7.01, 7.25]
    assert value("nlp", "M1", "gsm8k") == pytest.approx(0.6027)
    assert value("judge-accuracy", "M3", "pairwise_accuracy") == pytest.approx(0.817)
    assert value("head-to-head", "M3 vs M1", "win") == pytest.approx(0.688)


def test_mt_benchs_overall_grade_is_the_mean_of_its_categories() -> None:
    for row in paper_rows("mt-bench"):
        categories = [v for name, v in row.metrics.items() if "/" in name]
        assert len(categories) == 8
        assert row.metrics["grade"] == pytest.approx(sum(categories) / 8, abs=0.011)


def test_head_to_head_shares_add_up_to_one() -> None:
    for row in paper_rows("head-to-head"):
        assert sum(row.metrics.values()) == pytest.approx(1, abs=0.0015)


def test_every_row_says_where_it_is_from() -> None:
    rows = paper_rows()
    assert len({(r.benchmark, r.model, r.source) for r in rows}) == len(rows)
    assert all("2401.10020" in r.source and r.conditions for r in rows)


def test_names_are_those_of_our_metrics() -> None:
    keys = {"alpaca-eval": "alpaca-eval@1", "mt-bench": "mt-bench@1", "nlp": "nlp@1"}
    keys["judge-accuracy"] = "judge-accuracy-oasst@1"
    for benchmark, key in keys.items():
        names = {n for r in paper_rows(benchmark) for n in r.metrics if "/" not in n}
        assert names <= BUILT_IN[key].metrics.keys()
