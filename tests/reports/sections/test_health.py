"""The section on health: warnings first, numbers with what they rest on, and a word where the file is out of date."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest

from leaderboards.health.records import HEALTH, Health, Reading, Warned
from leaderboards.health.thresholds import THRESHOLDS
from leaderboards.standings import write_record
from reports.facts.reading import collect
from reports.page.section import Section
from reports.sections import health

QUALITY = "micro-quality@1"


def reading(measure: str, model: str, value: float | None, **more: Any) -> Reading:
    return Reading(
        **({"measure": measure, "model": model, "source": QUALITY, "value": value, "n": 10, "n_total": 10} | more)
    )


def warned(measure: str, model: str, **more: Any) -> Warned:
    texts = {"text": "It grew.", "why": "Why."}
    base = {"measure": measure, "model": model, "source": QUALITY, "value": 2.0, "limit": 1.5}
    return Warned.model_validate({**base, **texts, **more})


def section_of(run: Any) -> Section:
    found = health.build([collect(run.path)])
    assert found is not None
    return found


def text_of(section: Section) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", str(section.body))).split())


@pytest.fixture
def measured(builder: Any) -> Any:
    """M1 and M2 evaluated, and their health."""
    for model in ("M1", "M2"):
        builder.result(model, quality_sampled=3.0)

    def write(*readings: Reading, **more: Any) -> Any:
        base = {"fingerprints": {"M1": "f-M1", "M2": "f-M2"}, "answers_from": QUALITY}
        write_record(builder.path / HEALTH, Health(readings=readings, **(base | more)))
        return builder

    return write


def test_a_measure_is_a_row_with_a_picture_and_what_it_rests_on(measured: Any) -> None:
    run = measured(
        reading("chars", "M1", 30.0),
        reading("chars", "M2", 60.0, n=9),
        reading("self_agreement", "M1", None, source="judge-accuracy-oasst@1", reason="judged once"),
        reading("self_agreement", "M2", 0.5, source="judge-accuracy-oasst@1", low=0.25, high=0.75),
    )
    section = section_of(run)
    text = text_of(section)
    assert "Answer length Mean number of characters of an answer. 30.0 60.0 9 of 10 at most 1.5 times M1's" in text
    assert "Agrees with itself Equal grades among repeated judgments of an answer. (judge-accuracy-oasst@1) —" in text
    assert "judged once 50.0 % [25.0, 75.0]" in text
    (spark,) = section.charts.values()
    assert [(r["x"], r["value"]) for r in spark.rows] == [("M1", 30.0), ("M2", 60.0)]
    assert set(re.findall(r'data-chart="([^"]+)"', section.body)) == set(section.charts)


def test_measures_of_iterations_have_their_own_table(measured: Any) -> None:
    run = measured(reading("pairs_per_prompt", "M2", 0.25, source="M2/pairs.stage.json"), reading("chars", "M1", 3.0))
    text = text_of(section_of(run))
    assert "Usable pairs per prompt Pairs to train on, per new prompt. 25.0 % at least 30 %" in text
    assert text.index("Of each checkpoint") < text.index("Of what each iteration was trained on")


def test_warnings_stand_on_top_with_their_reason(measured: Any) -> None:
    run = measured(
        reading("chars", "M2", 60.0),
        warnings=(warned("chars", "M2", text="It grew a lot."), warned("chars", "M3", text="And more.")),
    )
    section = section_of(run)
    text = text_of(section)
    assert "Warning Answer length It grew a lot. And more. Why." in text
    assert text.index("It grew a lot.") < text.index("Of each checkpoint")
    assert text.count("crosses the limit") == 1
    assert "No warning" not in text


def test_without_warnings_it_says_so_and_what_nobody_looked_at(measured: Any) -> None:
    text = text_of(section_of(measured(reading("chars", "M1", 60.0))))
    assert "No warning No measure crosses its threshold." in text
    unwatched = text.partition("no number in this run:")[2].partition("Of each")[0]
    assert "Usable pairs per prompt" in unwatched
    assert "Answer length" not in unwatched.split("AlpacaEval")[0]


def test_thresholds_are_told_with_their_reasons(measured: Any) -> None:
    text = text_of(section_of(measured()))
    for threshold in THRESHOLDS:
        assert threshold.why.partition(" ")[0] in text
    assert "at most 10 points above the first checkpoint's" in text
    assert "at most 0.5 either way" in text
    assert "at least 70 %" in text


def test_a_file_that_is_older_than_the_results_is_flagged(measured: Any) -> None:
    run = measured(reading("chars", "M1", 60.0), fingerprints={"M1": "f-M1", "M2": "before"})
    assert "Health was measured before M2 was evaluated" in text_of(section_of(run))
    run = measured(reading("chars", "M1", 60.0))
    assert "was measured before" not in text_of(section_of(run))


def test_without_a_file_it_says_how_to_get_one(builder: Any) -> None:
    assert health.build([collect(builder.path)]) is None
    builder.result("M1", quality_sampled=3.0)
    assert "Health was not measured (`srbench eval` does it)." in text_of(section_of(builder))


def test_measures_of_other_versions_are_left_out(measured: Any) -> None:
    text = text_of(
        section_of(measured(reading("from the future", "M1", 1.0), warnings=(warned("from the future", "M1"),)))
    )
    assert "Warning from the future" in text


@pytest.mark.parametrize(
    "payload",
    ["<script>alert(1)</script>", '" onmouseover="x', "</table><img src=x onerror=x>", "{{ 7 * 191 }}", "a\u202eb"],
)
def test_hostile_texts_are_text(measured: Any, payload: str) -> None:
    run = measured(
        reading("chars", "M1", 1.0, source=payload),
        reading("chars", "M2", None, source=payload, reason=payload),
        answers_from=payload,
        notes=(payload,),
        warnings=(warned(payload, payload, text=payload, why=payload),),
    )
    body = str(section_of(run).body)
    assert "<script" not in body
    assert "<img" not in body
    assert 'onmouseover="' not in body
    assert "1337" not in body
    assert "\u202e" not in body
