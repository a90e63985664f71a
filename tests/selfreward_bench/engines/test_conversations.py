"""fastchat's conversation templates as Jinja: the same text, and the same token ids, as fastchat itself."""

from __future__ import annotations

from typing import Any

import pytest
from fastchat.conversation import conv_templates, get_conv_template

from selfreward_bench.engines.chat import PromptEncoder
from selfreward_bench.engines.conversations import (
    Trial,
    conversation_template,
    rendered_by_fastchat,
    trials,
)
from selfreward_bench.engines.templates import give_template
from selfreward_bench.errors import ConfigError, UnknownNameError

REFUSED = {
    "bard": "behind an API",
    "chatgpt": "behind an API",
    "gemini": "behind an API",
    "pplxai": "behind an API",
    "steerlm": "behind an API",
    "yuan2": "once another one follows",
}
SUPPORTED = sorted(conv_templates.keys() - REFUSED.keys())
SPECIALS = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
CORPUS = ["Once upon a time there was a cat. USER: ASSISTANT: A chat between a curious user and an assistant"] * 3

#: texts that are not among those that a template is tried on when it is loaded
TALK = (
    " What's up?\n\n\n",
    "Not much.\r\n\r\n{x}",
    "  and {{ now }}?",
    "n<n>",
    "\t\u4f60\u597d 'a' \"b\" \\",
    "Bye",
    "",
)


def fastchats(name: str, system: str | None, turns: tuple[str, ...]) -> str:
    conversation = get_conv_template(name)
    if system is not None:
        conversation.set_system_message(system)
    for i, text in enumerate(turns):
        conversation.append_message(conversation.roles[i % 2], text)
    if len(turns) % 2:
        conversation.append_message(conversation.roles[1], None)
    return str(conversation.get_prompt())


def test_all_but_six_of_fastchats_templates_can_be_taken() -> None:
    assert len(conv_templates) == 83
    assert len(SUPPORTED) == 77


@pytest.mark.parametrize(("name", "why"), REFUSED.items())
def test_what_is_no_chat_template_is_refused_in_one_sentence(name: str, why: str) -> None:
    with pytest.raises(ConfigError, match=rf"^fastchat's template '{name}' cannot be written .*{why}"):
        conversation_template(name)


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown fastchat template 'vicuna_v1'\. Did you mean 'vicuna_v1\.1'"):
        conversation_template("vicuna_v1")


@pytest.mark.parametrize("name", SUPPORTED)
def test_the_text_is_fastchats(name: str, tokenizers: dict[str, Any]) -> None:
    """As transformers renders it; with the last answer, up to where the end token takes the separator's place."""
    tokenizer, template = tokenizers["no-bos"], conversation_template(name)
    give_template(tokenizer, f"fastchat:{name}")
    for system in (None, "Be {brief} 'now'.\n") if template.system else (None,):
        for n in range(1, len(TALK)):
            trial = Trial(system, TALK[:n])
            text = tokenizer.apply_chat_template(trial.messages, tokenize=False, add_generation_prompt=trial.waits)
            expected = fastchats(name, system, trial.turns)
            if trial.waits:
                assert text == expected
            else:
                body = expected.removesuffix(template.close)
                close = template.close
                ends = [close[: close.index(s) + len(s)] for s in SPECIALS if s in close] or ["</s>"]
                assert text == body + min(ends, key=len)
    empty = Trial(None, ("Hi.", "", "Hi?"))
    assert tokenizer.apply_chat_template(empty.messages, tokenize=False, add_generation_prompt=True) == fastchats(
        name, None, empty.turns
    )


def test_a_system_message_is_refused_where_fastchat_drops_it(tokenizers: dict[str, Any]) -> None:
    without = [name for name in SUPPORTED if conversation_template(name).system is None]
    assert without == ["deepseek-coder", "yuan"]
    give_template(tokenizers["no-bos"], "fastchat:deepseek-coder")
    with pytest.raises(Exception, match="deepseek-coder has no place for a system message"):
        tokenizers["no-bos"].apply_chat_template(Trial("Be brief.", ("Hi.",)).messages, tokenize=False)


def test_turns_that_do_not_alternate_are_refused(tokenizers: dict[str, Any]) -> None:
    give_template(tokenizers["no-bos"], "fastchat:vicuna_v1.1")
    for roles in (("user", "user"), ("assistant",), ("system", "system", "user"), ("user", "assistant", "system")):
        with pytest.raises(Exception, match="must take turns"):
            tokenizers["no-bos"].apply_chat_template([{"role": r, "content": "x"} for r in roles], tokenize=False)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bytes", "no-bos", "mark-at-the-first", "mark-everywhere", "mark-by-normalizer"])
def test_the_ids_are_those_of_fastchats_text(kind: str, tokenizers: dict[str, Any]) -> None:
    """What FastChat gives a model: its text, with what the tokenizer puts before it by itself."""
    tokenizer, twice, compared = tokenizers[kind], set(), 0
    encoder = PromptEncoder(tokenizer, name="x", context=None)
    for name in SUPPORTED:
        give_template(tokenizer, f"fastchat:{name}")
        for trial in (t for t in trials(system=conversation_template(name).system is not None) if t.waits):
            text = tokenizer.apply_chat_template(trial.messages, tokenize=False, add_generation_prompt=True)
            ids = encoder.tokenize([(text, True)])[0]
            fastchats_ids = tokenizer(rendered_by_fastchat(name, trial))["input_ids"]
            if fastchats_ids[:2] == [1, 1]:  # its text begins with the token that the tokenizer adds, too
                twice.add(name)
                fastchats_ids = fastchats_ids[1:]
            assert ids == fastchats_ids, name
            compared += 1
    assert compared > 900
    assert twice == (set() if kind == "no-bos" else {"llama2-chinese"})


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, Any]:
    """One that puts nothing before a text, and some that put ``<s>`` there, as bytes and in SentencePiece's ways."""
    from tokenizers import normalizers, pre_tokenizers

    mark = {scheme: pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False) for scheme in ("first", "always")}
    by_normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return {
        "bytes": make_tokenizer(pre_tokenizers.ByteLevel(add_prefix_space=False)),
        "no-bos": make_tokenizer(pre_tokenizers.ByteLevel(add_prefix_space=False), bos=False),
        "mark-at-the-first": make_tokenizer(mark["first"]),
        "mark-everywhere": make_tokenizer(mark["always"]),
        "mark-by-normalizer": make_tokenizer(None, by_normalizer),
    }


def make_tokenizer(pre_tokenizer: Any, normalizer: Any = None, *, bos: bool = True) -> Any:
    from tokenizers import Tokenizer, models, processors, trainers
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import PreTrainedTokenizerFast

    of_bytes = isinstance(pre_tokenizer, ByteLevel)
    fallback = {} if of_bytes else {"byte_fallback": True, "unk_token": "<unk>", "fuse_unk": True}
    core = Tokenizer(models.BPE(**fallback))
    if pre_tokenizer is not None:
        core.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        core.normalizer = normalizer
    special = SPECIALS if of_bytes else [*SPECIALS, *(f"<0x{i:02X}>" for i in range(256))]
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=special,
        initial_alphabet=ByteLevel.alphabet() if of_bytes else ["▁"],
        show_progress=False,
    )
    core.train_from_iterator(CORPUS, trainer)
    if bos:
        core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=SPECIALS[1], eos_token=SPECIALS[2], extra_special_tokens=SPECIALS[3:]
    )
