"""What the stages of a run need in memory, by the recipe's settings: each kind of stage once, at its longest texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from selfreward_bench.bases.optimizers import OPTIMIZERS
from selfreward_bench.config import DpoConfig, EngineConfig, RunConfig, SftConfig
from selfreward_bench.engines.plan import MAX_ROWS
from selfreward_bench.engines.quantised import BYTES
from selfreward_bench.judges.pairwise import PairwiseJudge
from trainers import memory
from trainers.contests import ANSWERS, VERDICTS
from trainers.dimensions import Dimensions
from trainers.lengths import Lengths, Measured, bounds, written_by_judge
from trainers.memory import Device, Memory, Pass
from trainers.plan import StagePlan
from trainers.roles import helped
from trainers.stages import stage_kind

__all__ = ["TITLES", "Need", "fewest_tokens", "need_of", "needs", "saved_width", "training_pass"]

#: kinds of stages that need a model, and what they are called; the reference is a part of DPO's stage
TITLES = {
    "baseline": "SFT on IFT",
    "sft": "SFT on IFT and EFT",
    "reviews": "reviews",
    "prompts": "prompts",
    "candidates": "candidates",
    "judgments": "judgments",
    "rehearsal": "rehearsed judgments",
    "reference": "DPO's reference",
    "dpo": "DPO",
    "answers": "answers of checkpoints",
    "verdicts": "verdicts on them",
}

_TRAINING: Final = ("baseline", "sft", "dpo", "reference")


@dataclass(frozen=True, slots=True)
class Need:
    """Memory of one kind of stage, on the device that computes.

    Attributes:
        kind: a key of ``TITLES``.
        stages: its stages that are still to be done.
        batch: what is in memory at once, in words.
    """

    kind: str
    stages: tuple[str, ...]
    batch: str
    memory: Memory


@dataclass(frozen=True, slots=True)
class _Asked:
    """One request to the engine: rows that fork from a prompt and grow."""

    prompt: int
    rows: int
    new: int


def needs(
    config: RunConfig, d: Dimensions, measured: Measured, pending: Sequence[StagePlan], device: Device
) -> tuple[Need, ...]:
    """Of all stages that the run's own models are to do in this process."""
    stages: dict[str, list[str]] = {}
    others = helped(config)
    for stage in pending:
        if stage.remaining and stage_kind(stage.name) not in others:
            stages.setdefault(stage_kind(stage.name), []).append(stage.name)
    if "dpo" in stages:
        stages["reference"] = stages["dpo"]
    here = [k for k in TITLES if k in stages and (config.engine.kind != "vllm" or k in _TRAINING)]
    return tuple(need_of(k, config, d, measured, device, tuple(stages[k])) for k in here)


def need_of(
    kind: str, config: RunConfig, d: Dimensions, measured: Measured, device: Device, stages: tuple[str, ...] = ()
) -> Need:
    """Of one kind."""
    if kind in _TRAINING:
        step = training_pass(kind, config, d, measured, device)
        formula = memory.reference if kind == "reference" else memory.training
        rows = f"{step.rows}" if kind in ("baseline", "sft") else f"{step.rows // 2} x 2"
        return Need(kind, stages, f"{rows} x {step.length:,} tokens", formula(d, step))
    asked = _asked(kind, config, bounds(config, measured, d.positions))
    size = asked.prompt + asked.new
    tokens = max(config.engine.tokens_per_batch, asked.rows * size)
    taken = memory.generating(
        d,
        _width(kind, config, d, device),
        tokens=tokens,
        read=round(tokens * asked.prompt / (size * asked.rows)),
        rows=min(MAX_ROWS, max(asked.rows, tokens // size)),
        device=device,
        each=BYTES[config.engine.quantize] if config.engine.quantize else None,
    )
    return Need(kind, stages, f"{tokens:,} tokens", taken)


def fewest_tokens(kind: str, config: RunConfig, d: Dimensions, measured: Measured) -> int:
    """Tokens of one request, which a batch cannot be smaller than."""
    asked = _asked(kind, config, bounds(config, measured, d.positions))
    return asked.rows * (asked.prompt + asked.new)


def training_pass(kind: str, config: RunConfig, d: Dimensions, measured: Measured, device: Device) -> Pass:
    """One forward and backward pass of a training, at the longest records."""
    lengths = bounds(config, measured, d.positions)
    preferences = kind in ("dpo", "reference")
    section: SftConfig | DpoConfig = config.dpo if preferences else config.sft
    length = {"baseline": lengths.ift, "sft": lengths.sft}.get(kind, lengths.answered)
    length = max(length, lengths.rehearsed) if kind == "dpo" else length
    processes = (config.train.processes or 1) if config.train.launch else 1
    sequences, records = 2 if preferences else 1, section.micro_batch_size or -(-section.batch_size // processes)
    if section.micro_tokens:
        records = max(1, min(records, section.micro_tokens // (sequences * length)))
    return Pass(
        rows=sequences * records,
        length=length,
        bf16=section.bf16,
        checkpointing=section.gradient_checkpointing,
        dropout=isinstance(section, SftConfig) and section.dropout > 0,
        device=device,
        optimizer=OPTIMIZERS[section.optim],
        shards=processes // config.train.replicas if config.train.sharding == "fsdp" else 1,
    )


def _asked(kind: str, config: RunConfig, lengths: Lengths) -> _Asked:
    if kind == ANSWERS:
        return _Asked(lengths.validation, 1, config.candidates.sampling.max_new_tokens)
    if kind == VERDICTS:
        return _Asked(lengths.compared, 1, PairwiseJudge.sampling.max_new_tokens)
    if kind == "prompts":
        return _Asked(lengths.context, config.prompts.samples_per_context, config.prompts.sampling.max_new_tokens)
    if kind == "candidates":
        return _Asked(lengths.prompt, config.candidates.count, config.candidates.sampling.max_new_tokens)
    if kind == "reviews":
        return _Asked(lengths.judged, config.seeds.eft_samples, config.judge.sampling.max_new_tokens)
    if kind == "rehearsal" and (sampled := {"soft", "renewed"} & set(config.rehearsal.what)):
        most = max({"soft": config.judge.samples, "renewed": config.seeds.eft_samples}[name] for name in sampled)
        return _Asked(lengths.judged, most, config.judge.sampling.max_new_tokens)
    rows = config.judge.samples if config.judge.mode == "sampled" else 1
    return _Asked(lengths.judged, rows, written_by_judge(config))


def saved_width(kind: str, config: RunConfig, d: Dimensions) -> int:
    """Bytes of a weight that a training saves."""
    saved = (config.dpo if kind == "dpo" else config.sft).save_dtype
    return d.width if saved == "base" else 4 if saved == "float32" else 2


def _width(kind: str, config: RunConfig, d: Dimensions, device: Device) -> int:
    """Bytes of a number while generating: the base as it came, a checkpoint as it is saved."""
    engine: EngineConfig = config.engine
    if engine.dtype != "auto":
        return 4 if engine.dtype == "float32" else 2
    is_base = kind == "prompts" and config.prompts.writer == "base"
    stored = d.width if is_base else saved_width("sft", config, d)
    return 4 if device == "cpu" else stored
