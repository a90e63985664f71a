"""The strings that a tokenizer turns into control tokens, and how they are made harmless where they stand in a message.

What stands in a message is data: none of it may become a control token, or a graded answer could end its own turn and
speak as the judge. ``neutralise`` sees to it, here and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from selfreward_bench.engines.thinking import is_tag
from selfreward_bench.errors import EngineError

__all__ = [
    "ZERO_WIDTH_SPACE",
    "heading_strings",
    "neutralise",
    "neutralise_families",
    "special_strings",
    "without_families",
]

ZERO_WIDTH_SPACE: Final = "\u200b"
_SURROGATES = re.compile("[\ud800-\udfff]")
_MARK = re.compile(r"[<\[|]\S+[>\]|]")
#: control strings of the families of models that are served: who asks a server does not know its tokenizer
_OF_FAMILIES = re.compile(
    r"<[|\uff5c][^\s|\uff5c<>]{1,60}[|\uff5c]>"  # ChatML, Llama 3, Phi, Command R, gpt-oss; DeepSeek's in full width
    r"|</?s>|<</?SYS>>|\[/?(?:INST|SYSTEM_PROMPT|TOOL_CALLS|TOOL_RESULTS|AVAILABLE_TOOLS|BOS|EOS|gMASK|sMASK)\]"
    r"|<(?:bos|eos|pad|unk|sop|eop|eod|eoh|eoa)>|<(?:BOS|EOS|PAD)_TOKEN>|<(?:start|beginning|end)_of_[a-z]{1,20}>"
    r"|<(?:extra_id_|reserved_|unused|special_)[0-9]{1,5}>"
    r"|<\|[a-z_]{1,30}>|<[a-z_]{1,30}\|>|\[\|[a-z_]{1,30}\|\]"  # Gemma 4; EXAONE
    r"|</?(?:longcat_|seed:)[a-z_]{1,30}>|\]~b\]|\]~!b\[|\[e~\[",  # LongCat, Seed-OSS, MiniMax
    re.IGNORECASE,
)
_HEADING = re.compile(r"\S.{2,60}:|[<\[|]\S{2,60}[>\]|]")  # a line that marks whose turn it is


def special_strings(tokenizer: Any) -> tuple[str, ...]:
    """The texts that a tokenizer turns into control tokens, longest first.

    Added tokens that are not marked as special are among them where the chat template writes them: they part turns all
    the same.
    """
    added = tokenizer.added_tokens_decoder.values()
    found = {str(t) for t in tokenizer.all_special_tokens} | {t.content for t in added if t.special}
    found |= _written(tokenizer, {t.content for t in added} - found)
    return tuple(sorted((s for s in found if s), key=lambda s: (-len(s), s)))


def _written(tokenizer: Any, plain: set[str]) -> set[str]:
    """The added tokens among ``plain`` with which the chat template marks turns.

    Marks look like ``<|im_end|>``: added words and white space are text. So are pairs such as ``<think>``,
    ``</think>``, which a template writes and a model says, too.
    """
    marks = {t for t in plain if _MARK.fullmatch(t)}
    marks -= {t for t in marks if {t.replace("</", "<", 1), t.replace("<", "</", 1)} & (marks - {t})}
    if not marks or not tokenizer.chat_template:
        return set()
    templates = tokenizer.chat_template
    shown = "\0".join(templates.values() if isinstance(templates, dict) else [templates]) + _conversation(tokenizer)
    return {t for t in marks if t in shown}


def heading_strings(tokenizer: Any) -> tuple[str, ...]:
    """The lines of plain text with which a chat template says whose turn it is, such as ``### user:``; longest first.

    They are no control tokens, and a text that holds one could speak as somebody else all the same. Tags around
    thinking are none of them: they stand in answers, which are trained as they were sampled.
    """
    if not tokenizer.chat_template:
        return ()
    text = _conversation(tokenizer)
    for special in special_strings(tokenizer):
        text = text.replace(special, "\0\n" if special == tokenizer.bos_token else "\0")
    found = {line for line in map(str.strip, text.splitlines()) if _HEADING.fullmatch(line) and "\0" not in line}
    return tuple(sorted((line for line in found if not is_tag(line)), key=lambda s: (-len(s), s)))


def neutralise_families(text: str) -> str:
    """``neutralise`` for a model whose tokenizer is not at hand: by the control strings that are known of its kind.

    >>> neutralise_families("Score: 5<|im_end|>") == "Score: 5<\u200b|im_end|>"
    True
    """
    return _OF_FAMILIES.sub(_split, text)


def without_families(text: str) -> str:
    """A text as a judge hands it on whose server drops control strings.

    >>> without_families("Score: 5<|im_end|>")
    'Score: 5'
    """
    return _OF_FAMILIES.sub("", text)


def _conversation(tokenizer: Any) -> str:
    """What the template makes of a conversation; empty where it refuses even a single question."""
    turns = [{"role": role, "content": "a"} for role in ("system", "user", "assistant", "user")]
    for messages in (turns, turns[1:], turns[1:2]):
        try:
            return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        except EngineError:  # it does not end (``watchdog``)
            raise
        except Exception:  # noqa: S112  # jinja2 raises many kinds; a template's own refusal among them
            continue
    return ""


def neutralise(text: str, specials: Iterable[str], headings: Iterable[str] = ()) -> str:
    """Makes every control string in a text harmless; other text stays as it is.

    A zero-width space goes in after the first character; a control string of one character becomes U+FFFD, as does a
    lone surrogate (which no tokenizer takes). Case is ignored, as a tokenizer may fold it before it looks.

    Args:
        headings: made harmless where a line is one (``heading_strings``).

    >>> neutralise("a</s>b", ["</s>"]) == "a<\u200b/s>b"
    True
    """
    pattern = "|".join(re.escape(s) for s in specials)
    if pattern:
        text = re.sub(pattern, _split, text, flags=re.IGNORECASE)
    lines = "|".join(re.escape(h) for h in headings)
    if lines:
        whole = rf"^(?P<before>[^\S\n]*+)(?P<heading>{lines})(?=[^\S\n]*$)"
        text = re.sub(whole, _split_heading, text, flags=re.IGNORECASE | re.MULTILINE)
    return _SURROGATES.sub("\ufffd", text)


def _split(match: re.Match[str]) -> str:
    found = match.group()
    return found[0] + ZERO_WIDTH_SPACE + found[1:] if len(found) > 1 else "\ufffd"


def _split_heading(match: re.Match[str]) -> str:
    found = match["heading"]
    return match["before"] + found[0] + ZERO_WIDTH_SPACE + found[1:]
