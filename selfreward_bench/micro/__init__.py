"""The embedded micro-world: a tiny language of instructions with an exact oracle, a base model and seed data.

This module only knows where the files are, so that training can use the data without being able to import the oracle.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parent.parent / "data" / "micro"

#: of the base model's weights, as `make micro-base` made them
BASE_FINGERPRINT: Final = "7b347aaeb15d16797c120129eeac1fa3"

#: name -> what the file holds
FILES: Final = {
    "ift": "Example: instruction and a human answer of mixed quality",
    "eft": "RankedPrompt: ranked responses with an annotator's review",
    "exclude": "Prompt: everything held out from training (validation, test and ranking prompts)",
    "validation": "Prompt: 256 prompts to tune on",
    "test": "Prompt: 256 prompts no choice was made on",
    "rankings": "RankedPrompt: ranked responses to test-split prompts, for judge accuracy",
    "rankings-validation": "RankedPrompt: the same of the validation split, to tune on",
    "two_turn": "TwoTurnQuestion: a question and its follow-up, each with a reference",
    "choices": "ChoiceQuestion: multiple choice",
}


def base_path() -> Path:
    """The embedded base model M0 in Hugging Face layout."""
    return _ROOT / "base"


def rankings_name(split: str) -> str:
    """The ranked responses of a split: ``test`` or ``validation``."""
    return "rankings" if split == "test" else f"rankings-{split}"


def data_path(name: str) -> Path:
    """One of `FILES`, as JSONL."""
    return _ROOT / f"{name}.jsonl"
