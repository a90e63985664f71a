"""Texts and turns as rows of other people's tables have them: checked, and brought to ``Message``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import cycle, pairwise
from typing import Final

from selfreward_bench.types import Message, Role

__all__ = [
    "MAX_CHARACTERS",
    "Turns",
    "UnfitRow",
    "read_spoken",
    "read_text",
    "read_turns",
    "split_answer",
    "text_fault",
    "user",
]

MAX_CHARACTERS: Final = 1_000_000  # of one text; no model reads more

Turns = tuple[Message, ...]


class UnfitRow(Exception):
    """A row that cannot be used; its text is the reason, the same for all rows with this fault."""


def text_fault(text: str) -> str | None:
    """Why a text cannot be one that a model reads or writes, or None."""
    if not text.strip():
        return "is empty"
    if "\0" in text:
        return "holds a NUL character"
    if len(text) > MAX_CHARACTERS:
        return f"is longer than {MAX_CHARACTERS:,} characters, more than any model reads"
    return None


def read_text(value: object, what: str) -> str:
    """A text that can be used.

    Args:
        what: names it in the reason.

    Raises:
        UnfitRow: it is none.
    """
    if not isinstance(value, str):
        raise UnfitRow(f"{what} is missing" if value is None else f"{what} is no text")
    if fault := text_fault(value):
        raise UnfitRow(f"{what} {fault}")
    return value


def user(text: str) -> Turns:
    """One turn of the user."""
    return (Message(role="user", content=text),)


_ROLES: Final[dict[str, Role]] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bing", "bard", "model", "bot", "ai"), "assistant"),
}


def read_turns(value: object, what: str = "the conversation") -> Turns:
    """A list of ``{role, content}`` or ``{from, value}``; one such turn counts as a list. Empty system turns go.

    Several texts are turns of user and assistant (LIMA); ``{input, output}`` is one of each (Capybara).

    >>> read_turns([{"from": "human", "value": "Hi."}])
    (Message(role='user', content='Hi.'),)

    Raises:
        UnfitRow: it is none, or a turn is not text alone or nobody's that a chat model knows.
    """
    turns = [value] if isinstance(value, Mapping) else value
    if not isinstance(turns, Sequence) or isinstance(turns, str | bytes):
        raise UnfitRow(f"{what} is no list of turns")
    read = [_turn(turn, what) for turn in _with_roles(turns)]
    found = tuple(turn for turn in read if turn.role != "system" or turn.content.strip())
    for turn in found:
        read_text(turn.content, f"a turn of {what}")
    if not found:
        raise UnfitRow(f"{what} has no turns")
    return found


def _with_roles(turns: Sequence[object]) -> Sequence[object]:
    """Turns that say whose they are by their place alone as those that have a role."""
    if all(isinstance(turn, Mapping) and {"input", "output"} <= turn.keys() for turn in turns):
        turns = [turn[name] for turn in turns if isinstance(turn, Mapping) for name in ("input", "output")]
    elif len(turns) < 2 or not all(isinstance(turn, str) for turn in turns):
        return turns
    return [{"role": role, "content": turn} for role, turn in zip(cycle(("user", "assistant")), turns)]


_SPEAKERS: Final = re.compile(r"(?:\A|\n\n)(Human|Assistant): ?")
_SPEAKER_ROLES: Final = {"Human": "user", "Assistant": "assistant"}


def read_spoken(text: str, what: str) -> Turns:
    """A text as the user's turn; where speakers are named as in Anthropic's HH-RLHF, each turn by itself.

    >>> [turn.content for turn in read_spoken("\\n\\nHuman: Hi.\\n\\nAssistant: Hello.\\n\\nHuman: Bye.", "it")]
    ['Hi.', 'Hello.', 'Bye.']

    Args:
        what: names it in the reason.

    Raises:
        UnfitRow: it, or a turn of it, can be none.
    """
    if not text.startswith("\n\nHuman:"):
        return user(read_text(text, what))
    pieces = _SPEAKERS.split(text)[1:]
    said = [(speaker, words.strip()) for speaker, words in zip(pieces[::2], pieces[1::2], strict=True)]
    if said[-1] == ("Assistant", ""):  # the answer is waited for
        said.pop()
    return read_turns([{"role": _SPEAKER_ROLES[speaker], "content": words} for speaker, words in said], what)


def _turn(turn: object, what: str) -> Message:
    if not isinstance(turn, Mapping):
        raise UnfitRow(f"{what} is no list of turns")
    role = turn.get("role") or turn.get("from")
    if not isinstance(role, str) or role.lower() not in _ROLES:
        raise UnfitRow("a turn is neither system's, user's nor assistant's")
    if turn.get("tool_calls") or turn.get("function_call"):
        raise UnfitRow("a turn calls tools")
    content = turn.get("content")
    content = turn.get("value") if content is None else content
    if isinstance(content, Sequence) and not isinstance(content, str | bytes):
        content = "\n".join(_part(part) for part in content)
    if not isinstance(content, str):
        raise UnfitRow("a turn has no text")
    return Message(role=_ROLES[role.lower()], content=content)


def _part(part: object) -> str:
    """Of a content in parts, as OpenAI's messages have it."""
    if not isinstance(part, Mapping) or part.get("type", "text") != "text" or not isinstance(part.get("text"), str):
        raise UnfitRow("a turn holds more than text (an image, sound, a tool's call)")
    return str(part["text"])


def split_answer(turns: Turns) -> tuple[Turns, str | None]:
    """The conversation up to the last user's turn, and the answer to it, if there is one.

    Raises:
        UnfitRow: user and assistant do not take turns, beginning with the user.
    """
    spoken = turns[1:] if turns[0].role == "system" else turns
    if any(turn.role == "system" for turn in spoken):
        raise UnfitRow("a system turn stands within the conversation")
    if not spoken or spoken[0].role != "user":
        raise UnfitRow("the conversation does not begin with the user")
    if any(a.role == b.role for a, b in pairwise(spoken)):
        raise UnfitRow("two turns of one role follow each other")
    return (turns[:-1], turns[-1].content) if turns[-1].role == "assistant" else (turns, None)
