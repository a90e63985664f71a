"""What a training's processes find of the model that they began with and of the one that they made: logit probes, and
whether the base sees what it must not. For this the driver would have to hold a model whole; they need not.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from selfreward_bench.storage.files import write_atomic
from selfreward_bench.storage.fingerprint import weights_fingerprint
from trainers.checkpoints import logit_probe, read_card
from trainers.sharding import Sharding, reshard

__all__ = ["FILE", "Probes", "probe", "read_probes"]

FILE: Final = "probes.json"


@dataclass(frozen=True, slots=True)
class Probes:
    """What was computed of both, of the weights in their files.

    Attributes:
        parent, model: fingerprints of their weights.
        before, after: ``logit_probe`` of each.
        future, padding: of the first, by which part of the largest logit later tokens, or longer texts beside it,
            change what it computes (``engines.agreement``).
    """

    parent: str
    model: str
    before: list[float]
    after: list[float]
    future: float
    padding: float


def probe(parent: Path, out_dir: Path, sharding: Sharding | None, *, trust_remote_code: bool = False) -> None:
    """Writes ``OUT/probes.json``; of a sharded model all processes take part, else the first does it alone."""
    from selfreward_bench.engines.agreement import future_error, padding_error
    from selfreward_bench.engines.loading import release_memory

    is_first = os.environ.get("RANK", "0") == "0"
    if sharding is None and not is_first:
        return
    found: dict[str, Any] = {}
    for name, directory in (("before", parent), ("after", out_dir / "checkpoint")):
        model = _loaded(directory, sharding, trust_remote_code)
        found[name] = logit_probe(model)
        if name == "before":
            found |= {"future": future_error(model), "padding": padding_error(model)}
            reshard(model)
        del model
        release_memory()
    card = read_card(out_dir / "checkpoint")
    if is_first and card:
        made = weights_fingerprint(out_dir / "checkpoint")
        values = asdict(Probes(parent=card.parent_fingerprint, model=made, **found))
        write_atomic(out_dir / FILE, (json.dumps(values, indent=1) + "\n").encode())


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
