"""What beside the weights tells one model from another, and what does not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from selfreward_bench.storage.fingerprint import weights_fingerprint
from selfreward_bench.storage.model_files import files_fingerprint, model_fingerprint, same_model, weights_in

from .test_fingerprint import WEIGHTS, write_safetensors

FILES = {
    "config.json": {"model_type": "llama", "rms_norm_eps": 1e-6, "rope": {"theta": 1e4}, "_name_or_path": "/a/model"},
    "generation_config.json": {"eos_token_id": 2, "transformers_version": "5.0.0"},
    "tokenizer.json": {"model": {"vocab": {"a": 0}}},
    "tokenizer_config.json": {"chat_template": "{{ 1 }}", "name_or_path": "/a/model"},
}

Edit = Callable[[Path], object]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "model"
    directory.mkdir()
    for name, content in FILES.items():
        (directory / name).write_text(json.dumps(content))
    write_safetensors(directory / "model.safetensors", WEIGHTS)
    return directory


def edit(name: str, **changes: object) -> Edit:
    """Sets fields of one of its JSON files; None takes a field out."""

    def apply(directory: Path) -> None:
        values = json.loads((directory / name).read_text()) | changes
        (directory / name).write_text(json.dumps({k: v for k, v in values.items() if v is not None}))

    return apply


def write(name: str, text: str) -> Edit:
    def apply(directory: Path) -> None:
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(text)

    return apply


@pytest.mark.parametrize(
    "change",
    [
        edit("config.json", rms_norm_eps=0.5),
        edit("config.json", rope={"theta": 1e6}),
        edit("generation_config.json", eos_token_id=3),
        lambda d: (d / "generation_config.json").unlink(),
        edit("tokenizer.json", model={"vocab": {"b": 0}}),
        edit("tokenizer_config.json", chat_template="{{ 2 }}"),
        write("chat_template.jinja", "{{ 3 }}"),
        write("additional_chat_templates/tool_use.jinja", "{{ 4 }}"),
        write("tokenizer.model", "pieces"),
        write("merges.txt", "a b"),
        lambda d: (edit("config.json", auto_map={"AutoConfig": "mine.C"})(d), write("mine.py", "x = 1")(d)),
    ],
)
def test_whatever_a_number_depends_on_is_in_it(model: Path, change: Edit) -> None:
    before, weights = files_fingerprint(model), weights_fingerprint(model)
    change(model)
    assert files_fingerprint(model) != before
    assert weights_fingerprint(model) == weights


def test_own_code_counts_where_it_can_run(model: Path) -> None:
    before = files_fingerprint(model)
    write("mine.py", "x = 1")(model)
    assert files_fingerprint(model) == before
    edit("config.json", auto_map={"AutoConfig": "mine.C"})(model)
    first = files_fingerprint(model)
    write("mine.py", "x = 2")(model)
    assert files_fingerprint(model) != first


@pytest.mark.parametrize(
    "change",
    [
        edit("config.json", _name_or_path="/elsewhere", transformers_version="6"),
        edit("config.json", _name_or_path=None),
        edit("generation_config.json", transformers_version=None),
        edit("tokenizer_config.json", name_or_path="owner/name", tokenizer_file="/elsewhere/tokenizer.json"),
        lambda d: (d / "config.json").write_text(json.dumps(dict(reversed(FILES["config.json"].items())), indent=3)),
        write("README.md", "A card."),
        write("iteration.json", "{}"),
        write("notes.txt", "of mine"),
    ],
)
def test_places_versions_layout_and_other_files_are_not_in_it(model: Path, change: Edit, tmp_path: Path) -> None:
    copy = shutil.copytree(model, tmp_path / "another folder" / "model-2")
    change(copy)
    assert model_fingerprint(copy) == model_fingerprint(model)


def test_damaged_json_counts_byte_by_byte(model: Path) -> None:
    found = []
    for text in ("{", "{{", "[" * 100_000, '{"a": NaN}'):
        (model / "config.json").write_text(text)
        found.append(files_fingerprint(model))
    assert len(set(found)) == 4


def test_an_adapters_files_are_its_bases_where_it_brings_none(model: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    write_safetensors(adapter / "adapter_model.safetensors", WEIGHTS)
    settings = {"peft_type": "LORA", "base_model_name_or_path": str(model)}
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    assert files_fingerprint(adapter) == files_fingerprint(model)
    edit("config.json", rms_norm_eps=0.5)(model)
    changed = files_fingerprint(adapter)
    assert changed == files_fingerprint(model)
    shutil.copy(model / "tokenizer_config.json", adapter)
    write("chat_template.jinja", "{{ 3 }}")(adapter)
    assert files_fingerprint(adapter) != changed


def test_early_fingerprints_are_of_weights_alone(model: Path) -> None:
    full, weights = model_fingerprint(model), weights_fingerprint(model)
    assert weights_in(full) == weights_in(weights) == weights
    edit("config.json", rms_norm_eps=0.5)(model)
    other = model_fingerprint(model)
    assert (same_model(full, full), same_model(full, weights), same_model(weights, other)) == (True, True, True)
    assert not same_model(full, other)
    assert not same_model("0" * 32, full)
