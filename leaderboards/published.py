"""Published numbers to set beside one's own: the paper's tables.

Only figures that two independent transcriptions of arXiv 2401.10020 agree on are here, as data. A published number was
made with its own judge, snapshot and prompts; it is a point of orientation, and comparable with nothing that was not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from selfreward_bench.types import Record

__all__ = ["PAPER", "PublishedRow", "paper_rows"]

_PER_CENT: Final = 0.01  # the paper's per cent as the shares that our metrics are
PAPER: Final = "Yuan et al. 2024, Self-Rewarding Language Models, arXiv 2401.10020"


class PublishedRow(Record):
    """What somebody published of one model on one benchmark.

    Attributes:
        benchmark: name without version: ``alpaca-eval``, ``mt-bench``, ``nlp``, ``head-to-head``, ``judge-accuracy``.
        model: as the source calls it; of a head-to-head both, ``M2 vs M1``.
        metrics: metric -> value, named and in the unit as ours are (``leaderboards.metrics``).
        source: where it stands.
        conditions: what the number was made with.
    """

    benchmark: str
    model: str
    metrics: dict[str, float]
    source: str
    conditions: str


def _rows(
    benchmark: str,
    table: str,
    conditions: str,
    columns: Sequence[str],
    values: dict[str, tuple[float, ...]],
    scale: float = 1.0,
) -> list[PublishedRow]:
    return [
        PublishedRow(
            benchmark=benchmark,
            model=model,
            metrics={c: round(n * scale, 6) for c, n in zip(columns, numbers, strict=True)},
            source=f"{PAPER}, {table}",
            conditions=conditions,
        )
        for model, numbers in values.items()
    ]


_ALPACA_EVAL = _rows(
    "alpaca-eval",
    "AlpacaEval 2.0",
    "win rate in per cent against GPT-4 Turbo (gpt4_1106_preview), judged by gpt-4-1106-preview; not length-controlled",
    ("win_rate",),
    {
        "M1": (9.94,),
        "M2": (15.38,),
        "M3": (20.44,),
        "GPT-4 0314": (22.07,),
        "Mistral Medium": (21.86,),
        "Claude 2": (17.19,),
        "Gemini Pro": (16.85,),
        "GPT-4 0613": (15.76,),
        "GPT 3.5 Turbo 0613": (14.13,),
        "LLaMA2 Chat 70B": (13.87,),
        "Vicuna 33B v1.3": (12.71,),
        "Humpback LLaMa2 70B": (10.12,),
        "Guanaco 65B": (6.86,),
        "Davinci001": (2.76,),
        "Alpaca 7B": (2.59,),
    },
)

_MT_BENCH = _rows(
    "mt-bench",
    "MT-Bench",
    "grades 1 to 10 by GPT-4",
    (
        *(f"grade/{c}" for c in ("writing", "roleplay", "reasoning", "math", "coding", "extraction")),
        *("grade/stem", "grade/humanities", "grade"),
    ),
    {
        "SFT Baseline": (8.83, 8.15, 5.30, 3.00, 3.50, 6.90, 9.18, 9.95, 6.85),
        "M1": (9.10, 7.65, 4.35, 3.05, 4.10, 7.20, 8.93, 9.85, 6.78),
        "M2": (9.10, 8.00, 4.60, 3.30, 4.25, 7.65, 9.40, 9.80, 7.01),
        "M3": (9.58, 8.73, 4.80, 3.50, 4.20, 7.80, 9.45, 9.95, 7.25),
    },
)

_NLP = _rows(
    "nlp",
    "NLP benchmarks",
    "shot counts are not stated, so compare differences, not levels",
    ("arc_challenge", "hellaswag", "gsm8k", "mmlu", "nq_open"),
    {
        "Llama 2": (57.40, 85.30, 56.80, 68.90, 25.30),
        "SFT Baseline": (55.97, 85.17, 50.72, 69.76, 34.35),
        "M1": (57.51, 84.99, 60.27, 69.34, 35.48),
        "M2": (54.51, 84.27, 59.29, 69.31, 33.07),
        "M3": (53.13, 83.29, 57.70, 69.37, 31.86),
    },
    _PER_CENT,
)

_HEAD_TO_HEAD = [
    *_rows(
        "head-to-head",
        "head-to-head by GPT-4",
        "256 held-out IFT prompts, judged by GPT-4 in both orders; orders that disagree are a tie",
        ("win", "tie", "loss"),
        {
            "M1 vs SFT Baseline": (30.5, 38.7, 30.9),
            "M2 vs SFT Baseline": (49.2, 36.3, 14.5),
            "M3 vs SFT Baseline": (62.5, 27.7, 9.8),
            "M2 vs M1": (55.5, 32.8, 11.7),
            "M3 vs M2": (47.7, 39.8, 12.5),
            "M3 vs M1": (68.8, 22.7, 8.6),
        },
        _PER_CENT,
    ),
    *_rows(
        "head-to-head",
        "human evaluation",
        "50 prompts, majority of three human annotators",
        ("win", "tie", "loss"),
        {
            "M1 vs SFT Baseline": (28, 26, 46),
            "M2 vs SFT Baseline": (56, 24, 20),
            "M3 vs SFT Baseline": (66, 16, 18),
        },
        _PER_CENT,
    ),
]

_JUDGE_ACCURACY = _rows(
    "judge-accuracy",
    "reward modelling on held-out Open Assistant rankings",
    "shares and correlations; what a tie counts as, and how many judgments were averaged, is not stated",
    ("pairwise_accuracy", "five_best", "exact_match", "spearman", "kendall_tau_b"),
    {
        "SFT Baseline": (0.651, 0.396, 0.101, 0.253, 0.233),
        "M1": (0.787, 0.415, 0.131, 0.279, 0.253),
        "M2": (0.804, 0.443, 0.143, 0.331, 0.315),
        "M3": (0.817, 0.432, 0.143, 0.349, 0.324),
        "SFT Baseline, five-bucket prompt": (0.266, 0.235, 0.011, -0.18, -0.16),
    },
)

_ALL: Final = (*_ALPACA_EVAL, *_MT_BENCH, *_NLP, *_HEAD_TO_HEAD, *_JUDGE_ACCURACY)


def paper_rows(benchmark: str | None = None) -> list[PublishedRow]:
    """The paper's figures, of all benchmarks or of one."""
    return [r for r in _ALL if benchmark in (None, r.benchmark)]
