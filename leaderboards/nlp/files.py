"""Finished lm-eval outputs: a results file, and the samples beside it, scored again without a model.

With samples there are rows, intervals and paired comparisons; without, lm-eval's own numbers and its standard errors.
Every task has its own name, and the numbers that the profile counts have the profile's; shots and settings are those
the file says. What cannot be scored or is left out is told in notes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from leaderboards.base import Outcome
from leaderboards.nlp.combined import Combined, Told, combine
from leaderboards.nlp.logged import read_samples, sample_files
from leaderboards.nlp.names import MMLU, MMLU_SUBJECTS
from leaderboards.nlp.scores import Leaf, TaskScores, sample_rows
from leaderboards.nlp.summary import Summary, TaskNumbers, holds_results, read_summary
from selfreward_bench.errors import DataError
from selfreward_bench.storage.rundir import hash_file, hash_json
from selfreward_bench.types import SampleScore

__all__ = ["KIND", "find_results", "identity", "outcome"]

KIND: Final = "lm-eval-results"
_MAX_FILES: Final = 10_000  # of a folder that are looked at
_MEANS: Final = frozenset({"acc", "acc_norm", "acc_bytes", "exact_match", "mc1"})  # over documents, whatever the task
_ROUNDED: Final = 5e-5  # by which a number with four digits may differ


def find_results(path: Path) -> list[Path]:
    """lm-eval's results file that ``path`` is, or those in it, or in its folders: lm-eval makes one for each model."""
    try:
        if path.is_dir():
            return _held(path, "*") or _held(path, "*/*")
        return [path] if holds_results(path) else []
    except OSError:
        return []


def _held(folder: Path, pattern: str) -> list[Path]:
    there = [file for _, file in zip(range(_MAX_FILES), folder.glob(f"{pattern}.json*"), strict=False)]
    return sorted(filter(holds_results, there))


def identity(path: Path) -> dict[str, object]:
    """Hashes of the results file and its samples."""
    results = _results(path)
    samples, _ = sample_files(results, read_summary(results).tasks)
    return {"finished": {f.name: hash_file(f) for f in (results, *sorted(samples.values()))}}


def outcome(path: Path) -> Outcome:
    """Rows and metrics of finished lm-eval outputs.

    Raises:
        DataError: the file cannot be read or is none of lm-eval's.
    """
    file = _results(path)
    summary = read_summary(file)
    if not any(v is not None for task in summary.tasks.values() for v in task.metrics.values()):
        raise DataError(f"{file} holds no numbers of lm-eval. Name the results file that lm_eval wrote.")
    _refuse_percentages(file, summary)
    samples, notes = sample_files(file, summary.tasks)
    leaves = []
    for task, numbers in summary.tasks.items():
        leaf, note = _leaf(numbers, summary, samples.get(task))
        leaves.append(leaf)
        notes += [note] if note else []
    told = {leaf.scores.unit: _told(summary, leaf) for leaf in leaves}
    found = combine(leaves, {unit: number for unit, number in told.items() if number is not None})
    notes += _notes(leaves, found)
    return Outcome(
        found.rows,
        None,
        found.metrics,
        _comparability(summary, leaves),
        shown=found.shown,
        notes=notes,
    )


def _refuse_percentages(file: Path, summary: Summary) -> None:
    for task, numbers in summary.tasks.items():
        for key, value in numbers.metrics.items():
            if value is not None and not 0 <= value <= 1 and key.partition(",")[0] in _MEANS:
                raise DataError(
                    f"{file}: {key!r} of {task!r} is {value:g}, and lm_eval writes the share of right answers, from 0 "
                    "to 1. Write percentages as shares."
                )


def _results(path: Path) -> Path:
    found = find_results(path)
    if len(found) != 1:
        held = f"holds {len(found)} finished lm-eval outputs" if found else "is no finished lm-eval output"
        listed = f" Here: {', '.join(str(f.relative_to(path)) for f in found[:10])}." if found else ""
        raise DataError(f"{path} {held}. Name one results file, or a directory that holds exactly one.{listed}")
    return found[0]


def _leaf(numbers: TaskNumbers, summary: Summary, file: Path | None) -> tuple[Leaf, str]:
    place = summary.place(numbers.task)
    main = numbers.main(place.unit)
    samples, note = read_samples(file, numbers) if file else ([], "")
    try:
        rows = sample_rows(numbers.task, main, samples)
    except (TypeError, ValueError, LookupError, AttributeError) as error:  # whatever is in them instead
        what = f"{type(error).__name__}: {error}"[:100]
        rows, note = [], f"{numbers.task}: the samples are not as lm_eval writes them ({what}); left out"
    if other := _of_others(numbers, main, rows):
        rows, note = [], other
    for row in rows:
        row.detail["measures"].pop("cut", None)  # not known of somebody's run
    scores = TaskScores(
        task=numbers.task,
        unit=place.unit,
        subject=place.subject,
        main=main,
        version=numbers.version,
        shots=numbers.shots,
        metrics=dict(numbers.metrics),
        errors=dict(numbers.errors),
        better=dict(numbers.better),
        n=len(rows) or numbers.n,
    )
    return Leaf(scores, rows), note


def _of_others(numbers: TaskNumbers, main: str, rows: Sequence[SampleScore]) -> str:
    """What is to be told of samples that lm-eval's number cannot be of: of a part of the documents, or another run."""
    told, values = numbers.metrics[main], [row.value for row in rows if row.value is not None]
    if told is None or not values or main.partition(",")[0] not in _MEANS:
        return ""
    mean = sum(values) / len(values)
    if abs(mean - told) < _ROUNDED:
        return ""
    return (
        f"{numbers.task}: its samples ({len(values):,}) come to {mean:.4f} and lm_eval's number is {told:.4f}: they "
        "are not all of them, or of another run; left out"
    )


def _told(summary: Summary, leaf: Leaf) -> Told | None:
    """lm-eval's own number of the group that a task is counted under."""
    group = summary.group(leaf.scores.unit) if leaf.scores.subject else None
    value = group.metrics.get(leaf.scores.main) if group else None
    return Told(value, group.errors.get(leaf.scores.main)) if group and value is not None else None


def _notes(leaves: Sequence[Leaf], found: Combined) -> list[str]:
    """What a reader of the numbers has to know."""
    lost = [x.scores for x in leaves if x.scores.metrics[x.scores.main] is None]
    notes = [
        f"{s.task}: lm_eval gives no number for {s.main.partition(',')[0]} (NaN), so it is not scored" for s in lost
    ]
    subjects = sorted(x.scores.subject for x in leaves if x.scores.unit == MMLU)
    if subjects and len(subjects) < len(MMLU_SUBJECTS):
        listed = ", ".join(subjects[:5]) + (", ..." if len(subjects) > 5 else "")
        notes.append(f"mmlu: {len(subjects)} of its {len(MMLU_SUBJECTS)} subjects ({listed})")
    if found.averaged:
        notes.append(f"average: the mean of {', '.join(found.averaged)}")
    elif lost and len({x.scores.unit for x in leaves}) > 1:
        notes.append(f"there is no average, as {', '.join(s.task for s in lost)} has no number")
    return notes


def _comparability(summary: Summary, leaves: Sequence[Leaf]) -> Mapping[str, str]:
    return {
        "profile": KIND,
        "prompt": hash_json(summary.asked()),
        "parameters": f"lm_eval {summary.lm_eval}, {'a' if summary.templated else 'no'} chat template; shots "
        + ", ".join(f"{x.scores.task} {x.scores.shots}" for x in leaves)[:2000],
        "data": hash_json({x.scores.task: [x.scores.version, x.scores.n] for x in leaves}),
    }
