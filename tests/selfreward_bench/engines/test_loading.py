"""What loads, and what bad checkpoints and devices are told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from selfreward_bench.config import EngineConfig
from selfreward_bench.engines import ENGINES, loading, open_engine, quantised
from selfreward_bench.engines.base import GenerationRequest
from selfreward_bench.engines.cache import RoomyLayer
from selfreward_bench.errors import EngineError, UnknownNameError
from selfreward_bench.types import Message

CPU = EngineConfig(device="cpu")


@pytest.fixture
def copy(tiny_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_dir, tmp_path / "model"))


def edit(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text())
    content.update(changes)
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def load(source: Path | str) -> Any:
    from selfreward_bench.engines.loading import load_model

    return load_model(CPU, source)


def test_an_unknown_kind_gets_a_hint() -> None:
    with pytest.raises(UnknownNameError, match=r"'transformer'.*Did you mean 'transformers'"):
        open_engine(EngineConfig(kind="transformer"), "x")


def test_every_row_of_the_table_can_be_resolved() -> None:
    import importlib

    for row in ENGINES.values():
        module, name = row.split(":")
        assert callable(getattr(importlib.import_module(module), name))


def test_the_engines_package_loads_no_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys, selfreward_bench.engines, selfreward_bench.engines.base, selfreward_bench.engines.scripted, "
        "selfreward_bench.engines.plan, selfreward_bench.engines.chat; "
        "print([m for m in ('torch', 'transformers', 'numpy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_end_tokens_come_from_the_generation_config_and_the_tokenizer(copy: Path) -> None:
    edit(copy / "generation_config.json", eos_token_id=[7, 9, 99999])
    assert load(copy).eos == {1, 7, 9}


def test_a_tokenizer_without_pad_and_end_tokens_works(copy: Path) -> None:
    edit(copy / "tokenizer_config.json", eos_token=None, pad_token=None)
    edit(copy / "generation_config.json", eos_token_id=None)
    edit(copy / "config.json", eos_token_id=None)
    loaded = load(copy)
    assert (loaded.tokenizer.eos_token_id, loaded.tokenizer.pad_token_id) == (None, None)
    assert loaded.eos == frozenset()
    engine = open_engine(CPU, copy)
    items = [GenerationRequest(id=str(i), prompt="cat " * (i + 1), max_new_tokens=3) for i in range(3)]
    assert [c.n_tokens for b in engine.generate(items) for c in b] == [3, 3, 3]


def test_pad_falls_back_to_the_end_token(tiny_dir: Path) -> None:
    assert load(tiny_dir).fill == 1


def test_a_missing_template_matters_only_for_messages(copy: Path) -> None:
    (copy / "chat_template.jinja").unlink()
    engine = open_engine(CPU, copy)
    assert list(engine.generate([GenerationRequest(id="a", prompt="cat", max_new_tokens=1)]))
    with pytest.raises(EngineError, match="no chat template"):
        engine.generate([GenerationRequest(id="a", prompt=(Message(role="user", content="x"),))])


def test_pickled_weights_are_refused(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(EngineError, match="safetensors"):
        load(copy)


def test_corrupt_weights_are_refused(copy: Path) -> None:
    content = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(EngineError, match=r"model\.safetensors"):
        load(copy)


def test_weights_that_do_not_fit_the_configuration_are_refused(copy: Path) -> None:
    edit(copy / "config.json", hidden_size=48)
    with pytest.raises(EngineError, match=r"of another shape.*first lm_head\.weight: \(330, 32\), not \(330, 48\)"):
        load(copy)


def test_weights_that_are_not_all_there_are_refused(copy: Path) -> None:
    edit(copy / "config.json", num_hidden_layers=3)
    with pytest.raises(EngineError, match=r"layers\.2"):
        load(copy)


def test_an_unknown_architecture_is_refused(copy: Path) -> None:
    edit(copy / "config.json", model_type="nothing-known", architectures=["Nothing"])
    with pytest.raises(EngineError, match="cannot be loaded"):
        load(copy)


def test_code_in_the_checkpoint_does_not_run(copy: Path, tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    (copy / "evil.py").write_text(f"open({str(proof)!r}, 'w')\nclass C: pass\nclass M: pass\n")
    edit(
        copy / "config.json",
        model_type="evil",
        auto_map={"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"},
    )
    with pytest.raises(EngineError, match="trust_remote_code"):
        load(copy)
    assert not proof.exists()


@pytest.mark.parametrize("source", ["/no/such/model", "./nowhere", "a/b/c"])
def test_a_missing_directory_is_named(source: str) -> None:
    with pytest.raises(EngineError, match=r"is not a directory"):
        load(Path(source) if source.startswith("/") else source)


def test_a_model_of_the_hub_is_checked_like_a_directory(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("selfreward_bench.sources.hub.hub_directory", lambda text, offline: asked.append(text) or copy)
    assert load("owner/name@v1").name == "owner/name@v1"
    (copy / "tokenizer.json").unlink()
    with pytest.raises(EngineError, match="has no tokenizer"):
        load("owner/name@v1")
    assert asked == ["owner/name@v1"] * 2


@pytest.mark.parametrize("device", ["gpu", "cuda:9", "meta"])
def test_a_device_that_is_not_there_is_refused(tiny_dir: Path, device: str) -> None:
    with pytest.raises(EngineError, match=rf"engine\.device='{device}'"):
        open_engine(EngineConfig(device=device), tiny_dir)


def test_threads_are_set(tiny_dir: Path) -> None:
    import torch

    open_engine(CPU, tiny_dir, threads=1)
    assert torch.get_num_threads() == 1


def test_an_open_engine_lends_its_model_and_a_closed_one_does_not(tiny_dir: Path) -> None:
    engine = open_engine(CPU, tiny_dir)
    loaded = engine.loaded  # type: ignore[attr-defined]
    assert loaded.model.config.vocab_size >= len(loaded.tokenizer)
    engine.close()
    with pytest.raises(EngineError, match="was closed"):
        _ = engine.loaded  # type: ignore[attr-defined]


def test_the_type_is_float32_on_a_cpu_and_can_be_set(tiny_dir: Path) -> None:
    import torch

    from selfreward_bench.engines.loading import load_model

    assert load_model(CPU, tiny_dir).model.dtype == torch.float32
    half = EngineConfig(device="cpu", dtype="bfloat16")
    assert load_model(half, tiny_dir).model.dtype == torch.bfloat16
    engine = open_engine(half, tiny_dir)
    items = [GenerationRequest(id=str(i), prompt="cat " * (i + 1), max_new_tokens=3) for i in range(3)]
    assert len([c for b in engine.generate(items) for c in b]) == 3


PLACES = {"model.embed_tokens": "cpu", "model.layers.0": "cpu", "model.layers.1": "disk", "model.norm": "cpu"}


def test_a_model_whose_layers_lie_apart_answers_as_one(
    tiny_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here a layer is on the disk; accelerate's hooks bring layers on several GPUs together in the same way."""
    requests = [GenerationRequest(f"r{i}", f"word {i} " * (i + 1), (i, 7), 2, max_new_tokens=12) for i in range(6)]
    whole = [*open_engine(CPU, tiny_dir).generate(requests)]
    apart = {"device_map": PLACES | {"lm_head": "cpu", "model.rotary_emb": "cpu"}, "offload_folder": str(tmp_path)}
    monkeypatch.setattr(loading, "placement", lambda _: apart)
    engine = open_engine(CPU, tiny_dir)
    assert engine.loaded.model.hf_device_map["model.layers.1"] == "disk"  # type: ignore[attr-defined]
    assert [*engine.generate(requests)] == whole


def test_layers_come_onto_all_gpus_where_there_are_some(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [loading.placement(device) for device in ("all", "cuda", "auto")] == [{"device_map": "auto"}, {}, {}]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EngineError, match=r"engine\.device='all' is not available"):
        loading.choose_device("all")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert loading.choose_device("all") == torch.device("cuda")


class Elsewhere:
    """Numbers of rows on another device, of which no kernel takes them before they were brought over."""

    def __init__(self, rows: list[int]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def to(self, device: torch.device) -> torch.Tensor:
        return torch.tensor(self._rows, device=device)


def test_rows_are_taken_where_a_layer_is() -> None:
    layer = RoomyLayer()
    keys = torch.arange(2.0).reshape(2, 1, 1, 1)
    layer.update(keys, keys)
    layer.select(Elsewhere([1, 0, 1]), room=2)  # type: ignore[arg-type]
    assert layer.buffer[:, 0, 0, 0].tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("method", "always", "beside"),
    [
        ("compressed-tensors", {}, {"dequantize": True}),
        ("gptq", {"backend": "torch"}, {"backend": "torch"}),
        ("awq", {"backend": "torch_awq"}, {"backend": "torch_awq"}),
        ("bitsandbytes", {}, {}),
    ],
)
def test_packed_weights_are_read_so_that_their_numbers_are_known(
    method: str, always: dict[str, Any], beside: dict[str, Any], tmp_path: Path
) -> None:
    stored = {"quant_method": method, "bits": 4, "backend": "marlin"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "quantization_config": stored}))

    def told(**options: bool) -> dict[str, Any]:
        found = quantised.read_portably(tmp_path, trust_remote_code=False, **options).quantization_config
        assert isinstance(found, dict)
        return found

    assert told() == stored | beside
    assert told(beside=False) == stored | always
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    assert not hasattr(quantised.read_portably(tmp_path, trust_remote_code=False), "quantization_config")


def test_what_reads_packed_weights_writes_nothing_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    for method, shown in (("gptq", ""), ("none", "banner\n")):
        with quantised.silently(SimpleNamespace(quantization_config={"quant_method": method})):
            print("banner")
        assert capsys.readouterr().out == shown
