"""A comparison of two checkpoints put into words, the same for the terminal, Markdown and CI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from leaderboards.comparing.records import SETTINGS, PairedBenchmark, PairedMetric, Pairing, Unlike
from leaderboards.descriptions import described
from leaderboards.standings import MetricDifference
from reports import wording
from reports.facts import comparability, matches

__all__ = ["EXPLANATION", "Line", "Part", "header", "match", "notes", "p_value", "parts"]

EXPLANATION = (
    "Differences (of per cents, in percentage points) are over the samples both have, with 95% intervals clustered by "
    "prompt; an arrow stands only where the interval excludes zero. p: sign-flip test of each benchmark's main metric, "
    "adjusted for there being several (Holm). Detects: the smallest true difference these samples would have shown "
    "four times out of five."
)
_ARROWS = {1: "▲ ", -1: "▼ ", 0: ""}
_SHOWN = 200  # characters of a name


@dataclass(frozen=True, slots=True)
class Line:
    """One metric.

    Attributes:
        change, interval: empty where the two are not compared.
        n: pairs of samples; ``507 of 512`` where some are missing; ``645 unpaired`` of what cannot be paired.
        detects: the smallest difference the samples would have shown.
    """

    label: str
    a: str
    b: str
    arrow: str = ""
    change: str = ""
    interval: str = ""
    tone: wording.Tone = "neutral"
    p: str = ""
    n: str = ""
    detects: str = ""
    main: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """One benchmark.

    Attributes:
        unlike: why there are no differences, or why there should be none.
        hidden: how many metrics a short table leaves out.
    """

    title: str
    judge: str
    lines: tuple[Line, ...]
    unlike: str = ""
    hidden: int = 0


def parts(pairing: Pairing, *, full: bool = False) -> list[Part]:
    """The comparison as tables.

    Args:
        full: all metrics, also those that are parts of others.
    """
    return [_part(b, pairing, full) for b in pairing.benchmarks]


def header(pairing: Pairing) -> list[tuple[str, str]]:
    """``(name, what it is)`` of both."""
    return [
        (
            side.name,
            f"{wording.clip(side.given, _SHOWN)}" + (f", weights {side.fingerprint[:8]}" if side.fingerprint else ""),
        )
        for side in (pairing.a, pairing.b)
    ]


def notes(pairing: Pairing) -> list[str]:
    """What a reader must know besides."""
    told = []
    if pairing.same_weights:
        told.append("Both are the same weights.")
    told += [
        f"{side.name} has no result of {wording.listing(list(side.absent))}."
        for side in (pairing.a, pairing.b)
        if side.absent
    ]
    told += [
        f"{side.name}: {b.incomplete[i]:,} samples of {b.benchmark} failed and are asked for again by `srbench eval`."
        for b in pairing.benchmarks
        for i, side in enumerate((pairing.a, pairing.b))
        if b.incomplete[i]
    ]
    told += [
        f"{b.benchmark}: made with other settings, which are no condition of it: "
        f"{'; '.join(_settings(b.settings, pairing))}."
        for b in pairing.benchmarks
        if b.settings_differ and b.settings
    ]
    if other := [b.benchmark for b in pairing.benchmarks if b.settings_differ and not b.settings]:
        told.append(
            f"{wording.listing(other)}: judge, prompts, data and parameters agree; other settings, such as the seed, "
            "the number type or the chat template, do not."
        )
    if any(b.settings_differ for b in pairing.benchmarks):
        told.append("Two runs of one recipe differ by more than these intervals say.")
    return told


def p_value(value: float | None) -> str:
    """``0.031``, ``<0.001``; empty for none."""
    if value is None:
        return ""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _part(benchmark: PairedBenchmark, pairing: Pairing, full: bool) -> Part:
    shown = [m for m in benchmark.metrics if full or m.featured]
    a, b = benchmark.judges
    judge = (a or "") if a == b else f"{a or 'nobody'} ({pairing.a.name}), {b or 'nobody'} ({pairing.b.name})"
    return Part(
        wording.title(benchmark.benchmark),
        judge,
        tuple(_line(benchmark.benchmark, m) for m in shown),
        _unlike(benchmark, pairing),
        len(benchmark.metrics) - len(shown),
    )


def _line(benchmark: str, metric: PairedMetric) -> Line:
    shown = wording.info(benchmark, metric.metric)
    label = shown.label
    if "/" in metric.metric and metric.metric not in described(benchmark).metrics:
        label = f"{wording.info(benchmark, metric.metric.partition('/')[0]).label}: {label}"
    a, b = (wording.number(m.value if m else None, shown.unit) for m in (metric.a, metric.b))
    found = metric.difference
    if found is None:
        return Line(label, a, b, main=metric.main)
    value, interval = wording.change(found, shown)
    detects = wording.number(found.detectable, shown.unit).removesuffix(" %")
    return Line(
        label,
        a,
        b,
        wording.arrow(found),
        value,
        interval,
        wording.tone(found, shown),
        p_value(metric.p_holm) if metric.main else "",
        _n(found),
        f"±{detects}" if found.detectable else "",
        metric.main,
    )


def _n(found: MetricDifference) -> str:
    if not found.paired:
        return f"{found.n:,} unpaired"
    return f"{found.n:,}" if found.n == found.n_total else f"{found.n:,} of {found.n_total:,}"


def _unlike(benchmark: PairedBenchmark, pairing: Pairing) -> str:
    if not benchmark.unlike:
        return ""
    what = "; ".join(_conditions(benchmark, pairing))
    return f"Compared although made under unlike conditions: {what}" if benchmark.compared else f"Not compared: {what}"


def _conditions(benchmark: PairedBenchmark, pairing: Pairing) -> list[str]:
    if [u.condition for u in benchmark.unlike] == [SETTINGS]:
        unknown = ["settings or data (the benchmark does not say which)"]
        return _settings(benchmark.settings, pairing) or unknown
    return comparability.differing(_sides(benchmark.unlike, pairing), _sides(benchmark.settings, pairing))


def _settings(unlike: Sequence[Unlike], pairing: Pairing) -> list[str]:
    return comparability.differing_settings(_sides(unlike, pairing))


def _sides(unlike: Sequence[Unlike], pairing: Pairing) -> dict[str, dict[str, str]]:
    """What differs, by the names of the two checkpoints; what one does not state is not there."""
    return {
        pairing.a.name: {u.condition: u.a for u in unlike if u.a},
        pairing.b.name: {u.condition: u.b for u in unlike if u.b},
    }


def match(pairing: Pairing) -> str:
    """Head to head in a sentence, told from the side of the second checkpoint; empty where the two never met."""
    found = pairing.head_to_head
    if found is None:
        return ""
    told = found if found.a == pairing.b.checkpoint else matches.flipped(found)
    rate, interval = wording.number(told.win_rate, "share"), wording.interval(told.low, told.high, "share")
    arrow = _ARROWS[told.direction]
    n = f"{told.n_scored:,}" if told.n_scored == told.n_total else f"{told.n_scored:,} of {told.n_total:,}"
    return (
        f"Head to head on {n} comparisons, {pairing.b.name} wins {told.wins:,}, ties {told.ties:,} and loses "
        f"{told.losses:,}: win rate {arrow}{rate} {interval} (tie = ½). Judge: {told.judge}."
    )
