"""The model a training starts from: loaded in float32, made ready for TRL, and remembered as its files say it is."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfreward_bench import heap
from selfreward_bench.config import LoraConfig
from selfreward_bench.errors import TrainingError
from selfreward_bench.progress import Tell
from selfreward_bench.storage.adapters import parts
from trainers import lora as adapters
from trainers.checkpoints import logit_probe, quiet_libraries
from trainers.sharding import Sharding, is_sharded, merged, share_tied

_EXPERTS = ("num_local_experts", "moe_num_experts", "n_routed_experts")
_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a training starts from: the model, and what its files say whatever the trainers set while they train.

    Attributes:
        generation: how it generates; valid, so that it can be saved again.
        ends: ids that end its answers.
        lora: the settings of the adapter that is trained; None where all weights are.
        trusted: whether code that comes with it runs.
    """

    source: Path
    model: Any
    config: Any
    generation: Any
    ends: list[int]
    lora: LoraConfig | None = None
    trusted: bool = False


def load_model(
    source: str | Path,
    dropout: float,
    *,
    lora: LoraConfig | None = None,
    seed: int = 0,
    trust_remote_code: bool = False,
    attn_implementation: str | None = None,
    sharding: Sharding | None = None,
    bf16: bool = False,
    tell: Tell | None = None,
) -> Loaded:
    """Loads a causal language model in float32, with dropout where its architecture has it.

    Args:
        lora: puts an empty adapter on it, drawn from ``seed``, or goes on with the one that ``source`` is; what is
            frozen stays bfloat16 where it was saved so.
        attn_implementation: kernel of attention; None is transformers' choice.
        sharding: this process reads its part of the model.
        bf16: whether a sharded model computes in bfloat16.

    Raises:
        MissingDependencyError: an adapter is there or wanted, and peft is not installed.
        TrainingError: the directory holds no causal language model in safetensors, or TRL cannot train it.
        EngineError: some of its weights are not there.
    """
    from transformers import AutoConfig, GenerationConfig

    from selfreward_bench.engines.adapters import adapted, whole
    from selfreward_bench.engines.loading import cause, return_logits_alone, written_end_ids
    from selfreward_bench.engines.quantised import portable, settle, silently

    heap.set_aside()
    try:
        of = parts(Path(source))
        with quiet_libraries():
            config, own = (
                AutoConfig.from_pretrained(str(of.weights), trust_remote_code=trust_remote_code) for _ in range(2)
            )
        _set_dropout(config, dropout)
        return_logits_alone(config)  # TRL asks for what it needs of experts
        portable(config)
        dtype = adapters.frozen_dtype(Path(source), lora)
        options: dict[str, Any] = {"attn_implementation": attn_implementation} if attn_implementation else {}
        options |= sharding.loading(bf16) if sharding else {}
        with silently(config):
            model = from_pretrained(
                of.weights, trust_remote_code, config=config, dtype=dtype, **options, **adapters.few_bits(lora)
            )
        name_experts(model)
        share_tied(model)
        if of.generation != of.weights:
            model.generation_config = GenerationConfig.from_pretrained(str(of.generation))
        ends = written_end_ids(Path(source))
    except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise TrainingError(
            f"No model can be loaded from {source}: {cause(error)} Training needs a causal language model in Hugging "
            "Face layout with safetensors weights."
        ) from error
    model.generation_config = mended(model.generation_config, tell)
    generation = copy.deepcopy(model.generation_config)
    few_bits = settle(model)
    if of.adapter and lora and adapters.goes_on(of.adapter, lora):
        model = adapters.trained_on(model, of.adapter, lora)
    else:
        if of.adapter and lora and few_bits:
            adapters.refuse_rounding(of.adapter)
        model = merged(adapted(model, of.adapter)) if of.adapter and is_sharded(model) else whole(model, of)
        model = adapters.with_adapter(model, lora, seed) if lora else model
    if lora and few_bits:
        adapters.keep_exact(model)
    return Loaded(Path(source), model, own, generation, ends, lora, trust_remote_code)


def over_own_weights(loaded: Loaded, model: Any) -> tuple[Any, float]:
    """The adapter that was trained over quantised weights, over those that its base's files hold.

    Returns:
        The model with its adapter, and the largest change of a logit of its probe: what quantising does.
    """
    before = logit_probe(model)
    settings = loaded.lora.model_copy(update={"quantize": None}) if loaded.lora else None
    exact = load_model(loaded.source, 0.0, lora=settings, trust_remote_code=loaded.trusted).model
    adapters.take_over(exact, model)
    after = logit_probe(exact)
    return exact, max(abs(a - b) for a, b in zip(before, after, strict=True))


def _set_dropout(config: Any, dropout: float) -> None:
    """In a configuration and in those that it is made of (DBRX and MPT have one of their attention)."""
    from transformers import PreTrainedConfig

    for part in (config, *(value for value in vars(config).values() if isinstance(value, PreTrainedConfig))):
        for key, value in part.to_dict().items():
            drops = "dropout" in key or key.endswith("_pdrop")
            if drops and isinstance(value, (int, float)) and not isinstance(value, bool):
                setattr(part, key, dropout if part is config else type(value)(dropout))  # MPT's takes whole numbers


def name_experts(model: Any) -> None:
    """Gives a mixture of experts the name under which TRL looks for their number; GraniteMoE and PhiMoE have another.

    A model without routers, as the dense ones of a family of mixtures are (Granite 4, Doge), has nothing to balance.

    Raises:
        TrainingError: it has experts to balance and says nowhere how many.
    """
    config = model.config.get_text_config()
    if not getattr(config, "router_aux_loss_coef", 0):
        return
    if not _has_routers(model):
        config.router_aux_loss_coef = 0.0
    if not config.router_aux_loss_coef or hasattr(config, "num_experts"):
        return
    count = next((n for key in _EXPERTS if isinstance(n := getattr(config, key, None), int)), None)
    if count is None or not hasattr(config, "num_experts_per_tok"):
        raise TrainingError(
            f"TRL cannot train a model of type {config.model_type!r}: it balances the experts of a mixture "
            "(router_aux_loss_coef) by num_experts and num_experts_per_tok, which this config.json does not have. Set "
            "router_aux_loss_coef to 0 there to train without balancing."
        )
    config.num_experts = count


def _has_routers(model: Any) -> bool:
    """Whether a model has the layers from which transformers takes ``router_logits``; true where it does not say."""
    found = (getattr(model, "_can_record_outputs", None) or {}).get("router_logits")
    kinds = [getattr(kind, "target_class", kind) for kind in (found if isinstance(found, list) else [found])]
    known = tuple(kind for kind in kinds if isinstance(kind, type))
    return not known or any(isinstance(module, known) for module in model.modules())


def mended(generation: Any, tell: Tell | None = None) -> Any:
    """A generation configuration that can be saved: transformers loads more than it saves.

    The usual fault is a temperature without ``do_sample``, as in the files of Llama 2 and its kin: they mean sampling.
    Of any other only the token ids are kept.
    """
    from transformers import GenerationConfig

    found = copy.deepcopy(generation)
    try:
        found.validate(strict=True)
    except ValueError as error:
        faults = ", ".join(re.findall(r"^- `(\w+)`", str(error), re.MULTILINE))
    else:
        return found
    ids = {key: value for key in _IDS if (value := getattr(found, key)) is not None and value != -1}
    found.do_sample, found.pad_token_id = True, ids.get("pad_token_id")
    change = "do_sample: true"
    try:
        found.validate(strict=True)
    except ValueError:
        found, change = GenerationConfig(**ids), "its token ids alone"
    if tell:
        tell(f"The base's generation_config.json is not valid ({faults}); the copies in checkpoints have {change}.")
    return found


def from_pretrained(source: str | Path, trust_remote_code: bool, **options: Any) -> Any:
    """A causal language model, in float32 unless told; no code of its own runs unless trusted, and nobody is asked.

    Raises:
        EngineError: weights are missing, or of another shape.
    """
    from transformers import AutoModelForCausalLM

    from selfreward_bench.engines.loading import CHECKED, check_complete

    options = CHECKED | {"dtype": "float32", "trust_remote_code": trust_remote_code} | options
    with quiet_libraries():
        model, report = AutoModelForCausalLM.from_pretrained(str(source), **options)
    check_complete(source, report)
    return model
