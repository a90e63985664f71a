"""The records of a step: like lengths, each once per epoch, the same however a step is split."""

from __future__ import annotations

from collections import Counter

import pytest

from trainers.batches import Split, StepBatches, step_records

LENGTHS = [(i * 37) % 50 + 1 for i in range(1003)]


def test_steps_hold_like_lengths_and_every_record_once() -> None:
    steps = step_records(LENGTHS, 8, seed=1, epoch=0)
    assert sorted(i for step in steps for i in step) == list(range(1003))
    padded = sum(len(step) * max(LENGTHS[i] for i in step) for step in steps)
    assert padded < 1.1 * sum(LENGTHS)
    assert [len(step) for step in steps] == [8] * 125 + [3]
    means = [sum(LENGTHS[i] for i in step) / len(step) for step in steps[:-1]]
    assert means != sorted(means, reverse=True)  # steps do not come in the order of their lengths
    assert steps != step_records(LENGTHS, 8, seed=1, epoch=1)
    assert steps == step_records(LENGTHS, 8, seed=1, epoch=0)


@pytest.mark.parametrize(("micro", "processes"), [(8, 1), (4, 1), (1, 1), (4, 2), (1, 2), (2, 4), (1, 8)])
@pytest.mark.parametrize("n", [1003, 1000, 1001, 5])
def test_a_split_changes_neither_the_records_of_a_step_nor_what_processes_do_together(
    micro: int, processes: int, n: int
) -> None:
    lengths = LENGTHS[:n]
    shares = [
        StepBatches(lengths, Split(8, micro, processes, index), seed=3, epoch=lambda: 2) for index in range(processes)
    ]
    dealt = [list(share) for share in shares]
    assert [len(share) for share in shares] == [len(batches) for batches in dealt]
    assert len({len(batches) for batches in dealt}) == 1
    assert all(len(batch) <= micro for batches in dealt for batch in batches)
    passes = 8 // (micro * processes)
    for at, records in enumerate(step_records(lengths, 8, 3, 2)):
        own = [i for batches in dealt for batch in batches[at * passes : (at + 1) * passes] for i in batch]
        assert Counter(i for i in own if i != n) == Counter(records)
        assert len(records) == 8 or own.count(n) < processes + passes


def test_a_blank_is_alone_in_its_micro_batch() -> None:
    dealt = [Split(8, 2, 2, index).deal([5, 6, 7, 8, 9], blank=99) for index in (0, 1)]
    assert dealt == [[[5, 7], [9]], [[6, 8], [99]]]
