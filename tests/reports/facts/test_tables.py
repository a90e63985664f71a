"""Tables: the order of benchmarks, what is a headline, and what another model is to this one."""

from __future__ import annotations

from typing import Any

from leaderboards.descriptions import described
from reports.facts import collect, glossary, published, tables

from ..conftest import JUDGING, QUALITY


def test_benchmarks_come_in_the_pages_order_and_unknown_ones_last(full: Any) -> None:
    found = tables.benchmarks([collect(full.path)])
    assert found[0] == "micro-quality@1"
    assert found[-1] == "new-benchmark@7"
    assert found.index("alpaca-eval@1") < found.index("mt-bench@1") < found.index("nlp@1")
    assert tables.benchmarks([collect(full.path)], "nlp") == ["nlp@1", "micro-nlp@1"]


def test_an_unknown_benchmark_is_shown_by_its_first_metric(full: Any) -> None:
    facts = collect(full.path)
    assert tables.headline_metrics(facts, "new-benchmark@7") == ["score"]
    assert tables.breakdowns(facts, "new-benchmark@7") == {"score": ["score/easy"]}
    (row,) = tables.result_table(facts, "new-benchmark@7").rows
    assert [c.value for c in row.cells] == ["1.50"] * 5


def test_a_difference_knows_what_the_other_model_is(full: Any) -> None:
    table = tables.result_table(collect(full.path), "mt-bench@1", ["grade"])
    last = table.rows[0].cells[-1]
    assert {c.against: c.roles for c in last.changes} == {
        "M2": ("previous",),
        "M1": ("first",),
        "SFT": ("baseline",),
        "M0": ("base",),
    }
    (after,) = table.rows[0].cells[2].changes
    assert (after.against, after.roles) == ("SFT", ("baseline",))  # M1 comes from M0, not from SFT
    assert after.paired == "500 of 512"


def test_parts_are_no_rows_of_the_main_table(full: Any) -> None:
    labels = [r.metric for r in tables.result_table(collect(full.path), "nlp@1").rows]
    assert labels == ["average", "gsm8k", "mmlu", "gsm8k/no_answer"]  # the last has a name of its own


def test_published_numbers_are_labelled_and_have_our_units() -> None:
    assert published.line("micro-mt-bench@1", "grade") == "SFT 6.85 → M1 6.78 → M2 7.01 → M3 7.25"
    assert published.line("judge-accuracy-oasst@1", "pairwise_accuracy").startswith("SFT 65.1 → M1 78.7")
    assert published.line("micro-quality@1", "quality_sampled") == ""
    assert published.match_line("M1").startswith("M2 56/33/12")
    grids = published.grids("alpaca-eval@1")
    assert grids[0].title.startswith("Published: Yuan et al. 2024")
    assert "comparable with no number of this run" in grids[0].note
    assert grids[0].rows[0] == ("M1", "9.9 %")


def test_without_ties_one_number_stands_for_all_three_ways(builder: Any) -> None:
    judged = {"pairwise_accuracy": 0.7, "pairwise_accuracy_ties_wrong": 0.7, "pairwise_accuracy_ties_dropped": 0.7}
    for model, rate in (("M1", 0.0), ("M2", 0.0)):
        builder.result(model, JUDGING, metrics={**judged, "tie_rate": rate})
    shown = [row.metric for row in tables.result_table(collect(builder.path), JUDGING).rows]
    assert shown == ["pairwise_accuracy", "tie_rate"]
    builder.result("M2", JUDGING, metrics={**judged, "tie_rate": 0.1})
    assert len(tables.result_table(collect(builder.path), JUDGING).rows) == 4


def test_every_term_is_explained_and_every_main_metric_has_one() -> None:
    for key in (QUALITY, JUDGING, "alpaca-eval@1", "mt-bench@1", "nlp@1", "ifeval@1"):
        shown = tables.headlines(key, list(described(key).metrics))
        assert shown
        for metric in shown:
            assert glossary.definition(glossary.term_of(key, metric)).endswith("."), metric
