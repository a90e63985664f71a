"""The model a directory describes, built without its weights, and whether the files hold exactly these weights.

transformers itself matches names and shapes, with its own conversions and ties; on the device ``meta`` that reads the
files' headers alone and takes as little as a second of a large model.
"""

from __future__ import annotations

import copy
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import transformers

from selfreward_bench.bases.files import architecture_of, quantisation_of, read_config, same_bytes
from selfreward_bench.bases.findings import Finding, Purpose, note, refusal, warning
from selfreward_bench.engines.cache import takes_cache
from selfreward_bench.engines.loading import CHECKED, attention_fault, quiet, weights_fault
from selfreward_bench.engines.quantised import PACKED
from selfreward_bench.errors import first_line
from selfreward_bench.storage.fingerprint import Tensor, tensors

__all__ = ["ModelView", "model_findings", "read_model_config"]

_LAYER: Final = re.compile(r"\.(\d+)\.")
_EXPERT: Final = re.compile(r"(.*\.experts\.)(\d+)(\..*)")
#: of the tensors of a layer of few bits, those that are there in place of its weight, and those beside it
_PART: Final = re.compile(r"(.*)\.(qweight|qzeros|scales|g_idx|SCB|weight_format|weight\..+)")
_IN_PLACE, _BESIDE = ("qweight",), ("SCB", "weight.absmax")
_SHOWN: Final = 3
_MOST_PARTS: Final = 10_000  # layers, or experts, of a model
_PLAIN: Final = frozenset({"F64", "F32", "F16", "BF16"})


@dataclass(frozen=True)
class ModelView:
    """A model as its files describe it.

    Attributes:
        config: of the text model, where it has others too.
        embeddings: tokens that the model has an embedding of.
        parameters: numbers to be learnt, those used twice counted once.
        cached: whether it takes a cache of keys and values.
        packed: bytes of its weights, where they stay in few bits as they are stored.
    """

    config: Any
    embeddings: int
    parameters: int
    cached: bool
    packed: int | None = None


def read_model_config(directory: Path, purpose: Purpose) -> tuple[Any | None, list[Finding]]:
    """transformers' configuration of a model, and why there is none."""
    raw = read_config(directory)
    name = architecture_of(raw)
    if key := _uncountable(raw):
        return None, [
            refusal(
                "config",
                f"config.json is damaged: {key} is negative or above {_MOST_PARTS:,}. Copy it from the model again.",
            )
        ]
    code = raw.get("auto_map")
    kind = str(raw.get("model_type") or "")
    known = kind in transformers.CONFIG_MAPPING
    if code and not known and not purpose.engine.trust_remote_code:
        return None, [
            refusal(
                "config",
                f"{name} runs only with code of its own ({_code_files(directory)}). Read that code, then set "
                "engine.trust_remote_code=true.",
            )
        ]
    if not known and not code:
        return None, [
            refusal(
                "config",
                f"config.json has model_type {kind[:80]!r}, which transformers {transformers.__version__} does not "
                "know. Check the file; a model that is newer needs a newer transformers."
                if kind
                else "config.json names no model_type. Copy it from the model again.",
            )
        ]
    try:
        with quiet():
            config = transformers.AutoConfig.from_pretrained(
                str(directory), trust_remote_code=purpose.engine.trust_remote_code
            )
    except Exception as error:  # whatever a wrong value or the model's own code causes
        return None, [refusal("config", f"config.json does not describe a model: {first_line(error)}")]
    if not isinstance(getattr(config.get_text_config(), "vocab_size", None), int):
        return None, [refusal("config", "config.json does not describe a text model: it has no vocab_size.")]
    if known and not _is_causal(config):
        way_out = "Take the text model that it was built on." if _has_senses(config) else "Name such a model."
        what = "reads more than text, and is" if _has_senses(config) else "is"
        return None, [
            refusal(
                "config",
                f"{name} {what} no causal language model (one that continues text), which srbench needs. {way_out}",
            )
        ]
    return config, list(_config_findings(config, name, code is not None and known, purpose))


def model_findings(directory: Path, config: Any, purpose: Purpose) -> tuple[ModelView | None, list[Finding]]:
    """The model, and what is to be said of its weights."""
    if fault := attention_fault(purpose.engine.attn_implementation):
        return None, [refusal("engine", fault)]
    if fault := _kernel_fault(read_config(directory), purpose) or _rope_fault(config):
        return None, [refusal("config", fault)]
    packed = quantisation_of(read_config(directory)) in (*PACKED, "bitsandbytes")
    try:
        with quiet():
            if packed:  # these have no layers on that device
                config = copy.deepcopy(config)
                del config.quantization_config
            model, report = transformers.AutoModelForCausalLM.from_pretrained(
                str(directory),
                config=config,
                device_map="meta",
                trust_remote_code=purpose.engine.trust_remote_code,
                attn_implementation=purpose.engine.attn_implementation,
                **CHECKED,
            )
    except ImportError as error:  # a library that quantised weights need
        return None, [refusal("weights", f"Loading its weights needs what is not installed: {first_line(error)}")]
    except Exception as error:  # as above
        text = _torn_experts(directory) or f"{architecture_of(read_config(directory))} cannot be built from its files: "
        return None, [refusal("weights", text if text.endswith(".") else text + first_line(error))]
    report = _unpacked(report) if packed else report
    embeddings = model.get_input_embeddings()
    both = _both_embeddings(directory, config, model)
    once = both is not None and same_bytes(*both)
    view = ModelView(
        config=config.get_text_config(),
        embeddings=int(embeddings.weight.shape[0]) if embeddings is not None else 0,
        parameters=sum(p.numel() for p in model.parameters()) - (embeddings.weight.numel() if once else 0),
        cached=takes_cache(model),
        packed=sum(tensor.size for tensor in tensors(directory)) if packed else None,
    )
    found = list(_weight_findings(report, config, {name for name, _ in model.named_parameters()}))
    if both and not once:
        found.append(_untied(purpose))
    return view, [*found, *_unscaled_findings(directory)]


def _unpacked(report: Mapping[str, Any]) -> dict[str, Any]:
    """transformers' report on packed weights, where several tensors stand for one, or say how one of few bits is read.

    >>> stored = ["q.qweight", "q.scales", "k.weight.absmax", "k.weight.quant_map", "odd"]
    >>> missing, odd = ["q.weight", "v.weight"], [("k.weight",)]
    >>> _unpacked({"missing_keys": missing, "unexpected_keys": stored, "mismatched_keys": odd})
    {'missing_keys': ['v.weight'], 'unexpected_keys': ['odd'], 'mismatched_keys': []}
    """
    parts = {name: match for name in report["unexpected_keys"] if (match := _PART.fullmatch(name))}
    packed, rounded = ({match[1] for match in parts.values() if match[2] in ends} for ends in (_IN_PLACE, _BESIDE))
    told = [name for name, match in parts.items() if match[1] in packed | rounded]
    return {
        **report,
        "missing_keys": [name for name in report["missing_keys"] if name.removesuffix(".weight") not in packed],
        "unexpected_keys": [name for name in report["unexpected_keys"] if name not in told],
        "mismatched_keys": [one for one in report["mismatched_keys"] if one[0].removesuffix(".weight") not in rounded],
    }


def _both_embeddings(directory: Path, config: Any, model: Any) -> tuple[Tensor, Tensor] | None:
    """The embeddings of input and output, where config.json says that they are one and the files hold both."""
    ways = (model.get_input_embeddings(), model.get_output_embeddings())
    tied = any(getattr(part, "tie_word_embeddings", False) for part in (config, config.get_text_config()))
    if not tied or None in ways or ways[0].weight is ways[1].weight:
        return None
    names = {id(weight): name for name, weight in model.named_parameters()}
    stored = {tensor.name: tensor for tensor in tensors(directory)}
    first, last = (stored.get(names.get(id(way.weight), "")) for way in ways)
    return (first, last) if first and last else None


def _untied(purpose: Purpose) -> Finding:
    text = (
        "config.json says that the embeddings of input and output are one (tie_word_embeddings), and its files hold "
        "two that differ. transformers takes both; vLLM, among others, takes the input's for both. "
    )
    if purpose.engine.kind == "vllm":
        return refusal("weights", text + "Set tie_word_embeddings to false in config.json.")
    return warning("weights", text + "If both are meant, set tie_word_embeddings to false in config.json.")


def _kernel_fault(raw: Mapping[str, Any], purpose: Purpose) -> str | None:
    """Why the kernel of attention that config.json asks for cannot be used; the second key overrules every setting."""
    ways = {"attn_implementation": "Set engine.attn_implementation=sdpa.", "_attn_implementation": "Take that out."}
    for key, way_out in ways.items():
        name = raw.get(key)
        overruled = purpose.engine.attn_implementation is not None and not key.startswith("_")
        if isinstance(name, str) and attention_fault(name) and not overruled:
            return f"config.json asks for {name} ({key}), which needs a GPU and a package that are not here. {way_out}"
    return None


def _rope_fault(config: Any) -> str | None:
    """The kind of rotary positions that transformers does not know."""
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    found = getattr(config.get_text_config(), "rope_parameters", None)
    each = [found, *found.values()] if isinstance(found, dict) else []
    for kind in (part.get("rope_type") for part in each if isinstance(part, dict)):
        if isinstance(kind, str) and kind not in (*ROPE_INIT_FUNCTIONS, "default", "mrope"):
            return (
                f"config.json has rotary positions (rope_parameters, or rope_scaling) of the type {kind[:40]!r}, which "
                f"transformers {transformers.__version__} does not know. Check the file; a model that is newer needs a "
                "newer transformers."
            )
    return None


def _has_senses(config: Any) -> bool:
    return any(getattr(config, f"{sense}_config", None) is not None for sense in ("vision", "audio"))


def _config_findings(config: Any, name: str, code_is_left: bool, purpose: Purpose) -> Iterator[Finding]:
    text = config.get_text_config()
    if getattr(config, "is_decoder", True) is False and type(config) in transformers.MODEL_FOR_MASKED_LM_MAPPING:
        yield refusal(
            "config",
            f"{name} with is_decoder false is an encoder, which sees the text it is asked to write. srbench needs a "
            "causal language model (one that continues text).",
        )
    if code_is_left and not purpose.engine.trust_remote_code:
        yield note("config", f"The code beside the model is not run; transformers' own {name} is.")
    pad, size = getattr(text, "pad_token_id", None), getattr(text, "vocab_size", None)
    if isinstance(pad, int) and isinstance(size, int) and pad >= size:
        yield refusal(
            "config",
            f"config.json has pad_token_id {pad}, but a vocabulary of {size} tokens (0 to {size - 1}). Set it to null, "
            "or to an id within, such as the end token's.",
        )


def _uncountable(raw: Mapping[str, Any]) -> str | None:
    """The setting that asks for more layers or experts than any model has, or for less than none; each is built."""
    for part in (raw, *(value for value in raw.values() if isinstance(value, dict))):
        for key, value in part.items():
            if isinstance(value, int) and (
                (value > _MOST_PARTS and key.endswith(("layer", "layers", "experts")))
                or (value < 0 and key in ("num_hidden_layers", "n_layer", "num_layers"))
            ):
                return str(key)[:60]
    return None


def _is_causal(config: Any) -> bool:
    if getattr(config, "is_encoder_decoder", False):
        return False
    return type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING


def _weight_findings(report: Any, config: Any, expected: set[str]) -> Iterator[Finding]:
    if fault := weights_fault(report):
        yield refusal("weights", f"It {fault}")
        return
    unexpected = sorted(report["unexpected_keys"])
    further = _further_layers(unexpected, expected)
    if further and not getattr(config.get_text_config(), "num_nextn_predict_layers", None):
        yield refusal(
            "weights",
            f"Its files hold {len(further)} weights of layers that config.json does not count, first {further[0]}: the "
            "model would run without them. Mend the number of layers in config.json.",
        )
    elif unexpected:
        yield warning(
            "weights",
            f"Its files hold {len(unexpected)} weights that are no part of the model and are left out, in what is "
            f"trained too: {', '.join(unexpected[:_SHOWN])}{', ...' if len(unexpected) > _SHOWN else ''}",
        )


def _unscaled_findings(directory: Path) -> Iterator[Finding]:
    """Weights in few bits that nothing tells how to scale: transformers would take them for the numbers they hold."""
    if quantisation_of(read_config(directory)):
        return
    odd = sorted((t.name, t.dtype) for t in tensors(directory) if t.name.endswith("weight") and t.dtype not in _PLAIN)
    if odd:
        name, dtype = odd[0]
        yield refusal(
            "weights",
            f"{len(odd)} of its weights are stored as {dtype}, first {name}: quantised, and config.json does not say "
            "how (quantization_config). Put back the config.json that is theirs, or take the same model with weights "
            "in bfloat16, float16 or float32.",
        )


def _further_layers(unexpected: Iterable[str], expected: set[str]) -> list[str]:
    """Weights that are named like the model's, but for a layer's number."""
    known = {_LAYER.sub(".#.", name) for name in expected}
    return [name for name in unexpected if _LAYER.search(name) and _LAYER.sub(".#.", name) in known]


def _torn_experts(directory: Path) -> str:
    """What is missing where a layer has fewer experts than the others; empty where that is not it."""
    groups: dict[tuple[str, str], set[int]] = defaultdict(set)
    for tensor in tensors(directory):
        if found := _EXPERT.fullmatch(tensor.name):
            groups[found[1], found[3]].add(int(found[2]))
    every = set().union(*groups.values())
    missing = sorted(f"{a}{n}{b}" for (a, b), numbers in groups.items() for n in every - numbers)
    return f"It lacks {len(missing)} of its weights, first {missing[0]}: incomplete." if missing else ""


def _code_files(directory: Path) -> str:
    names = sorted(p.name for p in directory.glob("*.py"))
    return ", ".join(names[:_SHOWN]) or "none of it is beside the weights"
