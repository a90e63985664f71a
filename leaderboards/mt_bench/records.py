"""Lines of FastChat's files for MT-Bench; fields beyond those named here are ignored."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "Choice",
    "External",
    "ModelAnswer",
    "PairJudgment",
    "PromptLine",
    "Question",
    "SingleJudgment",
    "TurnNumber",
    "Winner",
]

TurnNumber = Literal[1, 2]
Winner = Literal["model_1", "model_2", "tie", "error"]


class External(BaseModel):
    """A line of somebody else's file."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class Question(External):
    """A line of ``question.jsonl``."""

    question_id: int
    category: str
    turns: tuple[str, str]


class Choice(External):
    """One conversation: the model's answers, one per turn."""

    index: int = 0
    turns: tuple[str, ...]


class ModelAnswer(External):
    """A line of ``model_answer/MODEL.jsonl`` or of ``reference_answer/MODEL.jsonl``."""

    question_id: int
    answer_id: str = ""
    model_id: str
    choices: Annotated[tuple[Choice, ...], Field(min_length=1)]
    tstamp: float = 0.0


class SingleJudgment(External):
    """A line of ``model_judgment/JUDGE_single.jsonl``; ``score`` -1 says that FastChat found none."""

    question_id: int
    model: str
    judge: tuple[str, str]
    user_prompt: str = ""
    judgment: str
    score: float
    turn: TurnNumber
    tstamp: float = 0.0


class PairJudgment(External):
    """A line of ``model_judgment/JUDGE_pair.jsonl``. In game 1 ``model_1`` is assistant A, in game 2 it is B."""

    question_id: int
    model_1: str
    model_2: str
    g1_winner: Winner
    g2_winner: Winner
    judge: tuple[str, str]
    g1_user_prompt: str = ""
    g1_judgment: str
    g2_user_prompt: str = ""
    g2_judgment: str
    turn: TurnNumber
    tstamp: float = 0.0


class PromptLine(External):
    """A line of ``judge_prompts.jsonl``."""

    name: str
    system_prompt: str
    prompt_template: str
