"""Bases of all kinds, with tokenizers of their kind: examined, and taken through a run of two rounds."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from selfreward_bench import recipes
from selfreward_bench.engines.loading import written_end_ids
from selfreward_bench.storage.fingerprint import weights_dtypes
from selfreward_bench.storage.rundir import RunDir
from trainers.iteration import run_iteration
from trainers.workshop import checkpoint_of

from .. import small_models as small

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # transformers' own deprecations differ between architectures
]

WORDS = ("red", "blue", "green", "small", "large", "old", "new", "round")


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Answers of a word, so that a few steps teach to end them."""
    file = tmp_path_factory.mktemp("seeds") / "ift.jsonl"
    rows = [{"prompt": f"Name colour or size {i} of it.", "completion": f"{WORDS[i % 8]}."} for i in range(24)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.mark.parametrize("kind", small.KINDS)
def test_each_kind_of_base_goes_through_two_rounds(tmp_path: Path, seeds: Path, kind: str) -> None:
    base = small.make(kind, tmp_path / kind)
    if kind == "llama":
        small.edit(base / "generation_config.json", eos_token_id=[1, 4, 5])
    sizes = ["prompts.count=4", "candidates.count=3", "candidates.sampling.max_new_tokens=16", "dpo.batch_size=4"]
    rates = ["sft.learning_rate=0.02", "sft.final_learning_rate=0.002", "sft.epochs=4", "sft.batch_size=8"]
    judge = [
        "judge.mode=expected",
        "judge.min_mass=0",
        "pairs.min_gap=0",
        "prompts.writer=seeds",
        "seeds.eft_size=20",
        "sft.eft_repeat=0",
    ]
    rates += ["dpo.learning_rate=1e-5", "dpo.final_learning_rate=1e-6"]  # what ends its answers goes on to
    settings = [f"base={base}", f"seeds.ift={seeds}", *sizes, *rates, *judge, "iterations=2", "with_baseline=false"]
    run = RunDir.create(tmp_path / "run", recipes.load("micro-plain", settings))
    made = run_iteration(run, until="M3")
    assert [iteration.model for iteration in made] == ["M1", "M2", "M3"]
    check = json.loads((run.path / "check.json").read_text())
    assert {f["severity"] for f in check["examination"]["findings"]} <= {
        "note",
        *({"warning"} if kind == "mamba" else ()),
    }
    assert 0 < check["measured"]["mass"] < 1
    for model in ("M1", "M2", "M3"):
        checkpoint = checkpoint_of(run, model)
        assert settings_of(checkpoint) == settings_of(base)
        assert weights_dtypes(checkpoint) == weights_dtypes(base)
        assert set(written_end_ids(base)) <= set(written_end_ids(checkpoint))
    for model in ("M2", "M3"):
        first = json.loads((run.path / model / "log.jsonl").read_text().splitlines()[0])
        assert first["dpo_loss"] == pytest.approx(math.log(2), abs=1e-4)


def settings_of(model: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((model / "config.json").read_text())
    return found
