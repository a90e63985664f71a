"""How much work each stage is, in its own unit: what the settings and the seed data say before it is done.

Numbers that only the work itself can tell (how many prompts give a pair) are bounds, and say so.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from selfreward_bench.config import RANKS, SEEDS, DpoConfig, RunConfig, SftConfig
from selfreward_bench.errors import ConfigError
from selfreward_bench.storage.rundir import RunDir
from trainers import roles
from trainers.answer_sources import named
from trainers.rehearsal import rows_wanted
from trainers.stages import BASELINE, StageSpec, stage_kind

__all__ = ["DRAWN", "Amount", "SeedCounts", "by", "finished_records", "workload"]

DRAWN = "drawn from"


@dataclass(frozen=True, slots=True)
class Amount:
    """A count of work; with ``exact`` False the work itself decides, and this is the most it can be."""

    number: int
    exact: bool = True

    def times(self, factor: int) -> Amount:
        return Amount(self.number * factor, self.exact)

    def __str__(self) -> str:
        return f"{self.number:,}" if self.exact else f"at most {self.number:,}"


def workload(run: RunDir, spec: StageSpec, seeds: SeedCounts, anew: Collection[str]) -> tuple[Amount, str, str]:
    """A stage's work, its unit, and how the number comes about (``StagePlan``).

    Args:
        anew: stages that count as not done.
    """
    config, model, kind = run.config, spec.model, stage_kind(spec.name)
    if kind in ("baseline", "sft"):
        return _sft_steps(config, model, seeds)
    if kind == "dpo" and config.learn == "positives":
        most = config.prompts.count * config.candidates.count * (int(model[1:]) - 1)
        added = Amount(seeds.ift.number + seeds.eft.number * config.sft.eft_repeat + most, exact=False)
        return _steps(added, config.sft, f"seed data and {most:,} answers at most")
    if kind == "dpo":
        pairs, told = _trained_pairs(run, spec, anew)
        return _steps(pairs, config.dpo, told)
    if kind in ("ift", "eft"):
        return (seeds.ift if kind == "ift" else seeds.eft), "examples", ""
    if kind == "reviews":
        k, bare = config.seeds.eft_samples, seeds.bare
        origin = f"{bare} responses without a review x {k}{by(config, roles.REVIEWER)}"
        return bare.times(k), "judgments", origin if bare.number else ""
    asked = finished_records(run, f"{model}/prompts", "prompts", anew) or Amount(config.prompts.count)
    if kind == "prompts":
        if roles.is_prompt_file(config.prompts.writer) or config.prompts.writer == SEEDS:
            return Amount(config.prompts.count, exact=False), "prompts", f"{DRAWN} {config.prompts.writer}"
        most = config.prompts.count * config.prompts.max_attempts_factor
        return (
            Amount(config.prompts.count),
            "prompts",
            f"from at most {most:,} continuations{by(config, roles.WRITER)}",
        )
    if kind == "pairs":
        return _most_pairs(run, model, anew), "pairs", ""
    if kind == "meta":  # of one answer to each prompt
        return Amount(asked.number, exact=False), "pairs", ""
    if kind == "positives":
        return Amount(config.prompts.count * config.candidates.count, exact=False), "positives", ""
    if kind == "rehearsal":
        most = rows_wanted(config, _trained_pairs(run, spec, anew)[0].number)
        return Amount(most, exact=False), "examples", f"{' + '.join(config.rehearsal.what)}"
    answers = asked.times(config.candidates.count)
    if kind == "candidates":
        return answers, "generations", f"{asked} prompts x {config.candidates.count}"
    distinct = _distinct(run, spec, asked, anew)
    if config.signal_of(model) not in ("self", "rlaif"):
        return _scored(config, distinct)
    k = config.judge.samples if config.judge.mode == "sampled" else 1
    return distinct.times(k), "judgments", f"{distinct} distinct answers x {k}{by(config, roles.JUDGE)}"


def _scored(config: RunConfig, distinct: Amount) -> tuple[Amount, str, str]:
    """Rewards that nobody judges."""
    if config.rewards in ("reward-model", "implicit"):
        return distinct, "judgments", f"rewards: {config.rewards}"
    return Amount(0), "judgments", f"none: rewards are {config.rewards}"


def by(config: RunConfig, role: str) -> str:
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


def _distinct(run: RunDir, spec: StageSpec, asked: Amount, anew: Collection[str]) -> Amount:
    """The answers that a stage judges; a round's own judgments are also of those held against the parent's."""
    config, room = run.config, spec.name.rpartition("/")[0]
    every = Amount(asked.number * config.candidates.count, exact=False)
    found = [finished_records(run, f"{room}/candidates", "distinct", anew) or every]
    if spec.name == f"{spec.model}/judgments":
        if "first" in named(config.pairs.rejected_from) and spec.model != "M2":
            found.append(finished_records(run, f"{room}/first", "distinct", anew) or every)
        if config.pairs.chosen_from == "human":
            found.append(asked)
    return found[0] if len(found) == 1 else Amount(sum(one.number for one in found), exact=False)


def _most_pairs(run: RunDir, model: str, anew: Collection[str]) -> Amount:
    """A prompt gives at most one pair, but for ``all-above-gap``."""
    asked = finished_records(run, f"{model}/prompts", "prompts", anew) or Amount(run.config.prompts.count)
    n, section = run.config.candidates.count, run.config.pairs
    chosen, rejected = (
        sum(1 if source == "human" else n for source in named(side))
        for side in (section.chosen_from, section.rejected_from)
    )
    every = n * (n - 1) // 2 if section.chosen_from == section.rejected_from else chosen * rejected
    most = asked.number * (every if section.strategy == "all-above-gap" else 1)
    return Amount(min(most, section.max_pairs or most), exact=False)


def _trained_pairs(run: RunDir, spec: StageSpec, anew: Collection[str]) -> tuple[Amount, str]:
    """The pairs of a training, and in words: of answers, and of judgments where these are preferred, too."""
    room, model = spec.name.rpartition("/")[0], spec.model
    pairs = finished_records(run, f"{room}/pairs", "pairs", anew) or _most_pairs(run, model, anew)
    if run.config.meta.by == "none" or room != model:
        return pairs, f"{pairs} pairs"
    asked = finished_records(run, f"{model}/prompts", "prompts", anew) or Amount(run.config.prompts.count)
    judged = finished_records(run, f"{model}/meta", "pairs", anew) or Amount(asked.number, exact=False)
    both = Amount(pairs.number + judged.number, pairs.exact and judged.exact)
    return both, f"{pairs} pairs of answers and {judged} of judgments"


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
