"""CREAM (Wang et al., arXiv 2410.12735): how far to trust a round's own preferences.

The judge of the round before ranks the same candidates. As far as both judges agree (Kendall's tau of a prompt's
rewards, as a share: C = (tau + 1) / 2, mean over prompts) the loss is DPO's; with the rest of the weight it is DPO's of
the pairs turned round: C L(chosen over rejected) + (1 - C) L(rejected over chosen).
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from selfreward_bench import stats
from selfreward_bench.types import Reward

__all__ = ["consistency"]


def consistency(rewards: Iterable[Reward], earlier: Iterable[Reward]) -> dict[str, float]:
    """How alike two judges rank each prompt's answers.

    Returns:
        ``consistency`` (C, 1 where they never differ, 1/2 where nothing joins them), ``tau``, and ``ranked``: the
        prompts on which it rests. Prompts that a judge rates all alike, or of which it scores fewer than two answers,
        are not ranked; without any, C is 1/2.
    """
    before = {reward.id: reward.score for reward in earlier}
    groups: dict[str, list[tuple[float | None, float | None]]] = {}
    for reward in rewards:
        if reward.id in before:
            groups.setdefault(reward.prompt_id, []).append((reward.score, before[reward.id]))
    found = [_tau([pair for pair in group if None not in pair]) for group in groups.values()]
    taus = [tau for tau in found if tau is not None]
    tau = statistics.fmean(taus) if taus else 0.0
    return {"consistency": (tau + 1) / 2, "tau": tau, "ranked": len(taus)}


def _tau(scores: list[tuple[float | None, float | None]]) -> float | None:
    if len(scores) < 2:
        return None
    return stats.kendall_tau_b([now for now, _ in scores], [then for _, then in scores])
