"""What may not stand in one column is named, with who has what."""

from __future__ import annotations

from reports.facts import comparability
from selfreward_bench.types import EvalResult


def result(config_hash: str = "c", **conditions: str) -> EvalResult:
    return EvalResult(
        checkpoint="M1",
        fingerprint="f",
        benchmark="x@1",
        judge=None,
        metrics={},
        config_hash=config_hash,
        versions={},
        seconds=1,
        comparability={"benchmark": "x@1", **conditions},
    )


def test_equal_conditions_are_one_group() -> None:
    found = {"M1": result(judge="a"), "M2": result(judge="a")}
    assert comparability.unlike(found) == []
    assert set(comparability.groups(found).values()) == {"A"}
    assert comparability.other_settings(found) == ""


def test_who_has_what_is_told() -> None:
    found = {"M0": result(judge="a"), "M1": result(judge="b"), "M2": result(judge="a"), "M3": result()}
    assert comparability.unlike(found) == ["judge: a (M0 and M2), b (M1), not stated (M3)"]
    assert comparability.groups(found) == {"M0": "A", "M1": "B", "M2": "A", "M3": "C"}


def test_settings_count_where_no_condition_is_stated() -> None:
    found = {"M1": result("one"), "M2": result("two")}
    assert comparability.unlike(found) == ["settings or data: one (M1), two (M2)"]
    assert comparability.unlike(found, settings=False) == []
    assert set(comparability.groups(found).values()) == {"A", "B"}


def test_settings_that_are_no_condition_are_told_apart() -> None:
    found = {"M1": result("one", judge="a"), "M2": result("two", judge="a")}
    assert comparability.unlike(found) == []
    assert comparability.other_settings(found) == "one (M1), two (M2)"


def test_a_hash_is_no_reason_and_is_only_told_apart() -> None:
    first, second = "3fa4c01b" * 4, "9bc1d22e" * 4
    found = {"M0": result(prompt=first), "M1": result(prompt=second), "M2": result(prompt=first)}
    assert comparability.unlike(found) == ["prompt: one (M0 and M2), another (M1)"]
