"""How models were made: what a stage counted, in the order of its work."""

from __future__ import annotations

import json
from typing import Any

from reports.facts import collect, lineage


def test_counts_of_a_stage_stand_in_the_order_of_its_work(builder: Any) -> None:
    counts = {"continuations": 1440, "duplicate": 405, "empty": 0, "prompts": 1000, "rounds": 3, "final_loss": 0.7}
    builder.stage("M2", "prompts", counts)
    (model,) = collect(builder.path).models
    ((_, told, _, _),) = lineage.stage_rows(model.stages)
    assert told == "rounds 3, continuations 1,440, duplicate 405, prompts 1,000"


def test_the_loss_of_a_preference_training_is_that_of_the_preferences(builder: Any) -> None:
    builder.stage("M2", "train", {"records": 1200, "steps": 20, "first_loss": 0.9, "final_loss": 0.9})
    steps = [{"step": k, "loss": 0.9, "dpo_loss": 0.7 - k / 100} for k in range(20)]
    (builder.path / "M2" / "log.jsonl").write_text("".join(json.dumps(x) + "\n" for x in steps))
    record = {"model": "M2", "parent": "M1", "fingerprint": "f", "rehearsal": {"what": ["own"], "from_the_model": 1792}}
    (builder.path / "M2" / "iteration.json").write_text(json.dumps(record))
    made, rehearsed = list(lineage.tables(collect(builder.path)))[:2]
    assert made.rows[0][-1] == "0.695 → 0.515"
    assert rehearsed.rows[0][2] == "1,792"
