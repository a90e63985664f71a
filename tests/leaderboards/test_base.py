"""Records that survive a kill: what is stored stays, and of a batch that is computed whole the rest is added."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from leaderboards.base import Setting, Subject, kept
from selfreward_bench.config import RunConfig
from selfreward_bench.engines.scripted import ScriptedEngine
from selfreward_bench.storage import jsonl
from selfreward_bench.types import Judgment


def judgment(prompt: str, order: str) -> Judgment:
    return Judgment(prompt_id=prompt, index=0, judge="j", score=1.0, raw="A", order=order)  # type: ignore[arg-type]


def test_a_batch_that_was_stored_in_part_is_stored_once(tmp_path: Path) -> None:
    batch = [judgment("p", "ab"), judgment("p", "ba")]
    jsonl.write(tmp_path / "judgments.jsonl", batch[:1])
    told: list[int] = []
    subject = Subject("M1", lambda: ScriptedEngine({}), Setting(RunConfig()), tmp_path, told.append)
    seen: list[Judgment] = []

    def ask(stored: Sequence[Judgment]) -> Iterator[list[Judgment]]:
        seen.extend(stored)
        return iter([batch, [judgment("q", "ab")]])

    found = kept(subject, "judgments.jsonl", Judgment, ask)
    assert seen == batch[:1]
    assert found == [*batch, judgment("q", "ab")]
    assert jsonl.read(tmp_path / "judgments.jsonl", Judgment, unique=lambda j: j.id) == found
    assert told == [1, 1, 1]
