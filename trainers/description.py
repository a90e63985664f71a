"""What a plan knows of a base and of the seed data before anything is made of them.

Counting it loads torch, the tokenizer and the data, which takes seconds, so a run keeps it with the examination of its
base (``trainers.examination``).
"""

from __future__ import annotations

from selfreward_bench.config import RunConfig
from selfreward_bench.types import Record
from trainers.dimensions import Dimensions, describe_base
from trainers.lengths import Measured, measure

__all__ = ["Description", "describe"]


class Description(Record):
    """The size of the base with its adapters, and the lengths of the seed data in its tokens."""

    dimensions: Dimensions
    measured: Measured


def describe(config: RunConfig, parameters: int | None = None) -> Description:
    """Counts both.

    Args:
        parameters: of the base, where they are stated.

    Raises:
        EngineError: nothing tells how large the base is.
        DataError: the seed data cannot be read.
    """
    dimensions, directory = describe_base(config, parameters)
    return Description(dimensions=dimensions, measured=measure(config, directory))
