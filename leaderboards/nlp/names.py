"""What tasks of lm-eval are called here, and their numbers: each by its own name, unless it is one of the profile's.

A name that only begins like another's says nothing: ``mmlu_pro_math`` is no subject of MMLU, ``gsm8k_cot`` not gsm8k.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from leaderboards.nlp.tasks import TASKS
from selfreward_bench.types import MetricInfo, Unit

__all__ = ["MMLU", "MMLU_SUBJECTS", "Place", "info_of", "is_binary", "label_of", "place_of", "unit_name"]

MMLU: Final = "mmlu"
MMLU_SUBJECTS: Final = frozenset(
    [
        "abstract_algebra",
        "anatomy",
        "astronomy",
        "business_ethics",
        "clinical_knowledge",
        "college_biology",
        "college_chemistry",
        "college_computer_science",
        "college_mathematics",
        "college_medicine",
        "college_physics",
        "computer_security",
        "conceptual_physics",
        "econometrics",
        "electrical_engineering",
        "elementary_mathematics",
        "formal_logic",
        "global_facts",
        "high_school_biology",
        "high_school_chemistry",
        "high_school_computer_science",
        "high_school_european_history",
        "high_school_geography",
        "high_school_government_and_politics",
        "high_school_macroeconomics",
        "high_school_mathematics",
        "high_school_microeconomics",
        "high_school_physics",
        "high_school_psychology",
        "high_school_statistics",
        "high_school_us_history",
        "high_school_world_history",
        "human_aging",
        "human_sexuality",
        "international_law",
        "jurisprudence",
        "logical_fallacies",
        "machine_learning",
        "management",
        "marketing",
        "medical_genetics",
        "miscellaneous",
        "moral_disputes",
        "moral_scenarios",
        "nutrition",
        "philosophy",
        "prehistory",
        "professional_accounting",
        "professional_law",
        "professional_medicine",
        "professional_psychology",
        "public_relations",
        "security_studies",
        "sociology",
        "us_foreign_policy",
        "virology",
        "world_religions",
    ]
)
_SAME: Final = {"social_iqa": "siqa"}  # lm-eval's name -> the profile's, of one and the same definition
_OF_MMLU: Final = ("mmlu_", "hendrycksTest-")  # lm-eval from 0.4 on, and before
_BINARY: Final = re.compile(r"acc(_(norm|bytes|all|mutual_info))?|exact_match|em|mc1|.*_acc|.*accuracy|pass@1")
_SHARES: Final = re.compile(r"f1|mc2|mcc|pass@\d+|brier_score|.*_match|pct_.*|quasi_.*")
_LESS_IS_BETTER: Final = re.compile(r"(.*perplexity|bits_per_byte|ppl|ter|wer|cer|brier_score|.*loss)")
_NAME_CHARACTERS: Final = 150


@dataclass(frozen=True)
class Place:
    """Where a task is counted: under ``unit``, as its part ``subject`` (empty where it is all of it)."""

    unit: str
    subject: str = ""


def place_of(task: str) -> Place:
    """Of a task that belongs to no group."""
    for prefix in _OF_MMLU:
        if task.startswith(prefix) and task.removeprefix(prefix) in MMLU_SUBJECTS:
            return Place(MMLU, task.removeprefix(prefix))
    return Place(_safe(_SAME.get(task, task)))


def _safe(name: str) -> str:
    """A ``/`` would make it a part of something else."""
    return name.replace("/", "_")[:_NAME_CHARACTERS] or "unnamed"


def unit_name(unit: str, main: str) -> str:
    """The metric that a unit's number is: another number than the profile's has another name.

    >>> unit_name("arc_easy", "acc_norm,none"), unit_name("arc_easy", "acc,none"), unit_name("toy", "acc,none")
    ('arc_easy', 'arc_easy_acc', 'toy')
    """
    wanted = TASKS[unit].main if unit in TASKS else main
    if main == wanted:
        return unit
    metric, _, chosen = main.partition(",")
    return _safe(f"{unit}_{metric if metric != wanted.partition(',')[0] else chosen}")


def label_of(unit: str, main: str) -> str:
    """A number that no table names, for people: ``mmlu_pro (exact_match, custom-extract)``."""
    metric, _, chosen = main.partition(",")
    return f"{unit} ({metric}{'' if chosen in ('', 'none') else f', {chosen}'})"[:200]


def is_binary(metric: str) -> bool:
    """Whether a metric of lm-eval says right or wrong of each document."""
    return bool(_BINARY.fullmatch(metric))


def info_of(unit: str, main: str, *, shares: bool | None, better: bool | None) -> MetricInfo:
    """How a number that no table names is shown.

    Args:
        shares: whether all values are between 0 and 1; None where they are not known.
        better: whether more is better, as lm-eval says; None where it does not.
    """
    metric = main.partition(",")[0]
    is_share = bool(is_binary(metric) or _SHARES.fullmatch(metric)) if shares is None else shares
    shown: Unit = "share" if is_share else "points"
    rises = better if better is not None else not _LESS_IS_BETTER.fullmatch(metric)
    return MetricInfo(label=label_of(unit, main), unit=shown, better=1 if rises else -1)
