"""What a run would do next: its stages, how much work each is, and how long that takes at the rates seen so far.

Nothing is done or written here, and no model is loaded. How much work a stage is, is in ``workload``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from selfreward_bench.config import RunConfig
from selfreward_bench.errors import UnknownNameError
from selfreward_bench.storage.files import open_file
from selfreward_bench.storage.rundir import RunDir, StageStatus
from trainers import contests, roles
from trainers.estimates import Rate, rates, token_counts
from trainers.stages import BASELINE, StageSpec, check_model, models, stage_kind, stages
from trainers.workload import DRAWN, Amount, SeedCounts, by, workload

__all__ = [
    "Plan",
    "StagePlan",
    "describe",
    "estimated",
    "make_plan",
    "next_model",
    "own_rates",
    "stage_work",
    "stages_from",
    "tokens_per_unit",
]

#: reads and writes records, asks no model: seconds at most
_BOOKKEEPING = frozenset({"ift", "eft", "pairs", "positives", "meta"})


@dataclass(frozen=True, slots=True)
class StagePlan:
    """One stage as it stands.

    Attributes:
        work: all of the stage's work in ``unit``, also what is done already.
        unit: ``generations``, ``judgments``, ``steps``, or the records that a stage makes.
        origin: how ``work`` comes about, such as ``1,500 prompts x 6``; empty where it needs no word.
        done: units that are there already.
        seconds: estimated time of what remains (``estimates.rates``); None when nothing tells.
        source: where the estimate is from.
    """

    name: str
    status: StageStatus
    work: Amount
    unit: str
    origin: str = ""
    done: int = 0
    seconds: float | None = None
    source: str = ""

    @property
    def remaining(self) -> int:
        return 0 if self.status == "done" else max(self.work.number - self.done, 0)


@dataclass(frozen=True, slots=True)
class Plan:
    """The stages up to the model ``until``; None when the run has all its models."""

    until: str | None
    stages: tuple[StagePlan, ...]

    @property
    def pending(self) -> tuple[StagePlan, ...]:
        return tuple(s for s in self.stages if s.status != "done")

    def total(self, unit: str) -> Amount:
        """What remains to be done in one unit over all stages."""
        counted = [s for s in self.pending if s.unit == unit]
        return Amount(sum(s.remaining for s in counted), all(s.work.exact for s in counted))

    @property
    def seconds(self) -> float | None:
        """The estimated time of everything pending; None when a stage with work has no estimate."""
        estimates = [s.seconds for s in self.pending if s.remaining]
        return None if None in estimates else sum(e for e in estimates if e is not None)

    @property
    def sources(self) -> tuple[str, ...]:
        """Where the estimates are from."""
        return tuple(dict.fromkeys(s.source for s in self.pending if s.source))

    @property
    def without_estimate(self) -> tuple[str, ...]:
        return tuple(s.name for s in self.pending if s.remaining and s.seconds is None)


def make_plan(
    run: RunDir, *, until: str | None = None, from_stage: str | None = None, without_data: bool = False
) -> Plan:
    """What ``run_iteration(run, until=..., from_stage=...)`` would do.

    The run's directory need not be there yet.

    Args:
        without_data: whether seed data that is not there (or on the hub) counts with the sizes that are drawn of it.

    Raises:
        UnknownNameError: the run has no such model or stage.
        DataError: the seed data cannot be read.
        ConfigError: it is not there, and nothing is said of its size.
    """
    every = stages(run.config)
    anew = frozenset(stages_from(run.config, from_stage) if from_stage else ())
    last = until or next_model(run, anew)
    if last is None:
        return Plan(None, ())
    check_model(run.config, last)
    wanted = models(run.config)
    wanted = wanted[: wanted.index(last) + 1]
    seeds = SeedCounts(run, without_data)
    if seeds.bare.number and "M1" in wanted and roles.who(run.config, roles.REVIEWER, BASELINE) == BASELINE:
        wanted = [BASELINE, *wanted]
    listed = [
        plan
        for spec in every
        if _belongs(spec, wanted)
        for stage in [describe(run, spec, seeds, anew)]
        for plan in (stage, *_selection(run.config, stage))
    ]
    known = rates(run, lambda other: own_rates(other, stages(other.config)))
    return Plan(last, tuple(estimated(s, known) for s in listed))


def stages_from(config: RunConfig, first: str) -> list[str]:
    """The stages that ``--from-stage FIRST`` makes anew: it and all after it.

    Raises:
        UnknownNameError: a run has no such stage.
    """
    names = [s.name for s in stages(config)]
    if first not in names:
        raise UnknownNameError("stage", first, names)
    return names[names.index(first) :]


def tokens_per_unit(run: RunDir) -> dict[str, Rate]:
    """Kind of stage -> tokens per unit of its work: of training those read, of all others those written."""
    return token_counts(run, lambda other: _own_tokens(other, stages(other.config)))


def stage_work(run: RunDir, spec: StageSpec) -> int | None:
    """How many of its units a finished stage has made, or a partial one so far; None for a new one."""
    status = run.stage_status(spec.name)
    finished = run.finished_stage(spec.name)
    if finished:
        return int(finished.counts.get(spec.unit, 0)) or _lines(run.path / spec.paths[0])
    return _lines(run.path / _growing(spec)) if status == "partial" else None


def next_model(run: RunDir, anew: Collection[str] = ()) -> str | None:
    """The next model ``run_iteration`` makes, if the stages ``anew`` were not there; None when all models are."""
    for model in models(run.config):
        made = (run.path / model / "iteration.json").exists() and f"{model}/train" not in anew
        if model != BASELINE and not made:
            return model
    return None


def _belongs(spec: StageSpec, wanted: Sequence[str]) -> bool:
    """Seed data serves the baseline too, so M1's is part of every plan."""
    return spec.model in wanted or spec.name == "M1/ift"


def _growing(spec: StageSpec) -> Path:
    """The file whose lines tell how far a partial stage is."""
    return spec.log if spec.unit == "steps" else spec.paths[0]


def _lines(path: Path) -> int:
    try:
        with open_file(path) as stream:
            return sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))
    except OSError:
        return 0


def describe(run: RunDir, spec: StageSpec, seeds: SeedCounts, anew: Collection[str]) -> StagePlan:
    """A stage as it stands, without an estimate."""
    status = "new" if spec.name in anew else run.stage_status(spec.name)
    done = 0 if status == "new" else stage_work(run, spec) or 0
    work, unit, origin = workload(run, spec, seeds, anew)
    if status == "done":
        finished = run.finished_stage(spec.name)
        known = finished.counts.get(spec.unit) if finished else None
        work = Amount(int(known)) if known is not None else work
        return StagePlan(spec.name, status, work, unit, origin, work.number)
    return StagePlan(spec.name, status, work, unit, origin, min(done, work.number))


def _selection(config: RunConfig, training: StagePlan) -> Iterator[StagePlan]:
    """What selecting its step asks, which is a part of the training's stage."""
    if training.status == "done" or not contests.is_selected(config, training.name):
        return
    found = contests.contests(config, training.work.number)
    parts = [
        (contests.ANSWERS, found.answers, "generations", f"{found.checkpoints:,} checkpoints and the parent"),
        (contests.VERDICTS, found.verdicts, "judgments", f"both orders{by(config, roles.SELECTOR)}"),
    ]
    for kind, count, unit, origin in parts:
        if count:
            name, told = f"{training.name}/{kind}", f"{found.prompts:,} prompts, {origin}"
            yield StagePlan(name, training.status, Amount(count, exact=False), unit, told)


# --- how long


def own_rates(run: RunDir, every: Sequence[StageSpec]) -> dict[str, float]:
    """Seconds per unit for each kind of stage, from the last one of it that finished without a break.

    The time of a resumed stage is that of its last process alone and tells nothing.
    """
    found: dict[str, float] = {}
    for spec in every:
        finished = run.finished_stage(spec.name)
        units = stage_work(run, spec)
        if finished and finished.done and not finished.done.resumed and units:
            found[stage_kind(spec.name)] = finished.done.seconds / units
    if run.config.select.every and "dpo" in found:
        found |= {contests.ANSWERS: 0.0, contests.VERDICTS: 0.0}  # their time is among the training's
    return found


def _own_tokens(run: RunDir, every: Sequence[StageSpec]) -> dict[str, float]:
    """Of the last finished stage of each kind."""
    found: dict[str, float] = {}
    for spec in every:
        finished, units = run.finished_stage(spec.name), stage_work(run, spec)
        if finished and units and finished.counts.get("tokens"):
            found[stage_kind(spec.name)] = finished.counts["tokens"] / units
    return found


def estimated(stage: StagePlan, known: Mapping[str, Rate]) -> StagePlan:
    """With the time of what remains, at known rates."""
    kind = stage_kind(stage.name)
    if not stage.remaining:
        return replace(stage, seconds=0.0)
    if kind in known:
        return replace(stage, seconds=stage.remaining * known[kind].number, source=known[kind].source)
    is_read = kind in _BOOKKEEPING or (kind == "prompts" and stage.origin.startswith(DRAWN))
    return replace(stage, seconds=0.0) if is_read else stage
