"""MT-Bench's files in FastChat's formats: questions, references, judge prompts, answers and judgments, in and out.

Everything is read when it is needed and checked row by row (``sources.rows`` says what may hold rows); nothing of the
benchmark's data is in this package. What FastChat's files hold beyond the fields of ``records`` is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from string import Formatter
from typing import Final, Literal, TypeVar

from leaderboards.mt_bench.records import (
    Choice,
    External,
    ModelAnswer,
    PairJudgment,
    PromptLine,
    Question,
    SingleJudgment,
    TurnNumber,
    Winner,
)
from leaderboards.mt_bench.verdicts import Guard
from selfreward_bench.errors import DataError
from selfreward_bench.models.candidates import choose_model
from selfreward_bench.sources import rows
from selfreward_bench.sources.directory import DataDir
from selfreward_bench.storage.rundir import hash_json
from selfreward_bench.types import Message

__all__ = [
    "ANSWERS",
    "JUDGMENTS",
    "NEEDS_REFERENCE",
    "PAIR_JUDGMENTS",
    "PROMPTS",
    "QUESTIONS",
    "REFERENCES",
    "Choice",
    "Item",
    "JudgePrompts",
    "Mode",
    "ModelAnswer",
    "PairJudgment",
    "SingleJudgment",
    "TurnNumber",
    "Winner",
    "load_items",
    "make_answer",
    "model_name",
    "read_answers",
    "read_records",
    "recognise",
]

QUESTIONS: Final = "mt_bench/mt_bench/question.jsonl"
REFERENCES: Final = "mt_bench/mt_bench/reference_answer/gpt-4.jsonl"
PROMPTS: Final = "mt_bench/judge_prompts.jsonl"

NEEDS_REFERENCE: Final = frozenset({"math", "reasoning", "coding"})  # FastChat's NEED_REF_CATS

ANSWERS: Final = "fastchat-answers"
JUDGMENTS: Final = "fastchat-judgments"
PAIR_JUDGMENTS: Final = "fastchat-pair-judgments"

_KINDS: Final[dict[str, type[External]]] = {
    ANSWERS: ModelAnswer,
    JUDGMENTS: SingleJudgment,
    PAIR_JUDGMENTS: PairJudgment,
}
_TOLD_BY: Final = {  # beside question_id
    ANSWERS: {"model_id", "choices"},
    JUDGMENTS: {"judgment", "score"},
    PAIR_JUDGMENTS: {"g1_winner", "g2_winner"},
}
R = TypeVar("R", bound=External)


# --- reading


def recognise(path: Path) -> str | None:
    """Which of FastChat's files it is, told from its first row; None when it is none of them.

    Raises:
        DataError: it cannot be read, or its first row has the fields of one of them and is broken.
    """
    if not path.name.endswith(rows.SUFFIXES) or not path.is_file():
        return None
    fields = set(rows.first_row(path))
    kind = next((k for k, told in _TOLD_BY.items() if "question_id" in fields and told & fields), None)
    if kind is not None:
        rows.decode_row(next(rows.iterate_rows(path)), _KINDS[kind])
    return kind


def read_records(path: Path, model: type[R]) -> list[R]:
    """All rows of a file.

    Raises:
        DataError: the file or one of its rows cannot be used.
    """
    return rows.decode(path, model)


def read_answers(path: Path, model: str | None = None, *, exact: bool = False) -> dict[str, tuple[str, ...]]:
    """Question id -> the answers of its turns (of the first conversation, as FastChat takes it).

    Args:
        model: whose answers, where the file holds those of several models.
        exact: whether it must be that model's, also where there is one alone.

    Raises:
        DataError: the file cannot be used, or answers a question twice.
    """
    records = read_records(path, ModelAnswer)
    chosen = choose_model(path, {r.model_id for r in records}, model, exact=exact)
    return _by_question(path, [r for r in records if r.model_id == chosen])


def _by_question(path: Path, records: Iterable[ModelAnswer]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for record in records:
        key = str(record.question_id)
        if key in found:
            raise DataError(
                f"{path}: question {key} is answered more than once by {record.model_id!r}; which answer counts is not "
                "said. Remove one of the lines."
            )
        found[key] = record.choices[0].turns
    return found


@dataclass(frozen=True, slots=True)
class Item:
    """One question with its follow-up.

    Attributes:
        reference: an answer per turn; empty where the category has none.
    """

    id: str
    category: str
    turns: tuple[str, str]
    reference: tuple[str, ...] = ()


def load_items(data: DataDir, limit: int | None = None) -> list[Item]:
    """The questions with their references, the first ``limit`` of them.

    Raises:
        DataError: a file cannot be used, or a reference is missing.
    """
    references = _by_question(data.path(REFERENCES), rows.decode(data.path(REFERENCES), ModelAnswer))
    items = []
    for question in rows.decode(data.path(QUESTIONS), Question):
        key = str(question.question_id)
        needed = question.category in NEEDS_REFERENCE
        if needed and len(references.get(key, ())) < 2:
            raise DataError(f"{data.path(REFERENCES)}: question {key} ({question.category}) has no reference answers.")
        items.append(Item(key, question.category, question.turns, references[key] if needed else ()))
    if len({item.id for item in items}) < len(items):
        raise DataError(f"{data.path(QUESTIONS)}: a question id occurs twice. Ids must be unique.")
    return items[:limit]


# --- the judge's prompts

_NAMES: Final = {"single": ("single-v1", "single-math-v1"), "pairwise": ("pair-v2", "pair-math-v1")}
Mode = Literal["single", "pairwise"]


@dataclass(frozen=True)
class JudgePrompts:
    """FastChat's judge prompts as they stand in the user's file."""

    lines: Mapping[str, PromptLine]
    place: str

    @classmethod
    def load(cls, data: DataDir) -> JudgePrompts:
        """Reads them.

        Raises:
            DataError: the file cannot be used.
        """
        return cls({line.name: line for line in rows.decode(data.path(PROMPTS), PromptLine)}, str(data.path(PROMPTS)))

    @cached_property
    def guard(self) -> Guard:
        """What every answer goes through before it is shown.

        Raises:
            DataError: the prompts have no lines that mark where an answer begins and ends.
        """
        names = [f"{name}{turn}" for pair in _NAMES.values() for name in pair for turn in ("", "-multi-turn")]
        guard = Guard(self.lines[name].prompt_template for name in names if name in self.lines)
        if len(guard.frame) < 2:
            raise DataError(f"{self.place}: nothing marks where an answer begins and ends. It must be FastChat's file.")
        return guard

    def name(self, mode: Mode, item: Item, turn: TurnNumber) -> str:
        """Which prompt judges this turn."""
        return _NAMES[mode][bool(item.reference)] + ("-multi-turn" if turn == 2 else "")

    def render(self, item: Item, turn: TurnNumber, *shown: Sequence[str]) -> tuple[Message, Message]:
        """The judge's system and user message.

        Args:
            shown: the answers (of turn 1, or of both) of one model, which is then graded, or of two: A and B.

        Raises:
            DataError: the file lacks the prompt, or the prompt has other placeholders.
        """
        name = self.name("single" if len(shown) == 1 else "pairwise", item, turn)
        if name not in self.lines:
            raise DataError(f"{self.place} has no judge prompt {name!r}. It must be FastChat's file.")
        values: dict[str, str] = {}
        for n in range(1, turn + 1):
            suffix = f"_{n}" if turn == 2 else ""
            values[f"question{suffix}"] = item.turns[n - 1]
            for side, answers in zip(("",) if len(shown) == 1 else ("_a", "_b"), shown, strict=True):
                values[f"answer{side}{suffix}"] = self.guard(answers[n - 1])
            if item.reference:
                values[f"ref_answer_{n}"] = item.reference[n - 1]
        system, user = self.lines[name].system_prompt, self._fill(name, values)
        return Message(role="system", content=system), Message(role="user", content=user)

    def _fill(self, name: str, values: Mapping[str, str]) -> str:
        """In one pass: what is put in is never looked at again."""
        parts, used = [], set()
        try:
            pieces = list(Formatter().parse(self.lines[name].prompt_template))
        except ValueError as error:
            raise DataError(f"{self.place}: judge prompt {name!r} has unbalanced braces ({error}).") from error
        for literal, field, form, conversion in pieces:
            parts.append(literal)
            if field is not None:
                used.add(field if not (form or conversion) else "?")
                parts.append(values.get(field, ""))
        if used != values.keys():
            raise DataError(
                f"{self.place}: judge prompt {name!r} has the placeholders {sorted(used)}, and {sorted(values)} are "
                "needed. It must be FastChat's file."
            )
        return "".join(parts)


# --- writing


def make_answer(item: Item, model: str, turns: Sequence[str]) -> ModelAnswer:
    """A line of ``model_answer``; without a time, so that equal answers make equal files."""
    answer_id = hash_json([model, item.id, list(turns)])[:22]
    choices = (Choice(index=0, turns=tuple(turns)),)
    return ModelAnswer(question_id=int(item.id), answer_id=answer_id, model_id=model, choices=choices)


def model_name(text: str) -> str:
    """A model's name as a part of a file's name.

    >>> model_name("openai:gpt-4o@https://host/v1")
    'openai_gpt-4o_https_host_v1'
    """
    return re.sub(r"[^\w.-]+", "_", text, flags=re.ASCII)[:100] or "model"
