"""The stages of a run, in order: names, files, and which model each makes. No work is done here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from selfreward_bench.config import RunConfig
from selfreward_bench.errors import UnknownNameError
from trainers.answer_sources import named
from trainers.implicit import FILES as LIKELIHOODS

BASELINE = "SFT"


@dataclass(frozen=True, slots=True)
class StageSpec:
    """One stage: ``MODEL/STAGE``, its files relative to the run, and what it counts."""

    name: str
    files: tuple[str, ...]
    unit: str

    @property
    def model(self) -> str:
        return self.name.partition("/")[0]

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(Path(self.model) / file for file in self.files)

    @property
    def log(self) -> Path:
        """Of a training: the file that has a line for each step."""
        return Path(self.name).parent / "log.jsonl"


_TRAINED = (
    "iteration.json",
    "eval",
    "checkpoint",
    "resume",
    "launched",
    "probes.json",
    "plan.json",
    "log.jsonl",
    "tracking.json",
    "reference.jsonl",
    "selection.json",
    "selected",
)
_REHEARSED = ("rehearsal.jsonl", *(f"rehearsal.{name}.jsonl" for name in ("own", "soft", "contrast", "renewed")))


def served_file(stage: str) -> str:
    """Where a stage keeps what a served model told of itself."""
    return f"{stage}.served.json"


def models(config: RunConfig) -> list[str]:
    """What a run trains, in order: SFT (the baseline, when asked for), M1, M2, ..."""
    return [*([BASELINE] if config.with_baseline else []), *(f"M{i + 1}" for i in range(1 + config.iterations))]


def stages(config: RunConfig) -> list[StageSpec]:
    """Every stage of a run in the order they run.

    The reviews of EFT responses that bring none are written by the SFT baseline, as in the paper; whether any is needed
    is known when the data is read, so the stage is always there and may do nothing.
    """
    listed = [
        StageSpec("M1/ift", ("ift.jsonl",), "examples"),
        StageSpec(f"{BASELINE}/train", _TRAINED, "steps"),
        StageSpec("M1/reviews", ("reviews.jsonl", served_file("reviews")), "judgments"),
        StageSpec("M1/eft", ("eft.jsonl",), "examples"),
        StageSpec("M1/train", _TRAINED, "steps"),
    ]
    for i in range(2, 2 + config.iterations):
        listed += _round(config, i)
    return listed


def _round(config: RunConfig, i: int) -> list[StageSpec]:
    """The stages of one model that is trained on preferences."""
    judgments = ("judgments.jsonl", served_file("judgments"), *LIKELIHOODS)
    written = ("prompts.jsonl", "prompts.raw.jsonl", "given.jsonl", served_file("prompts"))
    listed = [
        StageSpec(f"M{i}/prompts", written, "prompts"),
        StageSpec(f"M{i}/candidates", ("completions.jsonl",), "completions"),
    ]
    if "first" in named(config.pairs.rejected_from) and i > 2:
        listed += [StageSpec(f"M{i}/first", ("first.jsonl",), "completions")]
    listed += [StageSpec(f"M{i}/judgments", judgments, "judgments")]
    if config.consistency and i > 2:
        listed += [StageSpec(f"M{i}/consistency", ("earlier.jsonl",), "judgments")]
    if "next" in named(config.pairs.chosen_from):
        nested = {
            "pairs": (("pairs.jsonl", "rewards.jsonl"), "pairs"),
            "train": (_TRAINED[2:], "steps"),
            "candidates": (("completions.jsonl",), "completions"),
            "judgments": (judgments, "judgments"),
        }
        listed += [
            StageSpec(f"M{i}/next/{name}", tuple(f"next/{file}" for file in files), unit)
            for name, (files, unit) in nested.items()
        ]
    listed += [StageSpec(f"M{i}/pairs", ("pairs.jsonl", "rewards.jsonl"), "pairs")]
    if config.meta.by != "none":
        listed += [StageSpec(f"M{i}/meta", ("judge-pairs.jsonl", "comparisons.jsonl"), "pairs")]
    if config.learn == "positives":
        listed += [StageSpec(f"M{i}/positives", ("positives.jsonl",), "positives")]
    if config.rehearsal.what:
        listed += [StageSpec(f"M{i}/rehearsal", _REHEARSED, "examples")]
    return [*listed, StageSpec(f"M{i}/train", _TRAINED, "steps")]


def stage_kind(name: str) -> str:
    """Stages of one kind do work that takes alike.

    Training is ``baseline`` (on IFT alone, whose examples are short), ``sft`` or ``dpo``; other stages are of the kind
    of their own name.
    """
    model, stage = name.partition("/")[0], name.rpartition("/")[2]
    stage = {"first": "candidates", "consistency": "judgments"}.get(stage, stage)
    return {BASELINE: "baseline", "M1": "sft"}.get(model, "dpo") if stage == "train" else stage


def parent_of(model: str) -> str:
    """M1 and the baseline come from the base (M0), M_t+1 from M_t, as does the one next to it (``M_t+1/next``)."""
    model = model.partition("/")[0]
    return "M0" if model in (BASELINE, "M1") else f"M{int(model[1:]) - 1}"


def check_model(config: RunConfig, model: str) -> None:
    """Raises UnknownNameError unless the run trains a model of this name."""
    known = models(config)
    if model not in known:
        raise UnknownNameError("model of this run", model, known)
