"""Files of samples read one line at a time, by a reader that nothing stops: what cannot be used becomes a gap.

Texts are made visible and bounded the moment they are read; nothing larger is kept.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from reports import wording
from selfreward_bench.errors import DataError
from selfreward_bench.storage import jsonl

__all__ = ["LIMIT", "conversation", "name", "number", "objects", "said", "shown"]

LIMIT: Final = 8_000  # characters of one text that are kept
_NAME: Final = 200
_MAX_LINES: Final = 100_000
_PLAIN_RUN: Final = re.compile(r"[^\n\t\x20-\x7e]+")


# --- lines


def objects(path: Path, gaps: list[str], place: str) -> Iterator[dict[str, Any]]:
    """The JSON objects of a JSONL file, as far as it can be read; nothing where there is no file.

    Args:
        gaps: gets a sentence on what was left out.
        place: what the file is called there.
    """
    if not path.is_file():
        return
    damaged: list[int] = []
    try:
        for number, line in jsonl.lines(path):
            if number > _MAX_LINES:
                gaps.append(f"{place} is longer than {_MAX_LINES:,} lines; the rest is not shown.")
                break
            values = _object(line)
            if values is None:
                damaged.append(number)
            else:
                yield values
    except DataError as error:
        gaps.append(f"{place} cannot be read to its end: {wording.clip(str(error), 300)}")
    if damaged:
        gaps.append(f"{place}: {_lines(len(damaged))} damaged and left out (the first: line {damaged[0]:,}).")


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def _lines(count: int) -> str:
    return "1 line is" if count == 1 else f"{count:,} lines are"


# --- values


def shown(text: object, limit: int = LIMIT) -> str:
    """A text as the page shows it: bounded, and everything invisible or active written out; "" for what is no text.

    The same as ``wording.visible``, which is asked about what is not plain only: texts are many.
    """
    if not isinstance(text, str):
        return ""
    return _PLAIN_RUN.sub(lambda run: wording.visible(run[0]), wording.clip(text, limit))


def name(value: object) -> str:
    """An id, a reason, a category: short."""
    return shown(value, _NAME)


def number(value: object) -> float | None:
    """A finite number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def conversation(messages: object) -> str:
    """What a model was asked: the text of a single turn; of several turns, who said what."""
    turns = [m for m in messages if isinstance(m, Mapping)] if isinstance(messages, Sequence) else []
    if len(turns) == 1:
        return shown(turns[0].get("content"))
    told = (f"{shown(m.get('role'), 20).capitalize()}:\n{shown(m.get('content'))}" for m in turns)
    return wording.clip("\n\n".join(told), 2 * LIMIT)


def said(raw: object) -> str:
    """What a judge generated; of one that weighs its grades, their distribution in words."""
    text = shown(raw)
    if not text.startswith('{"probs"') or (values := _object(text.encode())) is None:
        return text
    shares = values.get("probs")
    known = [(g, number(p)) for g, p in shares.items()] if isinstance(shares, dict) else []
    told = [f"{name(grade)}: {wording.number(share, 'share')}" for grade, share in known if share is not None]
    return f"Weighed grades {', '.join(told)}" if told else text
