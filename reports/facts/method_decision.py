"""The sentence on top of several runs: which method is best, or what the seeds of one recipe come to.

As ``decision`` does for models, by the first measure that was put together over the runs, and never more than an
interval shows for which seeds and prompts were both drawn anew. The rules stand in docs/verdict.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from leaderboards import chain
from leaderboards.comparing import Contrast, OverSeeds, Together
from reports import wording
from reports.facts import grouping, measures, tables
from reports.facts.answers import Tone
from reports.facts.comparability import unlike
from reports.facts.contest import best_of, deciding, gap, named
from reports.facts.decision import OWN, Decision, Place
from reports.facts.grouping import Group
from reports.facts.run import RunFacts

__all__ = ["decide"]

_CAUTIONS: Final = 4
_MOVED: Final = {1: "better than", 0: "not shown to differ from", -1: "worse than"}
_TONES: Final[dict[int, Tone]] = {1: "better", 0: "neutral", -1: "worse"}


def decide(groups: Sequence[Group], together: Together) -> Decision:
    """Which of the methods is best, or that none is shown to be; of seeds of one recipe, what they gained."""
    return _of_methods(groups, together) if len(groups) > 1 else _of_seeds(groups[0], together)


# --- seeds of one recipe


def _of_seeds(members: Group, together: Together) -> Decision:
    gains = [o for o in (together.pooled[0] if together.pooled else ()) if o.against]
    gain = _first(members.runs, gains)
    if gain is None:
        return Decision(f"The {len(members.runs)} runs were not put together: no measure of all is there", "unknown")
    label, told = named(gain.benchmark, gain.metric), _difference(gain)
    seeds = f"over {gain.n_seeds} seeds"
    better = _better(gain)
    if better:
        sentence = f"{gain.model} is {'better' if better > 0 else 'worse'} than {gain.against} {seeds}: {told} {label}"
    else:
        sentence = f"{gain.model} is not shown to be better than {gain.against} {seeds}: {told} {label}"
    skipped = _skipped(members.runs, (gain.benchmark, gain.metric), gain.model)
    cautions = [*skipped, *_own(members, gain.model, gain.against), *_lost(gains, gain)][:_CAUTIONS]
    return Decision(sentence, "mixed" if cautions and better > 0 else _TONES[better], tuple(cautions), label)


def _skipped(runs: Sequence[RunFacts], decided: tuple[str, str], model: str) -> Iterator[str]:
    """What not all runs have, and would have decided: a measure, or a later iteration."""
    names = grouping.names(runs)
    for key, metric in deciding(runs):
        if (key, metric) == decided:
            break
        lacking = [n for n, facts in zip(names, runs, strict=True) if measures.value(facts, model, key, metric) is None]
        if 0 < len(lacking) < len(runs):
            yield f"{named(key, metric)} decides nothing: {_lack(lacking)} it of {model}"
        elif not lacking and (apart := _apart(runs, names, key, model)):
            yield f"{named(key, metric)} decides nothing, as it was not made alike ({apart})"
    there = [chain.iterations(m.name for m in facts.evaluated) for facts in runs]
    for later in chain.iterations(n for found in there for n in found)[::-1]:
        if later == model:
            return
        without = [n for n, found in zip(names, there, strict=True) if later not in found]
        yield f"{later} is left out: {_lack(without)} it"
        return


def _apart(runs: Sequence[RunFacts], names: Sequence[str], key: str, model: str) -> str:
    """What the runs' results of a model do not share; that their seeds differ is the point."""
    results = {n: m.results[key] for n, facts in zip(names, runs, strict=True) for m in facts.models if m.name == model}
    return "; ".join(unlike(results, settings=False))


def _lack(names: list[str]) -> str:
    return f"{wording.listing(names)} {'lacks' if len(names) == 1 else 'lack'}"


def _copies(groups: Sequence[Group], model: str) -> Iterator[str]:
    """Runs that hold the same weights: one run, given several times."""
    runs = [facts for g in groups for facts in g.runs]
    holding: dict[str, list[str]] = {}
    for name, facts in zip(grouping.names(runs), runs, strict=True):
        if weights := next((m.fingerprint for m in facts.models if m.name == model), None):
            holding.setdefault(weights, []).append(name)
    yield from (
        f"{wording.listing(n)} hold the same weights of {model}: they are one run"
        for n in holding.values()
        if len(n) > 1
    )


def _lost(gains: Sequence[OverSeeds], decided: OverSeeds) -> Iterator[str]:
    """What the seeds are shown to have lost, in other benchmarks."""
    for gain in gains:
        if gain.benchmark != decided.benchmark and _better(gain) < 0:
            yield f"worse: {_difference(gain)} {named(gain.benchmark, gain.metric)}"


# --- methods


@dataclass(frozen=True)
class _Contest:
    """Methods by one measure of the model that they are held against each other by."""

    groups: Sequence[Group]
    benchmark: str
    metric: str
    model: str
    contrasts: Sequence[Contrast]
    values: dict[int, float]

    def between(self, a: int, b: int) -> Contrast | None:
        """``a`` less ``b``."""
        for c in self.contrasts:
            if (c.a, c.b) == (a, b):
                return c
            if (c.a, c.b) == (b, a):
                low, high = (None if x is None else -x for x in (c.high, c.low))
                return c.model_copy(update={"a": a, "b": b, "value": -c.value, "low": low, "high": high})
        return None

    def is_better(self, a: int, b: int) -> bool:
        """Whether that is shown."""
        found = self.between(a, b)
        return found is not None and _better(found) > 0

    def told(self, a: int, b: int) -> str:
        """``+0.11 [+0.04, +0.18]``."""
        found = self.between(a, b)
        return _difference(found) if found else "not compared"

    def ranked(self) -> list[int]:
        """The best first, of those that have a number."""
        sense = wording.info(self.benchmark, self.metric).better
        return sorted(self.values, key=lambda i: -sense * self.values[i])


def _of_methods(groups: Sequence[Group], together: Together) -> Decision:
    contest = _contest(groups, together)
    names = [g.label for g in groups]
    if contest is None:
        by_length = any(_owed_to_length(c.benchmark, c.metric, together) for c in together.contrasts)
        how = " but by raw win rates of answers that differ in length" if by_length else ""
        told = f"{wording.listing(names)} were not held against each other{how}, so none can be called the best"
        runs = [facts for g in groups for facts in g.runs]
        last = next(iter(tables.iterations(m.name for m in runs[0].evaluated)[::-1]), "")
        cautions = tuple(_skipped(runs, ("", ""), last))[:_CAUTIONS] if last else ()
        if cautions:
            return Decision(told, "unknown", cautions)
        return Decision(told, "unknown")
    ranked, label = contest.ranked(), named(contest.benchmark, contest.metric)
    unit = wording.info(contest.benchmark, contest.metric).unit
    ranks = {i: 1 + sum(contest.is_better(j, i) for j in ranked) for i in ranked}
    found = (Place(ranks[i], names[i], wording.number(contest.values[i], unit)) for i in ranked)
    places = tuple(sorted(found, key=lambda p: p.rank))
    top = [i for i in ranked if ranks[i] == 1]
    cautions = tuple(_cautions(contest, together, top, ranked))[:_CAUTIONS]
    over_first = _over_first(contest, together, ranked)
    best = best_of(ranked, contest.is_better)
    what = "runs" if all(len(g.runs) == 1 for g in groups) else "methods"
    if best is not None:
        other = next(i for i in ranked if i != best)
        told = (
            f"{names[best]} is the best of {len(ranked)} {what}: at {contest.model} {contest.told(best, other)} "
            f"{label} over {names[other]}{over_first}"
        )
        return Decision(told, "mixed" if cautions else "better", cautions, label, places)
    a, b = gap(top or ranked, ranked, contest.is_better)
    tied = f"{wording.listing([names[i] for i in top])} are tied at the top of {len(ranked)} {what}"
    if len(top) in (0, 1, len(ranked)):
        tied = f"No {what[:-1]} is shown to be the best of {len(ranked)}"
    told = f"{tied} by {contest.model}'s {label}: {names[a]} {contest.told(a, b)} against {names[b]}{over_first}"
    return Decision(told, "neutral", cautions, label, places)


def _contest(groups: Sequence[Group], together: Together) -> _Contest | None:
    """By the first measure that two methods were held against each other by, raw win rates of unlike lengths aside."""
    for key, metric in deciding([facts for g in groups for facts in g.runs]):
        found = [c for c in together.contrasts if (c.benchmark, c.metric) == (key, metric)]
        if not found or _owed_to_length(key, metric, together):
            continue
        model = found[0].model
        there = sorted({i for c in found for i in (c.a, c.b)})
        values = {i: v for i in there if (v := _value(groups[i], together, i, key, metric, model)) is not None}
        if len(values) > 1:
            return _Contest(groups, key, metric, model, found, values)
    return None


def _owed_to_length(key: str, metric: str, together: Together) -> bool:
    """Whether a judge that likes length compared methods whose answers are shown to differ in it.

    The length-controlled win rate is no mean over samples, so it is not put together over runs.
    """
    exact = wording.title(key).endswith(wording.MICRO)
    if exact or not (wording.family(key) == "alpaca-eval" and metric.startswith("win_rate")):
        return False
    lengths = (c for c in together.contrasts if (c.benchmark, c.metric) == (key, measures.length_metric(key)))
    return any(c.direction for c in lengths)


def _value(members: Group, together: Together, number: int, key: str, metric: str, model: str) -> float | None:
    """Over the seeds of a method; of one run, the run's."""
    if len(members.runs) == 1:
        return measures.value(members.runs[0], model, key, metric)
    pooled = together.pooled[number] if number < len(together.pooled) else ()
    asked = (key, metric, model, "")
    return next((o.value for o in pooled if (o.benchmark, o.metric, o.model, o.against) == asked), None)


def _over_first(contest: _Contest, together: Together, ranked: Sequence[int]) -> str:
    """Which methods gained over their own first iteration; empty where that was not compared."""
    found: dict[str, list[str]] = {}
    first = ""
    for i in ranked:
        gain = _gain(contest, together, i)
        if gain is not None:
            first, better = gain
            found.setdefault(_MOVED[better], []).append(contest.groups[i].label)
    if not found:
        return ""
    if len(found) == 1 and sum(map(len, found.values())) == len(ranked):
        return f"; {contest.model} of each is {next(iter(found))} its {first}"
    told = (f"{moved} its {first}: {wording.listing(names)}" for moved, names in found.items())
    return f"; {contest.model} {', '.join(told)}"


def _gain(contest: _Contest, together: Together, number: int) -> tuple[str, int] | None:
    """The model that a method's is held against, and 1, 0, -1 as it is shown to be better, neither or worse."""
    runs = contest.groups[number].runs
    if len(runs) > 1:
        pooled = together.pooled[number] if number < len(together.pooled) else ()
        asked = (contest.benchmark, contest.metric, contest.model)
        gain = next((o for o in pooled if o.against and (o.benchmark, o.metric, o.model) == asked), None)
        return (gain.against, _better(gain)) if gain else None
    first = next(iter(chain.iterations(m.name for m in runs[0].evaluated)), "")
    found = measures.evidence(runs[0], contest.benchmark, contest.metric, contest.model, first)
    return (first, {"better": 1, "worse": -1}.get(found.change.tone, 0)) if found else None


def _cautions(contest: _Contest, together: Together, top: Sequence[int], ranked: Sequence[int]) -> Iterator[str]:
    names = [g.label for g in contest.groups]
    runs = [facts for g in contest.groups for facts in g.runs]
    yield from _copies(contest.groups, contest.model)
    yield from _skipped(runs, (contest.benchmark, contest.metric), contest.model)
    if without := [name for i, name in enumerate(names) if i not in contest.values]:
        yield f"{wording.listing(without)} {'has' if len(without) == 1 else 'have'} no number of it, and may be better"
    single = [names[i] for i in ranked if len(contest.groups[i].runs) == 1]
    if single:
        of = "each" if len(single) == len(ranked) else wording.listing(single)
        yield f"of {of} there is one run, and another seed would lie elsewhere"
    for i in top[:2]:
        first = next(iter(chain.iterations(m.name for m in contest.groups[i].runs[0].evaluated)), "")
        for told in _own(contest.groups[i], contest.model, first):
            yield f"{names[i]}: {told}"
    for c in _elsewhere(contest, together, top):
        yield f"{names[c.a]} is better than {names[c.b]}: {_difference(c)} {named(c.benchmark, c.metric)}"


def _elsewhere(contest: _Contest, together: Together, top: Sequence[int]) -> Iterator[Contrast]:
    """Where another method is shown to be better than the best, or of those at the top one than another one.

    Each measure is told once; those without a better and a worse are none.
    """
    told = {measures.measure_of(contest.benchmark, contest.metric)}
    for key, metric in dict.fromkeys((c.benchmark, c.metric) for c in together.contrasts):
        measure = measures.measure_of(key, metric)
        found = [c for c in together.contrasts if (c.benchmark, c.metric) == (key, metric)]
        other = _Contest(contest.groups, key, metric, contest.model, found, {})
        ahead = contest.values if len(top) == 1 else top
        shown = (other.between(i, j) for i in ahead for j in top if measure not in told and other.is_better(i, j))
        if (best := next(shown, None)) is not None:
            told.add(measure)
            yield best


# --- over runs


def _own(members: Group, model: str, first: str) -> Iterator[str]:
    """In how many runs a model judges its own answers worse than the first did: the next round's rewards."""
    if not first or model == first:
        return
    n = len(members.runs)
    for key in tables.benchmarks(members.runs, "judge-accuracy"):
        found = [measures.evidence(facts, key, OWN, model, first) for facts in members.runs]
        worse = sum(e is not None and e.change.tone == "worse" for e in found)
        if worse:
            where = f"in {worse} of {n} runs " if n > 1 else ""
            yield f"{where}{model} judges its own answers worse than {first} did"
            return


def _first(runs: Sequence[RunFacts], found: Sequence[OverSeeds]) -> OverSeeds | None:
    """The gain by the first measure that decides."""
    by_metric = {(o.benchmark, o.metric): o for o in found}
    return next((by_metric[asked] for asked in deciding(runs) if asked in by_metric), None)


def _better(found: Contrast | OverSeeds) -> int:
    """1 for the better, -1 for the worse, 0 where neither is shown."""
    return wording.direction(found) * wording.info(found.benchmark, found.metric).better


def _difference(found: Contrast | OverSeeds) -> str:
    return " ".join(filter(None, wording.change(found, wording.info(found.benchmark, found.metric))))
