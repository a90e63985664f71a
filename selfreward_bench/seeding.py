"""Seeds that depend on what is seeded and on nothing else."""

from __future__ import annotations

import hashlib


def derive_seed(*parts: str | int) -> int:
    """A seed in [0, 2**63) from the run's seed, the stage and the record's id.

    >>> derive_seed(0, "M2/completions", "p-17", 3) == derive_seed(0, "M2/completions", "p-17", 3)
    True
    """
    digest = hashlib.blake2b("\x1f".join(str(p) for p in parts).encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "big") >> 1
