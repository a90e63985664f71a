"""Two checkpoints' stored results against each other: joined by id, named sides, unlike conditions."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from leaderboards import descriptions, replicates, standings
from leaderboards.base import row, summarise
from leaderboards.comparing.pairing import locate, pair
from leaderboards.comparing.records import PairedBenchmark, PairedMetric, Pairing
from leaderboards.comparing.run import compare
from leaderboards.standings import HeadToHead, Tournament, short_names, write_record
from selfreward_bench import stats
from selfreward_bench.errors import ConfigError, DataError, UnknownNameError
from selfreward_bench.storage import jsonl
from selfreward_bench.types import Description, EvalResult, Metric, MetricInfo, SampleScore

QUALITY, NLP, ALPACA = "micro-quality@1", "micro-nlp@1", "micro-alpaca-eval@1"
Values = Sequence[float | None]


def rows(**columns: Values) -> list[SampleScore]:
    """Two samples per prompt."""
    n = len(next(iter(columns.values())))
    return [row(f"s{i}", f"p{i // 2}", {name: values[i] for name, values in columns.items()}) for i in range(n)]


def store(
    root: Path,
    model: str,
    scores: Sequence[SampleScore],
    benchmark: str = QUALITY,
    *,
    metrics: Mapping[str, Metric] | None = None,
    config_hash: str = "c",
    settings: Mapping[str, str] | None = None,
    conditions: Mapping[str, str] | None = None,
    fingerprint: str = "",
    incomplete: int = 0,
) -> None:
    folder = root / model / "eval" / benchmark
    folder.mkdir(parents=True)
    jsonl.write(folder / standings.SCORES, scores)
    result = EvalResult(
        checkpoint=model,
        fingerprint=fingerprint or f"f-{model}",
        benchmark=benchmark,
        judge="oracle",
        metrics={**summarise(scores), **(metrics or {})},
        config_hash=config_hash,
        settings=dict(settings or {}),
        versions={},
        seconds=1,
        comparability={"benchmark": benchmark, **(conditions or {})},
        incomplete=incomplete,
    )
    write_record(folder / standings.RESULT, result)


def both(root: Path, a: Values, b: Values, benchmark: str = QUALITY, metric: str = "quality_sampled") -> Pairing:
    store(root, "M1", rows(**{metric: a}), benchmark)
    store(root, "M2", rows(**{metric: b}), benchmark)
    return pair(locate(f"{root}:M1"), locate(f"{root}:M2"))


def metric_of(pairing: Pairing, metric: str, benchmark: str = QUALITY) -> PairedMetric:
    return next(m for m in part_of(pairing, benchmark).metrics if m.metric == metric)


def part_of(pairing: Pairing, benchmark: str = QUALITY) -> PairedBenchmark:
    return next(b for b in pairing.benchmarks if b.benchmark == benchmark)


# --- differences


def test_the_difference_is_the_second_minus_the_first(tmp_path: Path) -> None:
    a, b = [1.0, 2, 3, 4, 2, 2], [2.0, 3, 3, 5, 4, 2]
    found = metric_of(both(tmp_path, a, b), "quality_sampled")
    assert found.difference is not None
    expected = stats.paired_difference(b, a, [0, 0, 1, 1, 2, 2], n_boot=5_000)
    assert found.difference.value == pytest.approx(5 / 6)
    assert (found.difference.low, found.difference.high) == pytest.approx((expected.low, expected.high))
    assert (found.difference.a, found.difference.b) == ("M2", "M1")
    assert found.difference.detectable == pytest.approx(stats.detectable_difference(b, a, [0, 0, 1, 1, 2, 2]))
    assert found.a is not None
    assert found.a.value == pytest.approx(14 / 6)


def test_samples_are_joined_by_id_and_missing_ones_counted(tmp_path: Path) -> None:
    first = rows(quality_sampled=[1.0, 2, 3, 4, None, 6])
    second = rows(quality_sampled=[2.0, 3, 4, 5, 6, 7, 9, 9])
    random.Random(1).shuffle(second)
    store(tmp_path, "M1", first)
    store(tmp_path, "M2", second)
    found = metric_of(pair(locate(f"{tmp_path}:M1"), locate(f"{tmp_path}:M2")), "quality_sampled").difference
    assert found is not None
    assert (found.value, found.n, found.n_total) == (1.0, 5, 8)


def test_what_is_no_mean_over_samples_has_no_difference(tmp_path: Path) -> None:
    special = {
        "length_controlled_winrate": Metric(value=50.0, n_scored=4, n_total=4),  # in no row
        "standard_error": Metric(value=9.0, n_scored=4, n_total=4),  # in the rows, but not their mean
    }
    for model in ("M1", "M2"):
        store(
            tmp_path,
            model,
            rows(win_rate=[1, 0, 1, 0], standard_error=[1, 2, 3, 4], extra=[0, 1, 0, 1]),
            ALPACA,
            metrics=special,
        )
    paired = pair(locate(f"{tmp_path}:M1"), locate(f"{tmp_path}:M2"))
    compared = {m.metric for m in part_of(paired, ALPACA).metrics if m.difference}
    assert compared == {"win_rate", "extra"}
    assert metric_of(paired, "length_controlled_winrate", ALPACA).featured
    assert not metric_of(paired, "standard_error", ALPACA).featured


def test_what_is_neither_better_nor_worse_is_no_main_metric(tmp_path: Path) -> None:
    shown = {
        "chars": MetricInfo(label="Length", unit="characters", better=0),
        "right": MetricInfo(label="Right", unit="share"),
    }
    descriptions.learn("lengthy@1", Description(title="Lengthy", metrics=shown, paired=tuple(shown)))
    for model in ("M1", "M2"):
        store(tmp_path, model, rows(chars=[9, 8, 7, 6], right=[0, 1, 0, 1]), "lengthy@1")
    paired = pair(locate(f"{tmp_path}:M1"), locate(f"{tmp_path}:M2"))
    assert [m.metric for m in part_of(paired, "lengthy@1").metrics if m.main] == ["right"]


@pytest.mark.parametrize(("resamples", "compared"), [("r", True), ("other", False)])
def test_a_number_that_is_no_mean_is_compared_on_the_same_resamples(
    tmp_path: Path, resamples: str, compared: bool
) -> None:
    rng = random.Random(0)
    drawn = [rng.gauss(20, 5) for _ in range(200)]
    for model, gain, of in (("M1", 0.0, "r"), ("M2", 2.0, resamples)):
        lc = {"length_controlled_winrate": Metric(value=20 + gain, n_scored=805, n_total=805)}
        store(tmp_path, model, rows(win_rate=[1, 0, 1, 0]), ALPACA, metrics=lc)
        values = tuple(d + gain + rng.gauss(0, 0.1) for d in drawn)
        found = {"length_controlled_winrate": replicates.Replicates(resamples=of, values=values)}
        replicates.write(tmp_path / model / "eval" / ALPACA, found)
    metric = metric_of(pair(locate(f"{tmp_path}:M1"), locate(f"{tmp_path}:M2")), "length_controlled_winrate", ALPACA)
    assert not metric.main  # without a test it is in no Holm adjustment
    assert (metric.difference is not None) == compared
    if metric.difference is not None:
        found_it = metric.difference
        assert (found_it.a, found_it.b, found_it.value, found_it.p_value) == ("M2", "M1", 2.0, None)
        assert found_it.low is not None
        assert found_it.high is not None
        assert 1.6 < found_it.low < 2 < found_it.high < 2.4
        assert found_it.detectable == pytest.approx(2.8 * 0.1 * 2**0.5, rel=0.2)
    stored = {d.metric for d in compare(tmp_path).differences}
    assert ("length_controlled_winrate" in stored) == compared


def test_replicates_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "replicates.json").write_text('{"metrics": {"x": 1}}')
    with pytest.raises(DataError, match=r"replicates\.json is no file of replicates"):
        replicates.read(tmp_path)
    replicates.write(tmp_path, {})
    assert replicates.read(tmp_path) == {}


def test_an_undeclared_metric_of_other_samples_has_no_difference(tmp_path: Path) -> None:
    for model, sample in (("M1", "s0"), ("M2", "s1")):
        scores = rows(win_rate=[1, 0, 1, 0])
        scores[int(sample[1])].detail["measures"]["win_rate/answer_length_1"] = 1.0
        store(tmp_path, model, scores, ALPACA)
    paired = pair(locate(f"{tmp_path}:M1"), locate(f"{tmp_path}:M2"))
    assert metric_of(paired, "win_rate/answer_length_1", ALPACA).difference is None


def test_holm_adjusts_the_main_metrics_alone(tmp_path: Path) -> None:
    rng = random.Random(3)
    for model, gain in (("M1", 0.0), ("M2", 0.4)):
        noise = [rng.gauss(0, 1) for _ in range(40)]
        store(tmp_path, model, rows(quality_sampled=[x + gain for x in noise], quality_greedy=noise))
        store(tmp_path, model, rows(average=[x + gain for x in reversed(noise)]), NLP)
    paired = pair(locate(f"{tmp_path}:M1"), locate(f"{tmp_path}:M2"))
    main = [m for b in paired.benchmarks for m in b.metrics if m.main]
    assert [m.metric for m in main] == ["quality_sampled", "average"]
    raw = [m.difference.p_value for m in main if m.difference and m.difference.p_value is not None]
    assert [m.p_holm for m in main] == stats.holm(raw)
    assert metric_of(paired, "quality_greedy").p_holm is None


# --- conditions


def test_unlike_conditions_are_named_and_not_compared(tmp_path: Path) -> None:
    for model, judge in (("M1", "gpt-4"), ("M2", "gpt-4o")):
        store(tmp_path, model, rows(win_rate=[1, 0, 1, 0]), ALPACA, conditions={"judge": judge, "data": "d"})
    sides = locate(f"{tmp_path}:M1"), locate(f"{tmp_path}:M2")
    found = part_of(pair(*sides), ALPACA)
    assert [(u.condition, u.a, u.b) for u in found.unlike] == [("judge", "gpt-4", "gpt-4o")]
    assert not found.compared
    assert all(m.difference is None and m.a is not None for m in found.metrics)
    anyway = part_of(pair(*sides, compare_unlike=True), ALPACA)
    assert anyway.compared
    assert anyway.unlike == found.unlike
    assert metric_of(pair(*sides, compare_unlike=True), "win_rate", ALPACA).difference is not None


@pytest.mark.parametrize(("conditions", "compared"), [({"data": "d"}, True), ({}, False)])
def test_other_settings_count_where_a_benchmark_states_nothing(
    tmp_path: Path, conditions: dict[str, str], compared: bool
) -> None:
    for model in ("M1", "M2"):
        settings = {"seed": model, "limit": "none"}
        scores = rows(win_rate=[1, 0, 1, 0])
        store(tmp_path, model, scores, ALPACA, conditions=conditions, config_hash=model, settings=settings)
    found = part_of(pair(locate(f"{tmp_path}:M1"), locate(f"{tmp_path}:M2")), ALPACA)
    assert found.compared is compared
    assert found.settings_differ is compared
    assert [u.condition for u in found.unlike] == ([] if compared else ["settings"])
    assert [(u.condition, u.a, u.b) for u in found.settings] == [("seed", "M1", "M2")]


def test_finished_files_that_differ_in_nothing_else_have_like_settings(tmp_path: Path) -> None:
    for model in ("M1", "M2"):
        scores = rows(win_rate=[1, 0, 1, 0])
        kept = {"finished": "lm-eval-results"}
        store(tmp_path, model, scores, ALPACA, conditions={"judge": "a"}, config_hash=model, settings=kept)
    found = part_of(pair(locate(f"{tmp_path}:M1"), locate(f"{tmp_path}:M2")), ALPACA)
    assert (found.compared, found.settings_differ, found.settings) == (True, False, ())


# --- which results


def test_every_way_to_name_a_checkpoint(tmp_path: Path) -> None:
    store(tmp_path / "first", "M1", rows(quality_sampled=[1, 2]))
    (tmp_path / "first" / "M1" / "checkpoint").mkdir()
    named = [locate(f"{tmp_path}/first{end}") for end in (":M1", "/M1", "/M1/", "/M1/checkpoint", "/M1/eval")]
    assert {(e.root, e.name) for e in named} == {(tmp_path / "first", "M1")}


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("{}", ConfigError, "several checkpoints.*:M1, .*:M2"),
        ("{}:M3", DataError, "has no results.*Evaluated are"),
        ("{}/empty", DataError, "not been evaluated.*srbench eval --checkpoint"),
        ("{}/away", DataError, "is not there"),
        ("{}/away:M1", DataError, "is not there"),
        ("a\0b", DataError, "names no checkpoint"),
        ("", DataError, "names no checkpoint"),
    ],
)
def test_what_has_no_results_is_told_with_the_way_out(
    tmp_path: Path, text: str, error: type[Exception], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for model in ("M1", "M2"):
        store(tmp_path / "run", model, rows(quality_sampled=[1, 2]))
    (tmp_path / "run" / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "run" / "empty")
    with pytest.raises(error, match=words):
        locate(text.format(tmp_path / "run"))


def test_one_model_of_two_runs_is_told_apart_by_the_runs(tmp_path: Path) -> None:
    for run in ("a", "b"):
        store(tmp_path / run, "M1", rows(quality_sampled=[1, 2]), fingerprint=run)
    found = pair(locate(f"{tmp_path}/a:M1"), locate(f"{tmp_path}/b:M1"))
    assert (found.a.name, found.b.name) == ("a:M1", "b:M1")
    assert not found.same_weights
    same = pair(locate(f"{tmp_path}/a:M1"), locate(f"{tmp_path}/a:M1"))
    assert same.a.name != same.b.name
    assert same.same_weights


def test_benchmarks_by_name_and_what_only_one_has(tmp_path: Path) -> None:
    for model in ("M1", "M2"):
        store(tmp_path, model, rows(quality_sampled=[1, 2]), incomplete=3)
    store(tmp_path, "M2", rows(average=[1, 0]), NLP)
    sides = locate(f"{tmp_path}:M1"), locate(f"{tmp_path}:M2")
    found = pair(*sides)
    assert (found.a.absent, found.b.absent) == ((NLP,), ())
    assert part_of(found).incomplete == (3, 3)
    for name in (QUALITY, *short_names(QUALITY)):
        assert [b.benchmark for b in pair(*sides, benchmarks=(name,)).benchmarks] == [QUALITY]
    with pytest.raises(UnknownNameError, match="Did you mean 'quality'"):
        pair(*sides, benchmarks=("qualty",))
    with pytest.raises(DataError, match="no benchmark that both"):
        pair(*sides, benchmarks=("nlp",))


@pytest.mark.parametrize("fingerprint", ["f-M2", "other"])
def test_head_to_head_is_taken_from_a_tournament_of_the_same_weights(tmp_path: Path, fingerprint: str) -> None:
    shares = {"win_rate": 0.6, "low": 0.5, "high": 0.7, "p_value": 0.1, "win": 0.6, "tie": 0, "loss": 0.4}
    counts = {"n_scored": 10, "n_total": 10, "n_prompts": 10}
    match = HeadToHead.model_validate({"benchmark": "h", "judge": "j", "a": "M2", "b": "M1", **shares, **counts})
    held = Tournament(
        benchmark="h",
        checkpoints={"M1": "f-M1", "M2": fingerprint},
        judge="j",
        rule="agree",
        anchor="M1",
        n_prompts=10,
        pairs=(match,),
        ratings=(),
        comparability={},
    )
    write_record(tmp_path / standings.MATCHES / standings.TOURNAMENT, held)
    found = both(tmp_path, [1, 2], [2, 3])
    assert found.head_to_head == (match if fingerprint == "f-M2" else None)
