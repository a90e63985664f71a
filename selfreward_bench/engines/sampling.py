"""Drawing tokens such that a draw depends on its row's logits and its sample's seed, and on nothing else.

A sample's number at a step is a hash of (seed, step); the token is where this number falls in the cumulated
distribution, tokens in the order of the vocabulary. So a row's token does not depend on which rows stand beside it.

Limit: the logits themselves differ in their last bits between batch shapes (other sums in other kernels). A draw flips
only where its number lies within that error, about 1e-6 of probability, of a boundary between two tokens, or where a
token stands within it of the edge of the nucleus. After a flip the two texts go different ways.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from selfreward_bench.errors import EngineError

CHUNK_ELEMENTS = 1 << 18  # logits handled at once on a CPU: the temporaries stay in its cache
NUCLEUS_WIDTHS = (64, 2048, 1 << 62)  # most likely tokens looked at; a row with a wider nucleus takes the next width


def uniform(seeds: npt.NDArray[np.uint64], step: int) -> npt.NDArray[np.float64]:
    """One number in [0, 1) per sample: SplitMix64 (Steele, Lea, Flood 2014) of the seed, mixed again with the step.

    Args:
        seeds: shape (rows,).
        step: number of the token in the sample, from 0.
    """
    mixed = _splitmix64(_splitmix64(seeds) + np.uint64(step))
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _splitmix64(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def draw(logits: torch.Tensor, temperature: torch.Tensor, top_p: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """The next token of each row.

    Args:
        logits: shape (rows, vocabulary).
        temperature: shape (rows,); 0 takes the most likely token (the first one, where several are).
        top_p: shape (rows,), in (0, 1].
        u: shape (rows,), in [0, 1).

    Returns:
        Token ids, shape (rows,).

    Raises:
        EngineError: the logits are not numbers (broken weights, or an overflow in half precision).
    """
    rows = max(1, CHUNK_ELEMENTS // logits.shape[1]) if logits.device.type == "cpu" else logits.shape[0]
    starts = range(0, logits.shape[0], rows)
    return torch.cat([_draw(*(t[i : i + rows] for t in (logits, temperature, top_p, u))) for i in starts])


def _draw(logits: torch.Tensor, temperature: torch.Tensor, top_p: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    best = logits.max(-1)
    if not bool(torch.isfinite(best.values).all()):
        raise EngineError("The model's logits are not finite: its weights are broken, or half precision overflows.")
    sampled = temperature > 0
    if not bool(sampled.any()):
        return best.indices
    heat = torch.where(sampled, temperature, 1.0).unsqueeze(-1)
    # the highest logit is taken off before the division, so that a tiny temperature cannot overflow
    probs = ((logits.float() - best.values.float().unsqueeze(-1)) / heat).softmax(-1)
    whole = bool((top_p >= 1).any())
    tokens = _inverse_cdf(probs, u) if whole else best.indices.clone()
    rows = (sampled & (top_p < 1)).nonzero().squeeze(-1)
    for width in NUCLEUS_WIDTHS:
        if not len(rows):
            break
        tokens[rows], inside = _draw_nucleus(probs[rows], top_p[rows], u[rows], width)
        rows = rows[~inside]
    return torch.where(sampled, tokens, best.indices)


def _draw_nucleus(
    probs: torch.Tensor, top_p: torch.Tensor, u: torch.Tensor, width: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draws among the ``width`` most likely tokens; the second result says for which rows these hold the nucleus."""
    width = min(width, probs.shape[1])
    values, ids = probs.topk(width, -1)
    mass = values.cumsum(-1)
    edge = _edge(values, mass, top_p)
    # a nucleus that ends exactly at the last candidate may go on with equal ones outside
    inside = (mass[:, -1] >= top_p) & (edge.squeeze(-1) > values[:, -1])
    ids, order = ids.sort(-1)
    kept = torch.where(values >= edge, values, 0.0).gather(-1, order)
    tokens = ids.gather(-1, _inverse_cdf(kept, u).unsqueeze(-1)).squeeze(-1)
    return tokens, inside | (width == probs.shape[1])


def _edge(values: torch.Tensor, mass: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """The least probability in the nucleus, shape (rows, 1); tokens equal to it all belong to it.

    Args:
        values: descending probabilities, shape (rows, k).
        mass: their cumulated sum.
    """
    last = (mass < top_p.unsqueeze(-1)).sum(-1, keepdim=True).clamp(max=values.shape[1] - 1)
    return values.gather(-1, last)


def _inverse_cdf(weights: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """Index of the weight in which ``u`` of the total falls; never one of weight 0."""
    exact = torch.float32 if weights.device.type == "mps" else torch.float64  # MPS has no float64
    cumulated = weights.cumsum(-1, dtype=exact)
    target = u.to(exact).unsqueeze(-1) * cumulated[:, -1:]
    # float32 can round u up to 1, whose target is the total itself
    target = torch.minimum(target, torch.nextafter(cumulated[:, -1:], torch.zeros_like(target)))
    return torch.searchsorted(cumulated, target, right=True).squeeze(-1)
