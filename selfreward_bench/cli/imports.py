"""What ``srbench data import`` says of a table: what it is, what was lost and why, and the first records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from selfreward_bench.cli.console import listed

if TYPE_CHECKING:
    from trainers.importing import Imported, Loaded

__all__ = ["describe"]

_EXAMPLES: Final = 5
_CHARACTERS: Final = 200  # of a text that is shown
_TURNS: Final = 6
_COLUMNS: Final = 12


def describe(name: str, found: Imported, purpose: str) -> str:
    """Several lines, everything in them bounded; not yet made visible.

    Args:
        name: as the table was given.
        purpose: ``ift``, ``eft`` or ``prompts``.
    """
    return "\n".join(_lines(name, found, purpose))


def _lines(name: str, found: Imported, purpose: str) -> Iterator[str]:
    yield f"{name}: {found.container}, shape {found.shape}, sha256 {found.digest[:16]}..."
    yield f"{found.n_rows:,} rows read, {len(found.records):,} usable as {purpose}"
    if found.bad:
        yield f"{found.n_bad:,} bad rows left out:"
        yield found.listing()
    if found.left_out:
        yield f"not for {purpose}: {listed(found.left_out)}"
    if found.n_duplicates:
        yield f"duplicates left out: {found.n_duplicates:,}"
    if found.n_made_ids:
        yield f"ids made from the content: {found.n_made_ids:,}"
    if found.unused:
        shown = ", ".join(_clipped(column, 40) for column in found.unused[:_COLUMNS])
        yield f"columns not looked at: {shown}{', ...' if len(found.unused) > _COLUMNS else ''}"
    for record in found.records[:_EXAMPLES]:
        yield ""
        yield from _example(record)
    yield ""


def _example(record: Loaded) -> Iterator[str]:
    from selfreward_bench.types import Example, RankedPrompt

    yield f"{record.id}"
    turns = record.prompt + record.completion if isinstance(record, Example) else record.messages
    if len(turns) > _TURNS:
        yield f"  ... ({len(turns) - _TURNS:,} turns before)"
    for turn in turns[-_TURNS:]:
        yield f"  {turn.role}: {_clipped(turn.content)}"
    for response in record.responses[:_TURNS] if isinstance(record, RankedPrompt) else ():
        yield f"  rank {response.rank}: {_clipped(response.text)}"


def _clipped(text: str, limit: int = _CHARACTERS) -> str:
    line = " ".join(text[: 4 * limit].split())
    return line if len(line) <= limit and len(text) <= 4 * limit else f"{line[:limit]}... ({len(text):,} characters)"
