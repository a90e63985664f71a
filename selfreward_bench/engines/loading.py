"""Loads a model and its tokenizer from Hugging Face layout: safetensors only, and no code of its own unless asked."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

import torch
import transformers
from transformers.utils import logging as hf_logging

from selfreward_bench import heap
from selfreward_bench.config import EngineConfig
from selfreward_bench.engines import quantised
from selfreward_bench.engines.adapters import require_peft, whole
from selfreward_bench.engines.chat import fix_date
from selfreward_bench.engines.templates import Ends, give_template
from selfreward_bench.engines.watchdog import bound_rendering
from selfreward_bench.errors import ConfigError, EngineError, MissingDependencyError, first_line
from selfreward_bench.sources.hub import model_directory
from selfreward_bench.storage.adapters import Parts, parts
from selfreward_bench.storage.fingerprint import check_checkpoint

#: what ``from_pretrained`` has to be told so that it returns (model, report), the report for ``check_complete``
CHECKED: Final[dict[str, Any]] = {
    "use_safetensors": True,
    "output_loading_info": True,
    "ignore_mismatched_sizes": True,
}

SPREAD: Final = "all"  # engine.device: layers over all GPUs that this process sees

_LOOKED_AT: Final = 20  # missing weights that are looked for under another name


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to answer.

    Attributes:
        eos: ids that end an answer; may be empty.
        fill: id that stands in padding, always masked.
        context: tokens the model can attend to; None where its configuration does not say.
        chat_template: what renders messages instead of the tokenizer's own template; None where that one does.
        stop: texts that end an answer to messages, and are no part of it.
        spread: its layers are on several devices; ``device`` is where tokens go in and logits come out.
        shared_out: this process has a part of it, and others, who compute the same, have the rest.
    """

    name: str
    model: Any
    tokenizer: Any
    device: torch.device
    eos: frozenset[int]
    fill: int
    context: int | None
    chat_template: str | None = None
    stop: tuple[str, ...] = ()
    spread: bool = False
    shared_out: bool = False


def load_model(
    config: EngineConfig, source: str | Path, chat_template: str | None = None, sharding: Any = None
) -> LoadedModel:
    """Loads a checkpoint for inference.

    Args:
        source: a directory in Hugging Face layout (of an adapter, too), or a model of the hub (``model_directory``).
        chat_template: what renders messages instead of the tokenizer's own template (``templates``).
        sharding: how transformers shares the model out over the processes that load it (``DistributedConfig``).

    Raises:
        EngineError: it is not there, incomplete, corrupt, has only pickled weights, or needs code of its own.
        MissingDependencyError: it is an adapter, and peft is not installed; or is to be quantised without bitsandbytes.
        ConfigError: the template cannot be used with this tokenizer, or the kernel of attention is not there.
    """
    if fault := attention_fault(config.attn_implementation):
        raise ConfigError(fault)
    path = model_directory(source)
    if not path.is_dir():
        raise EngineError(f"Model {str(source)!r} is not a directory. Give one in Hugging Face layout, or a hub id.")
    check_checkpoint(path)
    of = parts(path)
    if of.adapter:
        require_peft(f"{source} is an adapter")
    device = choose_device(config.device)
    common: dict[str, Any] = {"trust_remote_code": config.trust_remote_code}
    common |= quantised.options(config.quantize, device) | placement(config.device)
    common |= {"distributed_config": sharding} if sharding else {}
    heap.set_aside()
    try:
        with quiet():
            tokenizer = open_tokenizer(of, config)
            described = quantised.read_portably(
                of.weights, trust_remote_code=config.trust_remote_code, beside=of.adapter is not None
            )
            if getattr(described, "quantization_config", None):
                common["config"] = described
            with quantised.silently(described):
                model, report = transformers.AutoModelForCausalLM.from_pretrained(
                    str(of.weights),
                    dtype=_dtype(config.dtype, device),
                    attn_implementation=config.attn_implementation,
                    **CHECKED,
                    **common,
                )
            eos = end_ids(path, model.config, tokenizer)
        model = (model if "device_map" in common or sharding else model.to(device)).eval()
    except MissingDependencyError:
        raise
    except Exception as e:  # OSError, ValueError, SafetensorError, RuntimeError...: whatever a broken checkpoint causes
        raise EngineError(f"Model {str(source)!r} cannot be loaded: {cause(e)}") from e
    check_complete(source, report)
    return_logits_alone(model.config)
    model = whole(model, of).eval()
    ends = give_template(tokenizer, chat_template) if chat_template is not None else Ends()
    return LoadedModel(
        name=str(source),
        model=model,
        tokenizer=tokenizer,
        device=device,
        eos=_within_vocabulary(eos | ends.ids, model.config),
        fill=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(eos, default=0),
        context=usable_positions(model.config),
        chat_template=chat_template,
        stop=ends.texts,
        spread=config.device == SPREAD,
        shared_out=sharding is not None,
    )


def placement(device: str) -> dict[str, Any]:
    """What ``from_pretrained`` has to be told so that layers come onto all GPUs, as many as each has room for."""
    return {"device_map": "auto"} if device == SPREAD else {}


def open_tokenizer(of: Parts, config: EngineConfig) -> Any:
    """A model's tokenizer, as all engines render with it."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        str(of.tokenizer), trust_remote_code=config.trust_remote_code
    )
    bound_rendering(tokenizer)
    fix_date(tokenizer, config.date)
    return tokenizer


def check_complete(name: str | Path, report: Mapping[str, Any]) -> None:
    """Every weight must have come from the files: transformers goes on with random numbers in place of the others.

    Args:
        name: the model's, for the message.
        report: what ``from_pretrained(..., **CHECKED)`` returns beside the model.

    Raises:
        EngineError: weights are missing, or of another shape than config.json says; names the first.
    """
    if fault := weights_fault(report):
        raise EngineError(f"Model {str(name)!r} {fault}")


def weights_fault(report: Mapping[str, Any]) -> str | None:
    """What is wrong with a model's weights, as the rest of a sentence; None where all came from the files."""
    if missing := sorted(report["missing_keys"]):
        text = f"lacks {len(missing)} of its weights, first {missing[0]}: incomplete."
        wanted, found = _renamed(missing, sorted(report["unexpected_keys"]))
        if found:
            return (
                f"{text} For {wanted} its files hold {found}: they are of a wrapped model (an adapter's, FSDP's, "
                "DataParallel's) or of another one. Unwrap or merge it, and save it with `save_pretrained`."
            )
        return f"{text} Download or copy it again, or save it whole."
    if wrong := sorted(report["mismatched_keys"]):
        first, there, expected = wrong[0]
        return (
            f"has {len(wrong)} weights of another shape than its config.json says, first {first}: {tuple(there)}, not "
            f"{tuple(expected)}. Take config.json and weights from the same model."
        )
    return None


def _renamed(missing: list[str], unexpected: list[str]) -> tuple[str, str]:
    """A missing weight and the one in the files whose name ends alike; empty where there is none."""
    for name in missing[:_LOOKED_AT]:
        found = max(unexpected, key=lambda other: _common_end(name, other), default="")
        if _common_end(name, found) > 1:
            return name, found
    return "", ""


def _common_end(first: str, second: str) -> int:
    """How many of the parts at the end are the same: 2 of ``model.norm.weight`` and ``module.norm.weight``."""
    pairs = zip(reversed(first.split(".")), reversed(second.split(".")), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def attention_fault(name: str | None) -> str | None:
    """Why a kernel of attention cannot be used here, in a sentence; None where it can.

    transformers would look for the missing ones on the hub and run what it finds.
    """
    from transformers.utils import import_utils

    needed = {
        "flash_attention_2": ("flash-attn", import_utils.is_flash_attn_2_available),
        "flash_attention_3": ("flash-attn-3", import_utils.is_flash_attn_3_available),
    }
    if name in needed:
        package, there = needed[name]
        if there():
            return None
        why = f"needs a CUDA GPU and the package {package}, which are not both here"
    elif name == "flex_attention" and not torch.cuda.is_available():
        why = "is compiled for a CUDA GPU, and none is here"
    else:
        return None
    return f"engine.attn_implementation={name} {why}. Take sdpa, or leave it out."


def choose_device(device: str) -> torch.device:
    """``auto`` takes CUDA, then MPS, then the CPU; ``all`` has the first of all GPUs take tokens and give logits.

    Raises:
        EngineError: the device is unknown or not there.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device("cuda" if device == SPREAD else device)
    except RuntimeError as e:
        raise EngineError(f"engine.device={device!r} is no device. Use auto, cpu, cuda, cuda:1, all or mps.") from e
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    beyond = chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count()
    if beyond or not there.get(chosen.type, False):
        raise EngineError(f"engine.device={device!r} is not available on this machine. Use auto or cpu.")
    return chosen


def release_memory() -> None:
    """Gives back what a dropped model held."""
    heap.take_back()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()


def _dtype(name: str, device: torch.device) -> torch.dtype | str:
    if name != "auto":
        dtype: torch.dtype = getattr(torch, name)
        return dtype
    return torch.float32 if device.type == "cpu" else "auto"  # on an accelerator: as the checkpoint was saved


def written_end_ids(source: Path) -> list[int]:
    """End tokens that a model's files name: those of the generation config, else of the model config; may be none.

    The files are read, not the loaded configuration: where they say nothing, its class puts in a number of its own.
    """
    found, of = None, parts(source)
    with contextlib.suppress(OSError):  # a generation config is optional
        found = transformers.GenerationConfig.from_pretrained(str(of.generation)).eos_token_id
    if found is None:
        written = transformers.PreTrainedConfig.get_config_dict(str(of.weights))[0]
        found = written.get("eos_token_id", written.get("text_config", {}).get("eos_token_id"))
    return [i for i in ([found] if isinstance(found, int) else found or ()) if i >= 0]  # -1 stands for none


def end_ids(source: Path, config: Any, tokenizer: Any) -> frozenset[int]:
    """End tokens: those that the files name, and the tokenizer's always."""
    ids = set(written_end_ids(source))
    if tokenizer.eos_token_id is not None:
        ids.add(tokenizer.eos_token_id)
    return _within_vocabulary(ids, config)


def _within_vocabulary(ids: Iterable[int], config: Any) -> frozenset[int]:
    return frozenset(i for i in ids if 0 <= i < config.get_text_config().vocab_size)


def usable_positions(config: Any) -> int | None:
    """How many tokens a model can attend to; None where its configuration does not say.

    With LongRoPE the factors of ALL positions change once a text passes the length of the pretraining: what was cached
    before would be wrong after, and one long text would change the short ones of its batch. So it ends there.
    """
    text = config.get_text_config()
    rope = getattr(text, "rope_parameters", None) or {}
    lengths = [getattr(text, "max_position_embeddings", None)]
    if rope.get("rope_type") == "longrope":
        lengths.append(rope.get("original_max_position_embeddings"))
    return min((int(length) for length in lengths if length and length > 0), default=None)  # -1 stands for none


def return_logits_alone(config: Any) -> None:
    """A model may be asked by its files for more than logits, or for tuples of them: what balances a mixture of experts
    in training, attentions, hidden states.

    None of it is used here, and computing it fails with a cache, or with another kernel of attention than ``eager``.
    """
    for part in (config, config.get_text_config()):
        part.return_dict = True
        for more in ("output_router_logits", "output_attentions", "output_hidden_states"):
            if getattr(part, more, False):
                setattr(part, more, False)


def cause(error: Exception) -> str:
    """A library's error in its first line, with the way out where the model needs code of its own."""
    hint = " It brings its own code: read that code, then set engine.trust_remote_code=true."
    return f"{first_line(error).rstrip('. ')}.{hint if 'trust_remote_code' in str(error) else ''}"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' own progress bars and reports: what is wrong becomes an error instead.

    A whole configuration is among its reports, and one of errors, where a value of it is refused.
    """
    shown, verbosity = hf_logging.is_progress_bar_enabled(), hf_logging.get_verbosity()
    hf_logging.disable_progress_bar()
    hf_logging.set_verbosity(hf_logging.CRITICAL)
    try:
        yield
    finally:
        hf_logging.set_verbosity(verbosity)
        if shown:
            hf_logging.enable_progress_bar()
