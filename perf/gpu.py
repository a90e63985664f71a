"""srbench on one GPU, against what the card can do: generation, judging, SFT, DPO. About six minutes.

    python perf/gpu.py [--size 1b] [--parts generate train quantize reference] [--json FILE]

A Llama of that size with random weights and a vocabulary of 128,256 words, in bfloat16; on a CPU the tiny one, to see
that the script works. Answers end by themselves, after 64 tokens in the mean: one word in 64 is an end token.

ceilings   bytes/s of a copy, FLOP/s of a matrix product
generate   tokens/s and judgments/s of the engine, and of ``model.generate`` in padded batches
train      SFT and DPO: seconds a step, tokens/s, model FLOPs utilisation (6 N a token and attention, against the
           product above), most memory held against the estimate of ``srbench plan``
quantize   generation and LoRA training over weights in 4 and 8 bits (bitsandbytes)
reference  the first DPO loss in bfloat16, with the policy's own reference and with another: how far from ln 2?
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")

import torch
from engine import timed
from models import SIZES, random_model, word_tokenizer

GIB = 2**30
PROMPT, ANSWER = 128, 384  # words, and tokens
PROMPTS, SAMPLES, MOST = 256, 4, 256
RUBRIC, JUDGED = 300, 256


def device() -> torch.device:
    return torch.accelerator.current_accelerator() or torch.device("cpu")


def wait() -> None:
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def words(count: int, rng: random.Random) -> str:
    return " ".join(f"w{rng.randrange(3, 4_000)}" for _ in range(count))


def per_second(work: Any, amount: float, repeats: int = 10) -> float:
    """Amount of one call over its mean seconds, after three calls to warm up."""
    for _ in range(3):
        work()
    wait()
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    wait()
    return amount * repeats / (time.perf_counter() - start)


def ceilings() -> dict[str, float]:
    """What the device reaches on the two operations that bound everything else."""
    gpu = torch.accelerator.is_available()
    numbers, side = (2**31, 8192) if gpu else (2**22, 512)
    source = torch.ones(numbers, dtype=torch.bfloat16, device=device())
    target = torch.empty_like(source)
    copied = per_second(lambda: target.copy_(source), 2 * source.nbytes)
    a, b = (torch.randn(side, side, device=device()).to(torch.bfloat16) for _ in range(2))
    return {"copy, bytes/s": copied, "product, FLOP/s": per_second(lambda: a @ b, 2 * side**3)}


# ---- generation


def engine_requests(prompts: Sequence[str], samples: int) -> list[Any]:
    from selfreward_bench.engines.base import GenerationRequest
    from selfreward_bench.seeding import derive_seed

    return [
        GenerationRequest(
            id=f"p{i:04}",
            prompt=text,
            seeds=tuple(derive_seed(0, i, j) for j in range(samples)),
            n=samples,
            temperature=0.7,
            top_p=0.9,
            max_new_tokens=MOST,
        )
        for i, text in enumerate(prompts)
    ]


def hf_generate(model: Any, tokenizer: Any, prompts: Sequence[str], batch: int) -> int:
    """Padded batches sorted by length, the end tokens on; returns the tokens kept."""
    kept = 0
    for start in range(0, len(prompts), batch):
        ids = tokenizer(list(prompts[start : start + batch]), return_tensors="pt", padding=True, padding_side="left")
        made = model.generate(
            **ids.to(model.device),
            do_sample=True,
            temperature=0.7,
            top_p=0.9,
            top_k=0,
            max_new_tokens=MOST,
            num_return_sequences=SAMPLES,
            pad_token_id=tokenizer.pad_token_id,
        )
        kept += int((made[:, ids["input_ids"].shape[1] :] != tokenizer.pad_token_id).sum())
    return kept


def generation(
    base: Path, budgets: Sequence[int], batches: Sequence[int], quantize: str | None = None
) -> Iterator[tuple[str, float]]:
    """The engine at several batch budgets, after ``model.generate`` in batches of so many prompts."""
    from selfreward_bench.config import EngineConfig
    from selfreward_bench.engines.base import ChoiceRequest
    from selfreward_bench.engines.loading import load_model
    from selfreward_bench.engines.transformers import TransformersEngine

    config = EngineConfig.model_validate({"device": device().type, "dtype": "bfloat16", "quantize": quantize})
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()
    loaded = load_model(config, base)
    if torch.accelerator.is_available():
        yield "weights, GiB", torch.accelerator.memory_allocated() / GIB
    rng = random.Random(0)
    prompts = sorted((words(rng.randint(16, 128), rng) for _ in range(PROMPTS)), key=len)
    requests = engine_requests(prompts, SAMPLES)
    rubric = words(RUBRIC, rng)
    judged = [f"{rubric} {words(rng.randint(64, 256), rng)}" for _ in range(JUDGED)]
    choices = [ChoiceRequest(id=f"j{i:04}", prompt=t, choices=(" w1", " w2", " w3")) for i, t in enumerate(judged)]
    with torch.inference_mode():
        if batches:
            hf_generate(loaded.model, loaded.tokenizer, prompts[:2], 2)
        for size in batches:
            asked = prompts if size > 1 else prompts[:2]
            seconds, tokens = timed(lambda n=size, a=asked: hf_generate(loaded.model, loaded.tokenizer, a, n), clock)
            yield f"generate: padded, {size} prompts x {SAMPLES}, tokens/s", tokens / seconds
    for budget in budgets:
        engine = TransformersEngine(loaded, tokens_per_batch=budget)
        list(engine.generate(requests[:8]))
        seconds, tokens = timed(lambda e=engine: sum(c.n_tokens for b in e.generate(requests) for c in b), clock)
        yield f"engine: {budget} tokens a batch, tokens/s", tokens / seconds
        seconds, count = timed(lambda e=engine: sum(len(b) for b in e.choice_logprobs(choices)), clock)
        yield f"engine: {budget} tokens a batch, expected grades/s", count / seconds
        read = sum(len(t.split()) for t in judged)
        yield f"engine: {budget} tokens a batch, judged tokens/s", read / seconds


def clock() -> float:
    wait()
    return time.perf_counter()


# ---- training


def records(count: int) -> tuple[list[Any], list[Any]]:
    """Examples and pairs of exactly so many words."""
    from selfreward_bench.types import Example, Message, PreferencePair

    rng = random.Random(1)

    def said(role: str, n: int) -> tuple[Any]:
        return (Message.model_validate({"role": role, "content": words(n, rng)}),)

    asked = [said("user", PROMPT) for _ in range(count)]
    sides = [[said("assistant", ANSWER) for _ in asked] for _ in range(2)]
    scores: dict[str, Any] = {"chosen_score": 4.0, "rejected_score": 1.0, "chosen_index": 0, "rejected_index": 1}
    taught = [Example(id=f"e{i}", prompt=p, completion=a) for i, (p, a) in enumerate(zip(asked, sides[0], strict=True))]
    pairs = [
        PreferencePair(prompt_id=f"p{i}", prompt=p, chosen=a, rejected=b, **scores)
        for i, (p, a, b) in enumerate(zip(asked, *sides, strict=True))
    ]
    return taught, pairs


def training(
    base: Path, folder: Path, micro: int, steps: int, product: float, lora: Any = None
) -> Iterator[tuple[str, float]]:
    """SFT, and DPO from what came of it; the first step warms up and is not timed.

    Args:
        micro: sequences of a forward pass.
        lora: a ``LoraConfig``; all weights are trained without.
    """
    from selfreward_bench.config import DpoConfig, SftConfig
    from trainers.dimensions import read_dimensions, with_adapters
    from trainers.dpo import train_dpo
    from trainers.memory import Pass, reference, training_flops
    from trainers.memory import training as needed
    from trainers.sft import train_sft

    sizes = read_dimensions(base)
    if lora:
        sizes = with_adapters(sizes, lora)
    kinds: list[tuple[str, Any, Any, int]] = [("SFT", train_sft, SftConfig, 1), ("DPO", train_dpo, DpoConfig, 2)]
    for kind, train, config, sides in kinds:
        name = f"{kind}{', ' + (lora.quantize or 'LoRA') if lora else ''}"
        rows = 2 * micro // sides
        settings = {"batch_size": rows, "micro_batch_size": rows // 2, "bf16": True, "epochs": 1.0}
        ends: list[tuple[float, int]] = []
        if torch.accelerator.is_available():
            torch.accelerator.empty_cache()
            torch.accelerator.reset_peak_memory_stats()
        started = clock()
        result = train(
            base,
            records(steps * rows)[sides - 1],
            config.model_validate(settings | {"save_every": 10_000}),
            folder / name,
            seed=0,
            lora=lora,
            progress=lambda p, e=ends: e.append((clock(), int(p.metrics["tokens"]))),
        )
        yield f"{name}: seconds before the end of the first step", ends[0][0] - started
        yield f"{name}: seconds after the last", clock() - ends[-1][0]
        base = result.checkpoint
        step = statistics.median(after - before for (before, _), (after, _) in itertools.pairwise(ends))
        tokens = ends[-1][1]
        length = tokens / (rows * sides)
        attention = 6 * sizes.layers * sizes.attention * length * tokens  # causal: half of 12 L h T a token
        flops = training_flops(sizes.active, tokens, checkpointing=False, frozen=lora is not None) + attention
        yield f"{name}: tokens a step", tokens
        yield f"{name}: seconds a step", step
        yield f"{name}: tokens/s", tokens / step
        yield f"{name}: FLOPs utilisation, % of the product", 100 * flops / step / product
        if sides == 2:
            yield f"{name}: first loss, from ln 2", abs(result.first_dpo_loss - math.log(2))
        if torch.accelerator.is_available():
            passed = Pass(rows // 2 * sides, math.ceil(length), bf16=True)
            estimate = needed(sizes, passed).total
            if sides == 2:
                estimate = max(estimate, reference(sizes, passed).total)
            yield f"{name}: most memory, GiB", torch.accelerator.max_memory_allocated() / GIB
            yield f"{name}: estimate, GiB", estimate / GIB


def references(base: Path, trained: Path, folder: Path) -> Iterator[tuple[str, float]]:
    """|first DPO loss - ln 2|, with the policy's own reference and with that of the model it was trained from."""
    from selfreward_bench.config import DpoConfig
    from trainers.dpo import train_dpo

    _, pairs = records(16)
    settings = {"batch_size": 16, "micro_batch_size": 4, "bf16": True, "epochs": 1.0, "save_every": 10_000}

    def first(policy: Path, out: Path) -> float:
        loss = train_dpo(policy, pairs, DpoConfig.model_validate(settings), out, seed=0).first_dpo_loss
        return abs((loss or 0.0) - math.log(2))

    shutil.copy(trained / "chat_template.jinja", base)  # SFT gave it one
    yield "first loss, own reference, from ln 2", first(base, folder / "own")
    (folder / "other").mkdir()
    shutil.copy(folder / "own" / "reference.jsonl", folder / "other")
    yield "first loss, the reference of M0 for M1, from ln 2", first(trained, folder / "other")


def main() -> None:
    parts = ("generate", "train", "quantize", "reference")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="1b" if torch.accelerator.is_available() else "tiny")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--budgets", type=int, nargs="+", default=[65_536, 524_288], help="engine.tokens_per_batch")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 256], help="prompts of a padded batch")
    parser.add_argument("--micro-batch-size", type=int, default=16, help="sequences of a forward pass")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--json", type=Path, help="also writes the figures here")
    args = parser.parse_args()
    if "reference" in args.parts and "train" not in args.parts:
        parser.error("reference needs train")
    found: dict[str, float] = {}

    def tell(name: str, value: float) -> None:
        found[name] = value
        print(f"{name:75} {value:,.6g}", flush=True)
        if args.json:
            args.json.write_text(json.dumps(found, indent=1) + "\n")

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, value in ceilings().items():
            tell(name, value)
        tokenizer = word_tokenizer(folder / "words", 128_256 if args.size != "tiny" else 4_096)
        base = random_model(args.size, folder / "base", tokenizer, ends=64)
        if "generate" in args.parts:
            for name, value in generation(base, args.budgets, args.batches):
                tell(name, value)
        if "train" in args.parts:
            for name, value in training(base, folder, args.micro_batch_size, args.steps, found["product, FLOP/s"]):
                tell(name, value)
        if "reference" in args.parts:  # of what "train" made
            for name, value in references(base, folder / "SFT" / "checkpoint", folder):
                tell(name, value)
        if "quantize" in args.parts:
            from selfreward_bench.config import LoraConfig

            for how in ("nf4", "int8"):
                for name, value in generation(base, args.budgets[-1:], [], how):
                    tell(f"{how}: {name}", value)
            for name, value in training(
                base, folder, args.micro_batch_size, args.steps, found["product, FLOP/s"], LoraConfig(quantize="nf4")
            ):
                tell(name, value)


if __name__ == "__main__":
    main()
