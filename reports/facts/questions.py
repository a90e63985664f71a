"""The four questions of self-rewarding, answered from what was compared: never more than an interval shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from reports import wording
from reports.facts import limits, measures, tables, training
from reports.facts.answers import Sentence, Span, Tone, labelled, unknown
from reports.facts.measures import Evidence, counted
from reports.facts.run import RunFacts

__all__ = ["Evidence", "Sentence", "Tone", "answers"]

_JUDGING: Final = ("pairwise_accuracy", "oracle_pairwise_accuracy", "own_pairwise_accuracy", "label_accuracy")
_WRITING: Final = {
    "quality": ("quality_sampled", "quality_greedy"),
    "alpaca-eval": ("win_rate", "length_controlled_winrate"),
    "mt-bench": ("grade",),
}
_HUMANS: Final = {"judge-accuracy": ("spearman",)}
_EXTERNAL: Final = {
    "alpaca-eval": ("length_controlled_winrate", "win_rate"),
    "mt-bench": ("grade", "adjusted_win_rate"),
    "nlp": ("average",),
    "ifeval": ("prompt_level_strict_acc",),
}


def answers(facts: RunFacts) -> list[Sentence]:
    """What the run shows, question by question, with the evidence."""
    names = [m.name for m in facts.evaluated]
    iterations = tables.iterations(names)
    if len(iterations) < 2:
        return [_too_few(names, iterations, "RLAIF" if facts.other_judge else "self-rewarding")]
    others = [n for n in names if n not in iterations and n != "M0"]
    base = "M0" if "M0" in names else None
    span = Span(facts, iterations[0], iterations[-1], others[-1] if others else None, base)
    return [_judging(span), _writing(span), _alignment(span), limits.limits(span)]


def _too_few(names: list[str], iterations: list[str], method: str) -> Sentence:
    question = f"Did {method} help?"
    if names and not iterations:
        text = f"{wording.listing(names)} are no iterations of one run (M1, M2, …); the tables show them side by side."
        if len(names) == 1:
            text = f"{names[0]} is no iteration of a run (M1, M2, …)."
        return Sentence(question, "Not asked", text, "unknown")
    there = f"is {iterations[0]} only" if iterations else "is none"
    text = f"Two evaluated iterations and their comparison are needed to say whether {method} helped; there {there}."
    return Sentence(question, "Unknown", text, "unknown")


# --- the questions


def _judging(span: Span) -> Sentence:
    question = "Does the model become a better judge?"
    found = _weighed(span, span.first, lambda family: _JUDGING if family == "judge-accuracy" else ())
    if not found:
        return unknown(
            question, f"how {span.first} and {span.last} judge", span.facts, (span.first, span.last), ["judge-accuracy"]
        )
    said = _answer(question, found, f"{span.last} judges", span.first)
    told = [said.answer, *_own_judging(span, found)]
    if span.baseline and (against := _weighed(span, span.baseline, _judging_metrics)):
        told.append(f"Than {span.baseline} it judges {_up_and_down(against)} of {len(counted(against))}.")
    return replace(said, answer=" ".join(told))


def _judging_metrics(family: str) -> Sequence[str]:
    return _JUDGING if family == "judge-accuracy" else ()


def _own_judging(span: Span, found: Sequence[Evidence]) -> list[str]:
    """What the next round would be trained on."""
    lost = [e for e in found if e.metric.startswith("own_") and e.change.tone == "worse"]
    text = "Its own answers, which the next round would be trained on, it judges worse: {} {} than {}'s own."
    return [text.format(e.values, e.change.interval, span.first) for e in lost[:1]]


def _up_and_down(found: Sequence[Evidence]) -> str:
    up, down = (len(labelled(found, tone)) for tone in ("better", "worse"))
    told = [f"better on {up}"] if up else []
    told += [f"worse on {down}"] if down else []
    return wording.listing(told) or "better on none"


def _writing(span: Span) -> Sentence:
    against = span.baseline or span.first
    question = f"Does instruction following improve over the {_named(span)}?"
    found = _moves(span, span.last, against, lambda family: _WRITING.get(family, ()))
    match = measures.match_evidence(span.facts, span.last, against)
    found = measures.weighed(span.facts, [*found, *([match] if match else [])], span.last, against)
    if not found:
        return unknown(question, f"the answers of {against} and {span.last}", span.facts, (against, span.last))
    said = _answer(question, found, f"{span.last} follows instructions", against)
    return replace(said, answer=" ".join([said.answer, *_by_length(span, found, against)]))


def _named(span: Span) -> str:
    if span.baseline is None:
        return f"first iteration ({span.first}; there is no SFT baseline)"
    return "SFT baseline" if span.baseline == "SFT" else f"baseline ({span.baseline})"


def _by_length(span: Span, found: Sequence[Evidence], against: str) -> list[str]:
    """What moved with length alone, and why it does not count; else what nobody controlled for length."""
    raw = next((e for e in found if e.note.startswith((measures.OWED, measures.OVERRULED))), None)
    if raw is not None:
        lengths = measures.length(span.facts, raw.benchmark, span.last, against)
        longer = f", with answers of {lengths.text}" if lengths else ""
        moved = "rose" if raw.change.arrow == "▲" else "fell"
        what = "gain" if moved == "rose" else "loss"
        controlled = next((e for e in found if e.metric == measures.CONTROLLED and e.change.arrow), None)
        other = "moved the other way" if controlled else "is not shown to"
        if raw.note.startswith(measures.OVERRULED):
            return [f"The raw win rate {moved} ({raw.values}); the length-controlled one, which decides, {other}."]
        return [
            f"The raw win rate {moved} ({raw.values}){longer}, and the length-controlled one {other}: a {what} "
            f"that length explains is no {what}."
        ]
    return []


def _alignment(span: Span) -> Sentence:
    question = "How do human alignment and external benchmarks move?"
    of_humans = _moves(span, span.last, span.first, lambda family: _HUMANS.get(family, ()))
    external = _moves(span, span.last, span.first, lambda family: _EXTERNAL.get(family, ()))
    found = measures.weighed(span.facts, [*of_humans, *external], span.last, span.first)
    unmeasured = _unmeasured(span, external)
    if not found:
        both = (span.first, span.last)
        said = unknown(question, f"{span.first} and {span.last} on such benchmarks", span.facts, both, [*_EXTERNAL])
        return replace(said, word="Not measured", answer=f"{said.answer} {unmeasured}") if unmeasured else said
    up, down = (labelled(found, tone) for tone in ("better", "worse"))
    still = [e.label for e in counted(found) if e.change.tone == "neutral"]
    parts = [f"up: {wording.listing(up)}"] if up else []
    parts += [f"down: {wording.listing(down)}"] if down else []
    parts += [f"no movement shown: {wording.listing(still)}"] if still else []
    tone: Tone = "mixed" if up and down else "better" if up else "worse" if down else "neutral"
    word = "Mixed" if up and down else _moved("up" if up else "down", bool(still)) if up or down else "Not shown"
    told = [f"From {span.first} to {span.last}, {'; '.join(parts)}." if parts else "No movement is shown."]
    told += [f"{e.label} {e.values}, {e.note}." for e in found if e.note.startswith(measures.FORMAL)]
    told += [unmeasured] if unmeasured else []
    told += _answering_as_a_judge(span, [e.benchmark for e in found])
    return Sentence(question, word, " ".join(told), tone, tuple(found))


def _answering_as_a_judge(span: Span, benchmarks: Sequence[str]) -> list[str]:
    """Where answers hold verdicts in the judge's form: that moves a benchmark, and is no alignment."""
    health, _ = training.health(span.facts)
    warned = [w for w in health.warnings if w.measure == "verdict_answers"] if health else []
    return [
        f"{100 * w.value:.0f} % of {w.model}'s answers to {measures.short_title(w.source)} hold a verdict in the "
        "judge's form, which moves it."
        for w in warned
        if w.source in benchmarks and w.model in (span.first, span.last)
    ]


def _moved(where: str, partly: bool) -> str:
    return f"Partly {where}" if partly else where.title()


def _unmeasured(span: Span, external: Sequence[Evidence]) -> str:
    """The command for external benchmarks, where not both models have a result of one."""
    if external:
        return ""
    there = {m.name for m in span.facts.models for key in m.results if wording.family(key) in _EXTERNAL}
    if {span.first, span.last} <= there:
        return ""
    lacking = f" of {wording.listing([n for n in (span.first, span.last) if n not in there])}" if there else ""
    run = span.facts.path if span.facts.is_run else "RUN"
    return f"External benchmarks{lacking} were not measured: srbench eval --run {run}."


# --- the evidence


def _weighed(span: Span, against: str, metrics: Callable[[str], Sequence[str]]) -> list[Evidence]:
    return measures.weighed(span.facts, _moves(span, span.last, against, metrics), span.last, against)


def _moves(span: Span, a: str, b: str, metrics: Callable[[str], Sequence[str]]) -> list[Evidence]:
    """What was compared of the metrics that a family of benchmarks has for a question."""
    keys = tables.benchmarks([span.facts])
    asked = ((key, metric) for key in keys for metric in metrics(wording.family(key)))
    found = (measures.evidence(span.facts, key, metric, a, b) for key, metric in asked)
    return [e for e in found if e is not None]


def _answer(question: str, found: Sequence[Evidence], subject: str, against: str) -> Sentence:
    """Yes, no, mixed, or not shown: by how many of the measures."""
    up, down = (len(labelled(found, tone)) for tone in ("better", "worse"))
    n, evidence = len(counted(found)), tuple(found)
    if up and down:
        text = f"{subject} better than {against} on {up} of {n} measures and worse on {down}."
        return Sentence(question, "Mixed", text, "mixed", evidence)
    if up or down:
        moved = up or down
        share = f"on {moved} of {n} measures; for the rest no difference is shown" if n > moved else _on_all(n)
        text = f"{subject} {'better' if up else 'worse'} than {against} {share}."
        return Sentence(question, "Yes" if up else "No, worse", text, "better" if up else "worse", evidence)
    where = "the one measure there is" if n == 1 else f"any of {n} measures" if n else "any measure that counts"
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
