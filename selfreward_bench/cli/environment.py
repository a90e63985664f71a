"""Settings of the process that must stand before torch is imported."""

from __future__ import annotations

import os

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "RAYON_NUM_THREADS")


def use_threads(threads: int | None) -> None:
    """Makes the recipe's number of CPU threads hold for all numerical libraries; None leaves what the user has set.

    Thread pools take their size when their library is loaded, so this comes before the first import of torch.
    """
    if threads is not None:
        os.environ.update(dict.fromkeys(_THREADS, str(threads)))
