"""Whether a round could teach anything, and did: in words, for the terminal, ``iteration.json`` and the report.

A warning stops nothing. What Health watches over several checkpoints is not told here again, but for the yield of
pairs, which should be known before a long training.
"""

from __future__ import annotations

import json
import math
import statistics
from array import array
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from selfreward_bench.config import JudgeConfig
from selfreward_bench.judges.prompts import load_judge_prompt
from selfreward_bench.types import Reward

__all__ = ["LOW_YIELD", "length_warnings", "pair_warnings", "training_warnings"]

LOW_YIELD: Final = 0.3  # pairs per prompt; the threshold of Health
_LEAST_GAP: Final = 0.01  # of the judge's scale: less is no preference anybody would call one
_LEAST_FALL: Final = 0.002  # nats below ln 2
_LEAST_STEPS: Final = 10  # in the second half of a training; of fewer their scatter tells nothing
_FEW_STEPS: Final = 3  # of so many it can be said that none moved
_MOST_LEFT_OUT: Final = 0.1  # of the records


def pair_warnings(
    model: str, counts: Mapping[str, float], rewards: Iterable[Reward], judge: JudgeConfig | None
) -> Iterator[str]:
    """What makes a round's preferences doubtful before anything is trained on them.

    Args:
        counts: of the stage ``pairs``.
        rewards: of its candidates.
        judge: who gave them; None where nobody did (a control).
    """
    share = counts.get("pair_share", 0.0)
    if share < LOW_YIELD:
        yield (
            f"{model}: only {share:.0%} of the prompts gave a preference pair ({counts.get('pairs', 0):,.0f} of "
            f"{counts.get('prompts', 0):,.0f}). The counts of {model}/pairs say where the others went."
        )
    if judge is None or "mean_gap" not in counts:
        return
    low, high = _scale(judge)
    gap, noise = counts["mean_gap"], _noise(rewards)
    if gap < _LEAST_GAP * (high - low):
        yield (
            f"{model}: the chosen answers are rated {gap:.3g} above the rejected ones in the mean, on a scale of "
            f"{low:g} to {high:g}: hardly a preference. Raise pairs.min_gap, or look at the judge (docs/judges.md)."
        )
    elif noise is not None and gap < noise:
        yield (
            f"{model}: the mean gap of {gap:.3g} is no more than the judgments of one answer scatter would bring "
            f"({noise:.3g}). Raise judge.samples or pairs.min_gap."
        )


def training_warnings(model: str, log: Path) -> Iterator[str]:
    """What a finished preference training did not learn, from its log of steps."""
    losses = [loss for line in _lines(log) if isinstance(loss := line.get("dpo_loss"), float)]
    tail = losses[len(losses) // 2 :]
    if len(tail) < _FEW_STEPS:
        return
    if len(tail) < _LEAST_STEPS and any(abs(loss - math.log(2)) > _LEAST_FALL for loss in tail):
        return
    mean, error = statistics.fmean(tail), statistics.stdev(tail) / math.sqrt(len(tail))
    if mean > math.log(2) - max(_LEAST_FALL, 2 * error):
        yield (
            f"{model}: the DPO loss of the last {len(tail)} steps, {mean:.4f} ± {2 * error:.4f}, is not shown to be "
            f"below ln 2 = {math.log(2):.4f}: nothing was learnt of the preferences. Raise dpo.learning_rate, "
            "train on more pairs, or look at the pairs."
        )


def length_warnings(model: str, section: str, counts: Mapping[str, float]) -> Iterator[str]:
    """Whether a training left out a good part of its records, as too long.

    Args:
        section: whose ``max_length`` it was.
        counts: of the stage ``train``.
    """
    records, lost = counts.get("records", 0), counts.get("truncated", 0)
    if lost > _MOST_LEFT_OUT * records:
        yield (
            f"{model}: {lost:,.0f} of {records:,.0f} records were left out of its training, as they have more than "
            f"{section}.max_length tokens, or more than the model has positions for. Raise it, or take shorter ones."
        )


def _scale(judge: JudgeConfig) -> tuple[float, float]:
    scale = load_judge_prompt(judge.prompt).scale
    return scale.low, scale.high


def _noise(rewards: Iterable[Reward]) -> float | None:
    """The gap of best and worst that chance alone brings, from the scatter of an answer's judgments.

    The range of N means of k judgments of standard deviation s is about ``d(N) s / sqrt(k)``; None where each answer
    was judged once (a spread over grades is no scatter of judgments).
    """
    import numpy as np  # not where a run is only looked at

    n_parsed, squares, prompts = array("q"), array("d"), array("q")
    for reward in rewards:
        if reward.n_parsed > 1 and reward.spread is not None:
            n_parsed.append(reward.n_parsed)
            squares.append(reward.spread**2)
            prompts.append(hash(reward.prompt_id))
    if not n_parsed:
        return None
    k, variance = statistics.fmean(n_parsed), statistics.fmean(squares)
    n = max(2, round(len(prompts) / np.unique(np.frombuffer(prompts, np.int64)).size))
    return _normal_range(n) * math.sqrt(variance / k)


def _normal_range(n: int) -> float:
    """Expected range of ``n`` standard normal draws, by numerical integration (1.128 for 2, 2.059 for 4)."""
    phi = statistics.NormalDist().cdf
    points = [i / 50 for i in range(-400, 401)]
    return sum((1 - phi(x) ** n - (1 - phi(x)) ** n) / 50 for x in points)


def _lines(log: Path) -> Iterator[dict[str, object]]:
    try:
        with log.open(encoding="utf-8") as stream:
            for line in stream:
                found = json.loads(line)
                if isinstance(found, dict):
                    yield found
    except (OSError, ValueError):
        return
