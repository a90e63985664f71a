"""The arguments TRL gets, from a recipe's: for one device of each process, and for a process's part of each step."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from selfreward_bench.bases.optimizers import require_optimizer
from selfreward_bench.config import DpoConfig, SftConfig
from selfreward_bench.errors import ConfigError
from trainers.batches import Split
from trainers.sharding import Sharding

__all__ = ["OneDevice", "arguments", "split_of", "training_arguments"]


class OneDevice:
    """Mixed into TRL's configurations, before them: a process trains on one device.

    transformers would spread each micro batch over all GPUs it sees, and so multiply the batch.
    """

    @property
    def visible_gpus(self) -> int:
        """GPUs that transformers would take."""
        arguments: Any = super()
        return int(arguments.n_gpu)

    @property
    def n_gpu(self) -> int:
        return min(self.visible_gpus, 1)

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """transformers pickles its arguments into each saved state, where nothing reads them."""
        return dict, ()


def arguments(kind: type, **values: Any) -> Any:
    """A TRL configuration of this class, for one device."""
    return type(kind.__name__, (OneDevice, kind), {})(**values)


def training_arguments(
    config: SftConfig | DpoConfig, resume: Path, seed: int, sharding: Sharding | None = None
) -> dict[str, Any]:
    """The settings both TRL configurations take.

    Args:
        sharding: with it precision is the model's own, and states are ``trainers.shards``'s.

    Raises:
        ConfigError: the batch size cannot be made of micro batches.
        MissingDependencyError: the optimizer's library is not installed.
    """
    import torch

    require_optimizer(config)
    return {
        "output_dir": str(resume),
        "seed": seed % 2**32,
        "per_device_train_batch_size": _micro(config),  # passes over the step's others are ``ExactTrainer``'s
        "num_train_epochs": config.epochs,
        "learning_rate": config.learning_rate,
        "lr_scheduler_kwargs": {"min_lr": config.final_learning_rate},  # for ``ExactTrainer.create_scheduler``
        "warmup_steps": config.warmup_fraction,  # a value below 1 is a fraction of all steps
        "weight_decay": config.weight_decay,
        "adam_beta2": config.adam_beta2,
        "optim": config.optim,
        "bf16": config.bf16 and sharding is None,
        "activation_checkpointing": config.gradient_checkpointing,  # what transformers calls it now
        "use_cpu": not torch.accelerator.is_available(),
        "save_strategy": "steps",
        "save_steps": config.save_every,
        "save_only_model": sharding is not None,
        "save_total_limit": 2,  # the one before stays until the new one is whole
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "remove_unused_columns": False,
        "report_to": "none",
        "disable_tqdm": True,
        "max_length": config.max_length,
    }


def _micro(config: SftConfig | DpoConfig) -> int:
    """Most examples of a forward pass; without a setting a process takes its share of a step in one."""
    processes = int(os.environ.get("WORLD_SIZE") or "1")
    micro = config.micro_batch_size
    if micro is None:
        return -(-config.batch_size // processes)
    if config.batch_size % (micro * processes):
        raise ConfigError(
            f"batch_size {config.batch_size} cannot be made of micro batches of {micro} on {processes} process(es). "
            "Choose a micro_batch_size such that batch_size is a multiple of micro_batch_size x processes."
        )
    return micro


def split_of(args: Any, config: SftConfig | DpoConfig) -> Split:
    """How this process takes part in each step; ``args`` knows which one it is."""
    return Split(
        config.batch_size,
        args.per_device_train_batch_size,
        args.world_size,
        args.process_index,
        config.micro_tokens,
        sequences=2 if isinstance(config, DpoConfig) else 1,
    )
