"""From conversations to token ids, once and the same way for SFT and DPO.

What is trained is exactly what generation sees: the prompt's ids are those of the chat template with its generation
prompt, the completion's ids are what the template puts after them, up to and including the end token. The trainers
get ids only, so no library renders or cuts anything a second time.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Iterable, Sequence, Sized
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar, overload

from selfreward_bench.engines.chat import fix_date, has_system, takes_system, without_system
from selfreward_bench.engines.control_tokens import heading_strings, neutralise, special_strings
from selfreward_bench.engines.templates import PLAIN, give_template, text_behind_answers
from selfreward_bench.engines.watchdog import bound_rendering
from selfreward_bench.errors import DataError, TrainingError
from selfreward_bench.sources.hub import model_directory
from selfreward_bench.storage.adapters import parts
from selfreward_bench.storage.fingerprint import check_checkpoint
from selfreward_bench.types import Message
from trainers.checkpoints import quiet_libraries

S = TypeVar("S", bound=Sized)
_AT_ONCE: Final = 128  # records whose texts and encodings are in memory
_PLACE = "\ue000"  # a character of private use stands for an answer

Messages = tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Turn:
    """Token ids of one prompt and of the completion that answers it."""

    prompt: list[int]
    completion: list[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


class Turns(Sequence[Turn]):
    """Turns whose ids are in one array, 4 bytes each; as lists of Python's numbers they would take ten times that."""

    def __init__(self) -> None:
        self._ids, self._borders = array("i"), array("q", [0])

    def add(self, turn: Turn) -> None:
        for ids in (turn.prompt, turn.completion):
            self._ids.extend(ids)
            self._borders.append(len(self._ids))

    def __len__(self) -> int:
        return len(self._borders) // 2

    @overload
    def __getitem__(self, index: int) -> Turn: ...

    @overload
    def __getitem__(self, index: slice) -> list[Turn]: ...

    def __getitem__(self, index: int | slice) -> Turn | list[Turn]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        at = 2 * range(len(self))[index]
        start, border, end = self._borders[at : at + 3]
        return Turn(self._ids[start:border].tolist(), self._ids[border:end].tolist())


class Chosen(Sequence[S]):
    """Some items of a sequence, made when they are asked for."""

    def __init__(self, items: Sequence[S], places: Sequence[int]) -> None:
        self._items, self._places = items, array("q", places)

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> S: ...

    @overload
    def __getitem__(self, index: slice) -> list[S]: ...

    def __getitem__(self, index: int | slice) -> S | list[S]:
        if isinstance(index, slice):
            return [self._items[at] for at in self._places[index]]
        return self._items[self._places[index]]


def local_directory(source: str | Path) -> Path:
    """The directory of a model: as given, or of the hub's model of that name (``model_directory``).

    Raises:
        EngineError: it is neither, or the directory holds no whole checkpoint in safetensors.
    """
    path = model_directory(source)
    check_checkpoint(path)
    return path


def load_tokenizer(
    source: str | Path,
    *,
    default_template: bool = False,
    chat_template: str | None = None,
    trust_remote_code: bool = False,
    date: str | None = None,
) -> Any:
    """Loads a tokenizer that can be trained with: it ends turns, pads, and renders chats.

    A missing pad token falls back to the end token: padding is masked wherever it is used, and no embedding has to be
    added.

    Args:
        default_template: give a tokenizer without chat template the plain one (``templates.PLAIN_TEMPLATE``).
        chat_template: give it what this setting names, whatever template it brings.
        trust_remote_code: runs code that comes with it; without, nothing does and nobody is asked.
        date: what a template that shows the day shows (YYYY-MM-DD); None is today.

    Raises:
        TrainingError: no tokenizer can be read, it has no end token, or no chat template that can be trained with.
        ConfigError: ``chat_template`` names no template that can be used with this tokenizer.
    """
    from transformers import AutoTokenizer

    directory = parts(Path(source)).tokenizer
    try:
        with quiet_libraries():
            tokenizer = AutoTokenizer.from_pretrained(str(directory), trust_remote_code=trust_remote_code)
    except Exception as error:  # whatever a broken tokenizer file causes
        from selfreward_bench.engines.loading import cause

        raise TrainingError(
            f"No tokenizer can be read from {source}: {cause(error)} Training needs tokenizer.json and "
            "tokenizer_config.json beside the weights."
        ) from error
    bound_rendering(tokenizer)
    if tokenizer.eos_token_id is None:
        raise TrainingError(
            f"The tokenizer of {source} has no end token, so training could not teach the model to stop. Set "
            "'eos_token' in its tokenizer_config.json."
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if chat_template is not None:
        give_template(tokenizer, chat_template)
        _refuse_untaught_ends(tokenizer, chat_template)
    elif not tokenizer.chat_template:
        if not default_template:
            raise TrainingError(
                f"The tokenizer of {source} has no chat template, so its prompts cannot be rendered. Checkpoints "
                "made by SFT bring one; add chat_template.jinja to this directory."
            )
        give_template(tokenizer, PLAIN)
    fix_date(tokenizer, date)
    return tokenizer


def _refuse_untaught_ends(tokenizer: Any, chat_template: str) -> None:
    if behind := text_behind_answers(tokenizer):
        raise TrainingError(
            f"chat_template {chat_template} writes {behind[:60]!r} behind an answer, which is plain text to this "
            "tokenizer, so the model would learn it as a part of its answers. Let the template write "
            "{{ eos_token }} there."
        )


def render_turns(tokenizer: Any, records: Iterable[tuple[str, Messages, Messages]]) -> Turns:
    """Renders prompts and their completions; control strings in the messages are neutralised, as in generation.

    >>> render_turns(tokenizer, [("e1", (user("Say hi."),), (assistant("Hi."),))])[:]  # doctest: +SKIP
    [Turn(prompt=ids of "<|user|> Say hi.<|assistant|>", completion=ids of " Hi.<|end|>")]

    Args:
        records: id (for messages), prompt, completion.

    Raises:
        DataError: the template refuses the messages, or renders the prompt differently once it is answered.
    """
    encoder, turns, left = _Encoder(tokenizer), Turns(), iter(records)
    while some := list(islice(left, _AT_ONCE)):
        texts = [encoder.texts(*record) for record in some]
        encoder.encode({text for pair in texts for text in pair})
        for pair in texts:
            turns.add(encoder.turn(*pair))
        encoder.forget()
    return turns


def end_token_ids(written: Sequence[int], tokenizer: Any, turns: Iterable[Turn]) -> list[int]:
    """The ids that end a generation: those the base's files name, the tokenizer's end token, the template's own."""
    last = {turn.completion[-1] for turn in turns}
    return list(dict.fromkeys([*written, tokenizer.eos_token_id, *sorted(last)]))


def digest(*columns: Iterable[object]) -> str:
    """SHA-256 over columns of ids, to recognise the same data again: over each as a list, as ``repr`` writes it."""
    state = hashlib.sha256()
    for column in columns:
        state.update(b"[")
        for at, value in enumerate(column):
            state.update(f"{', ' if at else ''}{value!r}".encode())
        state.update(b"]\0")
    return state.hexdigest()


class _Encoder:
    """One tokenizer with what was rendered and encoded of late: a library call costs more than its text."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._strings = special_strings(tokenizer)
        self._headings = heading_strings(tokenizer)
        self._controls = frozenset(tokenizer.convert_tokens_to_ids(list(self._strings)))
        self._control = re.compile("|".join(re.escape(s) for s in self._strings) or "(?!)")
        self._rendered: dict[tuple[Messages, bool], str] = {}
        self._frames: dict[tuple[str, ...], tuple[str, str]] = {}
        self._ids: dict[str, list[int]] = {}

    def texts(self, name: str, prompt: Messages, completion: Messages) -> tuple[str, str]:
        """The waiting prompt, and the prompt with its answer up to the mark that ends it."""
        opened, whole = self._render(name, prompt, True), self._render(name, prompt + completion, False)
        before, after = self._frame(name, prompt)
        content = neutralise(completion[-1].content, self._strings, self._headings).strip()
        answer = whole[len(opened) :]
        if not whole.startswith(opened) or _squeezed(content) not in _squeezed(answer):  # it cuts thinking, mostly
            if not after:
                raise DataError(
                    f"Record {name!r}: the chat template leaves a part of the answer out (its thinking?), so what is "
                    "trained would not be what was sampled. Use a template that shows answers whole."
                )
            answer = ("" if before.strip() else before) + content + after
        if after and answer.endswith(after):
            end = self._control.search(answer, len(answer) - len(after))
            answer = answer[: end.end()] if end else answer
        return opened, opened + answer

    def encode(self, texts: set[str]) -> None:
        """Encodes many texts in one call."""
        new = sorted(texts - self._ids.keys())
        if new:
            found = self.tokenizer(new, add_special_tokens=False, verbose=False)["input_ids"]
            self._ids.update(zip(new, found, strict=True))

    def forget(self) -> None:
        """Lets go of texts and ids; how the template frames an answer stays."""
        self._rendered.clear()
        self._ids.clear()

    def turn(self, opened: str, whole: str) -> Turn:
        """The ids of what ``texts`` gave, with an end token where the template writes none."""
        prompt, answered = self._ids[opened], self._ids[whole]
        if answered[: len(prompt)] != prompt:
            rest = whole[len(opened) :]  # tokens merge across the border: the prompt must stay what generation sees
            self.encode({rest})
            answered = prompt + self._ids[rest]
        completion = answered[len(prompt) :]
        ended = bool(completion) and completion[-1] in self._controls
        return Turn(prompt, completion if ended else [*completion, self.tokenizer.eos_token_id])

    def _answer(self, name: str, opened: str, messages: Messages) -> str:
        """What the template puts behind the waiting prompt once it is answered."""
        whole = self._render(name, messages, False)
        if not whole.startswith(opened):
            raise DataError(
                f"Record {name!r}: the chat template renders the prompt in one way when it waits for the answer and in "
                "another when it is answered, so training would not match generation. Use a template whose answered "
                "text begins with the waiting text."
            )
        return whole[len(opened) :]

    def _frame(self, name: str, prompt: Messages) -> tuple[str, str]:
        """What the template writes before and behind an answer; it depends on the turns before, not on their texts."""
        roles = tuple(m.role for m in prompt)
        if roles not in self._frames:
            asked = (*prompt, Message(role="assistant", content=_PLACE))
            opened = self._render(name, prompt, True)
            before, _, after = self._answer(name, opened, asked).partition(_PLACE)
            self._frames[roles] = before, after
        return self._frames[roles]

    @cached_property
    def _takes_system(self) -> bool:
        return takes_system(self.tokenizer)

    def _render(self, name: str, messages: Messages, opened: bool) -> str:
        key = (messages, opened)
        if key not in self._rendered:
            plain = [
                {"role": m.role, "content": neutralise(m.content, self._strings, self._headings)} for m in messages
            ]
            if has_system(plain) and not self._takes_system:  # as in generation
                plain = without_system(plain)
            try:
                text = self.tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=opened)
            except Exception as error:  # jinja2 raises many kinds; a template's own refusal among them
                roles = ", ".join(m.role for m in messages)
                raise DataError(f"Record {name!r}: the chat template refuses messages ({roles}): {error}") from error
            self._rendered[key] = str(text)
        return self._rendered[key]


def _squeezed(text: str) -> str:
    """Without white space, which templates trim and add."""
    return "".join(text.split())


def longest(source: Path, max_length: int, trust_remote_code: bool = False) -> int:
    """Tokens a record may have: ``max_length``, or what the model has positions for where these are fewer.

    Raises:
        TrainingError: the model's configuration cannot be read.
    """
    from transformers import AutoConfig

    from selfreward_bench.engines.loading import cause, usable_positions

    directory = parts(source).weights

    try:
        with quiet_libraries():
            config = AutoConfig.from_pretrained(str(directory), trust_remote_code=trust_remote_code).get_text_config()
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(f"{source}/config.json does not describe a model: {cause(error)}") from error
    return min(max_length, usable_positions(config) or max_length)


def within(items: Sequence[S], max_length: int, method: str, what: str, way_out: str) -> tuple[Sequence[S], int]:
    """The items of at most ``max_length`` tokens, and how many are longer and left out.

    Raises:
        TrainingError: none is left; says so for ``method`` (SFT, DPO), with the way out.
    """
    kept = [at for at, item in enumerate(items) if len(item) <= max_length]
    if not kept:
        raise TrainingError(
            f"{method} has nothing to train on: of {len(items)} {what}, {len(items)} exceed {max_length} tokens "
            f"({method.lower()}.max_length, or the model's positions where these are fewer). {way_out}"
        )
    return Chosen(items, kept), len(items) - len(kept)
