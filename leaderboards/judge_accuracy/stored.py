"""Others' stored verdicts on LLMBar and PandaLM, as ``Judgment`` records of pairs, joined by content or id."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from pydantic import ConfigDict, ValidationError, model_validator

from leaderboards.judge_accuracy.data import LLMBAR, PANDALM_LABELS, JudgeData, LlmbarRow, Row
from selfreward_bench.errors import DataError
from selfreward_bench.sources.rows import SUFFIXES, decode, first_row
from selfreward_bench.types import Judgment

__all__ = [
    "is_llmbar_processed_results",
    "is_llmbar_results",
    "is_pandalm_results",
    "llmbar_results",
    "pandalm_results",
    "stored_files",
]

_PROCESSED_FOLDERS: Final = frozenset({"Processed", "FairEval", "MT-Bench", "LLMEval^2"})


class _Call(Row):
    model_config = ConfigDict(extra="ignore", strict=True)  # `true` is no 1

    winner: str | int | None = None


class _LlmbarResult(LlmbarRow):
    """What an evaluator did in turn: texts it asked for first, verdicts; the last one counts.

    So it is for every evaluator: metrics or a reference are asked for first, ``Swap`` asks again where the orders
    differ, ``Rating`` keeps both grades beside the verdict.
    """

    results: list[Any]


def is_llmbar_results(path: Path) -> bool:
    """Whether it is a ``result.json`` of LLMBar's evaluators, or a directory with such files, not of processed sets."""
    return _holds_results(path) and not _of_processed(path)


def is_llmbar_processed_results(path: Path) -> bool:
    """Whether it is such a file of the processed sets: their folders' names tell."""
    return _holds_results(path) and _of_processed(path)


def _holds_results(path: Path) -> bool:
    return any(_is_result(file) for file in stored_files(path)) if path.is_dir() else _is_result(path)


def _of_processed(path: Path) -> bool:
    """Whether the nearest folder that names a set names a processed one."""
    file = next(iter(stored_files(path)), path).resolve() if path.is_dir() else path.resolve()
    named = (
        p for p in reversed(file.parts) if p in _PROCESSED_FOLDERS or p in LLMBAR or p in ("LLMBar", "Adversarial")
    )
    return next(named, "") in _PROCESSED_FOLDERS


def _is_result(path: Path) -> bool:
    if not path.name.endswith(SUFFIXES) or not path.is_file():
        return False
    first = first_row(path)
    made = first.get("results")
    last = made[-1] if isinstance(made, list) and made else None
    return "output_1" in first and isinstance(last, dict) and any(str(key).startswith("swap = ") for key in last)


def llmbar_results(path: Path, data: JudgeData) -> list[Judgment]:
    """A judge's verdicts on LLMBar in both orders: one ``result.json``, or a directory with one per subset.

    Rows are found in the data by their content. ``winner`` names the output as the data set numbers them, whichever was
    shown first.

    Raises:
        DataError: a file has another form, a pair that is not in the data, or one that was judged before.
    """
    known = {p.id for p in data.prompts}
    found: dict[str, Judgment] = {}
    for file in stored_files(path):
        for r in decode(file, _LlmbarResult):
            if r.id not in known:
                raise DataError(
                    f"{file}: a pair in it is not in the data set ({r.input[:60]!r}). Are both of LLMBar? Files of the "
                    "processed sets lie in a folder of that set's name (FairEval, MT-Bench)."
                )
            for order, call in _orders(file, r).items():
                judgment = _verdict(r.id, "llmbar-results", _winner(call.winner), str(call.winner), order)
                if judgment.id in found:
                    raise DataError(f"{path}: a pair is judged twice ({file}). Name the results of ONE evaluator.")
                found[judgment.id] = judgment
    return list(found.values())


def _orders(file: Path, r: _LlmbarResult) -> dict[str, _Call]:
    calls: Any = r.results[-1] if r.results else None  # whatever the file has there
    names = {"ab": "swap = False", "ba": "swap = True"}
    try:
        return {order: _Call.model_validate(calls[name]) for order, name in names.items()}
    except (TypeError, KeyError, ValidationError) as error:
        raise DataError(
            f"{file}: a row's 'results' do not end with a judgment in both orders, as LLMBar's evaluators write."
        ) from error


def _winner(value: str | int | None) -> float | None:
    return {"1": 1.0, "2": 0.0}.get(str(value))


def stored_files(path: Path) -> list[Path]:
    """The files that others' verdicts are read from: the file itself, or a directory's ``result.json``."""
    if not path.is_dir():
        return [path]
    return sorted(f for f in path.rglob("result.json*") if f.name in ("result.json", "result.json.gz"))


class _PandalmResult(Row):
    model_config = ConfigDict(extra="allow")

    idx: int

    @model_validator(mode="after")
    def _one_judge(self) -> _PandalmResult:
        named = [key for key in self.model_extra or {} if key.endswith("_result")]
        if len(named) > 1:
            raise ValueError(f"{' and '.join(named)} are the verdicts of several judges; keep one")
        return self

    @property
    def label(self) -> str:
        """The judge's verdict; its field is called ``NAME_result``. Numbers may be written as 1.0, as pandas does."""
        value = next((v for key, v in (self.model_extra or {}).items() if key.endswith("_result")), None)
        return f"{value:g}" if isinstance(value, float) else str(value)


def is_pandalm_results(path: Path) -> bool:
    """Whether it is a judge's stored verdicts on PandaLM's test set."""
    if not path.name.endswith(SUFFIXES) or not path.is_file():
        return False
    columns = set(first_row(path))
    return "idx" in columns and any(column.endswith("_result") for column in columns)


def pandalm_results(path: Path, data: JudgeData) -> list[Judgment]:
    """A judge's verdicts on PandaLM's test set, joined by ``idx``. What is no 1, 2, 0 or Tie is unreadable.

    Raises:
        DataError: the file has another form, the verdicts of several judges, an ``idx`` twice, or none of the set.
    """
    known = {p.id for p in data.prompts}
    found: dict[str, Judgment] = {}
    for r in decode(path, _PandalmResult):
        name = f"pandalm-{r.idx}"
        if name in found:
            raise DataError(f"{path}: idx {r.idx} is there twice.")
        if name in known:
            score = PANDALM_LABELS.get(r.label.strip().lower())
            found[name] = _verdict(name, "pandalm-results", score, r.label, "ab")
    if not found:
        raise DataError(f"{path}: none of its idx is one of PandaLM's test set.")
    return list(found.values())


def _verdict(prompt_id: str, judge: str, score: float | None, raw: str, order: str) -> Judgment:
    return Judgment.model_validate(
        {
            "prompt_id": prompt_id,
            "index": 0,
            "judge": judge,
            "score": score,
            "raw": raw[:200],
            "reason": None if score is not None else "no_verdict",
            "order": order,
        }
    )
