"""The one sentence that decides: which checkpoint is best, by which measure, and what speaks against going on from it.

The rules stand in docs/verdict.md. The first measure of ``contest.MAIN`` that two of the models were compared on
decides; its interval must exclude zero, and what ``measures.weighed`` does not count decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from leaderboards import chain
from reports import wording
from reports.facts import matches, measures, tables
from reports.facts.answers import Tone, why_not_compared
from reports.facts.comparability import unlike
from reports.facts.contest import MAIN, Contest, best_of, deciding, gap, named, of_family
from reports.facts.limits import lost_against
from reports.facts.run import RunFacts

__all__ = ["OWN", "Decision", "Place", "decide"]

OWN: Final = "own_pairwise_accuracy"
_CAUTIONS: Final = 3
_CONSISTENT: Final = 0.7  # of verdicts; as Health warns (docs/health.md)
_QUOTED: Final = 0.05  # of the answers; as Health warns
_SCORED: Final = 0.95  # of the samples; those that are lost are not lost at random (docs/health.md)


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


def decide(facts: RunFacts) -> Decision:
    """Which of the models is best, or that none is shown to be."""
    names = [m.name for m in facts.evaluated]
    trained = chain.iterations(names)
    contenders = trained if trained else names
    contest = _contest(facts, contenders)
    if contest is None and len(trained) == 1 and (contest := _contest(facts, names)) is not None:
        return _of_one(contest, trained[0], names)
    if contest is None:
        return _undecided(facts, contenders)
    return _of_run(contest, names) if trained else _of_others(contest)


def _compared(contest: Contest, names: Sequence[str]) -> tuple[str, ...]:
    """The first of some models that was compared with a later one, and all that were compared with it."""
    first, later = next(
        (n, found)
        for i, n in enumerate(names)
        if (found := [m for m in names[i + 1 :] if contest.between(m, n) is not None])
    )
    return (first, *later)


def _contest(facts: RunFacts, names: Sequence[str]) -> Contest | None:
    """By the first measure that two of the models were compared on."""
    for key, metric in deciding([facts]):
        found = Contest(facts, tuple(names), key, metric)
        if any(found.between(a, b) for i, a in enumerate(names) for b in names[:i]):
            return found
    return None


def _undecided(facts: RunFacts, names: Sequence[str]) -> Decision:
    if not names:
        return Decision("No checkpoint has been evaluated yet, so none can be called the best", "unknown")
    where = f" --run {facts.path}" if facts.is_run else " --checkpoint ... --checkpoint ..."
    if len(names) == 1:
        return Decision(f"{names[0]} stands alone: nothing was compared with it", "unknown")
    who, why = wording.listing(list(names)), why_not_compared(facts, names)
    if why:
        return Decision(f"{who} were not compared, so none can be called the best: {why}", "unknown")
    return Decision(f"{who} were not compared, so none can be called the best: srbench eval{where}", "unknown")


# --- a run


def _of_one(contest: Contest, model: str, names: Sequence[str]) -> Decision:
    """The only iteration, held against what it came from."""
    other = next((n for n in (chain.BASE, *names) if n != model and contest.between(model, n)), None)
    if other is None:
        return _undecided(contest.facts, [model])
    found = contest.between(model, other)
    tone: Tone = (
        "better" if contest.is_better(model, other) else "worse" if contest.is_better(other, model) else "neutral"
    )
    shown = {"better": "better than", "worse": "worse than"}.get(tone, "not shown to be better than")
    label = contest.label if found else ""
    told = f"{model} is the only iteration so far, {shown} {other}: {contest.told(model, other)} {label}"
    rest = [n for n in names if n != other]
    cautions = (*_unscored(contest, model, other), *_baselines(replace(contest, names=(model,)), model, rest))
    return Decision(told, "mixed" if cautions and tone == "better" else tone, cautions, label)


def _of_run(contest: Contest, names: Sequence[str]) -> Decision:
    contest = replace(contest, names=_compared(contest, contest.names))
    trained = contest.names
    first, ranked = trained[0], contest.ordered(trained)
    ahead = [n for n in trained if n != first and contest.is_better(n, first)]
    if not ahead:
        cautions = _cautions(contest, first, first, names)
        worse = [n for n in trained if contest.is_better(first, n)]
        if worse and len(worse) == len(trained) - 1:
            told = f"{first} is the best checkpoint: {worse[-1]} is worse, {contest.told(worse[-1], first)}"
            return Decision(f"{told} {contest.label}", "worse", cautions, contest.label)
        told = f"No checkpoint is shown to be better than {first}: {_last(contest)}"
        return Decision(told, "neutral", cautions, contest.label)
    best = next(n for n in ranked if n in ahead)
    cautions = _cautions(contest, best, first, names)
    tied = [n for n in ahead if n != best and (e := contest.between(best, n)) is not None and not e.change.arrow]
    who = f"{best} is the best checkpoint" if not tied else f"{wording.listing([best, *tied])} are the best checkpoints"
    joined = ", not shown to differ from each other" if tied else ""
    told = f"{who}{joined}: {contest.told(best, first)} {contest.label} over {first}"
    if tied:
        told = f"{who}{joined}: {best} {contest.told(best, first)} {contest.label} over {first}"
    return Decision(told, "mixed" if cautions else "better", cautions, contest.label)


def _last(contest: Contest) -> str:
    last, first = contest.names[-1], contest.names[0]
    return f"{last} {contest.told(last, first)} {contest.label}"


def _cautions(contest: Contest, best: str, first: str, names: Sequence[str]) -> tuple[str, ...]:
    """What speaks against going on from the best checkpoint, most important first."""
    facts, last = contest.facts, contest.names[-1]
    found = [
        *_skipped(contest),
        *_unmeasured(contest, chain.iterations(m.name for m in facts.models if m.fingerprint)),
        *_unscored(contest, best if best != first else last, first),
        *_deceiving(contest, best),
        *_formal(contest, best, first),
        *_owed(facts, best, first),
        *_judging(facts, best, last, first),
    ]
    found += [*_by_order(contest), *_baselines(contest, best, names), *_higher(contest, best, first)]
    found += _fallen(contest, best, first)
    lost = lost_against(facts, best, first) if best != first else []
    found += [f"{best} lost {wording.listing(lost, 2)}"] if lost else []
    return tuple(found[:_CAUTIONS])


def _unmeasured(contest: Contest, names: Sequence[str]) -> Iterator[str]:
    """Models that have no number of what decided, or none that may be compared: nothing is said of them."""
    left = [n for n in names if n not in contest.names]
    lacking = [n for n in left if contest.value(n) is None]
    if lacking:
        yield f"{wording.listing(lacking)} {'has' if len(lacking) == 1 else 'have'} no number of it, and may be better"
    if apart := [n for n in left if n not in lacking]:
        were, first, key = "was" if len(apart) == 1 else "were", contest.names[0], contest.benchmark
        of = {m.name: m.results[key] for m in contest.facts.models if key in m.results}
        why = next((f" ({told[0]})" for n in apart if n in of and (told := unlike({x: of[x] for x in (first, n)}))), "")
        yield f"{wording.listing(apart)} {were} not compared with {first}, and may be better{why}"


def _unscored(contest: Contest, model: str, other: str) -> Iterator[str]:
    """Where a part of the samples has no score on either side, and the rest decided."""
    n, total = contest.scored(model, other)
    if n < _SCORED * total:
        yield f"only {n:,} of {total:,} samples have a score of both {model} and {other}; the rest may tell otherwise"


def _deceiving(contest: Contest, model: str) -> Iterator[str]:
    """Where answers hold the judge's own prompt, as those do that were made to deceive it."""
    quoted = measures.value(contest.facts, model, contest.benchmark, "quotes_judge_prompt")
    if quoted is not None and quoted > _QUOTED:
        yield f"{100 * quoted:.0f} % of {model}'s answers quote the judge's prompt: they speak to the judge"


def _fallen(contest: Contest, best: str, first: str) -> Iterator[str]:
    """The last iteration, where it is shown to be worse than the first, and another one is the best."""
    last = contest.names[-1]
    if best not in (first, last) and contest.is_better(first, last):
        yield f"{last} is worse than {first} ({contest.told(last, first)})"


def _skipped(contest: Contest) -> Iterator[str]:
    """A measure that would have decided, had its numbers been made alike."""
    for key, metric in deciding([contest.facts]):
        if (key, metric) == (contest.benchmark, contest.metric):
            return
        found = {m.name: m.results[key] for m in contest.facts.models if m.name in contest.names and key in m.results}
        if metric in {n for r in found.values() for n in r.metrics} and (apart := unlike(found)):
            yield f"{named(key, metric)} decides nothing, as it was not made alike ({apart[0]})"
            return


def _formal(contest: Contest, best: str, first: str) -> Iterator[str]:
    """A gain that does not count, because it is one of format alone; of the last model if the best is the first."""
    model = best if best != first else contest.names[-1]
    found = contest.between(model, first)
    if found is not None and found.note.startswith(measures.FORMAL):
        yield f"{model}'s gain does not count, being {found.note.partition(': ')[2]}"


def _higher(contest: Contest, best: str, first: str) -> Iterator[str]:
    """Others whose numbers are higher than the best one's, but are not shown to be better than the first iteration."""
    ranked = contest.ordered(contest.names)
    above = [n for n in ranked[: ranked.index(best)] if n != first] if best in ranked and best != first else []
    if above:
        told = contest.told(above[0], first)
        yield f"{above[0]} has a higher number, but is not shown to be better than {first} ({told})"


def _judging(facts: RunFacts, best: str, last: str, first: str) -> Iterator[str]:
    """Whether the next round would be trained on judgments that got worse."""
    for key in tables.benchmarks([facts], "judge-accuracy"):
        for model in dict.fromkeys((best, last)):
            found = measures.evidence(facts, key, OWN, model, first) if model != first else None
            if found is not None and found.change.tone == "worse":
                after, whose, it = f"M{int(model[1:]) + 1}", "judging its own answers", "it"
                if model != best:
                    whose, it = f"{model}'s judging of its own answers", model
                scored = f", {found.change.paired} with a verdict" if found.change.paired else ""
                yield f"{whose} got worse ({found.values}{scored}): do not train {after} from {it}"
                return


def _owed(facts: RunFacts, best: str, first: str) -> Iterator[str]:
    """A raw win rate that moved and the length-controlled one not, of the last model if the best is the first."""
    last = chain.iterations([m.name for m in facts.evaluated])[-1]
    model = best if best != first else last
    for key in tables.benchmarks([facts], "alpaca-eval"):
        raw = measures.evidence(facts, key, "win_rate", model, first)
        weighed = measures.weighed(facts, [raw], model, first) if raw else []
        note = weighed[0].note if weighed else ""
        if note.startswith((measures.OWED, measures.OVERRULED)):
            lengths = measures.length(facts, key, model, first)
            longer = f" with answers of {lengths.text}" if lengths else ""
            moved, what = ("rose", "gain") if weighed[0].change.arrow == "▲" else ("fell", "loss")
            by_length = note.startswith(measures.OWED)
            why = f"{longer}, which is no {what}" if by_length else ", and the length-controlled one is not shown to"
            yield f"{model}'s raw win rate {moved} ({weighed[0].values}){why}"
            return


def _baselines(contest: Contest, best: str, names: Sequence[str]) -> Iterator[str]:
    """What is no iteration (a baseline, the base) and is better than the best checkpoint, or not shown to be worse."""
    others = [n for n in names if n not in contest.names]
    for name in sorted(others, key=lambda n: n == chain.BASE):
        found, what = contest.between(best, name), "base" if name == chain.BASE else "baseline"
        if found is None:
            continue
        if found.change.tone == "worse":
            yield f"the {what} {name} is better still: {best} {contest.told(best, name)} against it"
        elif not found.change.arrow:
            yield f"{best} is not shown to be better than the {what} {name} ({contest.told(best, name)})"


# --- models outside a run


def _of_others(contest: Contest) -> Decision:
    whole = contest.ordered(contest.names)
    leader = next((n for n in whole if any(contest.between(n, m) for m in whole if m != n)), None)
    if leader is None:
        return _undecided(contest.facts, contest.names)
    everyone = contest.names
    contest = replace(contest, names=tuple(n for n in whole if n == leader or contest.between(leader, n)))
    ranked = contest.ordered(contest.names)
    places = _places(contest, ranked)
    top = [p.model for p in places if p.rank == 1]
    best = best_of(ranked, contest.is_better)
    a, b = gap(top or ranked, ranked, contest.is_better)
    cautions = (
        *_skipped(contest),
        *_unmeasured(contest, everyone),
        *_unscored(contest, a, b),
        *_deceiving(contest, a),
        *_by_order(contest),
        *_elsewhere(contest, ranked),
    )[:_CAUTIONS]
    if best is not None:
        told = f"{best} is the best of {len(ranked)}: {contest.told(a, b)} {contest.label} over {b}"
        return Decision(told, "mixed" if cautions else "better", cautions, contest.label, places)
    tied = f"{wording.listing(top)} are tied at the top of {len(ranked)}"
    if len(top) in (0, 1, len(ranked)):  # one that only the others are shown to be worse than others is no best one
        tied = f"No model is shown to be the best of {len(ranked)}" + (": all are tied" if len(top) > 1 else "")
    told = f"{tied} by {contest.label}, {a} {contest.told(a, b)} against {b}"
    return Decision(told, "neutral", cautions, contest.label, places)


def _by_order(contest: Contest) -> Iterator[str]:
    """Whether the judge that compared follows the order in which answers are shown rather than the answers."""
    if contest.benchmark != measures.HEAD_TO_HEAD:
        return
    found = [p.positions.consistency for p in matches.pairs(contest.facts) if p.positions is not None]
    known = [x for x in found if x is not None]
    if known and min(known) < _CONSISTENT:
        yield f"the judge's verdict survives the swap of the answers in {100 * min(known):.0f} % of comparisons only"


def _places(contest: Contest, ranked: Sequence[str]) -> tuple[Place, ...]:
    """A model's rank is one more than the number of those that are shown to be better; equal ranks by their value.

    Where not all pairs were compared, as of many models, only those at the top have a rank.
    """
    unit = (
        "share" if contest.benchmark == measures.HEAD_TO_HEAD else wording.info(contest.benchmark, contest.metric).unit
    )
    found = (
        Place(1 + sum(contest.is_better(n, name) for n in ranked), name, wording.number(contest.value(name), unit))
        for name in ranked
    )
    places = sorted(found, key=lambda p: p.rank)
    whole = all(contest.between(a, b) for i, a in enumerate(ranked) for b in ranked[:i])
    return tuple(p for p in places if whole or p.rank == 1)


def _elsewhere(contest: Contest, ranked: Sequence[str]) -> tuple[str, ...]:
    """Where the leader is shown to be worse than another by another measure."""
    facts, leader = contest.facts, ranked[0]
    keys = tables.benchmarks([facts])
    found = []
    for key, metric in [(k, m) for family, m in MAIN for k in of_family(family, keys)]:
        if key in (contest.benchmark, measures.HEAD_TO_HEAD):
            continue
        other = replace(contest, benchmark=key, metric=metric)
        ahead = [n for n in ranked[1:] if other.is_better(n, leader)]
        if ahead:
            found.append(f"by {other.label} {ahead[0]} is better ({other.told(ahead[0], leader)})")
    return tuple(dict.fromkeys(found))[:_CAUTIONS]
