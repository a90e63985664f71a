"""Adapters as models: a directory with ``adapter_config.json`` and no whole weights is its base with the adapter over.

Which base that is, and whether it is an adapter that can be laid over it, is read from its files: no torch, no peft and
no network here. A base of the hub is looked for in the hub's cache; who opens models sees to it that it is there
(``selfreward_bench.sources.hub``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from selfreward_bench.errors import EngineError
from selfreward_bench.storage.files import os_errors

__all__ = [
    "ADAPTER",
    "ADAPTER_WEIGHTS",
    "Parts",
    "adapter_identity",
    "adapter_settings",
    "base_named",
    "is_adapter",
    "parts",
]

ADAPTER: Final = "adapter_config.json"
ADAPTER_WEIGHTS: Final = "adapter_model.safetensors"

_WHOLE: Final = ("model.safetensors", "model.safetensors.index.json")
_TOKENIZER: Final = "tokenizer_config.json"
_TOLD_ELSEWHERE: Final = ("base_model_name_or_path", "revision", "peft_version", "inference_mode")
_MAX_BYTES: Final = 10_000_000
_SHOWN: Final = 100  # characters of what a file says
#: settings of peft under which an adapter is no sum of small matrices and frozen ones, or has code imported by name
_UNKNOWN: Final = (
    *("layer_replication", "megatron_config", "alora_invocation_tokens", "use_qalora", "arrow_config"),
    *("use_bdlora", "monteclora_config", "kasa_config", "velora_config"),
)


@dataclass(frozen=True, slots=True)
class Parts:
    """From where a model is read; of a whole checkpoint all the same directory.

    Attributes:
        weights: has config.json and whole weights: of an adapter its base.
        tokenizer: the adapter's own where it brings one, else its base's.
        generation: where generation_config.json would be, by the same rule.
        adapter: the adapter's own directory.
    """

    weights: Path
    tokenizer: Path
    generation: Path
    adapter: Path | None = None


def is_adapter(directory: Path) -> bool:
    """Whether a directory holds an adapter alone."""
    return (directory / ADAPTER).is_file() and not any((directory / name).is_file() for name in _WHOLE)


def parts(directory: Path) -> Parts:
    """From where a model is read.

    Raises:
        EngineError: it is an adapter whose base is not there.
    """
    if not is_adapter(directory):
        return Parts(directory, directory, directory)
    base = _base_directory(directory)
    tokenizer, generation = (
        directory if (directory / name).is_file() else base for name in (_TOKENIZER, "generation_config.json")
    )
    return Parts(base, tokenizer, generation, directory)


def base_named(directory: Path) -> tuple[str, str | None]:
    """The base that an adapter names, and the revision: a path, or what the hub calls it.

    Raises:
        EngineError: it names none.
    """
    settings = adapter_settings(directory)
    name, revision = settings.get("base_model_name_or_path"), settings.get("revision")
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise EngineError(
            f"{directory / ADAPTER} names no base model. Set base_model_name_or_path there to the base's directory, "
            "or to its name on the hub."
        )
    return name, revision if isinstance(revision, str) and revision else None


def adapter_settings(directory: Path) -> dict[str, Any]:
    """What an adapter's configuration says.

    Raises:
        EngineError: it cannot be read, or is of a kind that cannot be laid over a model.
    """
    file = directory / ADAPTER
    with os_errors(file, "read", EngineError), file.open("rb") as stream:
        content = stream.read(_MAX_BYTES + 1)
    try:
        settings = json.loads(content) if len(content) <= _MAX_BYTES else None
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise EngineError(f"{file} is damaged: it is no JSON object of at most {_MAX_BYTES:,} bytes. Copy it again.")
    kind = settings.get("peft_type")
    if kind != "LORA":
        raise EngineError(
            f"{directory} is an adapter of the kind {str(kind)[:_SHOWN]!r}. srbench takes LoRA alone; one that changes "
            "weights can be merged into its base where it was made (peft: `model.merge_and_unload()`): name the "
            "result. Prompts and prefixes that are learnt cannot."
        )
    if odd := [key for key in _UNKNOWN if settings.get(key)]:
        raise EngineError(
            f"{directory} is an adapter with {', '.join(odd)}, with which it does not simply lie over its base. Merge "
            "it where it was made, and name the result."
        )
    return settings


def adapter_identity(directory: Path) -> str:
    """An adapter's settings in one form: without where its base lies and by what it was written, lists in order."""
    settings = {key: value for key, value in adapter_settings(directory).items() if key not in _TOLD_ELSEWHERE}
    ordered = {key: sorted(value, key=str) if isinstance(value, list) else value for key, value in settings.items()}
    return json.dumps(ordered, sort_keys=True)


def _base_directory(directory: Path) -> Path:
    """Where the base is: a path from the adapter's directory, an absolute one, or in the hub's cache."""
    name, revision = base_named(directory)
    path = (directory / name).resolve()  # an absolute name stays what it is
    with os_errors(Path(name[:_SHOWN]), "read", EngineError):
        if path.is_dir():
            found = path
        elif cached := _cached(name, revision):
            found = cached
        else:
            raise EngineError(_not_there(directory, name, revision))
    if (found / ADAPTER).is_file():
        raise EngineError(
            f"The base of {directory}, {found}, is an adapter itself, or holds one. Merge it first, and name the "
            f"result in {ADAPTER} (base_model_name_or_path)."
        )
    return found


def _cached(name: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if revision and ".." in revision:
        return None
    try:
        found = try_to_load_from_cache(name, "config.json", revision=revision)
    except HFValidationError:  # no name of the hub
        return None
    return Path(found).parent if isinstance(found, str) else None


def _not_there(directory: Path, name: str, revision: str | None) -> str:
    shown = f"{name[:_SHOWN]}@{revision[:_SHOWN]}" if revision else name[:_SHOWN]
    here = Path(name).is_dir() and not Path(name).is_absolute()
    hint = " (A directory of that name is here; relative names start from the adapter's directory.)" if here else ""
    return (
        f"The base model of the adapter {directory} is not there: {ADAPTER} names {shown!r}, which is no directory and "
        f"not in the hub's cache.{hint} Set base_model_name_or_path there to the base's absolute path."
    )
