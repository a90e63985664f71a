"""What lm-eval logs of single documents beside its results file, of every version from 0.3 on, as today's versions do.

    0.3             TASK_write_out_info.json, a JSON list; numbers are texts                       (--write_out)
    0.4.0 - 0.4.2   ..._TASK.jsonl, which holds a JSON list; neither filters nor metrics are named  (--log_samples)
    0.4.3 - 0.4.6   samples_TASK_DATE.jsonl; neither filters nor metrics are named
    from 0.4.7      samples_TASK_DATE.jsonl, a line per document and filter

The results file counts: samples that do not name their filter are told apart by their order, and taken where their
means are lm-eval's numbers. What cannot be used is left out with a note, never a reason to refuse the file.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any, Final

from leaderboards.nlp.summary import TaskNumbers
from selfreward_bench.sources.rows import iterate_rows

__all__ = ["read_samples", "sample_files"]

_DATE: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(?:\.\d+)?$")
_SAMPLES: Final = (".jsonl", ".jsonl.gz", ".json", ".json.gz")
_WRITTEN_OUT: Final = "_write_out_info"
_MAX_FILTERS: Final = 4
_SAME: Final = 1e-6
_TRUE: Final = {"true": 1.0, "false": 0.0}
Sample = dict[str, Any]


def sample_files(results: Path, tasks: Iterable[str]) -> tuple[dict[str, Path], list[str]]:
    """Task -> its samples, and what is to be told of samples that are left out."""
    stem = _stem(results)
    date = _DATE.search(stem)
    named: dict[str, list[Path]] = defaultdict(list)
    wanted = sorted(tasks, key=len, reverse=True)
    for file in sorted(f for f in results.parent.iterdir() if f.name.endswith(_SAMPLES) and f != results):
        name = _stem(file)
        if date:
            found = name.removesuffix(f"_{date[0]}").removeprefix("samples_") if name.endswith(date[0]) else None
            task = found if found in wanted else None
        else:
            own = name.removesuffix(_WRITTEN_OUT).removeprefix("samples_")
            task = None if _DATE.search(name) else next((t for t in wanted if own == t or own.endswith(f"_{t}")), None)
        if task is not None:
            named[task].append(file)
    notes = [
        f"{task}: {len(files)} files may hold its samples ({', '.join(f.name for f in files[:3])}); none was taken"
        for task, files in named.items()
        if len(files) > 1
    ]
    return {task: files[0] for task, files in named.items() if len(files) == 1}, notes


def _stem(path: Path) -> str:
    return re.sub(r"\.jsonl?(\.gz)?$", "", path.name)


def read_samples(file: Path, numbers: TaskNumbers) -> tuple[list[Sample], str]:
    """The samples of a task, each with its ``filter`` and ``metrics``, and what is to be told of them.

    Returns:
        No samples where they cannot be told apart, or are others than the numbers are of.

    Raises:
        DataError: the file cannot be read.
    """
    samples = [row.values for row in iterate_rows(file)]
    if not all("doc_id" in sample for sample in samples):
        return [], f"{numbers.task}: {file.name} holds no samples of lm-eval (doc_id is missing); left out"
    if all(isinstance(s.get("metrics"), list) and isinstance(s.get("filter"), str) for s in samples):
        return samples, ""
    return _completed(samples, numbers, file.name)


def _completed(samples: Sequence[Sample], numbers: TaskNumbers, name: str) -> tuple[list[Sample], str]:
    """With filters and metrics, which the file does not name."""
    known: dict[str, list[str]] = defaultdict(list)
    for key in numbers.metrics:
        metric, _, chosen = key.partition(",")
        known[chosen].append(metric)
    by_document: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_document[str(sample["doc_id"])].append(sample)
    why = f"{numbers.task}: {name} names neither filter nor metrics, as lm_eval before 0.4.7 wrote it"
    if len({len(group) for group in by_document.values()} | {len(known)}) > 1:
        return [], f"{why}, and has not one sample per document and filter; left out"
    for order in permutations(known) if len(known) <= _MAX_FILTERS else ():
        found = [
            _named(group[k], order[k], known[order[k]]) for k in range(len(order)) for group in by_document.values()
        ]
        if _bears_out(found, numbers.metrics):
            return found, f"{why}; taken, since the means are lm_eval's numbers"
    return [], f"{why}, and the means are not lm_eval's numbers; left out"


def _named(sample: Sample, chosen: str, metrics: Sequence[str]) -> Sample:
    numbers = {m: _number(sample[m]) for m in metrics if m in sample}
    target = sample.get("target", sample.get("truth"))
    return sample | {"filter": chosen, "metrics": list(numbers), "target": target} | numbers


def _number(value: object) -> object:
    """Before 0.4 numbers were written as texts, right and wrong as ``True`` and ``False``."""
    if not isinstance(value, str):
        return value
    try:
        return _TRUE[value.lower()] if value.lower() in _TRUE else float(value)
    except ValueError:
        return value


def _bears_out(samples: Sequence[Sample], told: Mapping[str, float | None]) -> bool:
    """Whether each filter has a metric whose mean is the number that is told; some metrics are no means."""
    columns: dict[str, list[float]] = defaultdict(list)
    for sample in samples:
        for metric in sample["metrics"]:
            if isinstance(sample[metric], bool | int | float) and math.isfinite(sample[metric]):
                columns[f"{metric},{sample['filter']}"].append(float(sample[metric]))
    same = {
        key.partition(",")[2]
        for key, values in columns.items()
        if (value := told[key]) is not None and abs(sum(values) / len(values) - value) < _SAME
    }
    return same == {key.partition(",")[2] for key in told}
