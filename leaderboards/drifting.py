"""The drift matrix within an evaluation: when all models have answered, each judges the same pool of their answers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from leaderboards import standings
from leaderboards.base import Setting, Subject
from leaderboards.drift import Pool, answer_pool, drift_matrix, judge_pool, micro_pool, ranked_pool
from leaderboards.head_to_head import HEAD_TO_HEAD
from leaderboards.head_to_head_answers import default_prompts, read_entry
from leaderboards.judge_accuracy import OasstJudgeAccuracy
from leaderboards.micro import MicroQuality, test_prompts
from leaderboards.models import Opened
from leaderboards.standings import DriftMatrix
from leaderboards.suites import World
from selfreward_bench.progress import Reporter

__all__ = ["drift", "needed"]

#: what a drift matrix is made of: answers, and the setting of the judges
_NEEDED: Final[dict[World, tuple[str, str]]] = {
    "micro": ("micro-quality", "micro-judge-accuracy"),
    "real": ("head-to-head", "judge-accuracy-oasst"),
}
DIRECTORY: Final = "drift"


def needed(world: World) -> tuple[str, str]:
    """The benchmarks whose answers and settings a drift matrix needs."""
    return _NEEDED[world]


def drift(root: Path, models: Sequence[Opened], setting: Setting, world: World, reporter: Reporter) -> DriftMatrix:
    """Lets every model judge the pool, one after the other, and writes ``drift.json``.

    Raises:
        SrbenchError: answers are missing, or a model cannot judge.
    """
    names = {o.model.name: o for o in models}
    pool = _micro(root, names, setting) if world == "micro" else _real(root, names, setting)
    began = time.monotonic()
    reporter.started("drift", len(models) * len(pool.items), "judgments")
    judged = {}
    for name, opened in names.items():
        folder = root / DIRECTORY / name
        folder.mkdir(parents=True, exist_ok=True)
        subject = Subject(name, opened.model.open, setting, folder, reporter.advanced)
        judged[name] = judge_pool(subject, pool.items, opened.model.fingerprint)
        opened.engine.close()
    found = drift_matrix(pool, judged, fingerprints={n: o.model.fingerprint for n, o in names.items()})
    standings.write_record(root / standings.DRIFT, found)
    reporter.finished("drift", {"responses": len(pool.items), "judges": len(models)}, time.monotonic() - began)
    return found


def _micro(root: Path, names: Mapping[str, Opened], setting: Setting) -> Pool:
    folders = {name: root / name / "eval" / MicroQuality.key for name in names}
    return micro_pool(folders, test_prompts(setting.config))


def _real(root: Path, names: Mapping[str, Opened], setting: Setting) -> Pool:
    """The models' answers for head-to-head, and the human-ranked slice."""
    answers = {}
    for name in names:
        entry = read_entry(name, root / name / "eval" / HEAD_TO_HEAD)
        answers[name] = {i: c.text for i, c in entry.answers.items()}
    written = answer_pool(default_prompts(setting), answers)
    return Pool(
        (
            *written.entries,
            *ranked_pool(OasstJudgeAccuracy().load(setting).prompts[: setting.config.eval.limit]).entries,
        )
    )
