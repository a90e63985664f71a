"""DICE (Chen et al., arXiv 2406.09760): a model that was trained by DPO is a reward model, without being asked.

Its implicit reward of an answer is beta times the log-ratio of the model to its reference. It favours long answers, so
alpha per token is taken off: as much as makes chosen and rejected answers equally long in the mean.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from selfreward_bench.config import EngineConfig
from selfreward_bench.engines.base import TOO_LONG
from selfreward_bench.judges.pointwise import JudgeItem
from selfreward_bench.progress import Reporter
from selfreward_bench.storage import jsonl
from selfreward_bench.types import Judgment, Reward
from trainers.likelihood import write_likelihoods

__all__ = ["FILES", "alpha_of", "length_regularised", "write_implicit"]

#: log-probabilities of the answers, under the model and under its reference
FILES: Final = ("likelihood.model.jsonl", "likelihood.reference.jsonl")
_HALVINGS: Final = 60


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


def length_regularised(
    rewards: Sequence[Reward], judgments: Sequence[Judgment], alpha: float | None
) -> tuple[list[Reward], float]:
    """The rewards less ``alpha`` times the answer's tokens.

    Args:
        alpha: None finds it: the least one at which the best answers of the prompts are, in the mean, no longer than
            the worst.

    Returns:
        The rewards, and alpha.
    """
    tokens = {f"{j.prompt_id}/{j.index}": _tokens(j) for j in judgments}
    if alpha is None:
        alpha = _found(rewards, tokens)
    shaped = [r if r.score is None else r.model_copy(update={"score": r.score - alpha * tokens[r.id]}) for r in rewards]
    return shaped, alpha


def alpha_of(judgments: Iterable[Judgment], alpha: float | None) -> float:
    """What is taken off per token: as the settings say, or found (see ``length_regularised``)."""
    if alpha is not None:
        return alpha
    found, tokens = [], {}
    for judgment in judgments:
        of, known = judgment.prompt_id, int(judgment.score is not None)
        found.append(Reward(prompt_id=of, index=judgment.index, score=judgment.score, n_parsed=known, n_judgments=1))
        tokens[found[-1].id] = _tokens(judgment)
    return _found(found, tokens)


def _found(rewards: Sequence[Reward], tokens: dict[str, int]) -> float:
    groups: dict[str, list[tuple[float, int]]] = {}
    for reward in rewards:
        if reward.score is not None:
            groups.setdefault(reward.prompt_id, []).append((reward.score, tokens[reward.id]))
    asked = [group for group in groups.values() if len(group) > 1]
    if longer(asked, 0.0) <= 0:
        return 0.0
    low, high = 0.0, 1.0
    while longer(asked, high) > 0 and high < 1e6:
        low, high = high, 2 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if longer(asked, middle) > 0 else (low, middle)
    return high


def longer(groups: Sequence[Sequence[tuple[float, int]]], alpha: float) -> float:
    """By how many tokens the best answers are longer than the worst, in the mean; answers are (reward, tokens).

    It falls as ``alpha`` rises: whatever is longer loses more.
    """
    total = 0
    for group in groups:
        ranked = sorted((score - alpha * length, -length) for score, length in group)
        total += ranked[0][1] - ranked[-1][1]
    return total / len(groups) if groups else 0.0


def _tokens(judgment: Judgment) -> int:
    return int(json.loads(judgment.raw)["tokens"])
