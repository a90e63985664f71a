"""DICE (Chen et al., arXiv 2406.09760): a model that was trained by DPO is a reward model, without being asked.

Its implicit reward of an answer is beta times the log-ratio of the model to its reference. It favours long answers, so
alpha per token is taken off: as much as makes chosen and rejected answers equally long in the mean.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from selfreward_bench.config import EngineConfig, PairsConfig
from selfreward_bench.engines.base import TOO_LONG
from selfreward_bench.judges.pointwise import JudgeItem
from selfreward_bench.progress import Reporter
from selfreward_bench.storage import jsonl
from selfreward_bench.types import Completion, Judgment, Prompt, Reward
from trainers.likelihood import write_likelihoods
from trainers.pairs import usable_sides

__all__ = ["FILES", "alpha_of", "length_regularised", "write_implicit"]

#: log-probabilities of the answers, under the model and under its reference
FILES: Final = ("likelihood.model.jsonl", "likelihood.reference.jsonl")
_HALVINGS: Final = 60

Scored = tuple[float, int]
Group = tuple[Sequence[Scored], Sequence[Scored]]


def write_implicit(
    checkpoints: tuple[Path, Path],
    items: Sequence[JudgeItem],
    path: Path,
    *,
    beta: float,
    key: str,
    engine: EngineConfig,
    max_length: int,
    reporter: Reporter,
    stage: str,
) -> dict[str, float]:
    """Writes the implicit reward of each answer, without the part for its length, as a judgment.

    Args:
        checkpoints: the model, and the reference that it was trained against.
        beta: with which it was trained.
        key: of the judgments, in the place of a judge's.

    Returns:
        ``judged``, ``judgments``, ``parsed``, ``too_long``.
    """
    reporter.started(stage, 2 * len(items), "likelihoods")
    found = [
        write_likelihoods(
            checkpoint,
            items,
            path.with_name(name),
            engine=engine,
            max_length=max_length,
            advanced=reporter.advanced,
        )
        for checkpoint, name in zip(checkpoints, FILES, strict=True)
    ]
    judgments = []
    for item, model, reference in zip(items, *found, strict=True):
        known = model.logp is not None and reference.logp is not None
        judgments.append(
            Judgment(
                prompt_id=item.prompt_id,
                index=item.index,
                judge=key,
                score=beta * (model.logp - reference.logp) if known else None,
                raw=json.dumps({"tokens": model.n_tokens}),
                reason=None if known else TOO_LONG,
            )
        )
    jsonl.write(path, judgments)
    parsed = sum(j.score is not None for j in judgments)
    counts = {"judged": len(items), "judgments": len(items), "parsed": parsed, TOO_LONG: len(items) - parsed}
    return {name: float(value) for name, value in counts.items()}


def length_regularised(rewards: Iterable[Reward], judgments: Iterable[Judgment], alpha: float) -> list[Reward]:
    """The rewards less ``alpha`` times the answer's tokens."""
    tokens = {f"{j.prompt_id}/{j.index}": _tokens(j) for j in judgments}
    return [r if r.score is None else r.model_copy(update={"score": r.score - alpha * tokens[r.id]}) for r in rewards]


def alpha_of(
    rewarded: Iterable[tuple[Prompt, list[Completion], list[Reward]]],
    judgments: Iterable[Judgment],
    config: PairsConfig,
) -> float:
    """What is to be taken off per token: the least at which the best answers of the prompts are, in the mean, no longer
    than the worst.

    Answers that can be in no pair (cut off, say) do not count, as with the authors.

    Args:
        rewarded: each prompt with its answers and their rewards, nothing taken off.
        judgments: which tell how long an answer is: of the first of equal ones.
        config: whose answers are chosen and rejected.
    """
    tokens = {f"{j.prompt_id}/{j.index}": _tokens(j) for j in judgments}
    groups = []
    for _, answers, rewards in rewarded:
        lengths = {a.text: tokens[a.id] for a in reversed(answers) if a.id in tokens}
        chosen, rejected = (
            [(c.score, lengths[c.text]) for c in side] for side in usable_sides(answers, rewards, config)
        )
        if chosen:
            groups.append((chosen, rejected))
    return _found(groups)


def _found(groups: Sequence[Group]) -> float:
    if longer(groups, 0.0) <= 0:
        return 0.0
    low, high = 0.0, 1.0
    while longer(groups, high) > 0 and high < 1e6:
        low, high = high, 2 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if longer(groups, middle) > 0 else (low, middle)
    return high


def longer(groups: Sequence[Group], alpha: float) -> float:
    """By how many tokens the best answers are longer than the worst, in the mean.

    It falls as ``alpha`` rises: whatever is longer loses more.

    Args:
        groups: of each prompt the answers that may be chosen and those that may be rejected, as (reward, tokens).
    """
    total = 0
    for chosen, rejected in groups:
        best = max((score - alpha * length, -length) for score, length in chosen)
        worst = min((score - alpha * length, -length) for score, length in rejected)
        total += worst[1] - best[1]
    return total / len(groups) if groups else 0.0


def _tokens(judgment: Judgment) -> int:
    return int(json.loads(judgment.raw)["tokens"])
