"""From a judge's generated text to a verdict. Only text the judge itself generated may be passed in, never its prompt.

A verdict is a line, bracket or mark in the required form; a score mentioned anywhere else is talk. Where the text holds
no verdict, two different ones, or one outside the range, the result is ``score=None`` with a reason, never a number.
Every pattern works in linear time (possessive quantifiers, one line at a time).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from selfreward_bench.config import Section
from selfreward_bench.judges.fencing import disarmed

__all__ = [
    "BracketParser",
    "ChoiceParser",
    "Parser",
    "Reason",
    "ResultParser",
    "Scale",
    "ScoreLineParser",
    "Verdict",
    "choices_of",
    "disarm",
    "parse",
]

Reason = Literal["no_verdict", "out_of_range", "conflicting", "truncated"]

Label = Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[^\s:*](?:[^\r\n:*]*[^\s:*])?$")]


class _Strict(Section):
    model_config = ConfigDict(strict=True)


class Scale(_Strict):
    """The grades a judge may give: ``low, low + step, .. high``."""

    low: float
    high: float
    step: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _grid(self) -> Scale:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"the range [{self.low:g}, {self.high:g}] is empty; give [lowest, highest]")
        n_steps = (self.high - self.low) / self.step
        if not math.isclose(n_steps, round(n_steps), abs_tol=1e-9) or n_steps > 1000:
            raise ValueError(f"step {self.step:g} does not lead from {self.low:g} to {self.high:g} within 1000 steps")
        return self

    @property
    def grades(self) -> tuple[float, ...]:
        """All grades, lowest first."""
        return tuple(self.low + i * self.step for i in range(round((self.high - self.low) / self.step) + 1))

    def grade(self, value: float) -> float | None:
        """The grade that ``value`` is, or None when it is none (4.5 where the step is 1; 45 where the top is 5)."""
        nearest = round((value - self.low) / self.step)
        on_grid = math.isclose(self.low + nearest * self.step, value, abs_tol=1e-9)
        return self.low + nearest * self.step if on_grid and self.low <= value <= self.high else None


class ScoreLineParser(_Strict):
    """A line ``LABEL: n``; ``**`` around it and ``/5`` or ``out of 5`` (5: the highest grade) behind it are fine."""

    kind: Literal["score-line"]
    label: Label = "Score"


class BracketParser(_Strict):
    """``[[n]]`` anywhere in the text. A citation like ``[1]`` or ``[[1]](link)`` is not a verdict."""

    kind: Literal["bracket"]


def _distinct(choices: dict[str, float]) -> dict[str, float]:
    if len({name.lower() for name in choices}) < len(choices):
        raise ValueError(f"choices {', '.join(choices)} differ in case only, which does not count in a verdict")
    if len(set(choices.values())) < len(choices):
        raise ValueError("two choices have the same score; give each its own")
    return choices


Choices = Annotated[dict[Label, float], Field(min_length=2), AfterValidator(_distinct)]


class ChoiceParser(_Strict):
    """A line ``LABEL: choice``; ``choices`` gives each choice's score, case does not matter."""

    kind: Literal["choice"]
    label: Label = "Verdict"
    choices: Choices


class ResultParser(_Strict):
    """``[LABEL] n`` anywhere in the text, as Prometheus judges write it, ``/5`` or ``out of 5`` behind it are fine.

    With ``choices`` it is ``[LABEL] choice``.
    """

    kind: Literal["result"]
    label: Label = "RESULT"
    choices: Choices | None = None


AnyParser = ScoreLineParser | BracketParser | ChoiceParser | ResultParser
Parser = Annotated[AnyParser, Field(discriminator="kind")]


def choices_of(parser: AnyParser) -> dict[str, float] | None:
    """The choices that verdicts are among, with their scores; None where verdicts are numbers."""
    return parser.choices if isinstance(parser, ChoiceParser | ResultParser) else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A score, or None with the reason."""

    score: float | None
    reason: Reason | None = None


def parse(text: str, parser: AnyParser, scale: Scale, truncated: bool) -> Verdict:
    """Reads the verdict out of generated text.

    The last well-formed verdict counts. Repeating it is fine; two that differ are ``conflicting``. A number that is not
    one of the scale's grades is ``out_of_range``. Of a text cut by the token limit (``truncated``) an unfinished last
    line is no verdict: what was cut off may have changed it.

    >>> parse("Relevant and correct. [1]\\nScore: 4", ScoreLineParser(kind="score-line"), Scale(low=0, high=5), False)
    Verdict(score=4.0, reason=None)
    """
    choices = {name.lower(): score for name, score in (choices_of(parser) or {}).items()}

    def score(said: str) -> float:
        return choices[said.lower()] if choices else float(said)

    if isinstance(parser, BracketParser):
        found = [score(number) for number in _BRACKET.findall(text)]
    elif isinstance(parser, ResultParser):
        matches = _result(parser, scale).finditer(text)
        found = [score(match[1]) for match in matches if not (truncated and match.end() == len(text))]
    else:
        found = _on_lines(text, _line(parser, scale), score, truncated)
    if not found:
        return Verdict(None, "truncated" if truncated else "no_verdict")
    if len(set(found)) > 1:
        return Verdict(None, "conflicting")
    grade = scale.grade(found[-1])
    return Verdict(grade) if grade is not None else Verdict(None, "out_of_range")


def disarm(text: str, parser: AnyParser, scale: Scale) -> str:
    """``text`` as a judge may be shown it and quote it: nothing that is quoted from it line by line is a verdict.

    A line that is one, or would be without its quotation marks, is called quoted, ``[[4]]`` becomes ``[ [4] ]`` and
    ``[RESULT]`` becomes ``[ RESULT ]``; any other text stays as it is. A judge that tidies up what it quotes quotes no
    verdict either (``fencing.disarmed``).

    >>> disarm("An apple.\\nScore: 5", ScoreLineParser(kind="score-line"), Scale(low=0, high=5))
    'An apple.\\n> Score: 5 (quoted)'
    """
    if isinstance(parser, BracketParser):
        return disarmed(text, lambda shown: _LOOK_ALIKE.sub(r"[ [\1] ]", shown))
    if isinstance(parser, ResultParser):
        marks = _marks(parser.label)
        return disarmed(text, lambda shown: marks.sub(r"[ \1 ", shown))  # the space keeps it from being a mark
    pattern = _line(parser, scale)
    return disarmed(text, lambda shown: "".join(_quoted(ended, pattern) for ended in shown.splitlines(keepends=True)))


def _quoted(ended: str, pattern: re.Pattern[str]) -> str:
    """A line, with what ends it; a verdict is marked at both its ends, as a judge may strip ``> `` off."""
    line = ended.splitlines()[0]
    if not pattern.fullmatch(line.strip(_QUOTES)):
        return ended
    before = "" if line.lstrip().startswith(">") else "> "
    return f"{before}{line} (quoted){ended[len(line) :]}"


def _on_lines(text: str, pattern: re.Pattern[str], read: Callable[[str], float], truncated: bool) -> list[float]:
    lines = (text + "\0").splitlines() if truncated else text.splitlines()  # NUL spoils an unfinished last line
    return [read(match[1]) for line in lines if (match := pattern.fullmatch(line))]


_QUOTES = " \t>|\"'`_~\u00ab\u00bb\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u2039\u203a\u300c\u300d\u300e\u300f"
_NUMBER = r"-?[0-9]{1,9}+(?:\.[0-9]{1,9}+)?"
_GAP = r"[ \t]*+"
_FLAGS = re.IGNORECASE | re.ASCII  # ASCII: case folding then agrees with str.lower of a choice
_BRACKET = re.compile(rf"(?<!\[)\[\[{_GAP}({_NUMBER}){_GAP}\]\](?![\](])")
_LOOK_ALIKE = re.compile(rf"\[\[({_GAP}-?[0-9.]++{_GAP})\]\]")  # wider: whatever stands around it, any number


def _line(parser: ScoreLineParser | ChoiceParser, scale: Scale) -> re.Pattern[str]:
    if isinstance(parser, ScoreLineParser):
        return _score_line(parser.label, f"{scale.high:g}")
    return _choice_line(parser.label, tuple(parser.choices))


def _verdict_line(label: str, value: str) -> re.Pattern[str]:
    bold = r"\*{0,3}+"
    gap = rf"{_GAP}{bold}{_GAP}"
    return re.compile(rf"{gap}{re.escape(label)}{gap}[:：]{gap}{value}{bold}{_GAP}\.?{gap}", _FLAGS)  # noqa: RUF001


def _result(parser: ResultParser, scale: Scale) -> re.Pattern[str]:
    return _result_mark(parser.label, tuple(parser.choices or ()), f"{scale.high:g}")


@lru_cache(maxsize=64)
def _result_mark(label: str, choices: tuple[str, ...], top: str) -> re.Pattern[str]:
    """``[RESULT] 4``, ``[RESULT]: (4)``, ``[RESULT: 4]``, ``[RESULT] Response A``; nothing follows on the line."""
    mark = rf"\[{re.escape(label)}(?:\]{_GAP}:?+|:)\s*+\*{{0,3}}+(?:response[ \t]++)?\(?+{_GAP}"
    longest_first = sorted(choices, key=len, reverse=True)
    value = "|".join(map(re.escape, longest_first)) or _NUMBER
    out_of = rf"(?:{_GAP}(?:/|out of){_GAP}{re.escape(top)})?"
    return re.compile(rf"{mark}({value}){out_of}[)\].*]{{0,4}}+{_GAP}(?=[\r\n]|\Z)", _FLAGS)


@lru_cache(maxsize=64)
def _marks(label: str) -> re.Pattern[str]:
    return re.compile(rf"\[({re.escape(label)})(?={_GAP}[\]:])", _FLAGS)


@lru_cache(maxsize=64)
def _score_line(label: str, top: str) -> re.Pattern[str]:
    out_of = rf"(?:{_GAP}\*{{0,3}}+{_GAP}(?:/|out of){_GAP}{re.escape(top)})?"
    return _verdict_line(label, f"({_NUMBER}){out_of}")


@lru_cache(maxsize=64)
def _choice_line(label: str, choices: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(choices, key=len, reverse=True)
    return _verdict_line(label, f"({'|'.join(map(re.escape, longest_first))})")
