"""What an evaluation would do, before it does it: one benchmark of one model at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from leaderboards.base import Benchmark, Calls, Plan, Setting
from leaderboards.drift.session import DIRECTORY, asked_of_each
from leaderboards.harness import is_current
from leaderboards.head_to_head.preferences import PairsCheck, pairs_of
from leaderboards.head_to_head.tournament import HeadToHead
from leaderboards.models import SELF, Opened
from leaderboards.registry import open_benchmark
from leaderboards.suites import HEAD_TO_HEAD, PAIRS, World
from selfreward_bench.errors import SrbenchError
from selfreward_bench.models.bounds import total
from selfreward_bench.models.candidates import Candidate
from selfreward_bench.models.opening import asked_of_served

__all__ = ["Entry", "Planned", "check_of", "has_pairs", "plan_drift", "plan_matches", "plan_pairs", "plan_row"]


@dataclass(frozen=True)
class Entry:
    """One model with its benchmarks: name of a row of ``BENCHMARKS`` -> what it is run with."""

    candidate: Candidate
    opened: Opened
    settings: Mapping[str, Setting]
    out_dir: Path


@dataclass(frozen=True)
class Planned:
    """One benchmark of one model, as ``--dry-run`` shows it.

    Attributes:
        current: whether its result is there.
        problem: why it cannot be done, in words.
        served: what is asked of served models, by their name in a price table.
    """

    model: str
    benchmark: str
    current: bool
    plan: Plan
    problem: str = ""
    served: tuple[tuple[str, Calls], ...] = ()


def plan_row(entry: Entry, name: str, setting: Setting) -> Planned:
    """The plan of one row of ``BENCHMARKS``."""
    benchmark, model = open_benchmark(name), entry.opened.model
    if benchmark.local_only and entry.candidate.kind == "served":
        problem = "It needs the log-probabilities of given texts, which a served model does not tell."
        return Planned(model.name, benchmark.key, False, Plan(), problem)
    if benchmark.local_only and setting.config.engine.kind == "vllm" and not setting.finished:
        problem = (
            "It needs the log-probabilities of given texts from a model in this process: engine.kind=transformers."
        )
        return Planned(model.name, benchmark.key, False, Plan(), problem)
    try:
        current = is_current(model, benchmark, setting, entry.out_dir)
        plan = benchmark.plan(setting)
    except SrbenchError as error:
        return Planned(model.name, benchmark.key, False, Plan(), str(error))
    judges = setting.judge is not None and bool(setting.judge.address)
    judges |= getattr(benchmark, "measures_judge", False) and entry.candidate.kind == "served"
    plan = replace(plan, judgments=_asked_for(plan.judgments, setting, judges))
    asked = [(entry.candidate.text, plan.answers), (_judge_of(entry, benchmark, setting), plan.judgments)]
    return Planned(model.name, benchmark.key, current, plan, served=() if current else asked_of_served(asked))


def plan_matches(matches: HeadToHead, answering: Sequence[Entry], giving: int = 0) -> Planned:
    """The plan of head to head. What is stored of it is not looked into: it counts as still to be done.

    Args:
        giving: how many finished files are compared as well.
    """
    plan, each = matches.plan(len(answering) + giving), matches.plan(1).answers
    plan = replace(plan, answers=total([each] * len(answering)))
    judges = matches.setting.judge is not None and bool(matches.setting.judge.address)
    plan = replace(plan, judgments=_asked_for(plan.judgments, matches.setting, judges))
    asked = [(e.candidate.text, each) for e in answering]
    served = asked_of_served([*asked, (matches.judge.address or matches.judge.name, plan.judgments)])
    return Planned("all pairs", HEAD_TO_HEAD, False, plan, served=served)


def has_pairs(entry: Entry) -> bool:
    """Whether it is a model of a run that was trained on preference pairs."""
    run, model = entry.candidate.run, entry.candidate.model
    return run is not None and model is not None and pairs_of(run, model).is_file()


def check_of(entry: Entry, setting: Setting) -> PairsCheck:
    """The judge's look at the pairs of a model that has some; errors as of ``PairsCheck``."""
    return PairsCheck(entry.candidate.run or Path(), str(entry.candidate.model), setting)


def plan_pairs(entry: Entry, setting: Setting) -> Planned:
    """The plan of a judge's look at a model's pairs. What is stored of it is not looked into."""
    name = entry.opened.model.name
    try:
        check = check_of(entry, setting)
        plan = check.plan()
    except SrbenchError as error:
        return Planned(name, PAIRS, False, Plan(), str(error))
    plan = replace(plan, judgments=_asked_for(plan.judgments, setting, bool(check.judge.address)))
    served = asked_of_served([(check.judge.address or check.judge.name, plan.judgments)])
    return Planned(name, PAIRS, False, plan, served=served)


def plan_drift(answering: Sequence[Entry], setting: Setting, world: World) -> Planned:
    """The plan of the drift matrix. What is stored of it is not looked into: it counts as still to be done."""
    try:
        each = asked_of_each(len(answering), setting, world)
        asked = {e.opened.model.name: _asked_for(each, setting, e.candidate.kind == "served") for e in answering}
    except SrbenchError as error:
        return Planned("all models", DIRECTORY, False, Plan(), str(error))
    served = asked_of_served([(e.candidate.text, asked[e.opened.model.name]) for e in answering])
    return Planned("all models", DIRECTORY, False, Plan(judgments=total(asked.values())), served=served)


def _asked_for(judgments: Calls, setting: Setting, served: bool) -> Calls:
    """With the tokens that a served judge may take by its own settings."""
    most = setting.config.judge.request.max_tokens if served else None
    return replace(judgments, completion_tokens=max(judgments.completion_tokens, judgments.calls * (most or 0)))


def _judge_of(entry: Entry, benchmark: Benchmark, setting: Setting) -> str:
    """Who is asked for judgments: the model itself where its judging is what is measured."""
    judge = setting.judge if benchmark.needs_judge else None
    named = judge.address or judge.name if judge else SELF
    return entry.candidate.text if named == SELF else named
