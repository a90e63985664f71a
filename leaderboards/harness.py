"""Evaluation of one model on some benchmarks; ``comparing`` holds models against each other.

A result belongs to the model (weights, configuration, tokenizer, templates) and to its settings, not to a path: what is
there for both is not made again, and what is there for others is put aside (``keeping``). What was interrupted goes on
batch by batch; an incomplete result stays until the next one takes its place.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from leaderboards import replicates, standings
from leaderboards.asked import Asked
from leaderboards.base import Benchmark, JudgeRole, Outcome, Setting, Subject, summarise, unscored
from leaderboards.descriptions import added, described, learn
from leaderboards.keeping import Start, begin, spelled_out
from leaderboards.metrics import BUILT_IN
from leaderboards.models import ORACLE, SELF, Model, fingerprint_of
from leaderboards.registry import THIN, open_benchmark
from selfreward_bench.bases.examine import open_engine
from selfreward_bench.config import RunConfig
from selfreward_bench.engines.base import Engine
from selfreward_bench.engines.lazy import LazyEngine
from selfreward_bench.engines.templates import of_run, shows_date
from selfreward_bench.errors import ConfigError, DataError, SrbenchError
from selfreward_bench.hardware import hardware
from selfreward_bench.progress import Reporter, Silent
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.decoding import json_file
from selfreward_bench.storage.files import os_errors, write_atomic
from selfreward_bench.storage.rundir import hash_json
from selfreward_bench.types import Description, EvalResult, SampleScore

__all__ = ["evaluate_checkpoint", "evaluate_model", "is_current"]

_COST: Final = "cost.json"  # what the records cost so far, over all calls that worked on them


def evaluate_checkpoint(
    checkpoint_dir: Path,
    *,
    name: str,
    config: RunConfig,
    out_dir: Path,
    reporter: Reporter | None = None,
    engine: Engine | None = None,
    benchmarks: Sequence[str] = THIN,
) -> list[EvalResult]:
    """Scores one checkpoint as writer and as judge on the embedded world; see ``evaluate_model``.

    Args:
        checkpoint_dir: the model in Hugging Face layout (or a script of the ``scripted`` engine).
        name: what the checkpoint is called in results, such as ``M2``.
        out_dir: gets a directory per benchmark; ``runs/NAME/M2/eval`` for a run's checkpoint.
        engine: an open engine on this checkpoint, which stays open; None opens one when it is needed, and closes it.
        benchmarks: as ``open_benchmark`` takes them.

    Raises:
        EngineError: the checkpoint cannot be fingerprinted or loaded.
        SrbenchError: what the first failing benchmark raised, after all others were run.
    """
    chosen = of_run(config, name, checkpoint_dir)
    given = chosen.given if chosen else None
    opened = LazyEngine(
        lambda: engine or open_engine(config.engine, checkpoint_dir, threads=config.threads, chat_template=given),
        keep=engine is not None,
    )
    day = config.engine.date if checkpoint_dir.is_dir() and shows_date(checkpoint_dir, chosen) else None
    fingerprint = fingerprint_of(checkpoint_dir)
    model = Model(name, fingerprint, opened.open, chat_template=chosen, date=day, engine=lambda: opened)
    setting = Setting(config, judge=JudgeRole(ORACLE))
    try:
        return evaluate_model(model, dict.fromkeys(benchmarks, setting), out_dir=out_dir, reporter=reporter)
    finally:
        opened.close()


def evaluate_model(
    model: Model, settings: Mapping[str, Setting], *, out_dir: Path, reporter: Reporter | None = None
) -> list[EvalResult]:
    """Scores one model on some benchmarks.

    A benchmark that fails leaves its reason in ``failure.json``; the others are run all the same.

    Args:
        settings: what ``open_benchmark`` takes -> what the benchmark is run with.
        out_dir: gets a directory per benchmark.

    Returns:
        One result per benchmark, in the order asked for.

    Raises:
        ConfigError: a benchmark needs a judge, and its setting has none.
        SrbenchError: what the first failing benchmark raised, after all others were run; its notes say it of each.
    """
    chosen = [(open_benchmark(name), setting) for name, setting in settings.items()]
    for benchmark, setting in chosen:
        if benchmark.needs_judge and setting.judge is None and setting.finished is None:
            raise ConfigError(f"{benchmark.key} needs a judge, and none was named.")
    results: list[EvalResult] = []
    errors: list[SrbenchError] = []
    if model.chat_template and reporter and (told := model.chat_template.told(model.name)):
        reporter.message(told)
    for benchmark, setting in chosen:
        evaluation = _Evaluation(model, setting, out_dir / benchmark.key, reporter or Silent())
        try:
            results.append(evaluation.result(benchmark))
        except SrbenchError as error:
            evaluation.note_failure(benchmark, error)
            errors.append(error)
            errors[0].add_note(f"{benchmark.key}: {error}")
    if errors:
        raise errors[0]
    return results


def is_current(model: Model, benchmark: Benchmark, setting: Setting, out_dir: Path) -> bool:
    """Whether the result of these weights and settings is there and whole."""
    evaluation = _Evaluation(model, setting, out_dir / benchmark.key, Silent())
    return _current(evaluation.directory, evaluation.start(benchmark)) is not None


class _Start(Start):
    """Which evaluation the records of a directory belong to."""

    config_hash: str


@dataclass(frozen=True)
class _Evaluation:
    model: Model
    setting: Setting
    directory: Path
    reporter: Reporter

    def start(self, benchmark: Benchmark) -> _Start:
        return _Start(fingerprint=self.model.fingerprint, config_hash=hash_json(self._identity(benchmark)))

    def _identity(self, benchmark: Benchmark) -> dict[str, object]:
        """All settings that a result belongs to."""
        engine, judge = self.setting.config.engine, self.setting.judge
        identity: dict[str, object] = {
            "benchmark": benchmark.key,
            "engine": {"kind": engine.kind, "dtype": engine.dtype, **engine.numerics},
            "judge": judge.identity if judge and benchmark.needs_judge else None,
            **self._kind(),
            **benchmark.identity(self.setting),
        }
        if self._judging(benchmark):
            identity["request"] = self.model.asked
        return identity | self.model.rendering

    def _kind(self) -> dict[str, object]:
        return {"finished": self.setting.finished.kind if self.setting.finished else None}

    def result(self, benchmark: Benchmark) -> EvalResult:
        stage = f"{self.model.name}/eval/{benchmark.key}"
        start = self.start(benchmark)
        with os_errors(self.directory, "prepare"):
            (self.directory / standings.FAILURE).unlink(missing_ok=True)
        if note := begin(self.directory, start):
            self.reporter.message(f"{self.model.name}: {note}")
        if stored := _current(self.directory, start):
            self.reporter.finished(stage, _headline(stored), 0.0, skipped=True)
            return stored
        standings.write_record(self.directory / _Start.file, start)
        self.reporter.started(stage, benchmark.plan(self.setting).units or None, "samples")
        result, rows = self._run(benchmark, start)
        standings.write_record(self.directory / standings.RESULT, result)
        counts = _headline(result) | {f"unscored: {r}": n for r, n in unscored(rows).items()}
        self.reporter.finished(stage, counts, result.seconds)
        self._tell_notes(stage)
        return result

    def _run(self, benchmark: Benchmark, start: _Start) -> tuple[EvalResult, Sequence[SampleScore]]:
        """Runs it and keeps its rows; the result, and the rows it sums up."""
        asked = self._asked(benchmark)
        before, spent, began = _number(self.directory / _COST), self._spent(), time.monotonic()

        def cost() -> float:
            """Of this call and of those before it, also interrupted ones: kept beside the records."""
            now = round(before + self._spent() - spent, 6)
            if now != _number(self.directory / _COST):
                write_atomic(self.directory / _COST, json.dumps(now).encode())
            return now

        def advanced(amount: int) -> None:
            self._served_as(benchmark)
            self._engines(benchmark)
            asked.note()
            cost()
            self.reporter.advanced(amount)

        judging = self._judging(benchmark)
        model, doors = self.model, (judging.open, self.model.open) if judging else (self.model.open, None)
        outcome = benchmark.run(Subject(model.name, doors[0], self.setting, self.directory, advanced, doors[1]))
        description = _description(benchmark, outcome)
        if description is not None:
            learn(benchmark.key, description)  # which values there can be is needed for intervals
        metrics = summarise(outcome.rows, benchmark.key) | dict(outcome.metrics)
        jsonl.write(self.directory / standings.SCORES, outcome.rows)
        replicates.write(self.directory, outcome.replicates)
        result = EvalResult(
            checkpoint=self.model.name,
            fingerprint=self.model.fingerprint,
            source=self.model.source,
            chat_template=self.model.chat_template.key if self.model.chat_template else "",
            date=self.model.date or "",
            benchmark=benchmark.key,
            description=description,
            judge=asked.judge(outcome.judge),
            metrics=metrics,
            config_hash=start.config_hash,
            settings=spelled_out(self._identity(benchmark) | self._kind()),  # which files they are is no setting
            versions=_versions(),
            hardware=hardware(),
            seconds=round(time.monotonic() - began, 3),
            cost=cost(),
            comparability={
                "benchmark": benchmark.key,
                **outcome.comparability,
                **self._served_as(benchmark),
                **self._engines(benchmark),
                **asked.condition(),
            },
            incomplete=outcome.incomplete,
            notes=tuple(outcome.notes),
        )
        return result, outcome.rows

    def _served_as(self, benchmark: Benchmark) -> dict[str, str]:
        """What a served judge called itself in its answers, also to earlier calls: providers change their models."""
        judge = self.setting.judge if benchmark.needs_judge else None
        now = str(getattr(judge.engine, "snapshot", "")) if judge else ""
        return self._seen("served", now.split(", "))

    def _engines(self, benchmark: Benchmark) -> dict[str, str]:
        """Kind and version of the engines that run in an environment of their own, also of earlier calls."""
        judge = self.setting.judge if benchmark.needs_judge else None
        asked = (self.model.engine(), judge.engine if judge else None)
        return self._seen("engine", [str(getattr(engine, "version", "")) for engine in asked])

    def _seen(self, what: str, now: Sequence[str]) -> dict[str, str]:
        """All that was seen since the first call, kept beside the records."""
        file = self.directory / f"{what}.json"
        before = _names(file)
        seen = sorted({*before, *now} - {""})
        if seen != before:
            write_atomic(file, json.dumps(seen).encode())
        return {what: ", ".join(seen)} if seen else {}

    def _asked(self, benchmark: Benchmark) -> Asked:
        if judging := self._judging(benchmark):
            engines: dict[str, object] = {"answers": self.model.engine(), "judge": judging}
            return Asked(self.directory, engines, settings=self.model.asked)
        judge = self.setting.judge if benchmark.needs_judge else None
        engines = {"answers": self.model.engine(), "judge": judge.engine if judge else None}
        return Asked(self.directory, engines, settings=judge.request if judge else "")

    def _judging(self, benchmark: Benchmark) -> LazyEngine | None:
        """The model as a judge, where it is measured as one and asked otherwise than its requests say."""
        return self.model.judging if getattr(benchmark, "measures_judge", False) else None

    def _tell_notes(self, stage: str) -> None:
        """What the user should know of servers' calls."""
        judge = self.setting.judge
        for engine in (self.model.engine(), self.model.judging, judge.engine if judge else None):
            for note in getattr(engine, "take_notes", tuple)():
                self.reporter.message(f"{stage}: {note}")

    def _spent(self) -> float:
        judge = self.setting.judge
        judged = getattr(judge.engine, "spent", 0.0) if judge and judge.name != SELF else 0.0
        judging = self.model.judging.spent if self.model.judging else 0.0
        return self.model.spent() + judging + float(judged)

    def note_failure(self, benchmark: Benchmark, error: SrbenchError) -> None:
        self.reporter.message(f"{self.model.name}: {benchmark.key} failed: {error}")
        failure = standings.Failure(
            checkpoint=self.model.name,
            fingerprint=self.model.fingerprint,
            benchmark=benchmark.key,
            error=type(error).__name__,
            message=str(error).encode("utf-8", "backslashreplace").decode(),
        )
        standings.write_record(self.directory / standings.FAILURE, failure)


def _description(benchmark: Benchmark, outcome: Outcome) -> Description | None:
    """What a result has to say of its metrics: of srbench's own benchmarks only what their tables do not."""
    own = benchmark.description
    if benchmark.key not in BUILT_IN:
        return added(own, outcome.shown)
    known = BUILT_IN[benchmark.key].metrics
    shown = {name: info for name, info in outcome.shown.items() if name not in known}
    return added(Description(title=own.title), shown) if shown else None


def _current(directory: Path, start: _Start) -> EvalResult | None:
    """The stored result, where it belongs to these weights and settings and is whole."""
    try:
        stored = standings.read_result(directory / standings.RESULT)
    except DataError:
        return None
    same = (stored.fingerprint, stored.config_hash) == (start.fingerprint, start.config_hash)
    return stored if same and not stored.incomplete and (directory / standings.SCORES).is_file() else None


def _names(file: Path) -> list[str]:
    """The texts a JSON file lists; none where there is no such file."""
    found = json_file(file)
    return [str(name) for name in found] if isinstance(found, list) else []


def _number(file: Path) -> float:
    """The number a JSON file holds; 0 where there is no such file."""
    found = json_file(file)
    return float(found) if isinstance(found, int | float) and 0 <= found < math.inf else 0.0


def _headline(result: EvalResult) -> dict[str, float]:
    shown = list(described(result.benchmark).metrics)[:2]
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
