"""From conversations to token ids, once and the same way for SFT and DPO.

What is trained is exactly what generation sees: the prompt's ids are those of the chat template with its generation
prompt, the completion's ids are what the template puts after them, up to and including the end token. The trainers
get ids only, so no library renders or cuts anything a second time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfreward_bench.errors import DataError, TrainingError
from selfreward_bench.types import Message

DEFAULT_CHAT_TEMPLATE = (
    "{{ bos_token or '' }}"
    "{% for m in messages %}{{ '### ' + m['role'] + ':\n' + m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### assistant:\n' }}{% endif %}"
)
"""What SFT gives a base model whose tokenizer brings no template: roles as headings, no new tokens."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Token ids of one prompt and of the completion that answers it."""

    prompt: list[int]
    completion: list[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


def local_directory(source: str | Path) -> Path:
    """The directory of a model: as given, or where the hub's client puts (or finds) the model of that id.

    Raises:
        TrainingError: it is neither.
    """
    path = Path(source)
    if path.is_dir():
        return path
    from huggingface_hub import snapshot_download

    try:
        wanted = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
        return Path(snapshot_download(str(source), allow_patterns=wanted))
    except Exception as error:  # the client raises many kinds, network errors among them
        raise TrainingError(
            f"{source} is neither a model directory nor a model the hub can give ({error}). Give the path of a "
            "directory in Hugging Face layout."
        ) from error


def load_tokenizer(source: str | Path, *, default_template: bool = False) -> Any:
    """Loads a tokenizer that can be trained with: it ends turns, pads, and renders chats.

    A missing pad token falls back to the end token: padding is masked wherever it is used, and no embedding has to be
    added.

    Args:
        default_template: give a tokenizer without chat template ``DEFAULT_CHAT_TEMPLATE``.

    Raises:
        TrainingError: no tokenizer can be read, it has no end token, or no chat template.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(source))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"No tokenizer can be read from {source}: {error}. Training needs tokenizer.json and tokenizer_config.json "
            "beside the weights."
        ) from error
    if tokenizer.eos_token_id is None:
        raise TrainingError(
            f"The tokenizer of {source} has no end token, so training could not teach the model to stop. Set "
            "'eos_token' in its tokenizer_config.json."
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if not tokenizer.chat_template:
        if not default_template:
            raise TrainingError(
                f"The tokenizer of {source} has no chat template, so its prompts cannot be rendered. Checkpoints "
                "made by SFT bring one; add chat_template.jinja to this directory."
            )
        tokenizer.chat_template = DEFAULT_CHAT_TEMPLATE
    return tokenizer


def render_turn(tokenizer: Any, prompt: Sequence[Message], completion: Sequence[Message], name: str) -> Turn:
    """Renders one prompt and its completion.

    >>> render_turn(tokenizer, (user("Say hi."),), (assistant("Hi."),), "e1")  # doctest: +SKIP
    Turn(prompt=ids of "<|user|> Say hi.<|assistant|>", completion=ids of " Hi.<|end|>")

    Args:
        name: the record's id, for messages.

    Raises:
        DataError: the text is not valid Unicode, or the template renders the prompt differently once it is answered.
    """
    before = [_message(m, tokenizer, name) for m in prompt]
    after = [_message(m, tokenizer, name) for m in completion]
    opened = tokenizer.apply_chat_template(before, tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(before + after, tokenize=False)
    if not whole.startswith(opened):
        raise DataError(
            f"Record {name!r}: the chat template renders the prompt in one way when it waits for the answer and in "
            "another when it is answered, so training would not match generation. Use a template whose answered "
            "text begins with the waiting text."
        )
    prompt_ids = _encode(tokenizer, opened)
    whole_ids = _encode(tokenizer, whole)
    if whole_ids[: len(prompt_ids)] == prompt_ids:
        answer = whole_ids[len(prompt_ids) :]
    else:  # tokens merge across the border: the prompt must stay what generation sees
        answer = _encode(tokenizer, whole[len(opened) :])
    return Turn(prompt_ids, _end_once(tokenizer, answer))


def end_token_ids(tokenizer: Any, turns: Iterable[Turn]) -> list[int]:
    """The ids that end a generation: the tokenizer's end token first, then the template's own, if it has another."""
    ends = [tokenizer.eos_token_id]
    last = {turn.completion[-1] for turn in turns}
    return ends + sorted(last - set(ends))


def digest(*parts: object) -> str:
    """SHA-256 over ids or text, to recognise the same data again."""
    state = hashlib.sha256()
    for part in parts:
        state.update(repr(part).encode("utf-8", "surrogatepass") + b"\0")
    return state.hexdigest()


def _end_once(tokenizer: Any, answer: list[int]) -> list[int]:
    """Cuts what the template puts behind its end token (a newline, mostly); adds an end token where it has none."""
    special = special_ids(tokenizer)
    last = max((i for i, token in enumerate(answer) if token in special), default=None)
    if last is not None and not tokenizer.decode(answer[last + 1 :]).strip():
        return answer[: last + 1]
    return [*answer, tokenizer.eos_token_id]


def special_ids(tokenizer: Any) -> frozenset[int]:
    """Every id that stands for a control token, whether it has a role in the tokenizer or not."""
    added = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return frozenset(added | set(tokenizer.all_special_ids))


def _message(message: Message, tokenizer: Any, name: str) -> dict[str, str]:
    try:
        message.content.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"Record {name!r}: the {message.role} message holds a lone surrogate at character {error.start}, which no "
            "tokenizer can read. Remove or replace it."
        ) from error
    return {"role": message.role, "content": message.content}


def _encode(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
