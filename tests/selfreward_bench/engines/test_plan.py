"""Batches: within budget, the same whatever the order, every job once."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from selfreward_bench.engines.plan import Job, common_prefix, plan_batches

jobs = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 5), st.integers(0, 20)), min_size=1, max_size=40).map(
    lambda rows: [Job(i, f"j{i}", length, n, new) for i, (length, n, new) in enumerate(rows)]
)


@given(jobs, st.integers(1, 400), st.integers(1, 20), st.booleans())
def test_every_job_once_and_within_the_budget(plan: list[Job], budget: int, max_rows: int, equal: bool) -> None:
    batches = plan_batches(plan, budget, max_rows=max_rows, equal_lengths=equal)
    assert sorted(j.index for b in batches for j in b) == list(range(len(plan)))
    for batch in batches:
        rows = sum(j.rows for j in batch)
        tokens = rows * (max(j.length for j in batch) + max(j.new for j in batch))
        assert len(batch) == 1 or (tokens <= budget and rows <= max_rows)
        assert not equal or len({j.length for j in batch}) == 1


@given(jobs, st.integers(1, 400), st.randoms(use_true_random=False))
def test_the_order_of_the_requests_does_not_matter(plan: list[Job], budget: int, rng: random.Random) -> None:
    shuffled = list(plan)
    rng.shuffle(shuffled)
    assert plan_batches(shuffled, budget) == plan_batches(plan, budget)


def test_batches_are_filled() -> None:
    assert [len(b) for b in plan_batches([Job(i, str(i), 5, 1, 5) for i in range(10)], 40)] == [4, 4, 2]


@given(st.lists(st.lists(st.integers(0, 2), max_size=6).map(tuple), min_size=1, max_size=6))
def test_common_prefix_is_the_longest_shared_by_all(sequences: list[tuple[int, ...]]) -> None:
    n = common_prefix(sequences)
    assert all(s[:n] == sequences[0][:n] for s in sequences)
    assert any(len(s) == n or s[: n + 1] != sequences[0][: n + 1] for s in sequences)
