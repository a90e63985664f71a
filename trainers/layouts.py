"""srbench's own layouts of seed data (docs/formats.md): the lines a user writes, checked field by field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from selfreward_bench.sources.turns import text_fault
from selfreward_bench.types import Example, Message, Prompt, RankedPrompt, RankedResponse

__all__ = ["LINES", "IftLine", "PromptLine", "RankedLine", "is_own_layout"]


def _sound(text: str, place: str = "the text") -> str:
    if fault := text_fault(text):
        raise PydanticCustomError("text", f"{{place}} {fault}", {"place": place})
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

    def record(self) -> Prompt:
        return Prompt(id=self.id, messages=self.turns, source=self.source, category=self.category)


class IftLine(_Line):
    completion: _Answer
    source: str = ""

    def record(self) -> Example:
        return Example(id=self.id, prompt=self.turns, completion=self.completion, source=self.source or "ift")


class RankedLine(_Line):
    responses: Annotated[tuple[RankedResponse, ...], Field(min_length=2), AfterValidator(_checked_responses)]
    category: str | None = None

    def record(self) -> RankedPrompt:
        return RankedPrompt(id=self.id, messages=self.turns, responses=self.responses, category=self.category)


#: by what the records are for
LINES: Final[dict[str, type[IftLine] | type[RankedLine] | type[PromptLine]]] = {
    "ift": IftLine,
    "eft": RankedLine,
    "prompts": PromptLine,
}


def is_own_layout(values: Mapping[str, Any], purpose: str) -> bool:
    """Whether a row is meant to be a line of the purpose's layout; it may still be wrong in detail."""
    asked = values.get("messages", values.get("prompt"))
    if not isinstance(values.get("id"), str) or asked is None or not set(values) <= set(LINES[purpose].model_fields):
        return False
    if "completion" not in values and isinstance(asked, list) and asked and isinstance(asked[-1], dict):
        return asked[-1].get("role") != "assistant"  # the answer is the last turn: another shape
    listed = values.get("responses")
    return not (isinstance(listed, list) and listed and isinstance(listed[0], dict) and "rank" not in listed[0])
