"""LoRA (Hu et al., arXiv 2106.09685) through peft: small matrices beside frozen layers are trained in their place.

A training puts a new adapter on its parent's weights and ends by merging it into them, so that a checkpoint is a whole
model, the next round starts from it, and nothing that reads it needs peft. With the adapter still empty the model is
its parent: the reference of DPO.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

from selfreward_bench.config import LoraConfig
from selfreward_bench.engines import quantised
from selfreward_bench.engines.adapters import adapted, require_peft
from selfreward_bench.errors import LoopViolation, MissingDependencyError, TrainingError, first_line
from selfreward_bench.storage.adapters import adapter_settings, is_adapter
from selfreward_bench.storage.fingerprint import weights_dtypes
from trainers import sharding
from trainers.checkpoints import logit_probe, quiet_libraries

MERGE_TOLERANCE = 1e-3  # of a logit; float32 rounds differently when merged (4e-5 was seen)
MERGE_TOLERANCE_HALF = 2e-2  # of the largest logit, where the frozen weights have 16 bits


def goes_on(source: Path, lora: LoraConfig | None) -> bool:
    """Whether the adapter that ``source`` is, is trained on, and not merged into its base first."""
    return lora is not None and not lora.merge and is_adapter(source)


def frozen_dtype(source: Path, lora: LoraConfig | None) -> str:
    """The type that weights are loaded in: float32 but for frozen ones that were saved in bfloat16, which stay so.

    float16 overflows in training, and an adapter that is merged first would be rounded away.
    """
    frozen = lora is not None and (goes_on(source, lora) or not is_adapter(source))
    return "bfloat16" if frozen and weights_dtypes(source)[0] == "BF16" else "float32"


def trained_on(model: Any, directory: Path, lora: LoraConfig) -> Any:
    """The base of an adapter with that adapter over it, to be trained on; TRL makes a copy of it as a reference.

    Raises:
        TrainingError: it has another rank, scale or layers than ``lora`` asks for.
        EngineError, MissingDependencyError: as ``adapted``.
    """
    require_peft("A training goes on with an adapter (lora.merge: false)")
    settings = adapter_settings(directory)
    wanted: dict[str, Any] = {"r": lora.r, "alpha": lora.alpha}
    found = {"r": settings.get("r"), "alpha": settings.get("lora_alpha")}
    if not isinstance(lora.targets, str):
        wanted["targets"], found["targets"] = sorted(lora.targets), sorted(settings.get("target_modules") or [])
    over = adapted(model, directory, dropout=lora.dropout)
    if isinstance(lora.targets, str):
        some = any("base_layer" not in name for name in linear_layers(over))
        found["targets"] = "some-linear" if some else lora.targets
        wanted["targets"] = lora.targets
    if wanted != found:
        raise TrainingError(
            f"With lora.merge: false a training goes on with the adapter that {directory} is, which has {found}; the "
            f"recipe asks for {wanted}. Set the section lora to what it has, or lora.merge to true: then it is merged "
            "into its base first."
        )
    return over


def with_adapter(model: Any, lora: LoraConfig, seed: int) -> Any:
    """The model with an empty adapter, its own weights frozen; the adapter is float32 whatever they are.

    Raises:
        MissingDependencyError: peft is not installed.
        TrainingError: ``lora.targets`` names no layer that can have an adapter, or the embeddings.
    """
    require_peft("LoRA is asked for (section lora)")
    quantised.import_quietly()
    import torch
    from peft import LoraConfig as PeftConfig
    from peft import get_peft_model
    from transformers.pytorch_utils import Conv1D

    layers = linear_layers(model)
    config = PeftConfig(
        task_type="CAUSAL_LM",
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=_targets(lora, layers),
        fan_in_fan_out=any(isinstance(layer, Conv1D) for layer in layers.values()),
    )
    torch.manual_seed(seed)
    try:
        with quiet_libraries():
            adapted = get_peft_model(model, config)
    except ImportError as error:  # peft wants companions of what is installed beside it
        raise MissingDependencyError(f"peft makes no adapter here: {first_line(error)}") from error
    except ValueError as error:
        raise TrainingError(
            f"peft makes no adapter of lora.targets={_shown(lora)} and lora.dropout={lora.dropout:g} for this model: "
            f"{' '.join(str(error).split())[:200].rstrip('. ')}. {_known(layers)}"
        ) from error
    _refuse_embeddings(adapted, lora)
    _refuse_unknown(adapted, lora, layers)
    return adapted


def few_bits(lora: LoraConfig | None) -> dict[str, Any]:
    """What ``from_pretrained`` has to be told where an adapter is trained over quantised weights.

    Raises:
        MissingDependencyError: bitsandbytes is not installed.
    """
    if lora is None or lora.quantize is None:
        return {}
    from accelerate import PartialState  # type: ignore[import-untyped]  # it has no types

    return quantised.options(lora.quantize, PartialState().device)


def refuse_rounding(adapter: Path) -> NoReturn:
    """Raises TrainingError: an adapter would be merged into weights of few bits."""
    raise TrainingError(
        f"{adapter} is an adapter, which would be merged into weights of few bits, and be rounded away. Merge it into "
        "its base and save the whole, or set lora.merge to false: then it is trained on."
    )


def keep_exact(model: Any) -> None:
    """Has the adapter over quantised weights stay float32, which TRL would round to bfloat16."""
    base = model.get_base_model()
    base.is_loaded_in_4bit = base.is_loaded_in_8bit = False  # what TRL goes by


def take_over(model: Any, other: Any) -> None:
    """Gives a model's adapter the weights of another one's."""
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    set_peft_model_state_dict(model, get_peft_model_state_dict(other))


def is_adapted(model: Any) -> bool:
    """Whether an adapter is trained, or all weights are."""
    return hasattr(model, "peft_config")


def merged(model: Any) -> tuple[Any, float]:
    """Merges the adapter into the weights; the model that is given is used up.

    Returns:
        The whole model, and the largest change of a logit of its probe.

    Raises:
        LoopViolation: the merged model computes something else.
    """
    before = logit_probe(model)
    half = model.get_input_embeddings().weight.dtype.itemsize < 4 or sharding.in_half(model)
    whole = sharding.merged(model)
    after = logit_probe(whole)
    change = max(abs(a - b) for a, b in zip(before, after, strict=True))
    allowed = MERGE_TOLERANCE_HALF * max(map(abs, before)) if half else MERGE_TOLERANCE
    if not change <= allowed:
        raise LoopViolation(
            f"Merging the adapter into the weights changed a logit by {change:.3g}, more than {allowed:.3g}: what "
            "would be saved is not what was trained. Report this with the model's name."
        )
    return whole, change


def restore(model: Any, directory: Path) -> None:
    """Gives a model's adapter the weights of a saved state."""
    from peft import load_peft_weights, set_peft_model_state_dict

    set_peft_model_state_dict(model, load_peft_weights(str(directory), device="cpu"))


def forget_reference(model: Any) -> None:
    """Deletes the copy of the adapter that TRL makes as a reference: its log-probabilities are on the disk."""
    if is_adapted(model) and "ref" in model.peft_config:
        model.delete_adapter("ref")


def parameters(model: Any) -> dict[str, int]:
    """How many numbers are trained, and of how many in all."""
    trained, every = model.get_nb_trainable_parameters()  # knows how many a number of few bits stands for
    packed = [m for m in model.modules() if quantised.is_packed(m)]  # which have buffers and no parameters
    every += sum(m.in_features * m.out_features + (0 if m.bias is None else m.out_features) for m in packed)
    return {"trained_parameters": trained, "parameters": every}


def linear_layers(model: Any) -> dict[str, Any]:
    """The linear layers of a model but for the output layer and what an adapter consists of itself."""
    import torch
    from transformers.pytorch_utils import Conv1D

    output = model.get_output_embeddings()
    linear = {
        name: m
        for name, m in model.named_modules()
        if isinstance(m, (torch.nn.Linear, Conv1D)) or quantised.is_packed(m)
    }
    return {name: layer for name, layer in linear.items() if layer is not output and ".lora_" not in name}


def _targets(lora: LoraConfig, layers: dict[str, Any]) -> str | list[str]:
    """What peft is told to lay adapters over; of what is linear it knows torch's layers alone."""
    if not isinstance(lora.targets, str):
        return list(lora.targets)
    return sorted(layers) if any(map(quantised.is_packed, layers.values())) else lora.targets


def _refuse_embeddings(model: Any, lora: LoraConfig) -> None:
    from peft.tuners.tuners_utils import BaseTunerLayer

    embeddings = (model.get_input_embeddings(), model.get_output_embeddings())
    if any(isinstance(layer, BaseTunerLayer) for layer in embeddings):
        raise TrainingError(
            f"lora.targets ({_shown(lora)}) names the embeddings or the output layer, which may be one and the same "
            "matrix, and of which TRL takes the weights past an adapter. Leave them out."
        )


def _refuse_unknown(model: Any, lora: LoraConfig, layers: dict[str, Any]) -> None:
    """Of several names peft passes over those that no layer has."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    found = [f".{name}" for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]
    targets = () if isinstance(lora.targets, str) else lora.targets
    if odd := [target for target in targets if not any(name.endswith(f".{target}") for name in found)]:
        raise TrainingError(
            f"lora.targets names {', '.join(odd)}, which is no layer of this model that can have an adapter. "
            f"{_known(layers)}"
        )


def _known(layers: dict[str, Any]) -> str:
    return f"Its linear layers are {', '.join(sorted({name.rpartition('.')[2] for name in layers}))}."


def _shown(lora: LoraConfig) -> str:
    return lora.targets if isinstance(lora.targets, str) else ", ".join(lora.targets)
