"""The drift matrix within an evaluation: when all models have answered, each judges the same pool of their answers.

The pool is of ``POOL_PROMPTS`` prompts, and on real data of as many more that people ranked answers to: every model
judges what every model wrote, so that the judgments grow with the square of their number.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

from leaderboards import chain, standings
from leaderboards.base import Calls, Setting, Subject
from leaderboards.drift.matrix import POOL_PROMPTS, Pool, answer_pool, drift_matrix, judge_pool, micro_pool, ranked_pool
from leaderboards.head_to_head.answers import default_prompts, read_entry
from leaderboards.head_to_head.benchmark import HEAD_TO_HEAD
from leaderboards.head_to_head.tournament import reasons_in_words
from leaderboards.judge_accuracy.benchmark import OasstJudgeAccuracy
from leaderboards.micro import MicroQuality, test_prompts
from leaderboards.models import Opened
from leaderboards.standings import DriftMatrix
from leaderboards.suites import World
from selfreward_bench.judges.pointwise import JudgeItem
from selfreward_bench.models.bounds import grading, total
from selfreward_bench.progress import Reporter
from selfreward_bench.types import Judgment, Prompt

__all__ = ["DIRECTORY", "asked_of_each", "drift", "needed"]

#: what a drift matrix is made of: answers, and the setting of the judges
_NEEDED: Final[dict[World, tuple[str, str]]] = {
    "micro": ("micro-quality", "micro-judge-accuracy"),
    "real": ("head-to-head", "judge-accuracy-oasst"),
}
DIRECTORY: Final = "drift"

T = TypeVar("T")


def needed(world: World) -> tuple[str, str]:
    """The benchmarks whose answers and settings a drift matrix needs."""
    return _NEEDED[world]


def asked_of_each(n_models: int, setting: Setting, world: World) -> Calls:
    """What each of so many models is asked as a judge, at most: equal answers are one response.

    Raises:
        DataError: the prompts, or the human-ranked slice, cannot be read.
    """
    config, known = setting.config, []
    if world == "micro":
        prompts, new = test_prompts(config)[:POOL_PROMPTS], config.eval.sampling.max_new_tokens
    else:
        prompts, new = _prompts(setting), config.eval.answering.max_new_tokens
        known = _ranked(setting).items
    written = [JudgeItem(p.id, n, p.messages, "") for n in range(n_models) for p in prompts]
    return total([grading(config.judge, written, new), grading(config.judge, known)])


def drift(
    root: Path, models: Sequence[Opened], setting: Setting, world: World, reporter: Reporter
) -> DriftMatrix | None:
    """Lets every model judge the pool, one after the other, and writes ``drift.json``.

    A model that got no judgment out (a spent budget, a server's error) is named and left out; None where fewer than
    two are left.

    Raises:
        SrbenchError: a model was not evaluated, or cannot judge.
    """
    opened = {o.model.name: o for o in models}
    names = {name: opened[name] for name in chain.model_order(opened, chain.given_order(root))}
    pool = _micro(root, names, setting) if world == "micro" else _real(root, names, setting)
    began = time.monotonic()
    reporter.started("drift", len(models) * grading(setting.config.judge, pool.items).calls, "judgments")
    judged = {name: made for name, o in names.items() if (made := _judged(root, o, pool, setting, reporter))}
    if len(judged) < 2:
        reporter.message("drift needs two models that judged; there is no matrix.")
        return None
    found = drift_matrix(pool, judged, fingerprints={n: names[n].model.fingerprint for n in judged})
    standings.write_record(root / standings.DRIFT, found)
    reporter.finished("drift", {"responses": len(pool.items), "judges": len(judged)}, time.monotonic() - began)
    return found


def _judged(root: Path, opened: Opened, pool: Pool, setting: Setting, reporter: Reporter) -> list[Judgment]:
    """One model's judgments; what it did not judge is told with the reasons."""
    name = opened.model.name
    folder = root / DIRECTORY / name
    folder.mkdir(parents=True, exist_ok=True)
    subject = Subject(name, opened.judging.open, setting, folder, reporter.advanced)
    made = judge_pool(subject, pool.items, f"{opened.model.snapshot} {opened.model.asked}".rstrip())
    there, failures = {(j.prompt_id, j.index) for j in made}, opened.judging.failures
    lacking = [failures.get(i.id, "no_judgment") for i in pool.items if (i.prompt_id, i.index) not in there]
    opened.close()
    if lacking:
        told = f"{len(lacking):,} of {len(pool.items):,} responses not judged ({reasons_in_words(lacking)})"
        reporter.message(f"drift, {name}: {told}{'' if made else '; it is left out'}.")
    return made


def _micro(root: Path, names: Mapping[str, Opened], setting: Setting) -> Pool:
    folders = {name: root / name / "eval" / MicroQuality.key for name in names}
    return micro_pool(folders, test_prompts(setting.config))


def _real(root: Path, names: Mapping[str, Opened], setting: Setting) -> Pool:
    """Of the models' answers for head-to-head, and of what people ranked."""
    answers = {}
    for name in names:
        entry = read_entry(name, root / name / "eval" / HEAD_TO_HEAD)
        answers[name] = {i: c.text for i, c in entry.answers.items()}
    return answer_pool(_prompts(setting), answers) + _ranked(setting)


def _prompts(setting: Setting) -> list[Prompt]:
    return _spread(default_prompts(setting))


def _ranked(setting: Setting) -> Pool:
    return ranked_pool(_spread(OasstJudgeAccuracy().load(setting).prompts[: setting.config.eval.limit]))


def _spread(items: Sequence[T]) -> list[T]:
    """At most ``POOL_PROMPTS`` of them, at equal distances: files are often sorted by where their prompts come from."""
    n = min(len(items), POOL_PROMPTS)
    return [items[i * len(items) // n] for i in range(n)]
