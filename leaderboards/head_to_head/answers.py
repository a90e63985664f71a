"""What checkpoints say, for head-to-head: the prompts, and one stored answer per prompt and checkpoint."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final

from leaderboards import base, standings
from leaderboards.base import SETTLED, Setting, Subject
from leaderboards.keeping import Start, begin, read_start
from leaderboards.micro import test_prompts
from selfreward_bench.config import Sampling
from selfreward_bench.engines.base import GenerationRequest
from selfreward_bench.errors import DataError
from selfreward_bench.judges.fencing import clean
from selfreward_bench.progress import Tell
from selfreward_bench.seeding import derive_seed
from selfreward_bench.sources.directory import DataDir
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.decoding import json_file
from selfreward_bench.storage.files import write_atomic
from selfreward_bench.storage.rundir import hash_json
from selfreward_bench.types import Completion, Message, Prompt

__all__ = [
    "ANSWERS",
    "Entry",
    "answer",
    "default_prompts",
    "hash_prompts",
    "instruction_prompt",
    "read_entry",
    "read_prompts",
    "store_answers",
]

ANSWERS: Final = "answers.jsonl"
_FAILURES: Final = "failures.json"
_MAX_FAILURES: Final = 64 * 2**20  # bytes of that file


# --- prompts


def default_prompts(setting: Setting, path: Path | None = None) -> list[Prompt]:
    """``path``'s prompts; else the run's test prompts where the oracle judges, and AlpacaEval's instructions otherwise.

    The first ``eval.limit`` of them.

    Raises:
        DataError: the file, or AlpacaEval's, cannot be read.
    """
    if path is None and (setting.judge is None or setting.judge.engine is None):
        return test_prompts(setting.config)
    file = path or setting.data.path("alpaca_eval/alpaca_eval.json")
    return read_prompts(file)[: setting.config.eval.limit]


def read_prompts(path: Path) -> list[Prompt]:
    """Prompts of a file: JSONL of ``Prompt``, or AlpacaEval's JSON array of objects with an ``instruction``.

    An instruction's id is made from its text, wherever it stands. The array may be gzipped.

    Raises:
        DataError: it is neither, or a prompt is there twice.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such file. Name a JSONL of prompts, or a JSON array of instructions.")
    content = DataDir(path.parent).read(path.name)
    if content.lstrip()[:1] != b"[":
        return jsonl.read(path, Prompt, unique=lambda p: p.id)
    try:
        rows = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} begins like a JSON array and is none ({error}). Check the file.") from error
    prompts = [_instruction(path, number, row) for number, row in enumerate(rows, 1)]
    if not prompts:
        raise DataError(f"{path} holds no prompts: its array is empty. Check that this is the right file.")
    ((most, count),) = Counter(p.text for p in prompts).most_common(1)
    if count > 1:
        raise DataError(f"{path}: the instruction {most[:60]!r} is there {count} times. Keep one of them.")
    return prompts


def _instruction(path: Path, number: int, row: object) -> Prompt:
    text = row.get("instruction") if isinstance(row, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{path}: entry {number} has no text 'instruction'. Each entry is an object with one.")
    return instruction_prompt(text, path.name)


def instruction_prompt(text: str, source: str) -> Prompt:
    """An instruction as a prompt, whose id is made from its text."""
    digest = hashlib.sha256(clean(text).encode()).hexdigest()[:16]
    message = Message(role="user", content=clean(text))
    return Prompt(id=f"instruction-{digest}", messages=(message,), source=source)


def hash_prompts(prompts: Sequence[Prompt]) -> str:
    return hash_json([[p.id, [m.model_dump() for m in p.messages]] for p in prompts])


# --- answers


@dataclass(frozen=True)
class Entry:
    """One checkpoint's answers.

    Attributes:
        answers: prompt id -> answer; a prompt without one counts as ``no_answer``.
        prompts: hash of the prompts that were answered; empty where it is not known.
        settings: hash of what they were answered with; empty where it is not known.
        failures: prompt id -> why there is no answer.
    """

    name: str
    fingerprint: str
    answers: Mapping[str, Completion]
    prompts: str = ""
    settings: str = ""
    failures: Mapping[str, str] = field(default_factory=dict)


class _Start(Start):
    """Which weights, prompts and settings the answers of a directory belong to."""

    file: ClassVar[str] = "answers.start.json"

    prompts: str
    settings: str


def answer(
    subject: Subject,
    prompts: Sequence[Prompt],
    *,
    fingerprint: str,
    rendering: Mapping[str, str] | None = None,
    tell: Tell | None = None,
) -> Entry:
    """One sampled answer per prompt (``eval.answering``), stored batch by batch in ``answers.jsonl``.

    What is stored for the same weights, prompts and settings is not made again; answers of others are put aside
    (``keeping``). The engine is not opened when nothing is missing that may yet be had. Seeds do not depend on the
    checkpoint.

    Args:
        rendering: ``Model.rendering``.
        tell: told what the user should know.
    """
    config, sampling = subject.config, subject.config.eval.answering
    settings = hash_json(
        {
            "seed": config.seed,
            "answering": sampling.model_dump(),
            "engine": [config.engine.kind, config.engine.dtype, *config.engine.numerics.values()],
            **(rendering or {}),
        }
    )
    start = _Start(fingerprint=fingerprint, prompts=hash_prompts(prompts), settings=settings)
    if (note := begin(subject.directory, start)) and tell:
        tell(f"{subject.name}: {note}")
    standings.write_record(subject.directory / _Start.file, start)
    found = read_entry(subject.name, subject.directory)
    given_up = {i for i, why in found.failures.items() if why in SETTLED}
    if not {p.id for p in prompts} - found.answers.keys() - given_up:
        subject.advanced(len(found.answers))
        return found
    completions = base.answers(subject, ANSWERS, [_request(p, config.seed, sampling) for p in prompts])
    failures = {p.id: why for p in prompts if (why := subject.engine.failures.get(p.id))}
    entry = _entry(subject.name, start, completions, failures)
    write_atomic(subject.directory / _FAILURES, json.dumps(entry.failures).encode())
    return entry


def store_answers(
    directory: Path,
    name: str,
    fingerprint: str,
    prompts: Sequence[Prompt],
    answers: Sequence[Completion],
    settings: str,
) -> Entry:
    """Answers that somebody else made, kept as ``answer`` keeps its own; those of others are put aside."""
    directory.mkdir(parents=True, exist_ok=True)
    start = _Start(fingerprint=fingerprint, prompts=hash_prompts(prompts), settings=settings)
    begin(directory, start)
    standings.write_record(directory / _Start.file, start)
    jsonl.write(directory / ANSWERS, answers)
    return _entry(name, start, answers, {})


def read_entry(name: str, directory: Path) -> Entry:
    """The answers ``answer`` left in a directory, and why others are not there.

    Raises:
        DataError: there are none, or they cannot be read.
    """
    start = read_start(directory, _Start)
    if start is None:
        raise DataError(f"{directory} holds no answers for head-to-head. Let {name} answer first.")
    answers = jsonl.resume(directory / ANSWERS, Completion, unique=lambda c: c.id)
    return _entry(name, start, answers, _read_failures(directory / _FAILURES))


def _read_failures(file: Path) -> dict[str, str]:
    found = json_file(file, _MAX_FAILURES)
    return {str(i): str(why) for i, why in found.items()} if isinstance(found, dict) else {}


def _entry(name: str, start: _Start, completions: Sequence[Completion], failures: Mapping[str, str]) -> Entry:
    answers = {c.prompt_id: c for c in completions if c.index == 0}
    lost = {i: why for i, why in failures.items() if i not in answers}
    return Entry(name, start.fingerprint, answers, start.prompts, start.settings, lost)


def _request(prompt: Prompt, seed: int, sampling: Sampling) -> GenerationRequest:
    return GenerationRequest(
        id=prompt.id,
        prompt=prompt.messages,
        seeds=(derive_seed(seed, "eval/head-to-head", prompt.id),),
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_new_tokens=sampling.max_new_tokens,
    )
