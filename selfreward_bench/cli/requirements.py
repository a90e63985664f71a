"""What a run will need, as tables and sentences: for ``srbench plan`` and ``run-iteration --dry-run``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final

from selfreward_bench.cli.console import Columns, show
from selfreward_bench.hardware import GIB

if TYPE_CHECKING:
    from selfreward_bench.prices import PriceTable
    from trainers.calls import RoleCalls
    from trainers.fitting import Machine, Shortage
    from trainers.memory import Memory
    from trainers.needs import Need
    from trainers.requirements import Requirements

_EXAMPLE_GPU: Final = 80  # GiB of the device that is named where none was
_HOW: Final = "--set train.launch=auto --set train.sharding=fsdp"
_PARTS: Final = ("weights", "gradients", "moments", "activations", "logits", "cache")


def show_requirements(found: Requirements) -> None:
    """Prints the base, tokens, memory, disk, and what does not fit."""
    if not found.needs:
        show("\nNothing that needs a model is left to be done.")
        return
    d = found.dimensions
    active = f", {d.active:,} of them at work for a token" if d.active != d.parameters else ""
    show(f"\nThe base, {found.config.base}: {d.parameters:,} parameters{active} ({d.source}).")
    show(_tokens(found))
    show("(<= the most that the settings allow, ~ a mean of the seed data or of finished stages)")
    train = found.config.train
    over = f", trainings sharded over {train.processes}" if _is_sharded(found) else ""
    show(f"\nMemory of one device{over} ({_held(found)}):")
    show(_memory(found))
    for line in (*_beside(found), *verdict(found)):
        show(line)
    if found.assumed:
        show(f"\nAssumed: {'; '.join(found.assumed)}.")


def _is_sharded(found: Requirements) -> bool:
    return found.config.train.sharding != "none" and (found.config.train.processes or 1) > 1


def verdict(found: Requirements) -> Iterator[str]:
    """Whether it fits, and what would make it fit."""
    machine = found.machine
    yield from (f"\n{paragraph}" for paragraph in _shortages(found))
    if found.lacks_host:
        yield f"\nThe host's memory does not suffice: {_size(found.host.total)} of {_size(machine.host or 0)}."
    if found.lacks_disk:
        yield (
            f"\nThe disk does not suffice: {_size(found.disk.total)} of {_size(machine.disk or 0)} free. A larger "
            "save_every keeps fewer states; `--until` makes fewer models."
        )
    if not _is_sharded(found) and machine.devices > 1 and machine.memory is None and (trained := _trained(found)):
        yield f"\nSharded ({_HOW}) {_shards(trained, found, machine.devices, None)}."
    if found.fits:
        known = "" if found.dimensions.layers else ", as far as the number of parameters tells"
        yield f"\nIt fits into {_size(machine.memory or 0)} ({machine.source}){known}."
    elif found.fits is None:
        yield "\nWhether it fits was not asked: state the memory of a device, such as --gpu-memory 80."


def as_json(found: Requirements, prices: PriceTable | None = None) -> dict[str, Any]:
    """The same numbers: bytes, tokens, floating-point operations, seconds, the currency of ``prices``.

    ``sharded``: bytes per GPU if weights, gradients and moments were divided among those that were stated, at
    micro_batch_size=1 with gradient_checkpointing.
    """
    devices, trained = found.machine.devices, _trained(found)
    return {
        "name": found.config.name,
        "base": found.config.base,
        "until": found.plan.until,
        "dimensions": asdict(found.dimensions),
        "stages": [
            {
                "name": load.stage.name,
                "status": load.stage.status,
                "work": load.stage.work.number,
                "work_is_exact": load.stage.work.exact,
                "done": load.stage.done,
                "unit": load.stage.unit,
                "read": asdict(load.read),
                "written": asdict(load.written),
                "flops": load.flops,
                "seconds": load.stage.seconds,
                "seconds_from": load.stage.source,
            }
            for load in found.loads
        ],
        "memory": [
            {"kind": need.kind, "stages": need.stages, "batch": need.batch, **asdict(need.memory)}
            | {"total": need.memory.total}
            for need in found.needs
        ],
        "host": asdict(found.host) | {"total": found.host.total},
        "disk": asdict(found.disk) | {"total": found.disk.total},
        "machine": asdict(found.machine),
        "sharded": _each(trained, found, devices) if devices > 1 and trained else None,
        "fits": found.fits,
        "short": [
            {"section": s.section, "kinds": [n.kind for n in s.needs], "room": s.room, "settings": s.settings}
            for s in found.short
        ],
        "served": [_asked(role, prices) for role in found.served],
        "assumed": found.assumed,
    }


def _asked(role: RoleCalls, prices: PriceTable | None) -> dict[str, Any]:
    """What a served model in a role is asked at most, and what that costs; None without its price."""
    from selfreward_bench.prices import Usage

    calls = role.calls
    cost = prices.cost(role.model, Usage(calls.prompt_tokens, calls.completion_tokens)) if prices else None
    return {
        "role": role.role,
        "model": role.name,
        "calls": calls.calls,
        "read": calls.prompt_tokens,
        "written": calls.completion_tokens,
        "cost": cost,
        "currency": prices.currency if prices and cost is not None else None,
    }


def _trained(found: Requirements) -> list[Need]:
    return [need for need in found.needs if need.memory.moments]


def _tokens(found: Requirements) -> Columns:
    rows = [
        (load.stage.name, str(load.read), str(load.written), f"{load.flops:.1e}".replace("+", ""))
        for load in found.loads
        if load.flops
    ]
    return Columns(("STAGE", "TOKENS READ", "TOKENS WRITTEN", "FLOP"), rows, right=(1, 2, 3))


def _memory(found: Requirements) -> Columns:
    from trainers.needs import TITLES

    unit, size = _unit(found)
    rows = [
        (
            TITLES[need.kind],
            *(f"{part / size:,.1f}" if (part := getattr(need.memory, name)) else "-" for name in _PARTS),
            f"{need.memory.total / size:,.1f}",
        )
        for need in found.needs
    ]
    return Columns((unit, *(name.upper() for name in _PARTS), "TOTAL"), rows, right=range(1, len(_PARTS) + 2))


def _unit(found: Requirements) -> tuple[str, int]:
    largest = max((need.memory.total for need in found.needs), default=0)
    return ("GiB", GIB) if largest >= GIB else ("MiB", 2**20)


def _held(found: Requirements) -> str:
    """What is in memory at once."""
    from trainers.needs import TITLES

    batches = {need.batch: TITLES[need.kind] for need in found.needs}
    return "; ".join(f"{title}: {batch}" for batch, title in batches.items())


def _beside(found: Requirements) -> Iterator[str]:
    host, disk = found.host, found.disk
    if found.machine.device == "gpu":
        yield (
            f"Host memory: {_size(host.total)}, of it {_size(host.weights)} while a checkpoint is loaded or compared "
            f"and {_size(host.records)} for a training's records."
        )
    else:
        yield f"A training's records take {_size(host.records)} more, Python and its libraries {_size(_libraries())}."
    download = f"the base {_size(disk.download)}, " if disk.download else ""
    yield (
        f"Disk: {_size(disk.total)}: {download}checkpoints {_size(disk.checkpoints)}, saved states "
        f"{_size(disk.states)}, records and evaluations {_size(disk.records)}."
    )


def _libraries() -> int:
    from trainers.memory import LIBRARIES

    return LIBRARIES


def _shortages(found: Requirements) -> Iterator[str]:
    """A paragraph for what settings mend, one for trainings that no setting makes fit, and one for generation."""
    for short in found.short:
        if short.settings:
            yield f"{_beyond([short], found)} It fits with {' '.join(f'--set {s}' for s in short.settings)}."
    helpless = [short for short in found.short if not short.settings]
    if trainings := [short for short in helpless if short.section != "engine"]:
        sentences = [_beyond(trainings, found), "No setting makes it fit.", *_sharding(trainings, found)]
        yield " ".join(sentences)
    for short in helpless:
        if short.section == "engine":
            yield f"{_beyond([short], found)} No setting makes it fit. {_spreading(short, found.machine)}"


def _beyond(short: Sequence[Shortage], found: Requirements) -> str:
    from trainers.needs import TITLES

    beyond = [need for s in short for need in s.needs]
    names = ", ".join(TITLES[need.kind] for need in beyond)
    most = max(need.memory.total for need in beyond)
    room = f"{_size(short[0].room)} are there ({found.machine.source})"
    return f"Does not fit: {names}. It takes {_size(most)} on one device, and {room}."


def _sharding(short: Sequence[Shortage], found: Requirements) -> Iterator[str]:
    """What full training of a model of this size would take."""
    from selfreward_bench.bases.optimizers import largest_optimizer
    from selfreward_bench.config import LoraConfig
    from trainers.dimensions import with_adapters
    from trainers.fitting import fewest_devices
    from trainers.memory import state

    d, machine = found.dimensions, found.machine
    optimizer = largest_optimizer(found.config)
    needs = [need for s in short for need in s.needs]
    if d.adapted is None:
        yield (
            f"Full training in one process needs {state(d, optimizer) / 1e12:,.2g} TB on one device, "
            f"{state(d, optimizer) / d.parameters:.3g} bytes of each of {d.parameters:,} parameters, and activations "
            "on top."
        )
    else:
        yield (
            f"Training adapters in one process needs {_size(state(d, optimizer))} on one device for {d.parameters:,} "
            f"frozen parameters and {d.adapted:,} trained ones, and activations on top."
        )
    memory = _device(machine)
    count = machine.devices if machine.devices > 1 else fewest_devices(lambda n: _each(needs, found, n), memory)
    if count is None:
        yield f"What one record takes exceeds a GPU of {_size(memory)} by itself."
        return
    fits = "." if _each(needs, found, count) <= memory else ", which does not fit either."
    if _is_sharded(found):
        fewer = "with gradient_checkpointing, bf16 and a micro_batch_size of 1 a process holds least"
        yield f"It is sharded over {found.config.train.processes} processes already; {fewer}, and more of them less."
        return
    yield f"It needs sharding ({_HOW}): {_shards(needs, found, count, memory)}{fits}"
    if d.adapted is None:
        frozen = with_adapters(d, LoraConfig())
        besides = max(held.activations + held.logits for held in _leanest(needs, found, 1))
        yield (
            f"LoRA (--set 'lora={{}}') holds about {_size(state(frozen, optimizer) + besides)} on one device: frozen "
            "weights, adapters, activations and logits."
        )


def _shards(needs: Sequence[Need], found: Requirements, count: int, memory: int | None) -> str:
    from selfreward_bench.bases.optimizers import largest_optimizer
    from trainers.memory import state

    of = f" of {_size(memory)}" if memory else ""
    states = _size(state(found.dimensions, largest_optimizer(found.config)) / count)
    return (
        f"over {count} GPUs{of} each would hold {_size(_each(needs, found, count))}, of it {states} of these states, "
        "at micro_batch_size=1 with gradient_checkpointing"
    )


def _each(needs: Sequence[Need], found: Requirements, count: int) -> int:
    """What each of so many GPUs would hold of the largest training, one record at a time."""
    return max(held.total for held in _leanest(needs, found, count))


def _leanest(needs: Sequence[Need], found: Requirements, count: int) -> list[Memory]:
    from trainers.fitting import leanest
    from trainers.memory import training
    from trainers.needs import training_pass

    d, config = found.dimensions, leanest(found.config)
    passes = [training_pass(need.kind, config, d, found.measured, "gpu") for need in needs]
    return [training(d, replace(step, shards=count)) for step in passes]


def _spreading(short: Shortage, machine: Machine) -> str:
    from trainers.fitting import fewest_devices

    most = short.needs[0].memory.total
    memory = _device(machine)
    count = fewest_devices(lambda devices: most // devices, memory)
    return (
        f"Spread it over GPUs by engine.kind=vllm with engine.args=--tensor-parallel-size {count}: each of {count} "
        f"GPUs of {_size(memory)} would hold {_size(most / (count or 1))}."
    )


def _device(machine: Machine) -> int:
    """The memory of the GPU that is spoken of: what was stated or found, else an example."""
    return machine.memory if machine.device == "gpu" and machine.memory else _EXAMPLE_GPU * GIB


def _size(count: float) -> str:
    """Bytes in words.

    >>> _size(3 * 2**30), _size(5 * 2**20)
    ('3.0 GiB', '5 MiB')
    """
    if count >= 1000 * GIB:
        return f"{count / GIB:,.0f} GiB"
    return f"{count / GIB:,.1f} GiB" if count >= GIB else f"{count / 2**20:,.0f} MiB"
