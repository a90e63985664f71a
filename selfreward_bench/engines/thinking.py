"""Tells a model's thinking from its answer, by the tags around it.

The answer is what follows the last closing tag. A tag within code (a fenced block, or `` `backticks` ``) is none: an
answer may be about such tags. Thinking that was begun and never closed was cut off, and leaves no answer. A text that
closes what it did not open began to think in the prompt, as some chat templates make a model do. The families of tags
are those that vLLM's and llama.cpp's parsers know, which servers leave in where they are started without one.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

__all__ = ["Parts", "begins_thinking", "is_tag", "split_thinking"]

_WORDS: Final = r"think(?:ing|_fast(?:er)?)?|thought|reasoning|(?:seed:|longcat_)think"
_OPEN: Final = re.compile(
    rf"<(?:{_WORDS})(?:\s[^<>]{{0,200}})?>|\[THINK\]|◁think▷|<\|(?:begin_of_thought|start_thinking|inner_prefix)\|>|<\|channel>(?:thought)?",
    re.IGNORECASE,
)
_CLOSE: Final = re.compile(
    rf"</(?:{_WORDS})>|\[/THINK\]|◁/think▷|<\|(?:end_of_thought|end_thinking|inner_suffix)\|>|<channel\|>",
    re.IGNORECASE,
)
# what some of them put around the answer then
_WRAPPED: Final = re.compile(
    r"\s*<(?:\|(?:begin_of_solution|start_response|start_text|answer_prefix)\|)>(?P<tokens>.*?)"
    r"(?:<\|(?:end_of_solution|end_response|end_text|answer_suffix)\|>\s*)?\Z"
    r"|\s*<(?P<tag>answer|response)>(?P<tagged>.*)</(?P=tag)>\s*\Z",
    re.IGNORECASE | re.DOTALL,
)
# Granite 3.2, in words
_GRANITE: Final = re.compile(
    r"\s*Here(?:'s| is) my thought process:(.*?)^[ \t]*Here(?:'s| is) my response:", re.DOTALL | re.MULTILINE
)
# gpt-oss, with its control tokens and without them
_CHANNELS: Final = re.compile(r"<\|(?:channel|start)\|>")
_FINAL: Final = re.compile(
    r"<\|channel\|>final[^<]{0,100}(?:<\|constrain\|>[^<]{0,100})?<\|message\|>|(?<=assistant)final(?=\S)"
)
_END: Final = re.compile(r"<\|(?:end|return)\|>\s*\Z")
_NO_TOKENS: Final = re.compile(r"analysis.*assistantfinal\S", re.DOTALL)

_FENCE: Final = re.compile(r"^ {0,3}(`{3,}|~{3,})([^\n]*)$", re.MULTILINE)
_TICKS: Final = re.compile(r"`+")
_BLANK: Final = re.compile(r"\n[ \t]*\n")

_Span = tuple[int, int]


class Parts(NamedTuple):
    """What a model thought, and what it answered."""

    thinking: str
    answer: str


def split_thinking(text: str) -> Parts:
    """A text's thinking and its answer; each may be empty.

    >>> split_thinking("<think>Maybe 6?</think>\\n\\nRating: [[7]]")
    Parts(thinking='Maybe 6?', answer='Rating: [[7]]')
    >>> split_thinking("Write `</think>` at the end.")
    Parts(thinking='', answer='Write `</think>` at the end.')
    """
    start = text.lstrip()
    if _CHANNELS.match(start) or _NO_TOKENS.match(start):
        return _split_channels(start)
    if granite := _GRANITE.match(text):
        return Parts(granite[1].strip(), text[granite.end() :].lstrip())
    opened, closes = _OPEN.match(start), list(_CLOSE.finditer(text))
    if not opened and not closes:
        return Parts("", text)
    fenced, ticked = _code(text)
    unquoted = [m for m in closes if not _is_within(m, ticked)]
    last = next((m for m in reversed(unquoted) if not _is_within(m, fenced)), None)
    if last is None and opened:  # a fence that the thinking began may run on into the answer's
        last = next(reversed(unquoted), None)
    if last is None:
        return Parts(_thought(text), "") if opened else Parts("", text)
    answer = text[last.end() :].lstrip()
    if not opened and not answer and len(_OPEN.findall(text)) >= len(closes):
        return Parts("", text)  # it is about such tags: nothing that the prompt began is closed
    if _OPEN.match(answer):
        return Parts(_thought(text), "")
    return Parts(_thought(text[: last.start()]), _unwrapped(answer))


def begins_thinking(token: str) -> bool:
    """Whether an answer that begins with this token begins with thinking."""
    start = token.strip()
    return _OPEN.fullmatch(start) is not None or _CHANNELS.match(start) is not None


def is_tag(text: str) -> bool:
    """Whether a text is a tag around thinking, such as ``</think>``."""
    return any(tag.fullmatch(text) for tag in (_OPEN, _CLOSE))


def _thought(text: str) -> str:
    return _OPEN.sub("", text.strip(), count=1).strip() if _OPEN.match(text.strip()) else text.strip()


def _unwrapped(answer: str) -> str:
    found = _WRAPPED.match(answer)
    if found is None:
        return answer
    within: str = found["tokens"] or found["tagged"] or ""
    return within.strip()


def _split_channels(text: str) -> Parts:
    finals = list(_FINAL.finditer(text))
    if not finals:
        return Parts(text, "")
    return Parts(text[: finals[-1].start()].strip(), _END.sub("", text[finals[-1].end() :]).lstrip())


# --- code


def _is_within(match: re.Match[str], spans: Sequence[_Span]) -> bool:
    before = bisect_right(spans, match.start(), key=lambda span: span[0])
    return before > 0 and match.start() < spans[before - 1][1]


def _code(text: str) -> tuple[list[_Span], list[_Span]]:
    """Fenced blocks and texts between backticks; what is opened and not closed is no code."""
    fenced = list(_fenced(text))
    borders = [0, *(at for span in fenced for at in span), len(text)]
    outside = [(borders[i], borders[i + 1]) for i in range(0, len(borders), 2)]
    return fenced, [span for start, end in outside for span in _ticked(text, start, end)]


def _fenced(text: str) -> Iterator[_Span]:
    """Fences stand at the beginning of a line and close by one as long, with nothing behind it."""
    fences = list(_FENCE.finditer(text))
    unclosed: dict[str, int] = {}  # from so many marks on, none closes any more
    i = 0
    while i < len(fences):
        mark = fences[i][1]
        closing = None
        if len(mark) < unclosed.get(mark[0], len(text) + 1):
            closing = next((j for j in range(i + 1, len(fences)) if _closes(fences[j], mark)), None)
        if closing is None:
            unclosed[mark[0]] = min(len(mark), unclosed.get(mark[0], len(mark)))
            i += 1
        else:
            yield fences[i].start(), fences[closing].end()
            i = closing + 1


def _closes(fence: re.Match[str], mark: str) -> bool:
    return fence[1].startswith(mark) and not fence[2].strip()


def _ticked(text: str, start: int, end: int) -> Iterator[_Span]:
    """Between backticks of one number, within a paragraph, with no space just inside of them."""
    cuts = [start, *(m.start() for m in _BLANK.finditer(text, start, end)), end]
    for begin, stop in pairwise(cuts):
        runs = list(_TICKS.finditer(text, begin, stop))
        places: dict[int, list[int]] = defaultdict(list)
        for number in range(len(runs) - 1, -1, -1):
            places[len(runs[number][0])].append(number)
        i = 0
        while i < len(runs):
            same = places[len(runs[i][0])]
            while same and same[-1] <= i:
                same.pop()
            if same and not text[runs[i].end()].isspace() and not text[runs[same[-1]].start() - 1].isspace():
                yield runs[i].start(), runs[same[-1]].end()
                i = same[-1]
            i += 1
