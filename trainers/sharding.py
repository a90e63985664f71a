"""Trainings whose weights, gradients and optimizer are shared out over processes (PyTorch's FSDP2), or over each of
several groups of them (replicas of shards).

transformers shards a model while it reads it, so no process ever holds it whole. TRL's trainers then train it as any
other; what differs is here: what is refused, when gradients are exchanged, how an adapter is merged. How states and
checkpoints are written is in ``trainers.shards``.

Silently wrong without care, twice. A matrix that is both input and output (tied) is gathered from two places, which are
one only where its rows can be divided evenly; else one of them keeps its first numbers (``share_tied``). And a forward
pass leaves the embeddings, the last norm and the output layer gathered: an optimizer that is made then trains copies of
them which nothing reads, from a first DPO loss of exactly ln 2 on. So they are shared out again behind a pass outside a
step (``reshard``), and a training begins with a look at it (``ready``).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from selfreward_bench.config import DpoConfig, LoraConfig, SftConfig, TrainConfig
from selfreward_bench.errors import ConfigError, LoopViolation
from selfreward_bench.storage.adapters import parts
from selfreward_bench.storage.fingerprint import weights_dtypes

__all__ = [
    "OPTIMIZERS",
    "Sharding",
    "agreed",
    "in_half",
    "is_sharded",
    "local",
    "merged",
    "ready",
    "reshard",
    "sharding_of",
    "share_tied",
    "unhashed",
    "unsynchronised",
    "usable",
]

T = TypeVar("T")
#: optimizers that work on a part of a tensor as on the whole, and whose states are named tensors
OPTIMIZERS: Final = ("adamw_torch_fused", "adamw_torch", "adagrad", "rmsprop", "sgd")


@dataclass(frozen=True, slots=True)
class Sharding:
    """How a model is shared out.

    Attributes:
        replicas: how often the whole of it is there; each is sharded over as many processes.
    """

    replicas: int = 1

    @property
    def shards(self) -> int:
        """Over how many processes a replica is shared out: all that a launcher started, divided by the replicas.

        Raises:
            ConfigError: they cannot be divided so.
        """
        processes = int(os.environ.get("WORLD_SIZE") or "1")
        if processes % self.replicas:
            raise ConfigError(
                f"train.replicas is {self.replicas}, and {processes} processes cannot be divided into as many equal "
                "groups. Make train.processes a multiple of it."
            )
        return processes // self.replicas

    def loading(self, bf16: bool) -> dict[str, Any]:
        """What ``from_pretrained`` has to be told.

        Args:
            bf16: computes, and exchanges weights, in bfloat16; weights, gradients and optimizer stay float32.
        """
        from transformers.distributed import DistributedConfig

        return {
            "distributed_config": DistributedConfig(
                fsdp_size=self.shards, dp_replicate_size=self.replicas, fsdp_mixed_precision=bf16
            )
        }


def sharding_of(train: TrainConfig) -> Sharding | None:
    """What a recipe asks for; None where each process holds the whole model."""
    return Sharding(train.replicas) if train.sharding == "fsdp" else None


def usable(
    sharding: Sharding | None, source: Path, config: SftConfig | DpoConfig, lora: LoraConfig | None
) -> Sharding | None:
    """How a model is shared out here: None in a single process.

    Raises:
        ConfigError: something is asked for that cannot be done with parts of a model.
    """
    if sharding is None or sharding.shards * sharding.replicas == 1:
        return None
    if config.optim not in OPTIMIZERS:
        raise ConfigError(
            f"optim={config.optim} does not work on parts of a tensor (train.sharding=fsdp). Take one of "
            f"{', '.join(OPTIMIZERS)}."
        )
    if lora and lora.quantize:
        raise ConfigError(
            f"lora.quantize={lora.quantize} and train.sharding=fsdp do not go together: quantised weights cannot be "
            "shared out. Leave one of them out."
        )
    if lora and lora.merge and config.save_dtype == "float32" and weights_dtypes(parts(source).weights)[0] != "F32":
        raise ConfigError(
            "save_dtype=float32 with lora.merge and train.sharding=fsdp needs a base in float32: shards are merged in "
            "the type that they are in. Leave save_dtype out, or set lora.merge to false."
        )
    return sharding


def is_sharded(model: Any) -> bool:
    """Whether a process holds a part of it only; also of one with an adapter."""
    return bool(getattr(model, "_is_fsdp_managed_module", False))


def in_half(model: Any) -> bool:
    """Whether a sharded model computes in bfloat16 whatever its weights are."""
    return is_sharded(model) and bool(model.config.distributed_config.fsdp_mixed_precision)


def reshard(model: Any) -> None:
    """Gives back what a forward pass has gathered. Nothing is done to a model that is not sharded."""
    for module in _shared_out(model):
        module.reshard()


def share_tied(model: Any) -> None:
    """Has all that gather one and the same weight gather it from one place, also where that is padded."""
    places: dict[int, dict[int, Any]] = {}
    for module in _shared_out(model):
        group = module._get_fsdp_state()._fsdp_param_group
        for found in group.fsdp_params if group else ():
            weight = getattr(found._module_info.module, found._module_info.param_name)
            places.setdefault(id(weight), {})[id(found)] = found
    for tied in (list(each.values()) for each in places.values() if len(each) > 1):
        for found in tied:
            found.reset_sharded_param()
        for found in tied:
            found._sharded_param_data = tied[-1]._sharded_param_data


def ready(model: Any) -> None:
    """Raises LoopViolation where an optimizer that is made now would train what nothing reads (see above)."""
    if not is_sharded(model):
        return
    from torch.distributed.tensor import DTensor

    reshard(model)
    stray = [n for n, p in model.named_parameters() if not isinstance(p, DTensor) and "lora_" not in n]
    if stray:
        raise LoopViolation(f"{len(stray)} weights are not shared out and would not be trained, first {stray[0]}.")


def unsynchronised(trainer: Any, model: Any) -> AbstractContextManager[None]:
    """For the passes of a step before its last: gradients are summed up here, and exchanged later.

    Between replicas; within one they are shared out at once, or they would not fit.
    """
    if is_sharded(trainer.model):
        return _deferred(trainer.model)
    waiting: AbstractContextManager[None] = trainer.accelerator.no_sync(model)
    return waiting


@contextlib.contextmanager
def _deferred(model: Any) -> Iterator[None]:
    (root, *_) = _shared_out(model)
    if model.config.distributed_config.dp_replicate_size > 1:
        root.set_requires_all_reduce(False)
    else:
        root.set_requires_gradient_sync(False)
    try:
        yield
    finally:
        root.set_requires_gradient_sync(True)


@contextlib.contextmanager
def unhashed(model: Any) -> Iterator[None]:
    """TRL's hash of a reference, by which it would find a cache that is not used here, cannot be made of shards."""
    if not is_sharded(model):
        yield
        return
    from trl.trainer import dpo_trainer

    usual = dpo_trainer.hash_module
    dpo_trainer.hash_module = lambda module: ""
    try:
        yield
    finally:
        dpo_trainer.hash_module = usual


def merged(model: Any) -> Any:
    """The base of a peft model with its adapter merged into it; what is given is used up.

    An adapter is whole in each process; each adds its part of it, a layer at a time.
    """
    if not is_sharded(model):
        return model.merge_and_unload()
    import torch
    from peft.tuners.lora import LoraLayer
    from torch.distributed.tensor import distribute_tensor

    reshard(model)
    with torch.no_grad():
        for layer in (m for m in model.modules() if isinstance(m, LoraLayer)):
            weight = layer.get_base_layer().weight
            for adapter in layer.active_adapters:
                delta: Any = layer.get_delta_weight(adapter)
                weight.add_(distribute_tensor(delta, weight.device_mesh, weight.placements))
    return model.unload()


def local(tensor: Any) -> Any:
    """What this process holds of a tensor."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def agreed(found: T | None) -> T | None:
    """What any process found, in all of them: the first's that found something."""
    import torch

    if not torch.distributed.is_initialized():
        return found
    every: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(every, found)
    return next((each for each in every if each is not None), None)


def _shared_out(model: Any) -> list[Any]:
    """The parts that are gathered and given back as one, the whole first."""
    if not is_sharded(model):
        return []
    from torch.distributed.fsdp import FSDPModule

    return [module for module in model.modules() if isinstance(module, FSDPModule)]
