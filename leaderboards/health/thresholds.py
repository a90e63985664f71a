"""Warnings: which readings cross a stated threshold (``records.THRESHOLDS``), and what growth is measured against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from leaderboards import chain
from leaderboards.health.records import MEASURES, THRESHOLDS, Reading, Threshold, Warned

__all__ = ["Growth", "other_prompts", "warnings"]


@dataclass(frozen=True)
class Growth:
    """What growth is measured against: the first of the checkpoints, where another one answered the same prompts.

    Attributes:
        first: M1 of a run; outside one, the first the user gave.
        later: what is held against it, in the order of the checkpoints.
        prompts: source -> checkpoint -> what tells its prompts from others.
    """

    first: str
    later: tuple[str, ...]
    prompts: Mapping[str, Mapping[str, object]]

    @classmethod
    def of(cls, names: Sequence[str], prompts: Mapping[str, Mapping[str, object]]) -> Growth:
        """That of checkpoints in their order."""
        first = chain.anchor(names) or ""
        trained = chain.iterations(names)
        behind = names[names.index(first) + 1 :] if first else ()
        return cls(first, tuple(n for n in behind if not trained or n in trained), prompts)

    def holds(self, reading: Reading) -> bool:
        """Whether a checkpoint's reading can be held against the first one's."""
        seen = self.prompts.get(reading.source, {})
        return reading.model in self.later and self.first in seen and seen.get(reading.model) == seen[self.first]


def other_prompts(growth: Growth, source: str) -> Iterator[str]:
    """Which checkpoints answered other prompts than the first, as a note."""
    seen = growth.prompts.get(source, {})
    others = [name for name in seen if growth.first in seen and seen[name] != seen[growth.first]]
    if others:
        first = growth.first
        yield f"{', '.join(others)} answered other prompts than {first}: their texts are not held against {first}'s."


def warnings(readings: Sequence[Reading], growth: Growth) -> Iterator[Warned]:
    """What crosses a threshold, measure by measure in the table's order, models in their own; M0 was not trained."""
    first = {(r.measure, r.source): r for r in readings if r.model == growth.first}
    lengths = {(r.model, r.source): r.value for r in readings if r.measure == "judged_chars"}
    counted = {(r.model, r.source) for r in readings if r.measure == "chars"}
    for threshold in THRESHOLDS:
        for reading in readings:
            if reading.measure not in threshold.measures or reading.model == chain.BASE:
                continue
            if threshold.rule in ("times_first", "rise") and not growth.holds(reading):
                continue
            if reading.measure == "judged_chars" and (reading.model, reading.source) in counted:
                continue  # the same answers' length, warned of once
            if threshold.rule == "above_if_longer" and not _longer(reading, growth.first, lengths):
                continue
            baseline = first.get((reading.measure, reading.source))
            tested = _tested(threshold, reading, baseline)
            if tested is not None and _crossed(threshold, tested):
                yield _warned(threshold, reading, tested, baseline, growth.first)


def _longer(reading: Reading, first: str, lengths: Mapping[tuple[str, str], float | None]) -> bool:
    now, before = lengths.get((reading.model, reading.source)), lengths.get((first, reading.source))
    return now is not None and before is not None and now > before


def _tested(threshold: Threshold, reading: Reading, baseline: Reading | None) -> float | None:
    """What is held against the limit."""
    value, before = reading.value, baseline.value if baseline else None
    if value is None:
        return None
    if threshold.rule == "times_first":
        return value / before if before else None
    if threshold.rule == "rise":
        return None if before is None else value - before
    return abs(value) if threshold.rule == "magnitude" else value


def _crossed(threshold: Threshold, tested: float) -> bool:
    return tested < threshold.limit if threshold.rule == "below" else tested > threshold.limit


def _warned(threshold: Threshold, reading: Reading, tested: float, baseline: Reading | None, first: str) -> Warned:
    info = MEASURES[reading.measure]
    now, limit = _shown(reading.value, info.unit), _shown(threshold.limit, info.unit)
    before = _shown(baseline.value, info.unit) if baseline else ""
    text = {
        "times_first": f"{now} after {before} of {first}, {tested:.4g} times as much (limit {threshold.limit:g} times)",
        "rise": f"{now} after {before} of {first} (limit {limit.replace('%', 'points')} more)",
        "below": f"{now} (limit: no less than {limit})",
        "above_if_longer": f"{now}, with answers longer than {first}'s (limit {limit})",
    }.get(threshold.rule, f"{now} (limit {limit}" + (" either way)" if threshold.rule == "magnitude" else ")"))
    return Warned(
        measure=reading.measure,
        model=reading.model,
        source=reading.source,
        value=tested,
        limit=threshold.limit,
        text=f"{reading.model}: {info.label.removeprefix('… ')} {text}.",
        why=threshold.why,
    )


def _shown(value: float | None, unit: str) -> str:
    if value is None:
        return "unknown"
    if unit == "share":
        return f"{100 * value:.3g} %"
    if unit == "characters":
        return f"{value:,.1f} characters"
    return f"{value:.3g}" + (" points" if unit == "percent" else "")
