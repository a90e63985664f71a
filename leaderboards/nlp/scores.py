"""From what lm-eval logs of each document to rows: a row per document, with its numbers (``combined`` adds them)."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from pydantic import Field

from leaderboards.nlp.sources import Unreadable
from selfreward_bench.types import Record, SampleScore

__all__ = ["Leaf", "TaskScores", "sample_rows", "unreadable_rows"]

PROMPT_CHARACTERS: Final = 400  # of a prompt's end: the question, not the worked examples
ANSWER_CHARACTERS: Final = 600
UNANSWERED: Final = ("", "[invalid]")  # what lm-eval's filters make of a text without an answer


class TaskScores(Record):
    """What one task came to.

    Attributes:
        unit: the benchmark it is counted under (``mmlu``).
        subject: the part of the unit it is; empty where it is all of it.
        main: the key of the number that counts.
        metrics: ``METRIC,FILTER`` -> lm-eval's own number; None for what is none (NaN).
        errors: the same keys -> lm-eval's standard error, where it is known.
        better: metric -> whether more is better, where it is known.
        n: documents; 0 where it is not known.
    """

    task: str
    unit: str
    subject: str = ""
    main: str
    version: str
    shots: int
    metrics: dict[str, float | None]
    errors: dict[str, float] = Field(default_factory=dict)
    better: dict[str, bool] = Field(default_factory=dict)
    n: int


@dataclass(frozen=True)
class Leaf:
    """A finished task: its scores, and its rows with lm-eval's metric keys (none where only a summary is known)."""

    scores: TaskScores
    rows: Sequence[SampleScore]


# --- one task's documents


def sample_rows(
    task: str, main: str, samples: Iterable[Mapping[str, Any]], cut: Container[int] = frozenset()
) -> list[SampleScore]:
    """A row per document from lm-eval's samples, which come once per document and filter.

    The row's id is ``TASK/DOC_HASH``; documents that are equal get ``~2``, ``~3`` and share a cluster.

    Args:
        main: the key of the metric that is the row's value.
        samples: in process, or as read from lm-eval's file.
        cut: hashes of prompts whose beginning was left out.
    """
    by_document: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for sample in samples:
        by_document[str(sample.get("doc_id"))].append(sample)
    seen: Counter[str] = Counter()
    rows = []
    for group in by_document.values():
        cluster = f"{task}/{str(group[0].get('doc_hash') or group[0].get('doc_id'))[:64]}"
        seen[cluster] += 1
        sample_id = cluster if seen[cluster] == 1 else f"{cluster}~{seen[cluster]}"
        rows.append(_row(task, sample_id, cluster, main, group, cut))
    return rows


def _row(
    task: str, sample_id: str, cluster: str, main: str, group: Sequence[Mapping[str, Any]], cut: Container[int]
) -> SampleScore:
    numbers = {
        f"{metric},{s.get('filter', 'none')}": _number(s[metric])
        for s in group
        for metric in s.get("metrics", ())
        if _is_number(s.get(metric))
    }
    counted = next((s for s in group if s.get("filter", "none") == main.partition(",")[2]), group[0])
    prompt, continuations = _arguments(counted)
    detail: dict[str, Any] = {"task": task, "prompt": prompt[-PROMPT_CHARACTERS:]}
    chosen = _chosen(counted, continuations, normalised=main.startswith("acc_norm"))
    if chosen is None:
        answers = counted.get("filtered_resps") or [""]
        detail |= {"target": str(counted.get("target"))[:ANSWER_CHARACTERS], "answer": str(answers[0])}
        detail["response"] = _first_text(counted.get("resps"))[:ANSWER_CHARACTERS]
        detail["answer"] = detail["answer"][:ANSWER_CHARACTERS]
        numbers["no_answer"] = float(detail["answer"].strip() in UNANSWERED)
    else:
        right = counted.get("target")
        index = int(right) if str(right).isdigit() and int(right) < len(continuations) else None  # type: ignore[arg-type]
        detail["target"] = str(right if index is None else continuations[index])[:ANSWER_CHARACTERS]
        detail["answer"] = continuations[chosen][:ANSWER_CHARACTERS]
    numbers["cut"] = float(hash(prompt) in cut)
    value = numbers.get(main)
    return SampleScore(
        sample_id=sample_id,
        value=value,
        cluster=cluster,
        reason=None if value is not None else "no_number",
        detail={"measures": numbers, **detail},
    )


def _is_number(value: object) -> bool:
    """A measure that is a pair or a text is for lm-eval's own aggregation."""
    return isinstance(value, bool | int | float | np.number | np.bool_)


def _number(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None


def _arguments(sample: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The prompt, and what was scored after it: pairs in process, ``gen_args_0: {arg_0, arg_1}`` in a file."""
    found = sample.get("arguments") or ()
    entries = found.values() if isinstance(found, dict) else found
    pairs = [list(p.values()) if isinstance(p, dict) else list(p) for p in entries]
    if not pairs or not pairs[0]:
        return "", []
    return str(pairs[0][0]), [str(p[1]).strip() for p in pairs if len(p) > 1]


def _chosen(sample: Mapping[str, Any], continuations: Sequence[str], *, normalised: bool) -> int | None:
    """The choice of the highest log-probability (per character where ``normalised``); None where nothing was chosen."""
    answers = sample.get("filtered_resps") or ()
    try:
        scores = [float(a[0]) for a in answers if len(a) == 2]
    except (TypeError, ValueError):
        return None
    if len(scores) < 2 or len(scores) != len(continuations):
        return None
    lengths = [max(1, len(c)) if normalised else 1 for c in continuations]
    return int(np.argmax(np.array(scores) / np.array(lengths)))


def _first_text(found: Any) -> str:
    while isinstance(found, list | tuple) and found:
        found = found[0]
    return str(found)


def unreadable_rows(task: str, unreadable: Iterable[Unreadable], main: str) -> list[SampleScore]:
    """A row without a score for each row of the data that could not be read."""
    return [
        SampleScore(
            sample_id=f"{task}/{u.place}",
            value=None,
            cluster=f"{task}/{u.place}",
            reason="unreadable_row",
            detail={"measures": {main: None}, "task": task, "why": u.why},
        )
        for u in unreadable
    ]
