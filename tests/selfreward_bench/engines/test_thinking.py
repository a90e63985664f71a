"""Thinking is told from the answer: nested, unclosed, repeated, within code, and with whatever tags there are."""

from __future__ import annotations

import gc
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfreward_bench.engines.thinking import begins_thinking, is_tag, split_thinking

TAGS = [(f"<{word}>", f"</{word}>") for word in ("think", "THINK", "thinking", "reasoning", "thought", "seed:think")]
TAGS += [("[THINK]", "[/THINK]"), ("◁think▷", "◁/think▷"), ("<Think>", "</think>")]
TAGS += [("<longcat_think>", "</longcat_think>"), ("<think_fast>", "</think_fast>")]
TAGS += [("<|begin_of_thought|>", "<|end_of_thought|>"), ("<|START_THINKING|>", "<|END_THINKING|>")]
TAGS += [("<|inner_prefix|>", "<|inner_suffix|>"), ("<|channel>thought", "<channel|>")]


@pytest.mark.parametrize(
    ("text", "thinking", "answer"),
    [
        ("plain", "", "plain"),
        ("", "", ""),
        ("  kept as it is \n", "", "  kept as it is \n"),
        ("<think>a</think>b", "a", "b"),
        ("\n<think>\na\n</think>\n\nb\n", "a", "b\n"),
        ('<think duration="3">a</think>b', "a", "b"),
        ("a\n</think>\n\nb", "a", "b"),  # the prompt opened it
        ("<think>\n\n</think>\n\nb", "", "b"),
        ("<think>a <think>b</think> c</think>d", "a <think>b</think> c", "d"),
        ("<think>a</think>b<think>c</think>d", "a</think>b<think>c", "d"),
        ("<think>a </think> said</think>d", "a </think> said", "d"),
        ("<think>cut off", "cut off", ""),
        ("<think>a</think>\n<think>cut off", "a</think>\n<think>cut off", ""),
        ("<think>", "", ""),
        ("</think>", "", ""),
        ("Write `</think>` or `<think>x</think>`.", "", "Write `</think>` or `<think>x</think>`."),
        ("So:\n```xml\n<think>x</think>\n```\n", "", "So:\n```xml\n<think>x</think>\n```\n"),
        ("<think>a</think>Use `</think>`, or\n~~~\n</think>\n~~~\nb", "a", "Use `</think>`, or\n~~~\n</think>\n~~~\nb"),
        ("<think>`</think>` ends it</think>b", "`</think>` ends it", "b"),
        ("<think>a ` here</think>So `x` it is", "a ` here", "So `x` it is"),
        ("<think>a\n```py\nnever closed</think>\n```py\nx\n```\n", "a\n```py\nnever closed", "```py\nx\n```\n"),
        ("<think>in `</think>` and cut", "in `</think>` and cut", ""),
        ("A <think> in the middle.", "", "A <think> in the middle."),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b<|return|>", None, "b"),
        ("<|channel|>analysis<|message|>cut", None, ""),
        ("analysisWe think.assistantfinalRating: [[7]]", None, "Rating: [[7]]"),
        ("analysis of assistants", "", "analysis of assistants"),
        ("<|channel|>analysis<|message|>a<|end|><|channel|>final <|constrain|>json<|message|>b", None, "b"),
        ("<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>b<|END_RESPONSE|>", "a", "b"),
        ("<|begin_of_thought|>\na\n<|end_of_thought|>\n<|begin_of_solution|>\nb\n<|end_of_solution|>\n", "a", "b"),
        ("<|begin_of_thought|>a<|end_of_thought|><|begin_of_solution|>cut off", "a", "cut off"),
        ("<think>a</think>\n<answer>\nb\n</answer>", "a", "b"),
        ("<think>a</think>\n<response>b</response>\n", "a", "b"),
        ("<think>a</think>In <answer>b</answer> tags", "a", "In <answer>b</answer> tags"),
        ("<answer>b</answer>", "", "<answer>b</answer>"),
        ("Here is my thought process: a\n\nHere is my response: b", "a", "b"),
        ("Here's my thought process:\na\nHere's my response:\nb", "a", "b"),
        ("Here is my thought process: a. Rating: [[7]]", "", "Here is my thought process: a. Rating: [[7]]"),
        ("[[7]]\n<reasoning>because</reasoning>", "", "[[7]]\n<reasoning>because</reasoning>"),
        ("It ends with </think>", "It ends with", ""),
    ],
)
def test_what_is_thought_and_what_is_said(text: str, thinking: str | None, answer: str) -> None:
    found = split_thinking(text)
    assert found.answer == answer
    if thinking is not None:
        assert found.thinking == thinking


@pytest.mark.parametrize(("opening", "closing"), TAGS)
def test_tags_of_all_families(opening: str, closing: str) -> None:
    assert split_thinking(f"{opening}a{closing}\n\nb") == ("a", "b")
    assert split_thinking(f"a{closing}b") == ("a", "b")
    assert split_thinking(f"{opening}a") == ("a", "")
    assert begins_thinking(f"{opening}\n")
    assert not begins_thinking(closing)
    assert is_tag(opening)
    assert is_tag(closing)
    assert not is_tag(f"{opening}a")


WORDS = st.text(st.sampled_from("ab [6]\n.*"), max_size=12)
THOUGHTS = st.recursive(
    WORDS | WORDS.map(lambda text: f"\n```\n{text}\n```\n") | WORDS.map(lambda text: f"x `{text.strip()}</think>` y"),
    lambda inner: st.lists(inner, max_size=3).map("".join) | inner.map(lambda text: f"<think>{text}</think>"),
    max_leaves=6,
)
CODE = st.sampled_from(
    ["`</think>`", "``a</think>``", "\n```\n<think>[[3]]</think>\n```\n", "\n~~~~\n</think>\n~~~~\n"]
)


@settings(max_examples=120, deadline=None)
@given(
    thoughts=st.lists(THOUGHTS, min_size=1, max_size=4),
    tags=st.sampled_from(TAGS),
    verdict=st.integers(1, 9),
    code=CODE | st.just(""),
)
def test_the_answer_is_what_follows_the_last_thought(
    thoughts: list[str], tags: tuple[str, str], verdict: int, code: str
) -> None:
    """Whatever is thought, how often and how deep, in whatever tags, and whether the answer quotes tags in code."""
    opening, closing = tags
    said = f"Rating: [[{verdict}]]{code} Done."
    blocks = "".join(f"{opening} {thought}{closing}\n" for thought in thoughts)
    found = split_thinking(blocks + said)
    assert found.answer == said
    assert found.thinking == blocks.removeprefix(opening).strip().removesuffix(closing).strip()
    assert split_thinking(blocks.removeprefix(opening) + said).answer == said


@settings(max_examples=80, deadline=None)
@given(thoughts=st.lists(WORDS, max_size=3), tags=st.sampled_from(TAGS), last=WORDS)
def test_what_is_never_closed_is_no_answer(thoughts: list[str], tags: tuple[str, str], last: str) -> None:
    opening, closing = tags
    blocks = "".join(f"{opening} {thought}{closing}\n" for thought in thoughts)
    assert split_thinking(f"{blocks}{opening} {last}").answer == ""


@settings(max_examples=80, deadline=None)
@given(st.lists(WORDS | CODE, max_size=6).map(" ".join))
def test_an_answer_that_thinks_nothing_stays_as_it_is(text: str) -> None:
    assert split_thinking(text) == ("", text)


@pytest.mark.parametrize(
    "piece",
    [
        *("```\n", "```x\n", "`", "` ", "`</think>` ", "<think>", "</think>", "~~~\n\n", "``a`", "\n\n", "<|channel|>"),
        *("<answer>", "<|channel>x", "Here is my thought process:\n"),
    ],
)
def test_hostile_texts_take_time_in_proportion_to_their_length(piece: str) -> None:
    def seconds(size: int) -> float:
        gc.disable()  # it looks at all that other tests keep
        try:
            start = time.thread_time()
            split_thinking("<think>" + piece * (size // len(piece)) + "x</think>")
            return time.thread_time() - start
        finally:
            gc.enable()

    assert seconds(400_000) < 50 * max(seconds(40_000), 0.02)  # 10 is linear, 100 quadratic


def test_fences_of_many_lengths_take_little_time() -> None:
    start = time.process_time()
    split_thinking("</think>" + "".join("`" * n + "x\n" for n in range(900, 3, -1)))
    split_thinking("</think>" + "".join("`" * n + "x " for n in range(900, 3, -1)))
    assert time.process_time() - start < 5
