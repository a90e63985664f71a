"""Preference pairs: of a prompt's candidates, one that M_t's judge prefers and one that it does not.

A candidate that was truncated, is empty, repeats an earlier one or has no parsed judgment is in no pair. A prompt whose
two are rated alike gives no pair. Each loss is counted.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from selfreward_bench.config import PairsConfig
from selfreward_bench.errors import DataError, UnknownNameError
from selfreward_bench.seeding import derive_seed
from selfreward_bench.types import Completion, Message, PreferencePair, Prompt, Reward
from trainers.candidates import by_prompt

__all__ = ["STRATEGIES", "Candidate", "PairResult", "best_worst", "make_pairs"]

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


Strategy = Callable[[Sequence[Candidate]], tuple[Candidate, Candidate]]


def best_worst(candidates: Sequence[Candidate]) -> tuple[Candidate, Candidate]:
    """The highest reward against the lowest (paper); among equals the lowest index."""
    best = max(candidates, key=lambda c: (c.score, -c.index))
    worst = min(candidates, key=lambda c: (c.score, c.index))
    return best, worst


#: (chosen, rejected) out of at least two candidates whose texts differ
STRATEGIES: Final[dict[str, Strategy]] = {"best-worst": best_worst}


def make_pairs(
    prompts: Sequence[Prompt],
    completions: Iterable[Completion],
    rewards: Iterable[Reward],
    config: PairsConfig,
    *,
    run_seed: int = 0,
) -> PairResult:
    """At most one pair per prompt.

    Where ``max_pairs`` is set and exceeded, a seeded draw decides which pairs stay; the largest gaps would be the pairs
    where the judge errs most.

    Returns:
        The pairs with counts. Of candidates: ``truncated``, ``empty``, ``unparsed``, ``duplicate`` (the first of these
        that applies). Of prompts: ``prompts``, ``too_few`` (fewer than two usable candidates), ``tied``, ``below_gap``,
        ``over_max``, ``pairs``, ``pair_share``. Of pairs: ``mean_gap``, ``chosen_chars``, ``rejected_chars`` (means;
        not there without pairs).

    Raises:
        UnknownNameError: no such strategy.
        DataError: completions, rewards and prompts do not belong together.
    """
    if config.strategy not in STRATEGIES:
        raise UnknownNameError("pair strategy", config.strategy, STRATEGIES)
    scores = _scores(rewards)
    lost: Counter[str] = Counter()
    pairs = []
    answers = by_prompt(prompts, completions)
    for prompt in prompts:
        usable = _usable(answers[prompt.id], scores, lost)
        pair = _pair(prompt, usable, config, lost)
        if pair:
            pairs.append(pair)
    kept = _drawn(pairs, config.max_pairs, run_seed)
    lost["over_max"] = len(pairs) - len(kept)
    return PairResult(kept, _counts(len(prompts), kept, lost))


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


def _pair(
    prompt: Prompt, usable: Sequence[Candidate], config: PairsConfig, lost: Counter[str]
) -> PreferencePair | None:
    if len(usable) < 2:
        lost["too_few"] += 1
        return None
    chosen, rejected = STRATEGIES[config.strategy](usable)
    gap = chosen.score - rejected.score
    if gap <= _EPSILON:
        lost["tied"] += 1
        return None
    if gap < config.min_gap - _EPSILON:
        lost["below_gap"] += 1
        return None
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


def _drawn(pairs: Sequence[PreferencePair], limit: int | None, run_seed: int) -> list[PreferencePair]:
    """``limit`` pairs by a seeded draw, in their order."""
    if limit is None or len(pairs) <= limit:
        return list(pairs)
    drawn = sorted(pairs, key=lambda p: derive_seed(run_seed, "pairs/draw", p.id))[:limit]
    ids = {p.id for p in drawn}
    return [p for p in pairs if p.id in ids]


def _counts(n_prompts: int, pairs: Sequence[PreferencePair], lost: Counter[str]) -> dict[str, float]:
    names = ("truncated", "empty", "unparsed", "duplicate", "too_few", "tied", "below_gap", "over_max")
    counts: dict[str, float] = {"prompts": n_prompts, "pairs": len(pairs), **{name: lost[name] for name in names}}
    counts["pair_share"] = len(pairs) / n_prompts if n_prompts else 0.0
    if pairs:
        counts["mean_gap"] = statistics.fmean(p.chosen_score - p.rejected_score for p in pairs)
        counts["chosen_chars"] = statistics.fmean(len(p.chosen[-1].content) for p in pairs)
        counts["rejected_chars"] = statistics.fmean(len(p.rejected[-1].content) for p in pairs)
    return counts
