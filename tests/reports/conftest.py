"""A run directory written by hand: what a report has to read, without training or evaluating anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from leaderboards.standings import HeadToHead, MetricDifference, Standings, write_record
from selfreward_bench import jsonl
from selfreward_bench.config import RunConfig
from selfreward_bench.rundir import RunDir
from selfreward_bench.types import EvalResult, Message, Metric, PreferencePair

QUALITY, JUDGING = "micro-quality@1", "micro-judge-accuracy@1"


class RunBuilder:
    """Writes the files of a run, one thing at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        RunDir.create(path, RunConfig())

    def result(self, model: str, benchmark: str = QUALITY, judge: str = "oracle", **values: float | None) -> None:
        metrics = {
            n: Metric(value=v, low=v and v - 0.1, high=v and v + 0.1, n_scored=507, n_total=512)
            for n, v in values.items()
        }
        record = EvalResult(
            checkpoint=model,
            fingerprint=f"f-{model}",
            benchmark=benchmark,
            judge=judge,
            metrics=metrics,
            config_hash="c" * 32,
            versions={"srbench": "0.1.0"},
            seconds=8.25,
        )
        write_record(self.path / model / "eval" / benchmark / "result.json", record)

    def standings(self, differences: list[MetricDifference], matches: list[HeadToHead] | None = None) -> None:
        models: dict[str, dict[str, str]] = {}
        for file in self.path.glob("*/eval/*/result.json"):
            models.setdefault(file.parts[-4], {})[file.parts[-2]] = f"f-{file.parts[-4]}"
        record = Standings(fingerprints=models, differences=tuple(differences), head_to_head=tuple(matches or ()))
        write_record(self.path / "standings.json", record)

    def stage(self, model: str, name: str, counts: dict[str, float] | None, seconds: float = 3.5) -> None:
        """``counts=None``: begun, not finished."""
        folder = self.path / model
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.start.json").write_text("{}")
        if counts is not None:
            marker = {
                "identity": {"inputs": {}, "settings": {}, "version": 1},
                "counts": counts,
                "outputs": {},
                "seconds": seconds,
                "resumed": False,
                "finished_at": f"2026-01-01T00:00:{len(list(folder.glob('*.stage.json'))):02d}+00:00",
                "srbench": "0.1.0",
            }
            (folder / f"{name}.stage.json").write_text(json.dumps(marker))

    def pairs(self, model: str, texts: list[tuple[str, str, str]]) -> None:
        records = [
            PreferencePair(
                prompt_id=f"p{i}",
                prompt=(Message(role="user", content=prompt),),
                chosen=(Message(role="assistant", content=chosen),),
                rejected=(Message(role="assistant", content=rejected),),
                chosen_score=4.5,
                rejected_score=1.25,
                chosen_index=0,
                rejected_index=1,
            )
            for i, (prompt, chosen, rejected) in enumerate(texts)
        ]
        jsonl.write(self.path / model / "pairs.jsonl", records)


def difference(
    a: str, b: str, value: float, low: float, high: float, metric: str, benchmark: str = QUALITY
) -> MetricDifference:
    return MetricDifference(
        benchmark=benchmark, metric=metric, a=a, b=b, value=value, low=low, high=high, p_value=0.01, n=500, n_total=512
    )


@pytest.fixture
def builder(tmp_path: Path) -> RunBuilder:
    return RunBuilder(tmp_path / "runs" / "demo")


@pytest.fixture(name="difference")
def _difference() -> Callable[..., MetricDifference]:
    return difference


@pytest.fixture
def whole(builder: RunBuilder) -> RunBuilder:
    """A finished run of M1, M2, M3 with a gain in quality and none in judging."""
    for i, model in enumerate(("M1", "M2", "M3")):
        sampled = 3.0 + 0.3 * i
        builder.result(
            model, quality_sampled=sampled, quality_greedy=4.0, exact_sampled=0.5 + 0.1 * i, chars_sampled=30.0
        )
        builder.result(model, JUDGING, judge=f"micro@1/expected/{model}", pairwise_accuracy=0.75, spearman=0.4)
        (builder.path / model / "iteration.json").write_text(json.dumps({"parent": f"M{i}", "checks": {"ok": True}}))
    builder.stage("M2", "candidates", {"answers": 9000, "truncated": 12})
    builder.stage("M2", "pairs", {"pairs": 2, "ties": 31})
    builder.stage("M3", "dpo", None)
    builder.pairs("M2", [("Describe a cat.", "A cat is small.", "Dog."), ("Name a food.", "A pea.", "a")])
    (builder.path / "M2" / "train").mkdir()
    steps = ['{"step": 1, "loss": 0.6931}', '{"step": 2, "loss": 0.41}', '{"step": 3, "lo']
    (builder.path / "M2" / "train" / "log.jsonl").write_text("\n".join(steps))
    builder.standings(
        [
            difference("M3", "M1", 0.6, 0.4, 0.8, "quality_sampled"),
            difference("M3", "M2", 0.3, -0.1, 0.7, "quality_sampled"),
            difference("M3", "M1", 0.0, -0.1, 0.1, "quality_greedy"),
            difference("M3", "M1", 0.0, -0.1, 0.1, "chars_sampled"),
            difference("M3", "M1", 0.5, 0.1, 0.9, "quality_sampled/name"),
            difference("M3", "M1", -0.5, -0.9, -0.1, "quality_sampled/sort"),
            difference("M3", "M1", 0.0, -0.02, 0.02, "pairwise_accuracy", JUDGING),
        ],
        [
            HeadToHead(
                benchmark="head-to-head@1",
                judge="oracle",
                a="M3",
                b="M1",
                win_rate=0.58,
                low=0.54,
                high=0.62,
                p_value=0.001,
                win=0.3,
                tie=0.56,
                loss=0.14,
                n_scored=1000,
                n_total=1024,
                n_prompts=256,
            )
        ],
    )
    return builder
