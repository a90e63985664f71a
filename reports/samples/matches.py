"""Head-to-head verdicts of a run, prompt by prompt: both answers, and what the judge said in each order.

Answers and verdicts are read twice, as they may be many: once for what tells which prompts are shown, once for the
texts of those. No more than those texts are in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Any, Final, NamedTuple

from leaderboards.standings import MATCHES
from reports import wording
from reports.facts.run import RunFacts
from reports.samples import choosing, files
from reports.samples.records import (
    DISAGREEING,
    TRUNCATED,
    UNPARSED,
    WIN_SHARE,
    Match,
    Sample,
    SampleSet,
    Side,
    start_pair,
)
from reports.samples.rows import embedded_prompts

__all__ = ["matched"]

_ANSWERS: Final = f"{MATCHES}@1"
_VERDICTS: Final = "comparisons.jsonl"
_PROMPTS: Final = "prompts.jsonl"

Pair = tuple[int, int]  # numbers of two checkpoints


class _Showing(NamedTuple):
    """Two checkpoints as the file names them, and whether the first one's answer was shown first."""

    a: int
    b: int
    is_ab: bool

    @property
    def first(self) -> int:
        return self.a if self.is_ab else self.b


class _Said(NamedTuple):
    """A verdict without its words: for what was shown first."""

    preference: float | None
    attempt: float
    line: int


class _Answer(NamedTuple):
    """A digest of an answer, and whether it was cut."""

    text: bytes
    cut: bool


@dataclass(frozen=True, slots=True)
class _Outline:
    """A prompt without its texts.

    Attributes:
        shares: of each two checkpoints, the first one's share of the win.
    """

    id: str
    shares: dict[Pair, float | None]
    metric: str = WIN_SHARE
    lost: bool = False  # as ``Sample.lost``: no verdict is a checkpoint's own

    @property
    def change(self) -> float:
        return max((abs(2 * share - 1) for share in self.shares.values() if share is not None), default=0.0)

    def values(self, a: int, b: int) -> tuple[float | None, float | None]:
        share = self.shares.get((min(a, b), max(a, b)))
        other = None if share is None else 1 - share
        return (share, other) if a < b else (other, share)


def matched(facts: RunFacts, label: str, gaps: list[str]) -> SampleSet | None:
    """The samples of a run's tournament; None where there is none, or one of other weights.

    Args:
        label: what stands before a checkpoint's name where there are several runs.
    """
    if facts.tournament is None:
        return None
    names = list(facts.tournament.checkpoints)
    reader = _Reader(Path(facts.path), names, label, gaps)
    outlines, start = reader.outlines(), start_pair(names, [len(names) - 1])
    kept, ends = choosing.most_changed(outlines), choosing.extremes(outlines, start)
    samples = reader.samples({outlines[i].id for i in {*kept, *ends}})
    key = facts.tournament.benchmark
    return SampleSet(
        f"{key} ({label.removesuffix(' · ')})" if label else key,
        tuple(f"{label}{files.name(n)}" for n in names),
        tuple(samples[outlines[i].id] for i in kept),
        start,
        len(outlines),
        (WIN_SHARE,) if outlines else (),
        tuple(samples[outlines[i].id] for i in ends),
    )


class _Reader:
    """Reads a run's tournament."""

    def __init__(self, root: Path, names: Sequence[str], label: str, gaps: list[str]) -> None:
        self._root, self._names, self._label, self._gaps = root, names, label, gaps
        self._answers: dict[str, dict[int, _Answer]] = {}  # by prompt and checkpoint
        self._said: dict[str, dict[_Showing, _Said]] = {}  # by prompt

    def outlines(self) -> list[_Outline]:
        """All prompts that anybody answered, in the order of the answers."""
        for k in range(len(self._names)):
            for prompt_id, values in self._stored_answers(k, self._gaps):
                text = str(values.get("text") or "").encode("utf-8", "replace")
                answer = _Answer(hashlib.blake2b(text, digest_size=16).digest(), _is_cut(values))
                self._answers.setdefault(prompt_id, {})[k] = answer
        self._read_verdicts()
        return [
            _Outline(prompt_id, {pair: self._share(prompt_id, pair) for pair in combinations(sorted(there), 2)})
            for prompt_id, there in self._answers.items()
        ]

    def samples(self, ids: Set[str]) -> dict[str, Sample]:
        """Some prompts with their texts."""
        sides: dict[str, dict[int, Side]] = {prompt_id: {} for prompt_id in ids}
        prompts = self._prompts(ids)
        for k in range(len(self._names)):
            for prompt_id, values in self._stored_answers(k, [], ids):
                if prompt_id in ids:
                    sides[prompt_id][k] = _side(prompts.get(prompt_id, ""), values)
        lines = {said.line for prompt_id in ids for said in self._said.get(prompt_id, {}).values()}
        words = dict(files.numbered(self._verdict_file, [], _VERDICTS, lambda number, _: number in lines))
        return {
            prompt_id: Sample(
                files.name(prompt_id),
                WIN_SHARE,
                "",
                found,
                {pair: self._match(prompt_id, pair, words) for pair in combinations(sorted(found), 2)},
            )
            for prompt_id, found in sides.items()
        }

    # --- files

    @property
    def _verdict_file(self) -> Path:
        return self._root / MATCHES / _VERDICTS

    def _stored_answers(
        self, k: int, gaps: list[str], ids: Set[str] | None = None
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """A checkpoint's answers by prompt; of some, and maybe of others."""
        path = self._root / self._names[k] / "eval" / _ANSWERS / "answers.jsonl"
        place = f"{self._label}{files.name(self._names[k])}/eval/{_ANSWERS}/{path.name}"
        wanted = None if ids is None else files.may_hold("prompt_id", ids)
        rows = files.numbered(path, gaps, place, wanted)
        return ((str(values.get("prompt_id")), values) for _, values in rows if values.get("index") == 0)

    def _read_verdicts(self) -> None:
        """Of a showing that was asked again, the last verdict."""
        number = {name: k for k, name in enumerate(self._names)}
        place = f"{self._label}{MATCHES}/{_VERDICTS}"
        for line, values in files.numbered(self._verdict_file, self._gaps, place):
            a, b = number.get(str(values.get("a"))), number.get(str(values.get("b")))
            if a is None or b is None or a == b:
                continue
            there = self._said.setdefault(str(values.get("prompt_id")), {})
            showing = _Showing(a, b, values.get("order") == "ab")
            said = _Said(files.number(values.get("preference")), files.number(values.get("attempt")) or 0, line)
            if showing not in there or said.attempt >= there[showing].attempt:
                there[showing] = said

    def _prompts(self, ids: Set[str]) -> dict[str, str]:
        place = f"{self._label}{MATCHES}/{_PROMPTS}"
        rows = files.numbered(self._root / MATCHES / _PROMPTS, self._gaps, place, files.may_hold("id", ids))
        stored = {i: files.conversation(v.get("messages")) for _, v in rows if (i := str(v.get("id"))) in ids}
        return embedded_prompts() | stored

    # --- two answers

    def _asked(self, prompt_id: str, pair: Pair) -> list[tuple[_Showing, _Said]]:
        """What was said of two, in each order."""
        there = self._said.get(prompt_id, {})
        showings = (_Showing(a, b, is_ab) for (a, b), is_ab in product((pair, pair[::-1]), (True, False)))
        return [(showing, there[showing]) for showing in showings if showing in there]

    def _are_equal(self, prompt_id: str, pair: Pair) -> bool:
        """A verdict that is stored all the same is of former answers."""
        first, second = (self._answers[prompt_id][k].text for k in pair)
        return first == second

    def _share(self, prompt_id: str, pair: Pair) -> float | None:
        """The mean over the orders from the side of the pair's first; None where one of them has no verdict."""
        if self._are_equal(prompt_id, pair):
            return 0.5
        shares = _shares(self._asked(prompt_id, pair), pair[0])
        known = [share for share in shares if share is not None]
        return sum(known) / len(known) if known and len(known) == len(shares) else None

    def _match(self, prompt_id: str, pair: Pair, words: Mapping[int, Mapping[str, Any]]) -> Match:
        if self._are_equal(prompt_id, pair):
            return Match(0.5, "the same answer: a tie, nobody was asked")
        asked = self._asked(prompt_id, pair)
        if not asked:
            cut = [self._names[k] for k in pair if self._answers[prompt_id][k].cut]
            return Match(None, f"answer truncated: {wording.listing(cut)}" if cut else "no verdict")
        shares = _shares(asked, pair[0])
        sides = {(share > 0.5) - (share < 0.5) for share in shares if share is not None}
        reason, told = "", []
        for (showing, said), share in zip(asked, shares, strict=True):
            values = words.get(said.line, {})
            given = "no verdict" if share is None else f"{wording.number(said.preference, 'share')} for it"
            text = files.said(values.get("raw")) or files.name(values.get("reason"))
            told.append((f"Judge, {files.name(self._names[showing.first])} shown first: {given}", text))
            reason = reason or (files.name(values.get("reason")) or "no verdict") * (share is None)
        flags = DISAGREEING * (len(sides) > 1) | UNPARSED * (None in shares)
        return Match(self._share(prompt_id, pair), reason, tuple(told), flags)


def _shares(asked: Sequence[tuple[_Showing, _Said]], low: int) -> list[float | None]:
    """Preferences from the side of ``low``, whoever was shown first."""
    return [
        said.preference if said.preference is None or showing.first == low else 1 - said.preference
        for showing, said in asked
    ]


def _side(prompt: str, values: Mapping[str, Any]) -> Side:
    text = values.get("text")
    chars = len(text) if isinstance(text, str) else 0
    return Side(None, prompt=prompt, answer=files.shown(text), flags=TRUNCATED * _is_cut(values), chars=chars)


def _is_cut(values: Mapping[str, Any]) -> bool:
    return values.get("finish_reason") == "length"
