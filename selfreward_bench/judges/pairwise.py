"""The judge that compares two responses, each pair in both orders; orders that disagree are a tie, as in the paper.

Scores are those of the PAIR, whatever the order shown: 1 the first response wins, 0.5 tie, 0 the second wins.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from selfreward_bench.config import Sampling
from selfreward_bench.engines.base import Engine, GenerationRequest
from selfreward_bench.errors import ConfigError, DataError
from selfreward_bench.judges.pointwise import refuse_duplicates, sampling_key
from selfreward_bench.judges.prompts import JudgePrompt
from selfreward_bench.seeding import derive_seed
from selfreward_bench.types import Completion, Judgment, Message

__all__ = ["ORDERS", "Order", "PairItem", "PairResult", "PairwiseJudge", "combine", "request_id"]

Order = Literal["ab", "ba"]
ORDERS: tuple[Order, Order] = ("ab", "ba")
_GREEDY = Sampling(temperature=0.0, top_p=1.0, max_new_tokens=256)


@dataclass(frozen=True, slots=True)
class PairItem:
    """Two responses to one prompt. ``index`` tells the pairs of one prompt apart."""

    prompt_id: str
    index: int
    messages: tuple[Message, ...]
    first: str
    second: str

    @property
    def id(self) -> str:
        """``prompt_id/index``."""
        return f"{self.prompt_id}/{self.index}"


@dataclass(frozen=True, slots=True)
class PairResult:
    """What both orders of one pair come to.

    Attributes:
        score: 1, 0.5 or 0; None when a verdict could not be read or an order is missing.
        consistent: whether both orders agree; None where ``score`` is None.
    """

    prompt_id: str
    index: int
    score: float | None
    consistent: bool | None
    n_parsed: int


@dataclass(frozen=True)
class PairwiseJudge:
    """Compares responses with any engine.

    Raises:
        ConfigError: a pointwise prompt.
    """

    engine: Engine
    prompt: JudgePrompt
    sampling: Sampling = _GREEDY
    run_seed: int = 0
    stage: str = "comparisons"
    checkpoint: str = "model"

    def __post_init__(self) -> None:
        if self.prompt.kind != "pairwise":
            raise ConfigError(
                f"Judge prompt {self.prompt.name!r} grades one response; comparing two needs kind: pairwise "
                "(for example the prompt 'pairwise')."
            )

    @property
    def key(self) -> str:
        """``prompt@version#hash/both-orders-sampling/checkpoint``."""
        return f"{self.prompt.key}/both-orders-{sampling_key(self.sampling)}/{self.checkpoint}"

    def judge(self, items: Sequence[PairItem], done: Collection[str] = ()) -> Iterator[list[Judgment]]:
        """Yields the judgments of one finished engine batch at a time.

        Args:
            items: ALL pairs of the stage.
            done: ids (:func:`request_id`) of stored judgments; the two orders of a pair may be in different batches.

        Raises:
            DataError: two pairs have the same id.
        """
        refuse_duplicates(lambda: (item.id for item in items))
        return self._judge({f"{item.id}/{order}": (item, order) for item in items for order in ORDERS}, frozenset(done))

    def _judge(self, asked: dict[str, tuple[PairItem, Order]], done: frozenset[str]) -> Iterator[list[Judgment]]:
        requests = [self._request(name, item, order) for name, (item, order) in asked.items()]
        for batch in self.engine.generate(requests, done):
            yield [self._read(*asked[answer.prompt_id], answer) for answer in batch if answer.prompt_id not in done]

    def _request(self, name: str, item: PairItem, order: Order) -> GenerationRequest:
        shown = (item.first, item.second) if order == "ab" else (item.second, item.first)
        return GenerationRequest(
            id=name,
            prompt=self.prompt.render(item.messages, response_a=shown[0], response_b=shown[1]),
            seeds=(derive_seed(self.run_seed, self.stage, name, 0),),
            temperature=self.sampling.temperature,
            top_p=self.sampling.top_p,
            max_new_tokens=self.sampling.max_new_tokens,
        )

    def _read(self, item: PairItem, order: Order, answer: Completion) -> Judgment:
        verdict = self.prompt.read(answer.text, truncated=answer.finish_reason == "length")
        score = verdict.score
        if score is not None and order == "ba":
            score = 1.0 - score
        return Judgment(
            prompt_id=item.prompt_id,
            index=item.index,
            judge=self.key,
            score=score,
            raw=answer.text,
            reason=verdict.reason,
            n_tokens=answer.n_tokens,
            order=order,
        )


def request_id(judgment: Judgment) -> str:
    """The id under which the engine was asked for a stored pairwise judgment: ``prompt_id/index/order``."""
    return f"{judgment.prompt_id}/{judgment.index}/{judgment.order}"


def combine(judgments: Iterable[Judgment]) -> list[PairResult]:
    """Both orders of each pair to one result, in the order the pairs first appear.

    Equal scores stand; different ones (also a win in one order and a tie in the other) are a tie; a verdict that could
    not be read, or an order that is missing, leaves the pair without a score.

    Raises:
        DataError: a judgment has no order, is there twice, or a pair has judgments of unlike judges.
    """
    pairs: dict[tuple[str, int], dict[str, Judgment]] = {}
    for judgment in judgments:
        orders = pairs.setdefault((judgment.prompt_id, judgment.index), {})
        if judgment.order is None or judgment.order in orders:
            raise DataError(f"Judgment {judgment.id!r}: a pair has exactly one judgment per order (ab, ba).")
        if any(other.judge != judgment.judge for other in orders.values()):
            raise DataError(f"Judgment {judgment.id!r}: the two orders were judged by unlike judges.")
        orders[judgment.order] = judgment
    return [_combine(prompt_id, index, orders) for (prompt_id, index), orders in pairs.items()]


def _combine(prompt_id: str, index: int, orders: dict[str, Judgment]) -> PairResult:
    scores = [judgment.score for judgment in orders.values() if judgment.score is not None]
    if len(scores) < len(ORDERS):
        return PairResult(prompt_id, index, None, None, len(scores))
    consistent = scores[0] == scores[1]
    return PairResult(prompt_id, index, scores[0] if consistent else 0.5, consistent, len(scores))
