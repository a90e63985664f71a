"""What an examination of a model's files says: each kind of base with its verdict, each spoilt one with its reason."""

from __future__ import annotations

import json
import logging
import logging.handlers
import queue
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selfreward_bench import recipes
from selfreward_bench.bases.examine import examine, open_engine
from selfreward_bench.bases.files import file_findings
from selfreward_bench.bases.findings import Examination, Purpose
from selfreward_bench.bases.tokens import read_tokenizer, reading_findings
from selfreward_bench.config import EngineConfig
from selfreward_bench.errors import EngineError

from ... import small_models as small

Model = Callable[[str], Path]


def look(directory: Path, *settings: str) -> Examination:
    """For training with the micro recipe, whose numbers of tokens suit small models."""
    config = recipes.load("micro", [f"base={json.dumps(str(directory))}", *settings])
    return examine(directory, Purpose(config.engine, config), "base")


def said(found: Examination, severity: str) -> str:
    return "\n".join(f"{f.topic}: {f.text}" for f in found.findings if f.severity == severity)


# --- whole bases of real kinds

VERDICTS: dict[str, tuple[str, str]] = {  # kind -> a warning and a note that it must have; empty for none in particular
    "llama": ("", "ends at '<|eot_id|>' (5)"),
    "qwen2": ("", "ends at '<|im_end|>' (2)"),
    "qwen3": ("", ""),
    "gemma2": ("", "no system turn (System role not supported)"),
    "gemma3": ("", "no two turns of one role"),
    "mistral": ("", "There is no pad token; the end token stands in"),
    "phi3": ("", "Of 512 positions the first 384 are used"),
    "gpt2": ("", "no chat template; a plain one renders messages"),
    "mixtral": ("", ""),
    "granitemoe": ("", ""),
    "olmoe": ("", ""),
    "mamba": ("takes no cache of keys and values", ""),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", small.KINDS)
def test_a_whole_base_is_not_refused(model: Model, kind: str) -> None:
    found = look(model(kind))
    warning, note = VERDICTS[kind]
    assert said(found, "refusal") == ""
    assert warning in said(found, "warning")
    assert (said(found, "warning") == "") == (warning == "")
    assert note in said(found, "note")
    assert found.facts["parameters"] > 10_000
    assert len(found.findings) < 10


def test_a_model_that_only_answers_needs_no_end_token_and_no_template(model: Model) -> None:
    directory = model("gpt2")
    small.edit(directory / "tokenizer_config.json", eos_token=None)
    assert "no end token" in said(look(directory), "refusal")
    assert not examine(directory, Purpose(EngineConfig())).refused


# --- config.json


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden_size": "32"}, ["config.json does not describe a model", "'hidden_size'", "expected int, got str"]),
        ({"num_attention_heads": 5}, ["config.json does not describe a model", "attention heads"]),
        ({"model_type": "nothing-known"}, ["model_type 'nothing-known'", "does not know"]),
        ({"model_type": None}, ["config.json names no model_type"]),
        ({"pad_token_id": 99999}, ["pad_token_id 99999", "Set it to null"]),
        ({"is_encoder_decoder": True}, ["is an encoder-decoder"]),
    ],
)
def test_a_wrong_value_of_the_configuration_is_named(model: Model, changes: dict[str, Any], words: list[str]) -> None:
    directory = model("llama")
    small.edit(directory / "config.json", **changes)
    text = said(look(directory), "refusal")
    assert all(word in text for word in words), text
    assert text.count("\n") == 0
    assert len(text) < 400


def test_a_library_says_nothing_beside_what_is_found(model: Model) -> None:
    """transformers reports a value that cannot be set with the whole configuration."""
    directory, told = model("llama"), queue.SimpleQueue[object]()
    handler = logging.handlers.QueueHandler(told)
    logging.getLogger("transformers").addHandler(handler)
    small.edit(directory / "config.json", use_return_dict=False)
    try:
        assert "config.json does not describe a model" in said(look(directory), "refusal")
    finally:
        logging.getLogger("transformers").removeHandler(handler)
    assert told.empty()


@pytest.mark.parametrize(
    ("architecture", "head", "changes", "words"),
    [
        ("Llama", "LlamaForSequenceClassification", {"num_labels": 1}, "a classifier or reward model"),
        ("Bert", "BertForMaskedLM", {}, "an encoder, which sees the text it is asked to write"),
        ("T5", "T5ForConditionalGeneration", {"d_model": 32, "d_kv": 8, "d_ff": 32}, "an encoder-decoder"),
    ],
)
def test_other_kinds_of_models_are_refused_in_a_sentence(
    tmp_path: Path, architecture: str, head: str, changes: dict[str, Any], words: str
) -> None:
    tokenizer = small.llama3()
    changes = changes | {"pad_token_id": 0}
    directory = small.save(tmp_path / "base", small.model_of(architecture, tokenizer, head=head, **changes), tokenizer)
    for found in (look(directory), examine(directory, Purpose(EngineConfig()))):
        text = said(found, "refusal")
        assert text == f"config: {head} is {words}" + text.removeprefix(f"config: {head} is {words}")
        assert "causal language model" in text
        assert len(text) < 250


def test_a_served_model_is_no_base_and_is_not_shown() -> None:
    (found,) = file_findings(Path("openai:m@https://h/v1#sk-Xf81kQz0Wb37Lt"), Purpose(EngineConfig()))
    assert found.text.startswith("A served model has its weights elsewhere.")
    assert "Xf81" not in found.text


def test_an_encoder_under_another_name_is_refused(tmp_path: Path) -> None:
    tokenizer = small.llama3()
    base = small.model_of("Bert", tokenizer, head="BertForMaskedLM", pad_token_id=0)
    directory = small.save(tmp_path / "base", base, tokenizer)
    small.edit(directory / "config.json", architectures=["BertLMHeadModel"])
    assert "with is_decoder false is an encoder" in said(look(directory), "refusal")


@pytest.mark.parametrize("trusted", [False, True])
def test_code_beside_the_weights_runs_only_when_it_is_trusted(model: Model, tmp_path: Path, trusted: bool) -> None:
    directory, proof = model("llama"), tmp_path / "ran"
    (directory / "modeling_my.py").write_text(
        f"open({str(proof)!r}, 'w').close()\nfrom transformers import LlamaConfig, LlamaForCausalLM\n"
        "class MyConfig(LlamaConfig):\n    model_type = 'my-llama'\n"
        "class MyForCausalLM(LlamaForCausalLM):\n    config_class = MyConfig\n"
    )
    code = {"AutoConfig": "modeling_my.MyConfig", "AutoModelForCausalLM": "modeling_my.MyForCausalLM"}
    small.edit(directory / "config.json", model_type="my-llama", architectures=["MyForCausalLM"], auto_map=code)
    found = look(directory, f"engine.trust_remote_code={json.dumps(trusted)}")
    assert proof.exists() == trusted
    text = said(found, "refusal")
    assert (text == "") == trusted, text
    assert trusted or "code of its own (modeling_my.py)" in text


def test_a_model_that_reads_images_too_is_told_what_to_take(tmp_path: Path) -> None:
    import transformers

    tokenizer = small.chatml()
    text = {"vocab_size": len(tokenizer), "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    seen = {"depth": 1, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "patch_size": 14}
    directory = tmp_path / "base"
    transformers.Qwen2VLConfig(text_config=text, vision_config=seen).save_pretrained(directory)
    small.edit(directory / "config.json", architectures=["Qwen2VLForConditionalGeneration"])
    small.save(tmp_path / "text", small.model_of("Qwen2", tokenizer), tokenizer)
    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tmp_path / "text" / name, directory)
    text = said(look(directory), "refusal")
    assert "Qwen2VLForConditionalGeneration reads more than text" in text
    assert "Take the text model that it was built on." in text


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_a_kernel_that_the_configuration_asks_for_and_is_not_here_is_told(model: Model, key: str) -> None:
    directory = model("llama")
    small.edit(directory / "config.json", **{key: "flash_attention_2"})
    assert f"config.json asks for flash_attention_2 ({key})" in said(look(directory), "refusal")
    assert look(directory, "engine.attn_implementation=sdpa").refused == key.startswith("_")


def test_positions_of_an_unknown_kind_are_told(model: Model) -> None:
    directory = model("llama")
    small.edit(directory / "config.json", rope_parameters={"rope_type": "twisted", "rope_theta": 1e4})
    assert "of the type 'twisted', which transformers" in said(look(directory), "refusal")


def test_code_that_transformers_does_not_need_is_left_alone(model: Model) -> None:
    directory = model("llama")
    small.edit(directory / "config.json", auto_map={"AutoModelForCausalLM": "modeling_llama.LlamaForCausalLM"})
    found = look(directory)
    assert not found.refused
    assert "The code beside the model is not run" in said(found, "note")


# --- weights


def without_mlp(name: str) -> str | None:
    return None if "layers.1.mlp" in name else name


RENAMED: dict[str, tuple[Callable[[str], str | None], list[str]]] = {
    "missing": (without_mlp, ["lacks 3 of its weights, first model.layers.1.mlp.down_proj.weight: incomplete"]),
    "peft": (lambda n: f"base_model.model.{n}", ["lacks 21 of its weights", "hold base_model.model.lm_head.weight"]),
    "parallel": (lambda n: f"module.{n}", ["For lm_head.weight its files hold module.lm_head.weight"]),
    "part": (
        lambda n: n.replace("model.", "model.language_model.", 1),
        ["For model.embed_tokens.weight its files hold model.language_model.embed_tokens.weight"],
    ),
    "no head": (lambda n: None if n == "lm_head.weight" else n, ["lacks 1 of its weights, first lm_head.weight"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", RENAMED)
def test_weights_that_are_not_this_models_are_refused(model: Model, case: str) -> None:
    directory = model("llama")
    rename, words = RENAMED[case]
    small.rename_weights(directory, rename)
    text = said(look(directory), "refusal")
    assert all(word in text for word in words), text
    with pytest.raises(EngineError, match="cannot be used: It lacks"):
        open_engine(EngineConfig(device="cpu"), directory)


def test_a_tensor_of_an_expert_that_is_missing_is_named(model: Model) -> None:
    directory = model("mixtral")
    torn = "model.layers.1.block_sparse_moe.experts.2.w1.weight"
    small.rename_weights(directory, lambda n: None if n == torn else n)
    assert f"lacks 1 of its weights, first {torn}" in said(look(directory), "refusal")


def test_shapes_that_differ_are_named(model: Model) -> None:
    directory = model("llama")
    small.edit(directory / "config.json", intermediate_size=48)
    text = said(look(directory), "refusal")
    assert "6 weights of another shape" in text
    assert "model.layers.0.mlp.down_proj.weight: (32, 64), not (32, 48)" in text


def test_layers_that_the_configuration_forgets_are_a_refusal(model: Model) -> None:
    directory = model("llama")
    small.edit(directory / "config.json", num_hidden_layers=1)
    assert "9 weights of layers that config.json does not count" in said(look(directory), "refusal")


@pytest.mark.parametrize(
    "settings", [{"num_hidden_layers": 10**30}, {"text_config": {"num_experts": 10**9}}, {"num_hidden_layers": -1}]
)
def test_more_layers_than_could_be_built_are_not_begun(model: Model, settings: dict[str, Any]) -> None:
    directory = model("llama")
    small.edit(directory / "config.json", **settings)
    assert "config.json is damaged: num_" in said(look(directory), "refusal")


@pytest.mark.parametrize("dtype", ["int8", "float8_e4m3fn"])
def test_few_bits_that_nothing_scales_are_no_weights(model: Model, dtype: str) -> None:
    """Somebody took quantization_config out of config.json."""
    import torch
    from safetensors.torch import load_file, save_file

    directory = model("llama")
    weights = load_file(directory / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    save_file(weights | {name: (100 * weights[name]).to(getattr(torch, dtype))}, directory / "model.safetensors")
    found = said(look(directory), "refusal")
    assert f"1 of its weights are stored as {dtype[0].upper()}8" in found
    assert f"first {name}: quantised" in found


@pytest.mark.parametrize("same", [True, False])
def test_tied_embeddings_may_be_stored_twice_and_should_not_differ(model: Model, same: bool) -> None:
    from safetensors.torch import load_file, save_file

    directory = model("qwen2")
    alone = look(directory)
    weights = load_file(directory / "model.safetensors")
    head = weights["model.embed_tokens.weight"].clone() + (0 if same else 1)
    save_file(weights | {"lm_head.weight": head}, directory / "model.safetensors")
    found = look(directory)
    assert ("two that differ" in said(found, "warning")) != same
    assert (found.facts == alone.facts) == same
    answering = examine(directory, Purpose(EngineConfig(kind="vllm")))
    assert ("Set tie_word_embeddings to false" in said(answering, "refusal")) != same


def test_weights_beside_the_model_are_told(model: Model) -> None:
    from safetensors.torch import load_file, save_file

    directory = model("llama")
    weights = load_file(directory / "model.safetensors")
    save_file(weights | {"v_head.weight": weights["model.norm.weight"].clone()}, directory / "model.safetensors")
    found = look(directory)
    assert not found.refused
    assert "1 weights that are no part of the model" in said(found, "warning")


@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes", "compressed-tensors", "fp8", "mxfp4"])
def test_quantised_weights_are_not_fully_trained(model: Model, method: str) -> None:
    directory = model("llama")
    small.edit(directory / "config.json", quantization_config={"quant_method": method, "bits": 4})
    text = said(look(directory), "refusal")
    assert f"quantised ({method})" in text
    assert "cannot be fully fine-tuned" in text
    assert "cannot be fully fine-tuned" not in said(look(directory, "lora={}"), "refusal")


@pytest.mark.parametrize(
    ("method", "settings", "way_out"),
    [
        ("gptq", [], "optimum and gptqmodel are not installed. Install them: pip install optimum gptqmodel"),
        ("awq", [], "gptqmodel is not installed. Install it: pip install gptqmodel"),
        ("awq", ["lora={merge: false}"], "Install them: pip install optimum gptqmodel"),
        ("compressed-tensors", [], "pip install compressed-tensors"),
        ("aqlm", [], "Loading its weights needs what is not installed"),
    ],
)
def test_what_quantised_weights_need_is_named_in_a_sentence(
    model: Model, method: str, settings: list[str], way_out: str
) -> None:
    directory = model("llama")
    small.edit(directory / "config.json", quantization_config={"quant_method": method, "bits": 4, "config_groups": {}})
    found = look(directory, *settings) if settings else examine(directory, Purpose(EngineConfig()))
    assert way_out in said(found, "refusal")
    vllm = said(examine(directory, Purpose(EngineConfig(kind="vllm"))), "refusal")
    assert ("not installed" in vllm) == (method not in ("gptq", "awq"))  # it reads them by itself


@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes"])
def test_packed_weights_are_matched_without_what_reads_them(model: Model, method: str) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    directory = model("llama")
    whole = look(directory).facts
    weights = load_file(directory / "model.safetensors")
    packed = {}
    for name, weight in weights.items():
        if not name.endswith("_proj.weight"):
            packed[name] = weight
            continue
        stem, (outputs, inputs) = name.removesuffix("weight"), weight.shape
        if method == "bitsandbytes":
            packed[name] = torch.zeros(outputs * inputs // 2, 1, dtype=torch.uint8)
            packed |= {f"{name}.{part}": torch.zeros(4) for part in ("absmax", "quant_map", "quant_state.nf4")}
            continue
        rows, columns = (inputs // 8, outputs) if method == "gptq" else (inputs, outputs // 8)
        packed[f"{stem}qweight"] = torch.zeros(rows, columns, dtype=torch.int32)
        packed[f"{stem}qzeros"] = torch.zeros(1, outputs // 8, dtype=torch.int32)
        packed[f"{stem}scales"] = torch.zeros(1, outputs, dtype=torch.float16)
    save_file(packed, directory / "model.safetensors")
    small.edit(directory / "config.json", quantization_config={"quant_method": method, "bits": 4, "group_size": -1})
    found = examine(directory, Purpose(EngineConfig(kind="vllm")))
    assert not found.refused
    assert not said(found, "warning")
    assert found.facts["parameters"] == whole["parameters"]
    down = "model.layers.1.mlp.down_proj"
    del packed[f"{down}.weight" if method == "bitsandbytes" else f"{down}.qweight"]
    save_file(packed, directory / "model.safetensors")
    text = said(examine(directory, Purpose(EngineConfig(kind="vllm"))), "refusal")
    assert "lacks 1 of its weights, first model.layers.1.mlp.down_proj.weight" in text


def test_packed_weights_take_the_memory_that_they_take_on_the_disk() -> None:
    from selfreward_bench.bases.limits import memory_findings
    from selfreward_bench.bases.model import ModelView

    def told(packed: int | None) -> list[str]:
        view = ModelView(config=None, embeddings=1, parameters=10**15, cached=True, packed=packed)
        return [found.severity for found in memory_findings(view, Purpose(EngineConfig(device="cpu")))]

    assert told(10**6) == []
    assert told(10**15) == told(None) == ["refusal"]


# --- files


def test_a_folder_of_the_hubs_cache_is_told_its_snapshot(model: Model, tmp_path: Path) -> None:
    cache = tmp_path / "models--owner--name"
    (cache / "snapshots").mkdir(parents=True)
    (cache / "refs").mkdir()
    assert "It has no snapshot" in said(look(cache), "refusal")
    snapshot = model("llama").rename(cache / "snapshots" / "0a1b")
    assert f"Name the snapshot: {snapshot}" in said(look(cache), "refusal")
    assert f"Name the snapshot: {snapshot}" in said(look(cache / "snapshots"), "refusal")
    assert not look(snapshot).refused


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_link_to_nothing_is_told(model: Model, name: str) -> None:
    directory = model("llama")
    (directory / name).unlink()
    (directory / name).symlink_to("../../blobs/gone")
    text = said(look(directory), "refusal")
    assert f"1 link(s) to files that are not there, first {name}" in text


def test_an_adapter_beside_merged_weights_is_refused(model: Model) -> None:
    directory = model("llama")
    small.edit(directory / "adapter_config.json", peft_type="LORA")
    for found in (look(directory), examine(directory, Purpose(EngineConfig()))):
        assert "whole weights and an adapter" in said(found, "refusal")


def test_an_adapter_is_examined_with_its_base(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, directory = model("llama"), tmp_path / "adapter"
    directory.mkdir()
    small.edit(directory / "adapter_config.json", peft_type="LORA", base_model_name_or_path=str(base))
    assert "an adapter's settings without its weights" in said(look(directory), "refusal")
    shutil.copy(base / "model.safetensors", directory / "adapter_model.safetensors")
    found = look(directory)
    assert not found.refused
    assert found.facts["architecture"] == "LlamaForCausalLM"
    (base / "tokenizer.json").unlink()
    assert "has no tokenizer" in said(look(directory), "refusal")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "It is an adapter, and peft is not installed" in said(look(directory), "refusal")


def test_without_peft_lora_is_refused_before_anything_is_loaded(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    text = said(look(model("llama"), "lora={}"), "refusal")
    assert "LoRA is asked for (section lora), and peft is not installed" in text


def test_a_file_of_weights_is_no_model(model: Model) -> None:
    assert "is a file. Name the directory that holds it" in said(look(model("llama") / "model.safetensors"), "refusal")


def test_gguf_alone_is_refused(model: Model) -> None:
    directory = model("llama")
    (directory / "model.safetensors").rename(directory / "model-q4.gguf")
    assert "in GGUF only" in said(look(directory), "refusal")
    (directory / "config.json").unlink()
    assert "in GGUF only" in said(look(directory), "refusal")


def test_a_shard_that_is_missing_is_named(tmp_path: Path) -> None:
    tokenizer = small.llama3()
    directory = tmp_path / "base"
    small.model_of("Llama", tokenizer).save_pretrained(directory, max_shard_size="40KB")
    tokenizer.save_pretrained(directory)
    assert not look(directory).refused
    shard = sorted(directory.glob("model-*.safetensors"))[1]
    shutil.copy(shard, directory / "model.safetensors")
    assert "Its weights are there twice: in model.safetensors" in said(look(directory), "warning")
    (directory / "model.safetensors").unlink()
    shard.unlink()
    assert f"lacks 1 of 4 shards that model.safetensors.index.json names: {shard.name}" in said(
        look(directory), "refusal"
    )


# --- the tokenizer


def test_a_pad_token_without_an_embedding_is_refused(model: Model) -> None:
    directory = model("llama")
    tokenizer = small.llama3()
    rows = len(tokenizer)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(directory)
    text = said(look(directory), "refusal")
    assert f"Its pad token '[PAD]' is id {rows}, but the model has {rows} embeddings (0 to {rows - 1})" in text
    assert "resize_token_embeddings" in text


def test_an_added_token_that_a_text_can_spell_is_refused_and_a_control_token_is_not(model: Model) -> None:
    directory = model("llama")
    tokenizer = small.llama3()
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|tool|>"]})
    tokenizer.save_pretrained(directory)
    found = look(directory)
    assert not found.refused
    assert "1 control tokens have no embedding, and nothing uses them: '<|tool|>'" in said(found, "note")
    tokenizer.add_tokens(["srbench"])
    tokenizer.save_pretrained(directory)
    assert "Its token 'srbench' is id" in said(look(directory), "refusal")


def test_a_control_token_of_the_template_needs_an_embedding(model: Model) -> None:
    directory = model("llama")
    tokenizer = small.llama3(LLAMA3_WITH_TOOL)
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|tool|>"]})
    tokenizer.save_pretrained(directory)
    assert "Its control token '<|tool|>' is id" in said(look(directory), "refusal")


LLAMA3_WITH_TOOL = small.LLAMA3.replace("{{ bos_token }}", "{{ bos_token }}<|tool|>")


def test_a_model_with_more_embeddings_than_tokens_is_fine(tmp_path: Path) -> None:
    tokenizer = small.chatml()
    directory = small.save(tmp_path / "base", small.model_of("Qwen2", tokenizer, vocab_size=512), tokenizer)
    found = look(directory)
    assert not found.refused
    assert "512 embeddings" in said(found, "note")


def test_every_end_token_is_listed(model: Model) -> None:
    directory = model("llama")
    small.edit(directory / "generation_config.json", eos_token_id=[1, 4, 5])
    assert "'<|end_of_text|>' (1), '<|eom_id|>' (4), '<|eot_id|>' (5)" in said(look(directory), "note")


def test_a_sentencepiece_file_alone_names_the_packages(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = model("llama")
    (directory / "tokenizer.json").unlink()
    (directory / "tokenizer.model").write_bytes(b"\x0e\x00not a model")
    monkeypatch.setattr("selfreward_bench.bases.tokens._installed", lambda module: module != "google.protobuf")
    assert "`pip install protobuf`" in said(look(directory), "refusal")
    monkeypatch.setattr("selfreward_bench.bases.tokens._installed", lambda module: False)
    assert "`pip install sentencepiece protobuf`" in said(look(directory), "refusal")


def test_control_tokens_that_are_read_as_text_are_refused(model: Model) -> None:
    directory = model("llama")
    small.edit(directory / "tokenizer_config.json", split_special_tokens=True)
    found = look(directory)
    assert "'<|begin_of_text|>' and 3 more, which the tokenizer reads as text" in said(found, "refusal")
    assert "split_special_tokens). Set that to false." in said(found, "refusal")
    assert "cuts texts otherwise" not in said(found, "warning")


def test_a_class_that_reads_otherwise_than_the_file_is_told(model: Model) -> None:
    from tokenizers import Tokenizer, normalizers

    directory = model("llama")
    assert "cuts texts otherwise" not in said(look(directory), "warning")
    file = str(directory / "tokenizer.json")
    core = Tokenizer.from_file(file)
    core.normalizer = normalizers.Lowercase()
    core.save(file)
    found = look(directory)
    assert "Its tokenizer changes texts: 'Name 12 red foods" in said(found, "note")
    assert "cuts texts otherwise" not in said(found, "warning")
    small.edit(directory / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer")
    text = said(look(directory), "warning")
    assert "As a GPT2Tokenizer transformers" in text
    assert "has 'Name''Ġ''1' where it has 'n''a''me'" in text
    assert "set tokenizer_class to PreTrainedTokenizerFast" in text
    small.edit(directory / "config.json", model_type="qwen2", architectures=["Qwen2ForCausalLM"])
    small.edit(directory / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    tokenizer, _ = read_tokenizer(directory, Purpose(EngineConfig()))
    (finding,) = (f for f in reading_findings(tokenizer, directory) if f.severity == "warning")
    assert "As a Qwen2Tokenizer" in finding.text
    assert "whatever tokenizer_config.json says" in finding.text


def test_a_broken_tokenizer_is_named(model: Model) -> None:
    directory = model("llama")
    (directory / "tokenizer.json").write_text("{}")
    assert "No tokenizer can be read" in said(look(directory), "refusal")


# --- the chat template

TEMPLATES: dict[str, tuple[str | dict[str, str], str, str]] = {  # template, severity, what is said
    "refuses": ("{{ raise_exception('No chat for you') }}", "refusal", "No chat for you"),
    "not jinja": ("{% for %}", "refusal", "cannot render a question and its answer"),
    "waits otherwise": (
        "{% for m in messages %}{{ m['content'] }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<think>{% endif %}",
        "refusal",
        "writes '<think>' where it waits for an answer and 'A red apple.<|eot_id|>' where that is there",
    ),
    "drops answers": (
        "{% for m in messages %}{% if m['role'] == 'user' %}{{ m['content'] }}<|eot_id|>{% endif %}{% endfor %}",
        "refusal",
        "leaves an answer out",
    ),
    "opens no answer": (
        "{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>{{ m['content'] }}<|eot_id|>"
        "{% endfor %}",
        "refusal",
        "writes 'assistant' before an answer, and not where it waits for one",
    ),
    "thinks nothing": (
        small.LLAMA3.replace(
            "m['content'] | trim",
            "('<think></think>' if m['role'] == 'assistant' else '') + m['content'].split('</think>')[-1]",
        ),
        "",
        "",
    ),
    "byte order mark": ("\ufeff" + small.LLAMA3, "warning", "begins with a byte order mark"),
    "drops thoughts": (small.R1, "note", "leaves the thoughts (<think> to </think>) of an answer out"),
    "none is default": ({"chat": small.LLAMA3, "tool_use": small.LLAMA3}, "refusal", "(chat, tool_use)"),
    "one turn": (
        "{% if messages|length > 2 %}{{ raise_exception('One turn only') }}{% endif %}" + small.LLAMA3,
        "warning",
        "One turn only",
    ),
    "named": ({"default": small.LLAMA3, "tool_use": small.LLAMA3}, "", ""),
    "dated": ("{{ strftime_now('%d %b %Y') }}" + small.LLAMA3, "note", "shows today's date"),
    "spelt out": (small.CHATML, "note", "<|im_end|>, <|im_start|> are no tokens"),
    "forgets the system": (
        small.LLAMA3.replace("for m in messages", "for m in messages if m['role'] != 'system'"),
        "note",
        "no system turn (it is left out)",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", TEMPLATES)
def test_a_template_is_tried(model: Model, case: str) -> None:
    template, severity, words = TEMPLATES[case]
    directory = model("llama")
    (directory / "chat_template.jinja").unlink()
    small.llama3(template).save_pretrained(directory)
    found = look(directory)
    assert words in said(found, severity)
    assert found.refused == (severity == "refusal")


def test_a_token_that_closes_an_answer_and_does_not_end_it_is_told(model: Model) -> None:
    directory = model("gemma2")
    assert "closes an answer with '<end_of_turn>' (5); SFT makes it an end token" in said(look(directory), "note")
    assert "the model does not stop there" in said(examine(directory, Purpose(EngineConfig())), "note")
    small.edit(directory / "generation_config.json", eos_token_id=[1, 5])
    assert "closes an answer" not in said(look(directory), "note")


def test_what_opens_the_next_turn_does_not_close_an_answer(model: Model) -> None:
    directory = model("llama")
    (directory / "chat_template.jinja").write_text(small.LLAMA3 + "<|start_header_id|>")
    assert "closes an answer" not in said(look(directory), "note")


def test_the_template_of_a_processor_is_told(model: Model) -> None:
    directory = model("llama")
    (directory / "chat_template.jinja").rename(directory / "chat_template.json")
    assert "chat_template.json is read by processors of images alone" in said(look(directory), "warning")


def test_plain_tokens_of_a_template_are_told(tmp_path: Path) -> None:
    marks = ("<|im_start|>", "<|im_end|>")
    tokenizer = small.byte_level(("<|endoftext|>",), eos="<|endoftext|>", template=small.CHATML, plain=marks)
    directory = small.save(tmp_path / "base", small.model_of("Llama", tokenizer), tokenizer)
    assert "<|im_end|>, <|im_start|> are added tokens that are not marked as special" in said(look(directory), "note")


def test_the_runs_template_takes_the_place_of_the_bases(model: Model, tmp_path: Path) -> None:
    directory = model("llama")
    (directory / "chat_template.jinja").write_text("{{ raise_exception('No chat for you') }}")
    assert look(directory).refused
    found = look(directory, "chat_template=fastchat:vicuna_v1.1")
    assert not found.refused
    assert "rendered by chat_template fastchat:vicuna_v1.1, not by the template that it brings" in said(found, "note")
    own = tmp_path / "own.jinja"
    own.write_text("{% for m in messages %}{{ m['role'] }}{% endfor %}")
    assert "own.jinja" in said(look(directory, f"chat_template={own}"), "refusal")
    assert not examine(directory, Purpose(EngineConfig(), chat_template="plain")).refused


# --- generation_config.json and the settings


def test_a_generation_configuration_that_contradicts_itself_is_told(model: Model) -> None:
    directory = model("llama")
    (directory / "generation_config.json").write_text(json.dumps({"eos_token_id": 5, "temperature": 0.9}))
    found = look(directory)
    assert not found.refused
    assert "generation_config.json contradicts itself" in said(found, "warning")
    (directory / "generation_config.json").write_text("[]")
    (text,) = (f.text for f in look(directory).findings if f.severity == "refusal")
    assert text.startswith("generation_config.json cannot be read: ")
    assert ". Mend it" in text


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ("prompts.sampling.max_new_tokens=512", "prompts.sampling.max_new_tokens"),
        ("candidates.sampling.max_new_tokens=600", "candidates.sampling.max_new_tokens"),
        ("judge.sampling.max_new_tokens=512", "judge.sampling.max_new_tokens"),
        ("judge.prompt=additive-5pt", "judge.prompt"),
    ],
)
def test_settings_that_leave_no_room_are_named_by_their_key(model: Model, setting: str, key: str) -> None:
    text = said(look(model("llama"), setting), "refusal")
    assert key in text
    assert "512 positions" in text


def test_answers_too_long_to_be_judged_are_told(model: Model) -> None:
    text = said(look(model("llama"), "candidates.sampling.max_new_tokens=500"), "warning")
    assert "cannot be judged (candidates.sampling.max_new_tokens=500)" in text


# --- memory


def test_memory_that_cannot_suffice_is_a_refusal_and_memory_in_use_a_warning(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    from selfreward_bench.bases import limits

    directory = model("llama")
    needed = 16 * int(look(directory).facts["parameters"])
    monkeypatch.setattr(limits, "_memory", lambda *_, **__: (needed - 1, needed - 1))
    assert "is all there is" in said(look(directory), "refusal")
    assert "is all there is" not in said(examine(directory, Purpose(EngineConfig())), "refusal")
    monkeypatch.setattr(limits, "_memory", lambda *_, **__: (needed, needed - 1))
    found = look(directory)
    assert not found.refused
    assert "are free now" in said(found, "warning")
    assert "logits of 32 texts of 512 tokens" in said(found, "warning")


@pytest.mark.parametrize("sharding", ["tensor", "fsdp"])
def test_processes_on_a_cpu_have_its_memory(model: Model, sharding: str) -> None:
    """Of all GPUs there is the memory of none."""
    found = examine(model("llama"), Purpose(EngineConfig.model_validate({"device": "cpu", "sharding": sharding})))
    assert not found.refused


def test_number_types_are_told(tmp_path: Path) -> None:
    import torch

    tokenizer = small.llama3()
    directory = small.save(tmp_path / "base", small.model_of("Llama", tokenizer).to(torch.bfloat16), tokenizer)
    assert "stored as BF16; they are trained in float32 and saved as BF16" in said(look(directory), "note")
    assert "can overflow" in said(look(directory, "engine.dtype=float16"), "warning")
