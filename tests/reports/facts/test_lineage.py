"""How models were made: what a stage counted, in the order of its work."""

from __future__ import annotations

from typing import Any

from reports.facts import collect, lineage


def test_counts_of_a_stage_stand_in_the_order_of_its_work(builder: Any) -> None:
    counts = {"continuations": 1440, "duplicate": 405, "empty": 0, "prompts": 1000, "rounds": 3, "final_loss": 0.7}
    builder.stage("M2", "prompts", counts)
    (model,) = collect(builder.path).models
    ((_, told, _, _),) = lineage.stage_rows(model.stages)
    assert told == "rounds 3, continuations 1,440, duplicate 405, prompts 1,000"
