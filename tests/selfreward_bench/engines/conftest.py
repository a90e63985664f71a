"""A model of a few thousand random weights, with a tokenizer and a chat template, in Hugging Face layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIALS = ["<s>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
CORPUS = [
    "Once upon a time there was a little cat who liked to play in the park.",
    "Rate the answer from 0 to 5. Score: 1 2 3 4 5",
    "Name three small red things from the garden, then say why you like them.",
]


def make_tokenizer() -> Any:
    """Byte-level BPE of about 330 tokens, single digits."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(CORPUS * 3, trainer)
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, extra_special_tokens=SPECIALS[2:], bos_token=SPECIALS[0], eos_token=SPECIALS[1]
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def make_model(architecture: str = "Llama", **changes: Any) -> Any:
    """A random causal language model of one of transformers' architectures."""
    import torch
    import transformers

    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "vocab_size": 330,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.3,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": None,
    }
    config = getattr(transformers, f"{architecture}Config")(**(shape | changes))
    return transformers.AutoModelForCausalLM.from_config(config).eval()


@pytest.fixture(scope="session")
def tiny_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of the tiny Llama; do not change it, copy it."""
    directory = tmp_path_factory.mktemp("tiny")
    make_model().save_pretrained(directory)
    make_tokenizer().save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def engine(tiny_dir: Path) -> Any:
    """An open engine on the tiny Llama that makes large batches."""
    from selfreward_bench.config import EngineConfig
    from selfreward_bench.engines import open_engine

    return open_engine(EngineConfig(device="cpu", tokens_per_batch=65536), tiny_dir, threads=1)


@pytest.fixture(scope="session")
def engine_of() -> Callable[..., Any]:
    """Makes an engine of a model held in memory."""
    import torch

    from selfreward_bench.engines.loading import LoadedModel
    from selfreward_bench.engines.transformers import TransformersEngine

    def build(model: Any, tokens_per_batch: int = 65536, **changes: Any) -> TransformersEngine:
        fields: dict[str, Any] = {
            "name": "tiny",
            "model": model,
            "tokenizer": make_tokenizer(),
            "device": torch.device("cpu"),
            "eos": frozenset({1}),
            "fill": 1,
            "context": 256,
        }
        return TransformersEngine(LoadedModel(**(fields | changes)), tokens_per_batch=tokens_per_batch)

    return build


@pytest.fixture(scope="session")
def build_model() -> Callable[..., Any]:
    return make_model


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return make_tokenizer()
