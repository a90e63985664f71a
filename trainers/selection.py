"""Which step of a preference training a round keeps: checkpoints answer validation prompts, a judge compares each with
the one before, and the training ends when one no longer wins (the paper: every 200 steps, 253 prompts).

The training goes on from its saved states between two checkpoints, so it takes the very steps it would take undivided.
``selection.json`` says what was compared and what is kept; it is there before the kept checkpoint is put in its place.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from selfreward_bench.config import Sampling
from selfreward_bench.engines.base import Engine, GenerationRequest
from selfreward_bench.errors import DataError
from selfreward_bench.judges.pairwise import ORDERS, PairItem, PairwiseJudge, combine, request_id
from selfreward_bench.seeding import derive_seed
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.files import write_atomic
from selfreward_bench.types import Completion, Judgment, Prompt
from trainers.candidates import generate_missing
from trainers.replies import SETTLED, unanswered
from trainers.training import TrainResult

__all__ = [
    "FOLDER",
    "RECORD",
    "Contest",
    "Selection",
    "Verdicts",
    "answers_of",
    "by_grade",
    "by_judge",
    "record_of",
    "select_step",
]

FOLDER: Final = "selected"  # checkpoints on the way, their answers and the verdicts
RECORD: Final = "selection.json"
_TELLING: Final = 10  # comparisons of which one at least should be read


@dataclass(frozen=True, slots=True)
class Contest:
    """One checkpoint against the one before it (0 is the parent).

    Attributes:
        won, tied, lost, unread: validation prompts; unread where a verdict could not be read, or one gave no answer.
    """

    step: int
    against: int
    won: int
    tied: int
    lost: int
    unread: int

    @property
    def wins(self) -> bool:
        return self.won > self.lost

    @property
    def win_rate(self) -> float | None:
        """Ties count half; None without a verdict."""
        seen = self.won + self.tied + self.lost
        return (self.won + self.tied / 2) / seen if seen else None


@dataclass(frozen=True, slots=True)
class Selection:
    """All contests of a training, and the step that is kept; ``stopped`` where the training ended early."""

    judge: str
    prompts: int
    chosen: int
    stopped: bool
    contests: tuple[Contest, ...]

    def told(self) -> dict[str, object]:
        """For ``selection.json`` and ``iteration.json``."""
        return asdict(self) | {"contests": [asdict(c) | {"win_rate": c.win_rate} for c in self.contests]}


#: (place for records, answers before, answers now) -> a score for each prompt: 1 now wins, 0.5 tie, 0, None unread
Verdicts = Callable[[Path, Sequence[Completion], Sequence[Completion]], list[float | None]]


def select_step(
    directory: Path,
    every: int,
    *,
    train: Callable[[int], TrainResult],
    answer: Callable[[Path | None, Path], list[Completion]],
    verdicts: Verdicts,
    judge: str,
) -> TrainResult:
    """Trains by parts, compares, and puts the chosen checkpoint in its place.

    Args:
        directory: the training's.
        train: trains up to a step: to ``FOLDER/step-N``, or to the end and ``checkpoint``.
        answer: the answers of a checkpoint (None: of the parent) to the validation prompts, kept in a file.
        judge: who compares, by name.
    """
    place, final = directory / FOLDER, directory / "checkpoint"
    place.mkdir(parents=True, exist_ok=True)
    if not (directory / RECORD).exists():
        found = _contests(place, final, every, train, answer, verdicts)
        kept = [0, *(c.step for c in found if c.wins)][-1] or found[0].step  # at least the first one is kept
        told = Selection(
            judge, len(jsonl.read(place / "step-0.jsonl", Completion)), kept, not final.exists(), tuple(found)
        )
        write_atomic(directory / RECORD, (json.dumps(told.told(), indent=1) + "\n").encode())
    chosen = json.loads((directory / RECORD).read_text("utf-8"))["chosen"]
    if (found_there := place / f"step-{chosen}").is_dir():
        shutil.rmtree(final, ignore_errors=True)
        found_there.rename(final)
    for path in place.glob("step-*"):
        if path.is_dir():
            shutil.rmtree(path)
    return train(chosen)  # nothing is left to be trained: its result is read


def _contests(
    place: Path,
    final: Path,
    every: int,
    train: Callable[[int], TrainResult],
    answer: Callable[[Path | None, Path], list[Completion]],
    verdicts: Verdicts,
) -> list[Contest]:
    before, step, found = 0, 0, list[Contest]()
    earlier = answer(None, place / "step-0.jsonl")
    while True:
        step += every
        model = place / f"step-{step}"
        if not model.is_dir():
            step = min(step, train(step).steps)
            model = final if final.is_dir() else model
        now = answer(model, place / f"step-{step}.jsonl")
        scores = verdicts(place / f"step-{step}.verdicts.jsonl", earlier, now)
        won, tied, lost = (sum(score == value for score in scores) for value in (1.0, 0.5, 0.0))
        found.append(Contest(step, before, won, tied, lost, len(scores) - won - tied - lost))
        if model == final or not found[-1].wins:
            return found
        before, earlier = step, now


def record_of(directory: Path) -> dict[str, Any] | None:
    """What ``selection.json`` says; None where there is none."""
    path = directory / RECORD
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def answers_of(
    engine: Engine, prompts: Sequence[Prompt], sampling: Sampling, seed: int, stage: str, path: Path
) -> list[Completion]:
    """One answer to each prompt, from the same seeds for every checkpoint; what ``path`` holds is not made again."""
    requests = [
        GenerationRequest(
            id=p.id,
            prompt=p.messages,
            seeds=(derive_seed(seed, stage, "select", p.id),),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_new_tokens=sampling.max_new_tokens,
        )
        for p in prompts
    ]
    return generate_missing(engine, requests, path, {c.id: c for c in jsonl.resume(path, Completion)})


def by_judge(judge: PairwiseJudge, prompts: Sequence[Prompt]) -> Verdicts:
    """Both orders of each pair; orders that disagree are a tie. Equal answers are one without being asked about.

    They raise EngineError where the judge left questions open that it may answer later (a server that was gone), and
    DataError where it says nothing that can be read: taken as no win, either would decide which step is kept.
    """

    def verdicts(path: Path, before: Sequence[Completion], now: Sequence[Completion]) -> list[float | None]:
        old, new = ({c.prompt_id: c.text for c in answers} for answers in (before, now))
        asked = [p for p in prompts if p.id in old and p.id in new and old[p.id] != new[p.id]]
        items = [PairItem(p.id, 0, p.messages, new[p.id], old[p.id]) for p in asked]
        stored = jsonl.resume(path, Judgment, unique=lambda j: j.id)
        done = {request_id(j) for j in stored}
        for batch in judge.judge(items, done) if items else ():
            made = [j for j in batch if request_id(j) not in done]
            jsonl.append(path, made)
            stored += made
        there = {request_id(j) for j in stored}
        missing = [name for item in items for order in ORDERS if (name := f"{item.id}/{order}") not in there]
        failures = judge.engine.failures if missing else {}
        if waiting := [name for name in missing if failures.get(name) not in SETTLED]:
            raise unanswered(judge.engine.name, waiting, failures)
        results = {r.prompt_id: r.score for r in combine(stored)}
        if len(items) >= _TELLING and not any(score is not None for score in results.values()):
            raise DataError(
                f"{judge.stage}: none of the {len(items)} comparisons gave a verdict that can be read, so nothing says "
                "which checkpoint to keep. This judge does not answer the prompt. Name another model (select.judge) or "
                f"another prompt (select.prompt), and go on with --from-stage {judge.stage.removesuffix('/select')}."
            )
        return [0.5 if p.id in old and old[p.id] == new.get(p.id) else results.get(p.id) for p in prompts]

    return verdicts


def by_grade(grade: Callable[[Prompt, str], float | None], prompts: Sequence[Prompt]) -> Verdicts:
    """By a true grade of each answer, where somebody knows it."""

    def verdicts(path: Path, before: Sequence[Completion], now: Sequence[Completion]) -> list[float | None]:
        old, new = ({c.prompt_id: c.text for c in answers} for answers in (before, now))
        pairs = [
            (grade(p, new[p.id]), grade(p, old[p.id])) if p.id in old and p.id in new else (None, None) for p in prompts
        ]
        return [None if a is None or b is None else (a > b) + (a == b) / 2 for a, b in pairs]

    return verdicts
