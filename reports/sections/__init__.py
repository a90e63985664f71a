"""The page's sections, a module each. A new one is a module with ``build`` and its name in ``SECTIONS``.

``methods`` is before them all where there are several runs.
"""

from __future__ import annotations

from typing import Final

#: in the page's order
SECTIONS: Final = (
    "verdict",
    "quality",
    "alpaca_eval",
    "mt_bench",
    "nlp",
    "ifeval",
    "head_to_head",
    "human",
    "judge_accuracy",
    "benchmarks",
    "training",
    "health",
    "samples",
    "pairs",
    "provenance",
    "glossary",
)
