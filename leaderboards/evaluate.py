"""Evaluation of one checkpoint, and the comparison of a run's checkpoints.

A result belongs to the weights (their fingerprint) and to the settings it was made with, not to a path: what is there
for both is not made again, and what is there for others is replaced. What was interrupted goes on batch by batch.
"""

from __future__ import annotations

import importlib
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import combinations
from pathlib import Path
from typing import Final, cast

from leaderboards import standings
from leaderboards.base import BREAKDOWN_RESAMPLES, Benchmark, Setting, Subject, measures, summarise, unscored
from leaderboards.metrics import METRICS
from leaderboards.micro import MicroQuality, head_to_head
from leaderboards.standings import HeadToHead, MetricDifference, Standings
from selfreward_bench import jsonl, stats
from selfreward_bench.config import RunConfig
from selfreward_bench.engines import open_engine
from selfreward_bench.engines.base import Engine
from selfreward_bench.errors import DataError, SrbenchError, UnknownNameError
from selfreward_bench.files import os_errors
from selfreward_bench.fingerprint import weights_fingerprint
from selfreward_bench.progress import Reporter, Silent
from selfreward_bench.rundir import hash_file, hash_json
from selfreward_bench.types import EvalResult, Record, SampleScore

__all__ = ["BENCHMARKS", "compare", "evaluate_checkpoint", "open_benchmark"]

#: name -> "module:class"; resolved on first use
BENCHMARKS: Final[dict[str, str]] = {
    "micro-quality": "leaderboards.micro:MicroQuality",
    "micro-judge-accuracy": "leaderboards.micro_judging:JudgeAccuracy",
}

RESAMPLES = 5_000  # of a paired difference
_START = "start.json"


def open_benchmark(name: str) -> Benchmark:
    """The benchmark of a row of ``BENCHMARKS``.

    Raises:
        UnknownNameError: there is no such row.
    """
    if name not in BENCHMARKS:
        raise UnknownNameError("benchmark", name, BENCHMARKS)
    module, attribute = BENCHMARKS[name].split(":")
    return cast(Benchmark, getattr(importlib.import_module(module), attribute)())


def evaluate_checkpoint(
    checkpoint_dir: Path,
    *,
    name: str,
    config: RunConfig,
    out_dir: Path,
    reporter: Reporter | None = None,
    engine: Engine | None = None,
    benchmarks: Sequence[str] | None = None,
) -> list[EvalResult]:
    """Scores one checkpoint on the benchmarks of the embedded world.

    A benchmark that fails leaves its reason in ``failure.json``; the others are run all the same.

    Args:
        checkpoint_dir: the model in Hugging Face layout (or a script of the ``scripted`` engine).
        name: what the checkpoint is called in results, such as ``M2``.
        out_dir: gets a directory per benchmark; ``runs/NAME/M2/eval`` for a run's checkpoint.
        engine: an open engine on this checkpoint, which stays open; None opens one when it is needed, and closes it.
        benchmarks: names of rows of ``BENCHMARKS``; None takes all.

    Returns:
        One result per benchmark, in the order asked for.

    Raises:
        EngineError: the checkpoint cannot be fingerprinted or loaded.
        SrbenchError: what the first failing benchmark raised, after all others were run.
    """
    chosen = [open_benchmark(b) for b in (BENCHMARKS if benchmarks is None else benchmarks)]
    fingerprint = hash_file(checkpoint_dir) if checkpoint_dir.is_file() else weights_fingerprint(checkpoint_dir)
    results: list[EvalResult] = []
    errors: list[SrbenchError] = []
    with _lazy_engine(engine, checkpoint_dir, config) as opened:
        evaluation = _Evaluation(name, fingerprint, Setting(config), opened, reporter or Silent())
        for benchmark in chosen:
            directory = out_dir / benchmark.key
            try:
                results.append(evaluation.result(benchmark, directory))
            except SrbenchError as error:
                evaluation.note_failure(benchmark, directory, error)
                errors.append(error)
    if errors:
        raise errors[0]
    return results


class _Opener:
    """An engine that is opened when it is first needed."""

    def __init__(self, engine: Engine | None, checkpoint: Path, config: RunConfig) -> None:
        self.engine = engine
        self._checkpoint, self._config = checkpoint, config

    def __call__(self) -> Engine:
        if self.engine is None:
            self.engine = open_engine(self._config.engine, self._checkpoint, threads=self._config.threads)
        return self.engine


@contextmanager
def _lazy_engine(engine: Engine | None, checkpoint: Path, config: RunConfig) -> Iterator[_Opener]:
    opener = _Opener(engine, checkpoint, config)
    try:
        yield opener
    finally:
        if engine is None and opener.engine is not None:
            opener.engine.close()


class _Start(Record):
    """Which evaluation the records of a directory belong to."""

    fingerprint: str
    config_hash: str


@dataclass(frozen=True)
class _Evaluation:
    name: str
    fingerprint: str
    setting: Setting
    engine: _Opener
    reporter: Reporter

    def result(self, benchmark: Benchmark, directory: Path) -> EvalResult:
        stage = f"{self.name}/eval/{benchmark.key}"
        start = _Start(fingerprint=self.fingerprint, config_hash=self._config_hash(benchmark))
        if stored := _current(directory, start):
            self.reporter.finished(stage, _headline(stored), 0.0, skipped=True)
            return stored
        _prepare(directory, start)
        self.engine()  # loading is not part of the benchmark's time
        self.reporter.started(stage, benchmark.plan(self.setting).units, "samples")
        began = time.monotonic()
        outcome = benchmark.run(Subject(self.name, self.engine, self.setting, directory, self.reporter.advanced))
        metrics = summarise(outcome.rows) | dict(outcome.metrics)
        jsonl.write(directory / standings.SCORES, outcome.rows)
        result = EvalResult(
            checkpoint=self.name,
            fingerprint=self.fingerprint,
            benchmark=benchmark.key,
            judge=outcome.judge,
            metrics=metrics,
            config_hash=start.config_hash,
            versions=_versions(),
            seconds=round(time.monotonic() - began, 3),
            comparability={"benchmark": benchmark.key, **outcome.comparability},
            incomplete=outcome.incomplete,
        )
        standings.write_record(directory / standings.RESULT, result)
        counts = _headline(result) | {f"unscored: {r}": n for r, n in unscored(outcome.rows).items()}
        self.reporter.finished(stage, counts, result.seconds)
        return result

    def note_failure(self, benchmark: Benchmark, directory: Path, error: SrbenchError) -> None:
        self.reporter.message(f"{self.name}: {benchmark.key} failed: {error}")
        failure = standings.Failure(
            checkpoint=self.name,
            fingerprint=self.fingerprint,
            benchmark=benchmark.key,
            error=type(error).__name__,
            message=str(error).encode("utf-8", "backslashreplace").decode(),
        )
        standings.write_record(directory / standings.FAILURE, failure)

    def _config_hash(self, benchmark: Benchmark) -> str:
        config = self.setting.config.engine
        engine = {"kind": config.kind, "dtype": config.dtype}
        return hash_json({"benchmark": benchmark.key, "engine": engine, **benchmark.identity(self.setting)})


def _current(directory: Path, start: _Start) -> EvalResult | None:
    """The stored result, where it belongs to these weights and settings and is whole."""
    try:
        stored = standings.read_result(directory / standings.RESULT)
    except DataError:
        return None
    same = (stored.fingerprint, stored.config_hash) == (start.fingerprint, start.config_hash)
    return stored if same and not stored.incomplete and (directory / standings.SCORES).is_file() else None


def _prepare(directory: Path, start: _Start) -> None:
    """Keeps what an interrupted evaluation of the same weights and settings left; removes anything else."""
    file = directory / _START
    with os_errors(directory, "prepare"):
        try:
            belongs = _Start.model_validate_json(file.read_bytes()) == start
        except (FileNotFoundError, ValueError):
            belongs = False
        if not belongs and directory.exists():
            shutil.rmtree(directory)
        for old in (standings.RESULT, standings.FAILURE):
            (directory / old).unlink(missing_ok=True)
    standings.write_record(file, start)


def _headline(result: EvalResult) -> dict[str, float]:
    shown = list(METRICS.get(result.benchmark, {}))[:2]
    values = {name: result.metrics[name].value for name in shown if name in result.metrics}
    return {name: round(value, 4) for name, value in values.items() if value is not None}


def _versions() -> dict[str, str]:
    found = {}
    for package in ("srbench", "torch", "transformers"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


# --- checkpoints against each other


def compare(run_path: Path) -> Standings:
    """Compares the run's evaluated checkpoints and writes ``standings.json``.

    Each is compared with the one before it, with M1 and with the SFT baseline (all that is no iteration), on the
    samples both have; answers are compared head to head for all pairs. Results of unlike settings are noted
    instead.

    Raises:
        DataError: a result or its scores cannot be read.
    """
    names = standings.evaluated_models(run_path)
    benchmarks = [open_benchmark(b) for b in BENCHMARKS]
    stored = {b.key: _stored_of(run_path, names, b.key) for b in benchmarks}
    differences: list[MetricDifference] = []
    notes: list[str] = []
    for benchmark in benchmarks:
        found = stored[benchmark.key]
        for a, b in _reference_pairs([n for n in names if n in found]):
            if note := _incomparable(found[a].result, found[b].result):
                notes.append(note)
            else:
                differences += _differences(benchmark, found[a], found[b])
    result = Standings(
        fingerprints={n: {k: s[n].result.fingerprint for k, s in stored.items() if n in s} for n in names},
        differences=tuple(differences),
        head_to_head=tuple(_head_to_heads(stored[MicroQuality.key])),
        notes=tuple(notes),
    )
    standings.write_record(run_path / standings.STANDINGS, result)
    return result


@dataclass(frozen=True)
class _Stored:
    result: EvalResult
    rows: Sequence[SampleScore]


def _stored_of(run_path: Path, names: Sequence[str], key: str) -> dict[str, _Stored]:
    folders = {n: run_path / n / "eval" / key for n in names}
    return {
        n: _Stored(
            standings.read_result(folder / standings.RESULT),
            jsonl.read(folder / standings.SCORES, SampleScore, unique=lambda r: r.sample_id, allow_empty=True),
        )
        for n, folder in folders.items()
        if (folder / standings.RESULT).is_file()
    }


def _reference_pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """``(later, earlier)``: each model with its predecessor, M1, and what stands between M0 and M1."""
    start = names.index("M1") if "M1" in names else len(names)
    baselines = {n for n in names[:start] if n != "M0"}
    return [
        (later, earlier)
        for i, later in enumerate(names)
        for j, earlier in enumerate(names[:i])
        if j == i - 1 or earlier == "M1" or (earlier in baselines and i >= start)
    ]


def _incomparable(a: EvalResult, b: EvalResult) -> str | None:
    if a.config_hash != b.config_hash:
        return (
            f"{a.checkpoint} and {b.checkpoint} were evaluated on {a.benchmark} with unlike settings or data and are "
            "not compared. Evaluate both again."
        )
    return None


def _differences(benchmark: Benchmark, a: _Stored, b: _Stored) -> Iterator[MetricDifference]:
    for metric in benchmark.paired:
        left, right = _column(a.rows, metric), _column(b.rows, metric)
        if not left or not right:
            continue
        clusters = {key: cluster for key, (_, cluster) in {**left, **right}.items()}
        ids = sorted(clusters)
        difference = stats.paired_difference(
            [left.get(i, (None, ""))[0] for i in ids],
            [right.get(i, (None, ""))[0] for i in ids],
            [clusters[i] for i in ids],
            n_boot=BREAKDOWN_RESAMPLES if "/" in metric else RESAMPLES,
        )
        yield MetricDifference(
            benchmark=benchmark.key,
            metric=metric,
            a=a.result.checkpoint,
            b=b.result.checkpoint,
            value=difference.value,
            low=difference.low,
            high=difference.high,
            p_value=difference.p_value,
            n=difference.n,
            n_total=difference.n_total,
        )


def _column(rows: Sequence[SampleScore], metric: str) -> dict[str, tuple[float | None, str]]:
    """Sample id -> its value of a metric and its prompt."""
    return {r.sample_id: (numbers[metric], r.cluster) for r in rows if metric in (numbers := measures(r))}


def _head_to_heads(found: Mapping[str, _Stored]) -> Iterator[HeadToHead]:
    for earlier, later in combinations(standings.model_order(found), 2):
        if not _incomparable(found[later].result, found[earlier].result):
            yield head_to_head(later, found[later].rows, earlier, found[earlier].rows)
