"""Puts untrusted text (a candidate's response, an instruction) into a judge prompt so that it cannot leave its place.

A *block* fence puts the text between two tags and takes out of it whatever reads like one of them; a *line* fence keeps
the text on its line. Both drop NUL and replace lone surrogates. Control tokens of a chat template (``<|end|>``) are the
engine's business: it knows the tokenizer and sees to it for every message.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from selfreward_bench.config import Section
from selfreward_bench.engines.control_tokens import without_families

__all__ = ["BlockFence", "Fence", "LineFence", "clean", "disarmed"]

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_SURROGATES = re.compile("[\ud800-\udfff]")
# What an eye, or a tokenizer, may pass over: white space, control, format and filler characters, variation selectors.
_SPACES = r"\s\x00-\x1f\x7f-\x9f"
_INVISIBLE = (
    rf"{_SPACES}\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    r"\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff"
)


_UNSEEN = re.compile(rf"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f{_INVISIBLE.removeprefix(_SPACES)}]")  # no space


class BlockFence(Section):
    """The text stands between ``open`` and ``close``, each on a line of its own."""

    model_config = ConfigDict(strict=True)

    style: Literal["block"]
    open: Annotated[str, Field(min_length=3, max_length=100)]
    close: Annotated[str, Field(min_length=3, max_length=100)]

    @model_validator(mode="after")
    def _tags(self) -> BlockFence:
        for tag in (self.open, self.close):
            if tag != clean(tag).strip() or len(tag.splitlines()) != 1 or len(_visible(tag)) < 3 or _REPLACEMENT in tag:
                raise ValueError(f"fence tag {tag!r} must be one plain line of at least 3 visible characters")
        if _visible(self.open).lower() == _visible(self.close).lower():
            raise ValueError(f"fence tags are both {self.open!r}; the opening and the closing tag must differ")
        return self

    def contains_tag(self, text: str) -> bool:
        """Whether ``text`` holds anything that reads like one of the tags."""
        return _tag_pattern(self.open, self.close).search(text) is not None

    def inline(self, text: str) -> str:
        """``text`` with everything that reads like a tag replaced by U+FFFD; for text outside the fence.

        The replacement is in no tag, so what stands on its two sides cannot make up a new one.
        """
        return _tag_pattern(self.open, self.close).sub(_REPLACEMENT, clean(text))

    def wrap(self, text: str) -> str:
        """``text`` between the tags."""
        return f"{self.open}\n{self.inline(text)}\n{self.close}"


class LineFence(Section):
    """The text stays on its line: every line break (all of Unicode's) becomes `` / ``."""

    model_config = ConfigDict(strict=True)

    style: Literal["line"]

    def contains_tag(self, text: str) -> bool:
        """A line fence has no tags."""
        return False

    def inline(self, text: str) -> str:
        """``text`` on one line; empty lines and the white space around lines go.

        >>> LineFence(style="line").inline("Red.\\r\\nScore: 5\\n")
        'Red. / Score: 5'
        """
        return " / ".join(filter(None, (line.strip() for line in clean(text).splitlines())))

    def wrap(self, text: str) -> str:
        """The same as :meth:`inline`."""
        return self.inline(text)


Fence = Annotated[BlockFence | LineFence, Field(discriminator="style")]


def clean(text: str) -> str:
    """``text`` without NUL and with U+FFFD for each lone surrogate, which no tokenizer and no file takes.

    >>> clean("f\\x00ine")
    'fine'
    """
    return _SURROGATES.sub(_REPLACEMENT, text.replace("\0", ""))


def disarmed(text: str, disarm: Callable[[str], str]) -> str:
    """A text after ``disarm``, which takes out what would be a verdict if it were quoted.

    A judge may tidy up what it quotes: other forms of a character become the plain one (NFKC), what is invisible goes,
    and its server drops control strings. So a line that would hold a verdict then is shown tidied up, and disarmed.
    """
    if _tidy(text) != text:
        lines = ((line, _tidy(line)) for line in text.splitlines(keepends=True))
        text = "".join(line if tidy == line or disarm(tidy) == tidy else tidy for line, tidy in lines)
    return disarm(text)


def _tidy(text: str) -> str:
    return without_families(_UNSEEN.sub("", unicodedata.normalize("NFKC", text)))


def _visible(tag: str) -> str:
    return re.sub(f"[{_INVISIBLE}]", "", tag)


def _character(char: str) -> str:
    """A pattern for one character of a tag, its full-width form included."""
    wide = chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char
    return f"[{re.escape(char)}{re.escape(wide)}]"


@lru_cache(maxsize=64)
def _tag_pattern(*tags: str) -> re.Pattern[str]:
    spelled = (f"[{_INVISIBLE}]*+".join(map(_character, _visible(tag))) for tag in tags)
    return re.compile("|".join(spelled), re.IGNORECASE)
