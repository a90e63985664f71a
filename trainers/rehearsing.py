"""Judgments in the steps of a preference training: which of them a step has, and their part in its loss.

The loss of a step is DPO's on its pairs plus ``rehearsal.weight`` times the mean negative log-likelihood per token of
its judgments: one optimizer, one log, one set of saved states. Where the judgments come from is not known here
(``trainers.rehearsal``).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from selfreward_bench.config import RehearsalConfig
from selfreward_bench.seeding import derive_seed
from selfreward_bench.types import Example
from trainers.batches import Split
from trainers.rendering import Turn, digest, longest, render_turns, within
from trainers.sft import IGNORED, blank_row, columns, labelled_row

__all__ = ["Rehearsal", "Rehearsed", "joined", "render"]


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a preference training rehearses: judge prompts with their judgments, and how much of them in a step."""

    examples: Sequence[Example]
    config: RehearsalConfig


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """The judgments of one training as token ids.

    Attributes:
        lengths: of the judgments, in tokens.
        split: how a step's pairs are computed; its judgments are split likewise, two in the place of a pair.
        blank: stands where a process has no judgment left.
        truncated: judgments left out because they exceed ``dpo.max_length`` tokens.
    """

    turns: Sequence[Turn]
    lengths: Sequence[int]
    config: RehearsalConfig
    split: Split
    seed: int
    blank: dict[str, list[int]]
    truncated: int = 0

    def records(self, step: int) -> list[int]:
        """The judgments of a step, counted over all epochs: each once before any comes again, then in another order.

        They depend on the seed and the step alone.
        """
        size, count = min(self.config.size, len(self.turns)), len(self.turns)
        places = range(step * size, (step + 1) * size)
        return [_order(count, self.seed, place // count)[place % count] for place in places]

    def deal(self, step: int) -> list[list[int]]:
        """This process's micro batches of a step; ``len(turns)`` is the blank one."""
        records = sorted(self.records(step), key=lambda at: -self.lengths[at])
        split = replace(self.split, batch=len(records), micro=2 * self.split.micro, sequences=1)
        return split.deal(records, self.lengths, blank=len(self.turns))

    def row(self, at: int) -> dict[str, list[int]]:
        """A judgment as TRL's collator for SFT takes it."""
        return labelled_row(self.turns[at]) if at < len(self.turns) else self.blank

    def plan(self) -> dict[str, Any]:
        """What the weights depend on, flat (``trainers.training.plan_of``)."""
        settings = {f"rehearsal.{key}": value for key, value in self.config.model_dump(mode="json").items()}
        return {"rehearsed": digest(*columns(self.turns)), **settings}


@lru_cache(maxsize=2)  # a step may begin in one pass over the judgments and end in the next
def _order(count: int, seed: int, lap: int) -> list[int]:
    order = list(range(count))
    random.Random(derive_seed(seed, "rehearsal", lap)).shuffle(order)
    return order


def render(
    tokenizer: Any, rehearsal: Rehearsal, source: Path, max_length: int, split: Split, seed: int, trusted: bool
) -> Rehearsed:
    """The judgments as token ids; those over ``max_length`` tokens are left out and counted, never cut.

    Raises:
        TrainingError: none is left.
        DataError: one cannot be rendered.
    """
    turns = render_turns(tokenizer, ((e.id, e.prompt, e.completion) for e in rehearsal.examples))
    kept, truncated = within(
        turns, longest(source, max_length, trusted), "DPO", "rehearsed judgments", "Raise dpo.max_length."
    )
    lengths = [len(turn) for turn in kept]
    return Rehearsed(kept, lengths, rehearsal.config, split, seed, blank_row(tokenizer.pad_token_id), truncated)


def joined(trainer: type, rehearsed: Rehearsed) -> Any:
    """A DPO trainer (``ExactTrainer`` over TRL's) that computes a step's judgments beside its pairs."""
    return type(trainer.__name__, (_Rehearsing, trainer), {"rehearsed": rehearsed})


class _Collator:
    """Pairs are put together by TRL's collator for DPO, judgments by that for SFT."""

    def __init__(self, pairs: Any, judgments: Any) -> None:
        self._pairs, self._judgments = pairs, judgments

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = (self._judgments if "labels" in rows[0] else self._pairs)(rows)
        return found


class _Rehearsing:
    """Mixed into a DPO trainer, before it; a micro batch with labels holds judgments."""

    rehearsed: Rehearsed

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

        super().__init__(*args, **kwargs)
        trainer: Any = self
        pad = trainer.processing_class.pad_token_id
        trainer.data_collator = _Collator(trainer.data_collator, DataCollatorForLanguageModeling(pad_token_id=pad))

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> Any:
        import torch

        trainer: Any = self
        parent: Any = super()
        steps, items = parent.get_batch_samples(epoch_iterator, num_batches, device)
        trained = [(batch["labels"] != IGNORED).sum() for step in steps for batch in step if "labels" in batch]
        own = torch.tensor(trained, device=device).sum()
        self._rehearsed_tokens = trainer.accelerator.reduce(own, reduction="sum").item()
        return steps, items

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        trainer: Any = self
        parent: Any = super()
        if "labels" not in inputs:
            loss = parent.compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
            return loss * 0.0 if self.rehearsed.config.alone else loss
        output = model(**inputs, use_cache=False, fused_lm_head=True)
        nll = -output.log_probs.sum()
        real = (inputs["labels"] != IGNORED).any(1)
        trainer.tally(
            {
                "tokens": inputs["attention_mask"][real].sum(),
                "rehearsed": real.sum(),
                "rehearsed_tokens": (inputs["labels"] != IGNORED).sum(),
                "rehearsed_right": output.is_top1.sum(),
                "rehearsal_loss": nll,
            }
        )
        return self.rehearsed.config.weight * nll / self._rehearsed_tokens * trainer.args.world_size

    def means(self, sums: dict[str, float]) -> dict[str, float]:
        parent: Any = super()
        own = {name: sums.pop(name) for name in list(sums) if name.startswith("rehears")}
        tokens = own["rehearsed_tokens"]
        shown: dict[str, float] = parent.means(sums)
        return shown | {
            "rehearsal_loss": own["rehearsal_loss"] / tokens,
            "rehearsal_token_accuracy": own["rehearsed_right"] / tokens,
            "rehearsed": int(own["rehearsed"]),
            "rehearsed_tokens": int(tokens),
        }
