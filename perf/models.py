"""Models with random weights, for where no trained one of a size is at hand."""

from __future__ import annotations

from pathlib import Path

SIZES: dict[str, dict[str, int]] = {  # 0.8 million parameters; the two others have the shapes of Llama 3.2
    "tiny": {"hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 4, "num_attention_heads": 4},
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32}
    | {"num_key_value_heads": 8},
    "3b": {"hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 28, "num_attention_heads": 24}
    | {"num_key_value_heads": 8},
}
_PEAKED = 3.0  # of the final norm, where answers are to end by themselves: a nucleus of some hundred words


def random_model(size: str, directory: Path, tokenizer_from: Path, ends: int | None = None) -> Path:
    """Writes a Llama in Hugging Face layout, in bfloat16, with another model's tokenizer.

    Args:
        ends: one token in so many ends an answer; the tokenizer's end token alone unless given.
    """
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_from, trust_remote_code=False)
    config = LlamaConfig(
        **SIZES[size],
        vocab_size=len(tokenizer),
        tie_word_embeddings=True,
        initializer_range=0.2 if size == "tiny" else 0.02,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.device(torch.accelerator.current_accelerator() or "cpu"):  # a billion numbers take minutes on a CPU
        model = LlamaForCausalLM(config)
    if ends:
        model.model.norm.weight.data.fill_(_PEAKED)
        model.generation_config.eos_token_id = list(range(tokenizer.eos_token_id, len(tokenizer), ends))
    model.to(torch.bfloat16).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def word_tokenizer(directory: Path, size: int) -> Path:
    """Writes a tokenizer of the words w3, w4, ... (one token each, as many as told) and three control tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    control = ["<unk>", "<pad>", "</s>"]
    known = {word: at for at, word in enumerate([*control, *(f"w{at}" for at in range(len(control), size))])}
    inner = Tokenizer(models.WordLevel(known, unk_token=control[0]))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = dict(zip(("unk_token", "pad_token", "eos_token"), control, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=8192, **names).save_pretrained(directory)
    return directory
