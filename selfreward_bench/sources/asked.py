"""What a row asks: its prompt with what it is about, earlier turns and system prompt, and its answer, as turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from selfreward_bench.sources.turns import Turns, UnfitRow, read_spoken, read_text, read_turns, user
from selfreward_bench.types import Message

__all__ = [
    "LISTS",
    "MEDIA",
    "Values",
    "read_answer",
    "read_id",
    "read_label",
    "read_prompt",
    "read_system",
    "read_task",
    "value_of",
]

Values = Mapping[str, Any]

#: columns of whole conversations
LISTS: Final = ("messages", "conversations", "conversation")
#: columns of what is no text
MEDIA: Final = ("images", "image", "videos", "video", "audios", "audio")

_ABOUT: Final = ("input", "context")
_MAX_ID: Final = 200


def value_of(values: Values, *names: str) -> Any:
    """The first of these columns that the row has.

    Raises:
        UnfitRow: it has none of them.
    """
    return values[_first(values, *names)]


def _first(values: Values, *names: str) -> str:
    for name in names:
        if name in values:
            return name
    raise UnfitRow(f"it has no {' or '.join(names)}")


def read_label(values: Values, name: str) -> str | None:
    """A short text of one line; None where there is none."""
    value = values.get(name)
    return value if isinstance(value, str) and len(value) <= _MAX_ID and value.isprintable() else None


def read_id(values: Values) -> str | None:
    """The row's own id; None where there is none that could be one."""
    for name in ("id", "prompt_id", "conversation_id", "uuid"):
        value = values.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if isinstance(value, str) and 0 < len(value) <= _MAX_ID and value.isprintable():
            return value
    return None


def read_answer(value: object) -> Turns:
    """A text as the assistant's turn."""
    return (Message(role="assistant", content=read_text(value, "the answer")),)


def read_prompt(values: Values, *names: str) -> Turns:
    """What the first of these columns asks: a conversation, or a text with what it is about behind it (``input`` or
    ``context``, where the text does not hold it) and earlier turns before it; with the row's system prompt where the
    conversation has none.

    >>> [turn.content for turn in read_prompt({"prompt": "Translate.", "input": "Apfel"}, "prompt")]
    ['Translate.\\n\\nApfel']

    Raises:
        UnfitRow: it can be none.
    """
    name = _first(values, *names)
    given, what = values[name], "the conversation" if name in LISTS else f"the {name}"
    if not isinstance(given, str):
        turns = read_turns(given, what)
    elif len(turns := read_spoken(given, what)) == 1:
        about = next((values[column] for column in _ABOUT if column != name and column in values), None)
        within = isinstance(about, str) and about.strip() in given
        return read_task(values, turns[0].content, "" if within else about, what)
    return turns if turns[0].role == "system" else read_system(values) + turns


def read_task(values: Values, asked: object, about: object, what: str = "the instruction") -> Turns:
    """System prompt, earlier turns (``history``), and an instruction with what it is about behind it."""
    instruction = read_text(asked, what)
    if about is not None and not (isinstance(about, str) and not about.strip()):
        instruction = f"{instruction}\n\n{read_text(about, 'the input')}"
    earlier: list[Message] = []
    history = values.get("history") or ()
    if not isinstance(history, Sequence) or isinstance(history, str | bytes):
        raise UnfitRow("the history is no list of [question, answer]")
    for pair in history:
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise UnfitRow("the history is no list of [question, answer]")
        earlier += user(read_text(pair[0], "a turn of the history")) + read_answer(pair[1])
    return (*read_system(values), *earlier, *user(instruction))


def read_system(values: Values) -> Turns:
    """The system prompt that stands in a column of its own."""
    text = values.get("system_prompt", values.get("system"))
    if text is None or (isinstance(text, str) and not text.strip()):
        return ()
    return (Message(role="system", content=read_text(text, "the system prompt")),)
