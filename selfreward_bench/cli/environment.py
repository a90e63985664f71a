"""Settings of the process that must stand before torch is imported."""

from __future__ import annotations

import os

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "RAYON_NUM_THREADS")


def idle_threads(most: int = 2) -> int:
    """How many threads a model as small as the embedded one gains from now: two where two cores are idle, else one.

    On two idle cores two threads train it 1.5 times faster (perf/RESULTS.md); beside other work they only wait.
    """
    import psutil

    from selfreward_bench.hardware import usable_cores

    cores = usable_cores()
    idle = cores - (psutil.cpu_count() or 1) * psutil.cpu_percent(interval=0.5) / 100
    return max(1, min(most, cores, round(idle)))


def use_threads(threads: int | None) -> None:
    """Makes the recipe's number of CPU threads hold for all numerical libraries; None leaves what the user has set.

    Thread pools take their size when their library is loaded, so this comes before the first import of torch.
    """
    if threads is not None:
        os.environ.update(dict.fromkeys(_THREADS, str(threads)))
