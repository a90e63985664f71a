"""Conditions that a change must not meet, tested on paired intervals: ``nlp/mmlu<-1.0`` fails where MMLU surely fell.

    METRIC OP NUMBER [UNIT]

METRIC is ``benchmark/metric``, or a metric's name where only one benchmark has it. NUMBER is the second checkpoint
minus the first in the metric's display unit: percentage points for shares and per cents. OP is ``<``, ``<=``, ``>`` or
``>=``, and the gate fails where the whole 95% interval is in that region: the change is there for sure. With ``?`` in
front (``?<``) it fails where the interval reaches into the region: the change cannot be ruled out. Of fewer than ten
samples, or where all differ by the same, nothing can be told: the gate is not tested.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from leaderboards.comparing.records import PairedBenchmark, PairedMetric, Pairing
from leaderboards.metrics import BUILT_IN, MetricInfo, Unit
from leaderboards.standings import MetricDifference, short_names
from reports import wording
from selfreward_bench.errors import ConfigError, UnknownNameError, did_you_mean

__all__ = ["Gate", "GateResult", "evaluate", "parse"]

Status = Literal["passed", "failed", "untested"]

_GATE: Final = re.compile(
    r"\s*(?P<metric>[^<>=?]*[^<>=?\s])\s*(?P<maybe>\?)?(?P<op><=|>=|<|>)\s*"
    r"(?P<number>[+\-\u2212]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)\s*(?P<unit>[^\W\d_]+|%)?\s*"
)
_MAX_TEXT: Final = 300

LEAST: Final = 10  # samples of a difference that a gate is tested on

#: what may stand behind the number, by the metric's unit
_UNITS: Final[dict[Unit, tuple[str, ...]]] = {
    "points": ("points",),
    "grade": ("points",),
    "share": ("pp",),
    "percent": ("pp",),
    "correlation": (),
    "characters": ("characters", "chars"),
    "nats": ("nats",),
    "rating": ("points",),
    "count": (),
}


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition.

    Attributes:
        text: as the user wrote it.
        metric: ``benchmark/metric`` or ``metric``.
        maybe: fails already where the interval reaches into the region.
        bound: in the metric's display unit.
        unit: as the user wrote it; empty where nothing was.
    """

    text: str
    metric: str
    op: Literal["<", "<=", ">", ">="]
    maybe: bool
    bound: float
    unit: str = ""

    @property
    def region(self) -> str:
        """Such as ``at or above 0.5``."""
        words = {"<": "below", "<=": "at or below", ">": "above", ">=": "at or above"}
        return f"{words[self.op]} {self.bound:g}".replace("-", "\u2212")


@dataclass(frozen=True, slots=True)
class GateResult:
    """What came of a gate.

    Attributes:
        status: ``untested`` where the two have no paired interval of the metric.
        benchmark, metric: what it was about.
        message: in a sentence.
    """

    gate: Gate
    status: Status
    benchmark: str
    metric: str
    message: str


def parse(text: str) -> Gate:
    """A gate as a user writes it.

    >>> parse("nlp/mmlu ?< -1.0 pp")
    Gate(text='nlp/mmlu ?< -1.0 pp', metric='nlp/mmlu', op='<', maybe=True, bound=-1.0, unit='pp')

    Raises:
        ConfigError: it is none.
    """
    match = _GATE.fullmatch(text[:_MAX_TEXT]) if len(text) <= _MAX_TEXT else None
    bound = float(match["number"].replace("\u2212", "-")) if match else math.nan
    if match is None or not math.isfinite(bound):
        raise ConfigError(
            f"--fail-if {wording.clip(text, 80)!r} is no gate. Write METRIC OP NUMBER, such as 'nlp/mmlu<-1.0': it "
            "fails where MMLU fell by more than one percentage point for sure; 'nlp/mmlu?<-1.0' fails where that "
            "cannot be ruled out. OP is <, <=, > or >=."
        )
    return Gate(text.strip(), match["metric"].strip(), match["op"], bool(match["maybe"]), bound, match["unit"] or "")  # type: ignore[arg-type]  # one of the four, by the pattern


def evaluate(gates: Iterable[Gate], pairing: Pairing) -> list[GateResult]:
    """Tests all gates.

    Raises:
        UnknownNameError: the benchmark has no such metric.
        ConfigError: no benchmark or several have the metric, or the unit is not the metric's.
    """
    return [_evaluate(gate, pairing) for gate in gates]


def _evaluate(gate: Gate, pairing: Pairing) -> GateResult:
    if absent := _absent(gate, pairing):
        return GateResult(gate, "untested", absent, gate.metric.partition("/")[2], _lacking(absent, pairing))
    benchmark, metric = _find(gate, pairing.benchmarks)
    shown = wording.info(benchmark.benchmark, metric.metric)
    _check_unit(gate, shown.unit)
    place = (benchmark.benchmark, metric.metric)
    if why := _untested(benchmark, metric):
        return GateResult(gate, "untested", *place, why)
    held, found = _test(gate, metric.difference, shown)
    d = metric.difference
    few = f" of {d.n:,} of {d.n_total:,} samples" if d is not None and d.n < d.n_total else ""
    told = f"{pairing.b.name} \u2212 {pairing.a.name}: {found}{few}, {_verdict(gate, held)}"
    return GateResult(gate, "failed" if held else "passed", *place, told)


def _test(gate: Gate, difference: MetricDifference | None, shown: MetricInfo) -> tuple[bool, str]:
    """Whether the gate's condition holds, and the difference in words."""
    if difference is None or difference.low is None or difference.high is None:
        raise ValueError("without an interval there is nothing to test")
    low, high = (100 * x if shown.unit == "share" else x for x in (difference.low, difference.high))
    value, interval = wording.change(difference, shown)
    unit = " pp" if "pp" in _UNITS[shown.unit] else ""
    return (_reaches if gate.maybe else _is_within)(gate, low, high), f"{value}{unit} {interval}"


def _verdict(gate: Gate, held: bool) -> str:
    if gate.maybe:
        return f"may be {gate.region}" if held else f"surely not {gate.region}"
    return f"surely {gate.region}" if held else f"not surely {gate.region}"


def _is_within(gate: Gate, low: float, high: float) -> bool:
    """Whether the whole interval is in the region."""
    return {"<": high < gate.bound, "<=": high <= gate.bound, ">": low > gate.bound, ">=": low >= gate.bound}[gate.op]


def _reaches(gate: Gate, low: float, high: float) -> bool:
    """Whether any of the interval is in the region."""
    return {"<": low < gate.bound, "<=": low <= gate.bound, ">": high > gate.bound, ">=": high >= gate.bound}[gate.op]


# --- what a gate is about


def _find(gate: Gate, benchmarks: Sequence[PairedBenchmark]) -> tuple[PairedBenchmark, PairedMetric]:
    """The metric that a gate names; a metric's own name may have a ``/`` in it."""
    first, slash, rest = gate.metric.partition("/")
    by_name = {name: b for b in benchmarks for name in (b.benchmark, *short_names(b.benchmark))}
    if slash and first in by_name:
        found = by_name[first]
        metrics = {m.metric: m for m in found.metrics}
        if rest not in metrics:
            raise UnknownNameError(f"metric of {found.benchmark}", rest, metrics)
        return found, metrics[rest]
    having = [(b, m) for b in benchmarks for m in b.metrics if m.metric == gate.metric]
    if not having:
        raise ConfigError(_unknown(gate, benchmarks))
    if len(having) > 1:
        options = ", ".join(f"{short_names(b.benchmark)[1]}/{gate.metric}" for b, _ in having)
        raise ConfigError(f"--fail-if {gate.text!r}: several benchmarks have {gate.metric}. Name one: {options}.")
    return having[0]


def _unknown(gate: Gate, benchmarks: Sequence[PairedBenchmark]) -> str:
    whole = [(short_names(b.benchmark)[1], m) for b in benchmarks for m in b.metrics]
    names = {m.metric for _, m in whole} | {f"{name}/{m.metric}" for name, m in whole}
    short = wording.listing([f"{name}/{m.metric}" for name, m in whole if m.featured], 20)
    return (
        f"--fail-if {gate.text!r}: there is no metric {gate.metric!r}.{did_you_mean(gate.metric, names)} There are "
        f"{short}, and more with --full --format json."
    )


def _absent(gate: Gate, pairing: Pairing) -> str:
    """The benchmark a gate names, where one of the two has no result of it."""
    first, slash, _ = gate.metric.partition("/")
    there = {name for b in pairing.benchmarks for name in (b.benchmark, *short_names(b.benchmark))}
    known = (*pairing.a.absent, *pairing.b.absent, *BUILT_IN)
    return next((k for k in known if slash and first not in there and first in (k, *short_names(k))), "")


def _lacking(benchmark: str, pairing: Pairing) -> str:
    sides = [s.given for s in (pairing.a, pairing.b) if benchmark in s.absent]
    return f"{' and '.join(sides)} has no result of {benchmark}" if sides else f"{benchmark} is not compared here"


def _check_unit(gate: Gate, unit: Unit) -> None:
    allowed = _UNITS[unit]
    if gate.unit and gate.unit not in allowed:
        names = " or ".join(allowed) if allowed else "no unit"
        raise ConfigError(
            f"--fail-if {gate.text!r}: differences of this metric take {names}, not {gate.unit!r}."
            + (" pp are percentage points." if "pp" in allowed else "")
        )


def _untested(benchmark: PairedBenchmark, metric: PairedMetric) -> str:
    """Why there is no interval to test, or none to trust; empty where there is one."""
    if not benchmark.compared:
        return f"not compared: made under unlike conditions ({', '.join(u.condition for u in benchmark.unlike)})"
    if metric.difference is None:
        return "there is no paired interval: the metric is no mean over samples that both have"
    found = metric.difference
    if found.n < LEAST:
        return f"cannot be tested: {found.n:,} {'sample is' if found.n == 1 else 'samples are'} fewer than {LEAST}"
    if found.low is None or found.high is None or found.low == found.high:
        return f"cannot be tested: all {found.n:,} differences are alike, and no spread seen is no certainty"
    return ""
