"""What processes that hold parts of a model write: states to go on from, and the whole checkpoint at the end.

States are safetensors (weights and moments, a file per process) and JSON (the rest): nothing that is read runs code. A
checkpoint is put together from such files, each by one process, in the base's types; no process holds it.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from selfreward_bench.storage.files import write_atomic
from trainers.checkpoints import cannot_hold
from trainers.sharding import agreed, is_sharded, local, reshard

__all__ = ["ShardStates", "load_weights", "with_shard_states", "write_checkpoint"]

_SCALARS: Final = "state.json"
_PARTS: Final = "parts"
_FILE_BYTES: Final = 5 * 10**9  # of a checkpoint's file
_MODEL, _OPTIMIZER = "model.", "optimizer."


def with_shard_states(trainer: type, model: Any) -> Any:
    """The class of a trainer, whose states are shards where its model is one."""
    return type(trainer.__name__, (ShardStates, trainer), {}) if is_sharded(model) else trainer


class ShardStates:
    """Mixed into a trainer, before it: states are written by all processes, each its part."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        trainer: Any = self
        directory = Path(trainer.args.output_dir) / f"checkpoint-{trainer.state.global_step}"
        big, small = _state(trainer)
        if trainer.is_world_process_zero():
            directory.mkdir(parents=True, exist_ok=True)
        trainer.accelerator.wait_for_everyone()
        _write_parts(big, directory)
        if trainer.is_over:
            return
        _write_json(directory / f"random-{trainer.args.process_index}.json", _generators())
        if trainer.is_world_process_zero():
            schedule = {k: v for k, v in trainer.lr_scheduler.state_dict().items() if k != "lr_lambdas"}
            _write_json(directory / _SCALARS, {"optimizer": small, "schedule": schedule})
            trainer.state.save_to_json(str(directory / "trainer_state.json"))

    def _load_from_checkpoint(self, directory: str, model: Any = None) -> None:
        load_weights(self, Path(directory))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        import torch
        from torch.distributed.checkpoint.state_dict import set_optimizer_state_dict

        trainer: Any = self
        kept = json.loads((Path(checkpoint) / _SCALARS).read_text("utf-8"))
        found = _optimizer_state(trainer)
        _read_parts({_OPTIMIZER + k: v for k, v in found.items() if _is_big(v)}, Path(checkpoint))
        for name, value in found.items():
            if not _is_big(value):
                read = kept["optimizer"][name]
                if isinstance(value, torch.Tensor):
                    read = torch.tensor(read, dtype=value.dtype, device=value.device)
                found[name] = tuple(read) if isinstance(value, tuple) else read
        set_optimizer_state_dict(trainer.model, trainer.optimizer, found, options=_flat())
        trainer.lr_scheduler.load_state_dict({**trainer.lr_scheduler.state_dict(), **kept["schedule"]})

    def _load_rng_state(self, checkpoint: str | None) -> None:
        trainer: Any = self
        if checkpoint is not None:
            file = Path(checkpoint) / f"random-{trainer.args.process_index}.json"
            _set_generators(json.loads(file.read_text("utf-8")))


def load_weights(trainer: Any, directory: Path) -> None:
    """Gives a trainer's model the weights of a saved state."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

    weights = _trained(trainer.model)
    _read_parts({_MODEL + name: value for name, value in weights.items()}, directory)
    set_model_state_dict(trainer.model, weights, options=StateDictOptions(strict=False))


def write_checkpoint(model: Any, directory: Path, dtypes: Callable[[str], Any]) -> None:
    """Writes the weights of a sharded model into a directory in Hugging Face layout; all processes take part.

    Settings beside the weights are the first process's alone.

    Args:
        directory: the first process has made it, or makes it before it calls this.
        dtypes: name of a tensor -> torch's type that it is saved in.

    Raises:
        TrainingError: a weight is too large for its type; in all processes.
    """
    import torch

    reshard(model)
    _barrier()
    weights = {name: tensor.to(dtypes(name)) for name, tensor in _weights(model).items()}
    spoilt = (n for n, t in weights.items() if t.is_floating_point() and not bool(local(t).isfinite().all()))
    if name := agreed(next(spoilt, None)):
        raise cannot_hold(name, dtypes(name))
    if getattr(model, "_weight_conversions", None):  # its files name and arrange weights otherwise
        _write_gathered(model, weights, directory)
    else:
        _write_parts(weights, directory / _PARTS)
        _join_parts(weights, directory)
    if torch.distributed.get_rank() == 0:
        _write_settings(model, directory, weights)
    _barrier()


def _join_parts(weights: dict[str, Any], directory: Path) -> None:
    """One file after the other out of the parts of all processes, each file by one of them."""
    import torch
    from torch.distributed.checkpoint._consolidate_hf_safetensors import consolidate_safetensors_files_on_every_rank

    files: dict[str, int] = {}
    filled = 0
    for name, tensor in weights.items():
        size = tensor.numel() * tensor.dtype.itemsize
        number = max(files.values(), default=1)
        if filled and filled + size > _FILE_BYTES:
            number, filled = number + 1, 0
        filled += size
        files[name] = number
    consolidate_safetensors_files_on_every_rank(str(directory / _PARTS), str(directory), files)
    _barrier()
    if torch.distributed.get_rank() == 0:
        shutil.rmtree(directory / _PARTS)
        count = max(files.values())
        named = [f"model-{n:05d}-of-{count:05d}.safetensors" for n in range(count + 1)]
        if count == 1:
            (directory / named[1]).rename(directory / "model.safetensors")
            return
        total = sum(tensor.numel() * tensor.dtype.itemsize for tensor in weights.values())
        index = {"metadata": {"total_size": total}, "weight_map": {n: named[at] for n, at in files.items()}}
        text = json.dumps(index, indent=2, sort_keys=True) + "\n"
        (directory / "model.safetensors.index.json").write_text(text, "utf-8")


def _write_gathered(model: Any, weights: dict[str, Any], directory: Path) -> None:
    """By transformers, which arranges them as in the base's files; the first process then holds all, in memory."""
    import torch

    whole = {}
    for name, tensor in weights.items():
        full = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
        if torch.distributed.get_rank() == 0:
            whole[name] = full.cpu()
    if torch.distributed.get_rank() == 0:
        model.config.distributed_config = None  # or every process would have to take part
        model.save_pretrained(directory, state_dict=whole)


def _write_settings(model: Any, directory: Path, weights: dict[str, Any]) -> None:
    """What ``save_pretrained`` writes beside the weights."""
    config = model.config
    first = next((weights[n] for n, p in model.named_parameters() if n in weights and p.is_floating_point()), None)
    if first is not None:
        config.dtype = _name(first.dtype)
    config.architectures = [type(model).__name__.removeprefix("FSDP")]
    if model.is_remote_code():
        from transformers.dynamic_module_utils import custom_object_save

        custom_object_save(model, str(directory), config=config)
    config.save_pretrained(str(directory))
    if model.can_generate():
        model.generation_config.save_pretrained(str(directory))


# --- what a state is made of


def _state(trainer: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tensors of weights and moments by name, and the numbers beside them; after the last step weights alone."""
    found = {} if trainer.is_over else _optimizer_state(trainer)
    big = {_MODEL + name: value for name, value in _trained(trainer.model).items()}
    big |= {_OPTIMIZER + name: value for name, value in found.items() if _is_big(value)}
    small = {k: v.item() if hasattr(v, "item") else v for k, v in found.items() if not _is_big(v)}
    return big, small


def _weights(model: Any) -> dict[str, Any]:
    """All tensors of a model, those that are one and the same once."""
    from torch.distributed.checkpoint.state_dict import get_model_state_dict

    tied = getattr(model, "all_tied_weights_keys", None) or {}
    return {name: tensor for name, tensor in get_model_state_dict(model).items() if name not in tied}


def _trained(model: Any) -> dict[str, Any]:
    """Those that are trained, with the buffers: of a model with an adapter the adapter's alone."""
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    weights = _weights(model)
    return {name: tensor for name, tensor in weights.items() if name not in frozen} if frozen else weights


def _optimizer_state(trainer: Any) -> dict[str, Any]:
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

    found: dict[str, Any] = get_optimizer_state_dict(trainer.model, trainer.optimizer, options=_flat())
    return found


def _flat() -> Any:
    from torch.distributed.checkpoint.state_dict import StateDictOptions

    return StateDictOptions(flatten_optimizer_state_dict=True, strict=False)


def _is_big(value: Any) -> bool:
    return bool(getattr(value, "ndim", 0))


def _write_parts(tensors: dict[str, Any], directory: Path) -> None:
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    save(tensors, storage_writer=HuggingFaceStorageWriter(path=str(directory), save_distributed=True))


def _read_parts(tensors: dict[str, Any], directory: Path) -> None:
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    if tensors:
        load(tensors, storage_reader=HuggingFaceStorageReader(str(directory)))


def _generators() -> dict[str, Any]:
    """The random generators of this process."""
    import numpy as np
    import torch

    drawn: Any = np.random.get_state(legacy=True)
    name, keys, *rest = drawn
    found: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": [name, keys.tolist(), *rest],
        "torch": torch.get_rng_state().numpy().tobytes().hex(),
    }
    if torch.cuda.is_available():
        found["cuda"] = torch.cuda.get_rng_state().numpy().tobytes().hex()
    return found


def _set_generators(found: dict[str, Any]) -> None:
    import numpy as np
    import torch

    version, numbers, gauss = found["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = found["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(_bytes(found["torch"]))
    if "cuda" in found and torch.cuda.is_available():
        torch.cuda.set_rng_state(_bytes(found["cuda"]))


def _bytes(text: str) -> Any:
    import torch

    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)


def _write_json(file: Path, value: object) -> None:
    write_atomic(file, (json.dumps(value, sort_keys=True) + "\n").encode())


def _name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def _barrier() -> None:
    import torch

    torch.distributed.barrier()
