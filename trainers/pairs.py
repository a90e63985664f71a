"""Preference pairs: of a prompt's candidates, one that M_t's judge prefers and one that it does not.

A candidate that was truncated, is empty, repeats an earlier one or has no parsed judgment is in no pair. Two that are
rated alike are no pair. Each loss is counted.
"""

from __future__ import annotations

import random
import statistics
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from selfreward_bench.config import PairsConfig
from selfreward_bench.errors import DataError, UnknownNameError
from selfreward_bench.seeding import derive_seed
from selfreward_bench.types import Completion, Message, PreferencePair, Prompt, Reward
from trainers.answer_sources import named, source_of
from trainers.answers import Answers

__all__ = ["STRATEGIES", "Candidate", "Draw", "PairResult", "make_pairs", "numbered", "pair_up", "usable_sides"]

_EPSILON: Final = 1e-9  # means of the same grades in another order differ by less than this


@dataclass(frozen=True, slots=True)
class Candidate:
    """An answer that may be in a pair, and its reward."""

    index: int
    text: str
    score: float


@dataclass(frozen=True)
class PairResult:
    """The pairs, in the order of their prompts, and what became of all the rest."""

    pairs: list[PreferencePair]
    counts: dict[str, float]


@dataclass(frozen=True, slots=True)
class Draw:
    """What a strategy may go by besides the candidates.

    Attributes:
        config: the settings of pairs.
        random: of this prompt alone, seeded.
    """

    config: PairsConfig
    random: random.Random


Side = Sequence[Candidate]
Matched = Sequence[tuple[Candidate, Candidate]]
Strategy = Callable[[Side, Side, Draw], Matched]


def best_worst(chosen: Side, rejected: Side, draw: Draw) -> Matched:
    """The highest reward against the lowest (paper); among equals the lowest index."""
    return [(_best(chosen), min(rejected, key=lambda c: (c.score, c.index)))]


def best_random(chosen: Side, rejected: Side, draw: Draw) -> Matched:
    """The highest reward against one of the others, whichever is drawn: a rejected answer that is no extreme."""
    best = _best(chosen)
    others = [c for c in rejected if c.index != best.index]
    return [(best, draw.random.choice(others))] if others else best_worst(chosen, rejected, draw)


def all_above_gap(chosen: Side, rejected: Side, draw: Draw) -> Matched:
    """Every two of them whose rewards are ``min_gap`` apart (RS-DPO, arXiv 2402.10038), the widest gap first."""
    least = max(draw.config.min_gap - _EPSILON, _EPSILON)
    matched = [(a, b) for a in chosen for b in rejected if a.score - b.score > least]
    widest = sorted(matched, key=lambda m: (m[1].score - m[0].score, m[0].index, m[1].index))
    return widest or best_worst(chosen, rejected, draw)


def length_aware(chosen: Side, rejected: Side, draw: Draw) -> Matched:
    """Of those whose reward is near the highest the shortest, of those near the lowest the longest.

    Near is within ``rho`` of the range of rewards (Meta-Rewarding's length control, arXiv 2407.19594): 0 decides equals
    alone.

    >>> few = [Candidate(0, "short", 4.0), Candidate(1, "much longer", 4.1), Candidate(2, "x", 1.0)]
    >>> [(a.index, b.index) for a, b in length_aware(few, few, Draw(PairsConfig(rho=0.1), random.Random(0)))]
    [(0, 2)]
    """
    high, low = max(c.score for c in chosen), min(c.score for c in rejected)
    near = draw.config.rho * max(high - low, 0) + _EPSILON
    best = min((c for c in chosen if c.score >= high - near), key=lambda c: (len(c.text), -c.score, c.index))
    worst = max((c for c in rejected if c.score <= low + near), key=lambda c: (len(c.text), -c.score, -c.index))
    return [(best, worst)]


def _best(candidates: Side) -> Candidate:
    return max(candidates, key=lambda c: (c.score, -c.index))


#: (chosen, rejected), one or more: each a candidate of its side; both sides are the same ones but where the settings
#: say whose answers are chosen or rejected
STRATEGIES: Final[dict[str, Strategy]] = {
    "best-worst": best_worst,
    "best-random": best_random,
    "all-above-gap": all_above_gap,
    "length-aware": length_aware,
}


def make_pairs(
    prompts: Sequence[Prompt],
    completions: Sequence[Completion],
    rewards: Iterable[Reward],
    config: PairsConfig,
    *,
    run_seed: int = 0,
) -> PairResult:
    """The pairs of each prompt that the strategy names: one at most, but for ``all-above-gap``.

    Where ``max_pairs`` is set and exceeded, a seeded draw decides which pairs stay; the largest gaps would be the pairs
    where the judge errs most.

    Returns:
        The pairs with counts. Of candidates: ``truncated``, ``empty``, ``unparsed``, ``duplicate`` (the first of these
        that applies). Of prompts: ``prompts``, ``too_few`` (fewer than two usable candidates), ``tied``, ``below_gap``.
        Of pairs: ``over_max``, ``pairs``, ``pair_share`` (per prompt), ``mean_gap``, ``chosen_chars``,
        ``rejected_chars`` (means; not there without pairs).

    Raises:
        UnknownNameError: no such strategy.
        DataError: completions, rewards and prompts do not belong together.
    """
    given: dict[str, list[Reward]] = {}
    for reward in rewards:
        given.setdefault(reward.prompt_id, []).append(reward)
    answers = Answers(prompts, completions)
    pairs: list[PreferencePair] = []

    def rewarded() -> Iterator[tuple[Prompt, list[Completion], list[Reward]]]:
        return ((prompt, group, given.get(prompt.id, [])) for prompt, group in answers)

    counts = pair_up(rewarded, config, run_seed, lambda found, _: pairs.extend(found))
    return PairResult(pairs, counts)


def pair_up(
    rewarded: Callable[[], Iterator[tuple[Prompt, list[Completion], list[Reward]]]],
    config: PairsConfig,
    run_seed: int,
    take: Callable[[list[PreferencePair], list[Reward]], None],
) -> dict[str, float]:
    """As ``make_pairs``, prompt by prompt.

    Args:
        rewarded: gives each prompt with its answers and their rewards; called twice where ``max_pairs`` is set.
        take: gets the pairs of each prompt, and the rewards.
    """
    if config.strategy not in STRATEGIES:
        raise UnknownNameError("pair strategy", config.strategy, STRATEGIES)
    kept, total = None, 0
    if config.max_pairs is not None:
        found = (_pairs_of(*one, config, run_seed, Counter()) for one in rewarded())
        names = numbered(pair.prompt_id for pairs in found for pair in pairs)
        kept, total = _drawn(names, config.max_pairs, run_seed), len(names)
    lost: Counter[str] = Counter()
    gaps, lengths, seen, n_prompts = array("d"), (array("q"), array("q")), 0, 0
    for prompt, answers, rewards in rewarded():
        pairs = _pairs_of(prompt, answers, rewards, config, run_seed, lost)
        chosen = [pair for at, pair in enumerate(pairs, seen) if kept is None or kept[at]]
        seen, n_prompts = seen + len(pairs), n_prompts + 1
        for pair in chosen:
            gaps.append(pair.chosen_score - pair.rejected_score)
            for side, length in zip((pair.chosen, pair.rejected), lengths, strict=True):
                length.append(len(side[-1].content))
        take(chosen, rewards)
    lost["over_max"] = max(0, total - len(gaps))
    return _counts(n_prompts, gaps, lengths, lost)


def usable_sides(answers: Sequence[Completion], rewards: Iterable[Reward], config: PairsConfig) -> tuple[Side, Side]:
    """Which answers to a prompt may be chosen, and which rejected; nothing where there is no pair to be made."""
    return _sides(answers, _scores(rewards), config, Counter())


def _pairs_of(
    prompt: Prompt,
    answers: Sequence[Completion],
    rewards: Sequence[Reward],
    config: PairsConfig,
    run_seed: int,
    lost: Counter[str],
) -> list[PreferencePair]:
    sides = _sides(answers, _scores(rewards), config, lost)
    return _pairs(prompt, sides, Draw(config, _random(run_seed, prompt)), lost)


def _scores(rewards: Iterable[Reward]) -> dict[str, float | None]:
    scores: dict[str, float | None] = {}
    for reward in rewards:
        if reward.id in scores:
            raise DataError(f"Response {reward.id!r} has two rewards; each needs exactly one.")
        scores[reward.id] = reward.score
    return scores


def _usable(answers: Sequence[Completion], scores: Mapping[str, float | None], lost: Counter[str]) -> list[Candidate]:
    usable: dict[str, Candidate] = {}
    for answer in answers:
        if answer.id not in scores:
            raise DataError(f"Response {answer.id!r} has no reward; rewards and completions do not belong together.")
        score, text = scores[answer.id], answer.text.strip()
        if answer.finish_reason == "length":
            lost["truncated"] += 1
        elif not text:
            lost["empty"] += 1
        elif score is None:
            lost["unparsed"] += 1
        elif text in usable:
            lost["duplicate"] += 1
        else:
            usable[text] = Candidate(answer.index, answer.text, score)
    return list(usable.values())


def _random(run_seed: int, prompt: Prompt) -> random.Random:
    return random.Random(derive_seed(run_seed, "pairs/strategy", prompt.id))


def _sides(
    answers: Sequence[Completion], scores: Mapping[str, float | None], config: PairsConfig, lost: Counter[str]
) -> tuple[Side, Side]:
    """Who may be chosen and who rejected; nothing where there are not two."""
    sides = [named(side) for side in (config.chosen_from, config.rejected_from)]
    if set(sides[0]) & set(sides[1]):  # an answer may be on either, and counts once
        usable = _usable([a for a in answers if source_of(a.index) in sides[0] + sides[1]], scores, lost)
        chosen, rejected = ([c for c in usable if source_of(c.index) in side] for side in sides)
        return (chosen, rejected) if chosen and rejected and len(usable) > 1 else ((), ())
    chosen, rejected = (_usable([a for a in answers if source_of(a.index) in side], scores, lost) for side in sides)
    return (chosen, rejected) if chosen and rejected else ((), ())


def _pairs(prompt: Prompt, sides: tuple[Side, Side], draw: Draw, lost: Counter[str]) -> list[PreferencePair]:
    if not sides[0]:
        lost["too_few"] += 1
        return []
    pairs = []
    for chosen, rejected in STRATEGIES[draw.config.strategy](*sides, draw):
        gap = chosen.score - rejected.score
        if gap <= _EPSILON:
            lost["tied"] += 1
        elif gap < draw.config.min_gap - _EPSILON:
            lost["below_gap"] += 1
        elif chosen.text.strip() == rejected.text.strip():
            lost["duplicate"] += 1
        else:
            pairs.append(_pair(prompt, chosen, rejected))
    return pairs


def _pair(prompt: Prompt, chosen: Candidate, rejected: Candidate) -> PreferencePair:
    return PreferencePair(
        prompt_id=prompt.id,
        prompt=prompt.messages,
        chosen=(Message(role="assistant", content=chosen.text),),
        rejected=(Message(role="assistant", content=rejected.text),),
        chosen_score=chosen.score,
        rejected_score=rejected.score,
        chosen_index=chosen.index,
        rejected_index=rejected.index,
    )


def numbered(ids: Iterable[str]) -> list[str]:
    """Names that are one pair's each: a prompt's first pair has the prompt's id, the others a number behind it.

    >>> numbered(["a", "b", "a", "a"])
    ['a', 'b', 'a#1', 'a#2']
    """
    seen: Counter[str] = Counter()
    names = []
    for name in ids:
        names.append(f"{name}#{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return names


def _drawn(names: Sequence[str], limit: int, run_seed: int) -> bytearray:
    """Marks of ``limit`` pairs by a seeded draw, of all where these are fewer."""
    drawn = sorted(range(len(names)), key=lambda at: derive_seed(run_seed, "pairs/draw", names[at]))[:limit]
    kept = bytearray(len(names))
    for at in drawn:
        kept[at] = 1
    return kept


def _counts(
    n_prompts: int, gaps: Sequence[float], lengths: tuple[Sequence[int], Sequence[int]], lost: Counter[str]
) -> dict[str, float]:
    names = ("truncated", "empty", "unparsed", "duplicate", "too_few", "tied", "below_gap", "over_max")
    counts: dict[str, float] = {"prompts": n_prompts, "pairs": len(gaps), **{name: lost[name] for name in names}}
    counts["pair_share"] = len(gaps) / n_prompts if n_prompts else 0.0
    if gaps:
        counts["mean_gap"] = statistics.fmean(gaps)
        counts["chosen_chars"], counts["rejected_chars"] = map(statistics.fmean, lengths)
    return counts
