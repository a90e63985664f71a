"""From what lm-eval logs of each document to rows, and from the rows of all tasks to metrics.

A task's number is its mean over documents, MMLU's the mean over its subjects (macro), the average the mean over tasks.
Rows carry their share in such a mean of means (value times a weight), so that two checkpoints can be compared paired.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from leaderboards.base import measures
from leaderboards.nlp.sources import Unreadable
from selfreward_bench import stats
from selfreward_bench.types import Metric, Record, SampleScore

__all__ = ["Leaf", "TaskScores", "combine", "sample_rows", "stratified_mean", "unreadable_rows"]

PROMPT_CHARACTERS: Final = 400  # of a prompt's end: the question, not the worked examples
ANSWER_CHARACTERS: Final = 600
UNANSWERED: Final = ("", "[invalid]")  # what lm-eval's filters make of a text without an answer


class TaskScores(Record):
    """What one task came to.

    Attributes:
        unit: the benchmark it is counted under (``mmlu``).
        subject: the part of the unit it is; empty where it is all of it.
        main: the key of the number that counts.
        metrics: ``METRIC,FILTER`` -> lm-eval's own number.
        n: documents.
    """

    task: str
    unit: str
    subject: str = ""
    main: str
    version: str
    shots: int
    metrics: dict[str, float | None]
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


# --- all tasks


def combine(leaves: Sequence[Leaf]) -> tuple[list[SampleScore], dict[str, Metric]]:
    """Rows with their final measures, and the metrics that are no plain means over rows.

    Measures: the unit's name (its main number), ``UNIT/METRIC`` or ``UNIT/FILTER`` for its other numbers, for a unit of
    several tasks ``UNIT/SUBJECT`` and ``UNIT_micro`` (mean over documents), ``UNIT/no_answer``, ``truncated_prompts``,
    and ``average`` where there are several units, all of shares.
    """
    units: dict[str, list[Leaf]] = defaultdict(list)
    for leaf in leaves:
        units[leaf.scores.unit].append(leaf)
    rows: list[SampleScore] = []
    metrics: dict[str, Metric] = {}
    by_row = {u: group for u, group in units.items() if all(_is_mean(x, x.scores.main) for x in group)}
    for unit, group in units.items():
        if unit not in by_row:
            metrics |= _summaries(unit, group)
        elif len(group) > 1:
            metrics[unit] = stratified_mean([(x.rows, 1 / len(group), x.scores.main) for x in group])
    averaged = len(units) > 1 and len(by_row) == len(units) and all(map(_is_share, leaves))
    if averaged:
        weights = [(x, 1 / len(units) / len(units[x.scores.unit])) for x in leaves]
        metrics["average"] = stratified_mean([(x.rows, w, x.scores.main) for x, w in weights])
    n_all = sum(map(_n_scored, leaves))
    for unit, group in units.items():
        n_unit = sum(map(_n_scored, group))
        for leaf in group:
            n_leaf = max(1, _n_scored(leaf))
            in_unit = n_unit / (len(group) * n_leaf) if unit in by_row else None
            in_all = n_all / (len(units) * len(group) * n_leaf) if averaged else None
            names = _names(leaf, in_unit, in_all, several=len(group) > 1)
            rows += [_renamed(r, names) for r in leaf.rows]
    return rows, metrics


def _names(leaf: Leaf, in_unit: float | None, in_all: float | None, *, several: bool) -> dict[str, tuple[str, float]]:
    """Measure -> the key it is made from and the weight it is multiplied with."""
    scores = leaf.scores
    unit, main, keys = scores.unit, scores.main, list(scores.metrics)
    names: dict[str, tuple[str, float]] = {}
    if in_unit is not None:
        names[unit] = (main, in_unit)
        if several:
            names |= {f"{unit}_micro": (main, 1), f"{unit}/{scores.subject}": (main, 1)}
    if in_all is not None:
        names["average"] = (main, in_all)
    if not several:
        names |= {f"{unit}/{_short(k, keys)}": (k, 1) for k in keys if k != main and _is_mean(leaf, k)}
    return names | {f"{unit}/no_answer": ("no_answer", 1), "truncated_prompts": ("cut", 1)}


def _renamed(row: SampleScore, names: Mapping[str, tuple[str, float]]) -> SampleScore:
    raw = measures(row)
    found = {name: (raw[key], weight) for name, (key, weight) in names.items() if key in raw}
    named = {name: None if value is None else value * weight for name, (value, weight) in found.items()}
    return row.model_copy(update={"detail": {**row.detail, "measures": named}})


def _short(key: str, keys: Sequence[str]) -> str:
    """``METRIC,FILTER`` without the half that all keys of the task share."""
    metric, _, chosen = key.partition(",")
    if len({k.partition(",")[2] for k in keys}) == 1:
        return metric
    return chosen if len({k.partition(",")[0] for k in keys}) == 1 else key


def _summaries(unit: str, group: Sequence[Leaf]) -> dict[str, Metric]:
    """lm-eval's own numbers, without intervals, where they are no means over rows (perplexity, F1, a bare summary)."""
    found = {}
    for leaf in group:
        name = f"{unit}/{leaf.scores.subject}" if len(group) > 1 else unit
        for key, value in leaf.scores.metrics.items():
            label = name if key == leaf.scores.main else f"{name}/{_short(key, list(leaf.scores.metrics))}"
            n = leaf.scores.n
            found[label] = Metric(value=value, n_scored=n if value is not None else 0, n_total=n)
    return found


def _column(leaf: Leaf, key: str) -> list[float]:
    return [v for r in leaf.rows if (v := measures(r).get(key)) is not None]


def _n_scored(leaf: Leaf) -> int:
    return len(_column(leaf, leaf.scores.main))


def _is_mean(leaf: Leaf, key: str) -> bool:
    """Whether the rows' mean is lm-eval's number; it aggregates some metrics in other ways."""
    column, told = _column(leaf, key), leaf.scores.metrics.get(key)
    return bool(column) and told is not None and abs(float(np.mean(column)) - told) < 1e-6


def _is_share(leaf: Leaf) -> bool:
    return all(0 <= v <= 1 for v in _column(leaf, leaf.scores.main))


def stratified_mean(strata: Sequence[tuple[Sequence[SampleScore], float, str]]) -> Metric:
    """The weighted sum of the strata's means with its 95% interval; equal documents are one cluster.

    Args:
        strata: rows, the weight of their mean (weights sum to 1), the measure that counts.
    """
    return stats.stratified_mean(
        [([measures(r).get(key) for r in rows], [r.cluster for r in rows], weight) for rows, weight, key in strata]
    )
