"""Judge accuracy: any checkpoint as a judge, held against human ranks and labels.

``health`` here is of judgments alone (ties, grades used); a run's health is in ``leaderboards.health``.
"""

from leaderboards.judge_accuracy.benchmark import (
    JsonlJudgeAccuracy,
    LLMBarJudgeAccuracy,
    LLMBarProcessedJudgeAccuracy,
    OasstJudgeAccuracy,
    PandaLMJudgeAccuracy,
)

__all__ = [
    "JsonlJudgeAccuracy",
    "LLMBarJudgeAccuracy",
    "LLMBarProcessedJudgeAccuracy",
    "OasstJudgeAccuracy",
    "PandaLMJudgeAccuracy",
]
