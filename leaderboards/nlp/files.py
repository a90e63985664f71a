"""Finished lm-eval outputs: ``results_*.json``, and the ``samples_*.jsonl`` beside it, scored again without a model.

With samples there are rows, intervals and paired comparisons; without, lm-eval's own numbers and its standard errors.
Tasks of the profile are counted under its names; the shots and settings are those the file says.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from leaderboards.base import Outcome
from leaderboards.nlp.scores import Leaf, TaskScores, combine, sample_rows
from leaderboards.nlp.tasks import TASKS
from selfreward_bench.errors import DataError
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.files import os_errors
from selfreward_bench.storage.rundir import hash_file, hash_json
from selfreward_bench.types import Metric

__all__ = ["KIND", "find_results", "identity", "outcome"]

KIND: Final = "lm-eval-results"
MAX_BYTES: Final = 256 * 2**20
_NAMES: Final = {"social_iqa": "siqa", "gsm8k_cot": "gsm8k"}  # lm-eval's name -> the profile's, where they differ


def find_results(path: Path) -> list[Path]:
    """lm-eval's results file that ``path`` is, or those in it, or in its folders: lm-eval makes one for each model."""
    try:
        if path.is_dir():
            return sorted(path.glob("results_*.json")) or sorted(path.glob("*/results_*.json"))
        return [path] if path.is_file() and re.fullmatch(r".*results_.*\.json", path.name) else []
    except OSError:
        return []


def identity(path: Path) -> dict[str, object]:
    """Hashes of the results file and its samples."""
    results = _results(path)
    return {"finished": {f.name: hash_file(f) for f in (results, *sorted(_samples(results).values()))}}


def outcome(path: Path) -> Outcome:
    """Rows and metrics of finished lm-eval outputs.

    Raises:
        DataError: the file cannot be read or is none of lm-eval's.
    """
    file = _results(path)
    content = _read(file)
    samples = _samples(file)
    leaves, plain = [], []
    for task, numbers in _tasks(content):
        metrics = {k: float(v) for k, v in numbers.items() if _is_metric(k, v)}
        if not metrics:
            continue
        leaf = _leaf(task, metrics, content, samples.get(task))
        leaves.append(leaf)
        if not leaf.rows:
            plain.append((leaf.scores, numbers))
    if not leaves:
        raise DataError(f"{file} holds no numbers of lm-eval. Name the results_*.json that lm_eval wrote.")
    rows, found = combine(leaves)
    for scores, numbers in plain:
        found |= _with_errors(scores, numbers, found)
    return Outcome(rows, None, found, _comparability(content, leaves))


def _results(path: Path) -> Path:
    found = find_results(path)
    if len(found) != 1:
        held = f"holds {len(found)} finished lm-eval outputs" if found else "is no finished lm-eval output"
        listed = f" Here: {', '.join(str(f.relative_to(path)) for f in found[:10])}." if found else ""
        raise DataError(f"{path} {held}. Name one results_*.json, or a directory that holds exactly one.{listed}")
    return found[0]


def _read(file: Path) -> dict[str, Any]:
    with os_errors(file, "read"), file.open("rb") as stream:
        raw = stream.read(MAX_BYTES + 1)
    try:
        content = json.loads(raw) if len(raw) <= MAX_BYTES else None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} is not valid JSON ({error}). Write it anew with lm_eval --output_path.") from error
    if not isinstance(content, dict) or not isinstance(content.get("results"), dict):
        raise DataError(f"{file} has no 'results' as lm-eval's files have. Name the results_*.json that lm_eval wrote.")
    return content


def _tasks(content: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Tasks with their numbers; groups are left out, since they repeat what their tasks say."""
    members = content.get("group_subtasks")
    groups = {g for g, subtasks in members.items() if subtasks} if isinstance(members, dict) else set()
    for task, numbers in content["results"].items():
        if task not in groups and isinstance(numbers, dict):
            yield task, numbers


def _is_metric(key: str, value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return number and "," in key and "_stderr," not in key


def _leaf(task: str, metrics: dict[str, float], content: Mapping[str, Any], file: Path | None) -> Leaf:
    name = _NAMES.get(task, task)
    unit = "mmlu" if name.startswith("mmlu_") else name
    wanted = TASKS[unit].main if unit in TASKS else ""
    main = wanted if wanted in metrics else next(iter(metrics))
    rows = sample_rows(task, main, _lines(file)) if file else []
    for row in rows:
        row.detail["measures"].pop("cut", None)  # not known of somebody's run
    counts = _dict(_dict(content, "n-samples"), task).get("effective")
    return Leaf(
        TaskScores(
            task=task,
            unit=unit,
            subject=name.removeprefix("mmlu_") if unit != name else "",
            main=main,
            version=str(_dict(content, "versions").get(task)),
            shots=_whole(_dict(content, "n-shot").get(task)),
            metrics=dict(metrics),
            n=len(rows) or _whole(counts),
        ),
        rows,
    )


def _with_errors(scores: TaskScores, numbers: Mapping[str, Any], found: Mapping[str, Metric]) -> dict[str, Metric]:
    """The main number with the interval its standard error gives, where only the summary is known."""
    name = f"{scores.unit}/{scores.subject}" if scores.subject else scores.unit
    metric, _, chosen = scores.main.partition(",")
    error, known = numbers.get(f"{metric}_stderr,{chosen}"), found.get(name)
    if known is None or known.value is None or not isinstance(error, int | float) or not math.isfinite(error):
        return {}
    half = 1.96 * abs(error)
    return {name: known.model_copy(update={"low": known.value - half, "high": known.value + half})}


def _comparability(content: Mapping[str, Any], leaves: list[Leaf]) -> dict[str, str]:
    configs, template = _dict(content, "configs"), content.get("chat_template")
    return {
        "profile": KIND,
        "prompt": hash_json([configs, content.get("system_instruction"), template]),
        "parameters": f"lm_eval {content.get('lm_eval_version')}, {'a' if template else 'no'} chat template; shots "
        + ", ".join(f"{x.scores.task} {x.scores.shots}" for x in leaves)[:2000],
        "data": hash_json({x.scores.task: [x.scores.version, x.scores.n] for x in leaves}),
    }


def _samples(results: Path) -> dict[str, Path]:
    """Task -> its samples file of the same date: ``samples_TASK_DATE.jsonl``."""
    date = results.stem.partition("results_")[2]
    return {
        f.name.removeprefix("samples_").removesuffix(f"_{date}.jsonl"): f
        for f in results.parent.glob("samples_*.jsonl")
        if f.name.endswith(f"_{date}.jsonl")
    }


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    for number, line in jsonl.lines(file):
        try:
            sample = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{file}:{number} is not valid JSON ({error}). Was lm_eval interrupted?") from error
        if not isinstance(sample, dict) or "doc_id" not in sample or not isinstance(sample.get("metrics"), list):
            raise DataError(f"{file}:{number} is no sample of lm-eval (doc_id and metrics are missing).")
        yield sample


def _dict(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = content.get(key)
    return found if isinstance(found, dict) else {}


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
