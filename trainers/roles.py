"""Who does what in the loop besides the model that is trained: who writes prompts, reviews seed responses, and rewards.

A role names one of the run's own models, the one that is there at that time (``current``, ``self``) or M0 (``base``),
or any other model as ``selfreward_bench.models.candidates`` knows it. The answers are always the trained model's own.
Nothing is opened here; see ``trainers.serving``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from selfreward_bench.config import RANKS, SEEDS, WORDS, RunConfig
from selfreward_bench.errors import ConfigError, SrbenchError
from selfreward_bench.models.candidates import parse_candidate
from selfreward_bench.sources.arrow import HUB_PREFIX, holds_table

__all__ = [
    "JUDGE",
    "ORACLE",
    "REVIEWER",
    "SELECTOR",
    "STAGES",
    "WRITER",
    "check",
    "given",
    "helped",
    "is_prompt_file",
    "others",
    "problems",
    "shown",
    "who",
]

WRITER: Final = "prompts.writer"
REVIEWER: Final = "seeds.reviewer"
JUDGE: Final = "judge.model"
SELECTOR: Final = "select.judge"
ORACLE: Final = "oracle"  # as a selector: nobody, and the micro-world's true grades compare
_ROLES: Final = (WRITER, REVIEWER, JUDGE, SELECTOR)

_FILES: Final = (".jsonl", ".json", ".gz", ".parquet")

#: kind of stage -> whose work it is
STAGES: Final = {"prompts": WRITER, "reviews": REVIEWER, "judgments": JUDGE, "verdicts": SELECTOR}


def given(config: RunConfig, role: str) -> str:
    """What the recipe says of a role."""
    section, _, name = role.partition(".")
    return str(getattr(getattr(config, section), name))


def shown(config: RunConfig, role: str) -> str:
    """The same for people: without the variable that holds a key."""
    return given(config, role).partition("#")[0]


def who(config: RunConfig, role: str, current: str) -> str:
    """Who has a role: a model of the run, or the role itself where another model has it.

    >>> who(RunConfig(), JUDGE, "M1")
    'M1'
    """
    text = given(config, role)
    return {"base": "M0"}.get(text, current) if text in WORDS else role


def others(config: RunConfig) -> Iterator[str]:
    """The roles of models that are none of the run's; a control reward needs no judge."""
    for role in _ROLES:
        text = given(config, role)
        if role == SELECTOR and (text == ORACLE or not config.select.every):
            continue
        is_file = role == WRITER and is_prompt_file(text)
        if text not in WORDS and not is_file and not (role == JUDGE and not config.judged):
            yield role


def helped(config: RunConfig) -> frozenset[str]:
    """Kinds of stages whose work is not done by models of the run; a file of prompts does the writer's."""
    models = {
        *others(config),
        *([WRITER] if is_prompt_file(config.prompts.writer) or config.prompts.writer == SEEDS else []),
    }
    return frozenset(kind for kind, role in STAGES.items() if role in models)


def is_prompt_file(text: str) -> bool:
    """Whether ``prompts.writer`` names data, and no model.

    >>> is_prompt_file("prompts.jsonl"), is_prompt_file("hf:me/prompts"), is_prompt_file("me/model")
    (True, True, False)
    """
    path = Path(text)
    if text.startswith(HUB_PREFIX) or text.lower().endswith(_FILES):
        return True
    return "://" not in text and (path.is_file() or (path.is_dir() and holds_table(path)))


def problems(config: RunConfig) -> Iterator[str]:
    """``KEY: MESSAGE`` for what cannot be, as far as names and settings alone tell."""
    if config.engine.kind == "openai":
        yield (
            "engine.kind: openai is a served model, whose weights cannot be trained here. Take transformers, and name "
            f"served models (openai:NAME@URL) where they help: {WRITER}, {REVIEWER}, {JUDGE}."
        )
    for role in (WRITER, JUDGE, SELECTOR):
        if given(config, role) == RANKS:
            yield f"{role}: {RANKS} is for {REVIEWER} alone. Name a model, or leave it out."
    for role in (REVIEWER, JUDGE):
        if given(config, role) == SEEDS:
            yield f"{role}: {SEEDS} is for {WRITER} alone. Name a model, or leave it out."
    for role in others(config):
        try:
            kind = parse_candidate(given(config, role)).kind
        except SrbenchError as error:
            yield f"{role}: {error}"
            continue
        if kind == "finished":
            yield f"{role}: {shown(config, role)} holds finished outputs, and no model that could be asked."
        elif kind == "served" and role == JUDGE and config.judge.mode != "sampled":
            yield (
                f"{role}: a served chat model cannot be made to begin its turn with a grade, as judge.mode: "
                f"{config.judge.mode} needs. Set judge.mode=sampled."
            )


def check(config: RunConfig) -> None:
    """Refuses what cannot be.

    Raises:
        ConfigError: naming all of it, each with its key.
    """
    if found := list(problems(config)):
        raise ConfigError("The roles of this run cannot be filled:\n" + "\n".join(f"  {text}" for text in found))
