"""What the records of an iteration come to: its prompts, candidates, rewards, judgments and pairs, read one by one.

What needs a prompt's answers together (correlations, spread, diversity) looks at a bounded number of prompts, drawn by
a hash of their ids: the same ones on every call.
"""

from __future__ import annotations

import heapq
import math
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final, TypeGuard, TypeVar

from pydantic import ValidationError

from leaderboards.judge_accuracy.health import nearest_grade
from selfreward_bench.errors import SrbenchError
from selfreward_bench.judges.parsing import Scale
from selfreward_bench.judges.pointwise import mass_of
from selfreward_bench.storage import jsonl
from selfreward_bench.types import Completion, Judgment, PreferencePair, Prompt, Record, Reward

__all__ = ["Collected", "Notes", "Truth", "drawn", "records"]

NUMBER_PROMPTS: Final = 4_000  # prompts whose rewards and lengths are held against each other
TEXT_PROMPTS: Final = 300  # prompts whose candidates' texts are looked at

_MAX_KEY: Final = 200  # characters of a judge's key or a reason

#: sampled judges give few different scores
_nearest = lru_cache(maxsize=4096)(nearest_grade)

Notes = list[str]
Truth = Callable[[str, str], float | None]
R = TypeVar("R", bound=Record)


@dataclass
class Collected:
    """What the records of an iteration come to, collected record by record."""

    scale: Scale | None
    n_completions: int = 0
    n_truncated: int = 0
    n_judgments: int = 0
    judge: str = ""
    grades: Counter[float] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    texts: dict[str, list[str]] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)  # of candidates that may be in a pair
    rewards: dict[str, list[tuple[float, int]]] = field(default_factory=lambda: defaultdict(list))  # with lengths
    repeated: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    masses: list[float] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)
    chosen: list[float] = field(default_factory=list)
    rejected: list[float] = field(default_factory=list)
    truth: Truth | None = None
    gains: list[tuple[float, int]] = field(default_factory=list)  # of pairs: margin, and 1, 0 or -1: truly better

    @classmethod
    def read(cls, folder: Path, scale: Scale | None, notes: Notes, truth: Truth | None = None) -> Collected:
        """What the files of ``runs/NAME/M2`` hold; arguments as of ``iteration.measure_iteration``."""
        seen = cls(scale, truth=truth)
        chosen = drawn((p.id for p in records(folder / "prompts.jsonl", Prompt, notes)), NUMBER_PROMPTS)
        seen.texts = {name: [] for name in chosen[:TEXT_PROMPTS]}
        wanted = set(chosen)
        for completion in records(folder / "completions.jsonl", Completion, notes):
            seen._completion(completion, completion.prompt_id in wanted)
        for reward in records(folder / "rewards.jsonl", Reward, notes):
            if _known(score := reward.score) and reward.id in seen.lengths:
                seen.rewards[reward.prompt_id].append((score, seen.lengths[reward.id]))
        for judgment in records(folder / "judgments.jsonl", Judgment, notes):
            seen._judgment(judgment, judgment.prompt_id in wanted)
        for pair in records(folder / "pairs.jsonl", PreferencePair, notes):
            seen._pair(pair)
        if not seen.n_judgments:
            seen._grade_rewards()
        return seen

    def _completion(self, completion: Completion, wanted: bool) -> None:
        self.n_completions += 1
        self.n_truncated += completion.finish_reason == "length"
        if completion.prompt_id in self.texts:
            self.texts[completion.prompt_id].append(completion.text)
        if wanted and completion.finish_reason == "stop" and completion.text.strip():
            self.lengths[completion.id] = len(completion.text)

    def _judgment(self, judgment: Judgment, wanted: bool) -> None:
        self.n_judgments += 1
        self.judge = self.judge or judgment.judge[:_MAX_KEY]
        if (mass := mass_of(judgment)) is not None:
            self.masses.append(mass)
        score = judgment.score
        if not _known(score):
            self.failures[(judgment.reason or "unknown")[:_MAX_KEY]] += 1
            return
        if self.scale is not None and (grade := _nearest(score, self.scale)) is not None:
            self.grades[grade] += 1
        if wanted:
            self.repeated[f"{judgment.prompt_id}/{judgment.index}"].append(score)

    def _pair(self, pair: PreferencePair) -> None:
        if _known(margin := pair.chosen_score - pair.rejected_score):
            self.margins.append(margin)
        self.chosen.append(float(len(pair.chosen[-1].content) if pair.chosen else 0))
        self.rejected.append(float(len(pair.rejected[-1].content) if pair.rejected else 0))
        if self.truth is not None and pair.prompt and pair.chosen and pair.rejected and _known(margin):
            better, worse = (
                self.truth(pair.prompt[-1].content, side[-1].content) for side in (pair.chosen, pair.rejected)
            )
            if better is not None and worse is not None:
                self.gains.append((margin, (better > worse) - (better < worse)))

    def _grade_rewards(self) -> None:
        """Control rewards come without judgments; those on the judge's scale are shown as its grades."""
        scores = [score for group in self.rewards.values() for score, _ in group]
        if self.scale is not None and all(self.scale.low <= s <= self.scale.high for s in scores):
            self.grades.update(g for s in scores if (g := nearest_grade(s, self.scale)) is not None)


def records(path: Path, model: type[R], notes: Notes) -> Iterable[R]:
    """The records of a file as far as they can be read; what stops that is noted. Nothing where there is no file.

    Quicker than ``jsonl.iterate``, and less strict: numbers may be NaN or infinite.
    """
    if not path.is_file():
        return
    try:
        for number, line in jsonl.lines(path):
            try:
                record = model.model_validate_json(line, strict=True)
            except ValidationError:
                notes.append(f"{path.parent.name}/{path.name}:{number} is damaged; what stands before it was measured.")
                return
            yield record
    except SrbenchError as error:
        notes.append(str(error))


def _known(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def drawn(ids: Iterable[str], limit: int) -> list[str]:
    """At most ``limit`` ids, those of the smallest hash, in that order: which ones does not depend on their order."""
    return heapq.nsmallest(limit, dict.fromkeys(ids), key=lambda name: (zlib.crc32(name.encode()), name))
