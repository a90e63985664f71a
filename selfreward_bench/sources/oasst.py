"""Open Assistant conversation trees: the project's own export (``*.trees.jsonl``, also ``.gz``), read and checked.

Seed data and judge accuracy both come from here. Only English first turns and the ranked answers to them are offered;
later turns of a conversation are left out, as are messages that were deleted or failed review.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from selfreward_bench.errors import DataError
from selfreward_bench.storage.files import os_errors
from selfreward_bench.storage.jsonl import MAX_LINE_BYTES
from selfreward_bench.types import Message, RankedPrompt, RankedResponse

__all__ = ["Tree", "Turn", "read_trees"]

_MAX_CHARACTERS: Final = 100_000


class Turn(BaseModel):
    """One message of a tree and the replies to it. ``rank`` 0 is the best of its siblings."""

    model_config = ConfigDict(extra="ignore")

    text: str
    role: str
    lang: str = "en"
    rank: int | None = Field(default=None, ge=0)
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

    message_tree_id: str
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
    """The trees of an export, one a line.

    Raises:
        DataError: the file cannot be read, is damaged, or a line is no tree.
    """
    for number, line in _lines(path):
        try:
            yield Tree.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            field = ".".join(map(str, first["loc"]))
            raise DataError(
                f"{path}:{number}: field {field!r}: {first['msg']}. This is no conversation tree of Open Assistant's "
                "export; give the *.trees.jsonl file."
            ) from error


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with os_errors(path, "read"), opener(path, "rb") as stream:
        number = 0
        while line := _next_line(stream.readline, path):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise DataError(f"{path}:{number}: the line is longer than {MAX_LINE_BYTES:,} bytes; no tree is.")
            if line.strip():
                yield number, line


def _next_line(readline: Callable[[int], bytes], path: Path) -> bytes:
    try:
        return readline(MAX_LINE_BYTES + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: the compressed file is damaged or cut off ({error}). Fetch it again.") from error
