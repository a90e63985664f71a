"""A comparison in words: why numbers are not held against each other, and what differs although they are."""

from __future__ import annotations

import pytest

from leaderboards.comparing.records import PairedBenchmark, Pairing, Side, Unlike
from reports.facts import paired

SETTINGS = Unlike(condition="settings", a="3fa4c01b" * 4, b="9bc1d22e" * 4)
PARAMETERS = SETTINGS.model_copy(update={"condition": "parameters"})
DIFFERENT = (
    Unlike(condition="seed", a="0", b="1"),
    Unlike(condition="eval.sampling.temperature", a="0.7", b="1.0"),
    Unlike(condition="lc_strength", a="", b="published"),
)


def pairing(unlike: tuple[Unlike, ...], settings: tuple[Unlike, ...]) -> Pairing:
    benchmark = PairedBenchmark(
        benchmark="x@1",
        judges=(None, None),
        unlike=unlike,
        compared=not unlike,
        settings_differ=not unlike,
        settings=settings,
    )
    sides = [Side(name=name, given=name, checkpoint=name, fingerprint=name) for name in ("M1", "M2")]
    return Pairing(a=sides[0], b=sides[1], benchmarks=(benchmark,))


@pytest.mark.parametrize(
    ("unlike", "told"),
    [
        (SETTINGS, "seed: 0 (M1), 1 (M2); sampling temperature: 0.7 (M1), 1.0 (M2); lc strength: not stated"),
        (PARAMETERS, "sampling temperature: 0.7 (M1), 1.0 (M2); lc strength: not stated (M1), published (M2)"),
    ],
)
def test_a_setting_is_a_reason_in_words(unlike: Unlike, told: str) -> None:
    (part,) = paired.parts(pairing((unlike,), DIFFERENT))
    assert part.unlike.startswith(f"Not compared: {told}")


def test_results_of_early_versions_have_no_words() -> None:
    (part,) = paired.parts(pairing((SETTINGS,), ()))
    assert part.unlike == "Not compared: settings or data (the benchmark does not say which)"
    assert "such as the seed" in paired.notes(pairing((), ()))[0]


def test_settings_that_are_no_condition_are_a_note() -> None:
    told, more = paired.notes(pairing((), DIFFERENT[:1]))
    assert told == "x@1: made with other settings, which are no condition of it: seed: 0 (M1), 1 (M2)."
    assert more == "Two runs of one recipe differ by more than these intervals say."
