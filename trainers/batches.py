"""Which records a step trains on, and how they are dealt to processes and micro batches.

The records of a step depend on the seed and the epoch alone. How they are split is a matter of memory and of machines:
one pass over 8 records, 8 over one each, and two processes with 4 each compute the same step.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from selfreward_bench.seeding import derive_seed

WINDOW_BATCHES = 50  # batches are formed by length among this many at a time, so that their order stays random


@dataclass(frozen=True, slots=True)
class Split:
    """How the records of a step are computed.

    Attributes:
        batch: records of a step, over all processes.
        micro: records of one forward pass of one process.
        index: which of the ``processes`` this is.
    """

    batch: int
    micro: int
    processes: int = 1
    index: int = 0

    def deal(self, records: Sequence[int], blank: int) -> list[list[int]]:
        """This process's micro batches of one step's records; every process gets as many, the records in turn.

        >>> [Split(4, 1, processes=2, index=i).deal([7, 8, 9], blank=0) for i in (0, 1)]
        [[[7], [9]], [[8], [0]]]

        Args:
            records: in the order of their lengths, so that each process gets its share of long ones.
            blank: stands where no record is left for a process that must compute along with the others.
        """
        own = records[self.index :: self.processes]
        passes = -(-len(records) // (self.processes * self.micro))
        return [list(own[at * self.micro : (at + 1) * self.micro]) or [blank] for at in range(passes)]


class StepBatches:
    """The micro batches of one process over an epoch, as torch's loaders take them (a batch sampler).

    Args:
        lengths: of the records; the row after them (index ``len(lengths)``) is the blank one.
        epoch: asked for the epoch whenever one begins, so that a resumed training meets the same batches.
    """

    def __init__(self, lengths: Sequence[int], split: Split, seed: int, epoch: Callable[[], int]) -> None:
        self._lengths, self._split, self._seed, self._epoch = lengths, split, seed, epoch
        self.steps = -(-len(lengths) // split.batch)

    def __len__(self) -> int:
        full, rest = divmod(len(self._lengths), self._split.batch)
        share = self._split.processes * self._split.micro
        return full * -(-self._split.batch // share) + -(-rest // share)

    def __iter__(self) -> Iterator[list[int]]:
        for records in step_records(self._lengths, self._split.batch, self._seed, self._epoch()):
            yield from self._split.deal(records, blank=len(self._lengths))


def step_records(lengths: Sequence[int], batch: int, seed: int, epoch: int) -> list[list[int]]:
    """The records of each step of one epoch: random batches of records of like length, the incomplete one last."""
    rng = random.Random(derive_seed(seed, "epoch", epoch))
    order = list(range(len(lengths)))
    rng.shuffle(order)
    window = batch * WINDOW_BATCHES
    full: list[list[int]] = []
    rest: list[int] = []
    for start in range(0, len(order), window):
        chunk = sorted(order[start : start + window], key=lambda i: -lengths[i])
        for at in range(0, len(chunk), batch):
            records = chunk[at : at + batch]
            if len(records) == batch:
                full.append(records)
            else:
                rest = records
    rng.shuffle(full)
    return [*full, *([rest] if rest else [])]
