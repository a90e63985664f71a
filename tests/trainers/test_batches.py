"""The records of a step: like lengths, each once per epoch, the same however a step is split."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from trainers.batches import Rows, Split, StepBatches, step_records

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


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [None, 60, 130])
@pytest.mark.parametrize(("micro", "processes"), [(8, 1), (4, 1), (1, 1), (4, 2), (1, 2), (2, 4), (1, 8)])
@pytest.mark.parametrize("n", [1003, 1000, 1001, 5])
def test_a_split_changes_neither_the_records_of_a_step_nor_what_processes_do_together(
    micro: int, processes: int, n: int, tokens: int | None
) -> None:
    lengths = LENGTHS[:n]
    shares = [
        StepBatches(lengths, Split(8, micro, processes, index, tokens, sequences=2), seed=3, epoch=lambda: 2)
        for index in range(processes)
    ]
    dealt = [[step for (step,) in share] for share in shares]
    assert {len(steps) for steps in dealt} == {len(share) for share in shares} == {-(-n // 8)}
    for records, steps in zip(step_records(lengths, 8, 3, 2), zip(*dealt, strict=True), strict=True):
        assert len({len(batches) for batches in steps}) == 1  # every process makes as many passes
        assert Counter(i for batches in steps for batch in batches for i in batch if i != n) == Counter(records)
        for batch in (batch for batches in steps for batch in batches):
            assert len(batch) <= micro
            assert n not in batch or batch == [n]
            padded = 2 * len(batch) * max((lengths[i] for i in batch if i != n), default=0)
            assert tokens is None or padded <= tokens or len(batch) == 1


def test_a_blank_is_alone_in_its_micro_batch() -> None:
    lengths = [0] * 5 + [9, 8, 7, 6, 5]
    dealt = [Split(8, 2, 2, index).deal([5, 6, 7, 8, 9], lengths, blank=99) for index in (0, 1)]
    assert dealt == [[[5, 7], [9]], [[6, 8], [99]]]


def test_the_budget_is_filled() -> None:
    split = Split(16, 16, tokens=1000)
    lengths = sorted((LENGTHS[i] * 10 for i in range(100)), reverse=True)
    cut = split.cut(range(100), lengths)
    for one, other in pairwise(cut):  # the next record would not have fitted
        assert len(one) == 16 or (len(one) + 1) * lengths[one[0]] > 1000
        assert one[-1] + 1 == other[0]


def test_rows_are_made_when_asked_for() -> None:
    made: list[int] = []
    rows = Rows(3, lambda at: {"at": made.append(at) or at}, {"at": None})
    assert len(rows) == 4
    assert rows[[[2, 0], [3]]] == [[{"at": 2}, {"at": 0}], [{"at": None}]]
    assert made == [2, 0]
