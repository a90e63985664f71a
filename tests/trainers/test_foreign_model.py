"""A model nobody here trained (stories260k) goes through SFT, candidates, judging and DPO without special handling."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from selfreward_bench import recipes
from selfreward_bench.storage.fingerprint import weights_fingerprint
from selfreward_bench.storage.rundir import RunDir
from trainers.iteration import run_iteration
from trainers.workshop import checkpoint_of

DATA = os.environ.get("SRBENCH_DATA_DIR")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(DATA is None, reason="SRBENCH_DATA_DIR is not set")]

TALES = ["a red ball", "the big dog", "her best friend", "a little bird", "the old tree", "his new hat"]


def seed_data(folder: Path) -> list[str]:
    ift = [
        {"id": f"i{n}", "prompt": f"Tell a story about {tale}.", "completion": f"Once upon a time there was {tale}."}
        for n, tale in enumerate(TALES * 4)
    ]
    eft = [
        {
            "id": f"e{n}",
            "prompt": f"Say something nice about {tale}.",
            "responses": [
                {"text": f"I like {tale} very much.", "rank": 0, "review": "Score: 5"},
                {"text": "No.", "rank": 1, "review": "Score: 1"},
            ],
        }
        for n, tale in enumerate(TALES)
    ]
    for name, rows in {"ift": ift, "eft": eft}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return [f"seeds.ift={folder / 'ift.jsonl'}", f"seeds.eft={folder / 'eft.jsonl'}", "seeds.exclude=null"]


def test_stories260k_goes_through_the_whole_loop(tmp_path: Path) -> None:
    (model,) = [p.parent for p in Path(DATA or "", "stories260k").rglob("config.json")]
    small = ["iterations=1", "seeds.ift_size=null", "sft.epochs=15", "sft.batch_size=8", "dpo.batch_size=4"]
    small += ["prompts.count=12", "candidates.count=3", "pairs.min_gap=0", "seeds.eft_flatten=null"]
    config = recipes.load("micro", [f"base={model}", *small, *seed_data(tmp_path)])
    run = RunDir.create(tmp_path / "run", config)
    made = run_iteration(run, until="M2")
    assert [i.model for i in made] == ["SFT", "M1", "M2"]
    assert len({weights_fingerprint(checkpoint_of(run, m)) for m in ("M0", "SFT", "M1", "M2")}) == 4
    assert made[-1].counts["M2/judgments"]["parsed"] > 0
