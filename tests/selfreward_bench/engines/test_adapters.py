"""An adapter's directory is a model: its base with the adapter merged, found where its files say, or refused."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selfreward_bench.config import EngineConfig
from selfreward_bench.engines.templates import brings_template
from selfreward_bench.errors import EngineError, MissingDependencyError
from selfreward_bench.sources.hub import hub_name
from selfreward_bench.storage.adapters import is_adapter, parts
from selfreward_bench.storage.fingerprint import check_checkpoint, weights_dtypes, weights_fingerprint

IDS = [[5, 17, 80, 3, 200, 42, 9, 301], [11, 12, 13, 14, 15, 16, 17, 18]]


def edit(directory: Path, **changes: Any) -> None:
    file = directory / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def logits(model: Any) -> Any:
    import torch

    with torch.no_grad():
        return model(input_ids=torch.tensor(IDS)).logits


def load(source: Path) -> Any:
    from selfreward_bench.engines.loading import load_model

    return load_model(EngineConfig(device="cpu"), source)


def make_adapter(base: Path, directory: Path, **settings: Any) -> tuple[Path, Any]:
    """An adapter with random numbers, saved by peft, and the logits of its base with it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(7)
    config = LoraConfig(task_type="CAUSAL_LM", **{"r": 4, "lora_alpha": 8, "target_modules": "all-linear"} | settings)
    with warnings.catch_warnings(action="ignore"):  # of peft about its own use of transformers
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype="float32"), config).eval()
    for name, weight in model.named_parameters():
        if "lora_" in name:
            weight.data.normal_(0, 0.1)
    model.save_pretrained(directory, save_embedding_layers=False)
    return directory, logits(model)


@pytest.fixture
def adapter(tiny_dir: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_dir, tmp_path / "base")
    directory, _ = make_adapter(tmp_path / "base", tmp_path / "adapter")
    edit(directory, base_model_name_or_path="../base")
    return directory


# --- what it is


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_rslora": True, "r": 2},
        {"use_dora": True, "target_modules": ["q_proj", "v_proj"]},
        {"target_modules": r".*\.layers\.1\.self_attn\.[qk]_proj"},
        {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 32}},
        {"target_modules": ["v_proj"], "layers_to_transform": [1]},
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    ],
    ids=str,
)
def test_it_computes_what_its_base_with_it_computes(tiny_dir: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    directory, expected = make_adapter(tiny_dir, tmp_path / "adapter", **settings)
    loaded = load(directory)
    assert float((logits(loaded.model) - expected).abs().max()) <= 1e-5 * float(expected.abs().max())
    assert float((logits(load(tiny_dir).model) - expected).abs().max()) > 1e-2
    assert type(loaded.model).__name__ == "LlamaForCausalLM"


def test_merged_and_saved_it_computes_the_same(adapter: Path, tmp_path: Path) -> None:
    loaded = load(adapter)
    loaded.model.save_pretrained(tmp_path / "merged")
    loaded.tokenizer.save_pretrained(tmp_path / "merged")
    assert float((logits(loaded.model) - logits(load(tmp_path / "merged").model)).abs().max()) == 0


def test_tokenizer_and_end_tokens_are_its_own_where_it_brings_them(adapter: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    assert (parts(adapter).weights, parts(adapter).tokenizer) == (base, base)
    assert brings_template(adapter)
    assert load(adapter).eos == load(base).eos
    shutil.copy(base / "tokenizer.json", adapter)
    shutil.copy(base / "tokenizer_config.json", adapter)
    (adapter / "chat_template.jinja").write_text("{{ messages[0].content }} of the adapter")
    (adapter / "generation_config.json").write_text('{"eos_token_id": [1, 4]}')
    loaded = load(adapter)
    assert loaded.tokenizer.chat_template.endswith("of the adapter")
    assert loaded.eos == {1, 4}


def test_its_fingerprint_is_that_of_the_pair(adapter: Path, tmp_path: Path) -> None:
    first = weights_fingerprint(adapter)
    base = tmp_path / "base"
    assert first != weights_fingerprint(base)
    shutil.move(base, tmp_path / "moved")
    edit(
        adapter,
        base_model_name_or_path=str(tmp_path / "moved"),
        peft_version="0.1",
        target_modules=["v_proj", "q_proj"],
    )
    other = weights_fingerprint(adapter)
    edit(adapter, target_modules=["q_proj", "v_proj"])
    assert weights_fingerprint(adapter) == other  # a set has no order
    edit(adapter, lora_alpha=9)
    assert weights_fingerprint(adapter) != other
    edit(adapter, lora_alpha=8)
    for file in (adapter / "adapter_model.safetensors", tmp_path / "moved" / "model.safetensors"):
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        assert weights_fingerprint(adapter) != other
        content[-1] ^= 1
        file.write_bytes(content)
    assert weights_fingerprint(adapter) == other


def test_its_type_is_that_of_its_base(adapter: Path) -> None:
    most, each = weights_dtypes(adapter)
    assert most == "F32"
    assert "model.embed_tokens.weight" in each


# --- where its base is


def test_a_base_is_found_relative_absolute_and_in_the_cache(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [weights_fingerprint(adapter)]
    edit(adapter, base_model_name_or_path=str(tmp_path / "base"))
    found.append(weights_fingerprint(adapter))
    snapshot = tmp_path / "cache" / "models--me--mine" / "snapshots" / ("0" * 40)
    shutil.copytree(tmp_path / "base", snapshot)
    (tmp_path / "cache" / "models--me--mine" / "refs").mkdir()
    (tmp_path / "cache" / "models--me--mine" / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    for revision in (None, "main", "0" * 40):
        edit(adapter, base_model_name_or_path="me/mine", revision=revision)
        found.append(weights_fingerprint(adapter))
    assert load(adapter).context == 256
    assert len(set(found)) == 1
    assert parts(adapter).weights == snapshot
    assert hub_name(snapshot) == f"me/mine@{'0' * 40}"
    assert hub_name(tmp_path / "base") is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"base_model_name_or_path": None}, "names no base model. Set base_model_name_or_path"),
        (
            {"base_model_name_or_path": "../gone"},
            r"names '\.\./gone', .* not in the hub's cache",
        ),
        ({"base_model_name_or_path": "you/none", "revision": "v1"}, "you/none@v1"),
        ({"base_model_name_or_path": "you/none", "revision": "../x"}, "which is no directory"),
        ({"base_model_name_or_path": "../adapter"}, "is an adapter itself"),
        ({"peft_type": "PROMPT_TUNING"}, "an adapter of the kind 'PROMPT_TUNING'. srbench takes LoRA alone"),
        ({"layer_replication": [[0, 2]]}, "an adapter with layer_replication"),
        ({"megatron_config": {"x": 1}, "megatron_core": "os"}, "an adapter with megatron_config"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_before_anything_is_loaded(adapter: Path, changes: dict[str, Any], told: str) -> None:
    edit(adapter, **changes)
    for action in (check_checkpoint, load):
        with pytest.raises(EngineError, match=told):
            action(adapter)


def test_a_directory_of_that_name_elsewhere_is_not_taken(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    edit(adapter, base_model_name_or_path="base")
    with pytest.raises(EngineError, match="relative names start from the adapter's directory"):
        check_checkpoint(adapter)


def break_json(adapter: Path) -> None:
    (adapter / "adapter_config.json").write_text("{")


def break_weights(adapter: Path) -> None:
    file = adapter / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def pickle(adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").unlink()
    (adapter / "adapter_model.bin").touch()


def lose_weights(adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").unlink()


def break_base(adapter: Path) -> None:
    (adapter.parent / "base" / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (break_json, "is damaged: it is no JSON object"),
        (break_weights, "is damaged or incomplete"),
        (pickle, r"Python pickle \(adapter_model.bin\)"),
        (lose_weights, "an adapter's settings without its weights"),
        (break_base, "base has no weights"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_damaged_files_are_named(adapter: Path, damage: Callable[[Path], None], told: str) -> None:
    damage(adapter)
    with pytest.raises(EngineError, match=told):
        check_checkpoint(adapter)


def test_an_adapter_of_another_model_is_refused(
    tiny_dir: Path, tmp_path: Path, build_model: Callable[..., Any]
) -> None:
    for name, changes in (("wide", {"hidden_size": 64}), ("deep", {"num_hidden_layers": 3})):
        build_model(**changes).save_pretrained(tmp_path / name)
        directory, _ = make_adapter(tmp_path / name, tmp_path / f"adapter-{name}")
        edit(directory, base_model_name_or_path=str(tiny_dir))
        with pytest.raises(EngineError, match=r"adapter .* (cannot be laid over|is not one of) its base"):
            load(directory)


def test_without_peft_it_says_what_to_install(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"is an adapter, and peft is not installed.*srbench\[lora\]"):
        load(adapter)


def test_whole_weights_are_no_adapter(tiny_dir: Path, adapter: Path) -> None:
    assert is_adapter(adapter)
    assert not is_adapter(tiny_dir)
    assert parts(tiny_dir).adapter is None
