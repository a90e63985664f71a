"""The preference losses: what TRL's ``DPOTrainer`` computes by the name of ``dpo.loss``, and what each is worth before
any update, where policy and reference agree.

Each is a mean over pairs, so a step's loss is the same however the step is split. TRL has three more, which are not:
``selfreward_bench.config`` refuses them with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from selfreward_bench.config import DpoConfig

__all__ = ["FIRST", "SIGMOID", "at_reference", "smoothed", "trl_settings"]

SIGMOID: Final = "sigmoid"
_LN2: Final = math.log(2)


def _exo_pair(beta: float, smoothing: float) -> float:
    """KL of (1/2, 1/2) from (1 - e, e): -ln 2 - ln(e (1 - e)) / 2."""
    return -_LN2 - math.log(smoothing * (1 - smoothing)) / 2


#: name -> the loss of a pair before any update, where both log-ratios of policy to reference are 0, as beta and label
#: smoothing decide; in nats where it is a log-likelihood
FIRST: Final[dict[str, Callable[[float, float], float]]] = {
    "sigmoid": lambda beta, e: _LN2,  # DPO, arXiv 2305.18290
    "hinge": lambda beta, e: 1.0,  # SLiC's with a reference, arXiv 2305.10425
    "ipo": lambda beta, e: (1 / (2 * beta)) ** 2,  # arXiv 2310.12036, eq. 17; per token
    "robust": lambda beta, e: _LN2,  # arXiv 2403.00409: its two terms leave one ln 2
    "exo_pair": _exo_pair,  # arXiv 2402.00856, eq. 16
    "nca_pair": lambda beta, e: 2 * _LN2,  # arXiv 2402.05369
    "bco_pair": lambda beta, e: 2 * _LN2,  # arXiv 2404.04656
    "sppo_hard": lambda beta, e: 1 / (2 * beta**2),  # arXiv 2405.00675: (1 / (2 beta))^2 for each side
    "apo_zero": lambda beta, e: 1.0,  # arXiv 2408.06266, eq. 7
    "apo_down": lambda beta, e: 1.0,  # the same, eq. 8
    "discopop": lambda beta, e: (_LN2 + 1) / 2,  # arXiv 2406.08414, eq. 5: half logistic, half exponential
    "sigmoid_norm": lambda beta, e: _LN2,  # DPO on means per token, as in arXiv 2411.15124
}


def at_reference(config: DpoConfig) -> float:
    """The loss of every pair where the policy is the reference.

    >>> round(at_reference(DpoConfig(loss="ipo", beta=0.1)), 6)
    25.0
    """
    return FIRST[config.loss](config.beta, config.label_smoothing)


def trl_settings(config: DpoConfig) -> dict[str, Any]:
    """What TRL's configuration is told. Its sigmoid loss has no label smoothing: ``smoothed`` adds it."""
    passed = {} if config.loss == SIGMOID else {"label_smoothing": config.label_smoothing}
    return {"beta": config.beta, "loss_type": [config.loss], **passed}


def smoothed(loss: Any, margins: Any, config: DpoConfig) -> Any:
    """The sigmoid loss with label smoothing e (cDPO): (1 - e) L(chosen over rejected) + e L(rejected over chosen).

    L of a pair turned round is L of the pair plus its margin, as -log s(-m) = -log s(m) + m.

    Args:
        loss: mean over the pairs.
        margins: beta times the difference of the pairs' log-ratios, shape (pairs,).
    """
    if config.loss != SIGMOID or not config.label_smoothing:
        return loss
    return loss + config.label_smoothing * margins.mean()
