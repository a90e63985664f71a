"""Every number of some runs as flat records: of checkpoints, of pairs, of people, of health, over several runs.

Nothing is computed here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from leaderboards.comparing import Asked, Together
from leaderboards.comparing.records import conditions
from leaderboards.descriptions import in_order
from leaderboards.health.measures import MEASURES
from reports import wording
from reports.facts import comparability, grouping, matches, tables, training
from reports.facts.grouping import Group
from reports.facts.run import RunFacts
from selfreward_bench.storage.rundir import hash_json
from selfreward_bench.types import EvalResult

__all__ = ["Fact", "facts_of", "names_of"]


@dataclass(frozen=True, slots=True)
class Fact:
    """One number of one checkpoint; the fields are the columns of the CSV.

    Attributes:
        value, low, high: as stored: a share is 0..1, a percent 0..100.
        n_scored, n_total: samples; of a number over several runs prompts, of a difference between methods None.
        unit: of the three; see ``selfreward_bench.types.MetricInfo``.
        comparability: hash of what two numbers of one metric must share to be compared.
        against: of a head-to-head number, the other checkpoint; of a difference, what is taken away: a checkpoint, or
            between methods METHOD:CHECKPOINT; else empty.
        seeds: of a number over several runs (``run`` is then what they have in common), how many; else None.
        sd: standard deviation of those runs' own numbers.
        settings: what the number was made with, in words.
    """

    run: str
    checkpoint: str
    benchmark: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    unit: str
    n_scored: int | None
    n_total: int | None
    judge: str
    comparability: str
    fingerprint: str
    against: str = ""
    seeds: int | None = None
    sd: float | None = None
    settings: str = ""


def facts_of(runs: Sequence[RunFacts], together: Together | None = None) -> Iterator[Fact]:
    """Every number, in the order of the page; last, what the runs come to together."""
    for name, facts in zip(names_of(runs), runs, strict=True):
        for key in tables.benchmarks([facts]):
            for model in facts.models:
                if key in model.results:
                    yield from _facts(name, model.name, model.results[key])
        yield from _difference_facts(name, facts)
        yield from _match_facts(name, facts)
        yield from _human_facts(name, facts)
        yield from _health_facts(name, facts)
    if together is not None:
        yield from _seed_facts(grouping.group(runs), together)


def names_of(runs: Sequence[RunFacts]) -> list[str]:
    """The runs' names; a second run of one name becomes ``first (2)``."""
    names: list[str] = []
    for facts in runs:
        again = sum(n == facts.name or n.startswith(f"{facts.name} (") for n in names)
        names.append(f"{facts.name} ({again + 1})" if again else facts.name)
    return names


def _facts(run: str, checkpoint: str, result: EvalResult) -> Iterator[Fact]:
    stated, told = hash_json(dict(conditions(result)))[:16], comparability.in_words(result.settings)
    for name in in_order(result.benchmark, sorted(result.metrics)):
        metric = result.metrics[name]
        yield Fact(
            run,
            checkpoint,
            result.benchmark,
            name,
            _finite(metric.value),
            _finite(metric.low),
            _finite(metric.high),
            wording.info(result.benchmark, name).unit,
            metric.n_scored,
            metric.n_total,
            result.judge or "",
            stated,
            result.fingerprint,
            settings=told,
        )


def _difference_facts(run: str, facts: RunFacts) -> Iterator[Fact]:
    """The differences between checkpoints: ``checkpoint`` less ``against``, of the samples that both have."""
    results = {(m.name, key): r for m in facts.models for key, r in m.results.items()}
    for d in facts.standings.differences if facts.standings else ():
        value, low, high = map(_finite, (d.value, d.low, d.high))
        of = results.get((d.a, d.benchmark))
        if value is None or of is None:
            continue
        unit, stated = wording.info(d.benchmark, d.metric).unit, hash_json(dict(conditions(of)))[:16]
        counts = (d.n, d.n_total, of.judge or "", stated, of.fingerprint, d.b)
        told = comparability.in_words(of.settings)
        yield Fact(run, d.a, d.benchmark, d.metric, value, low, high, unit, *counts, settings=told)


def _match_facts(run: str, facts: RunFacts) -> Iterator[Fact]:
    """Each pair of checkpoints once, from the side of the first, and the ratings that come of all pairs."""
    held = facts.tournament
    weights = dict(held.checkpoints) if held else {}
    weights = {m.name: m.fingerprint or "" for m in facts.models} | weights
    for p in matches.pairs(facts):
        stated = hash_json(dict(p.comparability))[:16]
        net = (p.net_win.value, p.net_win.low, p.net_win.high) if p.net_win else (None, None, None)
        parts = [("win", p.win), ("tie", p.tie), ("loss", p.loss)]
        if p.positions is not None:
            parts += [("consistency", p.positions.consistency), ("first_preferred", p.positions.first_preferred)]
        shares = {name: (share, None, None) for name, share in parts}
        for metric, numbers in {"win_rate": (p.win_rate, p.low, p.high), "net_win": net, **shares}.items():
            value, low, high = map(_finite, numbers)
            if value is not None:
                counts = (p.n_scored, p.n_total, p.judge, stated, weights.get(p.a, ""), p.b)
                yield Fact(run, p.a, p.benchmark, metric, value, low, high, "share", *counts)
    if held is None:
        return
    stated = hash_json(dict(held.comparability))[:16]
    for r in held.ratings:
        value, low, high = map(_finite, (r.rating, r.low, r.high))
        judged = (r.n_scored, r.n_total, held.judge, stated, weights.get(r.checkpoint, ""))
        yield Fact(run, r.checkpoint, held.benchmark, "rating", value, low, high, "rating", *judged)


def _human_facts(run: str, facts: RunFacts) -> Iterator[Fact]:
    """What the majority of people said of each pair, from the side of the first."""
    found = facts.human
    if found is None:
        return
    judge, stated = f"{len(found.raters)} people", hash_json([found.sheet, found.source])[:16]
    for p in found.pairs:
        for metric, m in (("win", p.win), ("tie", p.tie), ("loss", p.loss), ("net_win", p.net_win)):
            value, low, high = map(_finite, (m.value, m.low, m.high))
            counts = (m.n_scored, m.n_total, judge, stated, found.checkpoints.get(p.a, ""), p.b)
            yield Fact(run, p.a, "human", metric, value, low, high, "share", *counts)


def _health_facts(run: str, facts: RunFacts) -> Iterator[Fact]:
    """What is watched besides quality; the metric names what it was read from, too."""
    found, _ = training.health(facts)
    weights = {m.name: m.fingerprint or "" for m in facts.models}
    for r in found.readings if found else ():
        value, low, high = map(_finite, (r.value, r.low, r.high))
        if value is not None:
            unit = MEASURES[r.measure].unit if r.measure in MEASURES else ""
            counts = (r.n, r.n_total, "", "", weights.get(r.model, ""))
            yield Fact(run, r.model, "health", f"{r.measure}/{r.source}", value, low, high, unit, *counts)


def _seed_facts(groups: Sequence[Group], together: Together) -> Iterator[Fact]:
    """Numbers over the seeds of each method, and how methods differ, from the side of the later one."""
    for members, found in zip(groups, together.pooled, strict=False):
        for o in found:
            numbers = (_finite(o.value), _finite(o.low), _finite(o.high), o.n_prompts)
            yield _seed_fact(members, o, numbers, o.against, o.n_seeds, _finite(o.sd))
    for c in together.contrasts:
        of = (_finite(c.value), _finite(c.low), _finite(c.high), None)
        yield _seed_fact(groups[c.a], c, of, f"{groups[c.b].label}:{c.model}", len(groups[c.a].runs))


def _seed_fact(
    members: Group,
    asked: Asked,
    numbers: tuple[float | None, float | None, float | None, int | None],
    against: str,
    seeds: int,
    sd: float | None = None,
) -> Fact:
    value, low, high, n = numbers
    one = next(m.results[asked.benchmark] for f in members.runs for m in f.models if m.name == asked.model)
    unit = wording.info(asked.benchmark, asked.metric).unit
    stated = hash_json(dict(conditions(one)))[:16]
    what = (members.label, asked.model, asked.benchmark, asked.metric, value, low, high, unit)
    return Fact(*what, n, n, one.judge or "", stated, "", against, seeds, sd)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
