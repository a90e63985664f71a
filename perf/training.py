"""What training costs on this machine's accelerator (or CPU): tokens per second and the most memory it held.

    python perf/training.py [--size 3b] [--records 64] [--words 300] [--bf16] [--gradient-checkpointing] [--json FILE]

SFT, then DPO from what came of it, on a Llama of that size with random weights, through the same functions the loop
calls. Every record has about so many words; the first DPO loss must be ln 2, in bfloat16 too.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models import SIZES, random_model

GIB = 2**30


def texts(count: int, words: int) -> list[str]:
    """Texts of the embedded world's words."""
    from selfreward_bench import micro
    from selfreward_bench.storage import jsonl
    from selfreward_bench.types import Prompt

    rng = random.Random(0)
    known = " ".join(p.text for p in jsonl.read(micro.data_path("validation"), Prompt)).split()
    return [" ".join(rng.choices(known, k=words)) for _ in range(count)]


def measure(size: str, records: int, words: int, options: dict[str, Any], folder: Path) -> Iterator[dict[str, Any]]:
    """The figures of SFT, then of DPO."""
    from selfreward_bench.config import DpoConfig, SftConfig
    from selfreward_bench.micro import base_path
    from selfreward_bench.types import Example, Message, PreferencePair
    from trainers.dpo import check_first_step, train_dpo
    from trainers.sft import train_sft

    base = random_model(size, folder / "base", base_path())
    asked = [(Message(role="user", content=t),) for t in texts(records, words // 3)]
    answers = [[(Message(role="assistant", content=t),) for t in texts(2 * records, words)[k::2]] for k in (0, 1)]
    taught = enumerate(zip(asked, answers[0], strict=True))
    examples = [Example(id=f"e{i}", prompt=p, completion=a) for i, (p, a) in taught]
    scores: dict[str, Any] = {"chosen_score": 4.0, "rejected_score": 1.0, "chosen_index": 0, "rejected_index": 1}
    pairs = [
        PreferencePair(prompt_id=f"p{i}", prompt=p, chosen=a, rejected=b, **scores)
        for i, (p, a, b) in enumerate(zip(asked, *answers, strict=True))
    ]
    sft = train_sft(base, examples, SftConfig.model_validate(options), folder / "M1", seed=0)
    yield row("SFT", size, options, sft)
    dpo = train_dpo(sft.checkpoint, pairs, DpoConfig.model_validate(options), folder / "M2", seed=0)
    yield row("DPO", size, options, dpo) | {"first DPO loss": dpo.first_dpo_loss}
    check_first_step(dpo)


def row(method: str, size: str, options: dict[str, Any], result: Any) -> dict[str, Any]:
    """One training's figures; the memory is the most since the last row."""
    import torch

    peak = 0.0
    if torch.accelerator.is_available():
        peak = torch.accelerator.max_memory_allocated() / GIB
        torch.accelerator.reset_peak_memory_stats()
    lines = [json.loads(line) for line in result.log_path.read_text().splitlines()]
    return {
        "method": method,
        "size": size,
        **options,
        "steps": result.steps,
        "tokens": result.tokens,
        "seconds": result.seconds,
        "peak GiB": peak,
        "losses": [lines[0]["loss"], lines[-1]["loss"]],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--records", type=int, default=64)
    parser.add_argument("--words", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--micro-batch-size", type=int)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--json", type=Path, help="also writes the figures here")
    args = parser.parse_args()
    options = {
        "batch_size": args.batch_size,
        "micro_batch_size": args.micro_batch_size,
        "bf16": args.bf16,
        "gradient_checkpointing": args.gradient_checkpointing,
        "save_every": 10_000,  # a saved state of a large model is a matter of the disk
        "max_length": 4096,
    }
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for found in measure(args.size, args.records, args.words, options, Path(folder)):
            print(json.dumps(found), flush=True)
            rows.append(found)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
