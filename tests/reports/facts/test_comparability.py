"""What may not stand in one column is named, with who has what."""

from __future__ import annotations

from collections.abc import Mapping

from reports.facts import comparability
from selfreward_bench.types import EvalResult


def result(config_hash: str = "c", settings: Mapping[str, str] | None = None, **conditions: str) -> EvalResult:
    return EvalResult(
        checkpoint="M1",
        fingerprint="f",
        benchmark="x@1",
        judge=None,
        metrics={},
        config_hash=config_hash,
        settings=dict(settings or {}),
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


def test_a_setting_that_differs_is_told_in_words() -> None:
    """In place of the hash that stands for all of them; what is no parameter is none of its reasons."""
    hashes = ["3fa4c01b" * 4, "9bc1d22e" * 4]
    said = [
        {"seed": str(k), "engine.dtype": "float32", "eval.sampling.temperature": t, "eval.samples": "4"}
        for k, t in enumerate(("0.7", "1.0"))
    ]
    told = "sampling temperature: 0.7 (M1), 1.0 (M2)"
    found = {f"M{k + 1}": result(hashes[k], said[k], parameters=hashes[k], data="d") for k in range(2)}
    assert comparability.unlike(found) == [told]
    bare = {f"M{k + 1}": result(hashes[k], said[k]) for k in range(2)}
    assert comparability.unlike(bare) == ["seed: 0 (M1), 1 (M2)", told]
    alike = {f"M{k + 1}": result(hashes[k], said[k], data="d") for k in range(2)}
    assert comparability.other_settings(alike) == f"seed: 0 (M1), 1 (M2); {told}"
    old = alike | {"M2": result(hashes[1], data="d")}
    assert comparability.other_settings(old) == "one (M1), another (M2)"


def test_settings_are_bounded_whatever_a_file_says() -> None:
    found = {f"M{k}": result(str(k), {"x" * 500 + str(n): "y" * 500 + str(k) for n in range(99)}) for k in range(2)}
    told = comparability.unlike(found)
    assert len(told) == 13
    assert told[-1] == "87 other settings"
    assert max(map(len, told)) < 300
