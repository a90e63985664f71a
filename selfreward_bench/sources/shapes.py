"""The shapes in which people keep instructions, answers and preferences, and how a row of each is read.

A shape is told by its columns; others that a row may have are left alone. Each row comes to an ``Item``: a conversation
up to a user's turn, with its answer or its ranked responses. Turns and system prompts are kept; of several answers in a
conversation the last one is the answer. Nothing is mended: a row that does not fit raises ``UnfitRow``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from selfreward_bench.errors import DataError, UnknownNameError
from selfreward_bench.sources.turns import Turns, UnfitRow, read_spoken, read_text, read_turns, split_answer, user
from selfreward_bench.types import Message, RankedResponse

__all__ = ["COLUMNS", "SHAPES", "Item", "Shape", "named", "recognise"]

_MAX_ID: Final = 200

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Item:
    """What a row says.

    Attributes:
        messages: ends with the user's turn.
        answer: None where the row has none.
        responses: empty, or two or more.
        id: as the row has it; None where there is none that could be one.
        source, category: as the row has them.
    """

    messages: Turns
    answer: str | None = None
    responses: tuple[RankedResponse, ...] = ()
    id: str | None = None
    source: str = ""
    category: str | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """One shape.

    Attributes:
        name: as ``--shape`` takes it.
        columns: in words, for messages.
        fits: whether a row with these values is of it.
        items: reads a row.
        yields: what it can be: of ``ift``, ``eft``, ``prompts``.
        over: shapes that this one goes before where a row could be of both.
    """

    name: str
    columns: str
    fits: Callable[[Values], bool]
    items: Callable[[Values], Iterable[Item]]
    yields: tuple[str, ...] = ("ift", "prompts")
    over: frozenset[str] = field(default=frozenset())


def recognise(rows: Sequence[Values], name: str) -> Shape:
    """The shape of the first of these rows that has one.

    Args:
        name: of the file, for messages.

    Raises:
        DataError: none has one, or it could be of several.
    """
    for values in rows:
        fitting = [shape for shape in SHAPES if shape.fits(values)]
        beaten = frozenset().union(*(shape.over for shape in fitting))
        if len(left := [shape for shape in fitting if shape.name not in beaten]) > 1:
            names = " and ".join(shape.name for shape in left)
            raise DataError(
                f"{name}: the columns ({_listed(values)}) fit {names} alike. Say which with `srbench data import "
                "--shape`, or leave out the columns of the others."
            )
        if left:
            return left[0]
    found = _listed(rows[0]) if rows else "none"
    known = "\n".join(f"  {shape.name}: {shape.columns}" for shape in SHAPES)
    raise DataError(f"{name}: the columns are {found}, which is no known shape. Known shapes:\n{known}")


def named(name: str) -> Shape:
    """The shape of this name.

    Raises:
        UnknownNameError: there is none.
    """
    for shape in SHAPES:
        if shape.name == name:
            return shape
    raise UnknownNameError("shape", name, [shape.name for shape in SHAPES])


def _listed(values: Values) -> str:
    names = [name if len(name) <= 40 else f"{name[:40]}..." for name in list(values)[:12]]
    return ", ".join(names) + (f" and {len(values) - 12} more" if len(values) > 12 else "") or "none"


# --- parts of rows


def _system(values: Values) -> Turns:
    """The system prompt that stands in a column of its own."""
    text = values.get("system_prompt", values.get("system"))
    if text is None or (isinstance(text, str) and not text.strip()):
        return ()
    return (Message(role="system", content=read_text(text, "the system prompt")),)


def _need(values: Values, *names: str) -> Any:
    """The first of these columns that the row has."""
    for name in names:
        if name in values:
            return values[name]
    raise UnfitRow(f"it has no {' or '.join(names)}")


def _item(values: Values, turns: Turns, responses: tuple[RankedResponse, ...] = ()) -> Item:
    messages, answer = split_answer(turns)
    return Item(messages, answer, responses, _id(values), _label(values, "source") or "", _label(values, "category"))


def _label(values: Values, name: str) -> str | None:
    value = values.get(name)
    return value if isinstance(value, str) and len(value) <= _MAX_ID and value.isprintable() else None


def _id(values: Values) -> str | None:
    for name in ("id", "prompt_id", "conversation_id", "uuid"):
        value = values.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if isinstance(value, str) and 0 < len(value) <= _MAX_ID and value.isprintable():
            return value
    return None


# --- one answer a row


_LISTS: Final = ("messages", "conversations", "conversation")
_QUESTIONS: Final[dict[str, tuple[str, ...]]] = {
    "prompt": ("completion", "response"),
    "question": ("answer", "response"),
    "query": ("response", "answer"),
}


def _messages(values: Values) -> Iterable[Item]:
    turns = _prompt(values, _need(values, *_LISTS), "the conversation")
    answer = values.get("completion", values.get("response"))
    yield _item(values, turns + _answer(answer) if isinstance(answer, str) and turns[-1].role == "user" else turns)


def _alpaca(values: Values) -> Iterable[Item]:
    answer = _answer(_need(values, "output", "response"))
    yield _item(values, _task(values, values.get("input", values.get("context"))) + answer)


def _self_instruct(values: Values) -> Iterable[Item]:
    instances = _need(values, "instances")
    if not isinstance(instances, Sequence) or not instances or not all(isinstance(i, Mapping) for i in instances):
        raise UnfitRow("the instances are no list of {input, output}")
    row = _id(values)
    for number, instance in enumerate(instances):
        name = row if row is None or len(instances) == 1 else f"{row}/{number}"
        turns = _task(values, instance.get("input")) + _answer(instance.get("output"))
        yield _item({**values, "id": name}, turns)


def _task(values: Values, given: object) -> Turns:
    """System prompt, earlier turns, and the instruction with what it is about behind it."""
    instruction = read_text(values.get("instruction"), "the instruction")
    if given is not None and not (isinstance(given, str) and not given.strip()):
        instruction = f"{instruction}\n\n{read_text(given, 'the input')}"
    earlier: list[Message] = []
    history = values.get("history") or ()
    if not isinstance(history, Sequence) or isinstance(history, str | bytes):
        raise UnfitRow("the history is no list of [question, answer]")
    for pair in history:
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise UnfitRow("the history is no list of [question, answer]")
        earlier += user(read_text(pair[0], "a turn of the history")) + _answer(pair[1])
    return (*_system(values), *earlier, *user(instruction))


def _answer(value: object) -> Turns:
    return (Message(role="assistant", content=read_text(value, "the answer")),)


def _columns(values: Values) -> tuple[str, str] | None:
    return next(((q, a) for q, answers in _QUESTIONS.items() if q in values for a in answers if a in values), None)


def _question(values: Values) -> Iterable[Item]:
    question, answer = _columns(values) or ("prompt", "completion")
    given = _need(values, answer)
    turns = _prompt(values, _need(values, question))
    yield _item(values, turns + (_answer(given) if isinstance(given, str) else read_turns(given, "the completion")))


def _prompt(values: Values, given: object, what: str = "the prompt") -> Turns:
    """A text as the user's turn, or a conversation, with the system prompt where it has none."""
    turns = read_spoken(given, what) if isinstance(given, str) else read_turns(given, what)
    return turns if turns[0].role == "system" else _system(values) + turns


def _prompt_alone(values: Values) -> Iterable[Item]:
    given = _need(values, "prompt", "instruction", "question")
    yield _item(values, _prompt(values, given))


# --- ranked answers


def _preference(values: Values) -> Iterable[Item]:
    """``chosen`` and ``rejected`` as answers to a prompt, or as whole conversations that differ at the end."""
    sides = [_side(_need(values, name)) for name in ("chosen", "rejected")]
    asked = next((values[n] for n in ("prompt", "question", "instruction", *_LISTS) if n in values), None)
    if all(len(side) > 1 for side in sides):
        first, second = sides
        if first[:-1] != second[:-1]:
            raise UnfitRow("chosen and rejected differ before their last turn")
        prompt = first[:-1] if first[0].role == "system" else _system(values) + first[:-1]
        last = read_spoken(asked, "the prompt")[-1].content if isinstance(asked, str) else prompt[-1].content
        if last.strip() not in (turn.content.strip() for turn in prompt):
            raise UnfitRow("the prompt is not in the conversations of chosen and rejected")
    elif asked is None:
        raise UnfitRow("chosen and rejected stand without a prompt")
    else:
        prompt = _prompt(values, asked)
        if any(len(side) != 1 for side in sides):
            raise UnfitRow("one of chosen and rejected is a conversation, the other is not")
    if any(side[-1].role != "assistant" for side in sides):
        raise UnfitRow("chosen or rejected does not end with the assistant")
    if sides[0][-1].content.strip() == sides[1][-1].content.strip():
        raise UnfitRow("chosen and rejected are equal")
    responses = tuple(RankedResponse(text=side[-1].content, rank=rank) for rank, side in enumerate(sides))
    yield _item(values, prompt, responses)


def _side(value: object) -> Turns:
    if not isinstance(value, str):
        return read_turns(value, "chosen or rejected")
    said = read_spoken(value, "chosen or rejected")
    if said[0].content == value:  # no speaker is named
        return _answer(value)
    if said[-1].role != "assistant":
        raise UnfitRow("chosen or rejected has no answer at its end")
    return said


_RATED: Final = ("completions", "responses", "answers")
_TEXTS: Final = ("response", "text", "content", "completion", "answer", "output")
_SCORES: Final = ("overall_score", "score", "rating")


def _is_rated(values: Values) -> bool:
    listed = next((values[name] for name in _RATED if name in values), None)
    asked = any(name in values for name in ("instruction", "prompt", "question", "messages"))
    return asked and isinstance(listed, Sequence) and bool(listed) and all(isinstance(r, Mapping) for r in listed)


def _rated(values: Values) -> Iterable[Item]:
    """Ratings become ranks from 0, equal ratings equal ranks; of given ranks the lowest is the best."""
    listed = _need(values, *_RATED)
    if not isinstance(listed, Sequence) or not all(isinstance(response, Mapping) for response in listed):
        raise UnfitRow("the responses are no list of {response, score}")
    marks = _marks(listed)
    order = sorted(set(marks))
    texts = [read_text(next((r[n] for n in _TEXTS if r.get(n) is not None), None), "a response") for r in listed]
    if len(texts) < 2:
        raise UnfitRow("it has fewer than two responses")
    responses = tuple(RankedResponse(text=t, rank=order.index(m)) for t, m in zip(texts, marks, strict=True))
    asked = _need(values, "messages", "prompt", "instruction", "question")
    yield _item(values, _prompt(values, asked), responses)


def _marks(listed: Sequence[Mapping[str, Any]]) -> list[float]:
    """Of each response, lower is better; by the first measure that all have."""
    for name, sign in (("rank", 1), *((score, -1) for score in _SCORES)):
        values = [response.get(name) for response in listed]
        numbers = [sign * float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool) and v == v]
        if len(numbers) == len(listed):
            return numbers
    raise UnfitRow("not all responses have a rank or score")


# --- the table


def _has(*names: str) -> Callable[[Values], bool]:
    return lambda values: all(name in values for name in names)


def _is_conversation(values: Values) -> bool:
    return any(isinstance(values.get(name), Sequence) and not isinstance(values[name], str) for name in _LISTS)


def _is_tree(values: Values) -> bool:
    wrapped = isinstance(values.get("prompt"), Mapping) and "message_tree_id" in values
    return wrapped or ("message_id" in values and "replies" in values)


def _is_unpaired(values: Values) -> bool:
    return isinstance(values.get("label"), bool) and _columns(values) is not None


def _refused(values: Values) -> Iterable[Item]:
    raise UnfitRow("one answer with a yes or no is no pair: nothing says what to learn instead")


def _elsewhere(values: Values) -> Iterable[Item]:
    raise UnfitRow("a tree is read whole")


_ONE_ANSWER: Final = frozenset({"messages", "alpaca", "self-instruct", "question-answer", "prompt"})
_ALL: Final = ("ift", "eft", "prompts")

SHAPES: Final[tuple[Shape, ...]] = (
    Shape("messages", "messages or conversations, a list of {role, content} or {from, value}", _is_conversation,
          _messages, over=frozenset({"prompt"})),
    Shape("alpaca", "instruction, input or context (may be missing), output or response",
          lambda v: "instruction" in v and ("output" in v or isinstance(v.get("response"), str)), _alpaca,
          over=frozenset({"prompt"})),
    Shape("self-instruct", "instruction, instances (a list of {input, output})", _has("instruction", "instances"),
          _self_instruct, over=frozenset({"prompt"})),
    Shape("question-answer", "prompt and completion, question and answer, or query and response; text or turns",
          lambda v: _columns(v) is not None, _question, over=frozenset({"prompt"})),
    Shape("preference", "chosen and rejected, with or without prompt; text or turns", _has("chosen", "rejected"),
          _preference, _ALL, over=_ONE_ANSWER),
    Shape("rated", "instruction or prompt, completions or responses (a list of {response or text, score or rank})",
          _is_rated, _rated, _ALL, over=_ONE_ANSWER),
    Shape("oasst-trees", "message_tree_id and prompt, or message_id and replies (Open Assistant's trees)",
          _is_tree, _elsewhere, _ALL, over=_ONE_ANSWER),
    Shape("oasst-messages", "message_id, text, role, parent_id (Open Assistant's table of messages)",
          lambda v: _has("message_id", "text", "role")(v) and "replies" not in v, _elsewhere, _ALL, over=_ONE_ANSWER),
    Shape("unpaired", "prompt, completion, label (true or false); cannot be used", _is_unpaired, _refused, (),
          over=_ONE_ANSWER),
    Shape("prompt", "prompt, instruction or question, and no answer",
          lambda v: any(isinstance(v.get(name), str | Sequence) for name in ("prompt", "instruction", "question")),
          _prompt_alone, ("prompts",)),
)  # fmt: skip

#: every column that some shape looks at
COLUMNS: Final = frozenset(
    {"id", "prompt_id", "conversation_id", "uuid", "source", "category", "system", "system_prompt", "instruction",
     "input", "context", "output", "response", "instances", "history", "prompt", "completion", "question", "answer",
     "query", "chosen", "rejected", "label", *_LISTS, *_RATED,
     "message_id", "message_tree_id", "parent_id", "text", "role", "lang", "rank", "deleted", "review_result",
     "replies"}
)  # fmt: skip
