"""Preference pairs as the page shows them: chosen against rejected with their scores and the judge's words, bounded.

Of many pairs those at the ends stay (largest and smallest margin, most unlike lengths), and others spread evenly.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from reports import wording
from reports.facts.pairs_check import judged
from reports.facts.run import RunFacts
from reports.samples import files
from reports.samples.blobs import TextPool

__all__ = ["Iteration", "Pair", "collect", "contents"]

MAX_PAIRS: Final = 200
_EXTREMES: Final = 30  # of each kind
_JUDGMENTS: Final = 4  # of one answer that are shown
_BUDGET: Final = 3_000_000  # characters of all texts of all iterations, before they are compressed
_LIMITS: Final = (files.LIMIT, 3_000, 1_500, 800, 400)  # of one text: the longest that keeps to the budget


@dataclass(frozen=True, slots=True)
class Pair:
    """One pair. Texts are visible and bounded; ``chars`` are of the whole texts, chosen first.

    Attributes:
        words: what the judge said of the chosen answer, and of the rejected one.
    """

    number: int
    id: str
    prompt: str
    texts: tuple[str, str]
    scores: tuple[float | None, float | None]
    chars: tuple[int, int]
    words: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())


@dataclass(frozen=True, slots=True)
class Iteration:
    """What one model was trained on; ``total`` counts all pairs, ``pairs`` are those that are shown.

    Attributes:
        judged: what an independent judge said of some, in a sentence; empty where nobody was asked.
    """

    model: str
    total: int
    pairs: tuple[Pair, ...]
    judged: str = ""


@dataclass(frozen=True, slots=True)
class _Measured:
    """What decides whether a pair is shown; ``line`` is where it stands in the file."""

    number: int
    line: int
    margin: float
    ratio: float  # length of the chosen answer against the rejected one's


def collect(runs: Sequence[RunFacts]) -> tuple[list[Iteration], list[str]]:
    """The pairs of each model that was trained on some, and in words what could not be read."""
    gaps: list[str] = []
    found = []
    for facts in runs:
        for model in facts.models:
            label = f"{files.name(facts.name)} · {files.name(model.name)}" if len(runs) > 1 else files.name(model.name)
            if iteration := _iteration(Path(facts.path) / model.name, label, gaps):
                found.append(replace(iteration, judged=judged(Path(facts.path), model.name, gaps)))
    return found, gaps


def contents(iterations: Sequence[Iteration]) -> tuple[list[bytes], int]:
    """A blob per iteration, and the number of characters at which texts are cut in them."""
    limit = next(
        (n for n in _LIMITS if sum(_size(p, n) for it in iterations for p in it.pairs) <= _BUDGET), _LIMITS[-1]
    )
    return [_content(it, limit) for it in iterations], limit


def _content(iteration: Iteration, limit: int) -> bytes:
    pool = TextPool()
    rows = [
        [
            p.number,
            p.id,
            pool.add(wording.clip(p.prompt, limit)),
            *(pool.add(wording.clip(t, limit)) for t in p.texts),
            *p.scores,
            *p.chars,
            *([pool.add(wording.clip(w, limit)) for w in words] for words in p.words),
        ]
        for p in iteration.pairs
    ]
    blob = {"texts": pool.texts, "pairs": rows}
    return json.dumps(blob, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _size(pair: Pair, limit: int) -> int:
    return sum(min(len(t), limit) for t in (pair.prompt, *pair.texts, *pair.words[0], *pair.words[1]))


# --- reading


def _iteration(folder: Path, label: str, gaps: list[str]) -> Iteration | None:
    """Reads the file twice: once to choose, once to take the texts."""
    path, place = folder / "pairs.jsonl", f"{label}/pairs.jsonl"
    found = (_measured(k, at, v) for k, (at, v) in enumerate(files.numbered(path, gaps, place)))
    measured = [m for m in found if m is not None]
    if not measured:
        return None
    chosen = _chosen(measured)
    numbers = {m.line: m.number for m in measured if m.number in chosen}
    read = files.numbered(path, [], place, lambda at, _: at in numbers)
    records = {numbers[at]: v for at, v in read}
    words = _words(folder / "judgments.jsonl", f"{label}/judgments.jsonl", records.values(), gaps)
    return Iteration(label, len(measured), tuple(_pair(k, v, words) for k, v in records.items()))


def _measured(number: int, line: int, values: Mapping[str, Any]) -> _Measured | None:
    a, b = (files.number(values.get(f"{side}_score")) for side in ("chosen", "rejected"))
    texts = [_last(values.get(side)) for side in ("chosen", "rejected")]
    if not texts[0] and not texts[1]:
        return None
    margin = 0.0 if a is None or b is None else a - b
    return _Measured(number, line, margin, (len(texts[0]) + 1) / (len(texts[1]) + 1))


def _chosen(measured: Sequence[_Measured]) -> set[int]:
    """Numbers of the pairs that are shown."""
    if len(measured) <= MAX_PAIRS:
        return {m.number for m in measured}
    ends: list[Callable[[_Measured], float]] = [
        lambda m: -m.margin,
        lambda m: m.margin,
        lambda m: -m.ratio,
        lambda m: m.ratio,
    ]
    taken = {m.number for key in ends for m in heapq.nsmallest(_EXTREMES, measured, key=key)}
    rest = [m.number for m in measured if m.number not in taken]
    wanted = MAX_PAIRS - len(taken)
    return taken | {rest[k * len(rest) // wanted] for k in range(wanted)}


def _words(
    path: Path, place: str, records: Iterable[Mapping[str, Any]], gaps: list[str]
) -> dict[tuple[str, str], list[str]]:
    """Prompt id and answer's index -> the judge's words, of the answers in ``records``."""
    wanted = {_answer(v, f"{side}_index") for v in records for side in ("chosen", "rejected")}
    of_one = files.may_hold("prompt_id", {prompt for prompt, _ in wanted})
    found: dict[tuple[str, str], list[str]] = {}
    for _, v in files.numbered(path, gaps, place, of_one):
        key = _answer(v, "index")
        if key not in wanted or len(found.get(key, ())) >= _JUDGMENTS:
            continue
        score, text = files.number(v.get("score")), files.said(v.get("raw"))
        reason = files.name(v.get("reason")) or "unknown"
        head = f"[no score: {reason}]" if score is None else f"[{wording.number(score, 'points')}]"
        found.setdefault(key, []).append(f"{head} {text}")
    return found


def _answer(values: Mapping[str, Any], index: str) -> tuple[str, str]:
    """Which answer a line is about; whatever the line holds, it can be compared."""
    return str(values.get("prompt_id")), str(values.get(index))


def _pair(number: int, values: Mapping[str, Any], words: Mapping[tuple[str, str], list[str]]) -> Pair:
    texts = [_last(values.get(side)) for side in ("chosen", "rejected")]
    return Pair(
        number,
        files.name(values.get("prompt_id")),
        files.conversation(values.get("prompt")),
        (files.shown(texts[0]), files.shown(texts[1])),
        (files.number(values.get("chosen_score")), files.number(values.get("rejected_score"))),
        (len(texts[0]), len(texts[1])),
        (
            tuple(words.get(_answer(values, "chosen_index"), ())),
            tuple(words.get(_answer(values, "rejected_index"), ())),
        ),
    )


def _last(messages: object) -> str:
    """The text of a conversation's last turn."""
    turns = messages if isinstance(messages, list) else []
    content = turns[-1].get("content") if turns and isinstance(turns[-1], Mapping) else None
    return content if isinstance(content, str) else ""
