"""The fingerprint sees every bit of the weights and nothing else; damaged checkpoints are named before loading."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from selfreward_bench.errors import EngineError
from selfreward_bench.storage.fingerprint import check_checkpoint, weights_fingerprint

Tensors = Mapping[str, tuple[str, list[int], bytes]]

WEIGHTS: Tensors = {
    "model.embed": ("BF16", [4, 3], bytes(range(24))),
    "model.norm": ("F32", [2], struct.pack("<2f", 1.0, -0.0)),
    "lm_head": ("F16", [1, 2], b"\x01\x02\x03\x04"),
    "empty": ("F32", [0, 7], b""),
    "scalar": ("I64", [], bytes(8)),
}


def write_safetensors(path: Path, tensors: Tensors, metadata: Mapping[str, str] | None = None) -> None:
    """The format by hand: 8 bytes of header length, a JSON header, the tensors' bytes one after the other."""
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    data = b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def write_shards(directory: Path, *shards: Tensors) -> None:
    weight_map = {}
    for number, tensors in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        write_safetensors(directory / name, tensors, {"format": "pt"})
        weight_map |= dict.fromkeys(tensors, name)
    (directory / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    directory = tmp_path / "checkpoint"
    directory.mkdir()
    (directory / "config.json").write_text("{}")
    (directory / "tokenizer.json").write_text("{}")
    write_safetensors(directory / "model.safetensors", WEIGHTS)
    return directory


# --- the fingerprint


def test_order_shards_and_metadata_do_not_count(checkpoint: Path, tmp_path: Path) -> None:
    fingerprint = weights_fingerprint(checkpoint)
    names = list(WEIGHTS)
    shuffled = {name: WEIGHTS[name] for name in random.Random(0).sample(names, len(names))}
    write_safetensors(checkpoint / "model.safetensors", shuffled, {"format": "pt"})
    assert weights_fingerprint(checkpoint) == fingerprint

    sharded = tmp_path / "sharded"
    sharded.mkdir()
    write_shards(sharded, *({name: WEIGHTS[name]} for name in names))
    assert weights_fingerprint(sharded) == fingerprint


def flip_bit(tensors: Tensors) -> Tensors:
    dtype, shape, content = tensors["model.embed"]
    return {**tensors, "model.embed": (dtype, shape, content[:-1] + bytes([content[-1] ^ 1]))}


@pytest.mark.parametrize(
    "change",
    [
        flip_bit,
        lambda t: {**t, "model.embed": ("BF16", [3, 4], t["model.embed"][2])},
        lambda t: {**t, "model.embed": ("F16", [4, 3], t["model.embed"][2])},
        lambda t: {name: t[name] for name in t if name != "empty"},
        lambda t: {("lm_hand" if name == "lm_head" else name): t[name] for name in t},
        lambda t: {**t, "model.norm": ("F32", [2], struct.pack("<2f", 1.0, 0.0))},
    ],
    ids=["one bit", "shape", "dtype", "a tensor less", "a name", "the sign of zero"],
)
def test_everything_about_a_tensor_counts(checkpoint: Path, change: Callable[[Tensors], Tensors]) -> None:
    before = weights_fingerprint(checkpoint)
    write_safetensors(checkpoint / "model.safetensors", change(WEIGHTS))
    assert weights_fingerprint(checkpoint) != before


def test_tensors_larger_than_a_block_count_to_their_last_byte(checkpoint: Path) -> None:
    fingerprints = set()
    for last in (b"\0", b"\1"):
        write_safetensors(checkpoint / "model.safetensors", {"w": ("U8", [2_500_000], bytes(2_499_999) + last)})
        fingerprints.add(weights_fingerprint(checkpoint))
    assert len(fingerprints) == 2


def test_what_the_library_writes_is_read(checkpoint: Path) -> None:
    numpy = pytest.importorskip("numpy")
    save_file = pytest.importorskip("safetensors.numpy").save_file
    arrays = {"b": numpy.arange(6, dtype=numpy.float32).reshape(2, 3), "a": numpy.ones((2,), dtype=numpy.float16)}
    save_file(arrays, checkpoint / "model.safetensors", metadata={"format": "pt"})
    library = weights_fingerprint(checkpoint)
    by_hand: Tensors = {
        "a": ("F16", [2], arrays["a"].tobytes()),
        "b": ("F32", [2, 3], arrays["b"].tobytes()),
    }
    write_safetensors(checkpoint / "model.safetensors", by_hand)
    assert weights_fingerprint(checkpoint) == library
    check_checkpoint(checkpoint)


# --- what is no checkpoint


def refused(directory: Path) -> str:
    with pytest.raises(EngineError) as caught:
        check_checkpoint(directory)
    return str(caught.value)


def test_a_whole_checkpoint_passes(checkpoint: Path) -> None:
    check_checkpoint(checkpoint)
    (checkpoint / "model.safetensors").unlink()
    write_shards(checkpoint, WEIGHTS, {"more": ("U8", [1], b"x")})
    check_checkpoint(checkpoint)


def test_missing_parts_are_named(checkpoint: Path) -> None:
    assert "no checkpoint directory" in refused(checkpoint / "none")
    (checkpoint / "tokenizer.json").rename(checkpoint / "hidden.json")
    assert "has no tokenizer" in refused(checkpoint)
    (checkpoint / "vocab.json").touch()
    assert "has no tokenizer" in refused(checkpoint)  # useless without merges.txt
    (checkpoint / "merges.txt").touch()
    check_checkpoint(checkpoint)
    (checkpoint / "model.safetensors").unlink()
    assert "has no weights" in refused(checkpoint)
    (checkpoint / "config.json").write_text("{")
    assert "config.json is damaged or incomplete: it is not JSON" in refused(checkpoint)
    (checkpoint / "config.json").unlink()
    assert "it has no config.json" in refused(checkpoint)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "generation_config.json"])
def test_a_directory_in_the_place_of_a_file_is_called_so(checkpoint: Path, name: str) -> None:
    (checkpoint / name).unlink(missing_ok=True)
    (checkpoint / name).mkdir()
    found = refused(checkpoint)
    assert f"{checkpoint / name} is a directory, and it should be a file. Put the model's file" in found
    (checkpoint / name / name).touch()
    assert f"Move {name} out of it." in refused(checkpoint)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_pointer_of_git_lfs_is_called_so(checkpoint: Path, name: str) -> None:
    (checkpoint / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0af3\nsize 9000\n")
    assert f"{name} is a pointer of Git LFS instead of the file. Get the files themselves" in refused(checkpoint)


def test_pickles_are_refused_with_the_way_out(checkpoint: Path) -> None:
    (checkpoint / "pytorch_model.bin").touch()
    check_checkpoint(checkpoint)  # beside safetensors it is not read
    (checkpoint / "model.safetensors").unlink()
    message = refused(checkpoint)
    assert "Python pickle (pytorch_model.bin), which can run any code" in message
    assert "safe_serialization=True" in message


def test_an_adapter_without_its_base_is_refused(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").rename(checkpoint / "adapter_model.safetensors")
    (checkpoint / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    assert "names no base model" in refused(checkpoint)


def test_an_adapter_beside_whole_weights_is_refused(checkpoint: Path) -> None:
    """Whether it would be laid over them depends on whether peft is installed."""
    (checkpoint / "adapter_model.safetensors").touch()
    check_checkpoint(checkpoint)  # transformers looks for its configuration
    (checkpoint / "adapter_config.json").write_text("{}")
    message = refused(checkpoint)
    assert "holds whole weights and an adapter" in message
    assert "directory of their own" in message
    with pytest.raises(EngineError, match="holds whole weights and an adapter"):  # nor is a kept result shown for it
        weights_fingerprint(checkpoint)


def test_missing_and_wrong_shards_are_named(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    write_shards(checkpoint, {"a": ("U8", [1], b"a")}, {"b": ("U8", [1], b"b")}, {"c": ("U8", [1], b"c")})
    second = checkpoint / "model-00002-of-00003.safetensors"
    second.rename(checkpoint / "moved")
    assert "lacks 1 of 3 shards that model.safetensors.index.json names: model-00002-of-00003" in refused(checkpoint)
    write_safetensors(second, {"x": ("U8", [1], b"b")})
    assert "it lacks tensor 'b'" in refused(checkpoint)
    write_safetensors(second, {"b": ("U8", [1], b"b"), "a": ("U8", [1], b"a")})
    assert "tensor 'a' is in model-00001-of-00003.safetensors too" in refused(checkpoint)


@pytest.mark.parametrize(
    "index",
    [
        "{",
        "[]",
        "{}",
        '{"weight_map": {}}',
        '{"weight_map": {"a": 3}}',
        '{"weight_map": {"a": "../../x.safetensors"}}',
        '{"weight_map": {"a": "pytorch_model.bin"}}',
    ],
)
def test_a_damaged_index_is_refused(checkpoint: Path, index: str) -> None:
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / "model.safetensors.index.json").write_text(index)
    assert "model.safetensors.index.json is damaged" in refused(checkpoint)


def test_an_index_without_metadata_is_told(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    write_shards(checkpoint, WEIGHTS)
    index = checkpoint / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": json.loads(index.read_text())["weight_map"]}))
    assert 'Write "metadata": {} into it' in refused(checkpoint)


def test_every_truncation_is_noticed(checkpoint: Path) -> None:
    file = checkpoint / "model.safetensors"
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        assert "model.safetensors is damaged or incomplete" in refused(checkpoint)
        with pytest.raises(EngineError):
            weights_fingerprint(checkpoint)
    file.write_bytes(whole + b"x")
    assert "1 bytes follow its last tensor" in refused(checkpoint)


def header_file(path: Path, header: object, data: bytes = b"") -> None:
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"\xff\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        ([1], "not a JSON object"),
        ({"w": 3}, "has no dtype, shape and data_offsets"),
        ({"w": {"dtype": "U8", "shape": [1]}}, "has no dtype, shape and data_offsets"),
        ({"w": {"dtype": "U8", "shape": [1], "data_offsets": [0]}}, "has no dtype, shape and data_offsets"),
        ({"w": {"dtype": "U8", "shape": [-1], "data_offsets": [0, 1]}}, "has no dtype, shape and data_offsets"),
        ({"w": {"dtype": "U8", "shape": "ab", "data_offsets": [0, 1]}}, "has no dtype, shape and data_offsets"),
        ({"w": {"dtype": ["U8"], "shape": [1], "data_offsets": [0, 1]}}, "unknown dtype"),
        ({"w": {"dtype": "U9", "shape": [1], "data_offsets": [0, 1]}}, "unknown dtype 'U9'"),
        ({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 1]}}, "does not fit its bytes"),
        ({"w": {"dtype": "U8", "shape": [2**62, 2**62], "data_offsets": [0, 1]}}, "does not fit its bytes"),
        ({"w": {"dtype": "F4", "shape": [1], "data_offsets": [0, 1]}}, "does not fit its bytes"),
        ({"w": {"dtype": "U8", "shape": [1], "data_offsets": [1, 2]}}, "does not follow the one before it"),
        ({n: {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]} for n in "ab"}, "does not follow the one before it"),
        ({"w": {"dtype": "U8", "shape": [99], "data_offsets": [0, 99]}}, "it ends after"),
    ],
)
def test_hostile_headers_are_refused(checkpoint: Path, header: object, expected: str) -> None:
    header_file(checkpoint / "model.safetensors", header, b"xy")
    assert expected in refused(checkpoint)


@pytest.mark.parametrize("file", ["model.safetensors", "model.safetensors.index.json", "config.json"])
def test_millions_of_values_are_refused_before_they_are_made(checkpoint: Path, file: str) -> None:
    """Each empty list takes 25 times its bytes of memory."""
    text = b'{"a": [' + b"[]," * 3_000_000 + b"[]]}"
    if file == "model.safetensors.index.json":
        (checkpoint / "model.safetensors").unlink()
    content = struct.pack("<Q", len(text)) + text if file == "model.safetensors" else text
    (checkpoint / file).write_bytes(content)
    assert any(told in refused(checkpoint) for told in ("more than 1,000,000 tensors", "3,000,000 lists and objects"))


def test_a_claimed_header_is_not_allocated(checkpoint: Path) -> None:
    file = checkpoint / "model.safetensors"
    file.write_bytes(struct.pack("<Q", 2**63))
    assert "header is cut off" in refused(checkpoint)
    with file.open("r+b") as stream:  # sparse: a gigabyte on paper
        stream.truncate(2**30)
        stream.write(struct.pack("<Q", 2**29))
    assert "header claims 536,870,912 bytes" in refused(checkpoint)
