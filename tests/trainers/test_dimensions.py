"""How large a model is, from its config.json alone: exact, for models of many kinds, and a wrong file is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfreward_bench import recipes
from selfreward_bench.config import RunConfig
from selfreward_bench.errors import EngineError
from trainers import dimensions
from trainers.dimensions import describe_base, read_dimensions

QWEN = {"model_type": "qwen2", "vocab_size": 151_936, "hidden_size": 896, "intermediate_size": 4864}
QWEN |= {"num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2}


def write(folder: Path, **config: Any) -> Path:
    """A directory with nothing but a config.json."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


#: what their makers publish: parameters, and those at work for a token
@pytest.mark.parametrize(
    ("config", "parameters", "active"),
    [
        ({"model_type": "llama"}, 6_738_415_616, None),  # Llama 2 7B
        ({"model_type": "gpt2"}, 124_439_808, None),
        (QWEN | {"tie_word_embeddings": True}, 494_032_768, None),  # Qwen2 0.5B
        (QWEN | {"tie_word_embeddings": False}, 494_032_768 + 151_936 * 896, None),
        ({"model_type": "gemma"}, 8_537_680_896, None),  # Gemma 7B
        ({"model_type": "mixtral", "num_local_experts": 8}, 46_702_792_704, 12_879_925_248),  # Mixtral 8x7B
        ({"model_type": "deepseek_v3"}, 671_026_404_352, 37_552_282_624),  # with experts that every token meets
    ],
    ids=["llama", "gpt2", "qwen2-tied", "qwen2-untied", "gemma", "mixtral", "deepseek"],
)
def test_parameters_are_counted_exactly(
    tmp_path: Path, config: dict[str, Any], parameters: int, active: int | None
) -> None:
    found = read_dimensions(write(tmp_path / "m", **config))
    assert found.parameters == parameters
    assert found.active == (active or parameters)
    assert "counted in" in found.source


def test_of_layers_that_differ_the_mean_counts(tmp_path: Path) -> None:
    few: dict[str, Any] = {"model_type": "llama", "num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4}
    few |= {"vocab_size": 100, "intermediate_size": 64}
    alike = read_dimensions(write(tmp_path / "alike", **few))
    unlike = read_dimensions(write(tmp_path / "unlike", **few, per_layer_config={"1": {"intermediate_size": 32}}))
    assert unlike.middle == alike.middle * 3 / 4
    assert unlike.parameters == alike.parameters - 3 * 32 * 32


def test_the_embedded_base_has_as_many_as_its_weights_file_holds() -> None:
    from safetensors import safe_open

    found, directory = describe_base(recipes.load("micro"))
    assert directory is not None
    with safe_open(directory / "model.safetensors", "pt") as weights:
        held = sum(weights.get_tensor(name).numel() for name in weights.keys())  # noqa: SIM118 - no mapping
    assert (found.parameters, found.positions, found.width) == (held, 512, 4)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma", "mixtral"])
def test_where_a_model_cannot_be_built_a_formula_comes_close_and_says_so(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "m", model_type=kind)
    counted = read_dimensions(folder)
    monkeypatch.setattr(dimensions, "_built", lambda *_: None)
    by_formula = read_dimensions(folder)
    assert by_formula.source.startswith("by formula")
    assert by_formula.parameters == pytest.approx(counted.parameters, rel=0.02)
    assert by_formula.active == pytest.approx(counted.active, rel=0.02)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{}", "does not describe a causal language model"),
        ("[", "does not describe a causal language model"),
        ('{"model_type": "t5"}', "t5 is another kind of model"),
        ('{"model_type": "llama", "num_hidden_layers": 1000000000}', "num_hidden_layers is 1000000000"),
        ('{"model_type": "llama", "num_hidden_layers": -1}', "num_hidden_layers is -1"),
        ('{"model_type": "llama", "hidden_size": "48"}', "field 'hidden_size': TypeError: .*expected int"),
        ('{"model_type": "llama", "vocab_size": -5}', "vocab_size is -5"),
        ('{"model_type": "llama", "num_key_value_heads": 0}', "32, and no multiple of num_key_value_heads, 0"),
        ('{"model_type": "llama", "num_key_value_heads": 5}', "32, and no multiple of num_key_value_heads, 5"),
    ],
)
def test_a_config_that_describes_nothing_is_refused(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(EngineError, match=told):
        read_dimensions(tmp_path)


def test_quantised_weights_are_told(tmp_path: Path) -> None:
    quantised = QWEN | {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128}}
    found = read_dimensions(write(tmp_path / "m", **quantised))
    assert "as if its weights were not quantised (gptq), which take adapters alone" in found.source


def test_a_directory_without_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"has no config\.json"):
        read_dimensions(tmp_path)


def test_code_that_a_model_brings_is_not_run(tmp_path: Path) -> None:
    folder = write(tmp_path / "m", model_type="own", auto_map={"AutoConfig": "own.Own"})
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')", encoding="utf-8")
    with pytest.raises(EngineError):
        read_dimensions(folder)
    assert not (tmp_path / "ran").exists()


# --- which model a recipe means


def of(base: str) -> RunConfig:
    return recipes.load("micro", [f"base={base}"])


def test_the_papers_base_is_known_without_a_connection() -> None:
    found, directory = describe_base(recipes.load("paper-70b"))
    assert found.parameters == 68_976_648_192
    assert (found.layers, found.hidden, found.vocabulary, found.positions) == (80, 8192, 32_000, 4096)
    assert (found.heads, found.keys) == (64, 8 * 128)
    assert "srbench's copy" in found.source
    assert directory is not None
    assert "arxiv" in json.loads((directory / "config.json").read_text("utf-8"))["_source"].lower()
    assert describe_base(of("meta-llama/Llama-2-70b-hf@main"))[0].parameters == found.parameters


def test_another_model_that_cannot_be_had_is_not_guessed() -> None:
    with pytest.raises(EngineError, match=r"config\.json alone: give a directory .*--parameters 7e9"):
        describe_base(of("some/model"))
    stated, directory = describe_base(of("some/model"), 7_000_000_000)
    assert (stated.parameters, stated.active, stated.layers, directory) == (7_000_000_000, 7_000_000_000, 0, None)


def test_a_stated_number_takes_the_place_of_the_count(tmp_path: Path) -> None:
    folder = write(tmp_path / "m", model_type="mixtral")
    found, _ = describe_base(of(str(folder)), 2 * 46_702_792_704)
    assert found.parameters == 2 * 46_702_792_704
    assert found.active == 2 * 12_879_925_248
    assert found.layers == 32
    assert "stated" in found.source
