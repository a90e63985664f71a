"""What a model computes with besides its weights, as one hash: its configurations, tokenizer and chat templates.

Contents count, not places: two directories with equal files have one hash wherever they lie, and so they have where
JSON differs only in its layout, in a path, or in the version of the library that wrote it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from selfreward_bench.errors import EngineError
from selfreward_bench.storage.adapters import parts
from selfreward_bench.storage.files import os_errors
from selfreward_bench.storage.fingerprint import weights_fingerprint

__all__ = ["files_fingerprint", "model_fingerprint", "same_model", "weights_in"]

_CONFIG: Final = "config.json"
_GENERATION: Final = "generation_config.json"
_TOKENIZER: Final = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tekken.json"),
    *("vocab.json", "merges.txt", "vocab.txt", "*.model", "*.tiktoken"),
    *("chat_template.jinja", "chat_template.json", "additional_chat_templates/*.jinja"),
)
_OWN_CODE: Final = b'"auto_map"'  # with it a directory's *.py are run, where the user allows it
#: what says where a file lay, or what wrote it
_NO_CONTENT: Final = frozenset(
    {
        "_name_or_path",
        "name_or_path",
        "_commit_hash",
        "transformers_version",
        "tokenizer_file",
        "special_tokens_map_file",
    }
)
_MAX_JSON_BYTES: Final = 4_000_000  # a larger file counts byte by byte
_BLOCK: Final = 1 << 20
_JOINT: Final = "+"


def model_fingerprint(directory: Path) -> str:
    """All that a model's numbers depend on: ``weights_fingerprint``, ``+``, ``files_fingerprint``.

    Raises:
        EngineError: weights are missing, damaged, or not in safetensors; or a file cannot be read.
    """
    return f"{weights_fingerprint(directory)}{_JOINT}{files_fingerprint(directory)}"


def weights_in(fingerprint: str) -> str:
    """The part of ``model_fingerprint`` that is of the weights; other fingerprints are what they are.

    >>> weights_in("0af3+9c21"), weights_in("0af3")
    ('0af3', '0af3')
    """
    return fingerprint.partition(_JOINT)[0]


def same_model(first: str, second: str) -> bool:
    """Whether two fingerprints are of one model, as far as they tell: early ones are of its weights alone."""
    if _JOINT in first and _JOINT in second:
        return first == second
    return weights_in(first) == weights_in(second)


def files_fingerprint(directory: Path) -> str:
    """BLAKE2b (64 bits, hex) of the files beside a model's weights that its numbers depend on.

    Args:
        directory: in Hugging Face layout; of an adapter, its base's files count where it brings none.

    Raises:
        EngineError: a file cannot be read, or an adapter's base is not there.
    """
    digest = hashlib.blake2b(digest_size=8)
    for role, file in _files(directory):
        digest.update(f"{role}/{file.name}\0".encode())
        with os_errors(file, "read", EngineError):
            digest.update(_content_hash(file))
    return digest.hexdigest()


def _files(directory: Path) -> Iterator[tuple[str, Path]]:
    """What each file is for, and where it is; in one order."""
    of = parts(directory)
    config, generation = of.weights / _CONFIG, of.generation / _GENERATION
    tokenizer = sorted({p for pattern in _TOKENIZER for p in of.tokenizer.glob(pattern)})
    found = [("config", config), ("generation", generation), *(("tokenizer", file) for file in tokenizer)]
    for role, place, settings in (
        ("config", of.weights, config),
        ("tokenizer", of.tokenizer, of.tokenizer / "tokenizer_config.json"),
    ):
        if settings.is_file() and _names_code(settings):
            found += [(f"{role} code", file) for file in sorted(place.glob("*.py"))]
    return ((role, file) for role, file in found if file.is_file())


def _names_code(settings: Path) -> bool:
    with os_errors(settings, "read", EngineError), settings.open("rb") as stream:
        return _OWN_CODE in stream.read(_MAX_JSON_BYTES)


def _content_hash(file: Path) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    with file.open("rb") as stream:
        head = stream.read(_MAX_JSON_BYTES + 1)
        if file.suffix == ".json" and len(head) <= _MAX_JSON_BYTES and (text := _canonical(head)) is not None:
            digest.update(text)
            return digest.digest()
        digest.update(head)
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.digest()


def _canonical(content: bytes) -> bytes | None:
    """JSON in one layout, without paths and versions; None where it is none."""
    try:
        return json.dumps(_kept(json.loads(content)), sort_keys=True, separators=(",", ":")).encode()
    except (ValueError, RecursionError):
        return None


def _kept(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _kept(child) for key, child in value.items() if key not in _NO_CONTENT}
    return [_kept(child) for child in value] if isinstance(value, list) else value
