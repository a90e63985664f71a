"""One training as a value: done in this process, or written into a folder for the processes that a launcher starts.

``FOLDER/task.json`` and ``FOLDER/records.jsonl`` say what is trained; what the processes tell comes back as lines of
``FOLDER/events.jsonl``. ``FOLDER/stop`` asks them to save and end after their step.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final

from selfreward_bench.config import DpoConfig, LoraConfig, RehearsalConfig, SftConfig, TrainConfig
from selfreward_bench.errors import Terminated
from selfreward_bench.progress import Tell
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.files import open_own, write_atomic
from selfreward_bench.storage.records import Records
from selfreward_bench.types import Example, PreferencePair
from trainers.rehearsing import Rehearsal
from trainers.sharding import sharding_of
from trainers.tracking import Tracking
from trainers.training import TrainProgress, TrainResult

__all__ = [
    "COUNTED",
    "EVENTS",
    "RESTARTS",
    "STOP",
    "TASK",
    "Task",
    "add_event",
    "read_events",
    "read_task",
    "terminable",
    "train",
    "write_task",
]

TASK: Final = "task.json"
EVENTS: Final = "events.jsonl"
STOP: Final = "stop"
COUNTED: Final = ("truncated", "equal", "rehearsed")  # of a result: what its log does not tell
RESTARTS: Final = "TORCHELASTIC_RESTART_COUNT"  # how often torchrun has started the processes anew
_RECORDS: Final = "records.jsonl"
_REHEARSED: Final = "rehearsed.jsonl"
_MOST_BYTES: Final = 8 * 2**20  # of events that are read at once


@dataclass(frozen=True, slots=True)
class Task:
    """What is trained.

    Attributes:
        kind: ``sft`` (of Example) or ``dpo`` (of PreferencePair).
        options: keywords of ``train_sft`` and ``train_dpo`` that JSON can hold.
    """

    kind: str
    parent: str | Path
    records: Sequence[Any]
    config: SftConfig | DpoConfig
    out_dir: Path
    threads: int | None
    chat_template: str | None
    lora: LoraConfig | None = None
    track: Tracking | None = None
    rehearsal: Rehearsal | None = None
    train: TrainConfig = TrainConfig()  # noqa: RUF009  # frozen
    options: dict[str, Any] = field(default_factory=dict)


def train(task: Task, progress: Callable[[TrainProgress], None], tell: Tell) -> TrainResult:
    """Does it here; in each of its processes where a launcher started several."""
    import torch

    if task.threads:
        torch.set_num_threads(task.threads)
    options = task.options | {"lora": task.lora, "track": task.track, "sharding": sharding_of(task.train)}
    options |= {"progress": progress, "tell": tell}
    if task.kind == "dpo":
        from trainers.dpo import train_dpo

        options |= {"rehearsal": task.rehearsal}
        return train_dpo(Path(task.parent), task.records, task.config, task.out_dir, **options)  # type: ignore[arg-type]
    from trainers.sft import train_sft

    return train_sft(
        task.parent,
        task.records,
        task.config,  # type: ignore[arg-type]  # of its kind
        task.out_dir,
        chat_template=task.chat_template,
        **options,
    )


@contextmanager
def terminable() -> Iterator[None]:
    """For a process that only trains: SIGTERM ends the training as Ctrl-C does, after its step, with its state saved. A
    second one changes nothing, as launchers repeat it.

    Raises:
        Terminated: so it was ended.
    """
    seen = False

    def on_termination(number: int, frame: FrameType | None) -> None:
        nonlocal seen
        if not seen:
            seen = True
            handler = signal.getsignal(signal.SIGINT)
            (handler if callable(handler) else signal.default_int_handler)(signal.SIGINT, frame)

    before = signal.signal(signal.SIGINT, signal.default_int_handler), signal.signal(signal.SIGTERM, on_termination)
    try:
        yield
    except KeyboardInterrupt:
        if seen:
            raise Terminated from None
        raise
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)


def write_task(task: Task, folder: Path) -> Path:
    """Writes it, its file last; paths become absolute, as other processes may be elsewhere.

    Raises:
        DataError: the operating system refuses.
    """
    parent = Path(task.parent)
    track = task.track and asdict(task.track) | {"directory": str(task.track.directory.absolute())}
    values = {
        "kind": task.kind,
        "parent": str(parent.absolute() if parent.exists() else task.parent),
        "config": task.config.model_dump(mode="json"),
        "out_dir": str(task.out_dir.absolute()),
        "threads": task.threads,
        "chat_template": task.chat_template,
        "lora": task.lora and task.lora.model_dump(mode="json"),
        "track": track,
        "rehearsal": task.rehearsal and task.rehearsal.config.model_dump(mode="json"),
        "train": task.train.model_dump(mode="json"),
        "options": task.options,
    }
    for name, records in ((_RECORDS, task.records), (_REHEARSED, task.rehearsal.examples if task.rehearsal else ())):
        with jsonl.writing(folder / name) as add:
            for record in records:
                add([record])
    write_atomic(folder / TASK, (json.dumps(values, indent=1, sort_keys=True) + "\n").encode())
    return folder / TASK


def read_task(file: Path) -> Task:
    """What ``write_task`` wrote.

    Raises:
        DataError: the records are damaged.
    """
    values = json.loads(file.read_text("utf-8"))
    is_dpo, track, rehearsal = values["kind"] == "dpo", values["track"], None
    if values["rehearsal"]:
        examples = Records(file.parent / _REHEARSED, Example)
        rehearsal = Rehearsal(examples, RehearsalConfig.model_validate(values["rehearsal"]))
    if track:
        track = Tracking(**{**track, "trackers": tuple(track["trackers"]), "directory": Path(track["directory"])})
    return Task(
        kind=values["kind"],
        parent=values["parent"],
        records=Records(file.parent / _RECORDS, PreferencePair if is_dpo else Example),
        # as it was: CREAM smooths by more than a recipe may, where two judges agree less than chance would
        config=(DpoConfig if is_dpo else SftConfig).model_construct(**values["config"]),
        out_dir=Path(values["out_dir"]),
        threads=values["threads"],
        chat_template=values["chat_template"],
        lora=values["lora"] and LoraConfig.model_validate(values["lora"]),
        track=track,
        rehearsal=rehearsal,
        train=TrainConfig.model_validate(values["train"]),
        options=values["options"],
    )


def add_event(folder: Path, **event: Any) -> None:
    """Appends a line; each process may."""
    line = json.dumps({"start": int(os.environ.get(RESTARTS, "0")), **event}) + "\n"
    descriptor = open_own(folder / EVENTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with os.fdopen(descriptor, "ab", buffering=0) as file:
        file.write(line.encode())  # one call, so that lines of several processes do not mix


def read_events(folder: Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    """The whole lines after ``offset`` bytes, and where the next begin."""
    try:
        with (folder / EVENTS).open("rb") as file:
            file.seek(offset)
            data = file.read(_MOST_BYTES)
    except FileNotFoundError:
        return [], offset
    whole = data[: data.rfind(b"\n") + 1]
    found = []
    for line in whole.splitlines():
        try:
            event = json.loads(line)
        except ValueError:  # lines of several machines may mix on a shared file system
            continue
        if isinstance(event, dict):
            found.append(event)
    return found, offset + len(whole)
