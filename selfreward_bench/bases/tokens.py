"""A tokenizer beside its model: ids without an embedding, and which tokens end, pad and begin."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

import transformers

from selfreward_bench.bases.findings import Finding, Purpose, note, refusal, warning
from selfreward_bench.engines.loading import cause, quiet

__all__ = ["read_tokenizer", "reading_findings", "token_findings"]

_FILE: Final = "tokenizer.json"
_CONFIG: Final = "tokenizer_config.json"
_AS_WRITTEN: Final = ("PreTrainedTokenizerFast", "TokenizersBackend")  # classes that are what tokenizer.json says
_SENTENCEPIECE: Final = ("tokenizer.model", "spiece.model")
_SHOWN: Final = 6
_TEXTS: Final = (
    "Name 12 red foods,  please:\n\n1. Apples",
    "Why does it rain in Köln? don't say\tHELLO_World(x) == 3.14;",
    "日本語, हिन्दी और ไทย",
)


def read_tokenizer(directory: Path, purpose: Purpose) -> tuple[Any | None, list[Finding]]:
    """The tokenizer of a model, and why there is none."""
    if missing := _missing_packages(directory):
        return None, [
            refusal(
                "tokenizer",
                f"Its tokenizer is in SentencePiece's format alone, and reading it needs {' and '.join(missing)}: "
                f"`pip install {' '.join(missing)}`, or save tokenizer.json beside it where they are installed.",
            )
        ]
    try:
        with quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                str(directory), trust_remote_code=purpose.engine.trust_remote_code
            )
            tokenizer("a")
    except Exception as error:  # whatever a broken file or a tokenizer's own code causes
        if "trust_remote_code" in str(error) and not purpose.engine.trust_remote_code:
            return None, [
                refusal(
                    "tokenizer",
                    "Its tokenizer runs only with code of its own. Read that code, then set "
                    "engine.trust_remote_code=true, or save tokenizer.json beside it.",
                )
            ]
        return None, [
            refusal("tokenizer", f"No tokenizer can be read: {cause(error)} Copy its files from the model again.")
        ]
    return tokenizer, []


def reading_findings(tokenizer: Any, directory: Path) -> Iterator[Finding]:
    """Whether transformers reads texts as tokenizer.json says, and whether texts survive it.

    A class that tokenizer_config.json names builds a tokenizer of its own from the vocabulary.
    """
    for text in _TEXTS:
        back = _text_of(tokenizer, _ids(tokenizer, text))
        if "".join(back.split()) != "".join(text.split()):
            yield note("tokenizer", f"Its tokenizer changes texts: {text!r} is {back!r} afterwards.")
            break
    if not (directory / _FILE).is_file():
        return
    from tokenizers import Tokenizer

    written = Tokenizer.from_file(str(directory / _FILE))
    written.no_truncation()
    written.no_padding()
    end = str(tokenizer.eos_token or "")
    alone = [tokenizer.eos_token_id]
    controlled = bool(end) and alone == written.encode(end, add_special_tokens=False).ids == _ids(tokenizer, end)
    for text in (*_TEXTS, *([f"{end}[INST] Hello{end} World"] if controlled else ())):
        found = _ids(tokenizer, text)
        meant = written.encode(text, add_special_tokens=False).ids
        if found != meant:
            at = next((i for i, (a, b) in enumerate(zip(found, meant, strict=False)) if a != b), 0)
            shown = ("".join(map(repr, tokenizer.convert_ids_to_tokens(ids[at : at + 3]))) for ids in (found, meant))
            yield warning(
                "tokenizer",
                f"As a {type(tokenizer).__name__} transformers {transformers.__version__} cuts texts otherwise than "
                f"{_FILE} says: {text!r} has {' where it has '.join(shown)}. {_way_out(directory)}",
            )
            return


def _way_out(directory: Path) -> str:
    try:
        named = json.loads((directory / _CONFIG).read_bytes()).get("tokenizer_class")
    except (OSError, ValueError, AttributeError):
        named = None
    if named in _AS_WRITTEN:
        return (
            "It takes that class for this model_type whatever tokenizer_config.json says, here and wherever the model "
            "is served by it; train the model with the class's own tokenizer, or accept the difference."
        )
    return f"If the model was trained with the file, set tokenizer_class to {_AS_WRITTEN[0]} in {_CONFIG}."


def _text_of(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def token_findings(tokenizer: Any, embeddings: int, ends: Collection[int], purpose: Purpose) -> Iterator[Finding]:
    """Whether each token that may be met has an embedding, and what ends, pads and begins.

    Args:
        embeddings: tokens that the model has an embedding of.
        ends: ids that end an answer, as the engine takes them.
    """
    yield from _beyond(tokenizer, embeddings)
    yield from _read_as_text(tokenizer)
    name, end, pad = tokenizer.convert_ids_to_tokens, tokenizer.eos_token_id, tokenizer.pad_token_id
    if end is None and purpose.run is not None:
        yield refusal(
            "tokenizer",
            "The tokenizer has no end token, so training could not teach the model to stop. Set eos_token in its "
            "tokenizer_config.json.",
        )
    elif not ends:
        yield note("tokenizer", "No token ends an answer; each goes on to its longest length.")
    else:
        listed = ", ".join(f"{name(i)!r} ({i})" for i in sorted(ends)[:_SHOWN])
        yield note("tokenizer", f"An answer ends at {listed}.")
    if pad is None and end is not None:
        yield note("tokenizer", "There is no pad token; the end token stands in for it. What is padded is masked.")
    elif pad is not None and pad == end:
        yield note("tokenizer", "The pad token is the end token; the end of an answer is trained all the same.")
    if len(tokenizer) < embeddings:
        yield note(
            "tokenizer",
            f"The model has {embeddings} embeddings and the tokenizer {len(tokenizer)} tokens; the rest is not used.",
        )


def _beyond(tokenizer: Any, embeddings: int) -> Iterator[Finding]:
    """Ids without an embedding: a refusal where text can come to one, else a note."""
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    used = _used(tokenizer, vocabulary)
    beyond = sorted((i, token) for token, i in vocabulary.items() if i >= embeddings)
    if met := [(i, token) for i, token in beyond if i in used]:
        i, token = met[0]
        yield refusal(
            "tokenizer",
            f"Its {used[i]} {token[:40]!r} is id {i}, but the model has {embeddings} embeddings (0 to {embeddings - 1})"
            f"{f', and so for {len(met) - 1} more' if len(met) > 1 else ''}. Enlarge the model where it is made "
            "(`model.resize_token_embeddings(len(tokenizer))`), or take a token that it has (tokenizer_config.json).",
        )
    if unused := [token for i, token in beyond if i not in used]:
        listed = ", ".join(repr(token[:40]) for token in unused[:_SHOWN])
        yield note("tokenizer", f"{len(unused)} control tokens have no embedding, and nothing uses them: {listed}.")


def _read_as_text(tokenizer: Any) -> Iterator[Finding]:
    """The control tokens that the chat template writes and the tokenizer does not find again in what it wrote."""
    added = tokenizer.added_tokens_decoder
    written = [i for i in sorted(_in_template(tokenizer, added)) if i in added and added[i].special]
    lost = [added[i].content for i in written if i not in _ids(tokenizer, added[i].content)]
    if lost:
        why = " (tokenizer_config.json: split_special_tokens)" if getattr(tokenizer, "split_special_tokens", 0) else ""
        way_out = "Set that to false." if why else "Mend the normalizer of tokenizer.json, or the token's `normalized`."
        more = f" and {len(lost) - 1} more" if lost[1:] else ""
        yield refusal(
            "tokenizer",
            f"Its chat template writes the control token {lost[0]!r}{more}, "
            f"which the tokenizer reads as text{why}. {way_out}",
        )


def _ids(tokenizer: Any, text: str) -> list[int]:
    found: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return found


def _used(tokenizer: Any, vocabulary: dict[str, int]) -> dict[int, str]:
    """Id -> what it is called, of every token that srbench itself or a text can come to.

    Control tokens that only a text could spell are not among them: a text's are made harmless.
    """
    added = tokenizer.added_tokens_decoder
    special = {i for i, token in added.items() if token.special} | set(tokenizer.all_special_ids)
    found = {i: "token" for i in vocabulary.values() if i not in special}
    found |= {i: "control token" for i in _in_template(tokenizer, added) if i in special}
    found |= dict.fromkeys(tokenizer("a")["input_ids"], "token around a text")
    roles = {"unk": "unknown token", "bos": "begin token", "pad": "pad token", "eos": "end token"}
    begins = tokenizer.bos_token_id in found
    for role, called in roles.items():
        i = getattr(tokenizer, f"{role}_token_id")
        if i is not None and (role != "bos" or begins) and (role != "unk" or i in found or _meets_unknown(tokenizer)):
            found[i] = called
    return found


def _in_template(tokenizer: Any, added: dict[int, Any]) -> set[int]:
    """The added tokens that the chat template spells out."""
    template = tokenizer.chat_template
    text = "\n".join(template.values()) if isinstance(template, dict) else template or ""
    found = {i for i, token in added.items() if token.content in text}
    named = {"bos_token": tokenizer.bos_token_id, "eos_token": tokenizer.eos_token_id}
    return found | {i for name, i in named.items() if name in text and i is not None}


def _meets_unknown(tokenizer: Any) -> bool:
    """Whether a text can come to the unknown token."""
    return tokenizer.unk_token_id in tokenizer("\U0010fffd \u16a0\u0bf5", add_special_tokens=False)["input_ids"]


def _missing_packages(directory: Path) -> list[str]:
    """What a tokenizer in SentencePiece's format needs and is not installed."""
    if (directory / _FILE).is_file() or not any((directory / name).is_file() for name in _SENTENCEPIECE):
        return []
    needed = {"sentencepiece": "sentencepiece", "google.protobuf": "protobuf"}
    return [package for module, package in needed.items() if not _installed(module)]


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the package around it
        return False
