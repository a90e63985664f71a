"""Models that take a cache of their own kind alone are read anew at each step, and say the same."""

from __future__ import annotations

from pathlib import Path

import torch

from selfreward_bench.config import EngineConfig
from selfreward_bench.engines import open_engine
from selfreward_bench.engines.base import GenerationRequest
from selfreward_bench.engines.cache import takes_cache

from ...small_models import mistral, model_of, save

SHAPE = {"num_local_experts": 2, "num_experts_per_tok": 1, "head_dim": 8, "block_size": 16}
LAYERS = ["linear_attention", "full_attention"]


def test_minimax_answers_as_its_logits_say(tmp_path: Path) -> None:
    """Greedily, token by token, from whole texts; two prompts of unlike lengths at once."""
    tokenizer = mistral()
    model = model_of("MiniMax", tokenizer, layer_types=LAYERS, **SHAPE)
    assert not takes_cache(model)
    assert takes_cache(model_of("Llama", tokenizer))
    engine = open_engine(EngineConfig(device="cpu"), save(tmp_path / "model", model, tokenizer))
    prompts = {"a": "Once upon a time", "b": "Water rises as vapour, cools"}
    asked = [GenerationRequest(id=i, prompt=text, temperature=0, max_new_tokens=5) for i, text in prompts.items()]
    said = {c.prompt_id: c.text for batch in engine.generate(asked) for c in batch}
    engine.close()
    for name, text in prompts.items():
        start = tokenizer(text)["input_ids"]
        ids = list(start)
        for _ in range(5):
            with torch.no_grad():
                ids.append(int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
        written = tokenizer.decode(ids, skip_special_tokens=True)
        assert written == tokenizer.decode(start, skip_special_tokens=True) + said[name]
