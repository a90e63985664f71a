"""What counts as evidence: one measure once, and a gain that length explains not at all.

Metrics that are forms of one number (GSM8K read strictly and flexibly; a judge's accuracy by human ranks and by the
oracle on the same answers; the average of tasks) are one MEASURE: the first of them that was compared decides, the
others are shown and not counted. Of AlpacaEval the length-controlled win rate decides: judges like length, so a raw
gain without a controlled one is no gain (of the micro-world's oracle, which grades exactly, the raw one decides). Where
length is shown to explain a raw gain, what nobody controlled for length and a model judged does not count either.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from leaderboards.descriptions import described, in_order
from leaderboards.standings import MetricDifference
from reports import wording
from reports.facts import matches, tables
from reports.facts.run import RunFacts
from reports.facts.tables import Change

__all__ = [
    "CONTROLLED",
    "FORMAL",
    "HEAD_TO_HEAD",
    "LONGER",
    "OVERRULED",
    "OWED",
    "Evidence",
    "Length",
    "counted",
    "evidence",
    "held_against",
    "label",
    "length",
    "length_metric",
    "match_evidence",
    "measure_of",
    "of_form",
    "short_title",
    "shown_better",
    "value",
    "weighed",
    "win_rate",
]

OWED: Final = "not counted: owed to length"  # how a note begins
OVERRULED: Final = "not counted: the length-controlled win rate decides"  # so, too
FORMAL: Final = "not counted: a gain of format"  # so, too
_UNLIKE: Final = 1.1  # times as long (or short), from which on length may have moved a raw win rate
LONGER: Final = 1.5  # times as long, from which on length may explain a judged gain (docs/health.md)
HEAD_TO_HEAD: Final = "head-to-head"
ORACLE: Final = "oracle"  # in a judge's name, and the metric of what it compared head to head

_RAW: Final = "win_rate"
CONTROLLED: Final = "length_controlled_winrate"
_FIXED: Final = ("pairwise_", "oracle_", "label_", "spearman", "kendall", "exact_match", "order_accuracy")
#: family -> beginning of a metric's name -> the measure it is a form of; what is not listed is one of its own
_FORMS: Final[Mapping[str, Mapping[str, str]]] = {
    "quality": {
        f"{form}_{way}": way for form in ("quality", "exact", "uncut_quality") for way in ("sampled", "greedy")
    },
    "alpaca-eval": dict.fromkeys((CONTROLLED, _RAW, "discrete_win_rate"), _RAW),
    "mt-bench": {name: name for name in ("grade", "adjusted_win_rate")},
    "nlp": {"mmlu": "mmlu"},
    "ifeval": dict.fromkeys(("prompt_level", "inst_level"), "followed"),
    "judge-accuracy": {"own_": "own", **dict.fromkeys(_FIXED, "fixed")},
}
#: not controlled for length, and judged by whoever was named
_JUDGED: Final = ("mt-bench", HEAD_TO_HEAD)
_FLEXIBLE: Final = ("flexible-extract",)  # filters that take an answer from anywhere in a text
_MOST_GONE: Final = 0.5  # of a difference, what may be left when read flexibly
_SOME_RIGHT: Final = 0.75
_ROUNDING: Final = 1e-9
_LENGTHS: Final = {
    "alpaca-eval": "avg_length",
    "mt-bench": "chars",
    "ifeval": "chars",
    "quality": "chars_sampled",
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """One number behind an answer: what, from where to where, and the difference.

    Attributes:
        values: ``65.1 % → 71.0 %``.
        note: why it is not counted, or how it was compared; empty where it is as usual.
        counts: whether it is evidence of its own.
    """

    benchmark: str
    metric: str
    label: str
    values: str
    change: Change
    note: str = ""
    counts: bool = True

    @property
    def measure(self) -> tuple[str, str]:
        """What it is a form of; equal for metrics that are forms of one number."""
        return measure_of(self.benchmark, self.metric)

    @property
    def text(self) -> str:
        """For where there is no table."""
        told = f"{self.label} {self.values} (vs {self.change.against} {self.change.text})".replace("  ", " ")
        return f"{told}; {self.note}" if self.note else told


@dataclass(frozen=True, slots=True)
class Length:
    """How long the answers of two models are, in characters, on the same prompts.

    Attributes:
        change: the difference, where it was compared.
    """

    before: float
    after: float
    change: Change | None = None

    @property
    def times(self) -> float:
        """How many times as long."""
        return self.after / self.before if self.before > 0 else 1.0

    @property
    def grew(self) -> bool:
        """Whether answers are shown to be longer, or are much longer."""
        return self.times >= LONGER or (self.change is not None and self.change.arrow == "▲")

    def went_with(self, arrow: str) -> bool:
        """Whether answers became longer where a raw win rate rose, or shorter where it fell."""
        if self.change is not None and self.change.arrow:
            return self.change.arrow == arrow
        return (self.times if arrow == "▲" else 1 / self.times if self.times else math.inf) >= _UNLIKE

    @property
    def text(self) -> str:
        """``1,805 → 9,643 characters, 5.3 times as long``."""
        return f"{self.before:,.0f} → {self.after:,.0f} characters, {self.times:.2g} times as long"


def measure_of(benchmark: str, metric: str) -> tuple[str, str]:
    """What a metric is a form of."""
    whole = metric.partition("/")[0]
    forms = _FORMS.get(wording.family(benchmark), {})
    return benchmark, next((m for prefix, m in forms.items() if whole.startswith(prefix)), whole)


# --- from numbers to evidence


def evidence(facts: RunFacts, benchmark: str, metric: str, a: str, b: str) -> Evidence | None:
    """What was compared of one metric: ``a`` against ``b``."""
    difference = tables.difference(facts, benchmark, metric, a, b)
    return None if difference is None else _told(facts, difference)


def _told(facts: RunFacts, found: MetricDifference) -> Evidence:
    unit = wording.info(found.benchmark, found.metric).unit
    values = (value(facts, name, found.benchmark, found.metric) for name in (found.b, found.a))
    told = " → ".join(wording.number(x, unit) for x in values)
    note = "" if found.paired else "unpaired: each answered differently"
    change = tables.change_of(found, facts)
    return Evidence(found.benchmark, found.metric, label(found.benchmark, found.metric), told, change, note)


def held_against(facts: RunFacts, benchmark: str, metric: str, a: str, b: str) -> Evidence | None:
    """What was compared of one metric, from whichever side; a gain that does not count is marked."""
    found = evidence(facts, benchmark, metric, a, b)
    if found is None and (turned := evidence(facts, benchmark, metric, b, a)):
        return replace(turned, change=tables.turned(facts, benchmark, metric, b, a))
    return weighed(facts, [found], a, b)[0] if found else None


def shown_better(facts: RunFacts, benchmark: str, metric: str, a: str, b: str) -> bool:
    """Whether ``a`` is shown to be better than ``b`` by one metric."""
    found = held_against(facts, benchmark, metric, a, b)
    return found is not None and found.counts and found.change.tone == "better"


def match_evidence(facts: RunFacts, a: str, b: str) -> Evidence | None:
    """Head to head; where the micro-world's oracle compares the very answers it graded, it is no measure of its own."""
    match = matches.match(facts, a, b)
    if match is None or match.win_rate is None:
        return None
    metric = ORACLE if ORACLE in match.judge else _RAW
    return Evidence(HEAD_TO_HEAD, metric, "Head to head: win rate", "", matches.win_rate_change(match))


def win_rate(facts: RunFacts, a: str, b: str) -> float | None:
    """Of ``a`` against ``b``, where they met."""
    match = matches.match(facts, a, b)
    return match.win_rate if match else None


def label(benchmark: str, metric: str) -> str:
    """``AlpacaEval: Win rate``."""
    whole, _, part = metric.partition("/")
    own = wording.info(benchmark, metric).label
    is_part = part and metric not in described(benchmark).metrics
    return f"{short_title(benchmark)}: {f'{wording.info(benchmark, whole).label}, {own}' if is_part else own}"


def short_title(benchmark: str) -> str:
    """A benchmark's title without its world."""
    return wording.title(benchmark).removesuffix(wording.MICRO)


def length_metric(benchmark: str) -> str:
    """The metric that tells how long the judged answers are; empty where there is none."""
    return _LENGTHS.get(wording.family(benchmark), "")


def length(facts: RunFacts, benchmark: str, a: str, b: str) -> Length | None:
    """How long the judged answers of two models are; None where that is not known."""
    metric = length_metric(benchmark)
    after, before = (value(facts, name, benchmark, metric) for name in (a, b))
    if before is None or after is None:
        return None
    compared = tables.difference(facts, benchmark, metric, a, b)
    return Length(before, after, tables.change_of(compared, facts) if compared else None)


def value(facts: RunFacts, model: str, benchmark: str, metric: str) -> float | None:
    """A model's number; None where there is none."""
    result = next((m.results.get(benchmark) for m in facts.models if m.name == model), None)
    found = result.metrics.get(metric) if result else None
    return found.value if found else None


# --- what of it counts


def of_form(facts: RunFacts, e: Evidence, a: str, b: str) -> str:
    """Why what a task gained or lost is form alone; empty where it is not, or where nobody can tell.

    Read flexibly (an answer anywhere in the text) most of it is gone. That no difference is shown there is not enough.
    Of a loss also: as many answers stand in no form that is read, and some of them are right all the same; a model
    that refuses to answer loses both.
    """
    strict = tables.difference(facts, e.benchmark, e.metric, a, b)
    if wording.family(e.benchmark) != "nlp" or "/" in e.metric or strict is None or not strict.value:
        return ""
    found = (tables.difference(facts, e.benchmark, f"{e.metric}/{way}", a, b) for way in _FLEXIBLE)
    read = next((d for d in found if d is not None and d.value is not None), None)
    left = None if read is None or read.value is None else read.value / strict.value  # of the difference
    unread = tables.difference(facts, e.benchmark, f"{e.metric}/no_answer", a, b)
    as_many = unread is not None and unread.value is not None and unread.value >= -strict.value - _ROUNDING
    if strict.value < 0 and as_many and (left is None or left <= _SOME_RIGHT):
        return "a loss of format: as many answers are not in the form that is asked for"
    gone = read is not None and tables.change_of(read, facts).tone != e.change.tone
    if gone and left is not None and left <= _MOST_GONE:
        what = "gain" if strict.value > 0 else "loss"
        return f"a {what} of format: read flexibly, most of it is gone and none is shown"
    return ""


def counted(found: Iterable[Evidence]) -> list[Evidence]:
    """Evidence of its own."""
    return [e for e in found if e.counts]


def weighed(facts: RunFacts, found: Sequence[Evidence], a: str, b: str) -> list[Evidence]:
    """The evidence of ``a`` against ``b``, with what is not counted marked, and why."""
    explained = [_by_form(facts, _by_length(facts, e, a, b), a, b) for e in found]
    owed = any(e.note.startswith(OWED) and e.change.arrow == "▲" for e in explained)
    marked = [_uncontrolled(e) if owed else e for e in explained]
    return _once(marked)


_NOTCONTROLLED: Final = "not counted: not controlled for length"


def _by_length(facts: RunFacts, e: Evidence, a: str, b: str) -> Evidence:
    """A raw win rate that moved while the length-controlled one did not, or that nobody controlled and grew with it."""
    raw = wording.family(e.benchmark) == "alpaca-eval" and not e.metric.startswith(CONTROLLED)
    if not raw or not e.change.arrow or _by_oracle(e):
        return e
    controlled = evidence(facts, e.benchmark, CONTROLLED, a, b)
    lengths = length(facts, e.benchmark, a, b)
    if controlled is not None:
        if controlled.change.arrow == e.change.arrow:
            return e
        owed = lengths is None or lengths.went_with(e.change.arrow)
        return _uncounted(
            e,
            f"{OWED}, controlled for it {controlled.change.text}" if owed else f"{OVERRULED}, {controlled.change.text}",
        )
    grown = lengths is not None and lengths.grew and e.change.arrow == "▲"
    return _uncounted(e, f"{OWED}, maybe: nobody controlled for it, {lengths.text}") if grown and lengths else e


def _by_form(facts: RunFacts, e: Evidence, a: str, b: str) -> Evidence:
    """A task's gain that is form alone; and an average's, where no task is shown to have gained more than that."""
    if wording.family(e.benchmark) != "nlp" or e.change.tone != "better":
        return e
    if e.metric != "average":
        note = of_form(facts, e, a, b)
        return _uncounted(e, f"{FORMAL}{note.partition('gain of format')[2]}") if note else e
    tasks = [t for t in described(e.benchmark).metrics if "/" not in t and t != "average"]
    gains = [t for t in tasks if (x := evidence(facts, e.benchmark, t, a, b)) is not None and x.change.tone == "better"]
    formal = [t for t in gains if (x := evidence(facts, e.benchmark, t, a, b)) and of_form(facts, x, a, b)]
    if not formal or len(formal) < len(gains):
        return e
    names = wording.listing([wording.info(e.benchmark, t).label for t in formal])
    return _uncounted(e, f"{FORMAL} in {names}")


def _uncontrolled(e: Evidence) -> Evidence:
    judged = wording.family(e.benchmark) in _JUDGED and not _by_oracle(e)
    return _uncounted(e, _NOTCONTROLLED) if judged and e.change.tone == "better" else e


def _by_oracle(e: Evidence) -> bool:
    """Whether the micro-world's exact grader judged, which does not like length."""
    return e.metric == ORACLE or wording.title(e.benchmark).endswith(wording.MICRO)


def _uncounted(e: Evidence, note: str) -> Evidence:
    return replace(e, note=note, counts=False, change=replace(e.change, tone="neutral"))


def _once(found: Sequence[Evidence]) -> list[Evidence]:
    """Of each measure the first form counts; the average of tasks counts where none of them does move."""
    first: dict[tuple[str, str], Evidence] = {}
    for e in _by_precedence(found):
        first.setdefault(e.measure, e)
    moved = {e.benchmark for e in first.values() if e.metric != "average" and e.change.tone != "neutral"}
    quality = any(wording.family(e.benchmark) == "quality" for e in found)
    return [_as_one(e, first[e.measure], moved, quality) for e in found]


def _as_one(e: Evidence, decides: Evidence, moved: set[str], quality: bool) -> Evidence:
    if not e.counts:
        return e
    if e.metric != decides.metric:
        tone: wording.Tone = e.change.tone if e.change.tone == decides.change.tone else "neutral"  # it decides nothing
        note = e.note or f"one measure with {decides.label.partition(': ')[2]}"
        return replace(e, counts=False, note=note, change=replace(e.change, tone=tone))
    if e.metric == "average" and e.benchmark in moved:
        return replace(e, counts=False, note="one measure with its tasks")
    if e.metric == ORACLE and quality:
        return replace(e, counts=False, note="one measure with true quality: the oracle compares by its grades")
    return e


def _by_precedence(found: Sequence[Evidence]) -> list[Evidence]:
    """In the order of the benchmarks' own tables; the length-controlled win rate before the raw one."""
    keys = {e.benchmark for e in found}
    order = {key: in_order(key, [e.metric for e in found if e.benchmark == key]) for key in keys}
    return sorted(found, key=lambda e: (e.metric != CONTROLLED or _by_oracle(e), order[e.benchmark].index(e.metric)))
