"""The pinned profile: which definitions of lm-eval are run, how many worked examples they get, which number counts.

Prompts, filters and metrics are those of the installed lm-eval, read from its own task files (as YAML, without
importing lm-eval); what is changed is where documents come from, the number of worked examples and which split they are
of. The profile names the version of each definition and refuses another. The micro-world's tasks are defined here.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from heapq import nlargest
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import yaml

from leaderboards.base import Calls
from leaderboards.nlp.sources import Documents
from selfreward_bench.errors import ConfigError, DataError, MissingDependencyError
from selfreward_bench.micro.lexicon import ATTRIBUTE_OF, VALUES

__all__ = [
    "PROFILE",
    "TASKS",
    "NlpTask",
    "bound",
    "first_value_asked_for",
    "lm_eval_version",
    "local_task",
    "micro_tasks",
    "profile_tasks",
]

PROFILE: Final = "srbench-nlp@1"
_NEW_TOKENS: Final = 256  # lm-eval's, where a task names no other number
_JOINTS: Final = 4  # bytes between an example's question, its answer and the next example, at most
Config = dict[str, Any]


@dataclass(frozen=True)
class NlpTask:
    """What lm-eval evaluates in one go.

    Attributes:
        name: ``arc_easy``, ``mmlu_anatomy``.
        unit: the benchmark it is counted under: ``mmlu`` for all 57 subjects, else its own name.
        main: lm-eval's key of the number that counts, ``METRIC,FILTER``.
        config: lm-eval's task configuration, all but the documents.
    """

    name: str
    unit: str
    main: str
    config: Mapping[str, Any]

    @property
    def subject(self) -> str:
        """The part of the unit it is; empty where it is all of it."""
        return self.name.removeprefix(f"{self.unit}_") if self.name != self.unit else ""

    @property
    def shots(self) -> int:
        """Worked examples in each prompt."""
        return int(self.config["num_fewshot"])


@dataclass(frozen=True)
class _Pinned:
    """An entry of the profile.

    Attributes:
        file: under lm-eval's ``tasks`` directory; ``*`` stands for the subjects.
        version: of the definition, as its metadata say.
        changes: what differs from the definition beyond documents and worked examples.
    """

    file: str
    version: float
    shots: int
    main: str
    changes: Mapping[str, Any] = field(default_factory=dict)


#: in the order of the paper's table (arXiv 2401.10020)
TASKS: Final[Mapping[str, _Pinned]] = {
    "arc_easy": _Pinned("arc/arc_easy.yaml", 1.0, 0, "acc_norm,none"),
    "arc_challenge": _Pinned("arc/arc_challenge.yaml", 1.0, 25, "acc_norm,none"),
    "hellaswag": _Pinned("hellaswag/hellaswag.yaml", 1.0, 10, "acc_norm,none", {"process_docs": None}),
    # context and question come as one text
    "siqa": _Pinned("siqa/siqa.yaml", 0.0, 0, "acc,none", {"doc_to_text": "Q: {{question}}\nA:"}),
    "piqa": _Pinned("piqa/piqa.yaml", 1.0, 0, "acc_norm,none"),
    "gsm8k": _Pinned("gsm8k/gsm8k-cot.yaml", 3.0, 8, "exact_match,strict-match"),
    "mmlu": _Pinned("mmlu/default/mmlu_*.yaml", 1.0, 5, "acc,none"),
    "openbookqa": _Pinned("openbookqa/openbookqa.yaml", 1.0, 0, "acc_norm,none"),
    "nq_open": _Pinned("nq_open/nq_open.yaml", 4.0, 5, "exact_match,remove_whitespace"),
}


def lm_eval_version() -> str:
    """Of the installed lm-eval."""
    _directory()
    return version("lm_eval")


def profile_tasks(names: Sequence[str]) -> tuple[NlpTask, ...]:
    """The tasks of the profile's entries ``names``, in this order.

    Raises:
        ConfigError: the installed lm-eval has another version of a definition.
        MissingDependencyError: lm-eval is not installed.
    """
    return tuple(task for name in names for task in _entry(name))


@lru_cache(maxsize=32)
def _entry(name: str) -> tuple[NlpTask, ...]:
    pinned = TASKS[name]
    files = sorted(_directory().glob(pinned.file))
    if not files:
        raise ConfigError(_other_version(name, f"has no {pinned.file}"))
    prefix = Path(pinned.file).stem.rstrip("*")
    leaves = {f"{name}_{f.stem.removeprefix(prefix)}" if "*" in pinned.file else name: f for f in files}
    return tuple(NlpTask(leaf, name, pinned.main, _config(leaf, pinned, file)) for leaf, file in leaves.items())


def _config(name: str, pinned: _Pinned, file: Path) -> Config:
    config = _read(file)
    found = (config.get("metadata") or {}).get("version")
    if found != pinned.version:
        raise ConfigError(_other_version(name, f"has version {found} of {pinned.file}, not {pinned.version}"))
    own_examples = "samples" in (config.get("fewshot_config") or {})
    for unused in ("tag", "task_alias", "should_decontaminate", "doc_to_decontamination_query"):
        config.pop(unused, None)
    return config | {
        "task": name,
        "dataset_path": "local",
        "dataset_name": None,
        "training_split": None,
        "validation_split": None,
        "test_split": "scored",
        "fewshot_split": "shots" if pinned.shots and not own_examples else None,
        "num_fewshot": pinned.shots,
        **pinned.changes,
    }


def _other_version(name: str, what: str) -> str:
    return (
        f"The profile {PROFILE} pins the definition of {name}; the installed lm_eval {version('lm_eval')} {what}, so "
        "its numbers would not be the profile's. Install lm_eval==0.4.13."
    )


class _Loader(yaml.SafeLoader):
    """Task files name functions with ``!function``; here that is a text, and nothing is imported."""


_Loader.add_constructor("!function", lambda loader, node: f"!function {node.value}")


def _read(file: Path) -> Config:
    """A task file with what it includes, its own keys first."""
    loader = _Loader(file.read_text("utf-8"))
    try:
        config: Config = loader.get_single_data()
    finally:
        loader.dispose()
    included = config.pop("include", None)
    return _read(file.parent / included) | config if included else config


def _directory() -> Path:
    spec = importlib.util.find_spec("lm_eval")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError("The NLP benchmarks need lm_eval. Install it: pip install 'lm-eval>=0.4.13'.")
    return Path(spec.submodule_search_locations[0]) / "tasks"


def local_task(task: NlpTask, documents: Documents) -> Any:
    """The task as lm-eval's object, reading the given documents and nothing else.

    Raises:
        DataError: there are fewer worked examples than each prompt needs.
    """
    import datasets
    from lm_eval.tasks import TaskManager

    if task.config["fewshot_split"] and len(documents.shots) < task.shots:
        raise DataError(
            f"{task.name} needs {task.shots} worked examples, and the data hold {len(documents.shots)} that are not "
            "scored themselves. Get the benchmark data again."
        )
    splits = {"scored": datasets.Dataset.from_list(list(documents.scored))}
    if task.config["fewshot_split"]:
        splits["shots"] = datasets.Dataset.from_list(list(documents.shots))
    config = {**task.config, "custom_dataset": lambda **_: splits}  # lm-eval would cache a copy of JSON files at home
    if filters := task.config.get("filter_list"):
        config["filter_list"] = [f | {"filter": list(map(_with_function, f["filter"]))} for f in filters]
    return TaskManager(include_defaults=False).load([config])["tasks"][task.name]


def _with_function(step: Config) -> Config:
    """A step of a filter, with the function in the place of its name."""
    return step | {"filter_fn": _FUNCTIONS[step["filter_fn"]]} if "filter_fn" in step else step


def bound(task: NlpTask, documents: Documents) -> Calls:
    """One call per document, and its tokens at most, told without lm-eval: given text has at most a token per byte.

    Every choice is read after the whole prompt, and the longest worked examples stand for those that will be drawn.
    """
    config = task.config
    form = sum(_size(config.get(key)) for key in ("doc_to_text", "doc_to_choice")) + _JOINTS
    examples = task.shots * form + sum(nlargest(task.shots, map(_size, documents.shots)))
    fixed = form + examples + _size(config.get("description")) + _size(config.get("fewshot_config"))
    if config["output_type"] == "multiple_choice":
        return Calls(len(documents.scored), sum(_n_choices(d) * (fixed + _size(d)) for d in documents.scored))
    n, new = len(documents.scored), (config.get("generation_kwargs") or {}).get("max_gen_toks", _NEW_TOKENS)
    return Calls(n, n * fixed + sum(map(_size, documents.scored)), n * int(new))


def _n_choices(document: Mapping[str, Any]) -> int:
    """Of what ``nlp_sources`` makes of a row."""
    choices = document.get("choices")
    if isinstance(choices, Mapping):
        choices = choices["text"]
    return len(choices) if choices else sum(key.startswith(("sol", "answer")) for key in document)


def _size(value: Any) -> int:
    """Bytes of all texts in a value of JSON's kinds."""
    if isinstance(value, Mapping):
        return sum(map(_size, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(_size, value))
    return 0 if value is None else len(str(value).encode())


# --- the micro-world


def micro_tasks() -> tuple[NlpTask, ...]:
    """Multiple choice, and two kinds of prompt with one right answer; asked in the plain form the base model has read.

    ``micro_fact`` has two filters as GSM8K has: the whole answer must have a known form, or the first value that it has
    of what is asked for (a colour, a place) counts, also where the next sentence follows without a space.
    """
    choice = {
        "output_type": "multiple_choice",
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "metric_list": [{"metric": m, "aggregation": "mean", "higher_is_better": True} for m in ("acc", "acc_norm")],
    }
    strict = _matching(r"^ ?(?:An? \w+ is (?:an? )?|You find an? \w+ in the )?(\w+)\.$")
    flexible = {"function": "custom", "filter_fn": "first_value_asked_for"}
    return (
        NlpTask("micro_choice", "micro_choice", "acc,none", _micro("micro_choice", choice)),
        NlpTask(
            "micro_sort",
            "micro_sort",
            "exact_match,none",
            _micro("micro_sort", _written({"none": _matching(r"^ ?(.*)$")}, 24)),
        ),
        NlpTask(
            "micro_fact",
            "micro_fact",
            "exact_match,strict-match",
            _micro("micro_fact", _written({"strict-match": strict, "flexible-extract": flexible}, 24)),
        ),
    )


def first_value_asked_for(answers: Sequence[Sequence[str]], documents: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """A filter of lm-eval: of each answer the first value of the attribute that its document asks for."""
    return [
        [_first(VALUES[ATTRIBUTE_OF[document["answer"]]], text) for text in texts]
        for texts, document in zip(answers, documents, strict=True)
    ]


def _first(values: Sequence[str], text: str) -> str:
    found = re.search(rf"(?i:\b({'|'.join(values)}))(?![a-z])", text)
    return found[1] if found else "[invalid]"  # as lm-eval says it


_FUNCTIONS: Final = {"first_value_asked_for": first_value_asked_for}


def _micro(name: str, config: Config) -> Config:
    return {
        "task": name,
        "dataset_path": "local",
        "test_split": "scored",
        "fewshot_split": None,
        "num_fewshot": 0,
        "doc_to_text": "Task: {{question}}\nAnswer:",
        "metadata": {"version": 1.0},
        **config,
    }


def _matching(pattern: str) -> Config:
    return {"function": "regex", "regex_pattern": pattern}


def _written(filters: Mapping[str, Config], tokens: int) -> Config:
    """A task whose answer is generated, at most ``tokens`` of it and not beyond a line."""
    return {
        "output_type": "generate_until",
        "doc_to_target": "answer",
        "generation_kwargs": {"until": ["\n", "Task:"], "do_sample": False, "max_gen_toks": tokens},
        "filter_list": [{"name": name, "filter": [f, {"function": "take_first"}]} for name, f in filters.items()],
        "metric_list": [
            {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True, "ignore_case": True}
        ],
    }
