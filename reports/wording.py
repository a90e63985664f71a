"""How facts are put: numbers with their units, text a model wrote made safe to look at, and the verdict in sentences.

Model text may hold anything. Escaping is the renderer's work; here, what would be invisible or act on its surroundings
(control and formatting characters, direction overrides, half characters) becomes readable.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from leaderboards.metrics import METRICS, MetricInfo
from leaderboards.standings import HeadToHead, MetricDifference
from reports.facts import ModelFacts, RunFacts
from selfreward_bench.types import Metric

__all__ = [
    "NOTHING",
    "Sentence",
    "arrow",
    "change",
    "clip",
    "count",
    "duration",
    "info",
    "interval",
    "number",
    "verdict",
    "visible",
]

QUALITY: Final = "micro-quality@1"
JUDGING: Final = "micro-judge-accuracy@1"

NOTHING: Final = "—"
_DIGITS: Final = {"points": 2, "correlation": 3, "characters": 1, "share": 1}

_KEPT = {"\n", "\t"}
_ACTIVE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_BLANK = {
    "\u115f",
    "\u1160",
    "\u3164",
    "\uffa0",
    "\u2800",
    "\u034f",
    "\u17b4",
    "\u17b5",
}  # letters and marks that show nothing
_MAX_MARKS = 4  # combining marks in a row


def visible(text: str) -> str:
    """The text with everything invisible or active written out.

    >>> visible("safe\\u202etxt.exe")
    'safe[U+202E]txt.exe'
    """
    if text.isascii() and text.isprintable():
        return text
    shown: list[str] = []
    marks = 0
    for character in text:
        category = unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        active = character not in _KEPT and (category in _ACTIVE or character in _BLANK or marks > _MAX_MARKS)
        shown.append(f"[U+{ord(character):04X}]" if active else character)
    return "".join(shown)


def clip(text: str, limit: int = 2_000) -> str:
    """The beginning of a long text, and how much was left out."""
    return text if len(text) <= limit else f"{text[:limit]} [… {len(text) - limit:,} more characters]"


def info(benchmark: str, metric: str) -> MetricInfo:
    """How a metric is shown; one srbench does not know is shown as a plain number."""
    return METRICS.get(benchmark, {}).get(metric) or MetricInfo(label=metric, unit="points", better=0)


def number(value: float | None, unit: str, *, signed: bool = False, extra_digits: int = 0) -> str:
    """A value with its unit's digits: ``3.90``, ``65.1 %``, ``0.253``, ``31.4``; a dash for none."""
    if value is None:
        return NOTHING
    digits = _DIGITS.get(unit, 2) + extra_digits
    scaled = 100 * value if unit == "share" else value
    text = f"{scaled:{'+' if signed else ''}.{digits}f}" + (" %" if unit == "share" and not signed else "")
    return text.replace("-", "\u2212")


def interval(low: float | None, high: float | None, unit: str, *, signed: bool = False, extra_digits: int = 0) -> str:
    """``[3.81, 3.99]``; empty where there is none."""
    if low is None or high is None:
        return ""
    bounds = (number(bound, unit, signed=signed, extra_digits=extra_digits) for bound in (low, high))
    return f"[{', '.join(bounds)}]".replace(" %", "")


def change(difference: MetricDifference, shown: MetricInfo) -> str:
    """A difference with its interval: ``+0.35 [+0.25, +0.45]`` (of shares, in percentage points).

    An interval that excludes zero gets as many digits as it takes to see that (two more at most).
    """
    for extra in range(3):
        bounds = interval(difference.low, difference.high, shown.unit, signed=True, extra_digits=extra)
        touches_zero = any(not bound.strip("[+\u22120.]") for bound in bounds.split(", "))
        if not difference.direction or not touches_zero:
            break
    return f"{number(difference.value, shown.unit, signed=True, extra_digits=extra)} {bounds}".strip()


def arrow(difference: MetricDifference) -> str:
    """An arrow only where the interval excludes zero."""
    return {1: "▲", -1: "▼", 0: ""}[difference.direction]


def tone(difference: MetricDifference, shown: MetricInfo) -> Literal["better", "worse", "neutral"]:
    """Whether a difference that is no chance is one for the better."""
    sense = difference.direction * shown.better
    return "better" if sense > 0 else "worse" if sense < 0 else "neutral"


def count(value: float) -> str:
    """``12,345`` or ``0.6931``."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}"


def duration(seconds: float | None) -> str:
    """``8.3 s``, ``2 min 05 s``, ``3 h 07 min``."""
    if seconds is None:
        return NOTHING
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def scored(metric: Metric) -> str:
    """``512`` or, where something is missing, ``507 of 512``."""
    return f"{metric.n_scored:,}" if metric.n_scored == metric.n_total else f"{metric.n_scored:,} of {metric.n_total:,}"


# --- the verdict


class Sentence(NamedTuple):
    """One question of this research, answered."""

    question: str
    answer: str
    tone: Literal["better", "worse", "neutral", "unknown"]


def verdict(facts: RunFacts) -> list[Sentence]:
    """What the run shows, question by question, with the evidence."""
    by_name = {m.name: m for m in facts.evaluated}
    iterations = [n for n in by_name if n[:1] == "M" and n[1:].isdecimal() and n != "M0"]
    if len(iterations) < 2 or facts.standings is None:
        missing = "Two evaluated iterations and their comparison are needed to say whether self-rewarding helped"
        return [Sentence("Did self-rewarding help?", f"{missing}; there {_have(iterations)}.", "unknown")]
    first, last = iterations[0], iterations[-1]
    return [
        _quality(facts, by_name, first, last),
        _judging(facts, by_name, first, last),
        _length(facts, by_name, first, last),
        _limits(facts, first, last),
    ]


def _have(names: list[str]) -> str:
    return f"is {names[0]} only" if len(names) == 1 else f"are {', '.join(names)}, not compared" if names else "is none"


def _moved(
    facts: RunFacts, models: Mapping[str, ModelFacts], benchmark: str, metric: str, first: str, last: str
) -> tuple[str, MetricDifference, MetricInfo] | None:
    """``from 3.90 (M1) to 4.25 (M3): +0.35 [+0.25, +0.45]``, or None where it was not compared."""
    difference = facts.standings.difference(benchmark, metric, last, first) if facts.standings else None
    before, after = (models[n].results.get(benchmark) for n in (first, last))
    if difference is None or difference.value is None or before is None or after is None:
        return None
    shown = info(benchmark, metric)
    values = [number(r.metrics[metric].value, shown.unit) if metric in r.metrics else NOTHING for r in (before, after)]
    return f"{values[0]} ({first}) to {values[1]} ({last}): {change(difference, shown)}", difference, shown


def _quality(facts: RunFacts, models: Mapping[str, ModelFacts], first: str, last: str) -> Sentence:
    question = "Did answers become better?"
    moved = _moved(facts, models, QUALITY, "quality_sampled", first, last)
    if moved is None:
        return Sentence(question, f"{first} and {last} were not compared.", "unknown")
    text, difference, shown = moved
    lead = {1: "Yes. True quality rose from", -1: "No. True quality fell from", 0: "Not shown. True quality went from"}
    parts = [f"{lead[difference.direction]} {text}."]
    if match := _match(facts, last, first):
        rate = f"{number(match.win_rate, 'share')} {interval(match.low, match.high, 'share')}"
        parts.append(f"Head to head against {first} its win rate is {rate}, a tie counting half.")
    if greedy := _moved(facts, models, QUALITY, "quality_greedy", first, last):
        word = {
            1: "Greedy answers became better too",
            -1: "Greedy answers became worse",
            0: "For greedy answers no change is shown",
        }
        parts.append(f"{word[greedy[1].direction]} ({change(greedy[1], greedy[2])}).")
    return Sentence(question, " ".join(parts), tone(difference, shown))


def _match(facts: RunFacts, a: str, b: str) -> HeadToHead | None:
    matches = facts.standings.head_to_head if facts.standings else ()
    return next((h for h in matches if (h.a, h.b) == (a, b) and h.win_rate is not None), None)


def _judging(facts: RunFacts, models: Mapping[str, ModelFacts], first: str, last: str) -> Sentence:
    question = "Did the model become a better judge?"
    moved = _moved(facts, models, JUDGING, "pairwise_accuracy", first, last)
    if moved is None:
        return Sentence(question, f"The judgments of {first} and {last} were not compared.", "unknown")
    text, difference, shown = moved
    lead = {1: "Yes", -1: "No, worse", 0: "No change shown"}[difference.direction]
    return Sentence(question, f"{lead}. Agreement with human ranks went from {text} points.", tone(difference, shown))


def _length(facts: RunFacts, models: Mapping[str, ModelFacts], first: str, last: str) -> Sentence:
    question = "Did answers become longer?"
    moved = _moved(facts, models, QUALITY, "chars_sampled", first, last)
    if moved is None:
        return Sentence(question, f"The lengths of {first} and {last} were not compared.", "unknown")
    text, difference, _ = moved
    lead = {1: "Yes", -1: "No, shorter", 0: "No change shown"}[difference.direction]
    return Sentence(question, f"{lead}. Mean length went from {text} characters.", "neutral")


def _limits(facts: RunFacts, first: str, last: str) -> Sentence:
    """Which kinds of task gained and which lost; none that only chance may have moved."""
    question = "Where are the limits?"
    compared = [
        d
        for d in (facts.standings.differences if facts.standings else ())
        if (d.benchmark, d.a, d.b) == (QUALITY, last, first) and d.metric.startswith("quality_sampled/")
    ]
    if not compared:
        return Sentence(question, "The kinds of task were not compared.", "unknown")
    names = {s: [d.metric.partition("/")[2] for d in compared if d.direction == s] for s in (1, -1)}
    gained, lost = (", ".join(names[s]) or "none" for s in (1, -1))
    text = f"Of {len(compared)} kinds of task, {last} is better than {first} at: {gained}; worse at: {lost}."
    return Sentence(question, f"{text} For the others the interval includes zero.", "worse" if names[-1] else "neutral")
