"""From messages or text to token ids, and from generated ids back to text.

What stands in a message is data: ``control_tokens`` sees to it that none of it becomes a control token.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, Final

from selfreward_bench.engines.base import ChoiceRequest, GenerationRequest
from selfreward_bench.engines.control_tokens import heading_strings, neutralise, special_strings
from selfreward_bench.errors import EngineError

#: what is done with a system message where there is no role for it, in words
SYSTEM_IN_TURN: Final = "system text in the user's turn"

#: of ``strftime``, with the forms without leading zeros
_DATE_CODES = (*"aAbBcdeFjmpuwxyDGHIMRSTUVWXYZhCfz", *(f"-{code}" for code in "dmjyHIMSe"))

Request = GenerationRequest | ChoiceRequest


def fix_date(tokenizer: Any, date: str | None) -> None:
    """Lets chat templates that ask for today's date (``strftime_now``) have this one instead.

    transformers takes no other clock, but a macro of that name comes before its own.

    Args:
        date: YYYY-MM-DD; None leaves the clock.
    """
    if date is None:
        return
    day, render = datetime.fromisoformat(date), tokenizer.apply_chat_template
    known = "".join(f"|replace('%{code}', '{day:%{code}}')" for code in _DATE_CODES)
    clock = f"{{% macro strftime_now(format) %}}{{{{ format{known} }}}}{{% endmacro %}}\n"  # the line end is trimmed

    def dated(messages: Any, tools: Any = None, chat_template: str | None = None, **options: Any) -> Any:
        template = tokenizer.get_chat_template(chat_template, tools)
        template = clock + template if "strftime_now" in template else template
        return render(messages, tools=tools, chat_template=template, **options)

    tokenizer.apply_chat_template = dated


def takes_system(tokenizer: Any) -> bool:
    """Whether the chat template renders a system message: some refuse one, some leave it out, some once it is answered
    (Mistral's, which put it into the last turn).
    """
    turns = [{"role": "system", "content": "Zq0qZ"}, {"role": "user", "content": "Zq1qZ"}]
    answer = {"role": "assistant", "content": "Zq2qZ"}
    try:
        waiting = str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
        answered = str(tokenizer.apply_chat_template([*turns, answer], tokenize=False))
    except EngineError:  # it does not end (``watchdog``)
        raise
    except Exception:  # jinja2 raises many kinds; a template's own refusal among them
        return False
    return all(turn["content"] in text for turn in turns for text in (waiting, answered))


def without_system(messages: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """The system's text at the beginning of the first turn of the user.

    >>> without_system([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi."}])
    [{'role': 'user', 'content': 'Be brief.\\n\\nHi.'}]
    """
    system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
    rest = [dict(m) for m in messages if m["role"] != "system"]
    first = next((m for m in rest if m["role"] == "user"), None)
    if first is None:
        return [{"role": "user", "content": system}, *rest]
    first["content"] = f"{system}\n\n{first['content']}"
    return rest


def has_system(messages: Iterable[Mapping[str, str]]) -> bool:
    """Whether there is a system message among them."""
    return any(message["role"] == "system" for message in messages)


class PromptEncoder:
    """Renders and tokenizes prompts for one model.

    Args:
        context: tokens that the model can attend to; None where its configuration does not say.
        chat_template: the setting that gave the tokenizer its template, for messages; None where it is its own.

    Attributes:
        changes: what was rendered otherwise than it was asked for, in words, and how often.
    """

    def __init__(self, tokenizer: Any, *, name: str, context: int | None, chat_template: str | None = None) -> None:
        self.tokenizer = tokenizer
        self.name = name
        self.context = context
        self._template = chat_template or f"of {name}"
        self.specials = special_strings(tokenizer)
        self._headings = heading_strings(tokenizer)
        self._longest = max((len(piece) for piece in tokenizer.get_vocab()), default=1)
        self._suffix = _added_at_end(tokenizer)
        self._tails: dict[tuple[str, bool], list[int]] = {}
        self.changes: dict[str, int] = {}

    @cached_property
    def _takes_system(self) -> bool:
        return takes_system(self.tokenizer)

    def render(self, request: Request) -> tuple[str, bool]:
        """The text to tokenize, and whether control tokens are in it already (chat) or the tokenizer adds its own.

        A system message goes into the user's turn where the template has no place for one.

        Raises:
            EngineError: its messages cannot be rendered.
        """
        prompt, prefix = request.prompt, neutralise(request.assistant_prefix, self.specials)
        if isinstance(prompt, str):
            return neutralise(prompt, self.specials) + prefix, False
        if not self.tokenizer.chat_template:
            raise EngineError(
                f"Request {request.id!r} has chat messages, but the tokenizer of {self.name} has no chat template. "
                "Name one (--set chat_template=plain, fastchat:NAME or a Jinja file), give the prompt as text, or put "
                "a chat_template.jinja into the model's directory."
            )
        messages = [{"role": m.role, "content": neutralise(m.content, self.specials, self._headings)} for m in prompt]
        if has_system(messages) and not self._takes_system:
            messages = without_system(messages)
            self.changes[SYSTEM_IN_TURN] = self.changes.get(SYSTEM_IN_TURN, 0) + 1
        try:
            text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except Exception as e:  # jinja2 raises many kinds; a template's own raise_exception among them
            roles = ", ".join(m.role for m in prompt)
            raise EngineError(
                f"Request {request.id!r}: the chat template {self._template} cannot render messages ({roles}): {e}"
            ) from e
        return str(text) + prefix, True

    def encode(self, requests: Sequence[Request], new_tokens: Sequence[int]) -> list[list[int] | None]:
        """Token ids of each prompt with its assistant prefix; None where what may follow makes it exceed the context.

        Args:
            new_tokens: how many tokens may follow each.

        Raises:
            EngineError: a prompt is empty or cannot be rendered, or no prompt at all leaves room for what may follow.
        """
        may_fit = [self._may_fit(r) for r in requests]
        tokenized = iter(self.tokenize([self.render(r) for r, may in zip(requests, may_fit, strict=True) if may]))
        found = [next(tokenized) if may else None for may in may_fit]
        for request, prompt, new in zip(requests, found, new_tokens, strict=True):
            if prompt is not None and not prompt:
                raise EngineError(f"Request {request.id!r}: the prompt is empty; the model needs at least one token.")
            if not self.fits(1, new):
                raise EngineError(
                    f"Request {request.id!r}: {new} new tokens leave no room for a prompt in the context of "
                    f"{self.name}, {self.context} tokens. Lower max_new_tokens."
                )
        return [p if p and self.fits(len(p), new) else None for p, new in zip(found, new_tokens, strict=True)]

    def fits(self, prompt_tokens: int, new_tokens: int) -> bool:
        """Whether so many tokens are within the model's context."""
        return self.context is None or prompt_tokens + new_tokens <= self.context

    def tokenize(self, rendered: Sequence[tuple[str, bool]]) -> list[list[int]]:
        """Token ids of rendered texts; the tokenizer is called once per kind, as each call has its overhead."""
        result: list[list[int]] = [[] for _ in rendered]
        for chat in (True, False):
            places = [i for i, (_, is_chat) in enumerate(rendered) if is_chat == chat]
            if not places:
                continue
            texts = [rendered[i][0] for i in places]
            # verbose warns of lengths, which are looked at here
            found = self.tokenizer(texts, add_special_tokens=not chat, verbose=False)["input_ids"]
            for i, ids in zip(places, found, strict=True):
                result[i] = ids if chat or not self._suffix else ids[: -self._suffix]
        return result

    def continuations(self, request: ChoiceRequest, ids: Sequence[int]) -> tuple[int, list[list[int]]]:
        """How each choice is tokenized where it follows the prompt.

        A choice can merge with the end of the prompt (a digit with the space before it). Then the boundary moves back
        for all of the request's choices, so that they stay comparable; their log-probabilities then include that of
        the prompt's last characters.

        Args:
            ids: tokens of the prompt alone.

        Returns:
            The number of prompt tokens all choices share, and for each choice the tokens after them.
        """
        text, chat = self.render(request)
        start = max((text.rfind(s) for s in self.specials), default=-1) if chat else -1
        tail = text[start:] if start > 0 else text  # control strings part a text: what follows is tokenized by itself
        alone = self._tail(tail, chat)
        if start > 0 and list(ids[-len(alone) :]) != alone:
            tail, alone = text, list(ids)
        full = [self._tail(tail + neutralise(c, self.specials), chat) for c in request.choices]
        shared = min(_shared(alone, f) for f in full)
        shared = min(shared, min(len(f) for f in full) - 1)
        return len(ids) - len(alone) + shared, [f[shared:] for f in full]

    def _tail(self, text: str, chat: bool) -> list[int]:
        key = (text, chat)
        if len(text) > 512:
            return self.tokenize([key])[0]
        if key not in self._tails:
            if len(self._tails) > 4096:
                self._tails.clear()
            self._tails[key] = self.tokenize([key])[0]
        return self._tails[key]

    def _may_fit(self, request: Request) -> bool:
        """Whether a prompt may fit by its characters alone: an endless one is neither rendered nor tokenized."""
        if self.context is None:
            return True
        texts = [request.prompt] if isinstance(request.prompt, str) else [m.content for m in request.prompt]
        return sum(map(len, texts)) <= self.context * self._longest


class TextDecoder:
    """Turns generated ids into text and finds stop strings."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        anchor = tokenizer("a", add_special_tokens=False)["input_ids"]
        self._anchor: list[int] = anchor[-1:]
        self._pieces: dict[int, str] = {}
        self._completes: dict[tuple[int, tuple[str, ...]], bool] = {}

    def text(self, ids: Sequence[int], before: int) -> str:
        """The text of ``ids`` as it stands after the token ``before`` (a leading space is kept where there is one)."""
        head = self._decode([before])
        whole = self._decode([before, *ids])
        return whole[len(head) :] if whole.startswith(head) else self._decode(ids)

    def cut(self, ids: Sequence[int], before: int, stop: tuple[str, ...]) -> str | None:
        """The text up to the first stop string; None where there is none, or where the last token cannot complete one.

        Called once per token, so most tokens are dismissed by a look into a table.
        """
        if not self._can_complete(ids[-1], stop):
            return None
        text = self.text(ids, before)
        found = [at for at in (text.find(s) for s in stop) if at >= 0]
        return text[: min(found)] if found else None

    def _can_complete(self, token: int, stop: tuple[str, ...]) -> bool:
        key = (token, stop)
        if key not in self._completes:
            piece = self._piece(token)
            # part of a character decodes to U+FFFD: it may be the last byte of a stop string's last character
            self._completes[key] = "\ufffd" in piece or any(s[-1] in piece for s in stop)
        return self._completes[key]

    def _piece(self, token: int) -> str:
        if token not in self._pieces:
            self._pieces[token] = self.text([token], self._anchor[0]) if self._anchor else self._decode([token])
        return self._pieces[token]

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _added_at_end(tokenizer: Any) -> int:
    """How many control tokens the tokenizer puts after a text (some put the end token there; a prompt must not end)."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a")["input_ids"]
    for offset in range(len(full) - len(plain) + 1):
        if full[offset : offset + len(plain)] == plain:
            return len(full) - len(plain) - offset
    return 0


def _shared(a: Sequence[int], b: Sequence[int]) -> int:
    if b[: len(a)] == a:
        return len(a)
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))
