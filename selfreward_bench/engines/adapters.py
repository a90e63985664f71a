"""LoRA adapters over a model, through peft: merged where it is to answer, beside it where it is to be trained."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from selfreward_bench.engines.quantised import import_quietly, settle
from selfreward_bench.errors import EngineError, MissingDependencyError
from selfreward_bench.storage.adapters import ADAPTER_WEIGHTS, Parts, adapter_settings

__all__ = ["adapted", "require_peft", "whole"]

#: what of an adapter's settings decides where it is and what it adds
_DECISIVE = (
    *("r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "fan_in_fan_out", "bias"),
    *("lora_bias", "modules_to_save", "target_parameters", "trainable_token_indices", "ensure_weight_tying"),
    *("layers_to_transform", "layers_pattern"),
)


def require_peft(why: str) -> None:
    """Raises MissingDependencyError where peft is not installed; imports nothing."""
    from importlib.util import find_spec

    if find_spec("peft") is None:
        raise MissingDependencyError(f"{why}, and peft is not installed. Install it: pip install 'srbench[lora]'")


def adapted(model: Any, directory: Path, *, dropout: float | None = None) -> Any:
    """A model with the adapter of a directory over it, as a peft model.

    Args:
        dropout: before the adapter, which is to be trained on; None freezes it.

    Raises:
        EngineError: the adapter is not one of this model.
    """
    import_quietly()
    import torch
    from peft import LoraConfig, get_peft_model, load_peft_weights, set_peft_model_state_dict

    settings = adapter_settings(directory)
    weights = load_peft_weights(str(directory), device="cpu")
    named = settings.get("target_modules")
    config = LoraConfig(
        task_type="CAUSAL_LM",
        inference_mode=dropout is None,
        lora_dropout=dropout or 0.0,
        target_modules=named if isinstance(named, list) else _layers(weights),
        **{key: settings[key] for key in _DECISIVE if key in settings},
    )
    try:
        with warnings.catch_warnings(action="ignore"), torch.random.fork_rng(devices=[]):
            over = get_peft_model(model, config)  # its own first numbers are overwritten
            report = set_peft_model_state_dict(over, weights)
    except (ValueError, TypeError, KeyError, RuntimeError, AttributeError, ImportError) as error:
        raise EngineError(
            f"The adapter {directory} cannot be laid over its base: {' '.join(str(error).split())[:300]}. If it was "
            "trained on another model, set base_model_name_or_path to that one."
        ) from error
    wrong = [name for name in report.missing_keys if "lora_" in name] + list(report.unexpected_keys)
    if wrong:
        raise EngineError(
            f"The adapter {directory} is not one of its base: {len(wrong)} tensors of {ADAPTER_WEIGHTS} and of the "
            f"base do not belong together, first {wrong[0][:200]}. Set base_model_name_or_path to the model that it "
            "was trained on."
        )
    return over


def whole(model: Any, of: Parts) -> Any:
    """The model that is read from these parts, given what was loaded from their weights.

    Its adapter is merged, but for weights of few bits: it stands beside them, as they would round it.

    Raises:
        EngineError: there is an adapter, and it is not one of this model, or makes it no number.
        MissingDependencyError: there is an adapter, and peft is not installed.
    """
    few_bits = settle(model)
    if of.adapter is None:
        return model
    require_peft(f"{of.adapter} is an adapter")
    if few_bits:
        return adapted(model, of.adapter).get_base_model()
    try:
        with warnings.catch_warnings(action="ignore"):  # that tied embeddings, of which it brings one, are tied no more
            merged = adapted(model, of.adapter).merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise EngineError(f"The adapter {of.adapter} is damaged: {error}") from error
    return merged.requires_grad_(True)  # peft froze it


def _layers(weights: Iterable[str]) -> list[str] | None:
    """The layers to which tensors of an adapter belong: its settings may name them by any regular expression."""
    marks = (".lora_A.", ".lora_embedding_A")
    names = (name.partition(mark)[0] for name in weights for mark in marks if mark in name)
    return sorted({name.removeprefix("base_model.model.") for name in names}) or None
