"""Which requests share a batch: fixed by the requests alone, so that a resumed call makes the same batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selfreward_bench.engines.base import GenerationRequest

MAX_ROWS = 1024  # rows of one batch; more gain nothing (perf/engine.py) and make the unit of resuming larger


@dataclass(frozen=True, slots=True)
class Job:
    """What the plan needs to know of one request.

    Attributes:
        index: position among the requests of the call.
        length: prompt tokens.
        rows: samples (or continuations) that fork from the prompt.
        new: tokens that may be added to each row.
    """

    index: int
    id: str
    length: int
    rows: int
    new: int


def answer_job(index: int, asked: tuple[GenerationRequest, Sequence[int]]) -> Job:
    """The job of a request with its prompt's token ids."""
    request, prompt = asked
    return Job(index, request.id, len(prompt), rows=request.n, new=request.max_new_tokens)


def plan_batches(
    jobs: Sequence[Job], tokens_per_batch: int, *, max_rows: int = MAX_ROWS, equal_lengths: bool = False
) -> list[list[Job]]:
    """Sorts by length (then by id, so that the order is total) and fills batches up to a budget of tokens.

    Args:
        tokens_per_batch: bound on rows x (longest prompt + most new tokens); a single request may exceed it.
        equal_lengths: a batch holds prompts of one length only (models that cannot mask padding).
    """
    batches: list[list[Job]] = []
    rows = longest = new = 0
    for job in sorted(jobs, key=lambda j: (j.length, j.new, j.id)):
        tokens = (rows + job.rows) * (max(longest, job.length) + max(new, job.new))
        full = tokens > tokens_per_batch or rows + job.rows > max_rows
        if not batches or full or (equal_lengths and job.length != longest):
            batches.append([])
            rows = longest = new = 0
        batches[-1].append(job)
        rows, longest, new = rows + job.rows, max(longest, job.length), max(new, job.new)
    return batches


def tokens_of(batch: Sequence[Job]) -> int:
    """What a batch takes: rows x (longest prompt + most new tokens)."""
    return sum(j.rows for j in batch) * (max(j.length for j in batch) + max(j.new for j in batch))


def common_prefix(sequences: Sequence[tuple[int, ...]]) -> int:
    """Length of the longest prefix that all sequences share.

    >>> common_prefix([(1, 2, 3), (1, 2, 4), (1, 2)])
    2
    """
    first, last = min(sequences), max(sequences)  # whatever these two share lexicographically, all between share
    for i, (a, b) in enumerate(zip(first, last, strict=False)):
        if a != b:
            return i
    return min(len(first), len(last))
