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
from selfreward_bench.sources import asked
from selfreward_bench.sources.asked import LISTS, MEDIA, Values, read_answer, read_prompt, read_task, value_of
from selfreward_bench.sources.turns import Turns, UnfitRow, read_spoken, read_text, read_turns, split_answer
from selfreward_bench.types import RankedResponse

__all__ = ["COLUMNS", "SHAPES", "Item", "Shape", "named", "recognise"]


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


def _item(values: Values, turns: Turns, responses: tuple[RankedResponse, ...] = ()) -> Item:
    if media := next((name for name in MEDIA if values.get(name)), None):
        raise UnfitRow(f"it has more than text (the column {media})")
    messages, answer = split_answer(turns)
    source, category = asked.read_label(values, "source") or "", asked.read_label(values, "category")
    return Item(messages, answer, responses, asked.read_id(values), source, category)


# --- one answer a row


_QUESTIONS: Final[dict[str, tuple[str, ...]]] = {
    "prompt": ("completion", "response"),
    "question": ("answer", "response"),
    "query": ("response", "answer"),
    "input": ("output",),
}
_ASKED: Final = ("prompt", "question", "query", "instruction", *LISTS)


def _messages(values: Values) -> Iterable[Item]:
    turns = read_prompt(values, *LISTS)
    answer = values.get("completion", values.get("response"))
    yield _item(values, turns + read_answer(answer) if isinstance(answer, str) and turns[-1].role == "user" else turns)


def _alpaca(values: Values) -> Iterable[Item]:
    answer = read_answer(value_of(values, "output", "response"))
    yield _item(
        values, read_task(values, values.get("instruction"), values.get("input", values.get("context"))) + answer
    )


def _self_instruct(values: Values) -> Iterable[Item]:
    instances = value_of(values, "instances")
    if not isinstance(instances, Sequence) or not instances or not all(isinstance(i, Mapping) for i in instances):
        raise UnfitRow("the instances are no list of {input, output}")
    row = asked.read_id(values)
    for number, instance in enumerate(instances):
        name = row if row is None or len(instances) == 1 else f"{row}/{number}"
        turns = read_task(values, values.get("instruction"), instance.get("input"))
        turns += read_answer(instance.get("output"))
        yield _item({**values, "id": name}, turns)


def _columns(values: Values) -> tuple[str, str] | None:
    """Of question and answer; ``input`` is a question where nothing else can be one."""
    for question, answers in _QUESTIONS.items():
        answer = next((name for name in answers if name in values), None)
        if question in values and answer and not (question == "input" and any(name in values for name in _ASKED)):
            return question, answer
    return None


def _question(values: Values) -> Iterable[Item]:
    question, answer = _columns(values) or ("prompt", "completion")
    given = value_of(values, answer)
    turns = read_prompt(values, question)
    yield _item(values, turns + (read_answer(given) if isinstance(given, str) else read_turns(given, "the completion")))


def _prompt_alone(values: Values) -> Iterable[Item]:
    yield _item(values, read_prompt(values, "prompt", "instruction", "question"))


# --- ranked answers


def _preference(values: Values) -> Iterable[Item]:
    """``chosen`` and ``rejected`` as answers to a prompt, or as whole conversations that differ at the end."""
    sides = [_side(value_of(values, name)) for name in ("chosen", "rejected")]
    column = next((name for name in ("prompt", "question", "instruction", "input", *LISTS) if name in values), None)
    if all(len(side) > 1 for side in sides):
        first, second = sides
        if first[:-1] != second[:-1]:
            raise UnfitRow("chosen and rejected differ before their last turn")
        prompt = first[:-1] if first[0].role == "system" else asked.read_system(values) + first[:-1]
        given = values[column] if column else None
        last = read_spoken(given, "the prompt")[-1].content if isinstance(given, str) else prompt[-1].content
        if last.strip() not in (turn.content.strip() for turn in prompt):
            raise UnfitRow("the prompt is not in the conversations of chosen and rejected")
    elif column is None:
        raise UnfitRow("chosen and rejected stand without a prompt")
    else:
        prompt = read_prompt(values, column)
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
        return read_answer(value)
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
    listed = value_of(values, *_RATED)
    if not isinstance(listed, Sequence) or not all(isinstance(response, Mapping) for response in listed):
        raise UnfitRow("the responses are no list of {response, score}")
    marks = _marks(listed)
    order = sorted(set(marks))
    texts = [read_text(next((r[n] for n in _TEXTS if r.get(n) is not None), None), "a response") for r in listed]
    if len(texts) < 2:
        raise UnfitRow("it has fewer than two responses")
    responses = tuple(RankedResponse(text=t, rank=order.index(m)) for t, m in zip(texts, marks, strict=True))
    yield _item(values, read_prompt(values, "messages", "prompt", "instruction", "question"), responses)


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
    return any(isinstance(values.get(name), Sequence) and not isinstance(values[name], str) for name in LISTS)


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
    Shape("question-answer",
          "prompt and completion, question and answer, query and response, or input and output; text or turns",
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
     "query", "chosen", "rejected", "label", *LISTS, *MEDIA, *_RATED,
     "message_id", "message_tree_id", "parent_id", "text", "role", "lang", "rank", "deleted", "review_result",
     "replies"}
)  # fmt: skip
