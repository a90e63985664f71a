"""EFT: teaches the model to judge. Judge prompt in, justification and score out (arXiv 2401.10020, section 2.1).

A review comes with the data, is one of the reviewer's judgments, or the grade alone, made of the human order. It is
kept where the reviews of its prompt order the responses as humans did; a score that is far more common than the others
is thinned.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from selfreward_bench.config import SeedConfig
from selfreward_bench.errors import DataError
from selfreward_bench.judges.prompts import JudgePrompt
from selfreward_bench.seeding import derive_seed
from selfreward_bench.types import Example, Judgment, Message, RankedPrompt

__all__ = ["EftResult", "build_eft", "graded_by_rank", "thinned"]


@dataclass(frozen=True)
class EftResult:
    """Examples, in the order of the ranked prompts, and what became of the other responses (see `build_eft`)."""

    examples: list[Example]
    counts: dict[str, float]


@dataclass(frozen=True, slots=True)
class _Review:
    text: str
    score: float


@dataclass(frozen=True, slots=True)
class _Response:
    """One response with its human rank (0 is best) and the readable reviews of it, in their order."""

    index: int
    rank: int
    reviews: tuple[_Review, ...]


def build_eft(
    ranked: Sequence[RankedPrompt],
    reviews: Iterable[Judgment],
    judge_prompt: JudgePrompt,
    config: SeedConfig,
    run_seed: int = 0,
) -> EftResult:
    """Makes EFT examples of ranked responses.

    A response without a readable review is left out. Of several reviews, each response takes its first one that leaves
    all of the prompt an order humans agree with; where there is none, or all scores are equal, the prompt is dropped.

    Args:
        reviews: the SFT baseline's judgments (mode ``sampled``) of responses that bring no review of their own.
        judge_prompt: renders the prompt of an example, exactly as the judge will be asked, and reads the scores.
        config: ``eft_flatten``: a score is thinned to at most this multiple of the median of the other scores' counts.

    Returns:
        Example ids are ``PROMPT/NUMBER``. Counts of responses: ``responses``; dropped: ``no_review``, ``unparsed``,
        ``no_order`` (humans order none of what is left of the prompt), ``order_disagrees``, ``all_equal``,
        ``flattened``; ``examples`` kept; and the histogram, ``score_4_before`` and ``score_4`` (after thinning).

    Raises:
        DataError: no example is left.
    """
    own: dict[str, list[Judgment]] = {}
    for judgment in sorted(reviews, key=lambda j: j.sample):
        own.setdefault(f"{judgment.prompt_id}/{judgment.index}", []).append(judgment)
    counts: Counter[str] = Counter(responses=sum(len(p.responses) for p in ranked))
    examples: list[Example] = []
    scores: list[float] = []
    for prompt in ranked:
        responses = [r for i in range(len(prompt.responses)) if (r := _read(prompt, i, own, judge_prompt, counts))]
        chosen, loss = _agreeing(responses)
        if loss:
            counts[loss] += len(responses)
        for index, review in chosen.items():
            examples.append(_example(prompt, index, review.text, judge_prompt))
            scores.append(review.score)
    kept = thinned([e.id for e in examples], scores, config.eft_flatten, run_seed)
    result = EftResult([examples[i] for i in kept], _counts(counts, scores, [scores[i] for i in kept]))
    if not kept:
        raise DataError(_nothing_left(result.counts, judge_prompt))
    return result


def graded_by_rank(ranked: Sequence[RankedPrompt], judge_prompt: JudgePrompt) -> list[RankedPrompt]:
    """Gives each response without a review the grade alone: the best of its prompt the highest, the worst the lowest.

    The grades between are spread evenly over the prompt's ranks. Nothing says how good the best one is, so a judge
    that is trained on this learns an order, and no reasons: it suits mode ``expected``. Prompts whose responses all
    have one rank stay as they are.
    """
    return [_graded(prompt, judge_prompt) for prompt in ranked]


def _graded(prompt: RankedPrompt, judge_prompt: JudgePrompt) -> RankedPrompt:
    ranks = sorted({r.rank for r in prompt.responses})
    if len(ranks) < 2:
        return prompt
    grades = judge_prompt.grades
    spread = {rank: grades[round((len(grades) - 1) * (1 - i / (len(ranks) - 1)))] for i, rank in enumerate(ranks)}
    responses = tuple(
        r if r.review is not None else r.model_copy(update={"review": judge_prompt.verdict(spread[r.rank])})
        for r in prompt.responses
    )
    return prompt.model_copy(update={"responses": responses})


def _read(
    prompt: RankedPrompt, index: int, own: Mapping[str, list[Judgment]], judge_prompt: JudgePrompt, counts: Counter[str]
) -> _Response | None:
    """A response with its readable reviews; None, counted, when it has none.

    What becomes a target must hold its verdict by itself: a judgment whose text reads otherwise than its score (cut
    off after a verdict; a distribution instead of a text) is not readable.
    """
    response = prompt.responses[index]
    if response.review is not None:
        texts = [response.review.strip()]
    else:
        texts = [j.raw.strip() if j.score is not None else "" for j in own.get(f"{prompt.id}/{index}", [])]
    scores = [judge_prompt.read(text, truncated=False).score for text in texts]
    readable = tuple(_Review(text, score) for text, score in zip(texts, scores, strict=True) if score is not None)
    if not readable:
        counts["unparsed" if texts else "no_review"] += 1
        return None
    return _Response(index, response.rank, readable)


def _agreeing(responses: Sequence[_Response]) -> tuple[dict[int, _Review], str | None]:
    """A review for each response such that no pair is ordered against the human ranks, or why there is none.

    Two passes over the ranks. From the best down: the highest score each response can have when no better one is to
    fall below it. From the worst up: the first review between what worse ones took and that ceiling. If there is any
    agreeing choice, the ceilings are one, so this finds it.
    """
    by_rank = [[r for r in responses if r.rank == rank] for rank in sorted({r.rank for r in responses})]
    if len(by_rank) < 2:
        return {}, "no_order"
    ceilings: dict[int, float] = {}
    limit = math.inf
    for tier in by_rank:
        for response in tier:
            ceilings[response.index] = max((v.score for v in response.reviews if v.score <= limit), default=-math.inf)
        limit = min(ceilings[r.index] for r in tier)
    if limit == -math.inf:
        return {}, "order_disagrees"
    chosen: dict[int, _Review] = {}
    floor = -math.inf
    for tier in reversed(by_rank):
        for r in tier:
            chosen[r.index] = next(v for v in r.reviews if floor <= v.score <= ceilings[r.index])
        floor = max(chosen[r.index].score for r in tier)
    if len({review.score for review in chosen.values()}) == 1:
        return {}, "all_equal"
    return dict(sorted(chosen.items())), None


def _example(prompt: RankedPrompt, index: int, review: str, judge_prompt: JudgePrompt) -> Example:
    return Example(
        id=f"{prompt.id}/{index}",
        prompt=judge_prompt.render(prompt.messages, response=prompt.responses[index].text),
        completion=(Message(role="assistant", content=review),),
        source="eft",
    )


def thinned(ids: Sequence[str], scores: Sequence[float], factor: float | None, run_seed: int) -> list[int]:
    """Positions that stay, where a score is thinned to ``factor`` times the median of the other scores' counts.

    Which ones of a too common score stay is a seeded draw; without a factor all do.
    """
    histogram = Counter(scores)
    if factor is None or len(histogram) < 2:
        return list(range(len(ids)))
    kept: list[int] = []
    for score, count in histogram.items():
        others = [n for other, n in histogram.items() if other != score]
        limit = max(1, math.floor(factor * statistics.median(others)))
        places = [i for i, s in enumerate(scores) if s == score]
        kept += sorted(places, key=lambda i: derive_seed(run_seed, "eft/flatten", ids[i]))[: min(count, limit)]
    return sorted(kept)


def _counts(counts: Counter[str], before: Sequence[float], after: Sequence[float]) -> dict[str, float]:
    names = ("responses", "no_review", "unparsed", "no_order", "order_disagrees", "all_equal")
    first, last = Counter(before), Counter(after)
    return {
        **{name: counts[name] for name in names},
        "flattened": len(before) - len(after),
        "examples": len(after),
        **{f"score_{score:g}_before": first[score] for score in sorted(first)},
        **{f"score_{score:g}": last[score] for score in sorted(first)},
    }


def _nothing_left(counts: Mapping[str, float], judge_prompt: JudgePrompt) -> str:
    listing = ", ".join(f"{name} {value:g}" for name, value in counts.items() if value)
    return (
        f"No EFT example is left ({listing or 'there are no ranked responses'}). If reviews do not parse, they do not "
        f"end as judge prompt {judge_prompt.name!r} asks: choose another judge.prompt, or mend the field 'review'; the "
        "SFT baseline's reviews must be sampled. If their order disagrees with the human ranks, raise "
        "seeds.eft_samples, train the SFT baseline longer, or let another model review (seeds.reviewer; with ranks, "
        "grades are made of human ranks). If all reviews of a prompt give one score (all_equal), they order nothing: "
        "the same helps."
    )
