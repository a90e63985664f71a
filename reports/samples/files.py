"""Files of samples read one line at a time, by a reader that nothing stops: what cannot be used becomes a gap.

Texts are made visible and bounded the moment they are read; nothing larger is kept.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from reports import wording
from selfreward_bench.errors import DataError
from selfreward_bench.storage import jsonl

__all__ = ["LIMIT", "conversation", "may_hold", "name", "number", "numbered", "objects", "said", "shown"]

LIMIT: Final = 8_000  # characters of one text that are kept
_NAME: Final = 200
_MAX_LINES: Final = 100_000  # that are looked at
_MAX_PASSED: Final = 10_000_000  # that are passed over
_MAX_VERDICT: Final = 2**16  # characters of one that is read as JSON
_VERDICT: Final = frozenset({"justification", "probs", "mass", "logprobs"})
_LITTLE: Final = 0.5
_CHOICES: Final = 8
_PLAIN_RUN: Final = re.compile(r"[^\n\t\x20-\x7e]+")


# --- lines


def objects(path: Path, gaps: list[str], place: str) -> Iterator[dict[str, Any]]:
    """The JSON objects of a JSONL file, as far as it can be read; nothing where there is no file.

    Args:
        gaps: gets a sentence on what was left out.
        place: what the file is called there.
    """
    return (values for _, values in numbered(path, gaps, place))


def numbered(
    path: Path, gaps: list[str], place: str, wanted: Callable[[int, bytes], bool] | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """As ``objects``, each with the number of its line (from 1).

    Args:
        wanted: whether a line, with its number, is looked at; where it is not given, all are. What is passed over is
            neither read as JSON nor counted among the lines that are shown at most.
    """
    if not path.is_file():
        return
    damaged: list[int] = []
    seen = 0
    try:
        for number, line in jsonl.lines(path):
            is_wanted = wanted is None or wanted(number, line)
            seen += is_wanted
            if seen > _MAX_LINES or number > _MAX_PASSED:
                most = _MAX_LINES if seen > _MAX_LINES else _MAX_PASSED
                gaps.append(f"{place} is longer than {most:,} lines; the rest is not shown.")
                break
            if not is_wanted:
                continue
            values = _object(line)
            if values is None:
                damaged.append(number)
            else:
                yield number, values
    except DataError as error:
        gaps.append(f"{place} cannot be read to its end: {wording.clip(str(error), 300)}")
    if damaged:
        gaps.append(f"{place}: {_lines(len(damaged))} damaged and left out (the first: line {damaged[0]:,}).")


def may_hold(field: str, values: Iterable[str]) -> Callable[[int, bytes], bool]:
    """For ``numbered``: the lines whose first field is one of some texts.

    That is told from how srbench begins and ends a line, without reading it as JSON; a line of any other form is looked
    at, so whoever asks looks again.

    >>> wanted = may_hold("id", ["a"])
    >>> [wanted(1, line) for line in (b'{"id":"a","n":1}\\n', b'{"id":"b","n":1}\\n', b'{"n":1,"id":"b"}\\n')]
    [True, False, True]
    """
    beginning = f'{{"{field}":"'.encode()
    start = len(beginning)
    known = {value.encode(errors="surrogatepass") for value in values}

    def wanted(_: int, line: bytes) -> bool:
        if not (line.startswith(beginning) and line.endswith(b"}\n")):
            return True
        value = line[start : line.find(b'"', start)]
        return value in known or b"\\" in value

    return wanted


def _object(line: bytes | str) -> dict[str, Any] | None:
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
    """What a judge generated, as text; of one that weighs its verdicts, the distribution in words."""
    values = _object(raw) if isinstance(raw, str) and raw.startswith("{") and len(raw) < _MAX_VERDICT else None
    return (_weighed(values) if values else "") or shown(raw)


def _weighed(values: Mapping[str, Any]) -> str:
    """A verdict that ``judges.pointwise`` or a weighing annotator stored; empty for anything else."""
    if not values.keys() <= _VERDICT:
        return _by_log(values)
    told = [shown(values.get("justification")).strip()]
    shares = values.get("probs")
    grades = [(g, number(p)) for g, p in shares.items()] if isinstance(shares, Mapping) else []
    if known := [f"{name(grade)}: {wording.number(share, 'share')}" for grade, share in grades if share is not None]:
        told.append(f"Weighed grades {', '.join(known)}")
    mass = number(values.get("mass"))
    if mass is not None and mass < _LITTLE:
        told.append(f"Only {wording.number(mass, 'share')} of the probability lay on grades.")
    return "\n".join(filter(None, told))


def _by_log(values: Mapping[str, Any]) -> str:
    """The choices of an annotator that was asked for log-probabilities: ``{"m": -0.1, "M": -2.4}``."""
    logs = {choice: number(value) for choice, value in values.items()}
    if not 2 <= len(logs) <= _CHOICES or any(p is None and values[c] is not None for c, p in logs.items()):
        return ""
    if any(p is not None and p > 0 for p in logs.values()):
        return ""
    told = (f"{name(c)}: {wording.number(0.0 if p is None else math.exp(p), 'share')}" for c, p in logs.items())
    return f"Weighed choices {', '.join(told)}"
