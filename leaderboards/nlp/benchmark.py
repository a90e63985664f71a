"""NLP benchmarks through lm-eval: the nine of the paper's table, any other lm-eval task, and the micro-world's own.

``nlp@1`` runs the pinned profile of ``leaderboards.nlp.tasks`` on the files of the data directory, without a network;
names of ``eval.nlp_tasks`` that are none of the profile's are lm-eval's own tasks, whose data lm-eval fetches. It needs
a model in this process: log-probabilities of given texts decide most tasks, and lm-eval asks the model itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final

from leaderboards.base import Calls, Outcome, Plan, Setting, Subject
from leaderboards.descriptions import described
from leaderboards.nlp import files as nlp_files
from leaderboards.nlp.combined import combine
from leaderboards.nlp.scores import Leaf, TaskScores, sample_rows, unreadable_rows
from leaderboards.nlp.sources import Documents, Unreadable, files_of, micro_documents, read_documents
from leaderboards.nlp.tasks import (
    PROFILE,
    TASKS,
    NlpTask,
    bound,
    lm_eval_version,
    local_task,
    micro_tasks,
    profile_tasks,
)
from selfreward_bench.config import RunConfig
from selfreward_bench.errors import ConfigError, DataError, did_you_mean
from selfreward_bench.micro import data_path
from selfreward_bench.models.bounds import total
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.rundir import hash_file, hash_json
from selfreward_bench.types import SampleScore

__all__ = ["MicroNlp", "Nlp"]

FINISHED: Final = "tasks.jsonl"


@dataclass(frozen=True)
class Job:
    """One task to evaluate.

    Attributes:
        main: the key of the number that counts; empty takes the task's first.
        load: makes lm-eval's task object.
        bound: what it asks at most, as far as known beforehand.
        limit: documents lm-eval may take; None where ``load`` sees to it.
    """

    name: str
    unit: str
    subject: str
    main: str
    load: Callable[[], Any]
    bound: Calls = field(default_factory=Calls)
    unreadable: tuple[Unreadable, ...] = ()
    limit: int | None = None


class _LmEval:
    """What both benchmarks share: run what is not finished, store it task by task, sum up."""

    needs_judge: ClassVar = False
    local_only: ClassVar = True
    key: ClassVar[str]

    def jobs(self, setting: Setting) -> list[Job]:
        """The tasks on local files (or the embedded world), with their documents read."""
        raise NotImplementedError

    def installed_jobs(self, setting: Setting) -> list[Job]:
        """Tasks whose documents lm-eval gets itself."""
        return []

    def comparability(self, setting: Setting) -> dict[str, str]:
        """See ``Outcome``."""
        raise NotImplementedError

    def plan(self, setting: Setting) -> Plan:
        """One call per document; how many lm-eval's own tasks have, only loading them would tell."""
        if setting.finished:
            return Plan()
        return Plan(total(job.bound for job in self.jobs(setting)))

    def run(self, subject: Subject) -> Outcome:
        """Rows of each finished task in ``samples-TASK.jsonl``, its scores in ``tasks.jsonl``.

        Raises:
            ConfigError: the engine has no model in this process, or a task is unknown.
            DataError: a file, or the data of one of lm-eval's own tasks, cannot be had.
            EngineError: lm-eval or the model failed.
        """
        finished = subject.setting.finished
        if finished:
            return nlp_files.outcome(finished.path)
        lm: Any = None
        leaves = []
        stored = {s.task: s for s in jsonl.resume(subject.directory / FINISHED, TaskScores, unique=lambda s: s.task)}
        for job in [*self.jobs(subject.setting), *self.installed_jobs(subject.setting)]:
            file = subject.directory / f"samples-{re.sub(r'[^A-Za-z0-9_.-]', '_', job.name)}.jsonl"
            if job.name in stored:
                leaf = Leaf(stored[job.name], jsonl.read(file, SampleScore, unique=lambda r: r.sample_id))
                subject.advanced(leaf.scores.n)
            else:
                lm = lm or open_model(subject)
                leaf = _evaluate(lm, job, subject.advanced)
                jsonl.write(file, leaf.rows)
                jsonl.append(subject.directory / FINISHED, [leaf.scores])  # last: it says that the samples are whole
            leaves.append(leaf)
        found = combine(leaves)
        return Outcome(found.rows, None, found.metrics, self.comparability(subject.setting), shown=found.shown)


def open_model(subject: Subject) -> Any:
    """The subject's loaded model as lm-eval's.

    Raises:
        ConfigError: its engine has none.
    """
    vllm = subject.config.engine.kind == "vllm"  # whose server would be started for nothing
    loaded = None if vllm else getattr(subject.engine, "loaded", None)
    if loaded is None:
        name = "vllm" if vllm else subject.engine.name
        raise ConfigError(
            f"The NLP benchmarks cannot ask engine {name!r}: multiple choice needs the "
            "log-probabilities of given texts, which lm-eval reads from a model in this process. Evaluate the "
            "checkpoint's directory with engine.kind=transformers, or give lm-eval's own results_*.json as finished "
            "outputs."
        )
    from leaderboards.nlp.model import LocalModel, quiet

    with quiet():
        return LocalModel(loaded, tokens_per_batch=subject.config.engine.tokens_per_batch)


def _evaluate(lm: Any, job: Job, advanced: Callable[[int], None]) -> Leaf:
    from leaderboards.nlp.model import evaluate_task, quiet

    with quiet():
        task = job.load()
    reported = 0

    def report(n: int) -> None:
        nonlocal reported
        reported += n
        advanced(n)

    found = evaluate_task(lm, task, limit=job.limit, advanced=report)
    main = job.main or next(iter(found.metrics), "none")
    rows = sample_rows(job.name, main, found.samples, found.cut)
    advanced(len(rows) - reported)  # documents with equal prompts were seen once
    scores = TaskScores(
        task=job.name,
        unit=job.unit,
        subject=job.subject,
        main=main,
        version=found.version,
        shots=found.shots,
        metrics=dict(found.metrics),
        n=len(rows),
    )
    return Leaf(scores, [*rows, *unreadable_rows(job.name, job.unreadable, main)])


def _local_job(task: NlpTask, documents: Documents) -> Job:
    return Job(
        name=task.name,
        unit=task.unit,
        subject=task.subject,
        main=task.main,
        load=lambda: local_task(task, documents),
        bound=bound(task, documents),
        unreadable=documents.unreadable,
    )


def _limit(config: RunConfig) -> int | None:
    return config.eval.nlp_limit or config.eval.limit


class Nlp(_LmEval):
    """The profile ``srbench-nlp@1``, part of it, or lm-eval tasks by name."""

    key: ClassVar = "nlp@1"
    description: ClassVar = described(key)

    def identity(self, setting: Setting) -> dict[str, object]:
        """See ``Benchmark``."""
        if setting.finished:
            return nlp_files.identity(setting.finished.path)
        return {"limit": _limit(setting.config), **self._settings(setting)}

    def comparability(self, setting: Setting) -> dict[str, str]:
        """See ``Outcome``; the limit is part of the data."""
        found = self._settings(setting)
        return {
            "profile": str(found["profile"]),
            "prompt": hash_json(found["tasks"]),
            "parameters": f"lm_eval {found['lm_eval']}, no chat template",
            "data": hash_json([found["data"], _limit(setting.config)]),
        }

    def recognise(self, path: Path) -> str | None:
        """``lm-eval-results`` for lm-eval's ``results_*.json``, or a directory with one."""
        return nlp_files.KIND if nlp_files.find_results(path) else None

    def jobs(self, setting: Setting) -> list[Job]:
        """See ``_LmEval``."""
        limit = _limit(setting.config)
        return [
            _local_job(t, read_documents(setting.data, t.unit, subject=t.subject, limit=limit))
            for t in profile_tasks(_names(setting.config)[0])
        ]

    def installed_jobs(self, setting: Setting) -> list[Job]:
        """See ``_LmEval``."""
        foreign = _names(setting.config)[1]
        return _installed_jobs(foreign, _limit(setting.config)) if foreign else []

    def _settings(self, setting: Setting) -> dict[str, object]:
        names, foreign = _names(setting.config)
        tasks = profile_tasks(names)
        subjects = {u: [t.subject for t in tasks if t.unit == u] for u in names}
        return {
            "profile": PROFILE if names == list(TASKS) and not foreign else "custom",
            "tasks": {t.name: t.config for t in tasks} | dict.fromkeys(foreign),
            "lm_eval": lm_eval_version(),
            "data": {f: setting.data.sha256(f) for u in names for f in files_of(u, subjects[u])},
        }


def _names(config: RunConfig) -> tuple[list[str], list[str]]:
    """The profile's entries, and lm-eval's own tasks, that the settings ask for."""
    asked = list(dict.fromkeys(config.eval.nlp_tasks or TASKS))
    return [n for n in asked if n in TASKS], [n for n in asked if n not in TASKS]


def _installed_jobs(names: Sequence[str], limit: int | None) -> list[Job]:
    """lm-eval's own tasks and groups, from its index (which takes long to read), with data that lm-eval gets.

    Raises:
        ConfigError: a name is unknown.
        DataError: the data cannot be had.
    """
    from lm_eval.tasks import TaskManager

    from leaderboards.nlp.model import quiet

    with quiet():
        manager = TaskManager()
    jobs = []
    for name in names:
        if name not in manager.task_index:
            hint = did_you_mean(name, [*TASKS, *manager.all_tasks])
            raise ConfigError(
                f"eval.nlp_tasks names {name!r}, which is neither of {PROFILE} ({', '.join(TASKS)}) nor a task of the "
                f"installed lm_eval.{hint} `lm_eval ls tasks` lists them."
            )
        try:
            with quiet():
                tasks = manager.load([name])["tasks"]
        except Exception as error:  # datasets, the hub client and a task's own code raise anything
            first = next(iter(str(error).strip().splitlines()), "")
            raise DataError(
                f"The data of lm_eval's task {name!r} cannot be had ({type(error).__name__}: {first[:300]}). lm_eval "
                "fetches them from the Hugging Face hub: allow the network once (HF_HUB_OFFLINE unset), or leave the "
                f"task out. The profile's tasks ({', '.join(TASKS)}) need no network."
            ) from error
        several = len(tasks) > 1
        jobs += [
            Job(leaf, name, leaf if several else "", "", partial(tasks.__getitem__, leaf), limit=limit)
            for leaf in tasks
        ]
    return jobs


class MicroNlp(_LmEval):
    """The same on the embedded world: multiple choice, sorting, facts."""

    key: ClassVar = "micro-nlp@1"
    description: ClassVar = described(key)

    def identity(self, setting: Setting) -> dict[str, object]:
        """See ``Benchmark``."""
        return {
            "limit": _limit(setting.config),
            "split": setting.config.eval.split,
            "tasks": {t.name: t.config for t in micro_tasks()},
            "lm_eval": lm_eval_version(),
            "data": hash_file(data_path("choices")),
            "documents": hash_json([d.scored for _, d in self._documents(setting)]),
        }

    def comparability(self, setting: Setting) -> dict[str, str]:
        """See ``Outcome``."""
        return {
            "prompt": hash_json([t.config for t in micro_tasks()]),
            "parameters": f"lm_eval {lm_eval_version()}, no chat template",
            "data": hash_json([d.scored for _, d in self._documents(setting)]),
        }

    def recognise(self, path: Path) -> None:
        """There are no finished files of this benchmark."""

    def jobs(self, setting: Setting) -> list[Job]:
        """See ``_LmEval``."""
        return [_local_job(task, documents) for task, documents in self._documents(setting)]

    def _documents(self, setting: Setting) -> list[tuple[NlpTask, Documents]]:
        limit, split = _limit(setting.config), setting.config.eval.split
        return [(task, micro_documents(task.name, split, limit)) for task in micro_tasks()]
