"""What evaluation leaves behind, as records: results per checkpoint, comparisons per run. Nothing is computed here.

    runs/NAME/M2/eval/micro-quality@1/result.json    EvalResult, written last
                                      scores.jsonl   SampleScore, one per sample; its numbers: ``detail["measures"]``
                                      failure.json   why there is no result.json
    runs/NAME/standings.json                         Standings: the checkpoints against each other

Reports read these files and import nothing of ``leaderboards`` but this module and ``metrics``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal, TypeVar

from pydantic import ValidationError

from selfreward_bench.errors import DataError
from selfreward_bench.files import os_errors, write_atomic
from selfreward_bench.types import EvalResult, Record

__all__ = [
    "Failure",
    "HeadToHead",
    "MetricDifference",
    "Standings",
    "evaluated_models",
    "model_order",
    "read_failure",
    "read_result",
    "read_standings",
    "write_record",
]

RESULT: Final = "result.json"
SCORES: Final = "scores.jsonl"
FAILURE: Final = "failure.json"
STANDINGS: Final = "standings.json"

R = TypeVar("R", bound=Record)

_MAX_BYTES = 8 * 2**20  # a larger file is none of ours
_ITERATION = re.compile(r"M(\d{1,6})")


class Failure(Record):
    """Why a benchmark has no result for a checkpoint."""

    checkpoint: str
    fingerprint: str
    benchmark: str
    error: str
    message: str


class MetricDifference(Record):
    """Mean of ``a - b`` over the samples both checkpoints have, with its paired 95% interval and sign-flip p-value."""

    benchmark: str
    metric: str
    a: str
    b: str
    value: float | None
    low: float | None
    high: float | None
    p_value: float | None
    n: int
    n_total: int

    @property
    def direction(self) -> Literal[-1, 0, 1]:
        """+1 or -1 where the interval excludes zero, else 0."""
        if self.low is None or self.high is None:
            return 0
        return 1 if self.low > 0 else -1 if self.high < 0 else 0


class HeadToHead(Record):
    """Answers of two checkpoints to the same prompts, compared by one judge, every sample with every sample.

    Attributes:
        win_rate: share of comparisons ``a`` wins, a tie counting half; ``low``, ``high``: interval clustered by prompt.
        win, tie, loss: shares of the scored comparisons, from the side of ``a``.
        n_scored, n_total: comparisons; one with an unscored answer is not scored.
    """

    benchmark: str
    judge: str
    a: str
    b: str
    win_rate: float | None
    low: float | None
    high: float | None
    p_value: float | None
    win: float | None
    tie: float | None
    loss: float | None
    n_scored: int
    n_total: int
    n_prompts: int


class Standings(Record):
    """A run's checkpoints against each other.

    Attributes:
        fingerprints: checkpoint -> benchmark -> fingerprint of the weights the result was made with; a report knows
            from it whether a comparison is older than the results beside it.
        notes: what was not compared, and why.
    """

    format: Literal[1] = 1
    fingerprints: dict[str, dict[str, str]]
    differences: tuple[MetricDifference, ...] = ()
    head_to_head: tuple[HeadToHead, ...] = ()
    notes: tuple[str, ...] = ()

    def difference(self, benchmark: str, metric: str, a: str, b: str) -> MetricDifference | None:
        """The stored comparison of ``a`` with ``b``."""
        key = (benchmark, metric, a, b)
        return next((d for d in self.differences if (d.benchmark, d.metric, d.a, d.b) == key), None)


def model_order(names: Iterable[str]) -> list[str]:
    """Names in the order of training: M0, then what is no iteration (the SFT baseline), then M1, M2, ...

    >>> model_order(["M10", "M2", "SFT", "M0", "M1"])
    ['M0', 'SFT', 'M1', 'M2', 'M10']
    """
    return sorted(names, key=_rank)


def _rank(name: str) -> tuple[float, str]:
    match = _ITERATION.fullmatch(name)
    number = int(match[1]) if match else 0.5
    return (number, name)


def evaluated_models(run_path: Path) -> list[str]:
    """Names of the models of a run that have results, in the order of training."""
    return model_order({path.parts[-4] for path in run_path.glob(f"*/eval/*/{RESULT}")})


def read_result(path: Path) -> EvalResult:
    """A ``result.json``.

    Raises:
        DataError: it cannot be read, or is no such record.
    """
    return _read(path, EvalResult)


def read_failure(path: Path) -> Failure:
    """A ``failure.json``; raises DataError as ``read_result`` does."""
    return _read(path, Failure)


def read_standings(run_path: Path) -> Standings:
    """A run's ``standings.json``; raises DataError as ``read_result`` does."""
    return _read(run_path / STANDINGS, Standings)


def write_record(path: Path, record: Record) -> None:
    """Writes one record as indented JSON; the file is there as before, or whole.

    Raises:
        DataError: the record holds text UTF-8 cannot hold, or the operating system refuses.
    """
    try:
        content = json.dumps(record.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:
        raise DataError(
            f"Cannot write {path}: {error}. A text in it is not valid Unicode, or a number is not finite."
        ) from error
    write_atomic(path, content + b"\n")


def _read(path: Path, model: type[R]) -> R:
    with os_errors(path, "read"), path.open("rb") as stream:
        content = stream.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise DataError(f"{path} is larger than {_MAX_BYTES:,} bytes; it is no file of srbench's. Remove it.")
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise DataError(
            f"{path} is damaged or from another version of srbench ({place}: {first['msg']}). "
            "Evaluate again to replace it."
        ) from error
