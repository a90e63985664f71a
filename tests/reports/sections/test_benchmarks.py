"""Benchmarks on the page: those of others as their results describe them, IFEval in a section of its own."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from leaderboards import descriptions, standings
from leaderboards.standings import MetricDifference
from reports import html
from reports.exports.model_card import updated
from reports.exports.tables import render
from reports.facts import collect
from reports.sections import benchmarks, ifeval
from selfreward_bench.types import Description, EvalResult, Metric, MetricInfo

from ..conftest import RunBuilder

HOSTILE = "=1+1|<script>alert(1)</script> \x1b[2J\u202e\n# y"


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    descriptions._learned.clear()
    descriptions.info.cache_clear()


@pytest.fixture
def run(tmp_path: Path) -> RunBuilder:
    return RunBuilder(tmp_path / "run")


def fall(benchmark: str, metric: str) -> MetricDifference:
    """M2 is lower than M1 for sure."""
    return MetricDifference(
        benchmark=benchmark,
        metric=metric,
        a="M2",
        b="M1",
        value=-0.2,
        low=-0.3,
        high=-0.1,
        p_value=0.01,
        n=9,
        n_total=9,
    )


def described(run: RunBuilder, description: Description | None) -> list[EvalResult]:
    """A result of M1 and of M2 that says so of itself."""
    found = []
    for model in ("M1", "M2"):
        record = EvalResult(
            checkpoint=model,
            fingerprint=f"f-{model}",
            benchmark="mine@1",
            description=description,
            judge=None,
            metrics={
                name: Metric(value=0.5, low=0.4, high=0.6, n_scored=9, n_total=9) for name in ("odd", "err", "ok")
            },
            config_hash="c",
            versions={},
            seconds=1,
        )
        standings.write_record(run.path / model / "eval" / "mine@1" / "result.json", record)
        found.append(record)
    run.standings([fall("mine@1", "err"), fall("mine@1", "ok"), fall("mine@1", "odd")])
    return found


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def tones(page: str) -> dict[str, str]:
    """Row's label -> whether its fall is for the better."""
    rows = re.findall(r'<th scope="row">(?:<a [^>]*>)?([^<]+)(?:</a>)?</th>(.*?)</tr>', page, re.DOTALL)
    found = {label: re.search(r"change diff (\w+)", cells) for label, cells in rows}
    return {label: match[1] for label, match in found.items() if match}


def test_a_benchmark_of_others_stands_under_its_own_words(run: RunBuilder) -> None:
    metrics = {
        "ok": MetricInfo(label="Right answers", unit="share"),
        "err": MetricInfo(label="Mistakes", unit="count", better=-1),
    }
    described(run, Description(title="My benchmark", metrics=metrics, paired=("ok", "err")))
    made = benchmarks.build([collect(run.path)])
    assert made is not None
    assert list(tones(made.body)) == ["Right answers", "Mistakes", "odd"]
    assert tones(made.body) == {"Right answers": "worse", "Mistakes": "better", "odd": "neutral"}
    assert "50.0 % [40.0, 60.0]" in text_of(made.body)
    assert "My benchmark" in text_of(html.render([collect(run.path)]))


def test_without_a_description_nothing_is_said_to_be_better(run: RunBuilder) -> None:
    described(run, None)
    made = benchmarks.build([collect(run.path)])
    assert made is not None
    assert set(tones(made.body).values()) == {"neutral"}
    assert list(tones(made.body)) == ["odd", "err", "ok"]


def test_no_text_of_a_description_acts_on_anything(run: RunBuilder) -> None:
    metrics = {"ok": MetricInfo(label=HOSTILE, unit="share"), "odd/" + HOSTILE: MetricInfo(label="x", unit="share")}
    results = described(run, Description(title=HOSTILE, metrics=metrics))
    facts = [collect(run.path)]
    page = html.render(facts)
    assert "<script>alert" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "[U+202E]" in page
    for format in ("markdown", "latex", "json"):
        made = render(facts, format)
        assert not {"\x1b", "\u202e"} & set(made), format
    for line in render(facts, "markdown").splitlines():
        assert not line.startswith("# y")
    assert all(not cell.startswith(("=", "+")) for row in csv.reader(io.StringIO(render(facts, "csv"))) for cell in row)
    card = updated("", results[:1])
    assert "<script>" not in card.partition("## Evaluation")[2]


def test_ifeval_has_a_section_with_its_kinds_of_instruction(run: RunBuilder) -> None:
    for model in ("M1", "M2"):
        metrics = {"inst_level_strict_acc/length_constraints": 0.25, "inst_level_strict_acc/keywords": 0.75}
        shares = {"prompt_level_strict_acc": 0.5, "inst_level_strict_acc": 0.6, "truncated": 0.1}
        run.result(model, "ifeval@1", metrics={**shares, **metrics})
    run.standings([fall("ifeval@1", "prompt_level_strict_acc"), fall("ifeval@1", "truncated")])
    facts = collect(run.path)
    made = ifeval.build([facts])
    assert made is not None
    assert benchmarks.build([facts]) is None
    assert tones(made.body) == {
        "Prompts followed, strict": "worse",
        "Truncated answers (scored as they stand)": "better",
    }
    assert "Instructions followed, strict, by kind" in made.body
    assert "length constraints" in made.body
    assert len(made.charts) == 2


def test_what_is_to_be_known_of_the_numbers_stands_above_them(run: RunBuilder) -> None:
    records = [r.model_copy(update={"notes": (f"average: the mean of a, b {HOSTILE}",)}) for r in described(run, None)]
    for record in records:
        standings.write_record(run.path / record.checkpoint / "eval" / "mine@1" / standings.RESULT, record)
    made = benchmarks.build([collect(run.path)])
    assert made is not None
    assert text_of(made.body).count("M1 and M2: average: the mean of a, b") == 1
    assert "<script>" not in made.body


def test_what_numbers_were_made_with_is_told_in_words(run: RunBuilder) -> None:
    run.result("M1", "ifeval@1", conditions={"parameters": "c8" * 16, "judge": "j"}, prompt_level_strict_acc=0.5)
    path = run.path / "M1" / "eval" / "ifeval@1" / "result.json"
    said = {"eval.limit": "none", "answering.temperature": "0.7", "data": "ab" * 16}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"settings": said}))
    section = ifeval.build([collect(run.path)])
    assert section is not None
    assert "eval.limit=none; answering.temperature=0.7" in section.body
    assert "c8" * 16 not in section.body
