"""All that a run needs: tokens, times, host, disk; by bounds before anything ran, by means once something has."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from selfreward_bench import recipes
from selfreward_bench.config import RunConfig
from selfreward_bench.errors import ConfigError, DataError, EngineError
from selfreward_bench.hardware import GIB
from selfreward_bench.storage.rundir import RunDir
from trainers.fitting import Machine
from trainers.memory import training_flops
from trainers.plan import Plan, make_plan
from trainers.requirements import Load, Requirements, Throughput, require

from .test_plan import config as small_config
from .test_plan import done

HERE = Machine("cpu", 64 * GIB, 1, "as stated")
GPUS = Machine("gpu", 80 * GIB, 64, "as stated")


def required(
    folder: Path, config: RunConfig, *, machine: Machine = HERE, plan: Plan | None = None, **options: Any
) -> Requirements:
    run = RunDir(folder / "runs" / "none", config)
    return require(run, machine, until=f"M{1 + config.iterations}", plan=plan, **options)


def load(found: Requirements, name: str) -> Load:
    return next(entry for entry in found.loads if entry.stage.name == name)


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Requirements:
    """Without a connection, a tokenizer or the data."""
    throughput = Throughput(tokens=20_000, flops=64 * 312e12 * 0.4, said="x")
    return required(tmp_path_factory.mktemp("p"), recipes.load("paper-70b"), machine=GPUS, stated=throughput)


def test_the_papers_run_is_planned_without_its_data(paper: Requirements) -> None:
    assert paper.dimensions.parameters == 68_976_648_192
    assert str(load(paper, "SFT/train").stage.work) == "at most 200"  # 3,200 examples in batches of 16
    assert str(load(paper, "M1/reviews").stage.work) == "at most 4,890"  # 1,630 responses, none with a review
    assert load(paper, "SFT/train").read.number == 3200 * 2048
    assert load(paper, "M2/candidates").written.number == 40_000 * 512
    assert load(paper, "M2/train").read.number == 10_000 * 2 * (256 + 32 + 512)
    assert not paper.dimensions.scores
    assert paper.fits is False
    assert {s.section for s in paper.short} == {"engine"}  # trainings are sharded
    assert all(s.settings == () for s in paper.short)


def test_times_follow_from_what_is_stated(paper: Requirements) -> None:
    sft, dpo, candidates = (load(paper, f"{name}") for name in ("SFT/train", "M2/train", "M2/candidates"))
    flops = 64 * 312e12 * 0.4
    training = 16 * 312e12 * 0.4  # a batch of 16 has work for 16 processes
    assert sft.flops == training_flops(68_976_648_192, 3200 * 2048, checkpointing=True)
    assert sft.stage.seconds == pytest.approx(sft.flops / training)
    reference = 2 * 68_976_648_192 * dpo.read.number
    assert dpo.flops == training_flops(68_976_648_192, dpo.read.number, checkpointing=True) + reference
    reading = 2 * 68_976_648_192 * candidates.read.number / flops
    assert candidates.stage.seconds == pytest.approx(40_000 * 512 / 20_000 + reading)
    assert paper.plan.sources == ("the stated throughput",)
    assert paper.plan.seconds == pytest.approx(sum(e.stage.seconds or 0 for e in paper.loads))


@pytest.mark.parametrize(
    ("changes", "computing"),
    [
        (["train={launch: null, sharding: none}"], 1),  # nothing starts more than one
        ([], 16),
        (["sft.batch_size=64"], 64),
        (["sft.batch_size=64", "train.processes=48"], 32),  # 48 records, then 16
        (["train.processes=12"], 8),
    ],
)
def test_a_training_has_the_arithmetic_of_the_processes_that_compute(
    changes: list[str], computing: int, tmp_path: Path, paper: Requirements
) -> None:
    config = recipes.load("paper-70b", changes)
    found = required(tmp_path, config, plan=paper.plan, machine=GPUS, stated=Throughput(flops=64e15))
    sft = load(found, "SFT/train")
    assert sft.stage.seconds == pytest.approx(sft.flops / (computing * 1e15))


def test_nothing_is_guessed_where_nothing_is_stated(tmp_path: Path, paper: Requirements) -> None:
    config = recipes.load("paper-70b")
    written_only = required(tmp_path, config, plan=paper.plan, machine=GPUS, stated=Throughput(tokens=1000))
    assert load(written_only, "M2/judgments").stage.seconds == pytest.approx(120_000 * 256 / 1000)
    bare = required(tmp_path, config, machine=GPUS)
    assert bare.plan.seconds is None
    assert "M2/candidates" in bare.plan.without_estimate
    expected = recipes.change(config, ["judge.mode=expected"])
    reads = required(tmp_path, expected, machine=GPUS, stated=Throughput(tokens=1000))
    assert load(reads, "M2/judgments").written.number == 0
    assert load(reads, "M2/judgments").stage.seconds is None  # it writes nothing, and arithmetic was not stated


def test_disk_and_host_memory(paper: Requirements) -> None:
    count = 68_976_648_192
    assert paper.disk.download == 2 * count  # it is stored in float16
    assert paper.disk.checkpoints == (4 + 3) * 2 * count  # SFT to M3, saved as the base is; of 625 steps each 200th
    assert paper.disk.states == 3 * 12 * count  # weights and two moments; two are kept, one is written
    assert 0 < paper.disk.records < GIB
    assert paper.host.weights == 0  # no process holds a model that is sharded
    assert paper.host.records > 10_000 * 2 * 800 * 4
    rare = required(Path("none"), recipes.load("paper-70b", ["sft.save_every=1000", "dpo.save_every=1000"]))
    assert rare.disk.states == 12 * count


def test_a_disk_or_a_host_that_is_too_small_is_told(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    for host, disk, lacking in ((10**6, 10**12, "lacks_host"), (10**12, 10**6, "lacks_disk")):
        found = required(tmp_path, config, machine=Machine("gpu", 80 * GIB, 1, "here", host, disk))
        assert getattr(found, lacking)
        assert found.fits is False
        assert not found.short


def test_whether_it_fits_is_not_said_of_a_machine_nobody_described(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    assert required(tmp_path, config, machine=Machine("gpu", None, 4, "as stated")).fits is None
    assert required(tmp_path, config).fits is True


@pytest.mark.slow
def test_the_embedded_base_needs_what_its_data_has(tmp_path: Path) -> None:
    found = required(tmp_path, recipes.load("micro-fast"))
    for name, read in (("SFT/train", 4_539), ("M1/train", 20_206)):  # by a run of this recipe with seed 0
        assert load(found, name).read.about  # the seed data's own mean
        assert load(found, name).read.number == pytest.approx(read, rel=0.1)
    assert not load(found, "M2/candidates").read.about
    batches = {need.kind: need.batch for need in found.needs}
    assert batches["sft"] == "32 x 86 tokens"  # not the 2,048 that sft.max_length allows
    assert max(need.memory.total for need in found.needs) < GIB
    assert found.assumed == ()
    assert found.disk.download == 0


def test_runs_beside_it_tell_means(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    config = small_config(tmp_path, "base=micro")
    first = RunDir.create(folder / "first", config)
    done(first, "M2/candidates", seconds=40, completions=400, distinct=400, tokens=8_000)
    done(first, "M2/train", seconds=10, steps=10, tokens=5_000)
    found = required(tmp_path, config)
    assert load(found, "M3/candidates").written.number == 400 * 20
    assert load(found, "M3/candidates").written.about
    assert load(found, "M3/train").read.number == 13 * 500
    assert load(found, "M3/train").read.about
    assert str(load(found, "M3/candidates").written) == "~ 8,000"
    assert str(load(found, "M3/judgments").written).startswith("<= ")


def test_a_meta_judge_compares_every_two_judgments_in_both_orders(tmp_path: Path) -> None:
    asked = ["judge.mode=sampled", "judge.samples=4", "meta.max_new_tokens=50", "iterations=1"]
    found = required(tmp_path, small_config(tmp_path, *asked, "meta.by=elo"))
    assert load(found, "M2/meta").written.number == 100 * 12 * 50  # of one answer to each of 100 prompts
    found = required(tmp_path, small_config(tmp_path, *asked, "meta.by=consensus"))
    assert load(found, "M2/meta").written.number == 0


def test_what_is_done_needs_nothing(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "a", small_config(tmp_path))
    done(run, "M1/train", steps=10)
    found = require(run, HERE, until="M2")
    assert "M1/train" not in {entry.stage.name for entry in found.loads}
    assert "sft" not in {need.kind for need in found.needs}
    assert found.disk.checkpoints == 1 * 4 * found.dimensions.parameters


def test_data_that_is_not_there_needs_a_size(tmp_path: Path) -> None:
    config = recipes.load("paper-70b", ["seeds.ift_size=null"])
    with pytest.raises(ConfigError, match=r"seeds\.ift: .*--set seeds\.ift_size=3200"):
        required(tmp_path, config, parameters=7)
    run = RunDir(tmp_path / "none", recipes.load("paper-70b"))
    with pytest.raises(DataError):
        make_plan(run)  # only a plan may do without


def test_data_that_is_there_and_broken_is_an_error(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    (tmp_path / "ift.jsonl").write_text("[]\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"ift\.jsonl: holds no records"):
        required(tmp_path, config)


def test_a_base_that_is_only_a_config_is_enough(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    values = {"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 1000}
    (tmp_path / "base" / "config.json").write_text(json.dumps(values), encoding="utf-8")
    found = required(tmp_path, small_config(tmp_path, f"base={tmp_path / 'base'}"))
    assert found.dimensions.layers == 2
    assert "without a tokenizer" in found.assumed[0]
    assert found.fits


def test_only_parameters_are_enough_for_what_depends_on_them(tmp_path: Path) -> None:
    config = small_config(tmp_path, "base=some/model")
    with pytest.raises(EngineError, match="--parameters"):
        required(tmp_path, config)
    found = required(tmp_path, config, machine=GPUS, parameters=7_000_000_000)
    assert {need.kind: need.memory.total for need in found.needs}["dpo"] == 16 * 7_000_000_000
    assert "activations, logits and cache are not told" in found.assumed[0]
    assert {s.section for s in found.short} == {"sft", "dpo"}


# --- the recipes of real models: what their headers say is what this comes to


def published(kind: str, **values: Any) -> dict[str, Any]:
    """A config.json of a model of the hub, by its published figures."""
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    shape = dict(zip(names, values.pop("shape"), strict=True))
    return {"model_type": kind, "dtype": "bfloat16", **shape, **values}


LLAMA_8B = published(
    "llama",
    shape=(4096, 14336, 32, 32, 8),
    vocab_size=128256,
    tie_word_embeddings=False,
    max_position_embeddings=131072,
)
LLAMA_1B = published(
    "llama", shape=(2048, 8192, 16, 32, 8), vocab_size=128256, tie_word_embeddings=True, max_position_embeddings=131072
)
SMOLLM = published(
    "llama", shape=(2048, 8192, 24, 32, 32), vocab_size=49152, tie_word_embeddings=True, max_position_embeddings=8192
)
QWEN = published(
    "qwen2", shape=(896, 4864, 24, 14, 2), vocab_size=151936, tie_word_embeddings=True, max_position_embeddings=32768
)


@pytest.mark.parametrize(
    ("name", "model", "gpus", "gigabytes", "fits"),
    [
        ("qwen2.5-0.5b", QWEN, 1, 16, True),
        ("llama-3.2-1b", LLAMA_1B, 1, 32, True),
        ("smollm2-1.7b-lora", SMOLLM, 1, 24, True),
        ("llama-3.1-8b-lora", LLAMA_8B, 1, 80, True),
        ("llama-3.1-8b", LLAMA_8B, 8, 80, True),
        ("paper-70b", None, 64, 80, False),
    ],
)
def test_a_recipe_says_what_it_needs(
    name: str, model: dict[str, Any] | None, gpus: int, gigabytes: int, fits: bool, tmp_path: Path
) -> None:
    if model:
        (tmp_path / "config.json").write_text(json.dumps(model), encoding="utf-8")
    config = recipes.load(name, [f"base={tmp_path}"] if model else [])
    machine = Machine("gpu", round(gigabytes * 1e9), gpus, "as stated")
    found = required(tmp_path, config, machine=machine, stated=Throughput(flops=gpus * 312e12 * 0.4))
    header = " ".join(line.lstrip("# ") for line in recipes.source(name).splitlines() if line.startswith("#"))
    assert found.fits is fits
    peak = max(need.memory.total for need in found.needs)
    places = [peak, found.host.total, found.disk.total]
    assert [f"{place / GIB:,.{0 if place > 1000 * GIB else 1}f} GiB" in header for place in places] == [True] * 3
    hours, minutes = re.findall(r"Time: (?:(\d+) h )?(\d+) min at most", header)[0]
    seconds = sum(stage.seconds or 0 for stage in found.plan.stages)
    assert int(hours or 0) * 60 + int(minutes) == pytest.approx(seconds / 60, abs=1)
    written = sum(entry.written.number for entry in found.loads)
    assert f"at most {written / 1e6:.0f} million tokens" in header
    there = f"on one GPU of {gigabytes} GB" if gpus == 1 else f"{gpus} GPUs of {gigabytes} GB"
    assert there in header
