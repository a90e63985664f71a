"""Which records a step trains on, and how they are dealt to processes and micro batches.

The records of a step depend on the seed and the epoch alone. How they are split is a matter of memory and of machines:
one pass over 8 records, 8 over one each, and two processes with 4 each compute the same step.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from selfreward_bench.seeding import derive_seed

WINDOW_BATCHES = 50  # batches are formed by length among this many at a time, so that their order stays random


@dataclass(frozen=True, slots=True)
class Split:
    """How the records of a step are computed.

    Attributes:
        batch: records of a step, over all processes.
        micro: most records of one forward pass of one process.
        processes, index: which of how many this is.
        tokens: most tokens of one forward pass, padding included; a longer record is alone in its own. None: any.
        sequences: of a record: a preference pair is two.
    """

    batch: int
    micro: int
    processes: int = 1
    index: int = 0
    tokens: int | None = None
    sequences: int = 1

    def deal(self, records: Sequence[int], lengths: Sequence[int], blank: int) -> list[list[int]]:
        """This process's micro batches of one step's records; every process gets as many, the records in turn.

        >>> [Split(4, 1, processes=2, index=i).deal([2, 1, 0], [5, 6, 7], blank=3) for i in (0, 1)]
        [[[2], [0]], [[1], [3]]]

        Args:
            records: the longest first, so that each process gets its share of long ones.
            lengths: of all records, in tokens.
            blank: stands where no record is left for a process that must compute along with the others.
        """
        shares = [self.cut(records[at :: self.processes], lengths) for at in range(self.processes)]
        own = shares[self.index]
        return own + [[blank]] * (max(map(len, shares)) - len(own))

    def cut(self, records: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
        """Micro batches of these records, the longest first, each as large as may be.

        >>> Split(8, 8, tokens=20).cut([0, 1, 2, 3, 4], [30, 9, 8, 5, 5])
        [[0], [1, 2], [3, 4]]
        """
        found: list[list[int]] = []
        for record in records:
            if found and self._has_room(len(found[-1]) + 1, lengths[found[-1][0]]):
                found[-1].append(record)
            else:
                found.append([record])
        return found

    def _has_room(self, records: int, longest: int) -> bool:
        if records > self.micro:
            return False
        return self.tokens is None or records * self.sequences * longest <= self.tokens


class StepBatches:
    """The micro batches of one process over an epoch, as torch's loaders take them (a batch sampler).

    A batch of the loader holds one item: the micro batches of a step.

    Args:
        lengths: of the records; the row after them (index ``len(lengths)``) is the blank one.
        epoch: asked for the epoch whenever one begins, so that a resumed training meets the same batches.
        beside: micro batches that a step has besides, of rows counted from the blank one; it is given the step's
            number, counted over all epochs.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        split: Split,
        seed: int,
        epoch: Callable[[], int],
        beside: Callable[[int], list[list[int]]] = lambda step: [],
    ) -> None:
        self._lengths, self._split, self._seed, self._epoch, self._beside = lengths, split, seed, epoch, beside
        self.steps = -(-len(lengths) // split.batch)

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[list[list[int]]]]:
        epoch, blank = self._epoch(), len(self._lengths)
        for at, records in enumerate(step_records(self._lengths, self._split.batch, self._seed, epoch)):
            beside = [[blank + 1 + row for row in micro] for micro in self._beside(epoch * self.steps + at)]
            yield [self._split.deal(records, self._lengths, blank) + beside]


class Rows:
    """The rows of a training as TRL's collators take them, made when they are asked for.

    Args:
        count: of records.
        row: of one record.
        blank: the row after them, of which no token counts.
        beside: the rows after that one, of what a step has besides.
    """

    def __init__(
        self,
        count: int,
        row: Callable[[int], dict[str, Any]],
        blank: dict[str, Any],
        beside: Callable[[int], dict[str, Any]] | None = None,
    ) -> None:
        self._count, self._row, self._blank, self._beside = count, row, blank, beside

    def __len__(self) -> int:
        return self._count + 1

    def __getitem__(self, step: list[list[int]]) -> list[list[dict[str, Any]]]:
        """The rows of a step's micro batches."""
        return [[self._made(at) for at in micro] for micro in step]

    def _made(self, at: int) -> dict[str, Any]:
        if self._beside is not None and at > self._count:
            return self._beside(at - self._count - 1)
        return self._row(at) if at < self._count else self._blank


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
