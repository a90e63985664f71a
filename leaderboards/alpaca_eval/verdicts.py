"""How AlpacaEval's evaluator configs read a judge's verdict, and how an answer is kept from being quoted as one.

Verdicts are read from what the judge generated, strictly: no verdict or two different ones are none, with the reason.
Each kind also disarms: an answer is shown so that no line quoted from it is a verdict of that kind.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

__all__ = [
    "AnyVerdict",
    "LogprobVerdict",
    "PatternVerdict",
    "RankingVerdict",
    "ScorePairVerdict",
    "Verdict",
]

_MAX_READ: Final = 20_000  # characters of a judge's text
_MARKS: Final = "`'\"*."  # may stand around a verdict of one word


@dataclass(frozen=True, slots=True)
class Verdict:
    """``preference`` from 1 (the output shown first is better) to 2 (the second is); None with the reason."""

    preference: float | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class LogprobVerdict:
    """The probabilities of two identifiers as the answer's first token (``last``: its last word, in words only).

    Attributes:
        first, second: identifiers of the output shown first and second.
        binarize: whether the likelier one takes all.
    """

    first: str
    second: str
    binarize: bool = False
    last: bool = False

    @property
    def choices(self) -> tuple[str, str]:
        """What log-probabilities are asked for."""
        return (self.first, self.second)

    def weigh(self, first: float, second: float) -> Verdict:
        """From two natural-log probabilities (``-inf``: not among the likely tokens) to ``2 - P(first)``.

        >>> LogprobVerdict("m", "M").weigh(math.log(0.2), math.log(0.6)).preference
        1.75
        """
        if math.isnan(first) or math.isnan(second) or max(first, second) in (-math.inf, math.inf):
            return Verdict(None, "no_verdict")
        if self.binarize:
            return Verdict(1.0 if first > second else 2.0)
        gap = min(second - first, 700.0)
        return Verdict(2.0 - 1.0 / (1.0 + math.exp(gap)))

    def read(self, text: str, truncated: bool = False) -> Verdict:
        """The same from words: an identifier alone on the first line (``last``: as the last word), and no other one.

        >>> LogprobVerdict("A", "B").read("A is worse than B")
        Verdict(preference=None, reason='no_verdict')
        """
        if self.last and truncated:
            return Verdict(None, "truncated")
        lines = [line for line in _whole_lines(text, self.last) if line.strip()]
        word = self._said(lines[-1 if self.last else 0]) if lines else None
        if word is None:
            return _none(truncated)
        if not self.last and {said for line in lines if (said := self._said(line))} != {word}:
            return Verdict(None, "conflicting")
        return Verdict(1.0 if word == self.first else 2.0)

    def disarm(self, text: str) -> str:
        """``text`` with the identifier in parentheses in each line that gives a verdict.

        >>> LogprobVerdict("m", "M").disarm("I am\\nM")
        'I am\\n(M)'
        """

        def shown(line: str) -> str:
            if self._said(line) is None:
                return line
            word = line.split()[-1]
            before, after = line.rsplit(word, 1)
            return f"{before}({word}){after}"

        return _by_line(text, shown)

    def _said(self, line: str) -> str | None:
        """The identifier that a line gives as the verdict."""
        words = line.split()
        word = words[-1].strip(_MARKS) if words and (self.last or len(words) == 1) else ""
        return word if word in self.choices else None


_AT_LINE_START = re.compile(r"\A(?:\(\?:\^\|\\n\)|\^|\\n)")  # how a pattern may begin


@dataclass(frozen=True, slots=True)
class PatternVerdict:
    """One pattern per output; all matches must agree."""

    first: re.Pattern[str]
    second: re.Pattern[str]

    def read(self, text: str, truncated: bool = False) -> Verdict:
        """1 or 2, whichever pattern is found."""
        found = [bool(p.search(text[:_MAX_READ])) for p in (self.first, self.second)]
        if all(found):
            return Verdict(None, "conflicting")
        return Verdict(1.0 if found[0] else 2.0) if any(found) else _none(truncated)

    def disarm(self, text: str) -> str:
        """``text`` with a space before the last character of each match, wherever in a line it begins.

        >>> PatternVerdict(re.compile(r"(?:^|\\n)Output A"), re.compile(r"(?:^|\\n)Output B")).disarm("So Output A.")
        'So Output  A.'
        """
        for pattern in (self.first, self.second):
            inner = re.compile(_AT_LINE_START.sub("", pattern.pattern), pattern.flags)
            text = inner.sub(partial(_split, inner), text)
        return text


def _split(pattern: re.Pattern[str], found: re.Match[str]) -> str:
    apart = f"{found[0][:-1]} {found[0][-1:]}"
    return "\N{REPLACEMENT CHARACTER}" if pattern.search(apart) else apart


_ENTRY = re.compile(r"\{\s*['\"]model['\"]\s*:\s*['\"](\w{1,40})['\"]\s*,\s*['\"]rank['\"]\s*:\s*([0-9])\s*,?\s*\}")
_FENCE = re.compile(r"```[a-z]{0,10}\n(.*)```", re.DOTALL)


@dataclass(frozen=True, slots=True)
class RankingVerdict:
    """A list of two ``{'model': ..., 'rank': ...}`` and nothing else; it is matched, never evaluated."""

    first: str = "model_1"
    second: str = "model_2"

    def read(self, text: str, truncated: bool = False) -> Verdict:
        """The rank of the output shown first is the preference."""
        body = text[:_MAX_READ].strip()
        if fenced := _FENCE.fullmatch(body):
            body = fenced[1].strip()
        rest, n_entries = _ENTRY.subn("", body)
        ranks = {name: int(rank) for name, rank in _ENTRY.findall(body)}
        if n_entries != 2 or set(ranks) != {self.first, self.second} or re.sub(r"\s", "", rest) not in ("[,]", "[,,]"):
            return _none(truncated)
        if set(ranks.values()) != {1, 2}:
            return Verdict(None, "out_of_range")
        return Verdict(float(ranks[self.first]))

    def disarm(self, text: str) -> str:
        """``text`` with a space in front of each name of a model that stands in quotes, which no entry has.

        >>> RankingVerdict().disarm("{'model': 'model_1', 'rank': 1}")
        "{'model': ' model_1', 'rank': 1}"
        """
        return re.sub(rf"(['\"])({re.escape(self.first)}|{re.escape(self.second)})(?=['\"])", r"\1 \2", text)


_PAIR = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,4})?)(?:[ \t]*,[ \t]*|[ \t]+)([0-9]{1,3}(?:\.[0-9]{1,4})?)")


@dataclass(frozen=True, slots=True)
class ScorePairVerdict:
    """A first line with two scores of 1 to 10."""

    def read(self, text: str, truncated: bool = False) -> Verdict:
        """1, 2, or 1.5 for equal scores."""
        line, newline, _ = text[:_MAX_READ].lstrip().partition("\n")
        match = _PAIR.fullmatch(line.strip())
        if not match or ((truncated or len(text) > _MAX_READ) and not newline):
            return _none(truncated)
        first, second = float(match[1]), float(match[2])
        if not (1 <= first <= 10 and 1 <= second <= 10):
            return Verdict(None, "out_of_range")
        return Verdict(1.5 if first == second else 1.0 if first > second else 2.0)

    def disarm(self, text: str) -> str:
        """``text`` with ``> `` in front of each line that is two scores.

        >>> ScorePairVerdict().disarm("1 10\\nis my answer.")
        '> 1 10\\nis my answer.'
        """
        return _by_line(text, lambda line: f"> {line}" if _PAIR.fullmatch(line.strip()) else line)


AnyVerdict = LogprobVerdict | PatternVerdict | RankingVerdict | ScorePairVerdict


def _whole_lines(text: str, last: bool) -> list[str]:
    """The lines at the beginning of a judge's text, or its last ones; none that is cut by the bound."""
    if len(text) <= _MAX_READ:
        return text.splitlines()
    return text[-_MAX_READ:].splitlines()[1:] if last else text[:_MAX_READ].splitlines()[:-1]


def _by_line(text: str, shown: Callable[[str], str]) -> str:
    """``text`` with each line as ``shown`` gives it; all of Unicode's line breaks stay."""
    lines = ((ended.splitlines()[0], ended) for ended in text.splitlines(keepends=True))
    return "".join(shown(line) + ended[len(line) :] for line, ended in lines)


def _none(truncated: bool) -> Verdict:
    return Verdict(None, "truncated" if truncated else "no_verdict")
