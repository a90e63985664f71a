"""Answers of several sources have numbers that tell whose they are."""

from __future__ import annotations

from pathlib import Path

from selfreward_bench.storage import jsonl
from selfreward_bench.types import Completion
from trainers.answer_sources import FILES, read, source_of


def test_numbers_tell_whose_answers_they_are(tmp_path: Path) -> None:
    for file in FILES.values():
        answer = Completion(prompt_id="p", index=7, text=file, n_tokens=1, finish_reason="stop", seed=0)
        jsonl.write(tmp_path / file, [answer])
    found = read(tmp_path, FILES)
    assert {c.index: c.text for c in found} == dict(zip((7, 1007, 2007, 3007), FILES.values(), strict=True))
    assert [source_of(c.index) for c in found] == list(FILES)
    assert [c.index for c in read(tmp_path, ("first",))] == [2007]
