"""What a run will need before it is begun: tokens, arithmetic, time, memory, disk. Nothing is trained or downloaded.

Times are those of ``trainers.plan`` (measured), or follow from a throughput that was stated; nothing is guessed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from selfreward_bench.bases.optimizers import OPTIMIZERS
from selfreward_bench.config import DpoConfig, RunConfig, SftConfig
from selfreward_bench.errors import EngineError
from selfreward_bench.judges.pairwise import PairwiseJudge
from selfreward_bench.models.opening import served_name
from selfreward_bench.sources.hub import hub_directory, is_hub_name
from selfreward_bench.storage.rundir import RunDir
from trainers import memory, roles
from trainers.calls import RoleCalls, role_calls
from trainers.contests import ANSWERS, VERDICTS
from trainers.description import describe
from trainers.dimensions import Dimensions
from trainers.estimates import Rate
from trainers.examination import kept_description
from trainers.fitting import Machine, Shortage, shortages
from trainers.lengths import Lengths, Measured, bounds, written_by_judge
from trainers.needs import Need, needs, saved_width
from trainers.plan import Plan, StagePlan, make_plan, tokens_per_unit
from trainers.rehearsal import most_asked
from trainers.stages import stage_kind

__all__ = ["Disk", "Host", "Load", "Requirements", "Throughput", "Tokens", "require"]

_TRAININGS: Final = ("baseline", "sft", "dpo")
_KEPT_STATES: Final = 3  # two stay, the third is there while it is written
_RECORD, _TOKEN = 300, 5  # bytes of a JSON record around its text, and of a token in it
_EVALUATED: Final = 2 * 805 + 160  # answers: AlpacaEval's, judged and head to head, and MT-Bench's two turns


@dataclass(frozen=True, slots=True)
class Tokens:
    """A number of tokens: ``about`` where finished runs tell their mean, else the most that the settings allow."""

    number: int
    about: bool = False

    def __str__(self) -> str:
        return f"{'~' if self.about else '<='} {self.number:,}" if self.number else "-"


@dataclass(frozen=True, slots=True)
class Throughput:
    """What somebody states: of all devices together.

    Attributes:
        tokens: written per second.
        flops: per second, as they are reached in training and in reading prompts.
        said: both in words.
    """

    tokens: float | None = None
    flops: float | None = None
    said: str = ""


@dataclass(frozen=True, slots=True)
class Load:
    """What remains of one stage.

    Attributes:
        stage: with its time, where a finished run or a stated throughput tells it.
        read: tokens in forward passes over given texts: prompts, or what is trained on.
        written: tokens that are generated.
        flops: arithmetic of both.
    """

    stage: StagePlan
    read: Tokens = Tokens(0)
    written: Tokens = Tokens(0)
    flops: int = 0


@dataclass(frozen=True, slots=True)
class Host:
    """Bytes of the host's memory: ``weights`` while a checkpoint is loaded or compared, ``records`` as token ids."""

    weights: int
    records: int

    @property
    def total(self) -> int:
        return self.weights + self.records + memory.LIBRARIES


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes of all ``checkpoints`` to come, with those that a selection compares at their most, of saved ``states`` at
    their most, of ``records`` with evaluations, and of the base's ``download`` where it comes from the hub."""

    download: int
    checkpoints: int
    states: int
    records: int

    @property
    def total(self) -> int:
        return self.download + self.checkpoints + self.states + self.records


@dataclass(frozen=True, slots=True)
class Requirements:
    """All of it.

    Attributes:
        assumed: what stands in for what is not known, in words.
        served: what served models in the run's roles are asked.
    """

    config: RunConfig
    dimensions: Dimensions
    measured: Measured
    plan: Plan
    machine: Machine
    loads: tuple[Load, ...]
    needs: tuple[Need, ...]
    short: tuple[Shortage, ...]
    host: Host
    disk: Disk
    assumed: tuple[str, ...]
    served: tuple[RoleCalls, ...] = ()

    @property
    def lacks_host(self) -> bool:
        """Whether the host's memory is too small; that of a CPU is its device's, and among ``short``."""
        m = self.machine
        return m.device == "gpu" and m.host is not None and self.host.total > m.host

    @property
    def lacks_disk(self) -> bool:
        return self.machine.disk is not None and self.disk.total > self.machine.disk

    @property
    def fits(self) -> bool | None:
        """None where nobody said how much memory there is."""
        if self.short or self.lacks_host or self.lacks_disk:
            return False
        return None if self.machine.memory is None else True


def require(
    run: RunDir,
    machine: Machine,
    *,
    until: str | None = None,
    plan: Plan | None = None,
    parameters: int | None = None,
    stated: Throughput | None = None,
) -> Requirements:
    """What it takes to make the models of a run up to ``until``.

    Args:
        plan: of the run, where it is made already.
        parameters: of the base, where they are stated.
        stated: throughput; it counts before what was measured.

    Raises:
        EngineError: nothing tells how large the base is.
        DataError, ConfigError, UnknownNameError: as ``make_plan``.
    """
    config = on_machine(run.config, machine)
    plan = plan or make_plan(run, until=until, without_data=True)
    described = (None if parameters else kept_description(run)) or describe(config, parameters)
    d, measured = described.dimensions, described.measured
    found = needs(config, d, measured, plan.pending, machine.device)
    known = tokens_per_unit(run)
    lengths = bounds(config, measured, d.positions)
    loads = [_load(stage, config, d, measured, lengths, known) for stage in plan.pending]
    loads = [_timed(load, config, d, stated or Throughput(), machine.devices) for load in loads]
    host = _host(d, config, loads)
    timed = {load.stage.name: load.stage for load in loads}
    assumed = (
        () if d.layers else ("layers and vocabulary are not known, so activations, logits and cache are not told",)
    )
    return Requirements(
        config=config,
        dimensions=d,
        measured=measured,
        plan=Plan(plan.until, tuple(timed.get(stage.name, stage) for stage in plan.stages)),
        machine=machine,
        loads=tuple(loads),
        needs=found,
        short=shortages(config, d, measured, found, machine, host.records),
        host=host,
        disk=_disk(d, config, loads),
        assumed=(*assumed, *measured.assumed, *_left_out(config), *_processes(config, machine)),
        served=tuple(role_calls(config, plan)),
    )


def on_machine(config: RunConfig, machine: Machine) -> RunConfig:
    """The settings with the number of processes that trainings have there, where the recipe leaves it to the launcher:
    one for each device."""
    train = config.train
    if train.launch is None or train.processes is not None:
        return config
    count = max(machine.devices // train.replicas, 1) * train.replicas
    return config.model_copy(update={"train": train.model_copy(update={"processes": count})})


def _left_out(config: RunConfig) -> Iterator[str]:
    """What models in roles take of this machine is not told."""
    for role in roles.others(config):
        if served_name(roles.given(config, role)) is None:
            yield f"what {roles.shown(config, role)} ({role}) takes of this machine comes on top"


def _processes(config: RunConfig, machine: Machine) -> Iterator[str]:
    """What does not go well with the number of processes."""
    count = config.train.processes or 1
    if count > machine.devices:
        yield f"train.processes is {count}, each on a device of its own; {machine.devices} are here or stated"
    for name, section in (("sft", config.sft), ("dpo", config.dpo)):
        if count > section.batch_size:
            yield (
                f"{name}.batch_size={section.batch_size} feeds {section.batch_size} of {count} processes at a time; "
                "the others wait"
            )


# --- tokens and arithmetic


def _load(
    stage: StagePlan, config: RunConfig, d: Dimensions, measured: Measured, lengths: Lengths, known: Mapping[str, Rate]
) -> Load:
    kind, units = stage_kind(stage.name), stage.remaining
    if kind in _TRAININGS:
        return _training_load(stage, kind, config, d, measured, lengths, known)
    if kind in roles.helped(config):  # another model's work
        return Load(stage)
    if kind == "prompts":
        asked = units * config.prompts.max_attempts_factor
        read = asked * lengths.context // config.prompts.samples_per_context
        written = asked * config.prompts.sampling.max_new_tokens
    elif kind == "candidates":
        read = units * lengths.prompt // config.candidates.count
        written = units * config.candidates.sampling.max_new_tokens
    elif kind in ("judgments", "reviews"):
        sampled = kind == "reviews" or config.judge.mode == "sampled"
        each = (config.seeds.eft_samples if kind == "reviews" else config.judge.samples) if sampled else 1
        read = units * lengths.judged // each
        written = units * (config.judge.sampling.max_new_tokens if sampled else written_by_judge(config))
    elif kind == "meta" and config.meta.by == "elo":
        asked = units * config.judge.samples * (config.judge.samples - 1)  # every two judgments, in both orders
        read = asked * (lengths.judged + 2 * config.judge.sampling.max_new_tokens)
        written = asked * config.meta.max_new_tokens
    elif kind == "rehearsal":
        asked = most_asked(config, units)
        read, written = asked * lengths.judged, asked * config.judge.sampling.max_new_tokens
    elif kind == ANSWERS:
        read, written = units * lengths.validation, units * config.candidates.sampling.max_new_tokens
    elif kind == VERDICTS:
        read, written = units * lengths.compared, units * PairwiseJudge.sampling.max_new_tokens
    else:
        return Load(stage)
    seen = known.get(kind)
    made = Tokens(round(units * seen.number), about=True) if seen else Tokens(written)
    return Load(stage, Tokens(read), made, memory.reading_flops(d.active, read + made.number))


def _training_load(
    stage: StagePlan,
    kind: str,
    config: RunConfig,
    d: Dimensions,
    measured: Measured,
    lengths: Lengths,
    known: Mapping[str, Rate],
) -> Load:
    section = _section(config, kind)
    bound = {"baseline": lengths.ift, "sft": lengths.sft}.get(kind, 2 * lengths.answered)
    means = {"baseline": [(measured.ift, 1)], "sft": [(measured.ift, 1), (measured.eft, config.sft.eft_repeat)]}
    seen = [(span, repeats) for span, repeats in means.get(kind, []) if span]
    each, about = float(bound), False
    if kind in known:
        each, about = known[kind].number / section.batch_size, True
    elif seen and len(seen) == len(means[kind]):
        total = sum(span.mean * span.count * repeats for span, repeats in seen)
        each, about = total / sum(span.count * repeats for span, repeats in seen), True
    beside = lengths.rehearsed * config.rehearsal.size if kind == "dpo" and kind not in known else 0
    read = round(stage.remaining * (section.batch_size * each + beside))
    flops = memory.training_flops(
        d.active, read, checkpointing=section.gradient_checkpointing, frozen=d.adapted is not None
    )
    if kind == "dpo" and not stage.done:
        flops += memory.reading_flops(d.active, round(read / section.epochs))  # the reference
    return Load(stage, Tokens(read, about), Tokens(0), flops)


def _timed(load: Load, config: RunConfig, d: Dimensions, stated: Throughput, devices: int) -> Load:
    """With the time that follows from what is stated; else it is what the plan knows.

    Reading prompts counts where arithmetic per second is stated too. A training has the arithmetic of the devices that
    its processes use at a time.
    """
    seconds, kind = None, stage_kind(load.stage.name)
    if kind == "rehearsal" and not load.read.number:  # of judgments that are there
        return replace(load, stage=replace(load.stage, seconds=0.0))
    if kind in _TRAININGS:
        flops = stated.flops and stated.flops * _working(config, kind) / devices
        seconds = load.flops / flops if flops and load.flops else None
    elif not load.written.number:  # a judge that only reads
        seconds = load.flops / stated.flops if stated.flops and load.flops else None
    elif stated.tokens:
        reading = memory.reading_flops(d.active, load.read.number) / stated.flops if stated.flops else 0.0
        seconds = load.written.number / stated.tokens + reading
    if seconds is None:
        return load
    return replace(load, stage=replace(load.stage, seconds=seconds, source="the stated throughput"))


def _working(config: RunConfig, kind: str) -> float:
    """How many processes of a training compute at a time, in the mean: records of a step are dealt to them in turn."""
    batch, count = _section(config, kind).batch_size, config.train.processes or 1
    return batch / -(-batch // count)


# --- the host's memory, and the disk


def _section(config: RunConfig, kind: str) -> SftConfig | DpoConfig:
    return config.dpo if kind == "dpo" else config.sft


def _host(d: Dimensions, config: RunConfig, loads: Sequence[Load]) -> Host:
    rendered = [
        load.read.number / _section(config, kind).epochs
        for load in loads
        if (kind := stage_kind(load.stage.name)) in _TRAININGS
    ]
    shared_out = config.train.sharding == "fsdp" and (config.train.processes or 1) > 1
    compared = 0 if shared_out else memory.checkpoint(d.parameters)  # in float32, whatever it is saved in
    return Host(compared, memory.rendered(round(max(rendered, default=0))))


def _disk(d: Dimensions, config: RunConfig, loads: Sequence[Load]) -> Disk:
    trained = [load for load in loads if stage_kind(load.stage.name) in _TRAININGS]
    saved = [
        min(math.ceil(load.stage.work.number / section.save_every), _KEPT_STATES)
        * memory.saved_state(d, OPTIMIZERS[section.optim])
        for load in trained
        for section in [_section(config, stage_kind(load.stage.name))]
    ]
    stacked = config.lora is not None and not config.lora.merge
    sizes = [
        memory.checkpoint(d.adapted or 0)
        if stacked
        else memory.checkpoint(d.parameters, saved_width(stage_kind(load.stage.name), config, d))
        for load in trained
    ]
    compared = [  # of a round until its step is chosen
        size * ((load.stage.work.number - 1) // config.select.every)
        for load, size in zip(trained, sizes, strict=True)
        if config.select.every and stage_kind(load.stage.name) == "dpo"
    ]
    evaluated = len(trained) * _EVALUATED * config.eval.answering.max_new_tokens
    written = sum(load.written.number for load in loads) + evaluated
    records = sum(load.stage.remaining for load in loads) + len(trained) * _EVALUATED
    return Disk(
        download=d.parameters * d.width if _is_away(config.base) else 0,
        checkpoints=sum(sizes) + max(compared, default=0),
        states=max(saved, default=0),
        records=written * _TOKEN + records * _RECORD,
    )


def _is_away(base: str) -> bool:
    """Whether the base is the hub's and not wholly in its cache."""
    if base == "micro" or Path(base).is_dir() or not is_hub_name(base):
        return False
    try:
        hub_directory(base, offline=True)
    except EngineError:
        return True
    return False
