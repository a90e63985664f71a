"""What a run would do next: its stages, how much work each is, and how long that takes at the rates seen so far.

Nothing is done or written here, and no model is loaded. Numbers that only the work itself can tell (how many prompts
give a pair) are bounds, and say so.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from selfreward_bench.config import RANKS, SEEDS, DpoConfig, RunConfig, SftConfig
from selfreward_bench.errors import ConfigError, UnknownNameError
from selfreward_bench.storage.rundir import RunDir, StageStatus
from trainers import roles
from trainers.estimates import Rate, rates, token_counts
from trainers.rehearsal import rows_wanted
from trainers.stages import BASELINE, StageSpec, check_model, models, stages

__all__ = [
    "Amount",
    "Plan",
    "SeedCounts",
    "StagePlan",
    "describe",
    "estimated",
    "finished_records",
    "make_plan",
    "next_model",
    "own_rates",
    "stage_kind",
    "stage_work",
    "stages_from",
    "tokens_per_unit",
]

_DRAWN = "drawn from"
#: reads and writes records, asks no model: seconds at most
_BOOKKEEPING = frozenset({"ift", "eft", "pairs", "positives", "meta"})


@dataclass(frozen=True, slots=True)
class Amount:
    """A count of work; with ``exact`` False the work itself decides, and this is the most it can be."""

    number: int
    exact: bool = True

    def times(self, factor: int) -> Amount:
        return Amount(self.number * factor, self.exact)

    def __str__(self) -> str:
        return f"{self.number:,}" if self.exact else f"at most {self.number:,}"


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
    listed = [describe(run, spec, seeds, anew) for spec in every if _belongs(spec, wanted)]
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


def stage_kind(name: str) -> str:
    """Stages of one kind do work that takes alike.

    Training is ``baseline`` (on IFT alone, whose examples are short), ``sft`` or ``dpo``; other stages are of the kind
    of their own name.
    """
    model, stage = name.partition("/")[0], name.rpartition("/")[2]
    stage = {"first": "candidates", "consistency": "judgments"}.get(stage, stage)
    return {BASELINE: "baseline", "M1": "sft"}.get(model, "dpo") if stage == "train" else stage


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
        with path.open("rb") as stream:
            return sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))
    except OSError:
        return 0


# --- how much work


def describe(run: RunDir, spec: StageSpec, seeds: SeedCounts, anew: Collection[str]) -> StagePlan:
    """A stage as it stands, without an estimate."""
    status = "new" if spec.name in anew else run.stage_status(spec.name)
    done = 0 if status == "new" else stage_work(run, spec) or 0
    work, unit, origin = _work(run, spec, seeds, anew)
    if status == "done":
        finished = run.finished_stage(spec.name)
        known = finished.counts.get(spec.unit) if finished else None
        work = Amount(int(known)) if known is not None else work
        return StagePlan(spec.name, status, work, unit, origin, work.number)
    return StagePlan(spec.name, status, work, unit, origin, min(done, work.number))


def _work(run: RunDir, spec: StageSpec, seeds: SeedCounts, anew: Collection[str]) -> tuple[Amount, str, str]:
    config, model, kind = run.config, spec.model, stage_kind(spec.name)
    if kind in ("baseline", "sft"):
        return _sft_steps(config, model, seeds)
    if kind == "dpo" and config.learn == "positives":
        most = config.prompts.count * config.candidates.count * (int(model[1:]) - 1)
        added = Amount(seeds.ift.number + seeds.eft.number * config.sft.eft_repeat + most, exact=False)
        return _steps(added, config.sft, f"seed data and {most:,} answers at most")
    if kind == "dpo":
        pairs = finished_records(run, f"{model}/pairs", "pairs", anew) or _most_pairs(run, model, anew)
        return _steps(pairs, config.dpo, f"{pairs} pairs")
    if kind in ("ift", "eft"):
        return (seeds.ift if kind == "ift" else seeds.eft), "examples", ""
    if kind == "reviews":
        k, bare = config.seeds.eft_samples, seeds.bare
        origin = f"{bare} responses without a review x {k}{_by(config, roles.REVIEWER)}"
        return bare.times(k), "judgments", origin if bare.number else ""
    asked = finished_records(run, f"{model}/prompts", "prompts", anew) or Amount(config.prompts.count)
    if kind == "prompts":
        if roles.is_prompt_file(config.prompts.writer) or config.prompts.writer == SEEDS:
            return Amount(config.prompts.count, exact=False), "prompts", f"{_DRAWN} {config.prompts.writer}"
        most = config.prompts.count * config.prompts.max_attempts_factor
        return (
            Amount(config.prompts.count),
            "prompts",
            f"from at most {most:,} continuations{_by(config, roles.WRITER)}",
        )
    if kind in ("pairs", "meta"):
        return _most_pairs(run, model, anew), "pairs", ""
    if kind == "positives":
        return Amount(config.prompts.count * config.candidates.count, exact=False), "positives", ""
    if kind == "rehearsal":
        most = rows_wanted(config, _most_pairs(run, model, anew).number)
        return Amount(most, exact=False), "examples", f"{' + '.join(config.rehearsal.what)}"
    answers = asked.times(config.candidates.count)
    if kind == "candidates":
        return answers, "generations", f"{asked} prompts x {config.candidates.count}"
    if config.signal_of(model) not in ("self", "rlaif"):
        return _scored(config, answers)
    distinct = finished_records(run, f"{model}/candidates", "distinct", anew) or Amount(answers.number, exact=False)
    k = config.judge.samples if config.judge.mode == "sampled" else 1
    return distinct.times(k), "judgments", f"{distinct} distinct answers x {k}{_by(config, roles.JUDGE)}"


def _scored(config: RunConfig, answers: Amount) -> tuple[Amount, str, str]:
    """Rewards that nobody judges."""
    if config.rewards in ("reward-model", "implicit"):
        return Amount(answers.number, exact=False), "judgments", f"rewards: {config.rewards}"
    return Amount(0), "judgments", f"none: rewards are {config.rewards}"


def _by(config: RunConfig, role: str) -> str:
    """Whose work it is, where it is not a model's of the run."""
    return f", by {roles.shown(config, role)}" if role in roles.others(config) else ""


def _sft_steps(config: RunConfig, model: str, seeds: SeedCounts) -> tuple[Amount, str, str]:
    if model == BASELINE:
        return _steps(seeds.ift, config.sft, f"{seeds.ift} IFT examples")
    repeated = seeds.eft.times(config.sft.eft_repeat)
    mixed = Amount(seeds.ift.number + repeated.number, seeds.ift.exact and repeated.exact)
    return _steps(mixed, config.sft, f"{seeds.ift} IFT and {repeated} EFT examples")


def _steps(records: Amount, section: SftConfig | DpoConfig, origin: str) -> tuple[Amount, str, str]:
    """Optimizer steps; an epoch's last batch may be incomplete, and an epoch may be a fraction."""
    steps = math.ceil(section.epochs * math.ceil(records.number / section.batch_size))
    text = f"{origin}, {section.epochs:g} epoch{'' if section.epochs == 1 else 's'}, batches of {section.batch_size}"
    return Amount(steps, records.exact), "steps", text


def _most_pairs(run: RunDir, model: str, anew: Collection[str]) -> Amount:
    """A prompt gives at most one pair, but for ``all-above-gap``."""
    asked = finished_records(run, f"{model}/prompts", "prompts", anew) or Amount(run.config.prompts.count)
    n, section = run.config.candidates.count, run.config.pairs
    most = asked.number * (n * (n - 1) // 2 if section.strategy == "all-above-gap" else 1)
    return Amount(min(most, section.max_pairs or most), exact=False)


def finished_records(run: RunDir, stage: str, unit: str, anew: Collection[str]) -> Amount | None:
    """What a finished stage that stays has made."""
    finished = None if stage in anew else run.finished_stage(stage)
    count = finished.counts.get(unit) if finished else None
    return None if count is None else Amount(int(count))


class SeedCounts:
    """How many examples the seed data holds, read when first needed (finished stages say so without reading).

    Attributes:
        ift, eft: examples.
        bare: ranked responses that bring no review.
    """

    def __init__(self, run: RunDir, without_data: bool) -> None:
        from trainers import seeds

        section = run.config.seeds
        ift, eft = (finished_records(run, f"M1/{name}", "examples", ()) for name in ("ift", "eft"))
        self.bare = Amount(0)
        if ift is None and without_data and not seeds.is_there(section.ift):
            ift = _stated("ift", section.ift, section.ift_size)
        self.ift = ift or Amount(len(seeds.load_ift(section, run.config.seed)))
        if eft is None and without_data and not seeds.is_there(section.eft):
            eft = _stated("eft", section.eft, section.eft_size)
            self.bare = Amount(0) if section.reviewer == RANKS else eft
        if eft:
            self.eft = eft
            return
        ranked = seeds.load_eft(section, run.config.seed)
        bare = sum(r.review is None for p in ranked for r in p.responses)
        self.bare = Amount(0 if section.reviewer == RANKS else bare)
        self.eft = Amount(sum(len(p.responses) for p in ranked), exact=False)


def _stated(name: str, given: str, size: int | None) -> Amount:
    if size is None:
        raise ConfigError(
            f"seeds.{name}: {given!r} is not there, and nothing says how much of it there will be. Give the data, or "
            f"its size for the plan (--set seeds.{name}_size=3200)."
        )
    return Amount(size, exact=False)


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
    is_read = kind in _BOOKKEEPING or (kind == "prompts" and stage.origin.startswith(_DRAWN))
    return replace(stage, seconds=0.0) if is_read else stage
