"""Several runs: the sentence on top says which method is best only where an interval over seeds and prompts does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from leaderboards.comparing import Contrast, OverSeeds, Together
from leaderboards.standings import MetricDifference
from reports.facts import method_decision, several
from reports.facts.grouping import Group
from reports.facts.reading import collect
from reports.facts.run import RunFacts

from ..conftest import JUDGING, QUALITY, RunBuilder

ALPACA = "alpaca-eval@1"
UP, STILL, DOWN = (0.5, 0.2, 0.8), (0.1, -0.2, 0.4), (-0.5, -0.8, -0.2)
Ends = tuple[float, float, float]


def run(path: Path, metrics: dict[str, float] | None = None, benchmark: str = QUALITY) -> RunFacts:
    found = RunBuilder(path)
    for model in ("M1", "M3"):
        found.result(model, benchmark, metrics=metrics or {"quality_sampled": 3.5})
    return weighing(collect(path), path.name)


def weighing(facts: RunFacts, weights: str) -> RunFacts:
    """The run with weights of its own."""
    models = []
    for m in facts.models:
        results = {k: r.model_copy(update={"fingerprint": f"{weights}-{m.name}"}) for k, r in m.results.items()}
        models.append(m.model_copy(update={"results": results}))
    return facts.model_copy(update={"models": tuple(models)})


@pytest.fixture
def three(tmp_path: Path) -> list[Group]:
    """Methods ``a`` and ``b`` with two seeds, ``c`` with one run."""
    return [Group(n, tuple(run(tmp_path / f"{n}{k}") for k in range(1 if n == "c" else 2))) for n in "abc"]


def over(value: float, against: str = "", ends: Ends | None = None, **changes: Any) -> OverSeeds:
    value, low, high = ends or (value, value - 0.1, value + 0.1)
    fields = {"benchmark": QUALITY, "metric": "quality_sampled", "model": "M3", "n_seeds": 2, "n_prompts": 9, "sd": 0.1}
    return OverSeeds(**{**fields, "against": against, "value": value, "low": low, "high": high, **changes})


def contrast(a: int, b: int, ends: Ends, benchmark: str = QUALITY, metric: str = "quality_sampled") -> Contrast:
    value, low, high = ends
    return Contrast(benchmark=benchmark, metric=metric, model="M3", a=a, b=b, value=value, low=low, high=high)


def put_together(*contrasts: Contrast) -> Together:
    """``a`` comes to 3.6, ``b`` to 3.8; ``c``'s single run has 3.5."""
    return Together(pooled=((over(3.6),), (over(3.8),), ()), contrasts=contrasts)


@pytest.mark.parametrize(
    ("ba", "ca", "cb", "sentence", "ranks"),
    [
        (
            UP, STILL, DOWN,
            "b is the best of 3 methods: at M3 +0.50 [+0.20, +0.80] true quality, sampled over a",
            [(1, "b"), (2, "a"), (2, "c")],
        ),
        (
            STILL, STILL, DOWN,
            "b and a are tied at the top of 3 methods by M3's true quality, sampled: b +0.10 [\u22120.20, +0.40] "
            "against a",
            [(1, "b"), (1, "a"), (2, "c")],
        ),
        (
            STILL, STILL, STILL,
            "No method is shown to be the best of 3 by M3's true quality, sampled: b +0.10 [\u22120.20, +0.40] "
            "against a",
            [(1, "b"), (1, "a"), (1, "c")],
        ),
        (  # nothing is better than b, and b is not shown to be better than all
            STILL, UP, DOWN,
            "No method is shown to be the best of 3 by M3's true quality, sampled: b +0.10 [\u22120.20, +0.40] "
            "against a",
            [(1, "b"), (2, "a"), (2, "c")],
        ),
    ],
)  # fmt: skip
def test_methods_are_ranked_with_what_is_tied(
    three: list[Group], ba: Ends, ca: Ends, cb: Ends, sentence: str, ranks: list[tuple[int, str]]
) -> None:
    found = method_decision.decide(three, put_together(contrast(1, 0, ba), contrast(2, 0, ca), contrast(2, 1, cb)))
    assert found.sentence == sentence
    assert [(p.rank, p.model) for p in found.ranking] == ranks
    assert found.cautions == ("of c there is one run, and another seed would lie elsewhere",)


@pytest.mark.parametrize(
    ("gains", "told"),
    [
        ((UP, UP), "over a; M3 of each is better than its M1"),
        ((STILL, UP), "over a; M3 better than its M1: b, not shown to differ from its M1: a"),
        ((DOWN, None), "over a; M3 worse than its M1: a"),
    ],
)
def test_the_sentence_says_which_methods_gained(three: list[Group], gains: tuple[Ends, Ends | None], told: str) -> None:
    pooled = tuple(
        (over(value), *([over(0.0, "M1", ends)] if ends else ())) for value, ends in zip((3.6, 3.8), gains, strict=True)
    )
    found = method_decision.decide(three[:2], Together(pooled=pooled, contrasts=(contrast(1, 0, UP),)))
    assert found.sentence.endswith(told)


def test_a_method_that_is_better_by_another_benchmark_is_told(three: list[Group]) -> None:
    judging = contrast(1, 0, (-0.1, -0.15, -0.05), JUDGING, "pairwise_accuracy")
    found = method_decision.decide(three[:2], put_together(contrast(1, 0, UP), judging))
    assert (found.tone, found.cautions) == (
        "mixed",
        ("a is better than b: +10.0 [+5.0, +15.0] Judge accuracy, pairwise accuracy, human ranks (tie = \u00bd)",),
    )


def test_what_is_tied_is_told_apart_by_what_another_measure_shows(three: list[Group]) -> None:
    greedy = contrast(1, 0, (0.3, 0.1, 0.5), metric="quality_greedy")
    exact = contrast(1, 0, (0.2, 0.1, 0.3), metric="exact_greedy")  # a form of the same
    found = method_decision.decide(three[:2], put_together(contrast(1, 0, STILL), greedy, exact))
    assert found.cautions == ("b is better than a: +0.30 [+0.10, +0.50] true quality, greedy",)


def test_what_the_next_round_would_be_trained_on_is_counted_over_runs(
    three: list[Group], difference: Callable[..., MetricDifference], tmp_path: Path
) -> None:
    worse = difference("M3", "M1", -0.1, -0.2, -0.05, "own_pairwise_accuracy", JUDGING)
    runs = []
    for k in range(2):
        builder = RunBuilder(tmp_path / f"x{k}")
        for model in ("M1", "M3"):
            builder.result(model, quality_sampled=3.8)
            builder.result(model, JUDGING, own_pairwise_accuracy=0.6)
        builder.standings([worse.model_copy(update={"paired": False})])
        runs.append(weighing(collect(builder.path), f"x{k}"))
    found = method_decision.decide([three[0], Group("x", tuple(runs))], put_together(contrast(1, 0, UP)))
    assert found.cautions == ("x: in 2 of 2 runs M3 judges its own answers worse than M1 did",)


@pytest.mark.parametrize(
    ("ends", "sentence", "tone"),
    [
        (UP, "M3 is better than M1 over 2 seeds: +0.50 [+0.20, +0.80] true quality, sampled", "better"),
        (
            STILL,
            "M3 is not shown to be better than M1 over 2 seeds: +0.10 [\u22120.20, +0.40] true quality, sampled",
            "neutral",
        ),
        (DOWN, "M3 is worse than M1 over 2 seeds: \u22120.50 [\u22120.80, \u22120.20] true quality, sampled", "worse"),
    ],
)
def test_seeds_of_one_recipe_are_told_by_their_gain(three: list[Group], ends: Ends, sentence: str, tone: str) -> None:
    found = method_decision.decide(three[:1], Together(pooled=((over(3.6), over(0.0, "M1", ends)),)))
    assert (found.sentence, found.tone, found.ranking) == (sentence, tone, ())


def test_what_the_seeds_lost_elsewhere_is_a_caution(three: list[Group]) -> None:
    lost = over(0.0, "M1", (-0.05, -0.07, -0.02), benchmark=JUDGING, metric="pairwise_accuracy")
    found = method_decision.decide(three[:1], Together(pooled=((over(0.0, "M1", UP), lost),)))
    assert found.cautions == (
        "worse: \u22125.0 [\u22127.0, \u22122.0] Judge accuracy, pairwise accuracy, human ranks (tie = \u00bd)",
    )


@pytest.mark.parametrize(("longer", "decided"), [((900.0, 700.0, 1100.0), False), ((20.0, -50.0, 90.0), True)])
def test_a_raw_win_rate_of_answers_that_differ_in_length_decides_nothing(
    tmp_path: Path, longer: Ends, decided: bool
) -> None:
    metrics = {"win_rate": 20.0, "avg_length": 1_000.0}
    groups = [Group(n, (run(tmp_path / n, metrics, ALPACA),)) for n in "ab"]
    raw, length = contrast(1, 0, (9.0, 6.0, 12.0), ALPACA, "win_rate"), contrast(1, 0, longer, ALPACA, "avg_length")
    found = method_decision.decide(groups, Together(pooled=((), ()), contrasts=(raw, length)))
    told = {
        True: "b is the best of 2 runs: at M3 +9.0 [+6.0, +12.0] AlpacaEval, win rate over a",
        False: "a and b were not held against each other but by raw win rates of answers that differ in length, "
        "so none can be called the best",
    }
    assert found.sentence == told[decided]


def test_nothing_put_together_decides_nothing(three: list[Group]) -> None:
    found = method_decision.decide(three, Together())
    assert found.sentence == "a, b and c were not held against each other, so none can be called the best"
    assert method_decision.decide(three[:1], Together()).tone == "unknown"


def test_one_run_given_twice_is_told(tmp_path: Path) -> None:
    first, second = run(tmp_path / "first"), run(tmp_path / "second")
    copied = weighing(second, "first")
    found = method_decision.decide(
        [Group("first", (first,)), Group("second", (copied,))], put_together(contrast(1, 0, STILL))
    )
    assert "first and second hold the same weights of M3: they are one run" in found.cautions
    assert found.sentence.startswith("No run is shown to be the best of 2 by M3's true quality, sampled")
    third = weighing(run(tmp_path / "third"), "first")
    groups = [Group(n, (facts,)) for n, facts in (("first", first), ("second", copied), ("third", third))]
    all_three = method_decision.decide(groups, put_together(contrast(1, 0, STILL)))
    assert all_three.cautions[:2] == (
        "first, second and third hold the same weights of M3: they are one run",
        "third has no number of it, and may be better",
    )


def test_what_not_all_runs_have_decides_nothing_and_is_named(tmp_path: Path) -> None:
    run(tmp_path / "s0"), run(tmp_path / "s1", {"own": 1.0}, JUDGING)
    judged = [weighing(add(tmp_path / n, pairwise_accuracy=0.7), n) for n in ("s0", "s1")]
    gain = over(0.1, "M1", (0.01, -0.02, 0.04), benchmark=JUDGING, metric="pairwise_accuracy")
    found = method_decision.decide([Group("micro", tuple(judged))], Together(pooled=((gain,),)))
    assert found.text.startswith(
        "M3 is not shown to be better than M1 over 2 seeds: +1.0 [\u22122.0, +4.0] Judge accuracy"
    )
    assert found.cautions == ("true quality, sampled decides nothing: s1 lacks it of M3",)


def add(path: Path, **values: float) -> RunFacts:
    """A further benchmark of a run that is there."""
    there = RunBuilder.__new__(RunBuilder)
    there.path = path
    for model in ("M1", "M3"):
        there.result(model, JUDGING, metrics=values)
    return collect(path)


def test_an_iteration_that_not_all_runs_have_is_left_out(tmp_path: Path) -> None:
    runs = [run(tmp_path / n) for n in ("s0", "s1")]
    later = runs[1].models[-1].model_copy(update={"name": "M4"})
    group = Group("micro", (runs[0], runs[1].model_copy(update={"models": (*runs[1].models, later)})))
    asked, against = several.asked([group, group])
    assert against == "M3"
    assert {(a.model, a.against) for a in asked if a.against} == {("M3", "M1")}
    found = method_decision.decide([group], Together(pooled=((over(0.5, "M1", UP),),)))
    assert found.cautions == ("M4 is left out: s0 lacks it",)


def test_methods_that_were_judged_otherwise_say_so(tmp_path: Path) -> None:
    groups = []
    for name, judge in (("a", "gpt-4"), ("b", "gpt-4o")):
        builder = RunBuilder(tmp_path / name)
        for model in ("M1", "M3"):
            builder.result(model, ALPACA, conditions={"judge": judge}, win_rate=50.0)
        groups.append(Group(name, (weighing(collect(builder.path), name),)))
    found = method_decision.decide(groups, Together(pooled=((), ())))
    assert found.text == (
        "a and b were not held against each other, so none can be called the best; AlpacaEval, win rate decides "
        "nothing, as it was not made alike (judge: gpt-4 (a), gpt-4o (b))."
    )
