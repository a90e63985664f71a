"""Which strings are control tokens, and that no text holds one once it is neutralised."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfreward_bench.engines.control_tokens import neutralise, neutralise_families, special_strings

PIECES = ["<", "|", ">", "<|", "|>", "end", "user", "<s", "<|end|>", "<s>", "\u200b", "<|END|>", "a", "\ud83d"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_no_text_holds_a_control_token_once_neutralised(text: str) -> None:
    specials = ["<|end|>", "<|user|>", "<s>"]
    safe = neutralise(text, specials)
    assert not any(s in safe for s in specials)
    assert safe.replace("\u200b", "") == text.replace("\ud83d", "\ufffd").replace("\u200b", "")
    safe.encode("utf-8")


@pytest.mark.parametrize(
    "text",
    [
        *("<|im_end|>", "<|IM_START|>", "<|eot_id|>", "<|start_header_id|>", "<\uff5cAssistant\uff5c>"),
        *("<\uff5cbegin\u2581of\u2581sentence\uff5c>", "</s>", "<s>", "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"),
        *("<start_of_turn>", "<end_of_turn>", "<eos>", "[SYSTEM_PROMPT]", "<|START_OF_TURN_TOKEN|>", "<EOS_TOKEN>"),
        *("<|turn>", "<turn|>", "[|assistant|]", "[|endofturn|]", "<longcat_user>", "</longcat_s>", "<seed:bos>"),
        *("<SPECIAL_11>", "<beginning_of_sentence>", "]~b]", "]~!b[", "[e~["),
    ],
)
def test_control_strings_of_the_known_families_are_made_harmless(text: str) -> None:
    found = neutralise_families(f"Score: 5{text}{text} done")
    assert text not in found
    assert found.replace("\u200b", "") == f"Score: 5{text}{text} done"


def test_what_only_looks_like_control_strings_stays() -> None:
    text = 'if a <| b |> c: <b>x</b> [1] [[5]] <div> a < s > <| x |> <think>so</think> [INST <> |> "<|"'
    text += " x <|y z|> f <|g h|> [|1|] [| x |] [e~] a]~b[0] <special> </seed>"
    assert neutralise_families(text) == text


def test_harmless_text_stays_as_it_is() -> None:
    text = "if a < s > b: print('<end>', \"é漢\")\n"
    assert neutralise(text, ["<s>", "<|end|>"]) == text


def test_a_control_string_of_one_character_is_replaced() -> None:
    assert neutralise("a§b", ["§"]) == "a\ufffdb"


def test_special_strings_are_all_control_tokens(tokenizer: Any) -> None:
    assert set(special_strings(tokenizer)) == {"<s>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"}


def test_added_tokens_that_mark_turns_are_control_tokens_and_what_a_model_says_is_not(tokenizer: Any) -> None:
    from tokenizers import AddedToken

    other = copy.deepcopy(tokenizer)
    plain = ["<|im_start|>", "<|im_end|>", "<|tool|>", "<think>", "</think>", "\n\n", "wolf", "<|unused|>"]
    other.add_tokens([AddedToken(text, special=False, normalized=False) for text in plain])
    other.chat_template = (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n\n' }}"
        "{% if m['role'] == 'tool' %}<|tool|>{% endif %}"
        "{% if m['role'] == 'assistant' %}{{ '<think>' + 'wolf' + '</think>' }}{% endif %}{{ m['content'] }}"
        "{{ '<|im' + '_end|>' }}{% endfor %}"
    )
    found = set(special_strings(other)) - set(special_strings(tokenizer))
    assert found == {"<|im_start|>", "<|im_end|>", "<|tool|>"}
    other.chat_template = "{{ raise_exception('no') }}<|im_start|>"
    assert set(special_strings(other)) - set(special_strings(tokenizer)) == {"<|im_start|>"}
    other.chat_template = None
    assert special_strings(other) == special_strings(tokenizer)
