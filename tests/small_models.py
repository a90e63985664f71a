"""Random models of a few ten thousand weights, of real architectures with tokenizers of their kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

TEXTS = (
    "Once upon a time there was a little cat who liked to play in the park with a red ball.",
    "Name three small red things from the garden, then say in one sentence why you like them.",
    "Rate the answer from 0 to 5.\nTask: Name a red food.\nAnswer: A red apple.\nScore: 0 1 2 3 4 5",
    "Water rises as vapour, cools in the clouds and falls as rain.",
)
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + "
    "m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
_ALTERNATE = (
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate') }}"
    "{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for m in messages %}"
    + _ALTERNATE
    + "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else "
    "m['role']) + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}" + _ALTERNATE + "{% if m['role'] == 'user' %}"
    "{{ '[INST] ' + m['content'] + ' [/INST]' }}{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
)
PHI3 = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
R1 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '<|im_start|>' + m['content'] }}{% else %}"
    "{{ '<|im_end|>' + m['content'].split('</think>')[-1] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_end|>' }}{% endif %}"
)


def byte_level(
    specials: tuple[str, ...],
    *,
    eos: str | None,
    bos: str | None = None,
    pad: str | None = None,
    template: str | dict[str, str] | None = None,
    plain: tuple[str, ...] = (),
) -> Any:
    """A byte-level BPE tokenizer; ``plain`` are added tokens that are not marked as special."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=360,
        special_tokens=list(specials),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(TEXTS, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token=bos, eos_token=eos, pad_token=pad)
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in plain])
    if template is not None:
        tokenizer.chat_template = template
    return tokenizer


def unigram(template: str | None = None) -> Any:
    """Pieces with a mark for the space before a word, drawn by likelihood, as T5 and ALBERT have them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    marks = ["<unk>", "<s>", "</s>"]
    core = Tokenizer(models.Unigram())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.Metaspace()]
    )
    core.decoder = decoders.Metaspace()
    alphabet = [chr(i) for i in range(33, 127)]
    trainer = trainers.UnigramTrainer(
        vocab_size=240, special_tokens=marks, initial_alphabet=alphabet, unk_token=marks[0], show_progress=False
    )
    core.train_from_iterator(TEXTS, trainer)
    named = dict(zip(("unk_token", "bos_token", "eos_token"), marks, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=core, chat_template=template, **named)


def chatml(template: str | dict[str, str] | None = CHATML) -> Any:
    return byte_level(
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>"), eos="<|im_end|>", pad="<|endoftext|>", template=template
    )


def added() -> Any:
    """The marks of turns are plain added tokens, and the end token is another."""
    plain = ("<|im_start|>", "<|im_end|>")
    return byte_level(("<|endoftext|>",), eos="<|endoftext|>", template=CHATML, plain=plain)


def llama3(template: str | dict[str, str] | None = LLAMA3) -> Any:
    specials = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>")
    return byte_level((*specials, "<|eot_id|>"), bos=specials[0], eos="<|eot_id|>", template=template)


def gemma() -> Any:
    specials = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")
    return byte_level(specials, bos="<bos>", eos="<eos>", pad="<pad>", template=GEMMA)


def mistral() -> Any:
    return byte_level(("<unk>", "<s>", "</s>"), bos="<s>", eos="</s>", template=MISTRAL)


def phi3() -> Any:
    roles = ("<|assistant|>", "<|user|>", "<|system|>", "<|end|>")
    return byte_level(
        ("<unk>", "<s>", "<|endoftext|>", *roles), eos="<|endoftext|>", pad="<|endoftext|>", template=PHI3
    )


def gpt2() -> Any:
    return byte_level(("<|endoftext|>",), bos="<|endoftext|>", eos="<|endoftext|>")


_GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512}
_LONGROPE: dict[str, Any] = {"rope_type": "longrope", "rope_theta": 10000.0}
_LONGROPE |= {"short_factor": [1.0] * 4, "long_factor": [2.0, 3.0, 4.0, 5.0]}

#: a name -> architecture of transformers, its tokenizer, and what differs from the common shape
KINDS: dict[str, tuple[str, Callable[[], Any], dict[str, Any]]] = {
    "llama": ("Llama", llama3, {}),
    "qwen2": ("Qwen2", chatml, {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3", added, {"head_dim": 8}),
    "gemma2": ("Gemma2", gemma, {"head_dim": 8, "sliding_window": 32}),
    "gemma3": ("Gemma3Text", gemma, {"head_dim": 8, "sliding_window": 32, "query_pre_attn_scalar": 8}),
    "mistral": ("Mistral", mistral, {"sliding_window": 32}),
    "phi3": ("Phi3", phi3, {"rope_parameters": _LONGROPE, "original_max_position_embeddings": 384}),
    "gpt2": ("GPT2", gpt2, _GPT2),
    "mixtral": ("Mixtral", lambda: unigram(MISTRAL), {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "granitemoe": ("GraniteMoe", mistral, {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "olmoe": ("Olmoe", chatml, {"num_experts": 4, "num_experts_per_tok": 2}),
    "mamba": ("Mamba", gpt2, {"state_size": 4, "num_attention_heads": None, "num_key_value_heads": None}),
}


def save(directory: Path, model: Any, tokenizer: Any) -> Path:
    """Writes both in Hugging Face layout."""
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def model_of(architecture: str, tokenizer: Any, *, head: str | None = None, **changes: Any) -> Any:
    """A random model whose vocabulary is the tokenizer's; ``head`` names another class than the causal one."""
    import torch
    import transformers

    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    given = {key: value for key, value in (shape | changes).items() if value is not None}
    config = getattr(transformers, f"{architecture}Config")(**given)
    if head:
        return getattr(transformers, head)(config).eval()
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def make(kind: str, directory: Path) -> Path:
    """One of ``KINDS``."""
    architecture, tokenizer_of, changes = KINDS[kind]
    tokenizer = tokenizer_of()
    return save(directory, model_of(architecture, tokenizer, **changes), tokenizer)


def edit(file: Path, **changes: Any) -> None:
    """Changes keys of a JSON file, which is made if it is not there."""
    values = json.loads(file.read_text("utf-8")) if file.exists() else {}
    file.write_text(json.dumps(values | changes), "utf-8")


def rename_weights(directory: Path, name: Callable[[str], str | None]) -> None:
    """Gives each tensor another name; one without a name is left out."""
    from safetensors.torch import load_file, save_file

    file = directory / "model.safetensors"
    kept = {new: tensor for old, tensor in load_file(file).items() if (new := name(old)) is not None}
    save_file(kept, file, metadata={"format": "pt"})
