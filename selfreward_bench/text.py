"""Words of any script, for counting and for comparing texts.

Most scripts write spaces between words; there a word is a run of letters, digits and underscores with the combining
marks that belong to them (vowel signs of Hindi, points of Arabic and Hebrew). Chinese, Japanese, Thai, Lao, Khmer and
Burmese write none. There each letter with its marks stands for itself, as in Unicode's default rules (UAX #29) and as
ROUGE is computed on Chinese (LCSTS, arXiv 1506.05865); a run of katakana is one word. No dictionary and no guess of the
language is involved, so that a text has the same words everywhere. In ASCII text they are what ``\\w+`` finds.
"""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Final

import regex

__all__ = ["count_words", "folded", "words"]

_SYLLABIC: Final = r"[[\p{Han}\p{Hiragana}]&&[\p{L}\p{N}]]"
_COMPLEX: Final = r"[\p{Line_Break=SA}&&\p{L}]"  # South East Asian, as UAX #14 classes it
_SPACED: Final = rf"[\p{{L}}\p{{N}}_]--{_SYLLABIC}--{_COMPLEX}"
_WORD: Final = regex.compile(rf"(?:{_SYLLABIC}|{_COMPLEX})\p{{M}}*+|[{_SPACED}][[{_SPACED}]\p{{M}}]*+", regex.V1)
_ASCII_WORD: Final = re.compile(r"\w+", re.ASCII)

_SYLLABICS: Final = regex.compile(_SYLLABIC, regex.V1)
_COMPLEXES: Final = regex.compile(r"[\p{Line_Break=SA}&&[\p{L}\p{M}]]", regex.V1)
_SYLLABICS_PER_WORD: Final = 2
_COMPLEXES_PER_WORD: Final = 3
_WORD_MARKS: Final = str.maketrans("\u0f0b\u1361", "  ")  # Tibetan's tsheg and Ethiopic's word space stand for spaces
_LETTER: Final = regex.compile(r"[\p{L}\p{N}]")

# joiners, marks of direction, soft hyphens and variation selectors change no word; a zero width space parts words
_INVISIBLE: Final = regex.compile(r"[[\p{Cf}\p{Variation_Selector}\u034f]--\u200b]+", regex.V1)
_MANY_MARKS: Final = regex.compile(r"\p{M}{30}(?=\p{M})")
_JOINER: Final = "\u034f"


def words(text: str) -> list[str]:
    """The words of a text, folded, without punctuation and pictures.

    >>> words("Don't stop: it's 3.5 km!")
    ['don', 't', 'stop', 'it', 's', '3', '5', 'km']
    >>> words("用Python写诗, हिन्दी में")
    ['用', 'python', '写', '诗', 'हिन्दी', 'में']
    """
    text = folded(text)
    found: list[str] = (_ASCII_WORD if text.isascii() else _WORD).findall(text)
    return found


def count_words(text: str) -> int:
    """How long a text is, in words as English has them: pieces between spaces, where its scripts write spaces.

    Of a script without spaces two letters (Han, hiragana) or three letters and signs (Thai, Lao, Khmer, Burmese) count
    as a word.

    >>> count_words("Write a well-known poem."), count_words("请写一首关于春天的诗。"), count_words("用 Python 写诗")
    (4, 5, 3)
    """
    n_syllabic, n_complex = (0, 0) if text.isascii() else (len(p.findall(text)) for p in (_SYLLABICS, _COMPLEXES))
    if not n_syllabic + n_complex:
        return len(text.translate(_WORD_MARKS).split())
    others = _COMPLEXES.sub(" ", _SYLLABICS.sub(" ", text)).split()
    spaceless = n_syllabic / _SYLLABICS_PER_WORD + n_complex / _COMPLEXES_PER_WORD
    return sum(1 for piece in others if _LETTER.search(piece)) + math.ceil(spaceless)


def folded(text: str) -> str:
    """``text`` in one Unicode form (NFKC: full width is half width) and one case, without invisible characters.

    Combining marks stay. In time that grows with the text: runs of marks are parted after 30, as Unicode's stream-safe
    format has it, since putting a run in order takes the square of its length.
    """
    if text.isascii():
        return text.lower()
    parted = _MANY_MARKS.sub(lambda run: run[0] + _JOINER, text)
    visible: str = _INVISIBLE.sub("", unicodedata.normalize("NFKC", parted).casefold())
    return visible
