"""What the machine and the model's size allow: positions against the settings, memory, number types, cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import psutil
import torch

from selfreward_bench.bases.findings import Finding, Purpose, note, refusal, warning
from selfreward_bench.bases.model import ModelView
from selfreward_bench.bases.optimizers import largest_optimizer, optimizer_findings
from selfreward_bench.config import RunConfig
from selfreward_bench.engines.loading import SPREAD, choose_device, usable_positions
from selfreward_bench.engines.quantised import BYTES
from selfreward_bench.errors import EngineError
from selfreward_bench.hardware import gib
from selfreward_bench.judges.prompts import load_judge_prompt
from selfreward_bench.storage.fingerprint import weights_dtypes
from selfreward_bench.types import Message

__all__ = ["cache_findings", "context_findings", "memory_findings", "number_findings"]

_TRAINED_BYTES: Final = 8  # of a parameter: float32 weight and gradient; its moments are the optimizer's
_FROZEN_BYTES: Final = 4  # of a parameter under an adapter, whose own are few
_TILE: Final = 4096, 32768  # tokens and words of the logits that are in memory at once in training (trainers.memory)
_CPU_TILE: Final = 4096, 4096
_COPIES: Final = 8.5  # of them that a CPU's code holds
_BYTES: Final = {"float32": 4, "bfloat16": 2, "float16": 2, "auto": 2}


def cache_findings(view: ModelView) -> Iterator[Finding]:
    """How the engine will generate."""
    if not view.cached:
        yield warning(
            "cache",
            "The model takes no cache of keys and values; each new token reads the text anew, which is right and slow.",
        )


def context_findings(view: ModelView, tokenizer: Any, purpose: Purpose) -> Iterator[Finding]:
    """Settings that ask for more tokens than the model has positions."""
    positions = usable_positions(view.config)
    every = getattr(view.config, "max_position_embeddings", None)
    if positions is None:
        return
    if every and positions < every:
        yield note(
            "context",
            f"Of {every:,} positions the first {positions:,} are used; beyond, LongRoPE changes what was read before.",
        )
    if purpose.run is None:
        return
    for key, tokens in _asked(purpose.run).items():
        if tokens >= positions:
            yield refusal(
                "context",
                f"{key}={tokens} leaves no room for a prompt: the model has {positions:,} positions. Lower {key}.",
            )
    yield from _judging(tokenizer, purpose.run, positions)
    for key, tokens in _evaluated(purpose.run).items():
        if tokens >= positions:
            yield warning(
                "context",
                f"{key}={tokens} leaves no room for a prompt in {positions:,} positions. Evaluations that use it fail.",
            )
    sections = {"sft.max_length": purpose.run.sft.max_length, "dpo.max_length": purpose.run.dpo.max_length}
    if beyond := [f"{key}={longest}" for key, longest in sections.items() if longest > positions]:
        yield note(
            "context", f"Of {' and '.join(beyond)}, {positions:,} positions are there; longer records are left out."
        )


def _judging(tokenizer: Any, config: RunConfig, positions: int) -> Iterator[Finding]:
    """How long an answer may be that the judge can read with its prompt."""
    if not config.judged:
        return
    asked = load_judge_prompt(config.judge.prompt).render((Message(role="user", content=""),), response="")
    around = len(tokenizer(asked[0].content, verbose=False)["input_ids"])
    written = 1 if config.judge.mode == "expected" else config.judge.sampling.max_new_tokens
    room, longest = positions - around - written, config.candidates.sampling.max_new_tokens
    asks = f"The judge prompt {config.judge.prompt!r} takes {around:,} tokens"
    writes = "" if written == 1 else f" and judge.sampling.max_new_tokens={written:,}"
    if room < 1:
        yield refusal(
            "context",
            f"{asks}{writes} of {positions:,} positions, which leaves no room for an answer. Take a shorter "
            f"judge.prompt{', or lower judge.sampling.max_new_tokens' if writes else ''}.",
        )
    elif room < longest:
        yield warning(
            "context",
            f"{asks}{writes} of {positions:,} positions: a question with an answer of more than {room:,} tokens cannot "
            f"be judged (candidates.sampling.max_new_tokens={longest:,}) and is in no pair.",
        )


def _asked(config: RunConfig) -> dict[str, int]:
    """Setting -> tokens that the loop may generate after a prompt."""
    found = {
        "prompts.sampling.max_new_tokens": config.prompts.sampling.max_new_tokens,
        "candidates.sampling.max_new_tokens": config.candidates.sampling.max_new_tokens,
    }
    if config.judge.mode != "expected" and config.judged:
        found["judge.sampling.max_new_tokens"] = config.judge.sampling.max_new_tokens
    return found


def _evaluated(config: RunConfig) -> dict[str, int]:
    return {
        "eval.sampling.max_new_tokens": config.eval.sampling.max_new_tokens,
        "eval.answering.max_new_tokens": config.eval.answering.max_new_tokens,
        "eval.mt_bench_max_new_tokens": config.eval.mt_bench_max_new_tokens,
    }


def number_findings(directory: Path, purpose: Purpose) -> Iterator[Finding]:
    """Which number types the weights are in, and what becomes of them."""
    main, _ = weights_dtypes(directory)
    if purpose.trainable_adapter and main == "BF16":
        yield note("numbers", "The weights are stored as BF16 and stay so; adapters are trained in float32.")
    elif purpose.run is not None and main in ("BF16", "F16"):
        kept = main if purpose.run.sft.save_dtype == "base" else purpose.run.sft.save_dtype
        yield note("numbers", f"The weights are stored as {main}; they are trained in float32 and saved as {kept}.")
    if purpose.engine.dtype == "float16" and main == "BF16":
        yield warning(
            "numbers", "engine.dtype=float16 for weights made in bfloat16 can overflow. Set bfloat16 or auto."
        )


def memory_findings(view: ModelView, purpose: Purpose) -> Iterator[Finding]:
    """What the model takes at least, against what there is."""
    if purpose.engine.kind == "vllm" and purpose.run is None:
        return  # it is in the memory of a server, which says itself what is too large
    try:
        device = choose_device(purpose.engine.device)
    except EngineError as error:
        yield refusal("engine", str(error))
        return
    if purpose.run is not None:
        yield from optimizer_findings(purpose.run, device.type)
    on_all = purpose.engine.device == SPREAD or purpose.engine.sharding != "none"
    total, free = _memory(device, spread=on_all and purpose.run is None)
    needed, what = _needed(view, purpose, device)
    text = f"{what} takes {gib(needed)} at least (of {view.parameters:,} parameters)"
    where = "memory" if device.type == "cpu" else f"memory of {device.type}"
    if needed > total:
        yield refusal(
            "memory", f"{text}; {gib(total)} of {where} is all there is. Take a smaller model or a larger machine."
        )
    elif needed > free:
        yield warning("memory", f"{text}; {gib(free)} of {where} are free now.")
    if run := purpose.run:
        for key, rows, length in (
            ("sft", run.sft.micro_batch_size or run.sft.batch_size, run.sft.max_length),
            ("dpo", 2 * (run.dpo.micro_batch_size or run.dpo.batch_size), run.dpo.max_length),
        ):
            length = min(length, usable_positions(view.config) or length)
            logits = _logits(rows * length, view.embeddings, device)
            if needed + logits > total:
                yield warning(
                    "memory",
                    f"The logits of {rows} texts of {length:,} tokens take {gib(logits)} on top. "
                    f"If your records are that long, lower {key}.micro_batch_size or {key}.max_length.",
                )


def _needed(view: ModelView, purpose: Purpose, device: Any) -> tuple[float, str]:
    run = purpose.run
    if view.packed is not None:
        return view.packed, "Answering" if run is None else "Training an adapter"
    if run is not None and run.lora is not None:
        least = BYTES[run.lora.quantize] if run.lora.quantize else _FROZEN_BYTES
        return view.parameters * least, "Training an adapter"
    if run is None and purpose.engine.quantize:
        return view.parameters * BYTES[purpose.engine.quantize], "Answering"
    if run is None:
        width = 4 if device.type == "cpu" and purpose.engine.dtype == "auto" else _BYTES[purpose.engine.dtype]
        return view.parameters * width, "Answering"
    return view.parameters * (_TRAINED_BYTES + largest_optimizer(run).moments), "Training"


def _logits(tokens: int, embeddings: int, device: Any) -> float:
    cpu = device.type == "cpu"
    most, words = _CPU_TILE if cpu else _TILE
    return 4 * (_COPIES if cpu else 1) * min(tokens, most) * min(embeddings, words)


def _memory(device: Any, spread: bool) -> tuple[float, float]:
    """Bytes there are, and bytes that are free; of all GPUs together where the layers are spread over them."""
    if spread and device.type == "cuda":
        each = [torch.cuda.mem_get_info(at) for at in range(torch.cuda.device_count())]
        return float(sum(total for _, total in each)), float(sum(free for free, _ in each))
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return float(total), float(free)
    memory = psutil.virtual_memory()
    return float(memory.total + psutil.swap_memory().total), float(memory.available)
