"""IFEval's files: the 541 prompts with their demands, and answers to them that somebody else's tools wrote.

Finished answers are rows (``sources.rows`` says what may hold them) in the layout of the original (``prompt`` and
``response``, as ``instruction_following_eval`` reads them) or of lm-eval's ``samples_ifeval_*.jsonl``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import Field, JsonValue, model_validator

from selfreward_bench.errors import DataError
from selfreward_bench.sources import rows
from selfreward_bench.sources.directory import DataDir
from selfreward_bench.storage.decoding import decode
from selfreward_bench.storage.rundir import hash_json
from selfreward_bench.types import Record

__all__ = ["KIND", "PROMPTS", "Responses", "Task", "hash_tasks", "load_tasks", "read_responses", "recognise"]

PROMPTS: Final = "ifeval/input_data.jsonl"
KIND: Final = "ifeval-responses"


class Task(Record):
    """One prompt with its demands.

    Attributes:
        instruction_id_list: what is demanded: ``punctuation:no_comma``.
        kwargs: one mapping per demand: ``{"num_words": 300, "relation": "at least"}``.
    """

    key: int
    prompt: str = Field(min_length=1)
    instruction_id_list: tuple[str, ...] = Field(min_length=1)
    kwargs: tuple[dict[str, JsonValue], ...]

    @property
    def id(self) -> str:
        """The key, as samples are called."""
        return str(self.key)

    @model_validator(mode="after")
    def _one_each(self) -> Task:
        if len(self.kwargs) != len(self.instruction_id_list):
            raise ValueError(f"{len(self.instruction_id_list)} instructions and {len(self.kwargs)} kwargs")
        return self


def load_tasks(data: DataDir, limit: int | None = None) -> list[Task]:
    """The prompts, the first ``limit`` of them.

    Raises:
        DataError: the file is not there, or holds something else.
    """
    found = []
    for number, line in enumerate(data.text(PROMPTS), 1):
        if line.strip():
            found.append(decode(line.encode(), Task, f"{data.path(PROMPTS)}:{number}"))
        if len(found) == limit:
            break
    if len({t.key for t in found}) < len(found) or not found:
        raise DataError(f"{data.path(PROMPTS)} holds no prompts, or two of one key. Get it again.")
    return found


def hash_tasks(tasks: list[Task]) -> str:
    """Of everything that is asked and checked."""
    return hash_json([t.model_dump() for t in tasks])


# --- finished answers


@dataclass(frozen=True)
class Responses:
    """Somebody's answers: prompt -> text.

    Attributes:
        n: lines of the file.
        others: how many of them are on no prompt of IFEval.
    """

    by_prompt: Mapping[str, str]
    n: int
    others: int


def recognise(path: Path) -> str | None:
    """``ifeval-responses`` by the first row; None for any other file."""
    if not path.name.endswith(rows.SUFFIXES) or not path.is_file():
        return None
    try:
        return KIND if _response(rows.first_row(path)) is not None else None
    except DataError:
        return None


def read_responses(path: Path, tasks: list[Task]) -> Responses:
    """The answers of a file.

    Args:
        tasks: all of IFEval's; answers are found by the prompt, to the letter.

    Raises:
        DataError: a line is no answer, a prompt has two unlike ones, or none is on a prompt of IFEval.
    """
    known = {t.prompt for t in tasks}
    found: dict[str, str] = {}
    n = others = 0
    for row in rows.iterate_rows(path):
        place, answer = row.place, _response(row.values)
        if answer is None:
            raise DataError(f"{place} has neither `prompt` and `response` nor lm-eval's `doc` and `resps`.")
        prompt, text = answer
        if text is not None and found.setdefault(prompt, text) != text:
            raise DataError(f"{place}: another answer to this prompt stands before. Keep the lines of one model.")
        n, others = n + 1, others + (prompt not in known)
    if others == n:
        raise DataError(f"{path}: none of its {n:,} prompts is one of IFEval's, which must be the same to the letter.")
    return Responses(found, n, others)


def _response(row: Mapping[str, Any]) -> tuple[str, str | None] | None:
    """The prompt and the answer of a row, which may be null where the model gave none; None where it is no such row."""
    doc = row.get("doc")
    if isinstance(doc, dict) and "instruction_id_list" in doc:
        prompt, text = doc.get("prompt"), row.get("resps")
        while isinstance(text, list) and text:
            text = text[0]
    else:
        prompt, text = row.get("prompt"), row.get("response", False)  # False: not there
    return (prompt, text) if isinstance(prompt, str) and isinstance(text, str | None) else None
