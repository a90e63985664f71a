"""Makes the embedded base model from a seed, in one run: a tokenizer and a small Llama (`make micro-base`).

Not part of training: this is how M0 came to be. One schedule, fixed numbers, no choice made on any evaluation prompt.
"""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from selfreward_bench.micro import corpus, oracle
from selfreward_bench.micro.world import draw_prompt, human_answer

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

PAD, END, USER, ASSISTANT = "<|pad|>", "<|end|>", "<|user|>", "<|assistant|>"
# A user turn has no end mark: the assistant's mark ends it. A turn's text begins with a space, like a word in a text.
CHAT_TEMPLATE: Final = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}<|assistant|> {{ m['content'] }}<|end|>"
    "{% else %}<|user|> {{ m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CONTEXT: Final = 512  # positions
ROWS, LENGTH = 16, 128  # rows and tokens of a training batch
MUON_RATE, ADAM_RATE = 0.015, 4e-3


def make_tokenizer(seed: int, vocabulary: int = 1024, documents: int = 20_000) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer in which nearly every word of the world is one token and every digit is one."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    rng = random.Random(seed)
    texts = [" " + corpus.document(rng) for _ in range(documents)]
    for _ in range(documents // 10):
        prompt, task = draw_prompt(rng)
        answer = human_answer(task, rng)
        texts += [f" Rate the answer from 0 to 5.\nTask: {prompt}\nAnswer: {answer}", f" Score: {rng.randrange(6)}"]
    tokenizer = Tokenizer(models.BPE())
    words = Regex(r" ?\d| ?[A-Za-z]+| ?[^\sA-Za-z\d]+|\n|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, END, USER, ASSISTANT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
        min_frequency=5,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[USER, ASSISTANT],
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        initializer_range=0.05,
        rope_theta=1000.0,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlamaForCausalLM(config)


def rate(progress: float) -> float:
    """Share of the peak learning rate: warm-up over 2%, flat to 35%, then linear to 3%."""
    if progress < 0.02:
        return progress / 0.02
    return 1.0 if progress < 0.35 else 1.0 - 0.97 * (progress - 0.35) / 0.65


def pretrain(out: Path, *, seed: int, steps: int, log_every: int = 100) -> None:
    """Trains tokenizer and model and writes them to ``out`` in Hugging Face layout, with a log beside."""
    import torch

    out.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer(seed)
    model = new_model(tokenizer, seed)
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    adam = torch.optim.AdamW(others, lr=ADAM_RATE, betas=(0.9, 0.95), weight_decay=0.0)
    momenta = [torch.zeros_like(p) for p in matrices]
    rng, started = random.Random(seed + 1), time.monotonic()
    stream: list[int] = []
    for step in range(steps):
        while len(stream) < ROWS * LENGTH:
            documents = [" " + corpus.document(rng) for _ in range(256)]
            for ids in tokenizer(documents)["input_ids"]:
                stream += [*ids, tokenizer.eos_token_id]
        batch = torch.tensor(stream[: ROWS * LENGTH]).view(ROWS, LENGTH)
        stream = stream[ROWS * LENGTH :]
        share = rate(step / steps)
        adam.param_groups[0]["lr"] = ADAM_RATE * share
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        muon_step(matrices, momenta, MUON_RATE * share)
        model.zero_grad()
        if step % log_every == 0:
            seconds = time.monotonic() - started + 1e-9
            speed = step * ROWS * LENGTH / seconds
            print(f"step {step}/{steps} loss {loss.item():.3f} {seconds:.0f} s {speed:.0f} tok/s", flush=True)
        if step % (log_every * 10) == log_every * 10 - 1 or step == steps - 1:
            save(model, tokenizer, out)
            print(json.dumps({"step": step + 1, **probe(model, tokenizer)}), flush=True)


def muon_step(matrices: list[Any], momenta: list[torch.Tensor], rate: float) -> None:
    """One Muon step (Jordan et al. 2024): Nesterov momentum, orthogonalised by five Newton-Schulz iterations.

    `torch.optim.Muon` iterates in bfloat16, which a CPU without bfloat16 units does 20 times slower than float32.
    """
    import torch

    with torch.no_grad():
        for parameter, momentum in zip(matrices, momenta, strict=True):
            momentum.mul_(0.95).add_(parameter.grad, alpha=0.05)
            update = parameter.grad.lerp(momentum, 0.95)
            rows, columns = update.shape
            x = update.T if rows > columns else update
            x = x / (x.norm() + 1e-7)
            for _ in range(5):
                gram = x @ x.T
                x = 3.4445 * x + (-4.775 * gram + 2.0315 * gram @ gram) @ x
            update = x.T if rows > columns else x
            parameter.mul_(1 - rate * 0.01).add_(update, alpha=-rate * max(1.0, rows / columns) ** 0.5)


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    model.generation_config.update(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def probe(model: Any, tokenizer: Any, n: int = 128) -> dict[str, float]:
    """Greedy quality on fresh TRAIN-split prompts in the forum's form (progress only; nothing is chosen by it)."""
    import torch

    rng = random.Random(12345)
    drawn = [draw_prompt(rng) for _ in range(n)]
    tokenizer.padding_side = "left"
    inputs = tokenizer([f" Task: {p}\nAnswer:" for p, _ in drawn], return_tensors="pt", padding=True)
    with torch.inference_mode():
        output = model.generate(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], max_new_tokens=48, do_sample=False
        )
    tokenizer.padding_side = "right"
    texts = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    by: dict[str, list[int]] = {}
    for (prompt, task), text in zip(drawn, texts, strict=True):
        by.setdefault(task.family, []).append(oracle.score(prompt, text.strip().split("\n")[0]) or 0)
    every = [s for scores in by.values() for s in scores]
    return {"greedy": sum(every) / len(every)} | {f: round(sum(s) / len(s), 2) for f, s in sorted(by.items())}
