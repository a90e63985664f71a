"""Whether what a run needs fits into a machine, and which setting makes it fit where it does not.

A remedy is the mildest change found: first what alters nothing but speed, one setting before several. It is tried by
the same formulas that found the shortage, so a plan with it says that it fits.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Final

from selfreward_bench import recipes
from selfreward_bench.bases.optimizers import OPTIMIZERS
from selfreward_bench.config import DpoConfig, EngineConfig, RunConfig, SftConfig
from trainers.dimensions import Dimensions
from trainers.lengths import Measured, bounds
from trainers.memory import LIBRARIES, Device, state
from trainers.needs import Need, fewest_tokens, need_of

__all__ = ["Machine", "Shortage", "fewest_devices", "find_machine", "leanest", "shortages"]

_SHORTEST: Final = 128  # tokens of a record below which a shorter max_length is no advice
_STEP: Final = 64  # lengths and budgets of tokens are told in multiples of it
_PARTS: Final = 16  # of a budget of tokens, tried one less at a time
_MOST_DEVICES: Final = 4096
_GPU_DEVICES: Final = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg", "/dev/nvhost-gpu", "/dev/nvgpu")  # as Linux has them
_HALF: Final = 2  # bytes of a parameter, the fewest that the engine can take

#: section of the recipe -> kinds of stages whose memory its settings decide
SECTIONS: Final[dict[str, tuple[str, ...]]] = {
    "sft": ("baseline", "sft"),
    "dpo": ("reference", "dpo"),
    "engine": ("reviews", "prompts", "candidates", "judgments", "rehearsal", "answers", "verdicts"),
}


@dataclass(frozen=True, slots=True)
class Machine:
    """Where the run would be.

    Attributes:
        memory: bytes that one device has for it; None where nobody said.
        devices: how many there are.
        host, disk: bytes that are free; None of a machine that was only stated.
        source: how this is known.
    """

    device: Device
    memory: int | None
    devices: int
    source: str
    host: int | None = None
    disk: int | None = None

    def room(self, records: int) -> int | None:
        """Bytes for a model: on a CPU the libraries and the records are in the same memory."""
        if self.memory is None or self.device == "gpu":
            return self.memory
        return self.memory - LIBRARIES - records


@dataclass(frozen=True, slots=True)
class Shortage:
    """What does not fit of one section of the recipe.

    Attributes:
        needs: the kinds of stages that do not fit, the largest first.
        room: bytes there are.
        settings: changes that make all of them fit, as for ``--set``; empty where no setting does.
    """

    section: str
    needs: tuple[Need, ...]
    room: int
    settings: tuple[str, ...]


def find_machine(directory: Path) -> Machine:
    """This machine, as it is now; ``directory`` is where the run goes."""
    import psutil

    there = next(p for p in (directory.absolute(), *directory.absolute().parents) if p.exists())
    host, disk = psutil.virtual_memory().available, shutil.disk_usage(there).free
    if sys.platform == "linux" and not any(Path(device).exists() for device in _GPU_DEVICES):
        return Machine("cpu", host, 1, "available now on this machine", host, disk)
    import torch  # takes seconds

    if torch.cuda.is_available():
        free = min(torch.cuda.mem_get_info(i)[0] for i in range(torch.cuda.device_count()))
        return Machine("gpu", free, torch.cuda.device_count(), "free now on this machine's GPU", host, disk)
    return Machine("cpu", host, 1, "available now on this machine", host, disk)


def shortages(
    config: RunConfig, d: Dimensions, measured: Measured, found: tuple[Need, ...], machine: Machine, records: int = 0
) -> tuple[Shortage, ...]:
    """What does not fit into one device, each with its remedy.

    Args:
        records: bytes that the records of a training take of the host's memory.
    """
    room = machine.room(records)
    if room is None:
        return ()
    short = []
    for section, kinds in SECTIONS.items():
        asked = [need for need in found if need.kind in kinds]
        beyond = sorted((n for n in asked if n.memory.total > room), key=lambda n: -n.memory.total)
        if beyond:
            remedy = _remedy(section, [n.kind for n in asked], config, d, measured, machine.device, room)
            short.append(Shortage(section, tuple(beyond), room, remedy))
    return tuple(short)


def leanest(config: RunConfig) -> RunConfig:
    """The run with settings that take the least memory beside the weights: one record at a time, and checkpointing."""
    lean = ("micro_batch_size=1", "gradient_checkpointing=true")
    return recipes.change(config, [f"{section}.{setting}" for section in ("sft", "dpo") for setting in lean])


def fewest_devices(each: Callable[[int], int], memory: int) -> int | None:
    """The fewest devices, a power of two, of which each has to hold no more than it can; None where none do.

    Args:
        each: bytes that each of so many devices holds.

    >>> fewest_devices(lambda count: 1000 // count, memory=300)
    4
    """
    count = 2
    while each(count) > memory:
        count *= 2
        if count > _MOST_DEVICES:
            return None
    return count


def _remedy(
    section: str,
    kinds: Sequence[str],
    config: RunConfig,
    d: Dimensions,
    measured: Measured,
    device: Device,
    room: int,
) -> tuple[str, ...]:
    """The first of the choices with which all kinds of the section fit."""
    training = config.dpo if section == "dpo" else config.sft
    shards = (config.train.processes or 1) // config.train.replicas if config.train.sharding == "fsdp" else 1
    held = d.parameters * _HALF if section == "engine" else state(d, OPTIMIZERS[training.optim]) // shards
    if held >= room:
        return ()
    if section == "engine":
        least = max(fewest_tokens(kind, config, d, measured) for kind in kinds)
        choices = _engine_choices(config.engine, least)
    else:
        lengths = bounds(config, measured, d.positions)
        longest = lengths.answered if section == "dpo" else lengths.sft
        choices = _training_choices(section, training, longest, device)
    for settings in choices:
        changed = recipes.change(config, settings)
        if all(need_of(kind, changed, d, measured, device).memory.total <= room for kind in kinds):
            return settings
    return ()


def _training_choices(
    name: str, section: SftConfig | DpoConfig, longest: int, device: Device
) -> Iterator[tuple[str, ...]]:
    """Smaller micro batches, then checkpointing, bf16 on a GPU, no dropout on a CPU, and last shorter records."""
    now = section.micro_batch_size or section.batch_size
    switches = [] if section.gradient_checkpointing else [f"{name}.gradient_checkpointing=true"]
    if device == "gpu" and not section.bf16:
        switches.append(f"{name}.bf16=true")
    if device == "cpu" and isinstance(section, SftConfig) and section.dropout:
        switches.append(f"{name}.dropout=0")
    sizes = [n for n in range(now, 0, -1) if section.batch_size % n == 0]
    every = [on for count in range(len(switches) + 1) for on in combinations(switches, count)]
    for on, size in product(every, sizes):
        yield (*([] if size == now else [f"{name}.micro_batch_size={size}"]), *on)
    smallest = [] if now == 1 else [f"{name}.micro_batch_size=1"]
    for length, on in product(range(longest // _STEP * _STEP, _SHORTEST - 1, -_STEP), every):
        yield (*smallest, *on, f"{name}.max_length={length}")


def _engine_choices(engine: EngineConfig, least: int) -> Iterator[tuple[str, ...]]:
    """A smaller budget of tokens, then numbers of half the size."""
    now = engine.tokens_per_batch
    budgets = {-(-now * part // _PARTS // _STEP) * _STEP for part in range(1, _PARTS)} | {least}
    smaller = sorted((b for b in budgets if least <= b < now), reverse=True)
    for half, budget in product(((), ("engine.dtype=bfloat16",)), (now, *smaller)):
        yield (*(() if budget == now else (f"engine.tokens_per_batch={budget}",)), *half)
