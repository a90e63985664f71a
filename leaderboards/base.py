"""What a benchmark is, and what all of them do alike: get answers and judgments that survive a kill, and sum up rows.

A benchmark makes rows (`SampleScore`), one per sample, whose numbers are in ``detail["measures"]``: metric -> value. A
metric is the mean of its measure over all rows that carry it; None is 'not scored', counted and left out, never 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, TypeVar

from leaderboards.descriptions import bounds_of
from leaderboards.replicates import Replicates
from selfreward_bench import stats
from selfreward_bench.config import RunConfig
from selfreward_bench.engines.base import REFUSED, TOO_LONG, Engine, GenerationRequest
from selfreward_bench.judges.pointwise import JudgeItem, PointwiseJudge
from selfreward_bench.models.bounds import Calls
from selfreward_bench.sources.directory import DataDir
from selfreward_bench.storage import jsonl
from selfreward_bench.types import Completion, Description, Judgment, Metric, MetricInfo, SampleScore

__all__ = [
    "REFUSED",
    "SETTLED",
    "Benchmark",
    "Calls",
    "Finished",
    "JudgeRole",
    "Outcome",
    "Plan",
    "Setting",
    "Subject",
    "anew",
    "answers",
    "attempts",
    "judgments",
    "kept",
    "measures",
    "row",
    "summarise",
]

R = TypeVar("R", Completion, Judgment)

#: reasons for which a sample has no answer, and for which asking the same model again is of no use
SETTLED: Final = frozenset({REFUSED, TOO_LONG})
BREAKDOWN_RESAMPLES = 2_000  # metrics with a "/" in their name are breakdowns; their intervals need fewer digits


@dataclass(frozen=True)
class JudgeRole:
    """Who judges.

    Attributes:
        name: as the user gave it: ``oracle``, ``openai:gpt-4o@https://...``, ``runs/first:M1``, ``self``.
        engine: None for the oracle of the micro-world.
        snapshot: what is behind the name: the model's fingerprint, or the model a server says it runs.
        retries: how many later calls ask again for a judgment that holds no verdict, each once; 0 for a judge that says
            the same to the same question.
        replays: whether it answers from stored answers alone.
        request: how a served judge is asked, where that is not as the benchmark says; in words.
        address: of a served judge, which may have a name of its own, ``openai:NAME@URL``; empty for others.
    """

    name: str
    engine: Engine | None = None
    snapshot: str = ""
    retries: int = 0
    replays: bool = False
    request: str = ""
    address: str = ""

    @property
    def identity(self) -> list[str]:
        """What results belong to: a model of a directory is the same whatever the directory is called."""
        named = self.address or self.engine is None or self.name == "self"
        return [self.name, self.snapshot] if named else [self.snapshot]


@dataclass(frozen=True)
class Finished:
    """Somebody's finished outputs, annotations or judgments, to be scored again without generating.

    Attributes:
        kind: what ``Benchmark.recognise`` called it.
        model: which one, as the file calls it, where it holds several; None where none is named.
    """

    kind: str
    path: Path
    model: str | None = None


@dataclass(frozen=True)
class Setting:
    """What a benchmark is run with, the model aside."""

    config: RunConfig
    data: DataDir = field(default_factory=DataDir)
    judge: JudgeRole | None = None
    finished: Finished | None = None


@dataclass(frozen=True)
class Subject:
    """One checkpoint under one benchmark.

    Attributes:
        open_engine: the checkpoint's engine, loaded when it is first asked for.
        directory: where the benchmark keeps its files; empty, or left by an interrupted evaluation of the same weights.
        advanced: told how many more units are done.
        open_writing: what writes the checkpoint's own answers, where its engine is asked otherwise, as a judge.
    """

    name: str
    open_engine: Callable[[], Engine]
    setting: Setting
    directory: Path
    advanced: Callable[[int], None]
    open_writing: Callable[[], Engine] | None = None

    @property
    def engine(self) -> Engine:
        """The checkpoint's engine."""
        return self.open_engine()

    @property
    def writing(self) -> Engine:
        """The checkpoint's engine for its own answers."""
        return (self.open_writing or self.open_engine)()

    @property
    def config(self) -> RunConfig:
        """The settings."""
        return self.setting.config


@dataclass(frozen=True)
class Outcome:
    """What a benchmark found.

    Attributes:
        metrics: what is no mean over rows.
        judge: who judged, in words; None where nobody did.
        comparability: what two numbers must share to be compared: ``judge``, ``snapshot``, ``prompt`` (hash),
            ``parameters``, ``order``, ``reference`` (hash), ``data`` (hash), as far as the benchmark has them.
        incomplete: samples that failed for a reason that may pass (a server's error, a spent budget): asked for again
            on the next call.
        replicates: of ``metrics`` that have a difference between checkpoints all the same.
        shown: how metrics are shown that the benchmark's description does not have, such as a task that a file brings.
        notes: what a reader of the numbers has to know, a sentence each.
    """

    rows: Sequence[SampleScore]
    judge: str | None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    comparability: Mapping[str, str] = field(default_factory=dict)
    incomplete: int = 0
    replicates: Mapping[str, Replicates] = field(default_factory=dict)
    shown: Mapping[str, MetricInfo] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Plan:
    """What a benchmark would do, before it does it."""

    answers: Calls = field(default_factory=Calls)
    judgments: Calls = field(default_factory=Calls)

    @property
    def units(self) -> int:
        """Answers and judgments, for the progress bar."""
        return self.answers.calls + self.judgments.calls


class Benchmark(Protocol):
    """One benchmark: a class like this, in ``leaderboards.registry.BENCHMARKS``, a package or a file of one's own.

    Attributes:
        key: ``name@version``; the version is raised when the numbers change their meaning.
        description: what the benchmark and its metrics are called, in which unit they are, and which way is better.
        needs_judge: whether ``Setting.judge`` must be there.
        local_only: whether the model must be loaded in this process; a served one cannot be asked.
        measures_judge: may be left out; whether the model is asked as a judge, a served one as ``judge.request`` says.
    """

    @property
    def key(self) -> str: ...

    @property
    def description(self) -> Description: ...

    @property
    def needs_judge(self) -> bool: ...

    @property
    def local_only(self) -> bool: ...

    def identity(self, setting: Setting) -> dict[str, object]:
        """Everything but the weights that the numbers depend on: settings and hashes of the data."""

    def plan(self, setting: Setting) -> Plan:
        """How many answers and judgments ``run`` will ask for, nothing of it done yet."""

    def recognise(self, path: Path) -> str | None:
        """What kind of finished file of this benchmark ``path`` is; None when it is none."""

    def run(self, subject: Subject) -> Outcome: ...


# --- getting answers and judgments


def kept(subject: Subject, filename: str, kind: type[R], ask: Callable[[Sequence[R]], Iterator[list[R]]]) -> list[R]:
    """Records stored batch by batch in ``filename``, those of earlier calls before them.

    Args:
        ask: given what is stored, makes the rest, batch by batch; what is stored already is not stored twice.
    """
    path = subject.directory / filename
    stored = jsonl.resume(path, kind, unique=lambda record: record.id)
    ids = {record.id for record in stored}
    subject.advanced(len(ids))
    for batch in ask(tuple(stored)):
        fresh = [record for record in batch if record.id not in ids]
        jsonl.append(path, fresh)
        stored += fresh
        subject.advanced(len(fresh))
    return stored


def answers(subject: Subject, filename: str, requests: Sequence[GenerationRequest]) -> list[Completion]:
    """The subject's completions, stored batch by batch in ``filename``; what is stored is not made again."""

    def ask(stored: Sequence[Completion]) -> Iterator[list[Completion]]:
        ids = {c.id for c in stored}
        done = {r.id for r in requests if all(f"{r.id}/{k}" in ids for k in range(r.n))}
        return subject.writing.generate(requests, done)

    return kept(subject, filename, Completion, ask)


def judgments(subject: Subject, filename: str, judge: PointwiseJudge, items: Sequence[JudgeItem]) -> list[Judgment]:
    """The judgments of ``items``, stored batch by batch in ``filename``; what is stored is not made again."""
    per_item = judge.samples if judge.mode == "sampled" else 1

    def ask(stored: Sequence[Judgment]) -> Iterator[list[Judgment]]:
        ids = {j.id for j in stored}
        return judge.judge(items, {i.id for i in items if all(f"{i.id}/{k}" in ids for k in range(per_item))})

    return kept(subject, filename, Judgment, ask)


def attempts(tries: Mapping[str, Sequence[bool]], retries: int) -> dict[str, int]:
    """What is to be asked now: name -> how often it was asked before.

    Args:
        tries: name -> whether each judgment of it that is stored holds a verdict, in the order they were made.
        retries: ``JudgeRole.retries``.

    >>> attempts({"new": [], "judged": [False, True], "unread": [False], "given up": [False, False]}, retries=1)
    {'new': 0, 'unread': 1}
    """
    return {name: len(made) for name, made in tries.items() if not any(made) and len(made) <= retries}


def anew(attempt: int) -> tuple[int, ...]:
    """What a seed is derived from besides, so that another attempt draws something else; nothing for the first."""
    return (attempt,) if attempt else ()


# --- rows and what they sum up to


def row(
    sample_id: str,
    cluster: str,
    measures: Mapping[str, float | None],
    *,
    reason: str | None = None,
    **detail: object,
) -> SampleScore:
    """A row whose value is its first measure."""
    value = next(iter(measures.values()))
    return SampleScore(
        sample_id=sample_id, value=value, cluster=cluster, reason=reason, detail={"measures": dict(measures), **detail}
    )


def measures(scored: SampleScore) -> dict[str, float | None]:
    """The numbers of a row, by metric."""
    found: dict[str, float | None] = scored.detail.get("measures", {})
    return found


def summarise(rows: Sequence[SampleScore], benchmark: str = "") -> dict[str, Metric]:
    """Each metric's mean with its interval, clustered by prompt, over the rows that carry it.

    Rows are taken in the order of their ids, so that the last bits do not depend on the order they come in.

    Args:
        benchmark: the key under which its units are known, and with them what values there can be.
    """
    columns: dict[str, tuple[list[float | None], list[str]]] = {}
    for scored in sorted(rows, key=lambda r: r.sample_id):
        for name, value in measures(scored).items():
            values, clusters = columns.setdefault(name, ([], []))
            values.append(value)
            clusters.append(scored.cluster)
    return {
        name: stats.mean_interval(
            values,
            clusters,
            n_boot=BREAKDOWN_RESAMPLES if "/" in name else 10_000,
            bounds=bounds_of(benchmark, name),
        )
        for name, (values, clusters) in columns.items()
    }


def unscored(rows: Sequence[SampleScore]) -> dict[str, int]:
    """How many rows have no score, by reason."""
    return dict(Counter(r.reason or "unknown" for r in rows if r.value is None))
