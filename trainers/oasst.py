"""Open Assistant conversation trees as seed data: what the paper took its IFT and EFT from (arXiv 2401.10020).

English first turns and their human-ranked answers (see ``selfreward_bench.sources.oasst``). One third of the prompts
with a human order goes to EFT, by a hash of their text; all others go to IFT. So the two are disjoint whatever the
sizes and seeds, and a prompt that is asked twice is on one side only.
"""

from __future__ import annotations

from typing import Final

from selfreward_bench.seeding import derive_seed
from selfreward_bench.sources.oasst import Tree
from selfreward_bench.types import Example, Message, Prompt, RankedPrompt
from trainers.filters import normalised

__all__ = ["record_of"]

_EFT_SHARE: Final = 3  # one prompt of so many


def record_of(tree: Tree, purpose: str) -> Example | RankedPrompt | Prompt | str:
    """A tree as a record for ``ift``, ``eft`` or ``prompts``, or why it gives none."""
    if not tree.usable:
        return "the first turn is not English, was deleted or turned down"
    if purpose == "prompts":
        return Prompt(id=tree.message_tree_id, messages=(_first(tree),), source="oasst")
    is_eft = tree.is_ordered and derive_seed("oasst/eft", normalised(tree.prompt.text)) % _EFT_SHARE == 0
    answers = tree.answers()
    if purpose == "eft":
        return tree.ranked() if is_eft else "kept for IFT" if tree.is_ordered else "no two answers are ranked"
    if not answers or answers[0].rank != 0:
        return "no answer is ranked best"
    if is_eft:
        return "kept for EFT"
    completion = (Message(role="assistant", content=answers[0].text),)
    return Example(id=tree.message_tree_id, prompt=(_first(tree),), completion=completion, source="oasst")


def _first(tree: Tree) -> Message:
    return Message(role="user", content=tree.prompt.text)
