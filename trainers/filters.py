"""What a newly written prompt must pass: sound text of a fair length, and nothing that was seen before.

ROUGE-L is that of Lin (2004) over words, as Self-Instruct uses it (arXiv 2212.10560); what a word is in scripts without
spaces is said in ``selfreward_bench.text``. A comparison with thousands of
prompts stays cheap: the words two prompts share bound their longest common subsequence, so that one is computed only
where the bound lets it pass the limit.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

import numpy as np
import regex

from selfreward_bench.config import PromptsConfig
from selfreward_bench.text import count_words, folded, words

__all__ = ["Seen", "fault", "normalised", "rouge_l", "speaks_to_user"]

W = TypeVar("W", str, int)

# signs of arithmetic stay: 7 + 5 is not 7 - 5; so do vowel signs and emoji
_SEPARATORS: Final = regex.compile(r"[^\p{L}\p{N}\p{M}_\p{Emoji_Presentation}+\-*/%<>=^]+")
_BROKEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffd]"
    r"|<\|[^\s|<>]{1,40}\|>|</?s>|\[/?INST\]|<(?:bos|eos|pad|unk)>|<(?:start|end)_of_turn>"
)
_MARKER: Final = re.compile(r"(?:^|\s)(?:task|answer|response|instruction)\s*\d*:", re.IGNORECASE)
# what a model that sees and makes text only cannot serve; the idea, not the list, is Self-Instruct's
_KEYWORDS: Final = re.compile(
    r"\b(?:images?|pictures?|photos?|photographs?|screenshots?|videos?|audio|recordings?|files?|attachments?|attached|"
    r"diagrams?|charts?|graphs?|draw|sketch|paint|plot|upload(?:ed)?|website|url|link)\b",
    re.IGNORECASE,
)

# how an assistant begins when it speaks to its user; a task may hold such words, and begins otherwise
_PHRASES: Final = (
    r"i(?:'m| am|'d be| would be) (?:\w+ ){0,3}?(?:happy|glad|delighted|pleased|excited|here|ready) to (?:assist|help)",
    r"(?:happy|glad|delighted|pleased|here|ready) to "
    r"(?:(?:assist|help)(?= you|[.!,])|be of (?:\w+ )?(?:assistance|help|service))",
    r"i(?:'d| would) (?:love|like|be \w+) to (?:assist|help)(?=[.!,])",
    r"i(?:'d|'ll| would| will| can) (?:\w+ ){0,4}?(?:assist|help) (?:you|with (?:that|this))",
    r"(?:how|what|what else) (?:can|may|could) i (?:help|assist|do for|support) (?:you|with)",
    r"what (?:would|do) you (?:like|want|need) (?:me|help|assistance)",
    r"(?:i(?:'m| am) sorry|my apologies|i apologi[sz]e),? (?:but|i|as|for (?:the|any))",
    r"sorry,? (?:but )?i(?: cannot| can't| can not| am not able| am unable| do not| don't|'m not able|'m unable)",
    r"(?:as|i(?:'m| am)) (?:just )?an? (?:\w+ )?(?:ai|artificial intelligence|(?:large )?language model)",
    r"(?:as|i(?:'m| am)) (?:just )?an? (?:(?:helpful|virtual|digital) (?:\w+ )?|)assistant"
    r"(?=[.,!]| (?:created|trained|designed|developed|made|here)\b)",
    r"the assistant (?:is|will be) (?:\w+ )?(?:ready|happy|glad|here) to",
    r"my name is [^.!?]{0,40}i(?:'m| am) (?:here|happy|glad) to",
    r"i (?:cannot|can't|can not|am unable to|am not able to) (?:assist|help|fulfil+|comply)",
    r"i (?:do not|don't|did not|didn't) (?:see|have|receive|get) (?:any |enough |the |a )*"
    r"(?:context|details|information|list|tasks?|instructions?|prompts?)",
    r"i(?: have|'ve) (?:just )?(?:written|created|provided|prepared) "
    r"(?:an?|the|one|another|your) (?:\w+ ){0,2}?(?:tasks?|prompts?)",
    r"i can (?:do|write) (?:that|this) for you",
    r"i(?:'ll| will) (?:now )?(?:do my best|try (?:my best )?to (?:assist|help|answer|write|provide)"
    r"|(?:write|create|provide|give you) (?:one|another|an?|the) (?:\w+ ){0,2}?tasks?)",
    r"thank you for (?:your|the|providing|sharing|reaching|asking)",
    r"(?:please )?(?:let me know|feel free to ask) "
    r"(?:\w+ ){0,4}?(?:you (?:have|need|want)|i can|anything|questions|there)",
    r"(?:please|(?:could|can|would) you(?: please)?) (?:provide|share|send|give|tell|clarify|specify)(?: me)?(?: with)?"
    r" (?:\w+ ){0,2}?(?:tasks?|instructions?|prompts?)(?:[.!?]|\Z| (?:that )?you)",
    r"(?:please|(?:could|can|would) you(?: please)?) (?:clarify|specify|tell me|explain) "
    r"(?:what|which) (?:\w+ ){0,4}?you(?:'d| would| want| need| mean)",
    r"(?:could|can|would) you(?: please)? provide more (?:context|details|information)(?=[?.!])",
    r"it (?:seems|looks|appears)(?: like| as if| that)? (?:you (?:want|would like|have|are asking|need) |your )"
    r"(?:\w+ ){0,3}?(?:me|tasks?|message|request|question|list|prompt)",
    r"i hope (?:this|that|it) (?:helps|is helpful|meets)",
    r"is there anything (?:else|specific)",
    r"here(?:'s| is| are) (?:an?|one|another|your|some|the) (?:\w+ ){0,2}?(?:tasks?|prompts?|instructions?)",
    r"another (?:task|prompt|instruction) (?:could|might|would|is|for)",
    r"(?:sure|certainly|absolutely|of course)(?: thing)?(?=[,!.])",
)
_GREETING: Final = (
    r"(?:(?:(?:hello|hi|hey|thanks|thank you|welcome|great|okay|good (?:morning|day|question))\b[^.!?]{0,60}[.!?]"
    r"|(?:yes|okay|ok|alright|all right|understood|got it|no problem|you're welcome|i understand|i see"
    r"|i'm glad you asked)[,.!]) ){0,2}"
)
_TO_USER: Final = re.compile(rf"[\W_]*{_GREETING}(?:{'|'.join(_PHRASES)})(?!\w)", re.IGNORECASE)


def speaks_to_user(text: str) -> bool:
    """Whether a text begins as an assistant does that speaks to its user, in English."""
    return _TO_USER.match(" ".join(text.replace("\u2019", "'").split())) is not None


def fault(text: str, config: PromptsConfig) -> str | None:
    """Why a prompt cannot be used whatever was seen before, or None.

    ``empty``; ``malformed`` (control characters, control tokens, broken characters, a second task or its answer);
    ``no_task`` (in English: it speaks to the user as an assistant does, "I am very happy to assist you");
    ``too_short``, ``too_long`` (words as ``count_words`` counts them); ``keyword`` (format ``chat`` only, in English:
    needs images, files, drawing, ...).
    """
    if not text.strip():
        return "empty"
    if _BROKEN.search(text) or _MARKER.search(text):
        return "malformed"
    if speaks_to_user(text):
        return "no_task"
    n_words = count_words(text)
    if n_words < config.min_words:
        return "too_short"
    if n_words > config.max_words:
        return "too_long"
    return "keyword" if config.format == "chat" and _KEYWORDS.search(text) else None


def normalised(text: str) -> str:
    """``text`` without what makes no other task of it: case, white space, punctuation, Unicode forms.

    >>> normalised("  Name a  RED food!") == normalised("name a red food.")
    True
    """
    return " ".join(_SEPARATORS.sub(" ", folded(text)).split())


def rouge_l(a: str, b: str) -> float:
    """ROUGE-L F of two texts, 0 to 1: twice their longest common subsequence over the sum of their words."""
    first, second = words(a), words(b)
    return 2 * _lcs(first, second) / (len(first) + len(second)) if first and second else 0.0


class Seen:
    """Prompts that a new one must differ from.

    Args:
        texts: the prompts to begin with.
        max_rouge_l: a text is similar when its ROUGE-L F with any of them is above; None: equal texts only.
    """

    def __init__(self, texts: Iterable[str], max_rouge_l: float | None) -> None:
        self._limit = max_rouge_l
        self._exact: set[int] = set()  # 64 bits of each text
        self._numbers: dict[str, int] = {}  # of words
        self._words: list[array[int]] = []
        self._lengths = array("q")
        self._holders: dict[tuple[int, int], array[int]] = {}
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        """From now on ``text`` has been seen."""
        self._exact.add(hash(normalised(text)))
        if self._limit is None:
            return
        found = array("i", (self._numbers.setdefault(word, len(self._numbers)) for word in words(text)))
        for key in _numbered(found):
            self._holders.setdefault(key, array("q")).append(len(self._words))
        self._words.append(found)
        self._lengths.append(len(found))

    def has(self, text: str) -> bool:
        """Whether an equal text was seen (:func:`normalised`)."""
        return hash(normalised(text)) in self._exact

    def has_similar(self, text: str) -> bool:
        """Whether a text with a ROUGE-L F above the limit was seen; always False without a limit."""
        found = [self._numbers.get(word, -1) for word in words(text)]
        if self._limit is None or not found:
            return False
        limit = self._limit
        return any(
            2 * _lcs(found, self._words[i]) / (len(found) + len(self._words[i])) > limit
            for i in self._possible(found, limit)
        )

    def _possible(self, given: Sequence[int], limit: float) -> list[int]:
        """Those whose shared words would allow a ROUGE-L F above the limit, most shared words first."""
        holders = [self._holders[key] for key in _numbered(given) if key in self._holders]
        if not holders:
            return []
        shared = np.bincount(np.concatenate([np.frombuffer(h, dtype=np.int64) for h in holders]))
        lengths = np.frombuffer(self._lengths, dtype=np.int64)[: len(shared)]
        bound = 2 * shared / (len(given) + lengths)
        found = np.flatnonzero(bound > limit)
        return [int(i) for i in found[np.argsort(-bound[found], kind="stable")]]


def _numbered(given: Sequence[int]) -> list[tuple[int, int]]:
    """Each word with its number among equal ones, so that sets of these share as many as multisets of words do."""
    counts: Counter[int] = Counter()
    numbered = []
    for word in given:
        numbered.append((word, counts[word]))
        counts[word] += 1
    return numbered


def _lcs(a: Sequence[W], b: Sequence[W]) -> int:
    """Length of the longest common subsequence; one bit per word of ``a`` (Hyyrö 2004)."""
    places: dict[W, int] = {}
    for i, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << i
    full = (1 << len(a)) - 1
    row = full
    for word in b:
        matches = row & places.get(word, 0)
        row = (row + matches | row - matches) & full
    return len(a) - row.bit_count()
