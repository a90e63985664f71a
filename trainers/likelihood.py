"""How likely a checkpoint finds given answers: log-probabilities summed over their tokens, end token included.

The ids are those of training (``trainers.rendering``), so a difference of two checkpoints is the log-ratio of DPO's
loss. A file of them is written batch by batch; what is there is not computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from selfreward_bench.config import EngineConfig
from selfreward_bench.judges.pointwise import JudgeItem
from selfreward_bench.storage import jsonl
from selfreward_bench.types import Message, Record
from trainers.batches import Split

__all__ = ["Likelihood", "append_missing", "write_likelihoods"]

_MOST_LOGITS: Final = 2**27  # numbers of a pass: half a gigabyte in float32
_MOST_ANSWERS: Final = 64

_R = TypeVar("_R", bound=Record)


class Likelihood(Record):
    """Of one answer: ``logp`` in nats, over ``n_tokens``; None where it is too long for the model."""

    id: str
    logp: float | None
    n_tokens: int


def write_likelihoods(
    checkpoint: Path,
    items: Sequence[JudgeItem],
    path: Path,
    *,
    engine: EngineConfig,
    max_length: int,
    advanced: Callable[[int], None],
) -> list[Likelihood]:
    """The likelihoods of all items, in their order.

    Args:
        items: prompts with an answer each.
        max_length: most tokens of both; longer ones have none.
        advanced: told how many each batch added.

    Raises:
        TrainingError: the checkpoint cannot be loaded.
        DataError: an answer cannot be rendered, or ``path`` is damaged.
    """
    from trainers.bases import load_model
    from trainers.rendering import load_tokenizer, longest, render_turns

    trusted = engine.trust_remote_code
    tokenizer = load_tokenizer(checkpoint, trust_remote_code=trusted, date=engine.date)
    answered = ((i.id, i.messages, (Message(role="assistant", content=i.response),)) for i in items)
    turns = render_turns(tokenizer, answered)
    limit = longest(checkpoint, max_length, trusted)
    loaded: list[Any] = []

    def compute(batch: Sequence[int]) -> list[Likelihood]:
        if not loaded:
            attention = engine.attn_implementation
            loaded.append(load_model(checkpoint, 0.0, trust_remote_code=trusted, attn_implementation=attention).model)
        fits = [at for at in batch if len(turns[at]) <= limit]
        logps = dict(zip(fits, _logps(loaded[0], [turns[at] for at in fits], engine.device), strict=True))
        return [Likelihood(id=items[at].id, logp=logps.get(at), n_tokens=len(turns[at].completion)) for at in batch]

    lengths = [min(len(turn), limit) for turn in turns]
    split = Split(_MOST_ANSWERS, _MOST_ANSWERS, tokens=max(1, _MOST_LOGITS // len(tokenizer)))
    return append_missing(path, Likelihood, [i.id for i in items], lengths, split, compute, advanced)


def append_missing(
    path: Path,
    kind: type[_R],
    names: Sequence[str],
    lengths: Sequence[int],
    split: Split,
    compute: Callable[[Sequence[int]], list[_R]],
    advanced: Callable[[int], None],
) -> list[_R]:
    """Records of everything named, in that order; computed batch by batch where the file does not hold them yet.

    Batches are cut from all of them, so a file that was cut off ends with the same bytes: a batch is written as one.

    Args:
        kind: its ``id`` is the name.
        lengths: in tokens; a batch holds what is of like length.
    """
    stored = {_name(r): r for r in jsonl.resume(path, kind, unique=_name)}
    jsonl.append(path, [])
    advanced(len(stored))
    for batch in split.cut(sorted(range(len(names)), key=lambda at: -lengths[at]), lengths):
        if any(names[at] not in stored for at in batch):
            new = [record for record in compute(batch) if _name(record) not in stored]
            jsonl.append(path, new)
            stored.update((_name(record), record) for record in new)
            advanced(len(new))
    return [stored[name] for name in names]


def _name(record: Any) -> str:
    """A judgment's item; another record's own id."""
    return f"{record.prompt_id}/{record.index}" if hasattr(record, "prompt_id") else str(record.id)


def _logps(model: Any, turns: Sequence[Any], device: str) -> list[float]:
    """Log-probability of each completion, given its prompt, in nats."""
    import torch

    from selfreward_bench.engines.loading import choose_device

    if not turns:
        return []
    place = choose_device(device)
    model = model.to(place).eval()
    ids = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(turn.prompt + turn.completion) for turn in turns], batch_first=True
    ).to(place)
    ends = torch.tensor([[len(turn.prompt), len(turn)] for turn in turns], device=place)
    places = torch.arange(ids.shape[1], device=place)[None]
    with torch.inference_mode():
        logits = model(input_ids=ids, attention_mask=(places < ends[:, 1:]).long(), use_cache=False).logits[:, :-1]
        found = torch.stack(
            [
                row.float().log_softmax(-1).gather(-1, target[1:, None])[:, 0]
                for row, target in zip(logits, ids, strict=True)
            ]
        )
    told = (places[:, 1:] >= ends[:, :1]) & (places[:, 1:] < ends[:, 1:])
    sums: list[float] = (found * told).sum(1).tolist()
    return sums
