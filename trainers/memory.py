"""How much memory, disk and arithmetic a training or a generation takes: formulas, and where each is from.

What is meant is srbench as it trains now: all weights, or adapters, in float32 on one device, TRL's output head in
tiles, and attention that keeps no scores where torch has a kernel for it. The formulas were held against measured
peaks (perf/RESULTS.md, `python perf/memory.py`). Sizes are in bytes, lengths in tokens; nothing is read and torch not
needed.

Sources: Korthikanti et al., Reducing Activation Recomputation in Large Transformer Models (arXiv 2205.05198), for which
tensors of a layer wait for the backward pass; Kaplan et al. (arXiv 2001.08361) for arithmetic per token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from selfreward_bench.bases.optimizers import OPTIMIZERS, Optimizer
from trainers.dimensions import Dimensions

__all__ = [
    "LIBRARIES",
    "TILE_WORDS",
    "Device",
    "Memory",
    "Pass",
    "generating",
    "quantised",
    "reference",
    "rendered",
    "training",
    "training_flops",
]

Device = Literal["cpu", "gpu"]

#: what Python, torch, transformers and TRL take before anything is loaded (measured)
LIBRARIES: Final = 540_000_000

_FLOAT: Final = 4
_HALF: Final = 2
_ADAMW: Final = OPTIMIZERS["adamw_torch"]
_TILE_TOKENS = 4096  # TRL's: trl/kernels/chunked_logprob.py
#: words of a tile of TRL's output head: its own (trl/trainer/utils.py), and on a CPU those of ``trainers.training``
TILE_WORDS: Final[dict[Device, int]] = {"cpu": 4096, "gpu": 32768}
#: float32 copies of a tile that exist at once, besides the tile: a GPU works in place, the CPU's code does not
_TILE_COPIES: Final[dict[Device, float]] = {"cpu": 7.5, "gpu": 0.0}
_TILE_COPIES_READ: Final[dict[Device, float]] = {"cpu": 4.0, "gpu": 0.0}  # without a backward pass
_INPUTS, _CAST_INPUTS = 2, 5  # of a layer's matrices that share one; autocast gives q, k, v, gate and up one each
_ATTENTION: Final = 5  # queries, keys and values (keys and values repeated for all heads), result, input of the output
_SCORE_GRADIENTS: Final = 4  # copies of one layer's scores that its backward pass makes
_CACHE_ROOM: Final = 1.5  # the cache reserves half as much again as it holds (engines/cache.py)
_DRAWN: Final = 3  # float32 copies of the last logits while a token is drawn, on a GPU
_TOKEN_IDS: Final = 5  # of one token of a rendered record: its id in an array, and a little for each record


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on the device that computes.

    Attributes:
        logits: with the gradient of the output matrix.
        cache: keys and values.
    """

    weights: int = 0
    gradients: int = 0
    moments: int = 0
    activations: int = 0
    logits: int = 0
    cache: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.moments + self.activations + self.logits + self.cache


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward and backward pass.

    Attributes:
        rows: sequences; a preference pair is two.
        length: tokens of the longest, which all are padded to.
        dropout: whether there is any.
        shards: processes over which weights, gradients and moments are shared out (FSDP).
    """

    rows: int
    length: int
    bf16: bool = False
    checkpointing: bool = False
    dropout: bool = False
    device: Device = "gpu"
    optimizer: Optimizer = _ADAMW
    shards: int = 1

    @property
    def tokens(self) -> int:
        return self.rows * self.length

    @property
    def width(self) -> int:
        """Bytes of a number in matrix products."""
        return _HALF if self.bf16 else _FLOAT


def training(d: Dimensions, p: Pass) -> Memory:
    """16 bytes per parameter that AdamW trains, what waits for the backward pass, and the logits.

    bf16 autocast keeps all of that in float32 and adds copies of the weights in bfloat16; activations become smaller.
    With adapters the weights are frozen, in float32 or as they were stored in bfloat16.

    >>> m = training(Dimensions(parameters=70_000_000_000, active=70_000_000_000), Pass(rows=1, length=1))
    >>> m.total / 1e12
    1.12

    Of shards each process holds its part, and the layers that are at work.

    >>> m = training(Dimensions(parameters=70_000_000_000, active=70_000_000_000), Pass(rows=1, length=1, shards=32))
    >>> m.total / 1e9
    35.0
    """
    shared = 1 if d.adapted is not None else p.shards  # adapters are whole in each process
    return Memory(
        weights=_weights(d, p),
        gradients=checkpoint(_trained(d)) // shared,
        moments=_moments(d, p.optimizer) // shared,
        activations=activations(d, p),
        logits=logits(d, p),
    )


def reference(d: Dimensions, p: Pass) -> Memory:
    """The reference pass before DPO: nothing waits for a backward pass, so one layer at a time is in memory."""
    return Memory(
        weights=_weights(d, p),
        activations=_layer(d, p),
        logits=_tile(d, p, _TILE_COPIES_READ[p.device]),
    )


def state(d: Dimensions, optimizer: Optimizer = _ADAMW) -> int:
    """Bytes that a training holds whatever its batch: weights, gradients and moments.

    >>> state(Dimensions(parameters=1000, active=1000)), state(Dimensions(1000, 1000, width=2, adapted=10))
    (16000, 2160)
    """
    return _weights(d, Pass(rows=0, length=0)) + saved_state(d, optimizer)


def _trained(d: Dimensions) -> int:
    """How many numbers are trained."""
    return d.parameters if d.adapted is None else d.adapted


def _moments(d: Dimensions, optimizer: Optimizer) -> int:
    return optimizer.held(_trained(d), min(d.vocabulary * d.hidden, d.parameters) if d.adapted is None else 0)


def _weights(d: Dimensions, p: Pass) -> int:
    if p.shards > 1:
        return _shared_weights(d, p)
    if d.adapted is None:
        return d.parameters * (_FLOAT + (_HALF if p.bf16 else 0))
    frozen = _HALF if d.width == _HALF else _FLOAT + (_HALF if p.bf16 else 0)
    return quantised(d, frozen, d.quantised) + d.adapted * _FLOAT


def _shared_weights(d: Dimensions, p: Pass) -> int:
    """This process's part of the weights, and what is gathered: two layers, one with its gradients, the matrices of
    input and output, in the type that is computed in. Adapters are whole in each process."""
    held = d.parameters * (_FLOAT if d.adapted is None else d.width) // p.shards + (d.adapted or 0) * _FLOAT
    ends = min(2 * d.vocabulary * d.hidden, d.parameters)
    layer = (d.parameters - ends) // d.layers if d.layers else 0
    gradients = layer * _FLOAT if d.adapted is None else 0
    return held + (2 * layer + ends) * p.width * bool(d.layers) + gradients


def quantised(d: Dimensions, width: int, each: float | None) -> int:
    """Bytes of all weights, of which those of linear layers have so many each, or none are quantised.

    >>> quantised(Dimensions(parameters=100, active=100, dense=80), width=4, each=0.5)
    120
    """
    small = 0 if each is None else d.dense
    return (d.parameters - small) * width + round(small * (each or 0))


def activations(d: Dimensions, p: Pass) -> int:
    """What all layers keep for the backward pass, and one layer more, whose gradients are at work.

    With checkpointing each layer keeps its input and is computed again, one layer at a time.
    """
    layer, scores = _layer(d, p), _scores(d, p)
    kept = d.layers * (layer + scores)
    if p.checkpointing:
        kept = d.layers * p.tokens * d.hidden * _FLOAT + layer + scores
    gradients = layer + (_SCORE_GRADIENTS * _FLOAT * d.heads * p.tokens * p.length if scores else 0)
    return kept + gradients


def logits(d: Dimensions, p: Pass) -> int:
    """The output head's tile, with the gradient of its matrix and of its inputs.

    TRL computes log-probabilities in tiles of at most 4,096 tokens x 32,768 words (4,096 on a CPU), so a longer batch
    or a larger vocabulary takes no more. A vocabulary of 152 thousand, 4 x 450 tokens on a CPU:

    >>> round(logits(Dimensions(1, 1, vocabulary=152_000, hidden=32), Pass(4, 450, device="cpu")) / 1e9, 2)
    0.27
    """
    gradients = _FLOAT * d.hidden * ((d.vocabulary if d.adapted is None else 0) + p.tokens)
    return _tile(d, p, _TILE_COPIES[p.device]) + gradients


def generating(
    d: Dimensions,
    width: int,
    *,
    tokens: int,
    read: int,
    rows: int,
    device: Device = "gpu",
    each: float | None = None,
) -> Memory:
    """Answers of one batch.

    Args:
        width: bytes of a number.
        tokens: rows x (prompt + new tokens), which the cache must hold.
        read: tokens of the prompts, each counted once.
        rows: answers.
        each: bytes of a number in linear layers where they are quantised (``engine.quantize``).
    """
    drawn = width + (_DRAWN * _FLOAT if device == "gpu" else width)  # a CPU draws few rows at a time
    return Memory(
        weights=quantised(d, width, each),
        activations=read * width * (d.middle + 4 * d.attention),
        logits=rows * d.vocabulary * drawn,
        cache=round(tokens * cached(d, width) * _CACHE_ROOM),
    )


def cached(d: Dimensions, width: int) -> int:
    """Keys and values of one token.

    >>> llama_2_70b = Dimensions(1, 1, layers=80, keys=8 * 128)
    >>> cached(llama_2_70b, width=2)
    327680
    """
    return 2 * d.layers * d.keys * width


def rendered(tokens: int) -> int:
    """Host memory of records as token ids, until the training ends."""
    return tokens * _TOKEN_IDS


def saved_state(d: Dimensions, optimizer: Optimizer = _ADAMW) -> int:
    """A saved state on disk: what is trained, in float32, and its moments."""
    return checkpoint(_trained(d)) + _moments(d, optimizer)


def checkpoint(parameters: int, width: int = _FLOAT) -> int:
    """A model on disk, bytes.

    Args:
        width: bytes of a weight (``sft.save_dtype``, ``dpo.save_dtype``; the base's unless set).
    """
    return parameters * width


def training_flops(active: int, tokens: int, *, checkpointing: bool, frozen: bool = False) -> int:
    """Two operations per parameter and token forward, four backward, and with checkpointing forward once more.

    Frozen parameters take half of the backward ones: they have no gradients of their own.
    """
    return (4 if frozen else 6) * active * tokens + (2 * active * tokens if checkpointing else 0)


def reading_flops(active: int, tokens: int) -> int:
    """A forward pass."""
    return 2 * active * tokens


def _layer(d: Dimensions, p: Pass) -> int:
    """What one layer keeps, scores apart.

    Of Llama, with hidden size h and intermediate size i, 44 h + 16 i bytes per token in float32, and 36 h + 8 i under
    autocast; Korthikanti et al. have 34 h in half precision for a GPT, whose i is 4 h, with dropout.
    """
    inputs = (_CAST_INPUTS if p.bf16 else _INPUTS) * d.hidden
    return p.tokens * (_FLOAT * d.norms + p.width * (inputs + _ATTENTION * d.attention + d.middle))


def _scores(d: Dimensions, p: Pass) -> int:
    """What one layer keeps of its attention scores: nothing where a fused kernel makes them anew.

    Without one they are kept before and after the softmax, with a dropout also its mask (the 5 a s^2 b of Korthikanti
    et al.). torch's kernel for CPUs knows no dropout.
    """
    dropped = p.dropout and d.drops
    if not d.scores and not (dropped and p.device == "cpu"):
        return 0
    return d.heads * p.tokens * p.length * (2 * p.width + dropped)


def _tile(d: Dimensions, p: Pass, copies: float) -> int:
    words = TILE_WORDS[p.device]
    if p.device == "cpu" or not d.vocabulary:
        words = min(d.vocabulary, words)  # a CPU takes what is used
    return round(min(p.tokens, _TILE_TOKENS) * words * (p.width + copies * _FLOAT))
