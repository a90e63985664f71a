"""What a model's files tell without any library: whether they are all there, and what kind of model they are of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from selfreward_bench.bases.findings import Finding, Purpose, refusal, warning
from selfreward_bench.engines.adapters import require_peft
from selfreward_bench.engines.quantised import require_bitsandbytes, require_reader
from selfreward_bench.engines.served.protocol import PREFIX
from selfreward_bench.errors import EngineError, SrbenchError
from selfreward_bench.storage.adapters import is_adapter, parts
from selfreward_bench.storage.files import os_errors
from selfreward_bench.storage.fingerprint import Tensor, check_checkpoint

__all__ = ["architecture_of", "file_findings", "quantisation_of", "read_config", "same_bytes"]

_WHOLE: Final = "model.safetensors"
_INDEX: Final = "model.safetensors.index.json"
_BLOCK: Final = 1 << 20
_OTHER_KINDS: Final = {
    "ForSequenceClassification": "a classifier or reward model, which grades texts and writes none",
    "ForTokenClassification": "a classifier of tokens, which writes no text",
    "ForQuestionAnswering": "a model that marks answers in a text and writes none",
    "ForMultipleChoice": "a model that chooses and writes no text",
    "ForMaskedLM": "an encoder, which sees the text it is asked to write",
    "ForPreTraining": "an encoder, which sees the text it is asked to write",
    "RewardModel": "a reward model, which grades texts and writes none",
}
"""What the name of an architecture ends with, and what such a model is."""


def file_findings(directory: Path, purpose: Purpose) -> Iterator[Finding]:
    """What stands in the way of using a model, as far as its files tell it; weights are looked at by their headers."""
    if str(directory).startswith(PREFIX):  # not shown, as it may hold a key
        yield refusal("files", "A served model has its weights elsewhere. Name a directory, or a model of the hub.")
        return
    if purpose.trainable_adapter or is_adapter(directory):
        try:
            require_peft("It is an adapter" if is_adapter(directory) else "LoRA is asked for (section lora)")
        except SrbenchError as error:
            yield refusal("files", str(error))
    try:
        check_checkpoint(directory)
        config = read_config(parts(directory).weights)
    except SrbenchError as error:
        yield refusal("files", str(error))
        return
    if twice := _stored_twice(parts(directory).weights):
        yield warning("weights", twice)
    if fault := _other_kind(config):
        yield refusal("config", fault)
    method = quantisation_of(config)
    yield from _quantising(method, is_adapter(directory), purpose)
    if method and purpose.run is not None and not purpose.trainable_adapter:
        yield refusal(
            "weights",
            f"Its weights are quantised ({method}), and quantised weights cannot be fully fine-tuned. Train adapters "
            "beside them (lora: {merge: false}), or take the same model with weights in bfloat16, float16 or float32.",
        )


def _quantising(method: str | None, adapter: bool, purpose: Purpose) -> Iterator[Finding]:
    """What stands in the way of weights in few bits, and of weights that have few already."""
    if method and (purpose.run is not None or purpose.engine.kind != "vllm"):  # which reads them by itself
        try:
            require_reader(method, trained=purpose.run is not None)
        except SrbenchError as error:
            yield refusal("weights", str(error))
    lora = purpose.run.lora if purpose.run else None
    asked = {"engine.quantize": purpose.engine.quantize, "lora.quantize": lora.quantize if lora else None}
    for key, kind in asked.items():
        if kind is None:
            continue
        try:
            require_bitsandbytes(f"Weights are to be quantised ({key}={kind})")
        except SrbenchError as error:
            yield refusal("weights", str(error))
        if method:
            yield refusal("weights", f"Its weights are quantised already ({method}). Leave {key} out.")
    if lora and lora.quantize and lora.merge and adapter:
        yield refusal(
            "weights",
            "It is an adapter, which would be merged into weights of few bits. Merge it into its base and save the "
            "whole, or set lora.merge to false: then it is trained on.",
        )
    if lora and lora.merge and method:
        yield refusal(
            "weights",
            f"Its weights are quantised ({method}), and merging an adapter into them would round it away. Set "
            "lora.merge to false, or take the same model with weights in bfloat16, float16 or float32.",
        )


def read_config(directory: Path) -> dict[str, Any]:
    """``config.json`` as it stands; ``check_checkpoint`` has seen that it is an object."""
    values: dict[str, Any] = json.loads((directory / "config.json").read_bytes())
    return values


def architecture_of(config: Mapping[str, Any]) -> str:
    """The class that a configuration names, or its type; for messages."""
    names = config.get("architectures")
    if isinstance(names, list) and names:
        return str(names[0])[:80]
    return str(config.get("model_type") or "a model of no known type")[:80]


def quantisation_of(config: Mapping[str, Any]) -> str | None:
    """How the weights are quantised, such as ``gptq``; None where they are not."""
    found = config.get("quantization_config") or config.get("compression_config")
    if not found:
        return None
    return str(found.get("quant_method") or "bitsandbytes")[:40] if isinstance(found, dict) else "quantization_config"


def _other_kind(config: Mapping[str, Any]) -> str | None:
    """Why a model is no causal language model; None where its configuration does not say so."""
    name = architecture_of(config)
    what = next((text for end, text in _OTHER_KINDS.items() if name.endswith(end)), None)
    if config.get("is_encoder_decoder") is True:
        what = "an encoder-decoder"
    if what is None or (config.get("is_decoder") is True and name.endswith(("ForMaskedLM", "ForPreTraining"))):
        return None
    return f"{name} is {what}. srbench needs a causal language model (one that continues text)."


def _stored_twice(directory: Path) -> str:
    """What is to be said of weights that are there whole and in shards; empty where they are not."""
    try:
        named = set(json.loads((directory / _INDEX).read_bytes())["weight_map"].values())
        shards = sorted(name for name in named - {_WHOLE} if (directory / name).is_file())
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # none, or one that nothing reads
        return ""
    if not shards or not (directory / _WHOLE).is_file():
        return ""
    return (
        f"Its weights are there twice: in {_WHOLE}, which transformers reads, and in shards ({shards[0]}), which other "
        "programs read. Delete those that are not meant."
    )


def same_bytes(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors hold the same numbers; reading ends at the first that differs.

    Raises:
        EngineError: a file cannot be read.
    """
    if (first.dtype, first.shape) != (second.dtype, second.shape):
        return False
    with os_errors(first.file, "read", EngineError), first.file.open("rb") as one, second.file.open("rb") as other:
        one.seek(first.start)
        other.seek(second.start)
        places = range(0, first.size, _BLOCK)
        return all(one.read(n) == other.read(n) for n in (min(_BLOCK, first.size - at) for at in places))
