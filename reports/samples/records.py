"""What a single sample is, once its files are read: the texts of all checkpoints side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

__all__ = [
    "DISAGREEING",
    "TRUNCATED",
    "UNPARSED",
    "WIN_SHARE",
    "Match",
    "Sample",
    "SampleSet",
    "Side",
    "Texts",
    "start_pair",
]

#: flags of a side or a match
TRUNCATED: Final = 1
UNPARSED: Final = 2
DISAGREEING: Final = 4

WIN_SHARE: Final = "win_share"  # the metric of a head-to-head match

Texts = tuple[tuple[str, str], ...]  # label, text


@dataclass(frozen=True, slots=True)
class Side:
    """One checkpoint's part of a sample; all texts are visible and bounded.

    Attributes:
        value: None is 'not scored', with the reason.
        answer: None where the checkpoint wrote none, or was the judge.
        beside: what the answer is held against (a reference, the responses that were judged).
        judged: the judge's words.
        numbers: further measures.
        flags: ``TRUNCATED``, ``UNPARSED``, ``DISAGREEING``.
        better: which of two judged responses people ranked higher (0, 1), as far as this side's score tells.
        chars: length of the whole answer.
        points: what the micro-world's oracle gave points for (``reports.samples.points``); None where nobody can say.
    """

    value: float | None
    reason: str = ""
    prompt: str = ""
    answer: str | None = None
    beside: Texts = ()
    judged: Texts = ()
    numbers: Mapping[str, float | None] = field(default_factory=dict)
    flags: int = 0
    better: int | None = None
    chars: int | None = None
    points: int | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """Two checkpoints' answers compared: the first one's share of the win (mean of the orders asked), and the words."""

    value: float | None
    reason: str = ""
    judged: Texts = ()
    flags: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample: sides by the checkpoint's number, matches by two such numbers, the smaller one first."""

    id: str
    metric: str
    category: str
    sides: dict[int, Side]
    matches: dict[tuple[int, int], Match] = field(default_factory=dict)

    @property
    def change(self) -> float:
        """The largest difference between two checkpoints."""
        if self.matches:
            return max((abs(2 * m.value - 1) for m in self.matches.values() if m.value is not None), default=0.0)
        values = [s.value for s in self.sides.values() if s.value is not None]
        return max(values) - min(values) if values else 0.0

    @property
    def lost(self) -> bool:
        """Whether a verdict could not be read."""
        return any(side.flags & UNPARSED for side in self.sides.values())

    def values(self, a: int, b: int) -> tuple[float | None, float | None]:
        """What two checkpoints came to."""
        if self.matches:
            match = self.matches.get((min(a, b), max(a, b)))
            first = None if match is None else match.value
            second = None if first is None else 1 - first
            return (first, second) if a < b else (second, first)
        return tuple(self.sides[i].value if i in self.sides else None for i in (a, b))  # type: ignore[return-value]


@dataclass(frozen=True)
class SampleSet:
    """The samples of one benchmark that the page holds, of all checkpoints that were scored on it.

    Attributes:
        start: the numbers of the two checkpoints that are looked at first.
        total: how many samples there are; ``samples`` are those that changed most.
        metrics: of all of them.
        extremes: the largest loss and the largest gain between the two of ``start``.
    """

    benchmark: str
    checkpoints: tuple[str, ...]
    samples: tuple[Sample, ...]
    start: tuple[int, int]
    total: int
    metrics: tuple[str, ...]
    extremes: tuple[Sample, ...]


def start_pair(checkpoints: Sequence[str], ends: Sequence[int]) -> tuple[int, int]:
    """M1 (or the first) against the last; of several runs, the other's last against the main one's last."""
    if len(ends) > 1:
        return ends[1], ends[0]
    first = next((i for i, name in enumerate(checkpoints) if name == "M1"), 0)
    last = len(checkpoints) - 1
    return (first if first != last else 0), last
