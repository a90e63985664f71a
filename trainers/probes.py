"""What a training's processes find of the model that they began with and of the one that they made: logit probes, and
whether the base sees what it must not, or is trained on what it does not compute. For this the driver would have to
hold a model whole; they need not.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from selfreward_bench.engines.quantised import import_quietly
from selfreward_bench.storage.files import write_atomic
from selfreward_bench.storage.fingerprint import weights_fingerprint
from trainers.checkpoints import logit_probe, read_card
from trainers.sharding import Sharding, reshard

__all__ = ["FILE", "Probes", "base_fault", "head_error", "probe", "read_probes"]

FILE: Final = "probes.json"
_TOKENS: Final = 16  # of the text that the output head is tried on
_TOLERANCE: Final = 1e-2  # of the largest logit, in float32; what is wrong is far beyond it
_FUTURE: Final = 1e-4  # likewise of what later tokens change, which is nothing; of small random weights it is little
_NOISE: Final = re.compile("jitter|layer_?drop|drop_path|noise")  # dropout is set to the recipe's
_LEAST: Final = 1e-3  # of a largest logit: rounding alone is large beside smaller ones


@dataclass(frozen=True, slots=True)
class Probes:
    """What was computed of both, of the weights in their files.

    Attributes:
        parent, model: fingerprints of their weights.
        before, after: ``logit_probe`` of each.
        future, padding: of the first, by which part of the largest logit later tokens, or longer texts beside it,
            change what it computes (``engines.agreement``).
        head: of the first, how far TRL's output head is from its own (``head_error``).
        training: of the first, how far what it computes in training is from what it computes in answering.
    """

    parent: str
    model: str
    before: list[float]
    after: list[float]
    future: float
    padding: float
    head: float
    training: float


def probe(parent: Path, out_dir: Path, sharding: Sharding | None, *, trust_remote_code: bool = False) -> None:
    """Writes ``OUT/probes.json``; of a sharded model all processes take part, else the first does it alone."""
    from selfreward_bench.engines.agreement import future_error, padding_error, training_error
    from selfreward_bench.engines.loading import release_memory

    is_first = os.environ.get("RANK", "0") == "0"
    if sharding is None and not is_first:
        return
    found: dict[str, Any] = {}
    for name, directory in (("before", parent), ("after", out_dir / "checkpoint")):
        model = _loaded(directory, sharding, trust_remote_code)
        found[name] = logit_probe(model)
        if name == "before":
            found |= {"future": future_error(model), "padding": padding_error(model), "head": head_error(model)}
            found["training"] = training_error(model)
            reshard(model)
        del model
        release_memory()
    card = read_card(out_dir / "checkpoint")
    if is_first and card:
        made = weights_fingerprint(out_dir / "checkpoint")
        values = asdict(Probes(parent=card.parent_fingerprint, model=made, **found))
        write_atomic(out_dir / FILE, (json.dumps(values, indent=1) + "\n").encode())


def base_fault(
    name: str, config: Mapping[str, Any], *, future: float, padding: float, training: float, head: float = 0.0
) -> str | None:
    """Why a base cannot be trained of which this was measured (``Probes``), in a sentence; None where it can.

    Args:
        name: its architecture's.
        config: its ``config.json``.
    """
    if future > _FUTURE:
        return (
            f"{name} sees later tokens: with another last token it computes something else for the ones before. "
            "Trained, it would copy the answer that it is shown."
        )
    if padding > _TOLERANCE:
        return (
            f"What {name} computes of a text depends on the longer texts in its batch, so DPO's reference would not "
            "hold."
        )
    if training > _FUTURE:
        drawn = sorted(key for key, value in config.items() if value and _NOISE.search(key))
        way_out = f"Set {' and '.join(drawn)} to 0 in config.json." if drawn else "Take another base."
        return (
            f"{name} computes something else in training than in answering (by {training:.2g} of the largest logit, "
            f"drawn at random), so DPO's reference would not hold. {way_out}"
        )
    if head > _TOLERANCE:
        return (
            f"TRL cannot train {name}: it takes the output matrix for all that follows the layers, which misses the "
            f"model's own log-probabilities by {head:.2g} of the largest logit (another layer, a scale or a cap). What "
            "is trained would not be what answers."
        )
    return None


def head_error(model: Any) -> float:
    """How far the log-probabilities that TRL trains on are from the model's own, in units of the largest logit.

    TRL multiplies what the layers give by the output matrix itself, tile by tile, with the scales and caps that it
    knows the names of; an architecture that does more with it would be trained as another one.
    """
    import torch

    import_quietly()  # TRL imports it
    from trl.trainer.utils import add_fused_lm_head

    from selfreward_bench.engines.agreement import probe_ids

    ids = torch.tensor([probe_ids(_TOKENS, model.get_input_embeddings().weight.shape[0])], device=model.device)
    before, training = vars(model).get("forward"), model.training
    model.eval()
    try:
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0, :-1].float()
            add_fused_lm_head(model)
            found = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids, fused_lm_head=True)
    finally:
        vars(model).pop("forward", None)
        if before is not None:
            model.forward = before
        model.train(training)
    own = logits.log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
    return float((found.log_probs[0] - own).abs().max() / logits.abs().max().clamp(min=_LEAST))


def read_probes(out_dir: Path, parent: str, model: str | None = None) -> Probes | None:
    """What is there of a training from a parent of this fingerprint, to a model of that one where it is given; None
    where its processes left nothing, or another checkpoint was chosen since."""
    try:
        found = Probes(**json.loads((out_dir / FILE).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return found if found.parent == parent and model in (None, found.model) else None


def _loaded(directory: Path, sharding: Sharding | None, trust_remote_code: bool) -> Any:
    from trainers.bases import load_model

    return load_model(directory, 0.0, sharding=sharding, trust_remote_code=trust_remote_code).model.eval()
