"""Weights in few bits: by bitsandbytes, which has optimizers whose moments are, too; and those stored so by others.

bitsandbytes quantises linear layers alone: neither embeddings and the output layer, nor experts that are kept in one
tensor.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

from selfreward_bench.errors import MissingDependencyError

__all__ = [
    "BYTES",
    "PACKED",
    "Quantize",
    "forget_optimizers",
    "import_quietly",
    "is_packed",
    "options",
    "portable",
    "read_portably",
    "require_bitsandbytes",
    "require_reader",
    "settle",
    "silently",
]

Quantize = Literal["nf4", "int8"]
#: bytes of a number in a linear layer: nf4 with a scale of 8 bits for 64 numbers, int8 with one of 32 for a row
BYTES: Final[dict[Quantize, float]] = {"nf4": 0.5 + 1 / 64, "int8": 1.0}

#: how weights are stored -> packages that read them
_READERS: Final[dict[str, tuple[str, ...]]] = {
    "gptq": ("optimum", "gptqmodel"),
    "awq": ("gptqmodel",),
    "bitsandbytes": ("bitsandbytes",),
    "compressed-tensors": ("compressed-tensors",),
}
#: how they are stored -> what their configuration is told beside what it says, see ``portable``
_READ: Final[dict[str, dict[str, Any]]] = {
    "gptq": {"backend": "torch"},
    "awq": {"backend": "torch_awq"},
    "compressed-tensors": {"dequantize": True},
}
PACKED: Final = ("gptq", "awq")  #: what gptqmodel reads
_PORTABLE: Final = ("TorchLinear", "AwqTorchLinear")  # layers of gptqmodel that these two make

_LIBRARY = "bitsandbytes"
_HUB = "kernels"  # the package through which bitsandbytes would take code from the hub


def require_bitsandbytes(why: str) -> None:
    """Raises MissingDependencyError where bitsandbytes is not installed; imports nothing."""
    if find_spec(_LIBRARY) is None:
        raise MissingDependencyError(
            f"{why}, and bitsandbytes is not installed. Install it: pip install 'srbench[quantize]'"
        )


def require_reader(method: str, *, trained: bool) -> None:
    """Raises MissingDependencyError where what reads weights that are stored so is not installed; imports nothing.

    Args:
        trained: an adapter is to be trained beside them; peft asks for one package more.
    """
    needed = _READERS.get(method, ())
    if trained and method in PACKED:
        needed = _READERS["gptq"]
    missing = [name for name in needed if find_spec(name.replace("-", "_")) is None]
    if missing:
        raise MissingDependencyError(
            f"Its weights are quantised ({method}), which {' and '.join(needed)} read{'s' * (len(needed) == 1)}, and "
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed. Install "
            f"{'it' if len(missing) == 1 else 'them'}: pip install {' '.join(missing)}"
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


def settle(model: Any) -> bool:
    """Has a quantised model compute with what comes in as it is, in training and answering alike.

    bitsandbytes rounds it to 8 bits (int8), or to bfloat16 where no gradient is asked for (nf4, on some processors);
    gptqmodel's portable kernels round it to float16.

    Returns:
        Whether it has layers of few bits, into which no adapter can be merged without rounding it.
    """
    if getattr(model, "hf_quantizer", None) is None:
        return False
    return sum(_settled(module) for module in model.modules()) > 0  # each of them is


def _settled(module: Any) -> bool:
    """Whether a module is a layer of few bits, which then computes as ``settle`` has it."""
    if type(module).__module__.startswith(f"{_LIBRARY}."):
        from bitsandbytes.nn import Linear4bit, Linear8bitLt

        from selfreward_bench.engines.frozen import exact_int8

        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
            module.compute_type_is_set = False
        elif isinstance(module, Linear8bitLt):
            exact_int8(module)
        return True
    if is_packed(module):
        from selfreward_bench.engines.frozen import exact_packed

        if type(module).__name__ in _PORTABLE:
            exact_packed(module)
        return True
    return False


def is_packed(module: Any) -> bool:
    """Whether a module is a linear layer of gptqmodel's, which is none of torch's."""
    return type(module).__module__.startswith("gptqmodel.nn_modules.qlinear.")


def portable(config: Any, *, beside: bool = True) -> None:
    """Has packed weights read so that their numbers are known: of GPTQ and AWQ by kernels that suit any processor.

    Args:
        config: of the model to be read.
        beside: an adapter is to stand beside the weights or to be merged into them; those of compressed-tensors are
            read as matrices then.
    """
    packed = getattr(config, "quantization_config", None)
    if isinstance(packed, dict) and (beside or packed.get("quant_method") in PACKED):
        config.quantization_config = packed | _READ.get(str(packed.get("quant_method")), {})


def read_portably(directory: Path, *, trust_remote_code: bool, beside: bool = True) -> Any:
    """The configuration of a model that is to be read (see ``portable``)."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(str(directory), trust_remote_code=trust_remote_code)
    portable(config, beside=beside)
    return config


@contextlib.contextmanager
def silently(config: Any) -> Iterator[None]:
    """Keeps from the terminal what gptqmodel writes while it reads a model, and bitsandbytes when it is imported."""
    packed = getattr(config, "quantization_config", None)
    if isinstance(packed, dict):
        import_quietly()  # before transformers does
    if not (isinstance(packed, dict) and packed.get("quant_method") in PACKED):
        yield
        return
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
        yield
