"""A model shared out over processes trains as it does in one: two processes, and four for two replicas of two shards.

All cases of two processes are one launch, whose processes kill themselves in the first two (``main``).
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from selfreward_bench.config import DpoConfig, LoraConfig, RehearsalConfig, SftConfig, TrainConfig
from selfreward_bench.errors import ConfigError
from selfreward_bench.storage.fingerprint import tensors
from trainers import sft
from trainers.dpo import train_dpo
from trainers.rehearsing import Rehearsal
from trainers.sft import train_sft
from trainers.sharding import Sharding, sharding_of, usable
from trainers.training import TrainProgress

from ..forking import run_together
from .conftest import examples, make_model, pairs

SFT = SftConfig(
    learning_rate=1e-3, final_learning_rate=1e-4, epochs=2.0, batch_size=8, dropout=0.0, max_length=64, save_every=2
)
DPO = DpoConfig(
    beta=0.5,
    nll_weight=0.3,
    learning_rate=1e-3,
    final_learning_rate=1e-4,
    epochs=2.0,
    batch_size=8,
    max_length=64,
    save_every=2,
)
N = 17  # two whole steps of 8 and one of a single record: the other processes have none of it
LORA = LoraConfig(r=4, alpha=8)
STACKED = LoraConfig(r=4, alpha=8, merge=False)

REHEARSED = Rehearsal(tuple(examples(5)), RehearsalConfig(what=("own",), size=3))  # none for the second, at times

#: name -> kind, base, changes of the settings, adapter; "rehearsed" has judgments beside
CASES: dict[str, tuple[str, str, dict[str, Any], LoraConfig | None]] = {
    "sft": ("sft", "tied", {"micro_batch_size": 2, "gradient_checkpointing": True}, None),
    "dpo": ("dpo", "untied", {"micro_tokens": 80}, None),
    "dpo-tied": ("dpo", "tied", {}, None),
    "sft-half": ("sft", "half", {}, None),
    "lora-sft": ("sft", "tied", {"micro_batch_size": 2}, STACKED),
    "lora-dpo": ("dpo", "untied", {"micro_batch_size": 1}, LORA),
    "rehearsed": ("dpo", "untied", {"micro_tokens": 80, "optim": "sgd"}, None),
    "experts": ("sft", "experts", {}, None),
}
REPLICATED = ("sft", "dpo")
#: by which weights may differ. AdamW divides a gradient by its size: it hides a wrong weight of all records, and makes
#: rounding large where a gradient is as small as that. SGD does neither.
ROUNDING = {"rehearsed": 1e-7}


def train(
    case: str,
    bases: Path,
    out: Path,
    progress: Callable[[TrainProgress], None] | None = None,
    sharding: Sharding | None = None,
    until: int | None = None,
    **more: Any,
) -> Any:
    kind, base, changes, lora = CASES[case]
    train: Any = train_sft if kind == "sft" else train_dpo
    config: Any = SFT if kind == "sft" else DPO
    given: Any = examples(N) if kind == "sft" else pairs(N)
    if sharding is None:
        changes = {name: value for name, value in changes.items() if not name.startswith("micro")}
    config = config.model_copy(update=changes | more)
    options: dict[str, Any] = {"until": until} if until else {}
    options |= {"rehearsal": REHEARSED} if case == "rehearsed" else {}
    return train(bases / base, given, config, out, seed=5, progress=progress, lora=lora, sharding=sharding, **options)


def kill_once(now: TrainProgress) -> None:
    """Kills the second process alone, after the third step, when the launcher has not begun anew yet."""
    if now.step == 3 and (os.environ["TORCHELASTIC_RESTART_COUNT"], os.environ["RANK"]) == ("0", "1"):
        os.kill(os.getpid(), signal.SIGKILL)


def kill_after_the_last_step(start: int, out: Path) -> None:
    """Kills all processes when the last state is whole and no checkpoint begun, once; writes down what the state is."""
    import torch

    def die(*others: Any, **named: Any) -> None:
        torch.distributed.barrier()
        names = sorted(p.name for p in (out / "resume" / "checkpoint-6").iterdir())
        (out.parent / f"saved-{os.environ['RANK']}.json").write_text(json.dumps(names))
        torch.distributed.barrier()
        os.kill(os.getpid(), signal.SIGKILL)

    if os.environ["TORCHELASTIC_RESTART_COUNT"] == str(start):
        sft.finish = die


def private_bytes() -> int:
    """Memory of this process that no file stands behind."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Private_Dirty", "Swap:")))


def memory(bases: Path) -> dict[str, float]:
    """What a process has more of after it has read its part of a model, of the whole in float32."""
    from trainers.bases import load_model

    before = private_bytes()
    loaded = load_model(bases / "large", 0.0, sharding=Sharding())
    whole = sum(p.numel() for p in loaded.model.parameters()) * 4
    return {"read": (private_bytes() - before) / whole, "whole": whole}


def untrained(bases: Path, out: Path) -> str:
    """What is said where weights stay gathered after the reference's pass."""
    from trainers import dpo, sharding

    usual = sharding.reshard
    dpo.reshard = sharding.reshard = lambda model: None
    try:
        train("dpo", bases, out, sharding=Sharding(), save_every=100)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        dpo.reshard = sharding.reshard = usual
    return "trained"


def main(bases: Path, out: Path) -> None:
    """What each of two processes does."""
    import torch

    torch.set_num_threads(1)
    two = Sharding()
    train("dpo", bases, out / "killed" / "dpo", kill_once, two)
    kill_after_the_last_step(1, out / "killed" / "sft")
    train("sft", bases, out / "killed" / "sft", sharding=two)
    for case in CASES:
        train(case, bases, out / case, sharding=two)
    for until in (4, 8):
        train("dpo", bases, out / "parts", sharding=two, until=until)
    half = train("dpo", bases, out / "half", sharding=two, bf16=True)
    told = {"memory": memory(bases), "half": half.first_step, "untrained": untrained(bases, out / "untrained")}
    (out / f"told-{os.environ['RANK']}.json").write_text(json.dumps(told))
    torch.distributed.destroy_process_group()


def replicas(bases: Path, out: Path) -> None:
    """What each of four processes does."""
    import torch

    torch.set_num_threads(1)
    for case in REPLICATED:
        train(case, bases, out / case, sharding=Sharding(replicas=2), micro_batch_size=1)
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With probabilities that differ, so that a wrong weight of a record is seen in the loss; and a vocabulary that
    cannot be divided evenly."""
    folder = tmp_path_factory.mktemp("bases")
    make_model(folder / "tied", initializer_range=0.2)
    make_model(folder / "untied", initializer_range=0.2, tie_word_embeddings=False)
    make_model(folder / "half", initializer_range=0.2, dtype="bfloat16", tie_word_embeddings=False)
    mixture = {"num_local_experts": 4, "num_experts_per_tok": 2, "num_key_value_heads": 2, "router_aux_loss_coef": 0.0}
    make_model(folder / "experts", architecture="Mixtral", initializer_range=0.2, tie_word_embeddings=False, **mixture)
    shape = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 8}
    make_model(folder / "large", dtype="bfloat16", **shape)
    return folder


@pytest.fixture(scope="module")
def two(bases: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("two")
    run_together(lambda: main(bases, out), 2, out / "log", restarts=2)
    return out


@pytest.fixture(scope="module")
def four(bases: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("four")
    run_together(lambda: replicas(bases, out), 4, out / "log")
    return out


def log(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def weights(out: Path) -> dict[str, Any]:
    (file,) = (out / "checkpoint").glob("*.safetensors")
    return load_file(file)


def assert_same(alone: Path, sharded: Path, rounding: float = 1e-5, in_weights: float = 1e-5) -> None:
    first, second = log(alone), log(sharded)
    assert len(first) == len(second) == 6
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        assert one["loss"] == pytest.approx(other["loss"], abs=rounding)
        assert one == pytest.approx(other, abs=rounding, rel=1e-4)  # rel: log-probabilities of -50, gradient norms
    ours, theirs = weights(alone), weights(sharded)
    assert {name: t.dtype for name, t in ours.items()} == {name: t.dtype for name, t in theirs.items()}
    for name, weight in ours.items():
        bound = in_weights + (weight.abs().float() * 2**-7 if weight.dtype.itemsize < 4 else 0.0)  # a bit of bfloat16
        assert ((weight.float() - theirs[name].float()).abs() <= bound).all(), name
    for file in ("config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja"):
        one, other = ((out / "checkpoint" / file) for out in (alone, sharded))
        assert one.exists() == other.exists()
        assert not one.exists() or one.read_bytes() == other.read_bytes(), file


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_with_a_part_each_train_as_one_does(case: str, bases: Path, two: Path, tmp_path: Path) -> None:
    train(case, bases, tmp_path / case)
    assert_same(tmp_path / case, two / case, in_weights=ROUNDING.get(case, 1e-5))
    base = {t.name for t in tensors(bases / CASES[case][1])}
    if case != "lora-sft":
        assert {t.name for t in tensors(two / case / "checkpoint")} == base


@pytest.mark.slow
@pytest.mark.parametrize("case", REPLICATED)
def test_replicas_of_shards_train_as_one_process_does(case: str, bases: Path, four: Path, tmp_path: Path) -> None:
    train(case, bases, tmp_path / case)
    assert_same(tmp_path / case, four / case)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_killed_and_begun_again_it_ends_with_the_same_bytes(kind: str, two: Path) -> None:
    """The second process in DPO; both in SFT, when the last state is there, which holds weights alone."""
    killed, undisturbed = two / "killed" / kind, two / kind
    if kind == "sft":
        saved = json.loads((two / "killed" / "saved-0.json").read_text())
        assert [name for name in saved if name.endswith(".json")] == ["intact.json"]
    files = [p.relative_to(undisturbed) for p in sorted(undisturbed.rglob("*")) if p.is_file()]
    assert Path("checkpoint/model.safetensors") in files
    for file in files:
        assert (killed / file).read_bytes() == (undisturbed / file).read_bytes(), file
    assert not (killed / "resume").exists()


@pytest.mark.slow
def test_stopped_at_a_step_and_gone_on_with_it_is_one_training(bases: Path, two: Path, tmp_path: Path) -> None:
    train("dpo", bases, tmp_path / "alone", until=4)
    ours, theirs = (
        load_file(out / "selected" / "step-4" / "model.safetensors") for out in (tmp_path / "alone", two / "parts")
    )
    for name, weight in ours.items():
        assert ((weight - theirs[name]).abs() <= 1e-5).all(), name
    for file in ("log.jsonl", "plan.json", "checkpoint/model.safetensors"):
        assert (two / "parts" / file).read_bytes() == (two / "dpo" / file).read_bytes(), file


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_no_process_holds_the_model_and_what_would_not_be_trained_is_refused(rank: int, two: Path) -> None:
    told = json.loads((two / f"told-{rank}.json").read_text())
    assert told["memory"]["read"] < 0.7, told
    assert told["untrained"].startswith("LoopViolation: "), told
    assert "would not be trained" in told["untrained"]
    assert told["half"]["dpo_loss"] == pytest.approx(0.6931, abs=2e-2)


def test_what_cannot_be_done_with_parts_is_refused(bases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sharding = sharding_of(TrainConfig(launch="auto", processes=4, sharding="fsdp", replicas=2))
    assert sharding == Sharding(2)
    assert sharding_of(TrainConfig(launch="auto")) is None
    wrong = SFT.model_copy(update={"optim": "adamw_8bit"})
    assert usable(None, bases / "half", wrong, None) is None
    assert usable(Sharding(), bases / "half", wrong, None) is None  # one process holds all of it
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert usable(sharding, bases / "half", SFT, LORA) == sharding
    for config, lora, text in (
        (SFT.model_copy(update={"optim": "adafactor"}), None, "optim=adafactor"),
        (SFT, LoraConfig(quantize="nf4"), "lora.quantize=nf4"),
        (SFT.model_copy(update={"save_dtype": "float32"}), LORA, "save_dtype=float32"),
    ):
        with pytest.raises(ConfigError, match=text):
            usable(sharding, bases / "half", config, lora)
    monkeypatch.setenv("WORLD_SIZE", "5")
    with pytest.raises(ConfigError, match=r"train\.replicas is 2, and 5 processes cannot be divided"):
        _ = sharding.shards


@pytest.mark.parametrize(
    "settings",
    [
        {"sharding": "fsdp"},
        {"launch": "auto", "replicas": 2},
        {"launch": "auto", "sharding": "fsdp", "processes": 3, "replicas": 2},
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"sharding|replicas"):
        TrainConfig(**settings)
