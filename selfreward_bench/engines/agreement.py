"""Whether a model computes the same in whichever way it is asked: what training and an engine's fast ways rest on.

Each measure is the largest difference of a logit, in units of the largest logit. Texts are ids, so a model needs no
tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch

from selfreward_bench.engines.decode import ModelRunner
from selfreward_bench.engines.loading import LoadedModel, usable_positions

__all__ = ["batch_error", "cache_error", "future_error", "padding_error", "training_error"]

_TOKENS: Final = 16  # of the texts that are tried
_MANY: Final = 128  # of the text whose tokens are few where they differ
_STEPS: Final = 4  # tokens that are read one by one, with the cache
_LEAST: Final = 1e-3  # of a largest logit: what rounding makes of smaller ones would be large beside them


def cache_error(loaded: LoadedModel, tokens: int) -> float:
    """How far the logits after ``tokens`` tokens, the last read one by one, are from those of reading all at once."""
    ids = probe_ids(tokens, loaded.model.get_input_embeddings().weight.shape[0])
    runner = ModelRunner(loaded)
    with torch.inference_mode():
        state = runner.prefill([tuple(ids[:-_STEPS])], _STEPS)
        state.fork([0], room=_STEPS)
        for token in ids[-_STEPS:]:
            stepped = runner.extend(state, torch.tensor([[token]], device=loaded.device))[0, -1]
        whole = loaded.model(input_ids=torch.tensor([ids], device=loaded.device)).logits[0, -1]
    return _difference(whole, stepped)


def batch_error(loaded: LoadedModel, tokens: int) -> float:
    """How far the logits after a text are from those of reading it alone, in a batch whose texts share their beginning.

    Args:
        tokens: of the longer one of two texts; the other has half of them.
    """
    ids = probe_ids(tokens, loaded.model.get_input_embeddings().weight.shape[0])
    texts = [tuple(ids), (*ids[: tokens // 2 - 1], ids[-1])]
    runner = ModelRunner(loaded)
    if not runner.plain:
        return 0.0  # such models get texts of one length, which need no padding
    with torch.inference_mode():
        beside = runner.prefill(texts, 1).logits
        alone = torch.cat([runner.prefill([text], 1).logits for text in texts])
    return _difference(alone, beside)


def future_error(model: Any) -> float:
    """How far the logits of a text's tokens are from those with another last token: 0 where no later one is seen."""
    ids = probe_ids(_TOKENS, model.get_input_embeddings().weight.shape[0])
    with _as_in(model, training=False):
        first, second = (_logits(model, [text])[0, :-1] for text in (ids, [*ids[:-1], ids[0]]))
    return _difference(first, second)


def padding_error(model: Any) -> float:
    """How far the logits of a text's tokens alone are from those beside a longer text, with padding behind it."""
    ids = probe_ids(_TOKENS, model.get_input_embeddings().weight.shape[0])
    half = _TOKENS // 2
    mask = [[1] * _TOKENS, [1] * half + [0] * half]
    with _as_in(model, training=False):
        alone = _logits(model, [ids[:half]])[0]
        beside = _logits(model, [ids, ids[:half] + [0] * half], mask)[1, :half]
    return _difference(alone, beside)


def training_error(model: Any) -> float:
    """How far the logits in training are from those in answering: 0 where nothing is dropped or drawn at random.

    A mixture of experts may draw for some tokens only, so there are more of them.
    """
    ids = probe_ids(min(_MANY, usable_positions(model.config) or _MANY), model.get_input_embeddings().weight.shape[0])
    with _as_in(model, training=False):
        answering = _logits(model, [ids])[0]
    with _as_in(model, training=True):
        trained = _logits(model, [ids])[0]
    return _difference(answering, trained)


def probe_ids(tokens: int, embeddings: int) -> list[int]:
    """The same ids for each model of so many embeddings, unlike each other as far as that goes."""
    return [(7919 * i + 13) % embeddings for i in range(tokens)]


@contextmanager
def _as_in(model: Any, *, training: bool) -> Iterator[None]:
    before = model.training
    model.train(training)
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(before)


def _logits(model: Any, texts: list[list[int]], mask: list[list[int]] | None = None) -> torch.Tensor:
    seen = mask or [[1] * len(text) for text in texts]
    ids, mask_ = (torch.tensor(rows, device=model.device) for rows in (texts, seen))
    logits: torch.Tensor = model(input_ids=ids, attention_mask=mask_).logits
    return logits


def _difference(first: torch.Tensor, second: torch.Tensor) -> float:
    first, second = first.float(), second.float()
    return float((first - second).abs().max() / first.abs().max().clamp(min=_LEAST))
