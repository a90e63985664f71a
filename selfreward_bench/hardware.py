"""What a result was computed on: the machine, as far as speed and the last bits of numbers depend on it.

Nothing in it tells whose machine it is: no host, user or path. torch is asked only where it is loaded already.
"""

from __future__ import annotations

import os
import platform
import sys
from functools import cache
from pathlib import Path
from typing import Any, Final

import psutil

__all__ = ["GIB", "Hardware", "gib", "hardware", "usable_cores"]

#: a name -> what was found; what cannot be told is left out
Hardware = dict[str, str | int | float]

GIB: Final = 2**30


def hardware() -> Hardware:
    """The machine, flat.

    ``platform``, ``cpu``; ``physical_cores``, ``logical_cores`` of the machine and ``usable_cores`` of this process;
    ``memory_gib``; and where torch is loaded ``torch_device`` (what it takes unless told otherwise), ``torch_threads``,
    ``torch_cpu`` (which of its kernels, such as ``AVX2``, as the processor or ``ATEN_CPU_CAPABILITY`` has it),
    ``accelerators`` (such as ``2 x NAME``) and ``accelerator_memory_gib`` of all of them together.
    """
    return {**_machine(), "usable_cores": usable_cores(), **_accelerators()}


def usable_cores() -> int:
    """Logical cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gib(size: float) -> str:
    """Bytes, in words.

    >>> gib(3 * GIB)
    '3.0 GiB'
    """
    return f"{size / GIB:,.1f} GiB"


@cache
def _machine() -> Hardware:
    found: dict[str, str | int | float | None] = {
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "physical_cores": psutil.cpu_count(logical=False),
        "logical_cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / GIB, 1),
    }
    return {name: value for name, value in found.items() if value}


def _cpu() -> str:
    """The processor's own name, where the system tells."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
            named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
            return next(named, "") or platform.machine()
    except OSError:
        return platform.processor()


def _accelerators() -> Hardware:
    torch: Any = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "accelerator"):  # not loaded, or only half so far
        return {}
    kernels = str(torch.backends.cpu.get_cpu_capability())
    found: Hardware = {"torch_device": "cpu", "torch_threads": torch.get_num_threads(), "torch_cpu": kernels}
    if not torch.accelerator.is_available():
        return found
    kind = torch.accelerator.current_accelerator().type
    describe = getattr(torch.get_device_module(kind), "get_device_properties", None)
    count = torch.accelerator.device_count()
    devices = [describe(i) for i in range(count)] if describe else []
    names = [str(d.name) for d in devices] or [kind] * count
    found["torch_device"] = kind
    found["accelerators"] = ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))
    if devices:
        found["accelerator_memory_gib"] = round(sum(d.total_memory for d in devices) / GIB, 1)
    return found
