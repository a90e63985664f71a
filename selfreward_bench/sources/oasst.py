"""Open Assistant conversation trees, read and checked.

They come as the project's own export (``*.trees.jsonl``, also ``.gz``), or as the table of messages that its data sets
on the hub are (oasst1, oasst2).

Seed data and judge accuracy both come from here. Only English first turns and the ranked answers to them are offered;
later turns of a conversation are left out, as are messages that were deleted or failed review.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from selfreward_bench.errors import DataError
from selfreward_bench.sources.tables import Row, Table, open_table
from selfreward_bench.types import Message, RankedPrompt, RankedResponse

__all__ = ["Tree", "Turn", "is_message", "read_trees", "trees_of"]

_MAX_CHARACTERS: Final = 100_000
_M = TypeVar("_M", bound=BaseModel)
_Id = Annotated[str, Field(min_length=1)]
_Rank = Annotated[int, Field(ge=0)]


class Turn(BaseModel):
    """One message of a tree and the replies to it. ``rank`` 0 is the best of its siblings."""

    model_config = ConfigDict(extra="ignore")

    text: str
    role: str
    lang: str = "en"
    rank: Annotated[_Rank | None, BeforeValidator(lambda value: None if value != value else value)] = None  # a NaN
    deleted: bool | None = False
    review_result: bool | None = None
    replies: list[Turn] = []

    @property
    def usable(self) -> bool:
        """Whether it is English, sound text that was neither deleted nor turned down."""
        sound = self.text.strip() and "\0" not in self.text and len(self.text) <= _MAX_CHARACTERS
        return bool(sound) and self.lang == "en" and not self.deleted and self.review_result is not False


class Tree(BaseModel):
    """A conversation tree; ``prompt`` is its root, written by a person."""

    model_config = ConfigDict(extra="ignore")

    message_tree_id: _Id
    prompt: Turn

    @property
    def usable(self) -> bool:
        """Whether the root is a usable instruction."""
        return self.prompt.usable and self.prompt.role == "prompter"

    def answers(self) -> list[Turn]:
        """Ranked answers to the first turn, best first."""
        ranked = [r for r in self.prompt.replies if r.usable and r.role == "assistant" and r.rank is not None]
        return sorted(ranked, key=lambda r: r.rank or 0)

    @property
    def is_ordered(self) -> bool:
        """Whether people ranked at least two answers differently."""
        return len({r.rank for r in self.answers()}) > 1

    def ranked(self) -> RankedPrompt:
        """The first turn with its ranked answers; at least two of them are needed."""
        responses = tuple(RankedResponse(text=r.text, rank=r.rank or 0) for r in self.answers())
        user = Message(role="user", content=self.prompt.text)
        return RankedPrompt(id=self.message_tree_id, messages=(user,), responses=responses)


def read_trees(path: Path) -> Iterator[Tree]:
    """The trees of an export, or of the table of messages that Open Assistant's data sets on the hub are.

    Raises:
        DataError: the file cannot be read, is damaged, or a row is neither tree nor message.
    """
    return trees_of(open_table(str(path)))


def trees_of(table: Table) -> Iterator[Tree]:
    """As ``read_trees``, of a table. A nested message without a tree around it counts as one."""
    rows = table.rows()
    first = next(rows, None)
    if first is None:
        return
    every = chain([first], rows)
    if is_message(first.values):
        yield from _from_messages(every)
        return
    for row in every:
        nested = "replies" in row.values and "prompt" not in row.values
        values = {"message_tree_id": row.values.get("message_id"), "prompt": row.values} if nested else row.values
        yield _read(row, Tree, values)


def is_message(values: Mapping[str, Any]) -> bool:
    """Whether a row is one message that names its parent, instead of holding its replies."""
    return {"message_id", "text", "role"} <= set(values) and "replies" not in values


class _Message(Turn):
    """A row of the table of messages."""

    message_id: _Id
    parent_id: str | None = None
    message_tree_id: str | None = None


def _from_messages(rows: Iterable[Row]) -> Iterator[Tree]:
    """Trees of first turns and the answers to them; rows may come in any order."""
    roots: dict[str, _Message] = {}
    answers: dict[str, list[Turn]] = {}
    for row in rows:
        message = _read(row, _Message, row.values)
        if message.parent_id is None:
            roots.setdefault(message.message_id, message)
        elif message.role == "assistant" and message.usable:
            answers.setdefault(message.parent_id, []).append(message)
    for name, root in roots.items():
        prompt = root.model_copy(update={"replies": answers.get(name, [])})
        yield Tree(message_tree_id=root.message_tree_id or name, prompt=prompt)


def _read(row: Row, model: type[_M], values: Mapping[str, Any]) -> _M:
    if row.fault:
        raise DataError(f"{row.place}: {row.fault}")
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise DataError(
            f"{row.place}: field {field!r}: {first['msg']}. This is no conversation tree of Open Assistant's "
            "export; give the *.trees.jsonl file, or the table of messages."
        ) from error
