"""Preference pairs as token ids: rendered, those left out of which nothing can be learnt, and as rows of a training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final, overload

from selfreward_bench.errors import DataError, TrainingError
from selfreward_bench.types import PreferencePair
from trainers.pairs import numbered
from trainers.rendering import Chosen, Turn, Turns, render_turns, within

__all__ = [
    "SIDES",
    "TokenPair",
    "blank_row",
    "columns",
    "distinct",
    "fitting",
    "preference_row",
    "render_pairs",
]

SIDES: Final = ("chosen", "rejected")


@dataclass(frozen=True, slots=True)
class TokenPair:
    """One pair as token ids; both answers follow the same prompt."""

    id: str
    chosen: Turn
    rejected: Turn

    def __len__(self) -> int:
        return max(len(self.chosen), len(self.rejected))


def render_pairs(tokenizer: Any, pairs: Sequence[PreferencePair]) -> Sequence[TokenPair]:
    """Renders the pairs, in their order.

    Raises:
        DataError: a pair is there twice, or one cannot be rendered.
    """
    if len({f"{p.prompt_id}/{p.chosen_index}/{p.rejected_index}" for p in pairs}) < len(pairs):
        raise DataError("Two preference pairs have the same prompt_id and answers, so a pair would count twice.")
    records = ((p.id, p.prompt, answer) for p in pairs for answer in (p.chosen, p.rejected))
    return _TokenPairs(numbered(p.id for p in pairs), render_turns(tokenizer, records))


class _TokenPairs(Sequence[TokenPair]):
    """Pairs of turns, made when they are asked for."""

    def __init__(self, ids: Sequence[str], turns: Turns) -> None:
        self._ids, self._turns = ids, turns

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, index: int) -> TokenPair: ...

    @overload
    def __getitem__(self, index: slice) -> list[TokenPair]: ...

    def __getitem__(self, index: int | slice) -> TokenPair | list[TokenPair]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        at = range(len(self))[index]
        return TokenPair(self._ids[at], self._turns[2 * at], self._turns[2 * at + 1])


def distinct(tokens: Sequence[TokenPair]) -> tuple[Sequence[TokenPair], int]:
    """The pairs of which something can be learnt, and how many have answers that become the same tokens.

    Raises:
        TrainingError: they are all of this kind.
    """
    kept = [at for at, pair in enumerate(tokens) if pair.chosen != pair.rejected]
    if tokens and not kept:
        raise TrainingError(
            f"DPO has nothing to train on: in each of the {len(tokens)} pairs chosen and rejected become the same "
            "tokens. Look at the pairs, and at what the chat template makes of them."
        )
    return Chosen(tokens, kept), len(tokens) - len(kept)


def fitting(tokens: Sequence[TokenPair], max_length: int) -> tuple[Sequence[TokenPair], int]:
    """The pairs of which no answer is over ``max_length`` tokens, and how many are left out; none is cut.

    Raises:
        TrainingError: no pair is left.
    """
    way_out = "Lower pairs.min_gap or raise prompts.count for more pairs, or raise dpo.max_length."
    return within(tokens, max_length, "DPO", "pairs", way_out)


def preference_row(pair: TokenPair) -> dict[str, Any]:
    """What DPOTrainer works with once it has tokenized: prompt, chosen and rejected ids."""
    return {
        "prompt_ids": pair.chosen.prompt,
        "chosen_ids": pair.chosen.completion,
        "rejected_ids": pair.rejected.completion,
    }


def blank_row(pad: int) -> dict[str, Any]:
    """A pair of which no token counts (``trainers.batches.StepBatches``)."""
    ids = {"prompt_ids": [pad, pad], "chosen_ids": [], "rejected_ids": []}
    return ids | {f"ref_{side}_logps": 0.0 for side in SIDES}


def columns(tokens: Sequence[TokenPair]) -> list[Iterator[list[int]]]:
    """The columns of all rows, for ``digest``."""
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    return [map(itemgetter(name), map(preference_row, tokens)) for name in names]
