"""The comparison of a run's checkpoints: who is held against whom, and what is not compared."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from leaderboards import standings
from leaderboards.comparing import run as comparing
from leaderboards.comparing.run import compare
from leaderboards.harness import evaluate_checkpoint
from selfreward_bench.config import RunConfig
from selfreward_bench.engines.scripted import ScriptedEngine
from selfreward_bench.storage import jsonl
from selfreward_bench.types import EvalResult, Metric, SampleScore

QUALITY = "micro-quality@1"
N_PROMPTS = 24

Skilled = Callable[..., ScriptedEngine]
Evaluate = Callable[..., list[EvalResult]]
Checkpoint = Callable[..., Path]


@pytest.fixture
def evaluate(world_files: Path, config: RunConfig, tmp_path: Path) -> Evaluate:
    def run(checkpoint_dir: Path, engine: ScriptedEngine, name: str = "M1", **options: object) -> list[EvalResult]:
        arguments = {"name": name, "config": config, "out_dir": tmp_path / "run" / name / "eval", **options}
        return evaluate_checkpoint(checkpoint_dir, engine=engine, **arguments)  # type: ignore[arg-type]

    return run


def test_differences_are_to_the_previous_to_m1_and_to_the_baseline(run: Path) -> None:
    compared = compare(run)
    pairs = {(d.a, d.b) for d in compared.differences}
    assert pairs == {("M1", "SFT"), ("M2", "M1"), ("M2", "SFT"), ("M3", "M2"), ("M3", "M1"), ("M3", "SFT")}
    gain = compared.difference(QUALITY, "quality_sampled", "M3", "M1")
    assert gain is not None
    quality = {n: standings.read_result(run / n / "eval" / QUALITY / "result.json").metrics for n in ("M1", "M3")}
    values = [quality[n]["quality_sampled"].value for n in ("M3", "M1")]
    assert gain.value == pytest.approx(values[0] - values[1])  # type: ignore[operator]
    assert gain.direction == 1
    assert (gain.n, gain.n_total) == (N_PROMPTS * 2, N_PROMPTS * 2)
    assert standings.read_standings(run) == compared


def test_differences_join_rows_by_id(run: Path) -> None:
    before = compare(run)
    for path in run.glob("*/eval/*/scores.jsonl"):
        rows = jsonl.read(path, SampleScore)
        jsonl.write(path, random.Random(str(path.parent)).sample(rows, len(rows)))
    assert compare(run) == before


def test_all_pairs_meet_head_to_head(run: Path) -> None:
    matches = {(h.a, h.b): h for h in compare(run).head_to_head}
    assert matches.keys() == {("M1", "SFT"), ("M2", "SFT"), ("M3", "SFT"), ("M2", "M1"), ("M3", "M1"), ("M3", "M2")}
    best = matches["M3", "M1"]
    assert best.win_rate is not None
    assert best.win_rate > 0.5
    assert best.loss == 0


def test_unlike_settings_are_noted_and_not_compared(
    run: Path, evaluate: Evaluate, checkpoint: Checkpoint, config: RunConfig, skilled: Skilled
) -> None:
    again = config.model_copy(update={"seed": 5})
    evaluate(checkpoint("M3", 3.0), skilled(1.0), name="M3", config=again)
    assert "M3" in {d.a for d in compare(run).differences}  # a seed is no condition
    other = config.model_copy(update={"eval": config.eval.model_copy(update={"samples": 3})})
    evaluate(checkpoint("M3", 3.0), skilled(1.0), name="M3", config=other)
    compared = compare(run)
    quality = {(d.a, d.b) for d in compared.differences if d.benchmark == QUALITY}
    assert quality == {("M1", "SFT"), ("M2", "M1"), ("M2", "SFT")}
    assert "M3" not in {h.a for h in compared.head_to_head}
    assert any(n.startswith("M3 was") and "unlike conditions (parameters)" in n for n in compared.notes)


def test_results_of_unlike_conditions_are_noted_with_what_is_unlike(run: Path) -> None:
    path = run / "M3/eval" / QUALITY / "result.json"
    result = standings.read_result(path)
    for name in ("M1", "M2", "M3"):
        other = run / name / "eval" / QUALITY / "result.json"
        judge = "another" if name == "M3" else "a-judge"
        stated = {"benchmark": QUALITY, "judge": judge, "prompt": "p"}
        standings.write_record(other, standings.read_result(other).model_copy(update={"comparability": stated}))
    compared = compare(run)
    pairs = {(d.a, d.b) for d in compared.differences if d.benchmark == QUALITY}
    assert pairs == {("M2", "M1")}
    assert any("M1 and M2 and is not" in n and "unlike conditions (judge)" in n for n in compared.notes)
    standings.write_record(path, result.model_copy(update={"config_hash": "other", "comparability": stated}))
    assert compare(run).difference(QUALITY, "quality_sampled", "M3", "M2") is None
    alike = stated | {"judge": "a-judge"}
    standings.write_record(path, result.model_copy(update={"config_hash": "other", "comparability": alike}))
    assert compare(run).difference(QUALITY, "quality_sampled", "M3", "M2") is not None


def test_one_checkpoint_compares_with_nothing(
    evaluate: Evaluate, checkpoint: Checkpoint, tmp_path: Path, skilled: Skilled
) -> None:
    evaluate(checkpoint(), skilled(0.7))
    compared = compare(tmp_path / "run")
    assert (compared.differences, compared.head_to_head) == ((), ())
    assert compared.fingerprints.keys() == {"M1"}


def test_of_many_models_each_is_held_against_the_first_the_one_before_and_the_highest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing, "RANKED", 3)
    names = ["a", "b", "c", "d", "e"]
    for name, value in zip(names, (1.0, 2.0, 5.0, 3.0, 4.0), strict=True):
        rows = [SampleScore(sample_id=f"{i}", cluster=f"{i}", value=value, detail=_measured(value + i)) for i in (0, 1)]
        result = EvalResult(
            checkpoint=name,
            fingerprint=name,
            benchmark=QUALITY,
            judge="oracle",
            metrics={"quality_sampled": Metric(value=value + 0.5, n_scored=2, n_total=2)},
            config_hash="c",
            versions={},
            seconds=1.0,
        )
        standings.write_record(tmp_path / name / "eval" / QUALITY / "result.json", result)
        jsonl.write(tmp_path / name / "eval" / QUALITY / "scores.jsonl", rows)
    pairs = {f"{d.a}{d.b}" for d in compare(tmp_path).differences}
    assert pairs == {"ba", "ca", "da", "ea", "cb", "dc", "ed", "ec"}


def _measured(value: float) -> dict[str, object]:
    return {"measures": {"quality_sampled": value}}
