"""bitsandbytes: weights in few bits, and optimizers whose moments are.

Linear layers alone are quantised: neither embeddings and the output layer, nor experts that are kept in one tensor.
"""

from __future__ import annotations

import logging
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

from selfreward_bench.errors import MissingDependencyError

__all__ = [
    "BYTES",
    "Quantize",
    "forget_optimizers",
    "import_quietly",
    "options",
    "require_bitsandbytes",
    "settle",
    "unpack",
    "unpacked",
]

Quantize = Literal["nf4", "int8"]
#: bytes of a number in a linear layer: nf4 with a scale of 8 bits for 64 numbers, int8 with one of 32 for a row
BYTES: Final[dict[Quantize, float]] = {"nf4": 0.5 + 1 / 64, "int8": 1.0}

_LIBRARY = "bitsandbytes"
_HUB = "kernels"  # the package through which bitsandbytes would take code from the hub


def require_bitsandbytes(why: str) -> None:
    """Raises MissingDependencyError where bitsandbytes is not installed; imports nothing."""
    if find_spec(_LIBRARY) is None:
        raise MissingDependencyError(
            f"{why}, and bitsandbytes is not installed. Install it: pip install 'srbench[quantize]'"
        )


def import_quietly() -> None:
    """Imports bitsandbytes where it is installed, before peft does, which TRL imports, or transformers.

    On some processors it would have ``kernels`` download code from the hub and run it; it does without, and says so
    in a warning that is not shown.
    """
    if _LIBRARY in sys.modules or find_spec(_LIBRARY) is None:
        return
    missing = object()
    before, log = sys.modules.get(_HUB, missing), logging.getLogger(_LIBRARY)
    level = log.level
    sys.modules[_HUB] = None  # type: ignore[assignment]  # what makes an import fail
    log.setLevel(logging.ERROR)
    try:
        import bitsandbytes  # noqa: F401  # for what importing it registers
    finally:
        log.setLevel(level)
        if before is missing:
            del sys.modules[_HUB]
        else:
            sys.modules[_HUB] = before  # type: ignore[assignment]  # what was there


def forget_optimizers() -> None:
    """Has bitsandbytes forget the tensors that earlier trainings of this process kept in 32 bits.

    It knows them by their place in the list of tensors and in memory, and would keep what comes to be there in 32 bits.
    """
    if library := sys.modules.get(_LIBRARY):
        library.optim.GlobalOptimManager.get_instance().initialize()


def options(kind: Quantize | None, device: Any) -> dict[str, Any]:
    """What ``from_pretrained`` has to be told so that it quantises the weights that it reads.

    Raises:
        MissingDependencyError: bitsandbytes is not installed.
    """
    if kind is None:
        return {}
    require_bitsandbytes(f"Weights are to be quantised (quantize={kind})")
    import_quietly()
    from transformers import BitsAndBytesConfig

    if kind == "nf4":
        four = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
        settings = BitsAndBytesConfig(load_in_4bit=True, **four)
    else:
        settings = BitsAndBytesConfig(load_in_8bit=True)
    return {"quantization_config": settings, "device_map": {"": device}}


def settle(model: Any) -> None:
    """Has a quantised model compute with what comes in as it is, in training and answering alike.

    bitsandbytes rounds it to 8 bits (int8), or to bfloat16 where no gradient is asked for (nf4, on some processors).
    """
    from bitsandbytes.nn import Linear4bit, Linear8bitLt

    from selfreward_bench.engines.int8 import exact

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
            module.compute_type_is_set = False
        elif isinstance(module, Linear8bitLt):
            exact(module)


def unpack(config: Any) -> None:
    """Has weights that compressed-tensors packs read as matrices, which an adapter stands beside or is merged into.

    Args:
        config: of the model to be read.
    """
    packed = getattr(config, "quantization_config", None)
    if isinstance(packed, dict) and packed.get("quant_method") == "compressed-tensors":
        config.quantization_config = packed | {"dequantize": True}


def unpacked(directory: Path, *, trust_remote_code: bool) -> Any:
    """The configuration of a model that is read to have an adapter laid over it (see ``unpack``)."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(str(directory), trust_remote_code=trust_remote_code)
    unpack(config)
    return config
