"""Where the limits are: what was lost, each measure once, what of it is format alone, and what grew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from leaderboards.standings import MetricDifference
from reports import wording
from reports.facts import measures, tables
from reports.facts.answers import Sentence, Span, Tone, unknown
from reports.facts.measures import Evidence, Length, counted
from reports.facts.run import RunFacts

__all__ = ["limits", "lost_against"]

_KINDS: Final = ("quality_sampled", "win_rate", "grade", "adjusted_win_rate", "pairwise_accuracy")
_LISTED: Final = 4


def limits(span: Span) -> Sentence:
    """What was lost, where nothing was gained, and how much of that chance alone would bring."""
    question = "Where are the limits?"
    kinds = _kinds(span)
    moved = measures.weighed(span.facts, list(_all_moves(span, span.last, span.first)), span.last, span.first)
    base = span.base or ""
    taxed = measures.weighed(span.facts, list(_of_tasks(span, base)), span.last, base) if base else []
    grown = _grown(span)
    n = len(kinds) + len(counted(moved)) + len(counted(taxed))
    if not (kinds or moved or taxed) and grown is None:
        return unknown(question, "categories and tasks", span.facts, (span.first, span.last))
    lost, of_form = _split(span, {span.first: moved, base: taxed})
    parts = [_kinds_told(span, kinds)] if kinds else []
    held = [name for name, found in ((span.first, moved), (base, taxed)) if found]
    parts += [_lost_told(lost, held)] if held else []
    parts += _form_told(of_form)
    parts += [f"{e.label} {e.values}, {e.note}." for e in moved if e.note.startswith(measures.FORMAL)]
    parts += _lately(span)
    parts += [f"Answers became {'longer' if grown.grew else 'shorter'}: {grown.text}."] if grown else []
    if n:
        parts.append(_by_chance(n))
    word, tone = _limits_word(lost, of_form, grown)
    return Sentence(question, word, " ".join(parts), tone, tuple([*_firsts(lost), *_firsts(of_form)][:_LISTED]))


def _by_chance(n: int) -> str:
    some = f"about {round(n / 20)}" if n >= 10 else "one in twenty"
    return f"Of {n} comparison{'s' * (n != 1)} at 95 %, {some} would seem to differ by chance alone."


def _limits_word(lost: _Losses, of_form: _Losses, grown: Length | None) -> tuple[str, Tone]:
    told = [f"{len(lost)} regression{'s' * (len(lost) != 1)}"] if lost else []
    told += [f"{len(of_form)} loss{'es' * (len(of_form) != 1)} of format"] if of_form else []
    if told:
        return ", ".join(told), "worse"
    if grown is not None and grown.times >= measures.LONGER:
        return f"Answers {grown.times:.2g} times as long", "mixed"
    return "No regression shown", "neutral"


def lost_against(facts: RunFacts, a: str, b: str) -> list[str]:
    """What of a model's measures is shown to be worse than another's; a loss of format says so."""
    span = Span(facts, b, a, None, None)
    found = measures.weighed(facts, list(_all_moves(span, a, b)), a, b)
    lost, of_form = _split(span, {b: found})
    own = [e.label for e in _firsts(lost) if not e.metric.startswith("own_")]
    return [*own, *(f"{e.label} (its form alone)" for e in _firsts(of_form))]


#: what is worse -> the evidence for that, against one model after the other
_Losses = dict[tuple[str, str], list[Evidence]]


def _split(span: Span, found: Mapping[str, Sequence[Evidence]]) -> tuple[_Losses, _Losses]:
    """What was lost, each measure once whatever it is held against; and what of it is a loss of form alone."""
    lost: _Losses = {}
    of_form: _Losses = {}
    for against, evidence in found.items():
        for e in evidence:
            if e.counts and e.change.tone == "worse":
                note = measures.of_form(span.facts, e, span.last, against)
                kept = of_form if note else lost
                kept.setdefault(e.measure, []).append(replace(e, note=note) if note else e)
    return lost, {k: v for k, v in of_form.items() if k not in lost}


def _firsts(found: _Losses) -> list[Evidence]:
    return [evidence[0] for evidence in found.values()]


def _lost_told(lost: _Losses, against: list[str]) -> str:
    if not lost:
        return f"No measure is shown to be worse than at {wording.listing(against)}."
    told = [f"{e[0].label} (than {wording.listing([x.change.against for x in e])})" for e in lost.values()]
    return f"Worse: {wording.listing(told, _LISTED)}."


def _form_told(of_form: _Losses) -> list[str]:
    told = [f"{e[0].label} {e[0].values}, {e[0].note}" for e in of_form.values()]
    return [f"{wording.listing(told, _LISTED)}."] if told else []


def _grown(span: Span) -> Length | None:
    """Answers of another length: the first benchmark where that is shown, or where they are much longer."""
    keys = tables.benchmarks([span.facts])
    found = (measures.length(span.facts, key, span.last, span.first) for key in keys)
    there = [x for x in found if x is not None]
    return next((x for x in there if x.grew or (x.change and x.change.arrow)), None)


def _kinds_told(span: Span, kinds: list[Evidence]) -> str:
    gained, lost = (_grouped(kinds, tone) for tone in ("better", "worse"))
    categories = "category" if len(kinds) == 1 else "categories"
    told = f"Of {len(kinds)} {categories}, {span.last} is better than {span.first} at {gained or 'none'}"
    return f"{told}, and worse at {lost or 'none'}; for the others no difference is shown."


def _grouped(kinds: list[Evidence], tone: str) -> str:
    """``name and sort (AlpacaEval), sort (MT-Bench)``."""
    by_benchmark: dict[str, list[str]] = {}
    for e in kinds:
        if e.change.tone == tone:
            by_benchmark.setdefault(measures.short_title(e.benchmark), []).append(e.label)
    return ", ".join(f"{wording.listing(names)} ({benchmark})" for benchmark, names in by_benchmark.items())


def _lately(span: Span) -> list[str]:
    """Whether the last iteration still gained, or lost something again."""
    names = tables.iterations(m.name for m in span.facts.evaluated)
    if len(names) < 3:
        return []
    before = names[-2]
    moved = measures.weighed(span.facts, list(_all_moves(span, span.last, before)), span.last, before)
    lost, of_form = _split(span, {before: moved})
    if lost or of_form:
        told = [e.label for e in _firsts(lost)] + [f"{e.label} (its form alone)" for e in _firsts(of_form)]
        return [f"Against {before}, {span.last} lost: {wording.listing(told, _LISTED)}."]
    if moved and not any(e.change.arrow for e in moved):
        return [f"{span.last} is not shown to differ from {before}: the gain may have ended there."]
    return []


# --- the evidence


def _all_moves(span: Span, a: str, b: str) -> Iterator[Evidence]:
    """Every comparison of two models that has a better and a worse, categories and parts of others aside."""
    for d in _compared(span, a, b):
        whole = "/" not in d.metric or wording.family(d.benchmark) == "nlp"
        if whole and wording.info(d.benchmark, d.metric).better:
            yield from _evidence(span, d)


def _of_tasks(span: Span, against: str) -> Iterator[Evidence]:
    """The NLP tasks against the base model: what alignment may have cost."""
    for d in _compared(span, span.last, against):
        if wording.family(d.benchmark) == "nlp":
            yield from _evidence(span, d)


def _kinds(span: Span) -> list[Evidence]:
    """The categories of all benchmarks that were compared: kinds of instruction, not lengths."""
    found = []
    for d in _compared(span, span.last, span.first):
        whole, _, part = d.metric.partition("/")
        if part and whole in _KINDS and "_length_" not in part:
            found += [replace(e, label=part.replace("_", " ")) for e in _evidence(span, d)]
    return found


def _compared(span: Span, a: str, b: str) -> Iterator[MetricDifference]:
    compared = span.facts.standings.differences if span.facts.standings else ()
    return (d for d in compared if (d.a, d.b) == (a, b))


def _evidence(span: Span, d: MetricDifference) -> Iterator[Evidence]:
    """One, or none where there is no number."""
    found = measures.evidence(span.facts, d.benchmark, d.metric, d.a, d.b)
    return iter(() if found is None else (found,))
