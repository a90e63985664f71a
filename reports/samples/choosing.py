"""Which of a benchmark's samples the page holds: chosen by their values, before their texts are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

__all__ = ["MAX_SAMPLES", "Weighable", "extremes", "most_changed", "weights"]

MAX_SAMPLES: Final = 3_000  # of one benchmark


class Weighable(Protocol):
    """A sample, or what is known of one without its texts."""

    @property
    def metric(self) -> str: ...

    @property
    def change(self) -> float: ...

    @property
    def lost(self) -> bool: ...

    def values(self, a: int, b: int) -> tuple[float | None, float | None]: ...


def weights(samples: Sequence[Weighable]) -> list[float]:
    """How much there is to see of each: its change, as a share of its metric's largest; a lost verdict is much."""
    changes = [s.change for s in samples]
    largest: dict[str, float] = {}
    for s, change in zip(samples, changes, strict=True):
        largest[s.metric] = max(largest.get(s.metric, 0.0), change)
    return [max(c / (largest[s.metric] or 1), 0.5 * s.lost) for s, c in zip(samples, changes, strict=True)]


def most_changed(samples: Sequence[Weighable]) -> list[int]:
    """The places of those that changed most, as many as a list can hold, in their order."""
    if len(samples) <= MAX_SAMPLES:
        return list(range(len(samples)))
    weight = weights(samples)
    return sorted(sorted(range(len(samples)), key=lambda i: -weight[i])[:MAX_SAMPLES])


def extremes(samples: Sequence[Weighable], start: tuple[int, int]) -> list[int]:
    """The places of the largest loss and of the largest gain of the two checkpoints that are looked at first."""
    a, b = start
    values = ((i, s.values(a, b)) for i, s in enumerate(samples))
    found = [(later - first, i) for i, (first, later) in values if first is not None and later is not None]
    if not found or a == b:
        return []
    (low, loss), (high, gain) = (pick(found, key=lambda x: x[0]) for pick in (min, max))
    return [loss] * (low < 0) + [gain] * (high > 0)
