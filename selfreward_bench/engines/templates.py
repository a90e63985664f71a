"""Which chat template renders a model's messages, where it is not the one that its tokenizer brings.

The setting ``chat_template`` names one: ``plain``, ``fastchat:NAME`` (``conversations``), or a Jinja file. It is never
guessed from a model's name. No torch and no transformers here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from selfreward_bench.config import RunConfig
from selfreward_bench.engines.chat import PromptEncoder
from selfreward_bench.engines.control_tokens import special_strings
from selfreward_bench.engines.conversations import (
    ConversationTemplate,
    Trial,
    conversation_template,
    rendered_by_fastchat,
    trials,
)
from selfreward_bench.errors import ConfigError, did_you_mean
from selfreward_bench.storage.adapters import parts
from selfreward_bench.storage.decoding import json_file
from selfreward_bench.storage.files import expanded, os_errors
from selfreward_bench.storage.rundir import hash_json

__all__ = [
    "OUTSIDE_RUNS",
    "PLAIN",
    "PLAIN_TEMPLATE",
    "Chosen",
    "Ends",
    "brings_template",
    "check_template",
    "give_template",
    "of_run",
    "shows_date",
    "text_behind_answers",
]

PLAIN: Final = "plain"
FASTCHAT: Final = "fastchat:"

PLAIN_TEMPLATE: Final = (
    "{{ bos_token or '' }}"
    "{% for m in messages %}{{ '### ' + m['role'] + ':\n' + m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### assistant:\n' }}{% endif %}"
)
"""Roles as headings, no new tokens."""

OUTSIDE_RUNS: Final = "2024-07-26"
"""The day that templates show outside a run, so that a model is the same tomorrow: the one Llama 3's falls back to."""

_MAX_BYTES: Final = 2**20
_SETTINGS_BYTES: Final = 64 * 2**20  # of a tokenizer_config.json, which lists added tokens
_CLOCK: Final = "strftime_now"
_MARKS: Final = ("Zq0qZ", "Zq1qZ", "Zq2qZ", "Zq3qZ")


@dataclass(frozen=True, slots=True)
class Chosen:
    """A template that is not, or not by itself, a model's own.

    Attributes:
        setting: as ``chat_template`` names it.
        named: whether the user named it; else it stands in where the model brings none.
        replaces: whether the model brings one that gives way.
        brought: whether the model was trained with it and brings it, so that nothing is to be done.
    """

    setting: str
    named: bool = True
    replaces: bool = False
    brought: bool = False

    @property
    def given(self) -> str | None:
        """What an engine is told; None where the model's own template renders."""
        return None if self.brought else self.setting

    @property
    def content(self) -> str:
        """Hash of the template.

        Raises:
            ConfigError, UnknownNameError: the setting names none that can be used.
        """
        return _content_hash(self.setting)

    @property
    def key(self) -> str:
        """The template's name and hash, for records and people; errors as in ``content``."""
        return f"{Path(self.setting).name}#{self.content[:12]}"

    def told(self, model: str) -> str:
        """What a user is told of it; empty where there is nothing to tell."""
        if self.brought:
            return ""
        own = "not by the template that it brings" if self.replaces else "as it brings no template"
        return f"{model}: messages are rendered by chat_template {self.setting}, {own}."


@dataclass(frozen=True, slots=True)
class Ends:
    """What ends an answer besides the tokenizer's own end token: ids, and texts that are no part of the answer."""

    ids: frozenset[int] = frozenset()
    texts: tuple[str, ...] = ()


def of_run(config: RunConfig, model: str, directory: Path) -> Chosen | None:
    """The template of a run's model; None where no setting has to do with it.

    All but M0 bring what they were trained with.
    """
    brought, own = model != "M0", brings_template(directory)
    if config.chat_template is not None:
        return Chosen(config.chat_template, replaces=own and not brought, brought=brought)
    return None if brought or own or not directory.is_dir() else Chosen(PLAIN, named=False)


def brings_template(directory: Path) -> bool:
    """Whether a model's directory holds a chat template, in its files as transformers reads them."""
    directory = parts(directory).tokenizer
    file = directory / "chat_template.jinja"
    if (file.is_file() and file.stat().st_size) or any((directory / "additional_chat_templates").glob("*.jinja")):
        return True
    settings = json_file(
        directory / "tokenizer_config.json", _SETTINGS_BYTES
    )  # what is wrong is told when it is loaded
    return isinstance(settings, dict) and bool(settings.get("chat_template"))


def shows_date(directory: Path, chosen: Chosen | None) -> bool:
    """Whether what renders a model's messages asks for the day (``strftime_now``).

    Args:
        chosen: what renders instead of the model's own templates.

    Raises:
        ConfigError, UnknownNameError: the setting names no template that can be used.
    """
    given = chosen.given if chosen else None
    if given is not None:
        return not given.startswith(FASTCHAT) and given != PLAIN and _CLOCK in _read(given)
    place = parts(directory).tokenizer
    files = ("chat_template.jinja", "tokenizer_config.json", "additional_chat_templates/*.jinja")
    found = (file for pattern in files for file in place.glob(pattern) if file.is_file())
    return any(_CLOCK in file.read_bytes().decode("utf-8", "replace") for file in found)


def check_template(setting: str) -> None:
    """Finds out without a tokenizer whether a setting names a template.

    Raises:
        ConfigError, UnknownNameError: it names none, or one that cannot be used.
    """
    _content_hash(setting)


def give_template(tokenizer: Any, setting: str) -> Ends:
    """Gives a tokenizer the template that a setting names, once it has rendered what srbench sends.

    Raises:
        ConfigError, UnknownNameError: there is no such template, or it cannot be used with this tokenizer.
    """
    if setting.startswith(FASTCHAT):
        found = conversation_template(setting.removeprefix(FASTCHAT))
        specials = special_strings(tokenizer)
        tokenizer.chat_template = _fitted(found, tokenizer, specials)
        known = {tokenizer.convert_tokens_to_ids(s) for s in specials}
        ends = _ends(tokenizer, (found.close.strip(), *found.stop_texts))
        return Ends(ends.ids | known.intersection(found.stop_ids), ends.texts)
    tokenizer.chat_template = PLAIN_TEMPLATE if setting == PLAIN else _read(setting)
    _try_out(tokenizer, setting)
    return _ends(tokenizer, (_behind_answers(tokenizer).strip(),))


def text_behind_answers(tokenizer: Any) -> str:
    """What a tokenizer's template writes behind an answer as plain text, where it writes no control token there."""
    behind = _behind_answers(tokenizer)
    return "" if _first(special_strings(tokenizer), behind) else behind.strip()


# --- what a setting names


def _content_hash(setting: str) -> str:
    if setting.startswith(FASTCHAT):
        found = conversation_template(setting.removeprefix(FASTCHAT))
        return hash_json([found.jinja(), found.stop_texts, found.stop_ids])
    return hash_json(PLAIN_TEMPLATE if setting == PLAIN else _read(setting))


def _read(setting: str) -> str:
    path = expanded(Path(setting))
    if not path.is_file():
        raise ConfigError(
            f"There is no template file {setting!r}.{_meant(path.name)} Give {PLAIN}, {FASTCHAT}NAME (such as "
            f"{FASTCHAT}vicuna_v1.1), or the path of a Jinja file."
        )
    with os_errors(path, "read", ConfigError), path.open("rb") as stream:
        content = stream.read(_MAX_BYTES + 1)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"Template file {setting}: not valid UTF-8. Save the file as UTF-8.") from error
    if len(content) > _MAX_BYTES or not text.strip():
        raise ConfigError(f"Template file {setting}: empty, or larger than {_MAX_BYTES:,} bytes. Check the path.")
    return text


def _meant(name: str) -> str:
    from fastchat.conversation import conv_templates

    return did_you_mean(FASTCHAT + name, [FASTCHAT + known for known in conv_templates])


# --- fastchat's templates and a tokenizer


def _fitted(found: ConversationTemplate, tokenizer: Any, specials: Sequence[str]) -> str:
    """The template with what this tokenizer puts before a text, and with an end token behind the last answer.

    The end token is the first control token that the template itself writes there, else the tokenizer's own. Plain
    text that separates turns is not taught as a part of answers.
    """
    waiting = [t for t in trials(system=found.system is not None) if t.waits]
    bare, told = ([t for t in waiting if (t.system is None) == none] for none in (True, False))
    end = _first(specials, found.close)
    close = found.close[: found.close.index(end) + len(end)] if end else None
    start = (_start(found.name, tokenizer, bare), _start(found.name, tokenizer, told))
    return found.jinja(start, "eos_token" if close is None else repr(close))


def _start(name: str, tokenizer: Any, asked: Sequence[Trial]) -> str:
    """Jinja for what the tokenizer puts before a text by itself, so that the ids stay those of fastchat's text.

    A text that begins with it gets it once. Some tokenizers mark the beginning of a text (``▁``) only where nothing
    stands before it, and no space does; a space stands for that mark.
    """
    texts = [rendered_by_fastchat(name, trial) for trial in asked]
    encoder = PromptEncoder(tokenizer, name=name, context=None)
    alone, full = encoder.tokenize([("a", True), ("a", False)])
    added = "".join(tokenizer.convert_ids_to_tokens(full[: len(full) - len(alone)]))
    if not added or all(text.startswith(added) for text in texts):
        return ""
    bos = "bos_token" if added == tokenizer.bos_token else repr(added)
    unless_there = "('' if messages[0]['content'].startswith(' ') else ' ')"
    marks = ["" if trial.messages[0]["content"].startswith(" ") else " " for trial in asked]
    wanted = encoder.tokenize([(text, False) for text in texts])
    for mark, between in (("", [""] * len(asked)), ("' '", [" "] * len(asked)), (unless_there, marks)):
        if encoder.tokenize([(added + b + t, True) for b, t in zip(between, texts, strict=True)]) == wanted:
            return f"{bos} ~ {mark}" if mark else bos
    raise ConfigError(
        f"chat_template {FASTCHAT}{name}: this tokenizer begins a text with {added!r} in a way that no template can "
        "write. Give a Jinja file of your own."
    )


# --- trying a template


def _try_out(tokenizer: Any, setting: str) -> None:
    """What srbench sends must reach the model: single turns, conversations, and a system message or its refusal."""
    user, answer, again, system = _MARKS
    one, two = [("user", user)], [("user", user), ("assistant", answer), ("user", again)]
    for turns, what in ((one, "a user's turn"), (two, "a second turn of the user"), (two[:2], "an answer")):
        try:
            text = _render(tokenizer, turns)
        except Exception as error:  # jinja2 raises many kinds; a template's own refusal among them
            raise _unusable(setting, f"it cannot render {what}: {type(error).__name__}: {error}") from error
        _all_in(text, turns, setting, f"rendering {what}")
    asked = [("system", system), ("user", user)]
    try:
        text = _render(tokenizer, asked)
    except Exception:  # it refuses system messages, and says so to whoever sends one
        return
    _all_in(text, asked, setting, "rendering a system message (it may refuse one with raise_exception)")


def _render(tokenizer: Any, turns: Iterable[tuple[str, str]]) -> str:
    messages = [{"role": role, "content": content} for role, content in turns]
    waits = messages[-1]["role"] != "assistant"
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=waits))


def _all_in(text: str, turns: Iterable[tuple[str, str]], setting: str, what: str) -> None:
    for role, content in turns:
        if content not in text:
            raise _unusable(setting, f"{what}, it leaves out the text of the {role}")


def _unusable(setting: str, why: str) -> ConfigError:
    return ConfigError(f"chat_template {setting}: {why}. Mend the template, or name another one.")


# --- where an answer ends


def _behind_answers(tokenizer: Any) -> str:
    user, answer, *_ = _MARKS
    return _render(tokenizer, [("user", user), ("assistant", answer)]).rpartition(answer)[2]


def _ends(tokenizer: Any, texts: Iterable[str]) -> Ends:
    """Ids of the control tokens in texts that end an answer; where a text holds none, itself."""
    specials = special_strings(tokenizer)
    tokens = {text: _first(specials, text) for text in texts}
    ids = {tokenizer.convert_tokens_to_ids(token) for token in tokens.values() if token}
    return Ends(frozenset(ids), tuple(text for text, token in tokens.items() if text and not token))


def _first(specials: Sequence[str], text: str) -> str | None:
    """The control token that comes first in a text."""
    found = [(text.find(s), -len(s), s) for s in specials if s in text]
    return min(found)[2] if found else None
