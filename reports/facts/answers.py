"""What a question of a run is asked of, and what an answer is: shared by the questions and their limits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from reports import wording
from reports.facts import tables
from reports.facts.comparability import unlike
from reports.facts.measures import Evidence, counted
from reports.facts.run import RunFacts

__all__ = ["Sentence", "Span", "Tone", "labelled", "unknown", "why_not_compared"]

Tone = Literal["better", "worse", "mixed", "neutral", "unknown"]


@dataclass(frozen=True, slots=True)
class Sentence:
    """One question of this research, answered.

    Attributes:
        word: the answer in a word or two.
        answer: in a sentence.
    """

    question: str
    word: str
    answer: str
    tone: Tone
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class Span:
    """Which models a run's questions are asked of."""

    facts: RunFacts
    first: str
    last: str
    baseline: str | None
    base: str | None


def labelled(found: Iterable[Evidence], tone: str) -> list[str]:
    """What of it that counts is better, or worse."""
    return [e.label for e in counted(found) if e.change.tone == tone]


def why_not_compared(facts: RunFacts, names: Sequence[str], families: Sequence[str] = ()) -> str:
    """What results of two models do not share, or that they have no benchmark in common; empty where that is not it."""
    keys = tables.benchmarks([facts], *families)
    found = {
        key: {m.name: m.results[key] for m in facts.models if m.name in names and key in m.results} for key in keys
    }
    shared = {key: results for key, results in found.items() if len(results) > 1}
    if any(found.values()) and not shared:
        return f"no benchmark has results of {'both' if len(names) == 2 else 'two of them'}"
    told = (f"{wording.title(key)} differs in {'; '.join(unlike(r))}" for key, r in shared.items() if unlike(r))
    return next(told, "")


def unknown(
    question: str, what: str, facts: RunFacts, names: Sequence[str] = (), families: Sequence[str] = ()
) -> Sentence:
    """The answer where nothing was compared of some models, and why."""
    there = tables.benchmarks([facts], *families)
    why = (
        why_not_compared(facts, names, families) or "they were not compared"
        if there
        else f"no result of {wording.listing([wording.title(f) for f in families])} is there"
        if families
        else "nothing was compared"
    )
    return Sentence(question, "Unknown", f"This cannot be said of {what}: {why}.", "unknown")
