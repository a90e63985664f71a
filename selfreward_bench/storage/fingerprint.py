"""What a checkpoint's weights are, as one hash; and whether a directory holds a checkpoint at all. No torch here.

The fingerprint depends on the tensors alone (name, dtype, shape, bytes), not on how they are spread over shards or on
metadata: two checkpoints with one fingerprint are the same model. That of an adapter covers its settings and its base.
Files are streamed. Safetensors only: a pickle can run code when it is loaded.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from selfreward_bench.errors import EngineError
from selfreward_bench.storage.adapters import (
    ADAPTER,
    ADAPTER_WEIGHTS,
    adapter_identity,
    adapter_settings,
    is_adapter,
    parts,
)
from selfreward_bench.storage.files import os_errors

__all__ = ["Tensor", "check_checkpoint", "no_weights", "tensors", "weights_dtypes", "weights_fingerprint"]

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_TOKENIZERS = (
    ("tokenizer.json",),
    ("tokenizer.model",),
    ("vocab.json", "merges.txt"),
    ("vocab.txt",),
    ("spiece.model",),
)
_READ = (".safetensors", ".json", ".model", ".txt", ".jinja")  # endings of what is read of a checkpoint
_POINTER = b"version https://git-lfs"
_PICKLES = ("pytorch_model*.bin", "adapter_model.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_MAX_HEADER_BYTES = 100_000_000  # as in the safetensors library itself
_MAX_JSON_BYTES = 100_000_000
_MAX_VALUES = 3_000_000  # objects and lists of a header: a million tensors; each takes memory many times its bytes
_BLOCK = 1 << 20

# https://github.com/huggingface/safetensors: bits of an element
_BITS = {"BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64}
_BITS |= {"F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64}
_BITS |= {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8}
_BITS |= {"F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8}


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor's bytes are: ``size`` bytes of ``file`` from ``start`` on."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    size: int


def weights_fingerprint(directory: Path) -> str:
    """BLAKE2b (128 bits, hex) of all tensors in a checkpoint, in the order of their names.

    Args:
        directory: in Hugging Face layout: ``model.safetensors``, or shards and ``model.safetensors.index.json``; or an
            adapter, whose fingerprint is that of the pair.

    Raises:
        EngineError: weights are missing, damaged, or not in safetensors; or an adapter's base is not there.
    """
    _refuse_stray_adapter(directory)
    digest = hashlib.blake2b(digest_size=16)
    if is_adapter(directory):
        digest.update(f"{weights_fingerprint(parts(directory).weights)} {adapter_identity(directory)}".encode())
    for tensor in sorted(tensors(directory), key=lambda t: t.name):
        header = json.dumps([tensor.name, tensor.dtype, tensor.shape])
        digest.update(f"{len(header)}:{header}".encode())
        with os_errors(tensor.file, "read", EngineError), tensor.file.open("rb") as stream:
            stream.seek(tensor.start)
            left = tensor.size
            while left:
                block = stream.read(min(left, _BLOCK))
                if not block:
                    raise EngineError(f"{tensor.file} became shorter while it was read. Is something writing it?")
                digest.update(block)
                left -= len(block)
    return digest.hexdigest()


def weights_dtypes(directory: Path) -> tuple[str, dict[str, str]]:
    """The type of a checkpoint's weights, as safetensors names it (``BF16``): of most of its bytes, and of each tensor.

    Args:
        directory: of an adapter, its base's weights are meant.

    Raises:
        EngineError: weights are missing, damaged, or not in safetensors.
    """
    found = tensors(parts(directory).weights)
    sizes: Counter[str] = Counter()
    for tensor in found:
        sizes[tensor.dtype] += tensor.size
    (most, _), *_ = sizes.most_common(1) or [("F32", 0)]
    return most, {tensor.name: tensor.dtype for tensor in found}


def check_checkpoint(directory: Path) -> None:
    """Finds what would stop a model from loading, or would load as something else, before anything is loaded.

    Raises:
        EngineError: no ``config.json``, no tokenizer, weights that are missing, damaged, pickled, or an adapter beside
            them; an adapter without its base, or of a kind that is not known.
    """
    if directory.is_file():
        raise EngineError(f"{directory} is a file. Name the directory that holds it with config.json and tokenizer.")
    if not directory.is_dir():
        raise EngineError(f"There is no checkpoint directory {directory}. Check the path.")
    _refuse_hub_folder(directory)
    _refuse_folders(directory)
    _refuse_dangling_links(directory)
    _refuse_pointers(directory)
    if is_adapter(directory):
        adapter_settings(directory)
        tensors(directory)
        check_checkpoint(parts(directory).weights)
        return
    config = directory / "config.json"
    if not config.is_file() and any(directory.glob("*.gguf")):
        raise EngineError(no_weights(directory, [path.name for path in directory.glob("*.gguf")]))
    if not config.is_file():
        raise EngineError(
            f"{directory} is no checkpoint: it has no config.json. Name the directory that `save_pretrained` wrote."
        )
    _read_json(config)
    tensors(directory)
    _refuse_stray_adapter(directory)
    if not any(all((directory / name).is_file() for name in names) for names in _TOKENIZERS):
        tekken = " Its tekken.json is for mistral-common alone." if (directory / "tekken.json").is_file() else ""
        raise EngineError(
            f"{directory} has no tokenizer (tokenizer.json, tokenizer.model, or vocab.json with merges.txt).{tekken} "
            "Copy the files of its base model's tokenizer into it, or save it there with `tokenizer.save_pretrained`."
        )


# --- which files


def _refuse_pointers(directory: Path) -> None:
    """Git without its extension LFS leaves a few lines of text in a large file's place."""
    for file in sorted(p for p in directory.iterdir() if p.suffix in _READ and p.is_file()):
        with os_errors(file, "read", EngineError), file.open("rb") as stream:
            if stream.read(len(_POINTER)) == _POINTER:
                raise EngineError(
                    f"{file} is a pointer of Git LFS instead of the file. Get the files themselves (`git lfs pull` in "
                    "that directory), or download the model again."
                )


def _refuse_stray_adapter(directory: Path) -> None:
    if (directory / ADAPTER).is_file() and not is_adapter(directory):
        raise EngineError(
            f"{directory} holds whole weights and an adapter ({ADAPTER}). Where peft is installed, transformers would "
            "lay the adapter over weights that hold it already, elsewhere not. Move the adapter's files "
            "(adapter_config.json, adapter_model.safetensors) to a directory of their own; where it was never merged: "
            "`model.merge_and_unload()`, and save that."
        )


def _refuse_hub_folder(directory: Path) -> None:
    """A folder of the hub's cache holds its snapshots one level deeper."""
    snapshots = directory if directory.name == "snapshots" else directory / "snapshots"
    if (directory / "config.json").exists() or not snapshots.is_dir():
        return
    with os_errors(snapshots, "read", EngineError):
        found = sorted((p for p in snapshots.iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime)
    way_out = f"Name the snapshot: {found[-1]}" if found else "It has no snapshot; download the model again."
    raise EngineError(f"{directory} is a folder of the hub's cache and no checkpoint itself. {way_out}")


def _refuse_folders(directory: Path) -> None:
    """A download into `--local-dir .../model.safetensors` makes a directory of that name around the file."""
    with os_errors(directory, "read", EngineError):
        folder = next((p for p in sorted(directory.iterdir()) if p.suffix in _READ and p.is_dir()), None)
        if folder is None:
            return
        inside = (folder / folder.name).is_file()
    way_out = f"Move {folder.name} out of it." if inside else "Put the model's file of that name in its place."
    raise EngineError(f"{folder} is a directory, and it should be a file. {way_out}")


def _refuse_dangling_links(directory: Path) -> None:
    with os_errors(directory, "read", EngineError):
        links = sorted(p for p in directory.iterdir() if p.is_symlink() and p.suffix in _READ)
        dangling = [link for link in links if not link.exists()]
    if dangling:
        raise EngineError(
            f"{directory} has {len(dangling)} link(s) to files that are not there, first {dangling[0].name}: a "
            "download that was cut off, or a cache that was cleared. Download the model again, or copy it with its "
            "files (`cp -rL`)."
        )


def tensors(directory: Path) -> list[Tensor]:
    """All tensors of a checkpoint; their headers are checked, their bytes not read.

    Raises:
        EngineError: weights are missing, damaged, or not in safetensors.
    """
    if (directory / _SINGLE).is_file():  # the order in which transformers looks
        return _read_header(directory / _SINGLE)
    if (directory / _INDEX).is_file():
        return _sharded_tensors(directory)
    if is_adapter(directory) and (directory / ADAPTER_WEIGHTS).is_file():
        return _read_header(directory / ADAPTER_WEIGHTS)
    raise EngineError(no_weights(directory, [path.name for path in directory.glob("*")]))


def _sharded_tensors(directory: Path) -> list[Tensor]:
    index = directory / _INDEX
    expected = _weight_map(index)
    shards = sorted(set(expected.values()))
    if missing := [shard for shard in shards if not (directory / shard).is_file()]:
        raise EngineError(
            f"{directory} lacks {len(missing)} of {len(shards)} shards that {_INDEX} names: {', '.join(missing[:3])}"
            f"{', ...' if len(missing) > 3 else ''}. Download or copy the checkpoint again."
        )
    found: dict[str, Tensor] = {}
    for shard in shards:
        for tensor in _read_header(directory / shard):
            if tensor.name in found:
                raise _damaged(directory / shard, f"tensor {tensor.name!r} is in {found[tensor.name].file.name} too")
            found[tensor.name] = tensor
    for name, shard in expected.items():
        if name not in found or found[name].file.name != shard:
            raise _damaged(directory / shard, f"it lacks tensor {name!r}, which {_INDEX} says it holds")
    if not isinstance(_read_json(index).get("metadata"), dict):
        raise EngineError(f'{index} has no `metadata`, which transformers asks for. Write "metadata": {{}} into it.')
    return list(found.values())


def _weight_map(index: Path) -> dict[str, str]:
    weight_map = _read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise _damaged(index, "it has no `weight_map`")
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise _damaged(
                index, f"`weight_map` sends {name!r} to {str(shard)[:80]!r}, which is no safetensors file here"
            )
    return weight_map


def no_weights(place: str | Path, names: Iterable[str]) -> str:
    """Why files of these names are no weights, and the way out.

    Args:
        place: where they are, for the message.
        names: with or without folders before them.
    """
    files = sorted({PurePosixPath(name).name for name in names})
    pickles = [file for file in files if any(fnmatchcase(file, pattern) for pattern in _PICKLES)]
    if pickles:
        return (
            f"{place} has its weights as a Python pickle ({pickles[0]}), which can run any code when it is loaded, "
            "so it is not. Convert it where you trust it: `AutoModelForCausalLM.from_pretrained(...)."
            'save_pretrained(..., safe_serialization=True)`, or take a revision with "model.safetensors".'
        )
    if ADAPTER in files:
        return f"{place} holds an adapter's settings without its weights ({ADAPTER_WEIGHTS}). Copy it again."
    if stray := [file for file in files if file.endswith(".safetensors")]:
        return (
            f"{place} has {stray[0]}, but neither {_SINGLE} nor {_INDEX}, by which weights are found. Save the model "
            f"with `save_pretrained`, or call it {_SINGLE} if it holds all of them in Hugging Face's names."
        )
    if any(file.endswith(".gguf") for file in files):
        return (
            f"{place} has its weights in GGUF only, a quantised format of llama.cpp. Take the safetensors of "
            "the model that it was made from."
        )
    return f"{place} has no weights: neither {_SINGLE} nor {_INDEX} is there. Check the path, or copy it again."


# --- what is in them


def _read_header(file: Path) -> list[Tensor]:
    """Parses a safetensors header and checks that the file holds exactly what it announces."""
    with os_errors(file, "read", EngineError), file.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(0)
        entries, data_start = _parse_header(stream, file, size)
    tensors = [_tensor(name, entry, file, data_start) for name, entry in entries.items() if name != "__metadata__"]
    end = data_start
    for tensor in sorted(tensors, key=lambda t: (t.start, t.size)):
        if tensor.start != end:
            raise _damaged(file, f"tensor {tensor.name!r} does not follow the one before it")
        end += tensor.size
    if end > size:
        raise _damaged(file, f"it ends after {size:,} of {end:,} bytes")
    if end < size:
        raise _damaged(file, f"{size - end:,} bytes follow its last tensor")
    return tensors


def _parse_header(stream: BinaryIO, file: Path, size: int) -> tuple[dict[str, Any], int]:
    length = int.from_bytes(stream.read(8), "little")
    if size < 8 or length > size - 8:
        raise _damaged(file, f"its header is cut off (the file has {size:,} bytes)")
    if length > _MAX_HEADER_BYTES:
        raise _damaged(file, f"its header claims {length:,} bytes, more than {_MAX_HEADER_BYTES:,}")
    content = stream.read(length)
    if content.count(b"{") + content.count(b"[") > _MAX_VALUES:
        raise _damaged(file, f"its header claims more than {_MAX_VALUES // 3:,} tensors")
    try:
        entries = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _damaged(file, "its header is not JSON") from error
    if not isinstance(entries, dict):
        raise _damaged(file, "its header is not a JSON object")
    return entries, 8 + length


def _tensor(name: str, entry: object, file: Path, data_start: int) -> Tensor:
    try:
        if not isinstance(entry, dict):
            raise TypeError
        dtype, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        counts = [*shape, start, end]
        if not all(type(count) is int and count >= 0 for count in counts):
            raise ValueError
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(
            file, f"the header's entry for tensor {name[:80]!r} has no dtype, shape and data_offsets"
        ) from error
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise _damaged(file, f"tensor {name[:80]!r} has the unknown dtype {str(dtype)[:20]!r}")
    needed, remainder = divmod(math.prod(shape) * _BITS[dtype], 8)
    if remainder or end - start != needed:
        raise _damaged(file, f"tensor {name[:80]!r} of shape {shape} and dtype {dtype} does not fit its bytes")
    return Tensor(name, dtype, tuple(shape), file, data_start + start, needed)


def _read_json(file: Path) -> dict[str, Any]:
    with os_errors(file, "read", EngineError), file.open("rb") as stream:
        content = stream.read(_MAX_JSON_BYTES + 1)
    if len(content) > _MAX_JSON_BYTES:
        raise _damaged(file, f"it is larger than {_MAX_JSON_BYTES:,} bytes")
    if content.count(b"{") + content.count(b"[") > _MAX_VALUES:
        raise _damaged(file, f"it holds more than {_MAX_VALUES:,} lists and objects")
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _damaged(file, "it is not JSON") from error
    if not isinstance(values, dict):
        raise _damaged(file, "it is not a JSON object")
    return values


def _damaged(file: Path, why: str) -> EngineError:
    return EngineError(f"{file} is damaged or incomplete: {why}. Download or copy the checkpoint again.")
