"""A run directory written by hand: what a report has to read, without training or evaluating anything."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest

from leaderboards.standings import (
    AuthorScore,
    DriftJudge,
    DriftMatrix,
    HeadToHead,
    JudgeAgreement,
    MetricDifference,
    Positions,
    Rating,
    Standings,
    Tournament,
    write_record,
)
from selfreward_bench.config import RunConfig
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.rundir import RunDir
from selfreward_bench.types import EvalResult, Message, Metric, PreferencePair

QUALITY, JUDGING = "micro-quality@1", "micro-judge-accuracy@1"


@cache
def new_run() -> dict[str, bytes]:
    """The files of a run that was made just now."""
    with tempfile.TemporaryDirectory() as folder:
        made = RunDir.create(Path(folder) / "run", RunConfig()).path
        return {file.name: file.read_bytes() for file in made.iterdir()}


class RunBuilder:
    """Writes the files of a run, one thing at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        for name, content in new_run().items():
            (path / name).write_bytes(content)

    def result(
        self,
        model: str,
        benchmark: str = QUALITY,
        judge: str = "oracle",
        metrics: Mapping[str, float | None] | None = None,
        conditions: Mapping[str, str] | None = None,
        **values: float | None,
    ) -> None:
        """``metrics`` are for names that are no Python names."""
        found = {
            n: Metric(value=v, low=v and v - 0.1, high=v and v + 0.1, n_scored=507, n_total=512)
            for n, v in {**values, **(metrics or {})}.items()
        }
        record = EvalResult(
            checkpoint=model,
            fingerprint=f"f-{model}",
            benchmark=benchmark,
            judge=judge,
            metrics=found,
            comparability={"benchmark": benchmark, **(conditions or {})},
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

    def tournament(self, names: Sequence[str]) -> None:
        pairs = tuple(match(a, b) for i, a in enumerate(names) for b in names[:i])
        record = Tournament(
            benchmark="head-to-head@1",
            checkpoints={n: f"f-{n}" for n in names},
            judge="judge-x",
            rule="agree",
            anchor="M1",
            n_prompts=256,
            pairs=pairs,
            ratings=tuple(
                Rating(
                    checkpoint=n, rating=900.0 + 50 * i, low=880.0 + 50 * i, high=920.0 + 50 * i, n_scored=9, n_total=9
                )
                for i, n in enumerate(names)
            ),
            comparability={"judge": "judge-x"},
        )
        (self.path / "head-to-head").mkdir()
        write_record(self.path / "head-to-head" / "head_to_head.json", record)

    def drift(self, names: Sequence[str]) -> None:
        some = Metric(value=0.5, low=0.4, high=0.6, n_scored=60, n_total=64)
        record = DriftMatrix(
            judges=tuple(
                DriftJudge(name=n, key="k", fingerprint=f"f-{n}", mean_score=some, accuracy=some) for n in names
            ),
            authors=tuple(names),
            scores=tuple(AuthorScore(judge=j, author=a, score=some) for j in names for a in names),
            agreement=tuple(
                JudgeAgreement(a=a, b=b, spearman=some, kendall_tau_b=some, within_kendall=some)
                for i, a in enumerate(names)
                for b in names[:i]
            ),
            pool_hash="p",
            n_prompts=64,
            n_responses=300,
        )
        write_record(self.path / "drift.json", record)

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


def match(a: str, b: str, win_rate: float = 0.58, low: float = 0.54, high: float = 0.62) -> HeadToHead:
    return HeadToHead(
        benchmark="head-to-head@1",
        judge="judge-x",
        a=a,
        b=b,
        win_rate=win_rate,
        low=low,
        high=high,
        p_value=0.001,
        win=0.3,
        tie=0.56,
        loss=0.14,
        n_scored=250,
        n_total=256,
        n_prompts=256,
        wins=75,
        ties=140,
        losses=35,
        positions=Positions(consistency=0.8, first_preferred=0.55, n_both=250, n_decided=400),
        reasons={"no_verdict": 6},
    )


@pytest.fixture(name="match")
def _match() -> Callable[..., HeadToHead]:
    return match


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


ALL = ("M0", "SFT", "M1", "M2", "M3")


@pytest.fixture
def full(builder: RunBuilder) -> RunBuilder:
    """A finished run with results of every benchmark, of the micro-world and of real data."""
    alike = {"judge": "judge-x", "data": "d" * 32}
    for i, model in enumerate(ALL):
        step = 0.1 * i
        builder.result(
            model,
            quality_sampled=3 + step,
            quality_greedy=3.5 + step,
            chars_sampled=30 + i,
            metrics={f"quality_sampled/{k}": 3 + step for k in ("name", "sort")}
            | {f"grade_sampled/{g}": (g + 1) / 21 for g in range(6)},
        )
        for key in ("micro-alpaca-eval@1", "alpaca-eval@1"):
            lengths = {f"win_rate/{whose}_length_{q}": 40 + q for whose in ("expected", "answer") for q in (1, 2, 3, 4)}
            parts = {"win_rate/koala": 44.0 + i, "win_rate/vicuna": None}
            numbers = {"win_rate": 40.0 + i, "length_controlled_winrate": 39.0 + i, "avg_length": 100.0 + i}
            builder.result(model, key, metrics=numbers | parts | lengths, conditions=alike)
        for key in ("micro-mt-bench@1", "mt-bench@1"):
            numbers = {"grade": 5 + step, "grade_turn_1": 6 + step, "grade_turn_2": 4 + step, "grade/math": 3 + step}
            builder.result(model, key, metrics=numbers, conditions=alike)
        tasks = {"average": 0.6 - step / 10, "mmlu": 0.5, "mmlu/law": 0.4, "gsm8k": 0.7 - step, "gsm8k/no_answer": 0.1}
        builder.result(model, "nlp@1", metrics=tasks, conditions=alike)
        builder.result(model, "micro-nlp@1", average=0.9, micro_choice=0.95, conditions=alike)
        judged = {"pairwise_accuracy": 0.6 + step / 5, "pairwise_accuracy_ties_wrong": 0.5, "spearman": 0.3 + step}
        judged |= {"pairwise_accuracy_ties_dropped": 0.7, "grade/4": 0.6, "grade/5": 0.4, "pairwise_accuracy/law": 0.5}
        for key in (JUDGING, "judge-accuracy-oasst@1", "judge-accuracy-llmbar@1"):
            builder.result(model, key, judge=f"own@1/{model}", metrics=judged, conditions=alike)
        builder.result(model, "new-benchmark@7", metrics={"score": 1.5, "score/easy": 2.5}, conditions=alike)
    up, down, none = (0.2, 0.1, 0.3), (-0.2, -0.3, -0.1), (0.05, -0.1, 0.2)
    builder.standings(
        [
            difference(a, b, *bounds, metric, benchmark)
            for a, b in (("M1", "SFT"), ("M2", "M1"), ("M3", "M2"), ("M3", "M1"), ("M3", "SFT"), ("M3", "M0"))
            for benchmark, metric, bounds in (
                (QUALITY, "quality_sampled", up),
                (QUALITY, "quality_sampled/sort", down),
                ("alpaca-eval@1", "win_rate", none),
                ("mt-bench@1", "grade", up),
                ("nlp@1", "average", none),
                ("nlp@1", "gsm8k", down),
                ("nlp@1", "mmlu", none),
                ("judge-accuracy-oasst@1", "pairwise_accuracy", up),
            )
        ]
    )
    builder.tournament(ALL)
    builder.drift(ALL)
    return builder
