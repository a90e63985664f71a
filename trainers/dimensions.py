"""What a plan knows of a model: how many parameters it has and how wide its layers are, from config.json alone.

The model is built on torch's device ``meta``, where tensors have shapes and no content, so the count is exact and takes
a second or two of a 70B. No weights are read or downloaded.
"""

from __future__ import annotations

import contextlib
import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any, Final

from selfreward_bench.bases.files import quantisation_of
from selfreward_bench.config import LoraConfig, RunConfig
from selfreward_bench.engines.quantised import BYTES
from selfreward_bench.errors import EngineError
from selfreward_bench.micro import base_path
from selfreward_bench.sources.hub import hub_description, is_hub_name

__all__ = ["Dimensions", "describe_base", "read_dimensions", "with_adapters"]

_MOST_LAYERS: Final = 1000  # each is built
_EXPERTS: Final = ".experts."  # the weights among which a token's router chooses
_GATED, _PLAIN = 4, 2  # tensors of its width that an MLP keeps: gate, its activation, up, their product; or two of them
_NEW_GELU: Final = 3  # more of them: transformers writes gelu_new out in tensor operations
_RMS, _LAYER_NORM = 2, 1  # tensors that a norm keeps: RMSNorm, written out, keeps what it normalised too


@dataclass(frozen=True, slots=True)
class Dimensions:
    """A model's size. Only ``parameters`` is known of one that is stated by its size alone.

    Attributes:
        parameters: of the whole model; an embedding that is the output matrix too counts once.
        active: of these what a token passes through; fewer where experts are chosen.
        layers, hidden, vocabulary: as in config.json; of what layers have their own of, the mean.
        heads: query heads of a layer; ``attention``: numbers in all of them together, ``keys``: in all key heads.
        norms, middle: numbers per token that a layer's norms (in float32) and its MLP keep for the backward pass.
        positions: tokens that the model has positions for; None where nothing bounds them.
        width: bytes of a number in the stored weights.
        linear: name of a kind of linear layer (the output layer apart) -> inputs and outputs of all of them together.
        dense: numbers in them, which are what quantising makes smaller.
        quantised: bytes of such a number where they are frozen and quantised (``lora.quantize``).
        adapted: numbers of the adapters that are trained in place of the parameters; None where all of those are.
        scores: whether attention keeps a score for each two tokens and head, as code without a fused kernel does.
        drops: whether attention has a dropout of its own.
        source: how all this is known.
    """

    parameters: int
    active: int
    layers: int = 0
    hidden: int = 0
    vocabulary: int = 0
    heads: int = 0
    attention: int = 0
    keys: int = 0
    norms: int = 0
    middle: int = 0
    positions: int | None = None
    width: int = 4
    linear: Mapping[str, int] = field(default_factory=dict)
    dense: int = 0
    quantised: float | None = None
    adapted: int | None = None
    scores: bool = False
    drops: bool = False
    source: str = "the number of parameters that was stated"


def describe_base(config: RunConfig, parameters: int | None = None) -> tuple[Dimensions, Path | None]:
    """The size of a run's base model with its adapters, and the directory that describes it, with its tokenizer if any.

    Of a model of the hub only what describes it is downloaded. Where it cannot be had, a copy of its config.json that
    srbench brings serves (Llama 2 70B, the paper's base).

    Args:
        parameters: their number where it is stated; it is then taken for the count.

    Raises:
        EngineError: nothing describes the base, and ``parameters`` is not stated.
    """
    try:
        directory, source = _directory(config.base)
        found = read_dimensions(directory, trust_remote_code=config.engine.trust_remote_code)
    except EngineError:
        if parameters is None:
            raise
        return with_adapters(Dimensions(parameters, parameters), config.lora), None
    if source:
        found = replace(found, source=f"{found.source}, {source}")
    if kernel := config.engine.attn_implementation:
        found = replace(found, scores=kernel == "eager")
    if parameters is not None:
        share = found.active / found.parameters
        found = replace(
            found,
            parameters=parameters,
            active=round(parameters * share),
            source=f"the stated number of parameters, layers as in {config.base}/config.json",
        )
    return with_adapters(found, config.lora), directory


def with_adapters(d: Dimensions, lora: LoraConfig | None) -> Dimensions:
    """The size with low-rank adapters: of a layer, their rank times its inputs and outputs.

    >>> with_adapters(Dimensions(1, 1, linear={"q_proj": 64, "up_proj": 96}), LoraConfig(r=4)).adapted
    640
    """
    if lora is None:
        return d
    named = set(d.linear) if isinstance(lora.targets, str) else {name.rpartition(".")[2] for name in lora.targets}
    adapted = lora.r * sum(size for name, size in d.linear.items() if name in named)
    return replace(d, adapted=adapted, quantised=BYTES[lora.quantize] if lora.quantize else None)


def read_dimensions(directory: Path, *, trust_remote_code: bool = False) -> Dimensions:
    """Reads a directory with a config.json.

    Raises:
        EngineError: it has none, or one that describes no causal language model.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

    from trainers.checkpoints import quiet_libraries

    if not (directory / "config.json").is_file():
        raise EngineError(f"{directory} has no config.json, so nothing tells what model it is.")
    try:
        with quiet_libraries():
            config = AutoConfig.from_pretrained(str(directory), trust_remote_code=trust_remote_code)
        if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING and not trust_remote_code:
            raise ValueError(f"{str(config.model_type)[:80]} is another kind of model")
        text = config.get_text_config()
        if not 0 < int(text.num_hidden_layers) <= _MOST_LAYERS:
            raise ValueError(f"num_hidden_layers is {text.num_hidden_layers}")
        _refuse_impossible(text)
        found = _counted(text, _built(config, trust_remote_code))
        if method := quantisation_of(vars(config)):
            told = f"as if its weights were not quantised ({method}), which take adapters alone (lora.merge=false)"
            return replace(found, source=f"{found.source}, {told}")
        return found
    except Exception as error:  # whatever a wrong value, or a model's own code, causes
        why = " ".join(str(error).split())[:300] or type(error).__name__
        raise EngineError(f"{directory}/config.json does not describe a causal language model: {why}") from error


def _directory(base: str) -> tuple[Path, str]:
    """Where the base is described, and what is to be said of that."""
    if base == "micro":
        return base_path(), ""
    if Path(base).is_dir() or not is_hub_name(base):
        return Path(base), ""
    try:
        return hub_description(base), ""
    except EngineError as error:
        copy = resources.files("selfreward_bench") / "data" / "configs" / base.partition("@")[0] / "config.json"
        if copy.is_file():
            return Path(str(copy)).parent, "of srbench's copy of its config.json"
        raise EngineError(
            f"{error} A plan needs its config.json alone: give a directory that holds it (--set base=DIR), or state "
            "the number of parameters (--parameters 7e9)."
        ) from error


def _built(config: Any, trust_remote_code: bool) -> Any | None:
    """The model without content; None where its class cannot be built so."""
    import torch
    from transformers import AutoModelForCausalLM

    from trainers.checkpoints import quiet_libraries

    with contextlib.suppress(Exception), quiet_libraries(), torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    return None


def _refuse_impossible(text: Any) -> None:
    """Raises ValueError for sizes of which no model can be, where transformers takes them."""
    for name in ("hidden_size", "vocab_size"):
        if int(getattr(text, name, 1)) < 1:
            raise ValueError(f"{name} is {getattr(text, name)}")
    heads, keys = getattr(text, "num_attention_heads", None), getattr(text, "num_key_value_heads", None)
    if isinstance(heads, int) and isinstance(keys, int) and (keys < 1 or heads % keys):
        raise ValueError(f"num_attention_heads is {heads}, and no multiple of num_key_value_heads, {keys}")


def _counted(text: Any, model: Any | None) -> Dimensions:
    """From the configuration of the text model, and the model itself where it could be built."""
    layers, hidden = int(text.num_hidden_layers), int(text.hidden_size)
    heads = _mean(text, "num_attention_heads")  # a state-space model has none
    head = _mean(text, "head_dim") or hidden // max(heads, 1)
    keys = (_mean(text, "num_key_value_heads") or heads) * head
    inner = _mean(text, "moe_intermediate_size", "intermediate_size") or 4 * hidden
    chosen, experts = _experts(text)
    rms = hasattr(text, "rms_norm_eps")
    weights = {} if model is None else dict(model.named_parameters())
    gated = any("gate_" in name for name in weights) if weights else rms
    if weights:
        parameters = sum(p.numel() for p in weights.values())
        routed = sum(p.numel() for name, p in weights.items() if _EXPERTS in name)
        source = f"counted in {type(model).__name__}"
    else:
        matrices = 3 if gated else 2
        embeddings = int(text.vocab_size) * hidden * (1 if getattr(text, "tie_word_embeddings", False) else 2)
        routed = layers * matrices * hidden * inner * experts if experts > 1 else 0
        dense = 0 if routed else layers * matrices * hidden * inner
        parameters = embeddings + layers * 2 * hidden * (heads * head + keys + 1) + dense + routed + hidden
        source = "by formula from config.json, as the model cannot be built without its weights"
    normed = sum(p.shape == (hidden,) and ("norm" in n or "ln_" in n) and "bias" not in n for n, p in weights.items())
    tensors = (_GATED if gated else _PLAIN) + (_NEW_GELU if _activation(text) == "gelu_new" else 0)
    positions = getattr(text, "max_position_embeddings", None)
    return Dimensions(
        parameters=parameters,
        active=parameters - routed + routed * chosen // experts,
        layers=layers,
        hidden=hidden,
        vocabulary=int(text.vocab_size),
        heads=heads,
        attention=heads * head,
        keys=keys,
        norms=hidden * max(normed // layers, 2) * (_RMS if rms else _LAYER_NORM),
        middle=tensors * inner * chosen,
        positions=int(positions) if positions else None,
        linear=_linear(model),
        dense=sum(layer.weight.numel() for layer in _layers(model).values()),
        width=2 if str(getattr(text, "dtype", None)).endswith("16") else 4,
        scores=getattr(getattr(model, "config", None), "_attn_implementation", "sdpa") == "eager",
        drops=any(hasattr(text, name) for name in ("attention_dropout", "attn_pdrop")),
        source=source,
    )


def _linear(model: Any | None) -> dict[str, int]:
    found: Counter[str] = Counter()
    for name, layer in _layers(model).items():
        found[name.rpartition(".")[2]] += sum(layer.weight.shape)
    return dict(found)


def _layers(model: Any | None) -> dict[str, Any]:
    from trainers.lora import linear_layers

    return linear_layers(model) if model is not None else {}


def _experts(text: Any) -> tuple[int, int]:
    """How many experts a token passes through, of how many."""
    every = _mean(text, "num_local_experts", "num_experts", "n_routed_experts") or 1
    return min(_mean(text, "num_experts_per_tok") or 1, every), every


def _mean(text: Any, *names: str) -> int:
    """The mean over the layers, which may have their own, of the first of these settings that is there; 0 of none."""
    found: list[int] = []
    for layer in text.per_layer_config:
        value = next((v for name in names if (v := getattr(layer, name, None))), None)
        found += map(int, value if isinstance(value, list | tuple) else [value] if value else [])
    return round(statistics.fmean(found)) if found else 0


def _activation(text: Any) -> str:
    return str(getattr(text, "hidden_act", None) or getattr(text, "activation_function", ""))
