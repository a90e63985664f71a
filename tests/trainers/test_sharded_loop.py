"""The whole loop with sharded trainings: two layers of the paper's architecture, through the preflight, M1 and M2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfreward_bench import recipes
from selfreward_bench.config import RunConfig
from selfreward_bench.progress import Silent
from selfreward_bench.storage.rundir import RunDir
from trainers import checkpoints, launched, making, preflight
from trainers.examination import CheckRecord
from trainers.iteration import run_iteration

from .conftest import NOUNS, LaunchedForks, make_model
from .test_environment import seed_data

SHAPE = {"num_key_value_heads": 1, "tie_word_embeddings": False, "max_position_embeddings": 4096}


def settings(folder: Path) -> RunConfig:
    base = make_model(folder / "base", initializer_range=0.2, dtype="bfloat16", **SHAPE)
    prompts = [{"id": f"n{i}", "prompt": f"Name the {a} and more of it."} for i, a in enumerate(NOUNS)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(p) + "\n" for p in prompts))
    changes = [
        f"base={base}",
        *seed_data(folder),
        f"prompts={{writer: {folder / 'prompts.jsonl'}, count: 8, max_rouge_l: null}}",
        "seeds.ift_size=null",
        "seeds.eft_flatten=null",
        "with_baseline=false",
        "iterations=1",
        "judge={mode: expected, min_mass: 0.0}",
        "candidates={count: 4, sampling: {temperature: 1.0, max_new_tokens: 24}}",
        "sft={batch_size: 4, epochs: 15, learning_rate: 3e-3, final_learning_rate: 1e-3}",  # it learns to end
        "dpo={batch_size: 4, epochs: 1}",
        "train={launch: auto, processes: 2, sharding: fsdp}",
        "eval.after_iteration=[]",
    ]
    return recipes.load("micro-plain", changes)


@pytest.mark.slow
def test_a_small_seventy_b_goes_through_the_whole_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(making, "logit_probe", lambda *args, **kwargs: pytest.fail("the driver loads a model"))
    tried: list[tuple[str, int, list[str]]] = []
    train, by_launcher = preflight.run_training, launched.Program
    monkeypatch.setattr(launched, "Program", LaunchedForks)

    def watched(kind: str, parent: Path, records: Any, config: Any, out: Path, **options: Any) -> Any:
        with monkeypatch.context() as patch:
            if kind == "dpo":  # torchrun itself, once
                patch.setattr(launched, "Program", by_launcher)
            result = train(kind, parent, records, config, out, **options)
        plan = json.loads((out / "plan.json").read_text())
        tried.append((kind, plan["shards"], sorted(p.name for p in out.iterdir())))
        return result

    monkeypatch.setattr(preflight, "run_training", watched)
    run = RunDir.create(tmp_path / "run", settings(tmp_path))
    made = run_iteration(run, until="M2", reporter=Silent())
    left = ["checkpoint", "log.jsonl", "plan.json", "probes.json"]
    assert tried == [("sft", 2, left), ("dpo", 2, sorted([*left, "reference.jsonl"]))]
    check = CheckRecord.model_validate_json((run.path / "check.json").read_bytes())
    assert check.preflight
    assert not check.examination.refused
    assert [m.model for m in made] == ["M1", "M2"]
    assert made[1].checks["first_dpo_loss_is_ln2"] == "passed"
    for model in ("M1", "M2"):
        folder = run.path / model
        assert (folder / "checkpoint" / "model.safetensors").is_file()
        assert not (folder / "launched").exists()
        assert json.loads((folder / "plan.json").read_text())["shards"] == 2
    probed = checkpoints.logit_probe(run.path / "M2" / "checkpoint")  # by one process that holds all of it
    assert made[1].probe == pytest.approx(probed, abs=1e-4)
