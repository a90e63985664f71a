"""Several runs: seeds become mean and spread, methods stand side by side, unlike conditions are named."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from leaderboards.comparing import Contrast, OverSeeds, Together
from reports.facts import grouping, questions, several
from reports.facts.reading import collect
from reports.facts.run import RunFacts
from reports.facts.tables import Cell, Change, Grid

from ..conftest import RunBuilder


def run(path: Path, quality: float, **settings: object) -> RunFacts:
    """M1 and M3 evaluated, M3 with this quality."""
    found = RunBuilder(path)
    found.result("M1", quality_sampled=3.0)
    found.result("M3", quality_sampled=quality)
    file = path / "srbench.yaml"
    for key, value in settings.items():
        file.write_text(re.sub(rf"^(  ){key}: .*$", rf"\g<1>{key}: {value}", file.read_text(), flags=re.M))
    return collect(path)


@pytest.fixture
def runs(tmp_path: Path) -> list[RunFacts]:
    seeds = [run(tmp_path / f"s{k}", 3.0 + k, seed=k) for k in range(3)]
    return [*seeds, run(tmp_path / "oracle", 4.5, rewards="oracle")]


def rows(grid: Grid) -> dict[str, list[str]]:
    told = {}
    for first, *cells in grid.rows:
        shown = (f"{c.value} {c.spread} {c.interval}" if isinstance(c, Cell | Change) else str(c) for c in cells)
        told[str(first)] = [" ".join(text.split()) for text in shown]
    return told


def test_seeds_are_one_group_and_another_method_is_another(runs: list[RunFacts]) -> None:
    groups = grouping.group(runs)
    assert [(g.label, len(g.runs)) for g in groups] == [("s*", 3), ("oracle", 1)]
    (grid,) = several.compared(groups)
    found = rows(grid)
    assert grid.columns == ("Method", "Runs", "M1", "M3", "M3 \u2212 M1")
    assert found["s*"] == ["3 seeds", "3.00 \u00b1 0.00", "4.00 \u00b1 1.00", "\u2014"]
    assert found["oracle"] == ["1 run", "3.00 [2.90, 3.10]", "4.50 [4.40, 4.60]", "\u2014"]
    assert several.unlike(groups) == []


def test_seeds_alone_are_named_so(runs: list[RunFacts]) -> None:
    (found,) = grouping.group(runs[:3])
    assert found.label == "run"


def test_the_same_seed_twice_is_no_spread(runs: list[RunFacts]) -> None:
    assert [len(g.runs) for g in grouping.group([runs[0], runs[0]])] == [1, 1]


def test_runs_without_settings_stand_alone(tmp_path: Path) -> None:
    for name in ("a", "b"):
        RunBuilder(tmp_path / name).result("M1", quality_sampled=3.0)
        (tmp_path / name / "srbench.yaml").unlink()
    groups = grouping.group([collect(tmp_path / "a"), collect(tmp_path / "b")])
    assert [g.label for g in groups] == ["a", "b"]


def test_a_seed_without_a_result_is_counted(tmp_path: Path, runs: list[RunFacts]) -> None:
    lacking = runs[1].model_copy(update={"models": runs[1].models[:1]})
    (found,) = several.compared(grouping.group([runs[0], lacking, runs[2]]))
    cell = found.rows[0][3]
    assert isinstance(cell, Cell)
    assert (cell.value, cell.scored) == ("4.00", "2 of 3 runs")


def test_paired_differences_over_seeds_are_averaged(whole: Any) -> None:
    first = collect(whole.path)
    settings = {**first.settings, "seed": "1"}
    found = several.compared(grouping.group([first, first.model_copy(update={"settings": settings})]))
    gain = next(g for g in found if g.title.endswith("True quality, sampled")).rows[0][-1]
    assert isinstance(gain, Cell)
    assert (gain.value, gain.interval) == ("+0.60", "\u00b1 0.00")


def test_unlike_conditions_and_settings_of_evaluation_are_named(tmp_path: Path) -> None:
    found = []
    for k, (judge, samples) in enumerate((("a", 2), ("b", 4))):
        builder = RunBuilder(tmp_path / f"r{k}")
        builder.result("M1", "alpaca-eval@1", metrics={"win_rate": 40.0}, conditions={"judge": judge})
        file = builder.path / "srbench.yaml"
        head, section, tail = file.read_text().partition("  eval:\n")
        file.write_text(head + section + tail.replace("samples: 2", f"samples: {samples}"))
        found.append(collect(builder.path))
    groups = grouping.group(found)
    assert several.unlike(groups) == ["AlpacaEval: judge: a (r0), b (r1)", "setting eval.samples: 2 (r0), 4 (r1)"]
    assert [g.title for g in several.compared(groups)] == ["AlpacaEval: Win rate \u2260"]


def test_answers_are_counted_over_seeds_and_told_of_a_single_run(whole: Any, tmp_path: Path) -> None:
    first = collect(whole.path)
    seeds = [first.model_copy(update={"settings": {**first.settings, "seed": str(k)}}) for k in range(2)]
    unanswered = seeds[1].model_copy(update={"standings": None})
    control = first.model_copy(update={"settings": {**first.settings, "rewards": "oracle"}})
    grid = several.answered(grouping.group([seeds[0], unanswered, control]))
    assert grid.columns == ("Question", *(g.label for g in grouping.group([seeds[0], unanswered, control])))
    found = rows(grid)
    word = {s.question: s.word for s in questions.answers(first)}
    judging = "Does the model become a better judge?"
    assert found[judging] == [f"{word[judging]} in 1; Unknown in 1", word[judging]]
    assert list(found) == list(word)


def test_regressions_are_counted_as_one_answer_whatever_their_number(
    monkeypatch: pytest.MonkeyPatch, whole: Any
) -> None:
    words = iter(("1 regression", "4 regressions", "No regression shown"))
    monkeypatch.setattr(questions, "answers", lambda facts: [questions.Sentence("Limits?", next(words), "", "worse")])
    first = collect(whole.path)
    seeds = [first.model_copy(update={"settings": {**first.settings, "seed": str(k)}}) for k in range(3)]
    grid = several.answered(grouping.group(seeds))
    assert rows(grid) == {"Limits?": ["Regressions in 2; No regression shown in 1"]}


def test_curves_have_a_point_per_group_and_model(runs: list[RunFacts]) -> None:
    ((title, chart),) = several.charts(grouping.group(runs))
    assert title == "Answer quality (micro-world): True quality, sampled"
    assert chart.options == {"y": "points"}
    last = [r for r in chart.rows if r["x"] == "M3"]
    assert [(r["series"], r["y"], r["low"], r["high"]) for r in last] == [
        ("s*", 4.0, 3.0, 5.0),
        ("oracle", 4.5, 4.4, 4.6),
    ]


# --- put together


QUALITY = "micro-quality@1"


def over(model: str, against: str = "", value: float = 4.0, low: float | None = 3.5, **changes: Any) -> OverSeeds:
    record = OverSeeds(
        benchmark=QUALITY, metric="quality_sampled", model=model, against=against, value=value, sd=0.25,
        low=low, high=None if low is None else value + (value - low), n_seeds=3, n_prompts=256,
    )  # fmt: skip
    return record.model_copy(update=changes)


def contrast(a: int, b: int, value: float, low: float, high: float) -> Contrast:
    return Contrast(benchmark=QUALITY, metric="quality_sampled", model="M3", a=a, b=b, value=value, low=low, high=high)


def test_seeds_have_mean_spread_and_an_interval_that_draws_both(runs: list[RunFacts]) -> None:
    groups = grouping.group(runs)
    together = Together(pooled=((over("M3"), over("M3", "M1", 0.9, 0.2)), ()))
    (grid,) = several.compared(groups, together)
    found = rows(grid)
    assert found["s*"][2:] == ["4.00 \u00b1 0.25 [3.50, 4.50]", "+0.90 \u00b1 0.25 [+0.20, +1.60]"]
    gain = grid.rows[0][-1]
    assert isinstance(gain, Change)
    assert (gain.arrow, gain.tone) == ("\u25b2", "better")
    assert several.lines(groups, together) == [
        (
            "s*",
            "Answer quality (micro-world): True quality, sampled",
            "3",
            "M3 \u2212 M1",
            "+0.90 \u00b1 0.25 [+0.20, +1.60]",
        )
    ]
    ((_, chart),) = several.charts(groups, together)
    assert next((r["low"], r["high"]) for r in chart.rows if r["x"] == "M3") == (3.5, 4.5)


def test_no_arrow_stands_where_the_interval_reaches_zero(runs: list[RunFacts]) -> None:
    together = Together(pooled=((over("M3", "M1", 0.9, -0.1),), ()))
    (grid,) = several.compared(grouping.group(runs), together)
    gain = grid.rows[0][-1]
    assert isinstance(gain, Change)
    assert (gain.arrow, gain.tone) == ("", "neutral")


@pytest.mark.parametrize(
    ("ends", "best"), [((0.2, 0.8), "oracle"), ((-0.8, -0.2), "s*"), ((-0.1, 0.8), None), ((None, None), None)]
)
def test_the_best_is_marked_only_where_it_is_shown(
    runs: list[RunFacts], ends: tuple[float, float], best: str | None
) -> None:
    groups = grouping.group(runs)
    together = Together(contrasts=(contrast(1, 0, 0.5, *ends),))
    (grid,) = several.compared(groups, together)
    marked = [str(row[0]) for row in grid.rows for c in row if isinstance(c, Cell) and c.best]
    assert marked == ([best] if best else [])
    told = several.contrasted(groups, together)
    assert told is not None
    assert told.rows[0][1] == "oracle \u2212 s*"


def test_of_three_methods_the_best_must_beat_both(runs: list[RunFacts], tmp_path: Path) -> None:
    groups = grouping.group([*runs, run(tmp_path / "length", 2.0, rewards="length")])
    beats_one = Together(contrasts=(contrast(1, 0, 0.5, 0.2, 0.8), contrast(2, 1, -0.1, -0.3, 0.1)))
    beats_both = Together(contrasts=(contrast(1, 0, 0.5, 0.2, 0.8), contrast(2, 1, -0.6, -0.9, -0.3)))
    for together, marked in ((beats_one, 0), (beats_both, 1)):
        (grid,) = several.compared(groups, together)
        assert sum(isinstance(c, Cell) and c.best for row in grid.rows for c in row) == marked


def test_what_the_tables_want_to_know_is_asked_of_every_model(runs: list[RunFacts]) -> None:
    asked, contrasted = several.asked(grouping.group(runs))
    assert [(a.model, a.against) for a in asked] == [("M1", ""), ("M3", ""), ("M3", "M1")]
    assert contrasted == "M3"
    assert several.asked(grouping.group(runs[:3]))[1] == ""  # one method has nothing to be held against
