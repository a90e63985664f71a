"""The most memory that trainings and generations held here, beside what `srbench plan` computes for them.

    python perf/memory.py [--base DIR] [--method sft dpo generate render] [--length 450] [--micro-batch-size 16]
                          [--bf16] [--gradient-checkpointing] [--vocabulary 152000] [--optim adamw_8bit]
                          [--lora 16] [--quantize nf4] [--pairs 16000]

Each is measured in a process of its own, on the CPU, without what Python and its libraries take: the peak of its
resident memory after two steps (the moments are there from the second on), or after one batch. Every record has exactly
the given length, and the batch is one micro batch. `--vocabulary` takes a model of one narrow layer with so many words
and random weights instead, which shows what the logits take. `render` makes token ids of so many preference pairs, each
answer with its prompt of the given length, and trains nothing.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

_FIGURES = "figures: "


def measured(task: dict[str, Any]) -> dict[str, Any]:
    """Runs one task in a process of its own."""
    command = [sys.executable, __file__, "--task", json.dumps(task)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - this file
    lines = [line for line in done.stdout.splitlines() if line.startswith(_FIGURES)]
    if not lines:
        raise SystemExit(done.stderr)
    figures: dict[str, Any] = json.loads(lines[-1].removeprefix(_FIGURES))
    return figures


def work(task: dict[str, Any]) -> None:
    """In the child: trains or generates, and prints estimate and peak."""
    import torch
    import trl  # noqa: F401 - so that it counts among the libraries
    from trl import DPOTrainer, SFTTrainer  # noqa: F401

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        base = narrow(task["vocabulary"], Path(folder) / "base") if task["vocabulary"] else Path(task["base"])
        run = {"sft": train, "dpo": train, "generate": generate, "render": render}[task["method"]]
        estimate, peak, libraries = run(task, base, Path(folder))
    print(_FIGURES + json.dumps({"estimate": estimate, "peak": peak - libraries, "libraries": libraries}))


def narrow(vocabulary: int, directory: Path) -> Path:
    """Writes a Llama of one layer, 32 numbers wide."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from selfreward_bench.micro import base_path

    sizes = {"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = LlamaConfig(vocab_size=vocabulary, tie_word_embeddings=True, bos_token_id=None, **sizes)
    LlamaForCausalLM(config).save_pretrained(directory)
    AutoTokenizer.from_pretrained(base_path()).save_pretrained(directory)
    return directory


def train(task: dict[str, Any], base: Path, folder: Path) -> tuple[int, int, int]:
    from selfreward_bench.bases.optimizers import OPTIMIZERS
    from selfreward_bench.config import DpoConfig, LoraConfig, SftConfig
    from selfreward_bench.types import Example, Message, PreferencePair
    from trainers.dimensions import read_dimensions, with_adapters
    from trainers.dpo import train_dpo
    from trainers.memory import Pass, training
    from trainers.rendering import load_tokenizer, render_turns
    from trainers.sft import train_sft

    rows, length = task["micro"], task["length"]
    options = {"batch_size": rows, "micro_batch_size": rows, "max_length": 8192, "save_every": 1000}
    options |= {"bf16": task["bf16"], "gradient_checkpointing": task["checkpointing"], "optim": task["optim"]}
    lora = LoraConfig(r=task["lora"], alpha=2 * task["lora"], quantize=task["quantize"]) if task["lora"] else None
    tokenizer = load_tokenizer(base, default_template=True)
    asked = (Message(role="user", content="the"),)

    def answer(last: str) -> tuple[Message, ...]:
        words = length
        while True:
            text = (Message(role="assistant", content="the " * words + last),)
            beyond = len(render_turns(tokenizer, [("", asked, text)])[0]) - length
            if beyond <= 0:
                return text
            words -= max(beyond // 2, 1)

    if not (base / "chat_template.jinja").is_file():  # DPO takes the one that SFT has given
        base = Path(shutil.copytree(base, folder / "with-template"))
        tokenizer.save_pretrained(base)
    given, count = with_adapters(read_dimensions(base), lora), range(2 * rows)
    libraries = start()
    if task["method"] == "sft":
        examples = [Example(id=f"{i}", prompt=asked, completion=answer("a")) for i in count]
        train_sft(base, examples, SftConfig.model_validate(options), folder / "M1", seed=0, lora=lora)
        step = Pass(rows, length, task["bf16"], task["checkpointing"], dropout=True, device="cpu")
    else:
        texts: dict[str, Any] = {"prompt": asked, "chosen": answer("a"), "rejected": answer("not")}
        scores = {"chosen_score": 4.0, "rejected_score": 1.0, "chosen_index": 0, "rejected_index": 1}
        pairs = [PreferencePair.model_validate({"prompt_id": f"{i}", **texts, **scores}) for i in count]
        train_dpo(base, pairs, DpoConfig.model_validate(options), folder / "M2", seed=0, lora=lora)
        step = Pass(2 * rows, length, task["bf16"], task["checkpointing"], device="cpu")
    return training(given, replace(step, optimizer=OPTIMIZERS[task["optim"]])).total, peak(), libraries


def render(task: dict[str, Any], base: Path, folder: Path) -> tuple[int, int, int]:
    """Token ids of preference pairs, a third of each sequence the prompt."""
    from selfreward_bench.types import Message, PreferencePair
    from trainers.dpo import distinct, fitting, render_pairs
    from trainers.memory import rendered
    from trainers.rendering import load_tokenizer

    tokenizer, words = load_tokenizer(base, default_template=True), task["length"] // 3

    def pair(at: int) -> PreferencePair:
        texts = {"prompt": "the " * words, "chosen": "the " * 2 * words, "rejected": "not " * 2 * words}
        asked = {
            name: (Message(role="user" if name == "prompt" else "assistant", content=f"{text}{at}"),)
            for name, text in texts.items()
        }
        scores = {"chosen_score": 4.0, "rejected_score": 1.0, "chosen_index": 0, "rejected_index": 1}
        return PreferencePair.model_validate({"prompt_id": f"{at}", **asked, **scores})

    given = [pair(at) for at in range(task["pairs"])]
    render_pairs(tokenizer, given[:1])
    libraries = start()
    made, _ = fitting(distinct(render_pairs(tokenizer, given))[0], 8192)
    tokens = sum(len(p.chosen) + len(p.rejected) for p in made)
    return rendered(tokens), peak(), libraries


def generate(task: dict[str, Any], base: Path, folder: Path) -> tuple[int, int, int]:
    """One batch: prompts of nine tenths of the length, one answer each."""
    from selfreward_bench.config import EngineConfig
    from selfreward_bench.engines import open_engine
    from selfreward_bench.engines.base import GenerationRequest
    from trainers.dimensions import read_dimensions
    from trainers.memory import generating
    from trainers.rendering import load_tokenizer

    rows, length = task["micro"], task["length"]
    new = length // 10
    tokenizer = load_tokenizer(base, default_template=True)
    prompt = tokenizer.decode(tokenizer("the " * length, add_special_tokens=False)["input_ids"][: length - new])
    requests = [
        GenerationRequest(id=f"{i}", prompt=f"{i} {prompt}", seeds=(i,), max_new_tokens=new, min_new_tokens=new)
        for i in range(rows)
    ]
    given = read_dimensions(base)
    libraries = start()
    engine = open_engine(EngineConfig(tokens_per_batch=2 * rows * length), base, threads=1)
    list(engine.generate(requests))
    tokens = {"tokens": rows * length, "read": rows * (length - new), "rows": rows}
    return generating(given, 4, **tokens, device="cpu").total, peak(), libraries


def start() -> int:
    """Resident bytes now, from which on the peak counts."""
    import psutil

    Path("/proc/self/clear_refs").write_text("5")
    return int(psutil.Process().memory_info().rss)


def peak() -> int:
    """The most resident bytes since ``start``."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def main() -> None:
    from selfreward_bench.micro import base_path

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default=str(base_path()))
    parser.add_argument(
        "--method", nargs="+", choices=("sft", "dpo", "generate", "render"), default=["sft", "dpo", "generate"]
    )
    parser.add_argument("--length", type=int, default=450)
    parser.add_argument("--micro-batch-size", type=int, default=16)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--vocabulary", type=int)
    parser.add_argument("--optim", default="adamw_torch_fused")
    parser.add_argument("--lora", type=int, help="rank")
    parser.add_argument("--quantize", choices=("nf4", "int8"))
    parser.add_argument("--pairs", type=int, default=16_000)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.task:
        work(json.loads(args.task))
        return
    print("| | estimate, MB | measured, MB | difference |\n|---|---|---|---|")
    for method in args.method:
        task = {"method": method, "base": args.base, "length": args.length, "micro": args.micro_batch_size}
        task |= {"bf16": args.bf16, "checkpointing": args.gradient_checkpointing, "vocabulary": args.vocabulary}
        task |= {"optim": args.optim, "lora": args.lora, "quantize": args.quantize, "pairs": args.pairs}
        found = measured(task)
        estimate, most = found["estimate"], found["peak"]
        print(f"| {method} | {estimate / 1e6:,.0f} | {most / 1e6:,.0f} | {estimate / most - 1:+.0%} |", flush=True)


if __name__ == "__main__":
    main()
