"""lm-eval's results file, of every version from 0.3 on: its tasks with their numbers, its groups, what it asked.

    0.3      {"results": {"arc_easy": {"acc": 0.6, "acc_stderr": 0.01}}, "config": {"num_fewshot": 0, ...}}
    from 0.4 {"results": {"arc_easy": {"acc,none": 0.6, "acc_stderr,none": 0.01}}, "configs": ..., "n-shot": ...}

``groups`` is there from the first 0.4 on, ``group_subtasks`` and ``n-samples`` from 0.4.3 on. The files of the first
Open LLM Leaderboard and of lighteval call a task ``SUITE|arc:challenge|25``, with its shots behind it.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from leaderboards.nlp.names import MMLU, Place, place_of
from leaderboards.nlp.tasks import TASKS
from selfreward_bench.errors import DataError
from selfreward_bench.sources.cells import whole_number
from selfreward_bench.sources.rows import content_of

__all__ = ["Summary", "TaskNumbers", "holds_results", "read_summary"]

_SUFFIXES: Final = (".json", ".json.gz")
_HEAD: Final = 2**16  # bytes; `results` is the first or second key that lm-eval writes
_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")  # of a function that lm-eval writes down as Python prints it
_PATH: Final = re.compile(r"(?:[A-Za-z]:)?[~.]{0,2}[\\/].*[\\/]", re.DOTALL)  # all of it but the last part
_PLACES: Final = ("dataset_path", "dataset_name", "dataset_kwargs")
_NOT_ASKED: Final = ("metadata", "config_source", "task_alias", "group_alias", "tag", "group")
_PIPED: Final = re.compile(r"[\w.-]+\|(?P<task>[^|]+)\|(?P<shots>[0-9]{1,4})(?:\|[0-9])?")  # how others call a task
_NO_METRICS: Final = frozenset({"alias", "name", "sample_len", "sample_count", "samples", "version"})
_UNSCORED: Final = "bypass"  # the metric of --predict_only, which is 999
_MOST_DOCUMENTS: Final = 10**8  # more are a mistake in the file
_Json = Mapping[str, Any]


@dataclass(frozen=True)
class TaskNumbers:
    """A task's, or a group's, numbers.

    Attributes:
        metrics: ``METRIC,FILTER`` -> number; None for what is no number (NaN).
        errors: the same keys -> lm-eval's standard errors, where it gives one.
        n: documents; 0 where the file does not say.
        better: metric -> whether more is better, where the file says.
    """

    task: str
    metrics: Mapping[str, float | None]
    errors: Mapping[str, float]
    version: str
    shots: int
    n: int
    better: Mapping[str, bool]

    def main(self, unit: str) -> str:
        """The key that counts: the profile's of that unit, where there is one, else of the first that is a number."""
        wanted = TASKS[unit].main if unit in TASKS else ""
        if wanted in self.metrics:
            return wanted
        metric = wanted.partition(",")[0]
        alike = (key for key in self.metrics if metric and key.partition(",")[0] == metric)
        numbers = (key for key, value in self.metrics.items() if value is not None)
        return next(alike, next(numbers, next(iter(self.metrics))))


def holds_results(path: Path) -> bool:
    """Whether a file is lm-eval's results file: by the name that lm-eval gives it, or under another by its content.

    What is wrong with one of that name is told when it is scored.
    """
    if not path.name.endswith(_SUFFIXES) or not path.is_file():
        return False
    if path.name.startswith("results_"):
        return True
    try:
        head = content_of(path, _HEAD)
        return head.lstrip().startswith(b"{") and b'"results"' in head and bool(read_summary(path).tasks)
    except DataError:
        return False


def read_summary(path: Path) -> Summary:
    """A results file.

    Raises:
        DataError: it cannot be read or is none.
    """
    raw = content_of(path)
    try:
        content = json.loads(raw, parse_int=whole_number, parse_float=_finite, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON ({error}). Write it anew with lm_eval --output_path.") from error
    results = content.get("results") if isinstance(content, dict) else None
    if not isinstance(results, dict) or not all(isinstance(numbers, dict) for numbers in results.values()):
        raise DataError(f"{path} has no 'results' as lm-eval's files have. Name the results file that lm_eval wrote.")
    return Summary(_unpiped(content))


def _finite(text: str) -> float | None:
    """NaN and infinity are no numbers, whatever says them: neither a score nor a setting that a key could hold."""
    return value if math.isfinite(value := float(text)) else None


def _unpiped(content: _Json) -> _Json:
    """With lm-eval's names for tasks that have others, and without the averages over them."""
    named = {key: found for key in content["results"] if (found := _PIPED.fullmatch(key))}
    tasks = {key: found["task"].replace(":", "_") for key, found in named.items()}
    if not tasks or len({*tasks.values()}) < len(tasks):
        return content
    tasks = {key: task for key, task in tasks.items() if not task.endswith("__average")}
    renamed = {
        part: {task: _mapping(content, part)[key] for key, task in tasks.items() if key in _mapping(content, part)}
        for part in ("results", "versions")
    }
    return {**content, **renamed, "n-shot": {task: int(named[key]["shots"]) for key, task in tasks.items()}}


@dataclass(frozen=True)
class Summary:
    """What a results file says."""

    content: _Json

    @cached_property
    def tasks(self) -> dict[str, TaskNumbers]:
        """Tasks that have numbers, in the file's order; no groups, which repeat what their tasks say."""
        return {name: n for name, n in self._numbers() if not self._leaves.get(name) and not self._is_part(name)}

    @cached_property
    def _told(self) -> dict[str, TaskNumbers]:
        """Groups with numbers of their own."""
        return {name: n for name, n in self._numbers() if self._leaves.get(name)}

    def group(self, unit: str) -> TaskNumbers | None:
        """lm-eval's own numbers of a group."""
        return self._told.get(unit)

    def place(self, task: str) -> Place:
        """Where a task is counted: with MMLU's subjects; under the widest group that has one number like the task's."""
        plain = self._own_places[task]
        if plain.unit == MMLU:
            return plain
        group = next((g for g in self._above(task) if self._is_alike(g, task)), None)
        if group is None:
            return plain
        return Place(place_of(group).unit, place_of(task.removeprefix(f"{group}_")).unit)

    @cached_property
    def _own_places(self) -> dict[str, Place]:
        """Task -> where it is counted by its name alone; of two that come to one name the second is another."""
        found: dict[str, Place] = {}
        seen: Counter[str] = Counter()
        for task in self.tasks:
            place = place_of(task)
            seen[place.unit] += 1
            is_second = place.unit != MMLU and seen[place.unit] > 1
            found[task] = Place(f"{place.unit}~{seen[place.unit]}") if is_second else place
        return found

    def _above(self, task: str) -> Iterator[str]:
        """Groups that hold a task, the widest first."""
        holding = [name for name in self._told if task in self._leaves[name]]
        yield from sorted(holding, key=lambda name: -len(self._leaves[name]))

    def _is_alike(self, group: str, task: str) -> bool:
        """Whether all tasks of a group have the number that it has."""
        main = self.tasks[task].main("")
        leaves = [self.tasks[name] for name in self._leaves[group] if name in self.tasks]
        return main in self._told[group].metrics and all(leaf.main("") == main for leaf in leaves)

    def asked(self) -> dict[str, object]:
        """What was asked, and how it was scored: not where it lay, of whom, or when."""
        found: dict[str, object] = {
            "tasks": {name: _asked(config) for name, config in sorted(_mapping(self.content, "configs").items())},
            "system": self.content.get("system_instruction"),
            "template": self.content.get("chat_template"),
        }
        if self.content.get("fewshot_as_multiturn"):
            found["multiturn"] = True
        config = _mapping(self.content, "config")
        if any(n.shots for n in self.tasks.values()) and config.get("fewshot_seed") not in (None, 1234):
            found["fewshot_seed"] = config["fewshot_seed"]
        if not found["tasks"]:  # 0.3 says it of all tasks together
            found["tasks"] = {name: [n.version, n.shots] for name, n in self.tasks.items()}
        return found

    @property
    def lm_eval(self) -> str:
        """Its version, as far as the file tells; files before 0.4.3 do not."""
        return str(self.content.get("lm_eval_version") or "of unknown version")

    @property
    def templated(self) -> bool:
        """Whether a chat template was used."""
        return bool(self.content.get("chat_template"))

    # --- inside

    @cached_property
    def _groups(self) -> dict[str, list[str]]:
        """Group -> what is in it, tasks and groups; empty where the file does not say."""
        members = _mapping(self.content, "group_subtasks")
        named = {g: [str(m) for m in subtasks] for g, subtasks in members.items() if isinstance(subtasks, list)}
        return {g: m for g, m in named.items() if m} | {
            g: named.get(g, []) for g in _mapping(self.content, "groups") if not named.get(g)
        }

    @cached_property
    def _leaves(self) -> dict[str, frozenset[str]]:
        """Group -> the tasks in it, however deep, that the file has; by their names where it does not list them."""
        return {group: frozenset(self._within(group, set())) for group in self._groups}

    def _within(self, group: str, seen: set[str]) -> Iterator[str]:
        results = self.content["results"]
        if group in seen:
            return
        seen.add(group)
        listed = self._groups.get(group) or [t for t in results if t.startswith(f"{group}_")]
        for name in listed:
            if self._groups.get(name):
                yield from self._within(name, seen)
            elif name in results and name not in self._groups:
                yield name

    def _is_part(self, group: str) -> bool:
        """Whether a group without tasks of its own name is a part of another one (``mmlu_stem``)."""
        return group in self._groups and any(group.startswith(f"{other}_") for other in self._leaves if other != group)

    def _numbers(self) -> Iterator[tuple[str, TaskNumbers]]:
        for task, numbers in self.content["results"].items():
            metrics = dict(_metrics(numbers))
            if metrics:
                yield task, self._task(task, numbers, metrics)

    def _task(self, task: str, numbers: _Json, metrics: dict[str, float | None]) -> TaskNumbers:
        told = {key: _number(numbers.get(_error_key(key))) for key in metrics}
        if not any("," in key for key in numbers):
            told = {key: _number(numbers.get(f"{key.partition(',')[0]}_stderr")) for key in metrics}
        effective = _mapping(_mapping(self.content, "n-samples"), task).get("effective")
        shots = _mapping(self.content, "n-shot").get(task, _mapping(self.content, "config").get("num_fewshot"))
        rises = _mapping(_mapping(self.content, "higher_is_better"), task)
        return TaskNumbers(
            task=task,
            metrics=metrics,
            errors={key: value for key, value in told.items() if value is not None},
            version=str(_mapping(self.content, "versions").get(task)),
            shots=_whole(shots),
            n=_whole(effective) or _whole(numbers.get("sample_len")),
            better={metric: value for metric, value in rises.items() if isinstance(value, bool)},
        )


def _metrics(numbers: _Json) -> Iterator[tuple[str, float | None]]:
    """``METRIC,FILTER`` -> number; before 0.4 there were no filters.

    Texts are what lm-eval writes for numbers of numpy that JSON does not know, and ``N/A``.
    """
    filtered = any("," in key for key in numbers)
    for key, value in numbers.items():
        is_number = value is None or (isinstance(value, int | float) and not isinstance(value, bool))
        if not (is_number or (filtered and isinstance(value, str))):
            continue
        if "_stderr" in key or key.partition(",")[0] in _NO_METRICS or ("," in key) != filtered:
            continue
        yield (key if filtered else f"{key},none"), None if key.partition(",")[0] == _UNSCORED else _number(value)


def _error_key(key: str) -> str:
    metric, _, chosen = key.partition(",")
    return f"{metric}_stderr,{chosen}"


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (OverflowError, ValueError):  # a whole number that no float holds; N/A
        return None
    return found if math.isfinite(found) else None


def _asked(config: object) -> object:
    """A task's configuration without what tells where it lay and who asked."""
    if not isinstance(config, dict):
        return config
    kept = {key: _nameless(value) for key, value in config.items() if key not in _NOT_ASKED}
    kept |= {key: _placeless(kept[key]) for key in _PLACES if key in kept}
    version = _mapping(config, "metadata").get("version")
    return kept | ({} if version is None else {"version": version})


def _nameless(value: object) -> object:
    """Without addresses in memory."""
    return _in_texts(value, lambda text: _ADDRESS.sub("", text))


def _placeless(value: object) -> object:
    """Without directories."""
    return _in_texts(value, lambda text: _PATH.sub("", text, count=1) if _PATH.match(text) else text)


def _in_texts(value: object, change: Callable[[str], str]) -> object:
    if isinstance(value, dict):
        return {key: _in_texts(inner, change) for key, inner in value.items()}
    if isinstance(value, list):
        return [_in_texts(inner, change) for inner in value]
    return change(value) if isinstance(value, str) else value


def _mapping(content: _Json, key: str) -> _Json:
    found = content.get(key)
    return found if isinstance(found, dict) else {}


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_DOCUMENTS else 0
