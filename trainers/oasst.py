"""Open Assistant conversation trees as seed data: what the paper took its IFT and EFT from (arXiv 2401.10020).

Reads the project's own export (``*.trees.jsonl``, also ``.gz``): English first turns and their human-ranked answers.
One third of the prompts with a human order goes to EFT, by a hash of their text; all others go to IFT. So the two are
disjoint whatever the sizes and seeds, and a prompt that is asked twice is on one side only.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from selfreward_bench.errors import DataError
from selfreward_bench.files import os_errors
from selfreward_bench.jsonl import MAX_LINE_BYTES
from selfreward_bench.seeding import derive_seed
from selfreward_bench.types import Example, Message, RankedPrompt, RankedResponse
from trainers.filters import normalised

__all__ = ["load_examples", "load_ranked"]

_EFT_SHARE: Final = 3  # one prompt of so many
_MAX_CHARACTERS: Final = 100_000
_T = TypeVar("_T", Example, RankedPrompt)


class _Turn(BaseModel):
    model_config = ConfigDict(extra="ignore")

    text: str
    role: str
    lang: str = "en"
    rank: int | None = None
    deleted: bool | None = False
    review_result: bool | None = None
    replies: list[_Turn] = []

    @property
    def usable(self) -> bool:
        sound = self.text.strip() and "\0" not in self.text and len(self.text) <= _MAX_CHARACTERS
        return bool(sound) and self.lang == "en" and not self.deleted and self.review_result is not False


class _Tree(BaseModel):
    model_config = ConfigDict(extra="ignore")

    message_tree_id: str
    prompt: _Turn

    def answers(self) -> list[_Turn]:
        """Ranked answers to the first turn, best first."""
        ranked = [r for r in self.prompt.replies if r.usable and r.role == "assistant" and r.rank is not None]
        return sorted(ranked, key=lambda r: r.rank or 0)

    @property
    def is_ordered(self) -> bool:
        return len({r.rank for r in self.answers()}) > 1

    @property
    def is_eft(self) -> bool:
        return derive_seed("oasst/eft", normalised(self.prompt.text)) % _EFT_SHARE == 0


def load_examples(path: Path) -> list[Example]:
    """IFT: first turns with the answer of rank 0.

    Raises:
        DataError: the file cannot be read, or holds none.
    """
    return _load(path, _example)


def load_ranked(path: Path) -> list[RankedPrompt]:
    """EFT: first turns with at least two answers that humans ranked differently.

    Raises:
        DataError: the file cannot be read, or holds none.
    """
    return _load(path, _ranked)


def _load(path: Path, convert: Callable[[_Tree], _T | None]) -> list[_T]:
    found: dict[str, _T] = {}
    for tree in _trees(path):
        record = convert(tree) if tree.prompt.usable and tree.prompt.role == "prompter" else None
        if record:
            found.setdefault(record.id, record)
    if not found:
        raise DataError(f"{path}: holds no usable English first turn with ranked answers. Is it the tree export?")
    return list(found.values())


def _example(tree: _Tree) -> Example | None:
    answers = tree.answers()
    if not answers or answers[0].rank != 0 or (tree.is_eft and tree.is_ordered):
        return None
    return Example(
        id=tree.message_tree_id,
        prompt=(Message(role="user", content=tree.prompt.text),),
        completion=(Message(role="assistant", content=answers[0].text),),
        source="oasst",
    )


def _ranked(tree: _Tree) -> RankedPrompt | None:
    if not (tree.is_eft and tree.is_ordered):
        return None
    responses = tuple(RankedResponse(text=r.text, rank=r.rank or 0) for r in tree.answers())
    user = Message(role="user", content=tree.prompt.text)
    return RankedPrompt(id=tree.message_tree_id, messages=(user,), responses=responses)


def _trees(path: Path) -> Iterator[_Tree]:
    for number, line in _lines(path):
        try:
            yield _Tree.model_validate_json(line)
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
