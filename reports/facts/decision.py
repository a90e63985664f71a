"""The one sentence that decides: which checkpoint is best, by which measure, and what speaks against going on from it.

The rules stand in docs/verdict.md. The first measure of ``_MAIN`` that two of the models were compared on decides; its
interval must exclude zero, and what ``measures.weighed`` does not count decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from leaderboards import chain, descriptions
from reports import wording
from reports.facts import measures, tables
from reports.facts.answers import Tone
from reports.facts.limits import lost_against
from reports.facts.measures import Evidence
from reports.facts.run import RunFacts

__all__ = ["OWN", "Decision", "Place", "best_of", "decide", "deciding", "gap", "named"]

#: family -> the metrics that may decide, in this order over all benchmarks
_MAIN: Final = (
    ("quality", "quality_sampled"),
    ("alpaca-eval", "length_controlled_winrate"),
    ("alpaca-eval", "win_rate"),
    (measures.HEAD_TO_HEAD, "win_rate"),
    ("mt-bench", "grade"),
    ("mt-bench", "adjusted_win_rate"),
    ("ifeval", "prompt_level_strict_acc"),
    ("nlp", "average"),
    ("judge-accuracy", "label_accuracy"),
    ("judge-accuracy", "pairwise_accuracy"),
)
OWN: Final = "own_pairwise_accuracy"
_CAUTIONS: Final = 3
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model stands among models outside a run.

    Attributes:
        rank: 1, and one more for each that is shown to be better.
    """

    rank: int
    model: str
    value: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The sentence on top.

    Attributes:
        sentence: what is decided, by which difference.
        cautions: what speaks against going on from there, a clause each.
        measure: the label of what decided; empty where nothing could.
        ranking: of models outside a run, the best first.
    """

    sentence: str
    tone: Tone
    cautions: tuple[str, ...] = ()
    measure: str = ""
    ranking: tuple[Place, ...] = ()

    @property
    def text(self) -> str:
        """All of it in a line."""
        return "; ".join([self.sentence.removesuffix("."), *self.cautions]) + "."


@dataclass(frozen=True, slots=True)
class _Contest:
    """Models by one measure."""

    facts: RunFacts
    names: tuple[str, ...]
    benchmark: str
    metric: str

    @property
    def label(self) -> str:
        return named(self.benchmark, self.metric)

    def between(self, a: str, b: str) -> Evidence | None:
        """``a`` against ``b``, from whichever side it was compared."""
        if self.benchmark == measures.HEAD_TO_HEAD:
            return measures.match_evidence(self.facts, a, b)
        return measures.held_against(self.facts, self.benchmark, self.metric, a, b)

    def is_better(self, a: str, b: str) -> bool:
        """Whether that is shown."""
        found = self.between(a, b)
        return found is not None and found.counts and found.change.tone == "better"

    def value(self, model: str) -> float | None:
        """Its number; against others head to head, its mean win rate."""
        if self.benchmark == measures.HEAD_TO_HEAD:
            rates = [r for n in self.names if n != model and (r := measures.win_rate(self.facts, model, n)) is not None]
            return sum(rates) / len(rates) if rates else None
        return measures.value(self.facts, model, self.benchmark, self.metric)

    def ordered(self, names: Sequence[str]) -> list[str]:
        """The best first; equal ones as they stand. Models without a number are left out."""
        sign = 1 if self.benchmark == measures.HEAD_TO_HEAD else wording.info(self.benchmark, self.metric).better
        there = [(n, v) for n in names if (v := self.value(n)) is not None]
        return [n for n, _ in sorted(there, key=lambda found: -sign * found[1])]

    def told(self, a: str, b: str) -> str:
        """``+0.79 [+0.65, +0.93]``; a win rate as it is."""
        found = self.between(a, b)
        return f"{found.change.value} {found.change.interval}".strip() if found else "not compared"


def named(benchmark: str, metric: str) -> str:
    """A measure inside a sentence: ``true quality, sampled``; ``AlpacaEval, win rate``."""
    if benchmark == measures.HEAD_TO_HEAD:
        return "head-to-head win rate"
    label = wording.info(benchmark, metric).label
    label = label[:1].lower() + label[1:]
    return label if wording.family(benchmark) == "quality" else f"{measures.short_title(benchmark)}, {label}"


def best_of(ranked: Sequence[_T], is_better: Callable[[_T, _T], bool]) -> _T | None:
    """The one that is shown to be better than every other one; that nobody is shown to beat it is not enough."""
    return next((a for a in ranked if all(a == b or is_better(a, b) for b in ranked)), None)


def gap(top: Sequence[_T], ranked: Sequence[_T], is_better: Callable[[_T, _T], bool]) -> tuple[_T, _T]:
    """The first at the top, and the first other one that it is not shown to be better than, if there is one."""
    others = [n for n in ranked if n != top[0]]
    return top[0], next((n for n in others if not is_better(top[0], n)), others[0])


def deciding(runs: Sequence[RunFacts]) -> Iterator[tuple[str, str]]:
    """``(benchmark, metric)`` of what may decide, in order, as far as the runs have results of it."""
    keys = tables.benchmarks(runs)
    own = [(key, metric) for family, metric in _MAIN for key in _keys(family, keys)]
    of_others = [key for key in keys if not descriptions.is_own(key)]
    others = [(key, m) for key in of_others for facts in runs for m in tables.headline_metrics(facts, key)[:1]]
    for key, metric in dict.fromkeys([*own, *others]):
        if key == measures.HEAD_TO_HEAD or wording.info(key, metric).better:
            yield key, metric


def decide(facts: RunFacts) -> Decision:
    """Which of the models is best, or that none is shown to be."""
    names = [m.name for m in facts.evaluated]
    trained = chain.iterations(names)
    contenders = trained if trained else names
    contest = _contest(facts, contenders)
    if contest is None:
        return _undecided(facts, contenders)
    return _of_run(contest, names) if trained else _of_others(contest)


def _contest(facts: RunFacts, names: Sequence[str]) -> _Contest | None:
    """By the first measure that two of the models were compared on."""
    for key, metric in deciding([facts]):
        found = _Contest(facts, tuple(names), key, metric)
        if any(found.between(a, b) for i, a in enumerate(names) for b in names[:i]):
            return found
    return None


def _keys(family: str, there: Sequence[str]) -> Iterator[str]:
    if family == measures.HEAD_TO_HEAD:
        yield family
    yield from (key for key in there if wording.family(key) == family)


def _undecided(facts: RunFacts, names: Sequence[str]) -> Decision:
    if not names:
        return Decision("No checkpoint has been evaluated yet, so none can be called the best", "unknown")
    where = f" --run {facts.path}" if facts.is_run else " --checkpoint ... --checkpoint ..."
    if len(names) == 1:
        return Decision(f"{names[0]} stands alone: nothing was compared with it", "unknown")
    told = f"{wording.listing(list(names))} were not compared, so none can be called the best: srbench eval{where}"
    return Decision(told, "unknown")


# --- a run


def _of_run(contest: _Contest, names: Sequence[str]) -> Decision:
    trained = contest.names
    first, ranked = trained[0], contest.ordered(trained)
    best = ranked[0] if ranked else first
    ahead = [n for n in trained if n != first and contest.is_better(n, first)]
    cautions = _cautions(contest, best, first, names)
    if not ahead:
        worse = [n for n in trained if contest.is_better(first, n)]
        if worse and len(worse) == len(trained) - 1:
            told = f"{first} is the best checkpoint: {worse[-1]} is worse, {contest.told(worse[-1], first)}"
            return Decision(f"{told} {contest.label}", "worse", cautions, contest.label)
        told = f"No checkpoint is shown to be better than {first}: {_last(contest)}"
        return Decision(told, "neutral", cautions, contest.label)
    if best not in ahead:
        best = next(n for n in ranked if n in ahead)
        cautions = _cautions(contest, best, first, names)
    tied = [n for n in ahead if n != best and (e := contest.between(best, n)) is not None and not e.change.arrow]
    who = f"{best} is the best checkpoint" if not tied else f"{wording.listing([best, *tied])} are the best checkpoints"
    joined = ", not shown to differ from each other" if tied else ""
    told = f"{who}{joined}: {contest.told(best, first)} {contest.label} over {first}"
    if tied:
        told = f"{who}{joined}: {best} {contest.told(best, first)} {contest.label} over {first}"
    return Decision(told, "mixed" if cautions else "better", cautions, contest.label)


def _last(contest: _Contest) -> str:
    last, first = contest.names[-1], contest.names[0]
    return f"{last} {contest.told(last, first)} {contest.label}"


def _cautions(contest: _Contest, best: str, first: str, names: Sequence[str]) -> tuple[str, ...]:
    """What speaks against going on from the best checkpoint, most important first."""
    facts, last = contest.facts, contest.names[-1]
    found = [*_owed(facts, best, first), *_judging(facts, best, last, first), *_baselines(contest, best, names)]
    lost = lost_against(facts, best, first) if best != first else []
    found += [f"{best} lost {wording.listing(lost, 2)}"] if lost else []
    return tuple(found[:_CAUTIONS])


def _judging(facts: RunFacts, best: str, last: str, first: str) -> Iterator[str]:
    """Whether the next round would be trained on judgments that got worse."""
    for key in tables.benchmarks([facts], "judge-accuracy"):
        for model in dict.fromkeys((best, last)):
            found = measures.evidence(facts, key, OWN, model, first) if model != first else None
            if found is not None and found.change.tone == "worse":
                after, it = f"M{int(model[1:]) + 1}", "it" if model == best else model
                scored = f", {found.change.paired} with a verdict" if found.change.paired else ""
                yield f"judging its own answers got worse ({found.values}{scored}): do not train {after} from {it}"
                return


def _owed(facts: RunFacts, best: str, first: str) -> Iterator[str]:
    """A raw win rate that rose with length alone, of the last model if the best is the first."""
    last = chain.iterations([m.name for m in facts.evaluated])[-1]
    model = best if best != first else last
    for key in tables.benchmarks([facts], "alpaca-eval"):
        raw = measures.evidence(facts, key, "win_rate", model, first)
        weighed = measures.weighed(facts, [raw], model, first) if raw else []
        if weighed and weighed[0].note.startswith(measures.OWED):
            lengths = measures.length(facts, key, model, first)
            longer = f" with answers of {lengths.text}" if lengths else ""
            yield f"{model}'s raw win rate moved ({weighed[0].values}){longer}, which is no gain"
            return


def _baselines(contest: _Contest, best: str, names: Sequence[str]) -> Iterator[str]:
    """A baseline that is better than the best checkpoint, or that this is not shown to be better than."""
    for name in (n for n in names if n not in contest.names and n != chain.BASE):
        found = contest.between(best, name)
        if found is None:
            continue
        if found.change.tone == "worse":
            yield f"the baseline {name} is better still: {best} {contest.told(best, name)} against it"
        elif not found.change.arrow:
            yield f"not shown to be better than the baseline {name} ({contest.told(best, name)})"


# --- models outside a run


def _of_others(contest: _Contest) -> Decision:
    ranked = contest.ordered(contest.names)
    if len(ranked) < 2:
        return _undecided(contest.facts, contest.names)
    places = _places(contest, ranked)
    top = [p.model for p in places if p.rank == 1]
    cautions = _elsewhere(contest, ranked)
    best = best_of(ranked, contest.is_better)
    if best is not None:
        other = next(n for n in ranked if n != best)
        told = f"{best} is the best of {len(ranked)}: {contest.told(best, other)} {contest.label} over {other}"
        return Decision(told, "mixed" if cautions else "better", cautions, contest.label, places)
    tied = f"{wording.listing(top)} are tied at the top of {len(ranked)}"
    if len(top) in (0, 1, len(ranked)):  # one that only the others are shown to be worse than others is no best one
        tied = f"No model is shown to be the best of {len(ranked)}" + (": all are tied" if len(top) > 1 else "")
    told = f"{tied} by {contest.label}, {_by(contest, top or ranked, ranked)}"
    return Decision(told, "neutral", cautions, contest.label, places)


def _by(contest: _Contest, top: Sequence[str], ranked: Sequence[str]) -> str:
    a, b = gap(top, ranked, contest.is_better)
    return f"{a} {contest.told(a, b)} against {b}"


def _places(contest: _Contest, ranked: Sequence[str]) -> tuple[Place, ...]:
    """A model's rank is one more than the number of those that are shown to be better; equal ranks by their value."""
    unit = (
        "share" if contest.benchmark == measures.HEAD_TO_HEAD else wording.info(contest.benchmark, contest.metric).unit
    )
    found = (
        Place(1 + sum(contest.is_better(n, name) for n in ranked), name, wording.number(contest.value(name), unit))
        for name in ranked
    )
    return tuple(sorted(found, key=lambda p: p.rank))


def _elsewhere(contest: _Contest, ranked: Sequence[str]) -> tuple[str, ...]:
    """Where the leader is shown to be worse than another by another measure."""
    facts, leader = contest.facts, ranked[0]
    keys = tables.benchmarks([facts])
    found = []
    for key, metric in [(k, m) for family, m in _MAIN for k in _keys(family, keys)]:
        if key in (contest.benchmark, measures.HEAD_TO_HEAD):
            continue
        other = replace(contest, benchmark=key, metric=metric)
        ahead = [n for n in ranked[1:] if other.is_better(n, leader)]
        if ahead:
            found.append(f"by {other.label} {ahead[0]} is better ({other.told(ahead[0], leader)})")
    return tuple(dict.fromkeys(found))[:_CAUTIONS]
