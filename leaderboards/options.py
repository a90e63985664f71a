"""What an evaluation can be told, and what that comes to: its suite, who judges, how, and which rows it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypedDict

from leaderboards import suites
from leaderboards.base import Benchmark, JudgeRole, Setting
from leaderboards.evaluation import Names
from leaderboards.models import ORACLE, judge_role
from leaderboards.suites import HEAD_TO_HEAD, NO_ROWS, World
from selfreward_bench.config import JudgeRequest, RunConfig
from selfreward_bench.errors import ConfigError, SrbenchError, UnknownNameError
from selfreward_bench.models.candidates import SERVED, Candidate
from selfreward_bench.models.opening import Services
from selfreward_bench.prices import PriceTable
from selfreward_bench.sources.directory import DataDir

__all__ = [
    "ROOT",
    "Asked",
    "Options",
    "all_rows",
    "is_match",
    "is_row",
    "judge_of",
    "lacks_judge",
    "request_of",
    "suite_of",
]

ROOT: Final = Path("runs", "eval")  # results of models outside a run


@dataclass(frozen=True)
class Asked:
    """What an evaluation is asked for.

    Attributes:
        candidates: the models, with names that differ.
        root: gets ``NAME/eval/BENCHMARK@VERSION/`` for each; a run's directory has the same layout.
        benchmarks: names as in ``suites.NAMES``, what packages bring, or ``PATH.py:CLASS``; empty takes the suite.
        suite: None takes the world's default.
        judge: who judges where a benchmark needs somebody; the micro-world has its oracle.
        world: None finds out from the models.
    """

    candidates: Sequence[Candidate]
    root: Path
    config: RunConfig
    services: Services
    benchmarks: Sequence[str] = ()
    suite: str | None = None
    judge: str | None = None
    world: str | None = None
    data: DataDir = field(default_factory=DataDir)


class Options(TypedDict, total=False):
    """What an evaluation can be told, as the options of ``srbench eval``.

    Attributes:
        benchmarks: one or several: names as in ``suites.NAMES``, what packages bring, or ``PATH.py:CLASS``; empty takes
            the suite.
        suite: None takes the world's default.
        judge: who judges where a benchmark needs somebody; the micro-world has its oracle.
        world: ``micro`` or ``real``; found out from the models unless given.
        data_dir: where the real benchmark data are; None is as for ``srbench data``.
        limit: the first so many items of each benchmark.
        seed: of everything random; None is the configuration's.
        output: gets ``NAME/eval/BENCHMARK@VERSION/`` for each model; None is the run, where all are of one, else
            ``runs/eval``.
        prices: of served models; a table, or the file of one.
        max_cost: of served models, in the currency of ``prices``.
        replay: answers of served models come from the store alone.
        concurrency: calls to a served model at the same time.
    """

    benchmarks: Names
    suite: str | None
    judge: str | Path | None
    world: str | None
    data_dir: str | Path | None
    limit: int | None
    seed: int | None
    output: str | Path | None
    prices: PriceTable | str | Path | None
    max_cost: float | None
    replay: bool
    concurrency: int


def suite_of(asked: Asked, world: World) -> suites.Suite:
    """The suite; one that nobody named bounds nothing.

    Raises:
        UnknownNameError: there is none of this name.
    """
    name = asked.suite or suites.default_suite(world)
    if name not in suites.SUITES:
        raise UnknownNameError("suite", name, suites.SUITES)
    chosen = suites.SUITES[name]
    return chosen if asked.suite else replace(chosen, limit=None)


def judge_of(asked: Asked, world: World) -> JudgeRole | None:
    """Who judges: on the micro-world the oracle, else whoever is named.

    Raises:
        ConfigError: the oracle and somebody else's world, or a judge that cannot judge.
    """
    if world == "micro":
        if asked.judge not in (None, ORACLE):
            raise ConfigError(
                f"--judge {asked.judge}: on the micro-world the exact grader (oracle) judges. Leave --judge away, or "
                "take real data: --world real."
            )
        return JudgeRole(ORACLE)
    if asked.judge == ORACLE:
        raise ConfigError("--judge oracle: the oracle knows the micro-world alone. Name a model that judges.")
    return judge_role(asked.judge, asked.services) if asked.judge else None


def request_of(config: RunConfig, judge: str) -> JudgeRequest:
    """How a served judge is asked; that of a run's own rewards says nothing to a local judge of an evaluation."""
    rewards = config.judge.model.startswith(SERVED) or config.seeds.reviewer.startswith(SERVED)
    return JudgeRequest() if rewards and judge and not judge.startswith(SERVED) else config.judge.request


def lacks_judge(benchmark: Benchmark, setting: Setting) -> bool:
    """Whether somebody has to judge and nobody is named; finished files may hold all judgments already."""
    if not benchmark.needs_judge or setting.judge is not None:
        return False
    try:
        return setting.finished is None or bool(benchmark.plan(setting).judgments.calls)
    except SrbenchError:  # told when the file is scored
        return False


def is_match(name: str) -> bool:
    """Whether a benchmark's name is head-to-head, which is no row of its own; ``head-to-head:FILE`` has a file."""
    return name.partition(":")[0] == HEAD_TO_HEAD


def is_row(name: str) -> bool:
    """Whether it is a benchmark of one model."""
    return name.partition(":")[0] not in NO_ROWS


def all_rows(world: World) -> list[str]:
    """All rows that need no file of their own."""
    rows = dict.fromkeys(suites.NAMES[world].values())
    return [row for row in rows if row not in (*NO_ROWS, "judge-accuracy-jsonl")]
