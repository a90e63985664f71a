"""LoRA: it starts from its parent, is merged without a change, resumed to the byte, and trains small matrices only."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import trainers.lora as lora_module
from selfreward_bench.config import DpoConfig, LoraConfig, SftConfig
from selfreward_bench.engines.loading import written_end_ids
from selfreward_bench.errors import LoopViolation, MissingDependencyError, TrainingError
from selfreward_bench.storage.adapters import parts
from selfreward_bench.storage.fingerprint import weights_dtypes, weights_fingerprint
from trainers.checkpoints import logit_probe, read_card
from trainers.dpo import check_first_step, train_dpo
from trainers.lora import parameters
from trainers.sft import train_sft
from trainers.training import TrainProgress

from .conftest import contents, examples, make_model, pairs, run_until_killed

LORA = LoraConfig(r=4, alpha=8, dropout=0.1)
SFT = SftConfig(
    learning_rate=2e-2, final_learning_rate=1e-3, epochs=2.0, batch_size=8, dropout=0.0, save_every=2, max_length=64
)
DPO = DpoConfig(
    beta=0.5, nll_weight=0.3, learning_rate=1e-2, final_learning_rate=1e-3, epochs=2.0, batch_size=8, save_every=2,
    max_length=64,
)  # fmt: skip


def train(
    kind: str, base: Path, out: Path, lora: LoraConfig | None = LORA, micro: int | None = None, **more: Any
) -> Any:
    section: Any = SFT if kind == "sft" else DPO
    config = section.model_copy(update={"micro_batch_size": micro})
    function: Any = train_sft if kind == "sft" else train_dpo
    return function(base, examples(20) if kind == "sft" else pairs(20), config, out, seed=5, lora=lora, **more)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("base") / "model", initializer_range=0.2)


@dataclass(frozen=True)
class Taught:
    """An SFT of the base.

    Attributes:
        state: bytes of weights and optimizer that were saved at its second step; an adapter saves no whole weights.
        merged: the probe of what the adapter was merged into.
    """

    result: Any
    state: int
    merged: list[float]

    @property
    def out(self) -> Path:
        return Path(self.result.log_path.parent)


@pytest.fixture(scope="module")
def taught(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Taught]:
    """By an adapter (``lora``) and of all weights (``full``); to be copied, not changed."""
    return {
        name: teach(base, tmp_path_factory.mktemp(name) / "sft", lora)
        for name, lora in (("lora", LORA), ("full", None))
    }


def teach(base: Path, out: Path, lora: LoraConfig | None) -> Taught:
    sizes: list[int] = []
    merged: list[list[float]] = []
    original = lora_module.merged

    def measure(progress: TrainProgress) -> None:
        state = out / "resume" / "checkpoint-2"
        if progress.step == 3:
            weights = sum(f.stat().st_size for f in state.rglob("*.safetensors"))
            sizes.append(weights + (state / "optimizer.pt").stat().st_size)
            assert (state / "model.safetensors").exists() == (lora is None)

    def watched(model: Any) -> tuple[Any, float]:
        whole, change = original(model)
        merged.append(logit_probe(whole))
        return whole, change

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lora_module, "merged", watched)
        result = train("sft", base, out, lora, progress=measure)
    return Taught(result, sizes[0], merged[0] if lora else [])


@pytest.fixture(scope="module", params=["sft", "dpo"])
def undisturbed(
    request: pytest.FixtureRequest, base: Path, taught: dict[str, Taught], tmp_path_factory: pytest.TempPathFactory
) -> Any:
    out = taught["lora"].out if request.param == "sft" else tmp_path_factory.mktemp("undisturbed") / "dpo"
    if request.param == "dpo":
        train("dpo", base, out)
    return request.param, out


def log(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def tensors(checkpoint: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(checkpoint / "model.safetensors")


def distance(a: list[float], b: list[float]) -> float:
    return max(abs(x - y) for x, y in zip(a, b, strict=True))


# --- where it starts, and what it learns


@pytest.mark.slow
def test_two_rounds_start_from_their_parents(taught: dict[str, Taught], tmp_path: Path) -> None:
    first = taught["lora"].result
    assert first.final_loss < first.first_loss - 0.1
    parent = first.checkpoint
    for model in ("M2", "M3"):
        result = train("dpo", parent, tmp_path / model)
        assert result.first_dpo_loss == pytest.approx(math.log(2), abs=1e-6)
        check_first_step(result)
        assert log(tmp_path / model)[-1]["dpo_loss"] < 0.6
        card = read_card(result.checkpoint)
        assert card is not None
        assert card.parent_fingerprint == weights_fingerprint(parent)
        parent = result.checkpoint


@pytest.mark.slow
def test_the_first_loss_is_that_of_full_training(taught: dict[str, Taught]) -> None:
    adapted, full = taught["lora"], taught["full"]
    assert adapted.result.first_loss == pytest.approx(full.result.first_loss, abs=1e-6)
    assert log(adapted.out)[0]["grad_norm"] != log(full.out)[0]["grad_norm"]


def test_only_the_adapted_layers_change(base: Path, tmp_path: Path) -> None:
    result = train("sft", base, tmp_path / "M1", LORA.model_copy(update={"targets": ("q_proj", "v_proj")}))
    before, after = tensors(base), tensors(result.checkpoint)
    assert before.keys() == after.keys()  # no tensor of an adapter
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed == {f"model.layers.{i}.self_attn.{kind}_proj.weight" for i in (0, 1) for kind in "qv"}


@pytest.mark.slow
def test_what_is_trained_and_saved_is_small(base: Path, taught: dict[str, Taught]) -> None:
    card = read_card(taught["lora"].result.checkpoint)
    assert card is not None
    assert card.lora is not None
    layers = 2 * (4 * (32 + 32) + 3 * (32 + 64))  # q, k, v, o; gate, up, down
    assert card.lora["trained_parameters"] == 4 * layers
    whole = sum(t.numel() for t in tensors(base).values())
    assert card.lora["parameters"] == whole + 4 * layers
    assert taught["lora"].state < 0.4 * taught["full"].state
    full = read_card(taught["full"].result.checkpoint)
    assert full is not None
    assert full.lora is None


# --- merging


def test_a_merged_checkpoint_is_read_without_peft(undisturbed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, out = undisturbed
    names = {p.name for p in (out / "checkpoint").iterdir()}
    assert not {name for name in names if "adapter" in name}
    card = read_card(out / "checkpoint")
    assert card is not None
    assert card.lora is not None
    assert 0 <= card.lora["merge_logit_change"] < 1e-4
    assert (card.lora["r"], card.lora["alpha"], card.lora["targets"]) == (4, 8, "all-linear")
    for name in [name for name in sys.modules if name.partition(".")[0] == "peft"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "peft", None)  # importing it fails
    assert all(map(math.isfinite, logit_probe(out / "checkpoint")))


def test_autocast_does_not_blur_what_merging_changes(base: Path, tmp_path: Path) -> None:
    """Trained in bfloat16 autocast, a model is compared in float32: what rounding moves is not the merging."""
    config = SFT.model_copy(update={"bf16": True, "epochs": 1.0})
    card = read_card(train_sft(base, examples(20), config, tmp_path / "M1", seed=5, lora=LORA).checkpoint)
    assert card is not None
    assert card.lora is not None
    assert card.lora["merge_logit_change"] < 1e-4


@pytest.mark.slow
def test_saving_and_loading_changes_nothing(base: Path, taught: dict[str, Taught]) -> None:
    merged = taught["lora"].merged
    assert logit_probe(taught["lora"].result.checkpoint) == merged
    assert distance(merged, logit_probe(base)) > 0.1


def test_a_merge_that_changes_the_model_stops_the_run(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft.tuners.lora.layer import Linear

    monkeypatch.setattr(Linear, "merge", lambda self, *args, **kwargs: None)
    with pytest.raises(LoopViolation, match="Merging the adapter into the weights changed a logit by"):
        train("sft", base, tmp_path / "M1")
    assert not (tmp_path / "M1" / "checkpoint").exists()


@pytest.mark.slow
def test_a_bfloat16_base_stays_so_under_a_float32_adapter(tmp_path: Path) -> None:
    half = make_model(tmp_path / "half", dtype="bfloat16", initializer_range=0.2)
    seen: dict[str, set[str]] = {}
    original = lora_module.merged

    def watched(model: Any) -> tuple[Any, float]:
        for name, p in model.named_parameters():
            seen.setdefault("adapter" if "lora_" in name else "frozen", set()).add(str(p.dtype))
        return original(model)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lora_module, "merged", watched)
        result = train("dpo", half, tmp_path / "M2")
    assert seen == {"adapter": {"torch.float32"}, "frozen": {"torch.bfloat16"}}
    check_first_step(result, 2e-2)
    assert weights_dtypes(result.checkpoint)[0] == "BF16"
    assert weights_fingerprint(result.checkpoint) != weights_fingerprint(half)


def test_save_dtype_keeps_what_the_adapter_adds_to_a_bfloat16_base(tmp_path: Path) -> None:
    half = make_model(tmp_path / "half", dtype="bfloat16", initializer_range=0.2)
    config = SFT.model_copy(update={"save_dtype": "float32"})
    result = train_sft(half, examples(20), config, tmp_path / "M1", seed=5, lora=LORA)
    name = "model.layers.0.self_attn.q_proj.weight"
    after = tensors(result.checkpoint)[name]
    assert str(after.dtype) == "torch.float32"
    assert not after.equal(after.bfloat16().float())


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["GPT2", "Mixtral"])
def test_other_architectures(architecture: str, tmp_path: Path) -> None:
    """GPT-2 keeps its matrices transposed; a mixture's experts are one tensor, of which peft drops nothing."""
    shape = {"num_local_experts": 4, "num_key_value_heads": 2} if architecture == "Mixtral" else {}
    base = make_model(tmp_path / "base", architecture=architecture, **shape)
    result = train("dpo", base, tmp_path / "M2", LORA.model_copy(update={"dropout": 0.0}))
    check_first_step(result)
    assert weights_fingerprint(result.checkpoint) != weights_fingerprint(base)
    card = read_card(result.checkpoint)
    assert card is not None
    assert card.lora is not None
    assert card.lora["merge_logit_change"] < 1e-4


# --- stacked: checkpoints are adapters

STACKED = LORA.model_copy(update={"merge": False, "dropout": 0.0})


@pytest.fixture(scope="module")
def stacked(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of M1, M2 and M3 whose checkpoints are adapters."""
    run = tmp_path_factory.mktemp("stacked")
    parent = base
    for model, kind in (("M1", "sft"), ("M2", "dpo"), ("M3", "dpo")):
        parent = train(kind, parent, run / model, STACKED).checkpoint
    return run


def test_a_stacked_checkpoint_is_the_adapter_over_the_same_base(stacked: Path, base: Path) -> None:
    for model in ("M1", "M2", "M3"):
        checkpoint = stacked / model / "checkpoint"
        files = {p.name for p in checkpoint.iterdir()}
        assert files >= {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "README.md"}
        assert not files & {"model.safetensors", "config.json", "ref"}
        assert parts(checkpoint).weights == base
        assert parts(checkpoint).tokenizer == parts(checkpoint).generation == checkpoint
        assert written_end_ids(checkpoint) == [1]
        card = read_card(checkpoint)
        assert card is not None
        assert card.lora is not None
        assert card.lora["merge"] is False
        assert "merge_logit_change" not in card.lora
    prints = [weights_fingerprint(d) for d in (base, *(stacked / m / "checkpoint" for m in ("M1", "M2", "M3")))]
    assert len(set(prints)) == 4


def test_a_stacked_round_starts_from_its_parent_and_learns(stacked: Path) -> None:
    for model in ("M2", "M3"):
        first, *_, last = log(stacked / model)
        assert first["dpo_loss"] == pytest.approx(math.log(2), abs=1e-6)
        assert last["dpo_loss"] < 0.6
    probes = [logit_probe(stacked / m / "checkpoint") for m in ("M1", "M2", "M3")]
    assert distance(probes[0], probes[1]) > 1e-2
    assert distance(probes[1], probes[2]) > 1e-2


@pytest.mark.slow
def test_stacked_and_merged_are_the_same_after_one_round(stacked: Path, base: Path, tmp_path: Path) -> None:
    merged = train("sft", base, tmp_path / "M1", LORA.model_copy(update={"dropout": 0.0}))
    assert distance(logit_probe(merged.checkpoint), logit_probe(stacked / "M1" / "checkpoint")) <= 1e-5
    assert log(tmp_path / "M1") == log(stacked / "M1")


@pytest.mark.slow
def test_an_adapter_is_merged_where_it_is_not_trained_on(stacked: Path, tmp_path: Path) -> None:
    parent = stacked / "M1" / "checkpoint"
    for name, lora in (("full", None), ("lora", LORA)):
        result = train("dpo", parent, tmp_path / name, lora)
        check_first_step(result)
        assert (result.checkpoint / "model.safetensors").is_file()
        assert result.first_step["logps/chosen"] == pytest.approx(log(stacked / "M2")[0]["logps/chosen"], abs=1e-4)


@pytest.mark.slow
def test_killed_and_resumed_a_stacked_round_ends_the_same(stacked: Path, tmp_path: Path) -> None:
    def kill(progress: TrainProgress) -> None:
        if progress.step == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    parent, out = stacked / "M1" / "checkpoint", tmp_path / "M2"
    run_until_killed(lambda: train("dpo", parent, out, STACKED, progress=kill))
    train("dpo", parent, out, STACKED)
    assert contents(out) == contents(stacked / "M2")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"r": 8}, "'r': 4, .*asks for .*'r': 8"),
        ({"alpha": 16}, "'alpha': 8"),
        ({"targets": ("q_proj",)}, "'targets'"),
    ],
    ids=str,
)
def test_another_adapter_cannot_be_trained_on(
    stacked: Path, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(TrainingError, match=rf"goes on with the adapter .*{told}.*or lora.merge to true"):
        train("dpo", stacked / "M1" / "checkpoint", tmp_path / "M2", STACKED.model_copy(update=changes))


@pytest.mark.slow
def test_an_adapter_of_few_layers_is_not_all_linear(base: Path, tmp_path: Path) -> None:
    few = train("sft", base, tmp_path / "M1", STACKED.model_copy(update={"targets": ("q_proj",)})).checkpoint
    with pytest.raises(TrainingError, match="some-linear"):
        train("dpo", few, tmp_path / "M2", STACKED)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["GPT2", "Mixtral"])
def test_other_architectures_stacked(architecture: str, tmp_path: Path) -> None:
    shape = {"num_local_experts": 4, "num_key_value_heads": 2} if architecture == "Mixtral" else {}
    parent = make_model(tmp_path / "base", architecture=architecture, **shape)
    for model, kind in (("M1", "sft"), ("M2", "dpo")):
        result = train(kind, parent, tmp_path / model, STACKED)
        parent = result.checkpoint
    check_first_step(result)
    assert distance(logit_probe(tmp_path / "M1" / "checkpoint"), logit_probe(parent)) > 1e-3


# --- splitting and resuming


@pytest.mark.slow
def test_micro_batches_change_nothing(base: Path, tmp_path: Path) -> None:
    lora = LORA.model_copy(update={"dropout": 0.0})  # which units drop depends on the split
    for kind in ("sft", "dpo"):
        whole, split = (train(kind, base, tmp_path / f"{kind}{micro}", lora, micro) for micro in (8, 1))
        logs = [log(result.log_path.parent) for result in (whole, split)]
        for first in (lines[0] for lines in logs if kind == "dpo"):
            del first["rewards/accuracies"]  # where policy and reference are equal, the sign of a margin is rounding
        for one, other in zip(*logs, strict=True):
            assert one == pytest.approx(other, abs=1e-5, rel=1e-4)
        ours, theirs = tensors(whole.checkpoint), tensors(split.checkpoint)
        assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 3, 5])
def test_killed_and_resumed_it_ends_the_same(undisturbed: Any, base: Path, step: int, tmp_path: Path) -> None:
    """Before the first state, between two, and after the last step's state."""
    kind, other = undisturbed
    out = tmp_path / kind

    def kill(progress: TrainProgress) -> None:
        if progress.step == step:
            os.kill(os.getpid(), signal.SIGKILL)

    run_until_killed(lambda: train(kind, base, out, progress=kill))
    train(kind, base, out)
    assert contents(out) == contents(other)


@pytest.mark.slow
def test_killed_before_the_checkpoint_it_ends_the_same(
    undisturbed: Any, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state of the last step alone is there."""
    kind, other = undisturbed
    out = tmp_path / kind

    def dying(*args: Any, **kwargs: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr("trainers.training.save_checkpoint", dying)
        run_until_killed(lambda: train(kind, base, out))
    train(kind, base, out)
    assert contents(out) == contents(other)


# --- refusals


def test_without_peft_it_says_what_to_install(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"srbench\[lora\]"):
        train("sft", base, tmp_path / "M1")


def test_weights_that_are_packed_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are buffers of layers that are none of torch's."""
    import torch

    layer: Any = torch.nn.Module()
    layer.in_features, layer.out_features, layer.bias = 4, 3, torch.zeros(3)
    monkeypatch.setattr("trainers.lora.quantised.is_packed", lambda module: module is layer)
    model: Any = torch.nn.Sequential(torch.nn.Linear(2, 2), layer)
    model.get_nb_trainable_parameters = lambda: (2, 6)
    assert parameters(model) == {"trained_parameters": 2, "parameters": 6 + 4 * 3 + 3}


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (("q_proj", "query"), r"targets names query, which is no layer .* Its linear layers are down_proj"),
        (("query",), r"targets=query .* Its linear layers are down_proj, gate_proj, k_proj, o_proj, q_proj"),
        (("lm_head",), "the embeddings or the output layer"),
        (("embed_tokens", "q_proj"), "the embeddings or the output layer"),
    ],
)
def test_targets_that_cannot_be(base: Path, targets: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=message):
        train("sft", base, tmp_path / "M1", LORA.model_copy(update={"targets": targets}))


def test_dropout_where_it_cannot_be(tmp_path: Path) -> None:
    base = make_model(tmp_path / "base", architecture="Mixtral", num_local_experts=4, num_key_value_heads=2)
    with pytest.raises(TrainingError, match=r"lora.dropout=0.1 for this model: .*does not work with lora_dropout"):
        train("sft", base, tmp_path / "M1")


def test_another_adapter_is_another_training(base: Path, taught: dict[str, Taught], tmp_path: Path) -> None:
    from selfreward_bench.errors import IncompatibleRunError

    shutil.copytree(taught["lora"].out, tmp_path / "M1")
    with pytest.raises(IncompatibleRunError, match=r"lora\.r: was 4, is 8"):
        train("sft", base, tmp_path / "M1", LORA.model_copy(update={"r": 8}))
