"""The human seed data: IFT (instruction, answer), ranked responses for EFT, and what is held out from training.

A source is ``micro`` (embedded), ``oasst:PATH`` (Open Assistant's trees) or a path to JSONL in the layouts of
docs/formats.md. What cannot be used is refused with file, line and field; nothing is mended silently.
``trainers.eft`` turns ranked responses into training examples.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Final, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from selfreward_bench.config import SeedConfig
from selfreward_bench.errors import ConfigError, DataError
from selfreward_bench.judges.prompts import render_conversation
from selfreward_bench.micro import data_path
from selfreward_bench.seeding import derive_seed
from selfreward_bench.storage import jsonl
from selfreward_bench.types import Example, Message, Prompt, RankedPrompt, RankedResponse
from trainers import oasst
from trainers.filters import normalised

__all__ = ["load_eft", "load_excluded", "load_ift"]

MAX_CHARACTERS: Final = 1_000_000  # of one text; no model reads more

_R = TypeVar("_R", Example, RankedPrompt)


def load_ift(config: SeedConfig, run_seed: int) -> list[Example]:
    """Instructions with their answers, ``ift_size`` of them by a seeded draw, in the file's order.

    Raises:
        DataError: a record cannot be used, or its prompt is held out.
    """
    kind, path = _source(config.ift, "ift")
    if kind == "oasst":
        examples = _without_held_out(oasst.load_examples(path), config)
    else:
        examples = [line.example() for line in jsonl.read(path, IftLine, unique=lambda line: line.id)]
        _refuse_held_out(examples, config, path)
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
    kind, path = _source(config.eft, "eft")
    if kind == "oasst":
        ranked = _without_held_out(oasst.load_ranked(path), config)
    else:
        ranked = [line.ranked() for line in jsonl.read(path, RankedLine, unique=lambda line: line.id)]
        _refuse_held_out(ranked, config, path)
    if config.eft_size is None:
        return ranked
    kept, size = set(), 0
    for prompt in _shuffled(ranked, run_seed, "seeds/eft"):
        if size + len(prompt.responses) <= config.eft_size:
            kept.add(prompt.id)
            size += len(prompt.responses)
    if not kept:
        raise ConfigError(
            f"seeds.eft_size={config.eft_size} counts responses, and every prompt of {path} has more. Raise it."
        )
    return [p for p in ranked if p.id in kept]


def load_excluded(config: SeedConfig) -> list[Prompt]:
    """Held-out prompts, which must be neither trained on nor written anew.

    Raises:
        DataError: a record cannot be used.
    """
    if config.exclude is None:
        return []
    _, path = _source(config.exclude, "exclude")
    return [line.held_out() for line in jsonl.read(path, PromptLine, unique=lambda line: line.id)]


def _source(given: str, name: str) -> tuple[str, Path]:
    if given == "micro":
        return "jsonl", data_path(name)
    if given.startswith("oasst:") and name != "exclude":
        return "oasst", Path(given.removeprefix("oasst:"))
    return "jsonl", Path(given)


def _shuffled(records: Sequence[_R], run_seed: int, label: str) -> list[_R]:
    """By a hash of seed and id: the draw does not depend on the file's order, and a larger draw holds the smaller."""
    return sorted(records, key=lambda r: (derive_seed(run_seed, label, r.id), r.id))


# --- held-out prompts


def _key(record: Example | RankedPrompt | Prompt) -> str:
    return normalised(render_conversation(record.prompt if isinstance(record, Example) else record.messages))


def _held_out(records: Iterable[_R], config: SeedConfig) -> list[_R]:
    excluded = {_key(prompt) for prompt in load_excluded(config)}
    return [record for record in records if _key(record) in excluded]


def _without_held_out(records: Sequence[_R], config: SeedConfig) -> list[_R]:
    """For a public collection, which no user edits; a user's own file is refused instead."""
    taken = {record.id for record in _held_out(records, config)}
    return [record for record in records if record.id not in taken]


def _refuse_held_out(records: Sequence[_R], config: SeedConfig, path: Path) -> None:
    found = _held_out(records, config)
    if found:
        raise DataError(
            f"{path}: {len(found)} of {len(records)} prompts are held out by seeds.exclude={config.exclude}, first "
            f"{found[0].id!r}. Training on them would spoil the evaluation: remove them from one of the two files."
        )


# --- lines of the user's files


def _sound(text: str, place: str = "the text") -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "{place} is empty", {"place": place})
    if "\0" in text:
        raise PydanticCustomError("nul", "{place} holds a NUL character", {"place": place})
    if len(text) > MAX_CHARACTERS:
        message = f"{{place}} is longer than {MAX_CHARACTERS:,} characters, more than any model reads"
        raise PydanticCustomError("too_long", message, {"place": place})
    return text


def _turns(value: object, role: str) -> object:
    """A text as one turn; a conversation with every turn sound and ``role`` speaking last."""
    if isinstance(value, str):
        return ({"role": role, "content": _sound(value)},)
    if not isinstance(value, list | tuple):
        raise PydanticCustomError("conversation", "must be a text or a list of {role, content}")
    return tuple(value)


def _checked(turns: tuple[Message, ...], role: str) -> tuple[Message, ...]:
    for number, turn in enumerate(turns):
        _sound(turn.content, f"the text of turn {number}")
    if not turns or turns[-1].role != role:
        raise PydanticCustomError("last_role", f"the last turn must be the {role}'s")
    return turns


def _checked_responses(responses: tuple[RankedResponse, ...]) -> tuple[RankedResponse, ...]:
    for number, response in enumerate(responses):
        _sound(response.text, f"the text of response {number}")
    return responses


_Conversation = Annotated[
    tuple[Message, ...],
    Field(strict=False),
    BeforeValidator(lambda value: _turns(value, "user")),
    AfterValidator(lambda turns: _checked(turns, "user")),
]
_Answer = Annotated[
    tuple[Message, ...],
    Field(strict=False),
    BeforeValidator(lambda value: _turns(value, "assistant")),
    AfterValidator(lambda turns: _checked(turns, "assistant")),
]


class _Line(BaseModel):
    """What all lines have: an id, and the instruction as ``prompt`` (a text or a conversation) or ``messages``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, Field(min_length=1, max_length=200)]
    prompt: _Conversation | None = None
    messages: _Conversation | None = None

    @model_validator(mode="after")
    def _one_instruction(self) -> _Line:
        if (self.prompt is None) == (self.messages is None):
            raise PydanticCustomError("instruction", "give the instruction once, as 'prompt' or as 'messages'")
        return self

    @property
    def turns(self) -> tuple[Message, ...]:
        return self.prompt or self.messages or ()


class PromptLine(_Line):
    source: str = ""
    category: str | None = None

    def held_out(self) -> Prompt:
        return Prompt(id=self.id, messages=self.turns, source=self.source, category=self.category)


class IftLine(_Line):
    completion: _Answer
    source: str = ""

    def example(self) -> Example:
        return Example(id=self.id, prompt=self.turns, completion=self.completion, source=self.source or "ift")


class RankedLine(_Line):
    responses: Annotated[tuple[RankedResponse, ...], Field(min_length=2), AfterValidator(_checked_responses)]
    category: str | None = None

    def ranked(self) -> RankedPrompt:
        return RankedPrompt(id=self.id, messages=self.turns, responses=self.responses, category=self.category)
