"""How much selecting a step asks, told before anything is trained: answers of checkpoints, and verdicts on them.

Every checkpoint is taken to win, so that the training goes on to its end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from selfreward_bench.config import RunConfig
from selfreward_bench.errors import ConfigError
from selfreward_bench.judges.pairwise import ORDERS
from selfreward_bench.micro import data_path
from selfreward_bench.types import Prompt
from trainers import roles

__all__ = ["ANSWERS", "VERDICTS", "Contests", "contests", "is_selected", "validation", "validation_there"]

ANSWERS: Final = "answers"  #: kinds of its work, as ``stage_kind`` has them: M2/train/answers
VERDICTS: Final = "verdicts"


@dataclass(frozen=True, slots=True)
class Contests:
    """Of one training.

    Attributes:
        prompts: that checkpoints answer.
        checkpoints: compared, each with the one before it.
        answers: of all of them and of the parent, one to each prompt.
        verdicts: asked of a judge, in both orders; none where the true grade is known.
    """

    prompts: int
    checkpoints: int
    answers: int
    verdicts: int


def validation(config: RunConfig) -> Sequence[Prompt]:
    """The prompts that checkpoints answer; the micro-world's are of its validation split.

    Raises:
        DataError: they cannot be read.
    """
    from trainers.prompt_files import load_prompts  # it needs numpy, which status does not

    section = config.select
    source = str(data_path("validation")) if section.prompts == "micro" else section.prompts
    return load_prompts(source)[: section.limit]


def validation_there(config: RunConfig) -> Sequence[Prompt]:
    """The same, or none of a file that is not there yet."""
    there = config.select.prompts == "micro" or Path(config.select.prompts).exists()
    return validation(config) if there else ()


def is_selected(config: RunConfig, training: str) -> bool:
    """Whether a step of a training (``M2/train``) is chosen; a look ahead (``M3/next/train``) is taken as it is."""
    model, _, stage = training.partition("/")
    return bool(config.select.every) and stage == "train" and model[1:].isdigit() and int(model[1:]) > 1


def contests(config: RunConfig, steps: int) -> Contests:
    """Of a training of so many steps.

    Raises:
        ConfigError: the prompts are not there, and nothing says how many there will be.
        DataError: they cannot be read.
    """
    every = config.select.every or steps
    prompts = len(validation_there(config)) or config.select.limit
    if prompts is None:
        raise ConfigError(
            f"select.prompts: {config.select.prompts!r} is not there, and nothing says how many there will be. Give "
            "the file, or the number for the plan (--set select.limit=253)."
        )
    checkpoints = math.ceil(steps / every)
    asked = config.select.judge != roles.ORACLE
    return Contests(
        prompts, checkpoints, (checkpoints + 1) * prompts, checkpoints * prompts * len(ORDERS) if asked else 0
    )
