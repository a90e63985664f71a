"""Samples packed for the page: JSON in which every text stands once, no larger than a page that opens at once allows.

Where all texts are too much, the samples that changed least keep the beginning of theirs, or are left out; the page
says so.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from reports import wording
from reports.samples import choosing
from reports.samples.records import WIN_SHARE, Sample, SampleSet, Side, Texts

__all__ = ["BUDGET", "Packed", "TextPool", "pack"]

BUDGET: Final = 11_500_000  # characters of all blobs together, compressed and written in base64
_BLOCK: Final = 2**17  # bytes
SHORT: Final = 400  # characters that a shortened text keeps
_ROUNDS: Final = 4

_MIDDLE: Final = {"points": 2.5, "grade": 5.5, "share": 0.5, "percent": 50.0, "correlation": 0.0}

_Key = tuple[int, int]  # a sample: the number of its set, its place there


@dataclass(frozen=True)
class Packed:
    """One benchmark's blob, and what the page says of it.

    Attributes:
        total: samples there are; ``kept`` are in the blob, ``shortened`` of them with less of their texts.
    """

    benchmark: str
    content: bytes
    checkpoints: tuple[str, ...]
    groups: tuple[dict[str, Any], ...]
    start: tuple[int, int]
    total: int
    kept: int
    shortened: int


@dataclass
class TextPool:
    """Texts by number, each once."""

    texts: list[str] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)

    def add(self, text: str | None) -> int:
        """The text's number; -1 for none."""
        if text is None:
            return -1
        if text not in self._numbers:
            self._numbers[text] = len(self.texts)
            self.texts.append(text)
        return self._numbers[text]


def pack(sets: Sequence[SampleSet], budget: int = BUDGET) -> list[Packed]:
    """A blob per set; all of them stay below the budget, whatever the sets hold."""
    kept = {(i, k): s for i, x in enumerate(sets) for k, s in enumerate(x.samples)}
    ranked = sorted(kept, key=_interest(sets))  # the least interesting first
    short: set[_Key] = set()
    contents = _encode(sets, kept, short)
    for _ in range(_ROUNDS):
        size = _packed_size(contents, budget)
        if size <= budget:
            break
        surplus = sum(map(len, contents)) * (1 - 0.97 * budget / size)
        fresh = [key for key in ranked if key in kept and key not in short]
        if fresh:
            short |= _enough(fresh, lambda key: _savings(kept[key]), surplus)
        else:  # beginnings alone are too much
            dropped = [key for key in ranked if key in kept]
            for key in dropped[: 1 + int(len(dropped) * (1 - 0.9 * budget / size))]:
                del kept[key]
        contents = _encode(sets, kept, short)
    return [_packed(x, i, contents[i], kept, short) for i, x in enumerate(sets)]


# --- what is kept


def _interest(sets: Sequence[SampleSet]) -> Callable[[_Key], tuple[float, int, int]]:
    weights = [choosing.weights(x.samples) for x in sets]
    return lambda key: (weights[key[0]][key[1]], -key[1], key[0])


def _savings(sample: Sample) -> int:
    texts = {t for side in sample.sides.values() for t in _all_texts(side)}
    return sum(max(0, len(t) - SHORT) for t in texts)


def _all_texts(side: Side) -> list[str]:
    return [side.prompt, side.answer or "", *(t for _, t in (*side.beside, *side.judged))]


def _enough(keys: Sequence[_Key], savings: Callable[[_Key], int], surplus: float) -> set[_Key]:
    taken: set[_Key] = set()
    for key in keys:
        if surplus <= 0:
            break
        taken.add(key)
        surplus -= savings(key)
    return taken


def _packed_size(contents: Sequence[bytes], budget: int) -> int:
    """In base64. What is small enough as it is, or by far too large, is not compressed as a whole to find out."""
    if sum(map(len, contents)) * 4 / 3 <= budget:
        return 0
    guess = sum(map(_guessed, contents)) * 4 // 3
    return guess if guess > 1.1 * budget else sum(len(zlib.compress(c, 6)) for c in contents) * 4 // 3


def _guessed(content: bytes) -> int:
    """How large it is when compressed, from every fourth block of it."""
    parts = [content[i : i + _BLOCK] for i in range(0, len(content), 4 * _BLOCK)]
    taken = sum(map(len, parts))
    return sum(len(zlib.compress(part, 6)) for part in parts) * len(content) // max(1, taken)


# --- JSON


def _encode(sets: Sequence[SampleSet], kept: Mapping[_Key, Sample], short: set[_Key]) -> list[bytes]:
    return [
        _content(x, [(s, (i, k) in short) for k in range(len(x.samples)) if (s := kept.get((i, k))) is not None])
        for i, x in enumerate(sets)
    ]


def _content(of: SampleSet, samples: Sequence[tuple[Sample, bool]]) -> bytes:
    pool, names = TextPool(), TextPool()  # names: of categories, labels and measures
    metrics = {metric: i for i, metric in enumerate(of.metrics)}
    rows = [
        [
            s.id,
            metrics[s.metric],
            names.add(s.category),
            int(shorten),
            [_side(s.sides.get(k), pool, names, of.benchmark, shorten) for k in range(len(of.checkpoints))],
            {
                f"{a},{b}": [m.value, m.reason, _labelled(m.judged, pool, names, shorten), m.flags]
                for (a, b), m in s.matches.items()
            },
        ]
        for s, shorten in samples
    ]
    blob = {"texts": pool.texts, "names": names.texts, "samples": rows}
    return json.dumps(blob, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _side(side: Side | None, pool: TextPool, names: TextPool, benchmark: str, shorten: bool) -> list[Any] | None:
    if side is None:
        return None
    numbers = [x for n, v in side.numbers.items() for x in (names.add(_label(benchmark, n)), _number(benchmark, n, v))]
    return [
        side.value,
        side.reason,
        pool.add(_cut(side.prompt, shorten)),
        pool.add(None if side.answer is None else _cut(side.answer, shorten)),
        _labelled(side.beside, pool, names, shorten),
        _labelled(side.judged, pool, names, shorten),
        numbers,
        side.flags,
        side.chars,
        side.points,
    ]


def _labelled(texts: Texts, pool: TextPool, names: TextPool, shorten: bool) -> list[int]:
    return [x for label, text in texts for x in (names.add(label), pool.add(_cut(text, shorten)))]


def _cut(text: str, shorten: bool) -> str:
    return wording.clip(text, SHORT) if shorten else text


def _label(benchmark: str, measure: str) -> str:
    plain = {"grade": "Grade", "reference_grade": "Grade of the reference"}
    return plain.get(measure) or wording.info(benchmark, measure).label


def _number(benchmark: str, measure: str, value: float | None) -> str:
    unit = wording.info(benchmark, measure).unit
    if unit == "share" and value in (0, 1):  # of a single sample
        return "yes" if value else "no"
    return wording.number(value, unit)


# --- what the page says of a set


def _packed(of: SampleSet, i: int, content: bytes, kept: Mapping[_Key, Sample], short: set[_Key]) -> Packed:
    mine = [key for key in kept if key[0] == i]
    cut = sum(key in short and _savings(kept[key]) > 0 for key in mine)
    groups = tuple(_group(of, metric) for metric in of.metrics)
    return Packed(of.benchmark, content, of.checkpoints, groups, of.start, of.total, len(mine), cut)


def _group(of: SampleSet, metric: str) -> dict[str, Any]:
    """How the values of one metric are shown and compared. ``middle``: crossing it is a flip."""
    if metric == WIN_SHARE:
        return {"label": "Share of the win", "better": 1, "middle": 0.5, **_digits("share"), "words": False}
    info = wording.info(of.benchmark, metric)
    words = info.unit == "share" and wording.family(of.benchmark) in ("judge-accuracy", "nlp")
    return {
        "label": info.label,
        "better": info.better,
        "middle": _MIDDLE.get(info.unit),
        **_digits(info.unit),
        "words": words,
    }


def _digits(unit: str) -> dict[str, Any]:
    """What ``wording.number`` does with a unit, for the script."""
    one = wording.number(1.0, unit)
    figures = one.removesuffix(" %")
    return {
        "scale": 100 if figures.startswith("100") else 1,
        "digits": len(figures.partition(".")[2]),
        "suffix": " %" if one.endswith("%") else "",
    }
