"""AlpacaEval's files: the instructions with the reference's outputs, and other people's outputs and annotations.

What may hold the rows, and how they are bounded, is in ``sources.rows``; columns of their own are left alone. Rows are
found by instruction, and where one occurs twice, by its occurrence; never by position.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from pydantic import ConfigDict

from leaderboards.alpaca_eval.length_control import Gamed
from selfreward_bench.errors import DataError
from selfreward_bench.sources import rows
from selfreward_bench.sources.directory import DataDir
from selfreward_bench.storage.files import write_atomic
from selfreward_bench.types import Record

__all__ = [
    "ANNOTATIONS",
    "OUTPUTS",
    "Annotation",
    "Instruction",
    "ModelOutput",
    "by_instruction",
    "data_hashes",
    "load_gamed",
    "load_instructions",
    "load_published_weights",
    "read_annotations",
    "read_outputs",
    "recognise",
    "write_annotations",
    "write_outputs",
]

OUTPUTS: Final = "alpaca-outputs"
ANNOTATIONS: Final = "alpaca-annotations"

INSTRUCTIONS_FILE: Final = "alpaca_eval/alpaca_eval.json"
REFERENCE_FILE: Final = "alpaca_eval/alpaca_eval_gpt4_baseline.json"
DIFFICULTY_FILE: Final = "alpaca_eval/lc_glm/instruction_difficulty.csv"
GAMED_FILE: Final = "alpaca_eval/lc_glm/df_gamed.csv"
WEIGHTS_FILE: Final = "alpaca_eval/lc_glm/weights_baseline_gpt4_1106_preview.csv"


class _Row(Record):
    model_config = ConfigDict(frozen=True, extra="ignore")

    instruction: str


class ModelOutput(_Row):
    """One row of ``model_outputs.json``; ``output`` is None where the model gave none."""

    output: str | None
    generator: str = ""
    dataset: str | None = None


class Annotation(_Row):
    """One row of ``annotations.json``.

    Attributes:
        output_1: the reference's; ``output_2`` the model's.
        preference: 1 (the reference is better) to 2 (the model is), 0 and 1.5 are draws; None: no verdict.
        raw_completion: what the judge's server sent.
    """

    output_1: str
    output_2: str
    generator_1: str = ""
    generator_2: str = ""
    annotator: str = ""
    dataset: str | None = None
    preference: float | None
    raw_completion: Any = None


@dataclass(frozen=True, slots=True)
class Instruction:
    """One of AlpacaEval's instructions.

    Attributes:
        id: from the instruction's text and occurrence.
        occurrence: how many times the text was there before.
        position: in the official list, which ``difficulty`` and the gamed baselines go by.
        reference: the reference model's answer.
    """

    id: str
    position: int
    text: str
    occurrence: int
    dataset: str
    reference: str
    reference_by: str
    difficulty: float

    @property
    def key(self) -> tuple[str, int]:
        """What a file's rows are found by."""
        return (self.text, self.occurrence)


R = TypeVar("R", bound=_Row)


def by_instruction(given: Iterable[R]) -> dict[tuple[str, int], R]:
    """Rows by instruction and occurrence: the second row of an instruction is its occurrence 1."""
    seen: Counter[str] = Counter()
    found: dict[tuple[str, int], R] = {}
    for r in given:
        found[r.instruction, seen[r.instruction]] = r
        seen[r.instruction] += 1
    return found


# --- the benchmark's own files


def load_instructions(data: DataDir) -> list[Instruction]:
    """All instructions in the official order, with reference outputs and difficulties.

    Raises:
        DataError: a file is missing or damaged, or the files do not belong together.
    """
    listed = rows.decode(data.path(INSTRUCTIONS_FILE), ModelOutput)
    keys = list(by_instruction(listed))
    references = by_instruction(rows.decode(data.path(REFERENCE_FILE), ModelOutput))
    difficulties = _columns(data, DIFFICULTY_FILE, {"index": int, "instruction_difficulty": float})
    by_position = dict(zip(difficulties["index"], difficulties["instruction_difficulty"], strict=True))
    if len(by_position) != len(listed) or set(by_position) != set(range(len(listed))):
        raise DataError(
            f"{DIFFICULTY_FILE} has difficulties of {len(by_position)} instructions and {INSTRUCTIONS_FILE} has "
            f"{len(listed)}: they are of different versions. Get both again."
        )
    found = []
    for position, (key, row) in enumerate(zip(keys, listed, strict=True)):
        reference = references.get(key)
        if reference is None or reference.output is None:
            raise DataError(
                f"{REFERENCE_FILE} has no output for instruction {position} of {INSTRUCTIONS_FILE} "
                f"({row.instruction[:60]!r}). Get both again."
            )
        found.append(
            Instruction(
                id=_id(*key),
                position=position,
                text=row.instruction,
                occurrence=key[1],
                dataset=row.dataset or "unknown",
                reference=reference.output,
                reference_by=reference.generator,
                difficulty=by_position[position],
            )
        )
    return found


def load_gamed(data: DataDir) -> Gamed:
    """The comparisons of the two gamed baselines.

    Raises:
        DataError: the file is missing or damaged.
    """
    kinds = {"preference": float, "index": int, "std_delta_len": float, "instruction_difficulty": float}
    columns = _columns(data, GAMED_FILE, kinds)
    return Gamed(
        wins=np.array(columns["preference"]),
        scaled_deltas=np.array(columns["std_delta_len"]),
        difficulties=np.array(columns["instruction_difficulty"]),
        positions=np.array(columns["index"], dtype=np.int64),
    )


def load_published_weights(data: DataDir, names: Sequence[str]) -> tuple[float, ...]:
    """The length control's weights that the leaderboard has of a model: length, difficulty, model.

    Args:
        names: what the model may be called; the first that is known counts.

    Raises:
        DataError: the file is not there or damaged, or knows none of the names.
    """
    table = {row.pop("", ""): row for row in csv.DictReader(data.text(WEIGHTS_FILE))}
    name = next((n for n in names if n in table), None)
    if name is None:
        raise DataError(
            f"{WEIGHTS_FILE} has no published weights of {' or '.join(map(repr, names))}, which lc_strength: published "
            "needs. Cross-validate the strength: --lc-strength cv."
        )
    try:
        return tuple(float(value) for value in table[name].values())
    except (TypeError, ValueError) as error:
        raise DataError(f"{WEIGHTS_FILE}: the weights of {name!r} are no numbers. Get it again.") from error


def data_hashes(data: DataDir) -> dict[str, str]:
    """SHA-256 of every file the numbers depend on."""
    return {name: data.sha256(name) for name in (INSTRUCTIONS_FILE, REFERENCE_FILE, DIFFICULTY_FILE, GAMED_FILE)}


def _id(text: str, occurrence: int) -> str:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return digest if occurrence == 0 else f"{digest}-{occurrence}"


def _columns(data: DataDir, name: str, kinds: Mapping[str, type]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {column: [] for column in kinds}
    for number, row in enumerate(csv.DictReader(data.text(name)), 2):
        for column, kind in kinds.items():
            try:
                value = kind(row[column])
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(f"{name}:{number}: column {column!r} is missing or no number. Get it again.") from error
            if not math.isfinite(value):
                raise DataError(f"{name}:{number}: column {column!r} is {value}. Get it again.")
            columns[column].append(value)
    return columns


# --- finished files


def recognise(path: Path) -> str | None:
    """``alpaca-outputs`` or ``alpaca-annotations``, by the first row; None for any other file.

    Raises:
        DataError: nobody can read it (it is cut or damaged, is no UTF-8, holds nothing), or rows that are no objects.
    """
    if not path.name.endswith(rows.SUFFIXES) or not path.is_file():
        return None
    fields = set(rows.first_row(path))
    if {"instruction", "output_1", "output_2", "preference"} <= fields:
        return ANNOTATIONS
    return OUTPUTS if {"instruction", "output"} <= fields else None


def read_outputs(path: Path) -> list[ModelOutput]:
    """The rows of ``model_outputs.json``.

    Raises:
        DataError: the file cannot be read or is none.
    """
    return rows.decode(path, ModelOutput)


def read_annotations(path: Path) -> list[Annotation]:
    """The rows of ``annotations.json``.

    Raises:
        DataError: the file cannot be read or is none, or several annotators judge the same outputs.
    """
    found = rows.decode(path, Annotation)
    judges: dict[tuple[str, ...], str] = {}
    for r in found:
        first = judges.setdefault((r.generator_1, r.generator_2, r.instruction), r.annotator)
        if first != r.annotator:
            raise DataError(
                f"{path}: several annotators judge the same outputs ({first[:100]!r}, {r.annotator[:100]!r}). Keep the "
                "lines of one of them."
            )
    return found


def write_outputs(path: Path, outputs: Sequence[ModelOutput]) -> None:
    """Writes ``model_outputs.json``, which AlpacaEval reads."""
    _write(path, outputs)


def write_annotations(path: Path, annotations: Sequence[Annotation]) -> None:
    """Writes ``annotations.json``, which AlpacaEval reads."""
    _write(path, annotations)


def _write(path: Path, records: Sequence[_Row]) -> None:
    text = json.dumps([r.model_dump() for r in records], ensure_ascii=False, allow_nan=False, indent=1)
    write_atomic(path, text.encode("utf-8", "replace"))
