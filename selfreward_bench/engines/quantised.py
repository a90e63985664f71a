"""bitsandbytes: weights in few bits, and optimizers whose moments are."""

from __future__ import annotations

import logging
import sys
from importlib.util import find_spec

from selfreward_bench.errors import MissingDependencyError

__all__ = ["forget_optimizers", "import_quietly", "require_bitsandbytes"]

_LIBRARY = "bitsandbytes"
_HUB = "kernels"  # the package through which bitsandbytes would take code from the hub


def require_bitsandbytes(why: str) -> None:
    """Raises MissingDependencyError where bitsandbytes is not installed; imports nothing."""
    if find_spec(_LIBRARY) is None:
        raise MissingDependencyError(
            f"{why}, and bitsandbytes is not installed. Install it: pip install 'srbench[quantize]'"
        )


def import_quietly() -> None:
    """Imports bitsandbytes where it is installed, before peft or transformers do.

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
