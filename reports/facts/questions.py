"""The four questions of self-rewarding, answered from what was compared: never more than an interval shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from leaderboards.descriptions import described
from leaderboards.standings import MetricDifference
from reports import wording
from reports.facts import matches, tables
from reports.facts.run import RunFacts
from reports.facts.tables import Change

__all__ = ["Evidence", "Sentence", "answers"]

Tone = Literal["better", "worse", "mixed", "neutral", "unknown"]

_JUDGING: Final = ("pairwise_accuracy", "oracle_pairwise_accuracy", "own_pairwise_accuracy", "label_accuracy")
_WRITING: Final = {
    "quality": ("quality_sampled", "quality_greedy"),
    "alpaca-eval": ("win_rate", "length_controlled_winrate"),
    "mt-bench": ("grade",),
}
_ALIGNMENT: Final = {
    "judge-accuracy": ("spearman",),
    "alpaca-eval": ("length_controlled_winrate", "win_rate"),
    "mt-bench": ("grade", "adjusted_win_rate"),
    "nlp": ("average",),
}
_LENGTHS: Final = {"quality": ("chars_sampled",), "alpaca-eval": ("avg_length",), "mt-bench": ("chars",)}
_KINDS: Final = ("quality_sampled", "win_rate", "grade", "adjusted_win_rate", "pairwise_accuracy")
_LISTED: Final = 4


@dataclass(frozen=True, slots=True)
class Evidence:
    """One number behind an answer: what, from where to where, and the difference.

    Attributes:
        values: ``65.1 % → 71.0 %``.
    """

    benchmark: str
    label: str
    values: str
    change: Change

    @property
    def text(self) -> str:
        """For where there is no table."""
        against = f"vs {self.change.against}"
        return f"{self.label} {self.values} ({against} {self.change.text})".replace("  ", " ")


@dataclass(frozen=True, slots=True)
class Sentence:
    """One question of this research, answered.

    Attributes:
        word: the answer in a word or two.
        answer: in a sentence.
    """

    question: str
    word: str
    answer: str
    tone: Tone
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class _Span:
    """Which models a run's questions are asked of."""

    facts: RunFacts
    first: str
    last: str
    baseline: str | None
    base: str | None


def answers(facts: RunFacts) -> list[Sentence]:
    """What the run shows, question by question, with the evidence."""
    names = [m.name for m in facts.evaluated]
    iterations = tables.iterations(names)
    if len(iterations) < 2:
        return [_too_few(names, iterations)]
    others = [n for n in names if n not in iterations and n != "M0"]
    base = "M0" if "M0" in names else None
    span = _Span(facts, iterations[0], iterations[-1], others[-1] if others else None, base)
    return [_judging(span), _writing(span), _alignment(span), _limits(span)]


def _too_few(names: list[str], iterations: list[str]) -> Sentence:
    question = "Did self-rewarding help?"
    if names and not iterations:
        text = f"{wording.listing(names)} are no iterations of one run (M1, M2, …); the tables show them side by side."
        if len(names) == 1:
            text = f"{names[0]} is no iteration of a run (M1, M2, …)."
        return Sentence(question, "Not asked", text, "unknown")
    there = f"is {iterations[0]} only" if iterations else "is none"
    text = (
        f"Two evaluated iterations and their comparison are needed to say whether self-rewarding helped; there {there}."
    )
    return Sentence(question, "Unknown", text, "unknown")


# --- the questions


def _judging(span: _Span) -> Sentence:
    question = "Does the model become a better judge?"
    found = _moves(span, span.last, span.first, _judging_metrics)
    if not found:
        return _unknown(question, f"how {span.first} and {span.last} judge", span.facts, "judge-accuracy")
    said = _weighed(question, found, f"{span.last} judges", span.first)
    against = _moves(span, span.last, span.baseline, _judging_metrics) if span.baseline else []
    up, down = (len(_labels(against, tone)) for tone in ("better", "worse"))
    if not against:
        return said
    told = f"better on {up}" if up else ""
    told += f"{' and ' if told else ''}worse on {down}" if down else ""
    return replace(
        said, answer=f"{said.answer} Than {span.baseline} it judges {told or 'better on none'} of {len(against)}."
    )


def _judging_metrics(family: str) -> Sequence[str]:
    return _JUDGING if family == "judge-accuracy" else ()


def _writing(span: _Span) -> Sentence:
    against = span.baseline or span.first
    question = f"Does instruction following improve over the {_named(span)}?"
    found = _moves(span, span.last, against, lambda family: _WRITING.get(family, ()))
    match = matches.match(span.facts, span.last, against)
    if match is not None and match.win_rate is not None:
        found.append(Evidence("head-to-head", "Head to head: win rate", "", matches.win_rate_change(match)))
    if not found:
        return _unknown(question, f"the answers of {against} and {span.last}", span.facts)
    return _weighed(question, found, f"{span.last} follows instructions", against)


def _named(span: _Span) -> str:
    if span.baseline is None:
        return f"first iteration ({span.first}; there is no SFT baseline)"
    return "SFT baseline" if span.baseline == "SFT" else f"baseline ({span.baseline})"


def _alignment(span: _Span) -> Sentence:
    question = "How do human alignment and external benchmarks move?"
    found = _moves(span, span.last, span.first, lambda family: _ALIGNMENT.get(family, ()))
    if not found:
        return _unknown(question, f"{span.first} and {span.last} on such benchmarks", span.facts, *_ALIGNMENT)
    up, down = (_labels(found, tone) for tone in ("better", "worse"))
    still = [e for e in found if e.change.tone == "neutral"]
    parts = [f"up: {wording.listing(up)}"] if up else []
    parts += [f"down: {wording.listing(down)}"] if down else []
    parts += [f"no movement shown: {wording.listing([e.label for e in still])}"] if still else []
    moved = "up" if up else "down"
    word = (
        "Mixed" if up and down else "Not shown" if not (up or down) else f"Partly {moved}" if still else moved.title()
    )
    tone: Tone = "mixed" if up and down else "better" if up else "worse" if down else "neutral"
    return Sentence(question, word, f"From {span.first} to {span.last}, {'; '.join(parts)}.", tone, tuple(found))


def _limits(span: _Span) -> Sentence:
    """What was lost, where nothing was gained, and how much of that chance alone would bring."""
    question = "Where are the limits?"
    kinds, moved = _kinds(span), list(_all_moves(span, span.last, span.first))
    taxed = list(_external(span, span.base)) if span.base else []
    lengths = _moves(span, span.last, span.first, lambda family: _LENGTHS.get(family, ()))
    n = len(kinds) + len(moved) + len(taxed)
    if not n and not lengths:
        return _unknown(question, "categories and tasks", span.facts)
    lost, paid = ([e for e in found if e.change.tone == "worse"] for found in (moved, taxed))
    grown = [e for e in lengths if e.change.arrow]
    parts = [_kinds_told(span, kinds)] if kinds else []
    parts.append(_lost_told(span, lost, paid))
    parts += _lately(span)
    if grown:
        parts.append(f"Answers became {'longer' if grown[0].change.arrow == '▲' else 'shorter'}.")
    if n:
        parts.append(f"Of {n} comparisons at 95 %, about {max(1, round(n / 20))} would seem to differ by chance alone.")
    worse = len(lost) + len(paid)
    word = f"{worse} regression{'s' * (worse != 1)}" if worse else "No regression shown"
    evidence = (*lost, *paid)[:_LISTED]
    return Sentence(question, word, " ".join(parts), "worse" if worse else "neutral", (*evidence, *grown))


def _lost_told(span: _Span, lost: list[Evidence], paid: list[Evidence]) -> str:
    against = {span.first: lost, str(span.base): paid}
    told = [
        f"{len(x)} {'measure is' if len(x) == 1 else 'measures are'} below {name}" for name, x in against.items() if x
    ]
    return f"{wording.listing(told)}." if told else "No measure is shown to be worse."


def _kinds_told(span: _Span, kinds: list[Evidence]) -> str:
    gained, lost = (_grouped(kinds, tone) for tone in ("better", "worse"))
    categories = "category" if len(kinds) == 1 else "categories"
    told = f"Of {len(kinds)} {categories}, {span.last} is better than {span.first} at {gained or 'none'}"
    return f"{told}, and worse at {lost or 'none'}; for the others no difference is shown."


def _grouped(kinds: list[Evidence], tone: str) -> str:
    """``name and sort (AlpacaEval), sort (MT-Bench)``."""
    by_benchmark: dict[str, list[str]] = {}
    for e in kinds:
        if e.change.tone == tone:
            by_benchmark.setdefault(_short_title(e.benchmark), []).append(e.label)
    return ", ".join(f"{wording.listing(names)} ({benchmark})" for benchmark, names in by_benchmark.items())


def _lately(span: _Span) -> list[str]:
    """Whether the last iteration still gained, or lost something again."""
    names = tables.iterations(m.name for m in span.facts.evaluated)
    if len(names) < 3:
        return []
    before = names[-2]
    moved = list(_all_moves(span, span.last, before))
    lost = _labels(moved, "worse")
    if lost:
        return [f"Against {before}, {span.last} lost: {wording.listing(lost, 4)}."]
    if moved and not any(e.change.arrow for e in moved):
        return [f"{span.last} is not shown to differ from {before}: the gain may have ended there."]
    return []


# --- the evidence


def _moves(span: _Span, a: str, b: str, metrics: Callable[[str], Sequence[str]]) -> list[Evidence]:
    """What was compared of the metrics that a family of benchmarks has for a question."""
    keys = tables.benchmarks([span.facts])
    found = (_move(span.facts, key, metric, a, b) for key in keys for metric in metrics(wording.family(key)))
    return [e for e in found if e is not None]


def _move(facts: RunFacts, benchmark: str, metric: str, a: str, b: str) -> Evidence | None:
    difference = tables.difference(facts, benchmark, metric, a, b)
    if difference is None:
        return None
    results = {m.name: m.results[benchmark].metrics for m in facts.models if benchmark in m.results}
    unit = wording.info(benchmark, metric).unit
    values = [results.get(name, {}).get(metric) for name in (b, a)]
    told = " → ".join(wording.number(v.value if v else None, unit) for v in values)
    return Evidence(benchmark, _label(benchmark, metric), told, tables.change_of(difference, facts))


def _label(benchmark: str, metric: str) -> str:
    whole, _, part = metric.partition("/")
    own = wording.info(benchmark, metric).label
    is_part = part and metric not in described(benchmark).metrics
    label = f"{wording.info(benchmark, whole).label}, {own}" if is_part else own
    return f"{_short_title(benchmark)}: {label}"


def _short_title(benchmark: str) -> str:
    return wording.title(benchmark).removesuffix(wording.MICRO)


def _all_moves(span: _Span, a: str, b: str) -> Iterator[Evidence]:
    """Every comparison of two models that has a better and a worse, categories and parts of others aside."""
    for d in _compared(span, a, b):
        whole = "/" not in d.metric or wording.family(d.benchmark) == "nlp"
        if whole and wording.info(d.benchmark, d.metric).better:
            yield from _evidence(span, d)


def _external(span: _Span, against: str) -> Iterator[Evidence]:
    """The NLP tasks against the base model: what alignment may have cost."""
    for d in _compared(span, span.last, against):
        if wording.family(d.benchmark) == "nlp":
            yield from _evidence(span, d)


def _kinds(span: _Span) -> list[Evidence]:
    """The categories of all benchmarks that were compared: kinds of instruction, not lengths."""
    found = []
    for d in _compared(span, span.last, span.first):
        whole, _, part = d.metric.partition("/")
        if part and whole in _KINDS and "_length_" not in part:
            found += [replace(e, label=part.replace("_", " ")) for e in _evidence(span, d)]
    return found


def _compared(span: _Span, a: str, b: str) -> Iterator[MetricDifference]:
    compared = span.facts.standings.differences if span.facts.standings else ()
    return (d for d in compared if (d.a, d.b) == (a, b))


def _evidence(span: _Span, d: MetricDifference) -> Iterator[Evidence]:
    """One, or none where there is no number."""
    found = _move(span.facts, d.benchmark, d.metric, d.a, d.b)
    return iter(() if found is None else (found,))


def _labels(found: Iterable[Evidence], tone: str) -> list[str]:
    return [e.label for e in found if e.change.tone == tone]


def _weighed(question: str, found: Sequence[Evidence], subject: str, against: str) -> Sentence:
    """Yes, no, mixed, or not shown: by how many of the measures."""
    up, down = (len(_labels(found, tone)) for tone in ("better", "worse"))
    n, evidence = len(found), tuple(found)
    if up and down:
        text = f"{subject} better than {against} on {up} of {n} measures and worse on {down}."
        return Sentence(question, "Mixed", text, "mixed", evidence)
    if up or down:
        moved = up or down
        share = f"on {moved} of {n} measures; for the rest no difference is shown" if n > moved else _on_all(n)
        text = f"{subject} {'better' if up else 'worse'} than {against} {share}."
        return Sentence(question, "Yes" if up else "No, worse", text, "better" if up else "worse", evidence)
    where = "the one measure there is" if n == 1 else f"any of {n} measures"
    text = f"No difference to {against} is shown on {where}.{_reach(found)}"
    return Sentence(question, "Not shown", text, "neutral", evidence)


def _on_all(n: int) -> str:
    return "on the one measure there is" if n == 1 else f"on all {n} measures"


def _reach(found: Sequence[Evidence]) -> str:
    """What the first measure would have shown, where that is known."""
    first = next((e for e in found if e.change.reach), None)
    if first is None:
        return ""
    return f" A true difference of {first.change.reach} in {first.label} would have been found four times in five."


def _unknown(question: str, what: str, facts: RunFacts, *families: str) -> Sentence:
    there = tables.benchmarks([facts], *families)
    why = (
        "they were not compared"
        if there
        else f"no result of {wording.listing([wording.title(f) for f in families])} is there"
        if families
        else "nothing was compared"
    )
    return Sentence(question, "Unknown", f"This cannot be said of {what}: {why}.", "unknown")
