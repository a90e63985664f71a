"""Names of groups of runs: by recipe or run, and what their settings differ in."""

from __future__ import annotations

from typing import Any

import pytest

from reports.facts import grouping
from reports.facts.run import ModelFacts, RunFacts
from selfreward_bench.types import EvalResult


def facts(run: str, /, **settings: Any) -> RunFacts:
    return RunFacts(name=run, path=run, settings={k.replace("__", "."): str(v) for k, v in settings.items()})


def labels(*runs: RunFacts) -> list[str]:
    return [g.label for g in grouping.group(runs)]


def test_recipes_name_the_groups_where_they_tell_them_apart() -> None:
    runs = [facts(f"r{s}{w}", name=f"micro-{w}", rewards=w, seed=s) for w in ("self", "random") for s in (0, 1)]
    assert labels(*runs) == ["micro-self", "micro-random"]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("s0-self", "s1-self"), "s*-self"),
        (("alpha", "beta"), "alpha and 1 more"),
        (("one", "two"), "one and 1 more"),
        (("same", "same"), "same"),
        (("run", "run2"), "run*"),
        (("a1b", "ab"), "a*"),
    ],
)
def test_else_what_the_runs_names_share(names: tuple[str, str], told: str) -> None:
    seeds = [facts(name, name="micro", rewards="self", seed=s) for s, name in enumerate(names)]
    assert labels(*seeds, facts("control", name="micro", rewards="random")) == [told, "control"]


def test_the_day_of_a_run_is_no_setting_where_no_chat_template_shows_it() -> None:
    runs = [facts(f"s{k}", rewards="self", seed=k, engine__date=f"2026-11-{29 + k}") for k in range(2)]
    assert [len(g.runs) for g in grouping.group(runs)] == [2]
    result = EvalResult(
        checkpoint="M1", fingerprint="f", benchmark="x@1", judge=None, metrics={}, config_hash="c", versions={},
        seconds=1, date="2026-11-29",
    )  # fmt: skip
    shown = [r.model_copy(update={"models": (ModelFacts(name="M1", results={"x@1": result}),)}) for r in runs]
    groups = grouping.group(shown)
    assert [len(g.runs) for g in groups] == [1, 1]
    grid = grouping.differing(groups)
    assert grid is not None
    assert grid.rows == (("engine.date", "2026-11-29", "2026-11-30"),)


def test_equal_names_are_numbered_and_long_ones_cut() -> None:
    runs = [facts("x" * 500, name="micro", rewards=w) for w in ("self", "random")]
    first, second = labels(*runs)
    assert first != second
    assert len(first) < 120
    assert grouping.names(runs)[0].endswith("(1)")


def test_settings_that_differ_are_listed_and_others_are_not() -> None:
    runs = [facts("a", name="a", rewards="self", seed=0, dpo__beta=0.1), facts("b", name="b", rewards="random", seed=1)]
    grid = grouping.differing(grouping.group(runs))
    assert grid is not None
    assert grid.columns == ("Setting", "a", "b")
    assert grid.rows == (("rewards", "self", "random"), ("dpo.beta", "0.1", "not set"))
    assert grouping.differing(grouping.group(runs[:1])) is None


def test_of_very_many_settings_the_first_are_listed() -> None:
    runs = [facts(n, name=n, **{f"key{k}": n for k in range(99)}) for n in ("a", "b")]
    grid = grouping.differing(grouping.group(runs))
    assert grid is not None
    assert len(grid.rows) == 40
    assert "of 99" in grid.note
