"""Several runs together: the same numbers by hand, what is left out and why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from leaderboards.base import row
from leaderboards.comparing.records import Asked
from leaderboards.comparing.seeds import together
from selfreward_bench import stats
from selfreward_bench.types import SampleScore

from .test_pairing import QUALITY, store

METRIC = "quality_sampled"
GAIN = Asked(benchmark=QUALITY, metric=METRIC, model="M3", against="M1")
LAST = Asked(benchmark=QUALITY, metric=METRIC, model="M3")


def grades(seed: int, mean: float, n: int = 30) -> list[float]:
    return [float(g) for g in mean + np.random.default_rng(seed).normal(size=2 * n)]


def rows(values: Sequence[float | None], metric: str = METRIC) -> list[SampleScore]:
    return [row(f"s{i}", f"p{i // 2}", {metric: value}) for i, value in enumerate(values)]


def run(root: Path, seed: int, gain: float = 0.5, **stated: str) -> Path:
    for model, mean in (("M1", 3.0), ("M3", 3.0 + gain)):
        conditions = {"data": "d", **stated}
        store(root, model, rows(grades(seed, mean)), config_hash=f"c{seed}", conditions=conditions)
    return root


@pytest.fixture
def seeds(tmp_path: Path) -> list[Path]:
    return [run(tmp_path / f"s{k}", k, 0.4 + 0.1 * k) for k in range(5)]


def test_means_and_differences_over_seeds_are_those_of_their_prompts(seeds: list[Path]) -> None:
    (found,) = together([seeds], [GAIN, LAST]).pooled
    gain, last = found
    means = [0.4 + 0.1 * k for k in range(5)]
    assert (gain.model, gain.against, gain.n_seeds, gain.n_prompts) == ("M3", "M1", 5, 30)
    assert gain.value == pytest.approx(0.6)
    assert gain.sd == pytest.approx(np.std(means, ddof=1))
    sums = np.array([np.array(grades(k, 3.4 + 0.1 * k)).reshape(30, 2).sum(axis=1) for k in range(5)])
    sums = sums[:, sorted(range(30), key=str)]  # the order of their names
    expected = stats.crossed_interval(stats.Totals(sums, np.full_like(sums, 2.0)))
    assert (last.value, last.low, last.high) == pytest.approx(tuple(expected))


def test_only_prompts_that_all_runs_have_count_and_lost_samples_do_not(tmp_path: Path) -> None:
    for k, values in enumerate(([1.0, 2.0, None, 4.0], [3.0, 5.0, 7.0, 7.0, 9.0, 9.0])):
        store(tmp_path / f"s{k}", "M3", rows(values), conditions={"data": "d"})
    ((found,),) = together([[tmp_path / "s0", tmp_path / "s1"]], [LAST]).pooled
    assert found.n_prompts == 2
    assert found.value == pytest.approx((1 + 2 + 4 + 3 + 5 + 7 + 7) / 7)


def test_methods_are_held_against_each_other_by_one_model(seeds: list[Path], tmp_path: Path) -> None:
    others = [run(tmp_path / f"control{k}", 10 + k, -1.0) for k in range(5)]
    found = together([seeds, others], [GAIN, LAST], "M3")
    assert [len(group) for group in found.pooled] == [2, 2]
    (contrast,) = found.contrasts
    assert (contrast.a, contrast.b, contrast.model, contrast.direction) == (1, 0, "M3", -1)
    assert contrast.value == pytest.approx(found.pooled[1][1].value - found.pooled[0][1].value)
    single = together([seeds[:1], others[:1]], [LAST], "M3")
    assert single.pooled == ((), ())  # a group of one has nothing to put together
    assert single.contrasts[0].direction == -1


def test_unlike_conditions_are_not_put_together_and_other_seeds_settings_are(seeds: list[Path], tmp_path: Path) -> None:
    odd = run(tmp_path / "odd", 9, judge="another")
    found = together([[*seeds, odd], seeds], [LAST], "M3")
    assert [len(group) for group in found.pooled] == [0, 1]
    assert found.contrasts == ()


@pytest.mark.parametrize(
    "asked",
    [
        LAST.model_copy(update={"model": "M9"}),
        GAIN.model_copy(update={"against": "M0"}),
        LAST.model_copy(update={"metric": "length_controlled_winrate"}),
        LAST.model_copy(update={"benchmark": "nothing@1"}),
    ],
)
def test_what_is_not_there_is_left_out(seeds: list[Path], asked: Asked) -> None:
    found = together([seeds], [asked])
    assert found.pooled == ((),)
    assert found.gaps == ()


def test_a_file_that_cannot_be_read_is_told_and_stops_nothing(seeds: list[Path]) -> None:
    (seeds[1] / "M3" / "eval" / QUALITY / "scores.jsonl").write_text("{nothing")
    found = together([seeds], [LAST])
    assert found.pooled == ((),)
    assert "scores.jsonl" in found.gaps[0]
