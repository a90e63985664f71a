"""Head-to-head: checkpoints on the same prompts, all pairs, judged in both orders (arXiv 2401.10020).

``compare`` takes the stored answers of all checkpoints (``answers``), asks the judge about all pairs and
sums up. Verdicts are kept (``verdicts``), so that a checkpoint added later costs its own comparisons only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Final, Literal

from leaderboards import chain, standings
from leaderboards.asked import Asked
from leaderboards.base import Calls, JudgeRole, Plan
from leaderboards.head_to_head.answers import Entry, hash_prompts
from leaderboards.head_to_head.judges import PairAnnotator, annotator_for
from leaderboards.head_to_head.micro import HEAD_TO_HEAD as MICRO_HEAD_TO_HEAD
from leaderboards.head_to_head.ratings import Comparison, bradley_terry, pair_result
from leaderboards.head_to_head.verdicts import COMPARISONS, Match, Verdict, judged, kind_of
from leaderboards.standings import HeadToHead, Positions, Tournament
from selfreward_bench.config import RunConfig
from selfreward_bench.errors import ConfigError, DataError, UnknownNameError
from selfreward_bench.judges.pairwise import Order
from selfreward_bench.seeding import derive_seed
from selfreward_bench.types import Prompt

__all__ = ["HEAD_TO_HEAD", "RULES", "Rule", "combined", "compare", "plan"]

HEAD_TO_HEAD: Final = "head-to-head@1"

Rule = Literal["agree", "mean", "first-order-only"]

#: how the two orders of a comparison become one result
RULES: Final[Mapping[Rule, str]] = {
    "agree": "both orders, disagreement is a tie",
    "mean": "both orders, mean of their preferences",
    "first-order-only": "one order, drawn per comparison by a seeded coin",
}


def plan(
    n_checkpoints: int, prompts: Sequence[Prompt], config: RunConfig, annotator: PairAnnotator, rule: Rule = "agree"
) -> Plan:
    """Answers, and judgments at most: identical answers are not judged. Given text has at most a token per byte."""
    new = config.eval.answering.max_new_tokens
    read = sum(len(m.content.encode("utf-8", "replace")) for p in prompts for m in p.messages)
    n_pairs = n_checkpoints * (n_checkpoints - 1) // 2
    times = n_pairs * len(_orders(annotator, rule, config.seed, ""))
    bounds = [annotator.bound(p.messages, new) for p in prompts]
    return Plan(
        Calls(n_checkpoints * len(prompts), n_checkpoints * read, n_checkpoints * len(prompts) * new),
        Calls(
            times * len(prompts),
            times * sum(b.prompt_tokens for b in bounds),
            times * sum(b.completion_tokens for b in bounds),
        ),
    )


def compare(
    entries: Sequence[Entry],
    prompts: Sequence[Prompt],
    judge: JudgeRole,
    *,
    directory: Path,
    config: RunConfig,
    rule: Rule = "agree",
    annotator: PairAnnotator | None = None,
    anchor: str | None = None,
    judge_truncated: bool = False,
    advanced: Callable[[int], None] = lambda _: None,
) -> Tournament:
    """Judges all pairs and writes ``head_to_head.json``; verdicts are stored in ``comparisons.jsonl``.

    Of each pair the later checkpoint (in the order of training, of other models in that of the entries) is ``a``. A
    comparison without a verdict is unscored, with its reason, and asked for again on the next call.

    Args:
        entries: two or more; names differ.
        annotator: None takes ``annotator_for(judge, config)``.
        anchor: of the ratings; None takes M1, or the first checkpoint.
        judge_truncated: whether answers cut at the token limit are judged as they stand, and not left unscored.
        advanced: told how many more judgments are there.

    Raises:
        ConfigError: fewer than two checkpoints, a name twice or with a ``|`` in it.
        UnknownNameError: there is no such rule or anchor.
        DataError: an entry answered other prompts, or stored verdicts cannot be read.
    """
    by_name = _checked(entries, prompts, rule)
    names = list(by_name)
    anchor = anchor or chain.anchor(names) or names[0]
    if anchor not in by_name:
        raise UnknownNameError("checkpoint", anchor, names)
    asked = annotator or annotator_for(judge, config)
    matches = [
        _match(by_name[a], by_name[b], p, _orders(asked, rule, config.seed, f"{a}|{b}|{p.id}"), judge_truncated)
        for b, a in combinations(names, 2)
        for p in prompts
    ]
    requests = Asked(directory, {"judge": judge.engine}, owner=judge.snapshot, settings=judge.request)
    said = judged(matches, asked, judge, directory / COMPARISONS, advanced)
    comparability = _comparability(by_name.values(), prompts, judge, asked, rule, judge_truncated, said.verdicts)
    comparability |= requests.condition()
    scored = [_comparison(m, said.verdicts, said.reasons, rule) for m in matches]
    benchmark = MICRO_HEAD_TO_HEAD if judge.engine is None else HEAD_TO_HEAD
    table = bradley_terry(names, scored, anchor=anchor)
    result = Tournament(
        benchmark=benchmark,
        checkpoints={name: entry.fingerprint for name, entry in by_name.items()},
        judge=asked.key,
        rule=rule,
        anchor=anchor,
        n_prompts=len(prompts),
        pairs=tuple(_pairs(matches, scored, said.verdicts, benchmark, asked.key, comparability)),
        ratings=table.ratings,
        comparability=comparability,
        incomplete=said.again,
        notes=(*_notes(by_name.values(), judge), *table.notes),
    )
    standings.write_record(directory / standings.TOURNAMENT, result)
    return result


def _checked(entries: Sequence[Entry], prompts: Sequence[Prompt], rule: str) -> dict[str, Entry]:
    """The entries by name, of one run in the order of training."""
    if rule not in RULES:
        raise UnknownNameError("rule", rule, RULES)
    found = {e.name: e for e in entries}
    if len(found) < 2 or len(found) < len(entries):
        raise ConfigError(
            f"Head-to-head of {', '.join(e.name for e in entries) or 'nothing'}: two or more checkpoints are needed, "
            "each with a name of its own."
        )
    if bad := [name for name in found if "|" in name or not name.isprintable()]:
        raise ConfigError(f"The name {bad[0]!r} cannot be used here: give one without `|` and control characters.")
    expected = hash_prompts(prompts)
    if others := [e.name for e in entries if e.prompts not in ("", expected)]:
        raise DataError(
            f"{', '.join(others)} answered other prompts than the {len(prompts)} given. Let all checkpoints answer the "
            "same prompts."
        )
    return {name: found[name] for name in chain.in_turn(found)}


def _orders(annotator: PairAnnotator, rule: Rule, seed: int, name: str) -> tuple[Order, ...]:
    if not annotator.sees_order:
        return ("ab",)
    if rule == "first-order-only":
        return ("ab",) if derive_seed(seed, "eval/head-to-head/order", name) % 2 else ("ba",)
    return ("ab", "ba")


def _match(a: Entry, b: Entry, prompt: Prompt, orders: tuple[Order, ...], judge_truncated: bool) -> Match:
    found = (a.answers.get(prompt.id), b.answers.get(prompt.id))
    reasons: dict[str, list[str]] = {}
    for entry, completion in zip((a, b), found, strict=True):
        if completion is None:
            reasons.setdefault(kind_of(entry.failures.get(prompt.id, "no_answer")), []).append(entry.name)
        elif completion.finish_reason == "length" and not judge_truncated:
            reasons.setdefault("answer_truncated", []).append(entry.name)
    reason = "; ".join(f"{why}: {', '.join(who)}" for why, who in reasons.items()) or None
    texts = ("" if found[0] is None else found[0].text, "" if found[1] is None else found[1].text)
    return Match(a.name, b.name, prompt, texts, reason, orders)


def _comparison(match: Match, verdicts: Mapping[str, Verdict], reasons: Mapping[str, str], rule: Rule) -> Comparison:
    def result(points: float | None, reason: str | None = None) -> Comparison:
        return Comparison(match.a, match.b, match.prompt.id, points, reason)

    if match.reason is not None:
        return result(None, match.reason)
    if match.identical:
        return result(0.5)
    ids = [match.showing(order).id for order in match.orders]
    if lacking := [i for i in ids if i not in verdicts]:
        return result(None, reasons[lacking[0]])
    preferences = [p for i in ids if (p := verdicts[i].for_a) is not None]
    return result(combined(preferences, rule))


def combined(preferences: Sequence[float], rule: Rule) -> float:
    """Points from the preferences of all orders asked, each from the same checkpoint's side.

    >>> combined([0.9, 0.6], "agree"), combined([0.9, 0.2], "agree"), combined([0.9, 0.2], "mean")
    (1.0, 0.5, 0.55)
    """
    if rule == "mean":
        return sum(preferences) / len(preferences)
    outcomes = {_outcome(p) for p in preferences}
    return outcomes.pop() if len(outcomes) == 1 else 0.5


def _outcome(preference: float) -> float:
    return float(preference > 0.5) + (preference == 0.5) / 2


# --- summing up


def _pairs(
    matches: Sequence[Match],
    scored: Sequence[Comparison],
    verdicts: Mapping[str, Verdict],
    benchmark: str,
    judge: str,
    comparability: Mapping[str, str],
) -> Iterator[HeadToHead]:
    of: dict[tuple[str, str], list[tuple[Match, Comparison]]] = {}
    for match, comparison in zip(matches, scored, strict=True):
        of.setdefault((match.a, match.b), []).append((match, comparison))
    for (a, b), both in of.items():
        yield pair_result(
            a,
            b,
            [comparison for _, comparison in both],
            benchmark=benchmark,
            judge=judge,
            n_identical=sum(match.identical for match, _ in both),
            positions=_positions([match for match, _ in both], verdicts),
            comparability=comparability,
        )


def _positions(matches: Sequence[Match], verdicts: Mapping[str, Verdict]) -> Positions | None:
    shown = [[verdicts.get(m.showing(order).id) for order in m.orders] for m in matches if len(m.orders) == 2]
    if not shown:
        return None
    both = [(ab, ba) for ab, ba in shown if ab is not None and ba is not None]
    agreeing = sum(_outcome(ab.for_a or 0.0) == _outcome(ba.for_a or 0.0) for ab, ba in both)
    decided = [v.preference > 0.5 for pair in both for v in pair if v.preference not in (None, 0.5)]
    return Positions(
        consistency=agreeing / len(both) if both else None,
        first_preferred=sum(decided) / len(decided) if decided else None,
        n_both=len(both),
        n_decided=len(decided),
    )


def _comparability(
    entries: Collection[Entry],
    prompts: Sequence[Prompt],
    judge: JudgeRole,
    annotator: PairAnnotator,
    rule: Rule,
    judge_truncated: bool,
    verdicts: Mapping[str, Verdict],
) -> dict[str, str]:
    settings = {e.settings for e in entries}
    return {
        "judge": judge.name,
        "snapshot": judge.snapshot,
        **annotator.parameters,
        "read from": ", ".join(sorted({v.way for v in verdicts.values()})) or "nothing",
        "order": RULES[rule] if annotator.sees_order else "the judge sees no order",
        "truncated": "judged as they stand" if judge_truncated else "not scored",
        "answers": settings.pop() if len(settings) == 1 else "unlike",
        "data": hash_prompts(prompts),
    }


def _notes(entries: Collection[Entry], judge: JudgeRole) -> Iterator[str]:
    if len({e.settings for e in entries}) > 1:
        yield "The checkpoints answered with unlike settings; differences between them are not those of the weights."
    by_weights: dict[str, list[str]] = {}
    for entry in entries:
        by_weights.setdefault(entry.fingerprint, []).append(entry.name)
    for same in by_weights.values():
        if len(same) > 1:
            yield f"{' and '.join(same)} have the same weights."
    if own := by_weights.get(judge.snapshot):
        yield f"The judge is {own[0]} itself; a model may prefer its own answers."
