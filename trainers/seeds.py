"""The human seed data: IFT (instruction, answer), ranked responses for EFT, and what is held out from training.

A source is ``micro`` (embedded), ``oasst:PATH`` (Open Assistant's trees), a path to JSONL in the layouts of
docs/formats.md, or whatever ``trainers.importing`` reads. What cannot be used is refused with file, line and field;
nothing is mended silently. ``trainers.eft`` turns ranked responses into training examples.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from selfreward_bench.config import SeedConfig
from selfreward_bench.errors import ConfigError, DataError
from selfreward_bench.judges.prompts import render_conversation
from selfreward_bench.micro import data_path
from selfreward_bench.seeding import derive_seed
from selfreward_bench.sources.arrow import HUB_PREFIX
from selfreward_bench.types import Example, Prompt, RankedPrompt
from trainers import importing
from trainers.filters import normalised
from trainers.importing import OASST_PREFIX, Imported, Purpose

__all__ = ["facts", "is_there", "load_eft", "load_excluded", "load_ift", "require_there"]

_R = TypeVar("_R", Example, RankedPrompt)


def load_ift(config: SeedConfig, run_seed: int) -> list[Example]:
    """Instructions with their answers, ``ift_size`` of them by a seeded draw, in the file's order.

    Raises:
        DataError: a record cannot be used, or its prompt is held out.
    """
    examples = _not_held_out(
        [r for r in _read(config.ift, "ift").records if isinstance(r, Example)], config, config.ift
    )
    if config.ift_size is None:
        return examples
    kept = {e.id for e in _shuffled(examples, run_seed, "seeds/ift")[: config.ift_size]}
    return [e for e in examples if e.id in kept]


def load_eft(config: SeedConfig, run_seed: int) -> list[RankedPrompt]:
    """Prompts with ranked responses, by a seeded draw of whole prompts with at most ``eft_size`` responses in all.

    Raises:
        DataError: a record cannot be used, or its prompt is held out.
        ConfigError: ``eft_size`` is less than the responses of any one prompt.
    """
    found = _read(config.eft, "eft").records
    ranked = _not_held_out([r for r in found if isinstance(r, RankedPrompt)], config, config.eft)
    if config.eft_size is None:
        return ranked
    kept, size = set(), 0
    for prompt in _shuffled(ranked, run_seed, "seeds/eft"):
        if size + len(prompt.responses) <= config.eft_size:
            kept.add(prompt.id)
            size += len(prompt.responses)
    if not kept:
        raise ConfigError(
            f"seeds.eft_size={config.eft_size} counts responses, and every prompt of {config.eft} has more. Raise it."
        )
    return [p for p in ranked if p.id in kept]


def load_excluded(config: SeedConfig) -> list[Prompt]:
    """Held-out prompts, which must be neither trained on nor written anew.

    Raises:
        DataError: a record cannot be used.
    """
    if config.exclude is None:
        return []
    return [r for r in _read(config.exclude, "prompts").records if isinstance(r, Prompt)]


def is_there(given: str) -> bool:
    """Whether a source can be read without downloading anything."""
    return given == "micro" or Path(given.removeprefix(OASST_PREFIX)).exists()


def require_there(config: SeedConfig, run: Path) -> None:
    """Raises DataError where a file that a run names is not there: it may have been moved."""
    for key, given in (("ift", config.ift), ("eft", config.eft), ("exclude", config.exclude)):
        if given and not given.startswith(HUB_PREFIX) and not is_there(given):
            raise DataError(
                f"seeds.{key}: {given} is not there. Where it was moved, write its place into {run / 'srbench.yaml'}: "
                "the same data in another place are the same to a run."
            )


def facts(config: SeedConfig) -> dict[str, dict[str, str | int]]:
    """Of ``ift`` and ``eft`` in other people's shapes: what they were recognised as, their hash, what was lost.

    Nothing of ``micro``, of Open Assistant's trees and of srbench's own JSONL.
    """
    given: dict[Purpose, str] = {"ift": config.ift, "eft": config.eft}
    others = {name: source for name, source in given.items() if not _is_plain(source, name)}
    return {name: _read(source, name).facts() for name, source in others.items()}


def _is_plain(given: str, name: Purpose) -> bool:
    return given == "micro" or given.startswith(OASST_PREFIX) or importing.is_own(given, name)


def _read(given: str, purpose: Purpose) -> Imported:
    if given == "micro":
        return importing.load(str(data_path("exclude" if purpose == "prompts" else purpose)), purpose)
    return importing.load(given, purpose)


def _shuffled(records: Sequence[_R], run_seed: int, label: str) -> list[_R]:
    """By a hash of seed and id: the draw does not depend on the file's order, and a larger draw holds the smaller."""
    return sorted(records, key=lambda r: (derive_seed(run_seed, label, r.id), r.id))


# --- held-out prompts


def _key(record: Example | RankedPrompt | Prompt) -> str:
    return normalised(render_conversation(record.prompt if isinstance(record, Example) else record.messages))


def _held_out(records: Iterable[_R], config: SeedConfig) -> list[_R]:
    excluded = {_key(prompt) for prompt in load_excluded(config)}
    return [record for record in records if _key(record) in excluded]


def _not_held_out(records: Sequence[_R], config: SeedConfig, given: str) -> list[_R]:
    """Of a public collection, which no user edits, held-out prompts are left out; a user's own file is refused."""
    found = _held_out(records, config)
    if found and not given.startswith((OASST_PREFIX, HUB_PREFIX)):
        raise DataError(
            f"{given}: {len(found)} of {len(records)} prompts are held out by seeds.exclude={config.exclude}, first "
            f"{found[0].id!r}. Training on them would spoil the evaluation: remove them from one of the two files."
        )
    taken = {record.id for record in found}
    return [record for record in records if record.id not in taken]
