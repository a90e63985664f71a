"""How much of a benchmark a run was trained on, by the ids of its seed data.

Open Assistant's trees keep their ids through import and training, and so do records of one's own. Other people's
shapes without ids get hashes of their content, which never meet a benchmark's: of those nothing is told.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from leaderboards.standings import SCORES
from selfreward_bench.errors import SrbenchError
from selfreward_bench.storage import jsonl
from selfreward_bench.types import Example, SampleScore

__all__ = ["seed_prompts", "seen"]

_SEEDS: Final = ("ift.jsonl", "eft.jsonl")


def seed_prompts(run_path: Path) -> frozenset[str]:
    """Ids of the prompts that M1 was trained on; none where a run has not come so far.

    Raises:
        DataError: a file of them is damaged.
    """
    files = [path for name in _SEEDS if (path := run_path / "M1" / name).is_file()]
    ids = (example.id for path in files for example in jsonl.read(path, Example))
    return frozenset(i for name in ids for i in (name, name.rpartition("/")[0]) if i)  # a review's is PROMPT/NUMBER


def seen(folder: Path, trained: frozenset[str]) -> tuple[int, int]:
    """Of the prompts of the evaluation in ``folder``, how many were trained on, and how many there are."""
    try:
        scores = jsonl.read(folder / SCORES, SampleScore) if trained and (folder / SCORES).is_file() else []
    except SrbenchError:  # whoever shows the scores tells what is wrong with them
        scores = []
    asked = {score.cluster or score.sample_id for score in scores}
    return len(asked & trained), len(asked)
