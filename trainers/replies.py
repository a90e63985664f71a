"""What becomes of questions that got no answer: some never will and are written down, the rest is asked for again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from selfreward_bench.engines.base import REFUSED, TOO_LONG
from selfreward_bench.errors import EngineError

__all__ = ["SETTLED", "unanswered"]

#: reasons for which asking the same model again is of no use
SETTLED: Final = frozenset({TOO_LONG, REFUSED})

_WAYS_OUT: Final = {
    "over_budget": "the budget was reached; give more (--max-cost)",
    "not_in_store": "they are not in the store; ask the server (without --replay)",
}


def unanswered(name: str, missing: Sequence[str], failures: Mapping[str, str]) -> EngineError:
    """Why a stage stops, and that it loses nothing.

    Args:
        name: the engine's.
        missing: ids of the requests without an answer.
        failures: as an engine tells them.
    """
    reasons = Counter(failures.get(one, "no reason is known") for one in missing)
    listing = "; ".join(f"{count:,} x {_WAYS_OUT.get(why, why)}" for why, count in reasons.most_common(3))
    return EngineError(
        f"{name} gave no answer to {len(missing):,} question(s), first {missing[0]!r}: {listing}. All other answers "
        "are kept: the same command goes on there and asks for these alone."
    )
