"""The formulas: against what torch and transformers really keep, against known sizes, and monotone in everything."""

from __future__ import annotations

import doctest
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfreward_bench.config import LoraConfig
from trainers import dimensions, fitting, memory
from trainers.dimensions import Dimensions, read_dimensions, with_adapters
from trainers.memory import Pass

ROWS, LENGTH, LAYERS = 8, 96, 2
WIDE = {"vocab_size": 64, "hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": LAYERS}
WIDE |= {"num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", WIDE),
    "qwen2": ("Qwen2Config", WIDE | {"tie_word_embeddings": True}),
    "gemma": ("GemmaConfig", WIDE | {"head_dim": 32}),
    "gemma2": ("Gemma2Config", WIDE | {"head_dim": 16}),
    "mixtral": ("MixtralConfig", WIDE | {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "phi3": ("Phi3Config", WIDE),
    "gpt2": ("GPT2Config", {"vocab_size": 64, "n_embd": 64, "n_layer": LAYERS, "n_head": 4, "eos_token_id": 1}),
    "neox": ("GPTNeoXConfig", {k: v for k, v in WIDE.items() if k != "num_key_value_heads"}),
}


@pytest.mark.parametrize("module", [dimensions, memory, fitting], ids=lambda m: m.__name__)
def test_the_examples_in_the_docs_hold(module: Any) -> None:
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed


# --- against torch and transformers


def tiny(kind: str, folder: Path, dropout: float) -> tuple[Any, Dimensions]:
    import transformers

    name, values = KINDS[kind]
    config = getattr(transformers, name)(**values)
    for key in ("attention_dropout", "attn_pdrop"):
        if hasattr(config, key):
            setattr(config, key, dropout)
    for key in ("resid_pdrop", "embd_pdrop", "hidden_dropout"):
        if hasattr(config, key):
            setattr(config, key, 0.0)
    config.save_pretrained(folder)
    return transformers.AutoModelForCausalLM.from_config(config), read_dimensions(folder)


@contextmanager
def counting(model: Any) -> Iterator[dict[int, int]]:
    """Bytes of everything that autograd keeps but the weights, by where they are."""
    import torch

    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: list[Any] = []  # holds them, so that no place is used twice
    found: dict[int, int] = {}

    def pack(tensor: Any) -> Any:
        place = tensor.untyped_storage().data_ptr()
        if place not in weights:
            found[place] = tensor.untyped_storage().nbytes()
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield found


def kept_by_autograd(model: Any, *, bf16: bool) -> int:
    import torch

    ids = torch.randint(2, 60, (ROWS, LENGTH))
    mask = torch.ones_like(ids)
    mask[0, -3:] = 0
    model.train()
    with counting(model) as found, torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        model.base_model(input_ids=ids, attention_mask=mask, use_cache=False)
    return sum(found.values())


@pytest.mark.parametrize("kind", KINDS)
def test_activations_are_what_autograd_keeps(tmp_path: Path, kind: str) -> None:
    model, d = tiny(kind, tmp_path, dropout=0.0)
    step = Pass(ROWS, LENGTH, device="cpu")
    layer = memory.activations(d, replace(step, checkpointing=True))  # with one layer's gradients
    all_layers = memory.activations(d, step) - (layer - LAYERS * step.tokens * d.hidden * 4) // 2
    assert all_layers == pytest.approx(kept_by_autograd(model, bf16=False), rel=0.25)


def test_bfloat16_makes_activations_smaller_as_autograd_does(tmp_path: Path) -> None:
    model, d = tiny("llama", tmp_path, dropout=0.0)
    whole, half = (memory.activations(d, Pass(ROWS, LENGTH, bf16=bf16, device="cpu")) for bf16 in (False, True))
    copies = sum(p.numel() * 2 for name, p in model.named_parameters() if "layers" in name and p.ndim == 2)
    kept = [kept_by_autograd(model, bf16=False), kept_by_autograd(model, bf16=True) - copies]
    assert half / whole == pytest.approx(kept[1] / kept[0], rel=0.1)


def test_dropout_in_attention_keeps_the_scores_on_a_cpu(tmp_path: Path) -> None:
    """So memory grows with the square of the length there."""
    model, d = tiny("llama", tmp_path, dropout=0.1)
    dropped, plain = (Pass(ROWS, LENGTH, dropout=on, device="cpu") for on in (True, False))
    more = kept_by_autograd(model, bf16=False) - kept_by_autograd(tiny("llama", tmp_path, 0.0)[0], bf16=False)
    gradients = 4 * 4 * d.heads * dropped.tokens * LENGTH
    said = memory.activations(d, dropped) - memory.activations(d, plain) - gradients
    assert said == pytest.approx(more, rel=0.25)
    on_gpu = replace(dropped, device="gpu")
    assert memory.activations(d, on_gpu) == memory.activations(d, replace(plain, device="gpu"))


def test_the_cache_of_a_token_is_what_the_engine_reserves(tmp_path: Path) -> None:
    import torch

    from selfreward_bench.engines.cache import new_cache

    model, d = tiny("llama", tmp_path, dropout=0.0)
    cache = new_cache(model.config, plain=True)
    with torch.inference_mode():
        model(input_ids=torch.ones(3, 10, dtype=torch.long), past_key_values=cache, use_cache=True)
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert held == 3 * 10 * memory.cached(d, 4)


def test_states_and_checkpoints_on_the_disk_have_the_size_that_is_said(tmp_path: Path, tiny_model: Path) -> None:
    from selfreward_bench.config import SftConfig
    from trainers.sft import train_sft

    from .conftest import examples

    d = read_dimensions(tiny_model)
    seen: list[list[Path]] = []

    def look(_: Any) -> None:
        seen.append(sorted((tmp_path / "M1" / "resume").glob("checkpoint-*")))
        for state in seen[-1]:
            weights = (state / "model.safetensors").stat().st_size
            moments = (state / "optimizer.pt").stat().st_size
            assert weights + moments == pytest.approx(memory.saved_state(d), rel=0.1)

    config = SftConfig(batch_size=2, epochs=1, save_every=1)
    train_sft(tiny_model, examples(8), config, tmp_path / "M1", seed=0, progress=look)
    assert max(map(len, seen)) == 2  # one more while it is written
    made = (tmp_path / "M1" / "checkpoint" / "model.safetensors").stat().st_size
    assert made == pytest.approx(memory.checkpoint(d.parameters), rel=0.1)


@pytest.mark.slow
def test_adapters_are_counted_and_their_states_have_the_size_that_is_said(tmp_path: Path, tiny_model: Path) -> None:
    from selfreward_bench.config import SftConfig
    from trainers.checkpoints import read_card
    from trainers.sft import train_sft

    from .conftest import examples

    d = read_dimensions(tiny_model)
    for name, targets in (("all", "all-linear"), ("some", ("q_proj", "model.layers.0.mlp.up_proj"))):
        lora = LoraConfig(r=8, targets=targets)
        adapted = with_adapters(d, lora)
        sizes: list[int] = []

        def look(_: Any, folder: Path = tmp_path / name / "resume", sizes: list[int] = sizes) -> None:
            for state in folder.glob("checkpoint-*"):
                files = ("adapter_model.safetensors", "optimizer.pt")
                sizes.append(sum((state / file).stat().st_size for file in files))

        config = SftConfig(batch_size=2, epochs=1, save_every=1)
        made = train_sft(tiny_model, examples(8), config, tmp_path / name, seed=0, lora=lora, progress=look)
        card = read_card(made.checkpoint)
        assert card is not None
        assert card.lora is not None
        if name == "all":
            assert card.lora["trained_parameters"] == adapted.adapted
            assert sizes == pytest.approx([memory.saved_state(adapted)] * len(sizes), rel=0.35)  # names and headers
            assert sizes
        assert card.lora["parameters"] - card.lora["trained_parameters"] == d.parameters


def test_frozen_weights_take_no_gradients() -> None:
    d = Dimensions(1_000_000, 1_000_000, hidden=8, vocabulary=100, width=2, linear={"q_proj": 1000, "up_proj": 500})
    lora = with_adapters(d, LoraConfig(r=4, targets=("q_proj",)))
    assert lora.adapted == 4000
    held = memory.training(lora, Pass(0, 0))
    assert (held.weights, held.gradients, held.moments, held.logits) == (2_000_000 + 16_000, 16_000, 32_000, 0)
    assert memory.state(lora) == held.total
    assert memory.state(d) == 16 * 1_000_000
    assert memory.reference(lora, Pass(0, 0)).weights == held.weights
    assert with_adapters(d, None) == d


# --- against sizes that are known


def test_the_logits_of_a_large_vocabulary() -> None:
    """152 thousand words, 4 texts of 450 tokens: a process that trains a narrow model (perf/RESULTS.md)."""
    narrow = Dimensions(4_900_000, 4_900_000, layers=1, hidden=32, vocabulary=152_000)
    step = Pass(4, 450, device="cpu")
    whole = memory.training(narrow, step).total + memory.LIBRARIES
    assert whole / 1e9 == pytest.approx(0.9, abs=0.1)
    assert memory.logits(narrow, step) / memory.training(narrow, step).total > 0.7
    longer = Pass(16, 2048, device="cpu")  # TRL goes on in tiles
    assert memory.logits(narrow, longer) / 1e9 == pytest.approx(0.59, abs=0.01)
    on_gpu = memory.logits(narrow, replace(longer, device="gpu"))
    assert on_gpu / 1e9 == pytest.approx(0.56, abs=0.01)


def test_seventy_billion_parameters_take_terabytes() -> None:
    llama = Dimensions(68_976_648_192, 68_976_648_192)
    held = memory.training(llama, Pass(1, 2048))
    assert held.total / 1e12 == pytest.approx(1.1, abs=0.01)
    assert held.weights + held.gradients + held.moments == held.total == 16 * llama.parameters
    assert memory.training(llama, Pass(1, 2048, bf16=True)).total - held.total == 2 * llama.parameters
    assert memory.training(llama, Pass(1, 1, shards=32)).total / 2**30 == pytest.approx(32.1, abs=0.1)
    assert memory.training_flops(llama.active, 1000, checkpointing=False) == 6 * llama.parameters * 1000
    assert memory.training_flops(llama.active, 1000, checkpointing=True) == 8 * llama.parameters * 1000
    assert memory.training_flops(llama.active, 1000, checkpointing=True, frozen=True) == 6 * llama.parameters * 1000


def test_a_gpu_held_about_what_is_said() -> None:
    """SFT and DPO of one billion parameters on an H100, micro batches of 8 records of 400 words (perf/RESULTS.md)."""
    count = 974_682_112
    sizes = {"layers": 16, "hidden": 2048, "vocabulary": 750, "heads": 32, "attention": 2048, "keys": 512}
    d = Dimensions(count, count, norms=4 * 2048, middle=4 * 8192, **sizes)
    for rows, held in ((8, 25.9), (16, 35.1)):
        step = Pass(rows, 557, bf16=True)  # the longest of them
        assert memory.training(d, step).total / 2**30 == pytest.approx(held, rel=0.1)


# --- whatever the sizes

sizes = st.builds(
    Dimensions,
    parameters=st.integers(1, 10**12),
    active=st.integers(1, 10**12),
    layers=st.integers(2, 100),
    hidden=st.integers(1, 20_000),
    vocabulary=st.integers(1, 300_000),
    heads=st.integers(1, 128),
    attention=st.integers(1, 20_000),
    keys=st.integers(1, 20_000),
    norms=st.integers(1, 80_000),
    middle=st.integers(1, 200_000),
    scores=st.booleans(),
    drops=st.booleans(),
)
passes = st.builds(
    Pass,
    rows=st.integers(1, 64),
    length=st.integers(1, 10_000),
    bf16=st.booleans(),
    checkpointing=st.booleans(),
    dropout=st.booleans(),
    device=st.sampled_from(["cpu", "gpu"]),
)


@settings(max_examples=80, deadline=None)
@given(sizes, passes, st.data())
def test_more_of_anything_takes_no_less(d: Dimensions, step: Pass, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["rows", "length"]))
    longer = replace(step, **{name: getattr(step, name) + data.draw(st.integers(1, 100))})
    wide = data.draw(st.sampled_from(["parameters", "layers", "hidden", "vocabulary", "heads", "attention", "middle"]))
    wider = replace(d, **{wide: getattr(d, wide) + data.draw(st.integers(1, 100))})
    for formula in (memory.training, memory.reference):
        held = formula(d, step).total
        assert held <= formula(d, longer).total
        assert held <= formula(wider, step).total
    assert memory.reference(d, step).total <= memory.training(d, step).total
    shares = [memory.training(d, replace(step, shards=count)).total for count in (2, 4, 16)]
    assert shares == sorted(shares, reverse=True)


@settings(max_examples=80, deadline=None)
@given(sizes, st.integers(1, 10**6), st.integers(1, 1024), st.integers(0, 10**6))
def test_generation_takes_more_the_more_is_held(d: Dimensions, tokens: int, rows: int, read: int) -> None:
    held = [memory.generating(d, w, tokens=tokens, read=read, rows=rows).total for w in (2, 4)]
    assert held[0] < held[1]
    more = memory.generating(d, 4, tokens=2 * tokens, read=2 * read, rows=2 * rows)
    assert held[1] <= more.total
