"""fastchat's conversation templates as Jinja: found out by asking fastchat, and held against it before they are used.

Nothing here knows fastchat's separator styles. ``Conversation.get_prompt`` renders marked texts; what stands between
the marks becomes the template. A template that cannot be written that way is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Final

from selfreward_bench.errors import ConfigError, UnknownNameError

__all__ = ["ConversationTemplate", "Trial", "conversation_template", "rendered_by_fastchat", "trials"]

_MARK: Final = "Zq{}qZ"  # nothing that a template writes or changes
_TURNS: Final = 5  # that are marked; more are tried in ``trials``

#: what templates do to a turn's text, as Jinja filters, by what fastchat does
_CHANGES: Final = ("", "|replace('\\r\\n', '\\n')|replace('\\n\\n', '\\n')")

_ODD: Final = (
    "Hi.",
    " leading and trailing ",
    "\nlines\r\nof\n\n\nall kinds\n",
    "{{ braces }} {0} {system_message} {% %}",
    'it\'s "quoted" \\n <n>',
    "\N{CJK UNIFIED IDEOGRAPH-4E2D}\N{GRINNING FACE} ends in n",
)


@dataclass(frozen=True, slots=True)
class Trial:
    """A conversation to be rendered: a system message or none, turns from the user's on, and whether one is awaited."""

    system: str | None
    turns: tuple[str, ...]

    @property
    def waits(self) -> bool:
        """Whether the user spoke last, so that the assistant is awaited."""
        return len(self.turns) % 2 == 1

    @property
    def messages(self) -> list[dict[str, str]]:
        """As a chat template takes them."""
        opening = [] if self.system is None else [{"role": "system", "content": self.system}]
        roles = ("user", "assistant")
        return opening + [{"role": roles[i % 2], "content": text} for i, text in enumerate(self.turns)]


@dataclass(frozen=True, slots=True)
class ConversationTemplate:
    """What a template writes around the texts of a conversation.

    Attributes:
        head: before the first turn, without a system message (fastchat then writes the template's own).
        system: before and after a given system message; None where fastchat has no place for one.
        user: before a later user turn; ``number`` counts rounds from there on between its two parts.
        user_close: after a user turn.
        waiting: before the answer that is awaited; ``opened``: before one that is there. The latter begins so, too.
        close: after an answer.
        change: Jinja filters for each turn's text.
        stop_texts, stop_ids: at which fastchat ends an answer besides the end token; ids of the tokenizer it was
            written for.
    """

    name: str
    head: str
    system: tuple[str, str] | None
    user: tuple[str, str]
    number: int | None
    user_close: str
    waiting: str
    opened: str
    close: str
    change: str
    stop_texts: tuple[str, ...]
    stop_ids: tuple[int, ...]

    def jinja(self, start: tuple[str, str] = ("", ""), end: str | None = None) -> str:
        """The template as a tokenizer takes it.

        Args:
            start: Jinja expressions for what comes before all else, without and with a system message; may be empty.
            end: Jinja expression for what comes after the last answer; None takes ``close``.
        """
        text = f"(message['content']{self.change})" if self.change else "message['content']"
        close, opened, waiting = repr(self.close), repr(self.opened), repr(self.waiting)
        round_ = "" if self.number is None else f"(loop.index0 // 2 + {self.number})"
        head = _shown(start[0], repr(self.head))
        with_system = _refusal(f"fastchat's template {self.name} has no place for a system message")
        if self.system is not None:
            with_system = _shown(start[1], repr(self.system[0]), "messages[0]['content']", repr(self.system[1]))
        alternate = _refusal("user and assistant must take turns, the user first, after at most one system message")
        lines = (
            "{%- if messages and messages[0]['role'] == 'system' -%}",
            "{%- set turns = messages[1:] -%}",
            with_system,
            "{%- else -%}",
            "{%- set turns = messages -%}",
            head,
            "{%- endif -%}",
            "{%- for message in turns -%}",
            "{%- if message['role'] != ['user', 'assistant'][loop.index0 % 2] -%}",
            alternate,
            "{%- elif loop.index0 == 0 -%}",
            _shown(text, repr(self.user_close)),
            "{%- elif message['role'] == 'user' -%}",
            _shown(repr(self.user[0]), round_, repr(self.user[1]), text, repr(self.user_close)),
            "{%- elif not message['content'] -%}",
            _shown(waiting),
            "{%- elif loop.last and not add_generation_prompt -%}",
            _shown(opened, text, end or close),
            "{%- else -%}",
            _shown(opened, text, close),
            "{%- endif -%}",
            "{%- endfor -%}",
            "{%- if add_generation_prompt -%}",
            _shown(waiting),
            "{%- endif -%}",
        )
        return "\n".join(filter(None, lines)) + "\n"


@cache
def conversation_template(name: str) -> ConversationTemplate:
    """fastchat's template of that name, tried to render byte for byte what fastchat renders.

    Raises:
        UnknownNameError: fastchat has none of that name.
        ConfigError: it cannot be written as a chat template; says why.
    """
    from fastchat.conversation import conv_templates

    if name not in conv_templates:
        raise UnknownNameError("fastchat template", name, conv_templates)
    for change in _CHANGES:
        found = _derived(name, change)
        if _renders_alike(found):
            return found
    raise _unfit(name, "fastchat changes the texts in a way that no template here follows")


def rendered_by_fastchat(name: str, trial: Trial) -> str:
    """What fastchat itself makes of a conversation."""
    return _rendered(name, trial.system, [*trial.turns, None] if trial.waits else trial.turns)


def trials(*, system: bool) -> Iterator[Trial]:
    """Conversations of one turn and of many, with odd texts and with an answer that is empty.

    Args:
        system: whether also with a system message.
    """
    given = (None, "Be brief.", " odd\n{x} ", "\nodd") if system else (None,)
    for message, length in product(given, (1, 2, 3, 4, 5, 24)):
        yield Trial(message, tuple(_ODD[(i + length) % len(_ODD)] for i in range(length)))
    yield Trial(None, ("Hi.", "", "Hi?"))


# --- how a template is found out


def _rendered(name: str, system: str | None, turns: Sequence[str | None]) -> str:
    """What fastchat makes of turns, the user's first; None is one that is awaited."""
    from fastchat.conversation import get_conv_template

    conversation = get_conv_template(name)
    if system is not None:
        conversation.set_system_message(system)
    for i, text in enumerate(turns):
        conversation.append_message(conversation.roles[i % 2], text)
    return str(conversation.get_prompt())


def _derived(name: str, change: str) -> ConversationTemplate:
    """The pieces between marked texts.

    A piece is what a longer conversation writes more than a shorter one, so the text of a shorter one must stay.
    """
    from fastchat.conversation import get_conv_template

    original = get_conv_template(name)
    try:
        head, *_ = _between(name, None, 1, waits=False)
    except ValueError as error:
        raise _unfit(name, "it is for a model behind an API and renders no text") from error
    open_, close, wait = _turns(name)
    if open_[1] != open_[3] or close[1] != close[3] or wait[1] != wait[3] or close[0] != close[2]:
        raise _unfit(name, "later turns are written otherwise than the first ones")
    if not open_[1].startswith(wait[1]):
        raise _unfit(name, "what comes before an answer depends on whether the answer is there")
    user, number = _numbered(name, open_[2], open_[4])
    stops = original.stop_str or ()
    return ConversationTemplate(
        name=name,
        head=head,
        system=_system(name),
        user=user,
        number=number,
        user_close=close[0],
        waiting=wait[1],
        opened=open_[1],
        close=close[1],
        change=change,
        stop_texts=(stops,) if isinstance(stops, str) else tuple(stops),
        stop_ids=tuple(original.stop_token_ids or ()),
    )


def _turns(name: str) -> tuple[dict[int, str], dict[int, str], dict[int, str]]:
    """What opens and what closes each turn, and what stands for one that is awaited; by the turn's number, from 0."""
    whole = {n: _between(name, None, n, waits=False) for n in range(1, _TURNS + 1)}
    waits = {n: _between(name, None, n, waits=True) for n in range(1, _TURNS, 2)}
    close = {n - 1: parts[-1] for n, parts in whole.items()}
    opened, waiting = {}, {}
    for n in range(1, _TURNS):
        gap = whole[n + 1][n]  # between turn n - 1 and turn n
        if not gap.startswith(close[n - 1]):
            raise _unfit(name, "a turn is written otherwise once another one follows")
        opened[n] = gap.removeprefix(close[n - 1])
        if n in waits:
            if not waits[n][-1].startswith(close[n - 1]):
                raise _unfit(name, "a turn is written otherwise once another one is awaited")
            waiting[n] = waits[n][-1].removeprefix(close[n - 1])
    return opened, close, waiting


def _between(name: str, system: str | None, turns: int, *, waits: bool) -> list[str]:
    """What stands before, between and after marked turns.

    Args:
        waits: whether another turn is awaited.
    """
    marks = [_MARK.format(i) for i in range(turns)]
    rest, parts = _rendered(name, system, [*marks, None] if waits else marks), []
    for mark in marks:
        part, found, rest = rest.partition(mark)
        if not found:
            raise _unfit(name, "it leaves out the text of a turn")
        parts.append(part)
    return [*parts, rest]


def _system(name: str) -> tuple[str, str] | None:
    mark = _MARK.format("s")
    before, found, after = _between(name, mark, 1, waits=False)[0].partition(mark)
    return (before, after) if found else None


def _numbered(name: str, first: str, second: str) -> tuple[tuple[str, str], int | None]:
    """The two parts of what opens the user's second and third turn, and the number between them as of round 0."""
    if first == second:
        return (first, ""), None
    for at in re.finditer(r"[0-9]+", first):
        start, number, after = first[: at.start()], int(at.group()), first[at.end() :]
        if second == f"{start}{number + 1}{after}":
            return (start, after), number - 1
    raise _unfit(name, "later turns are written otherwise than the first ones")


def _renders_alike(found: ConversationTemplate) -> bool:
    render = _renderer(found.jinja())
    return all(
        render(messages=t.messages, add_generation_prompt=t.waits) == rendered_by_fastchat(found.name, t)
        for t in trials(system=found.system is not None)
    )


def _renderer(template: str) -> Callable[..., str]:
    """Jinja as transformers sets it up for chat templates."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render


def _shown(*expressions: str) -> str:
    """Jinja that writes them one after the other; empty ones are left out."""
    written = [e for e in expressions if e not in ("", "''")]
    return "{{- " + " ~ ".join(written) + " -}}" if written else ""


def _refusal(message: str) -> str:
    return _shown(f"raise_exception({message!r})")


def _unfit(name: str, reason: str) -> ConfigError:
    return ConfigError(
        f"fastchat's template {name!r} cannot be written as a chat template: {reason}. Take another one, or a Jinja "
        "file of your own."
    )
