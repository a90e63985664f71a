"""How facts are put: numbers with their units, differences with their arrows, text a model wrote made safe to look at.

Model text may hold anything. Escaping is the renderer's work; here, what would be invisible or act on its surroundings
(control and formatting characters, direction overrides, half characters) becomes readable.
"""

from __future__ import annotations

import math
import unicodedata
from typing import Final, Literal, Protocol

from leaderboards.descriptions import family, info, title
from leaderboards.metrics import MICRO, MetricInfo
from selfreward_bench.types import Metric

__all__ = [
    "MICRO",
    "NOTHING",
    "Bounded",
    "Tone",
    "arrow",
    "change",
    "clip",
    "count",
    "direction",
    "duration",
    "family",
    "info",
    "interval",
    "listing",
    "number",
    "scored",
    "title",
    "tone",
    "visible",
]

NOTHING: Final = "—"
Tone = Literal["better", "worse", "neutral"]


class Bounded(Protocol):
    """A difference with its interval."""

    @property
    def value(self) -> float | None: ...

    @property
    def low(self) -> float | None: ...

    @property
    def high(self) -> float | None: ...


_DIGITS: Final = {"correlation": 3, "nats": 3, "characters": 1, "share": 1, "percent": 1, "rating": 0, "count": 0}
_PER_CENT: Final = ("share", "percent")
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
_ROUNDING = 1e-6  # relative
_MAX_MARKS = 4  # combining marks in a row


# --- text


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


def listing(names: list[str], limit: int = 8) -> str:
    """``a, b and c``; of many the first few, and how many more.

    >>> listing(["a", "b", "c"])
    'a, b and c'
    """
    if len(names) > limit:
        return f"{', '.join(names[:limit])} and {len(names) - limit} more"
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


# --- numbers


def number(value: float | None, unit: str, *, signed: bool = False, extra_digits: int = 0) -> str:
    """A value with its unit's digits: ``3.90``, ``65.1 %``, ``0.253``, ``31.4``; a dash for none. Zero has no sign."""
    if value is None or not math.isfinite(value):
        return NOTHING
    digits = _DIGITS.get(unit, 2) + extra_digits
    scaled = 100 * value if unit == "share" else value
    text = f"{scaled:{'+' if signed else ''},.{digits}f}"
    if not text.strip("+-0."):
        text = text.lstrip("+-")
    return text.replace("-", "\u2212") + (" %" if unit in _PER_CENT and not signed else "")


def interval(low: float | None, high: float | None, unit: str, *, signed: bool = False, extra_digits: int = 0) -> str:
    """``[3.81, 3.99]``; empty where there is none."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    bounds = (number(bound, unit, signed=signed, extra_digits=extra_digits) for bound in (low, high))
    return f"[{', '.join(bounds)}]".replace(" %", "")


def change(difference: Bounded, shown: MetricInfo) -> tuple[str, str]:
    """A difference and its interval: ``+0.35``, ``[+0.25, +0.45]`` (of shares and per cents, in percentage points).

    An interval gets as many digits as it takes to see that it excludes zero and has a width (two more at most).
    """
    for extra in range(3):
        bounds = interval(difference.low, difference.high, shown.unit, signed=True, extra_digits=extra)
        ends = bounds.strip("[]").split(", ")
        touches_zero = direction(difference) and any(not end.strip("0.") for end in ends)
        if not touches_zero and (len(set(ends)) != 1 or not bounds or difference.low == difference.high):
            break
    return number(difference.value, shown.unit, signed=True, extra_digits=extra), bounds


def direction(difference: Bounded) -> Literal[-1, 0, 1]:
    """+1 or -1 where the interval excludes zero; an end that rounding alone keeps from zero does not."""
    value, low, high = difference.value, difference.low, difference.high
    if value is None or low is None or high is None or not all(map(math.isfinite, (value, low, high))):
        return 0
    least = _ROUNDING * max(abs(low), abs(high))
    return 1 if low > least else -1 if high < -least else 0


def arrow(difference: Bounded) -> str:
    """An arrow only where the interval excludes zero."""
    return {1: "▲", -1: "▼", 0: ""}[direction(difference)]


def tone(difference: Bounded, shown: MetricInfo) -> Tone:
    """Whether a difference that is no chance is one for the better."""
    sense = direction(difference) * shown.better
    return "better" if sense > 0 else "worse" if sense < 0 else "neutral"


def count(value: float) -> str:
    """``12,345`` or ``0.6931``."""
    if not math.isfinite(value):
        return NOTHING
    return f"{value + 0.0:,.0f}" if float(value).is_integer() else f"{value:,.4g}"


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
