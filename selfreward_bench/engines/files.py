"""What can be read of a model without its weights: for engines whose weights are in another process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers

from selfreward_bench.config import EngineConfig
from selfreward_bench.engines.loading import cause, end_ids, open_tokenizer, quiet, usable_positions
from selfreward_bench.engines.templates import Ends, give_template
from selfreward_bench.errors import EngineError
from selfreward_bench.storage.adapters import parts
from selfreward_bench.storage.fingerprint import check_checkpoint

__all__ = ["ModelFiles", "read_files"]


@dataclass(frozen=True)
class ModelFiles:
    """A model without its weights; attributes as in ``LoadedModel``."""

    tokenizer: Any
    context: int | None
    eos: frozenset[int]
    stop: tuple[str, ...]
    vocabulary: int


def read_files(config: EngineConfig, source: Path, chat_template: str | None) -> ModelFiles:
    """Reads a checkpoint's tokenizer and configuration.

    Args:
        source: a directory in Hugging Face layout, of an adapter, too.
        chat_template: what renders messages instead of the tokenizer's own template.

    Raises:
        EngineError: it is not there, incomplete, or cannot be read.
        ConfigError: the template cannot be used with this tokenizer.
    """
    if not source.is_dir():
        raise EngineError(f"Model {str(source)!r} is not a directory. Give one in Hugging Face layout, or a hub id.")
    check_checkpoint(source)
    of = parts(source)
    try:
        with quiet():
            tokenizer = open_tokenizer(of, config)
            settings = transformers.AutoConfig.from_pretrained(
                str(of.weights), trust_remote_code=config.trust_remote_code
            )
            eos = end_ids(source, settings, tokenizer)
    except Exception as error:  # whatever a broken checkpoint causes
        raise EngineError(f"Model {str(source)!r} cannot be read: {cause(error)}") from error
    ends = give_template(tokenizer, chat_template) if chat_template is not None else Ends()
    vocabulary = int(settings.get_text_config().vocab_size)
    eos |= {i for i in ends.ids if 0 <= i < vocabulary}
    return ModelFiles(tokenizer, usable_positions(settings), eos, ends.texts, vocabulary)
