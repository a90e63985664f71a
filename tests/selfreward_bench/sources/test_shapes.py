"""Shapes: each one's row becomes the conversation it means; what does not fit is told."""

from __future__ import annotations

import json
import re
import string
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfreward_bench.errors import DataError, UnknownNameError
from selfreward_bench.sources.shapes import COLUMNS, SHAPES, Item, named, recognise
from selfreward_bench.sources.turns import MAX_CHARACTERS, UnfitRow, read_turns

ASKED = [{"role": "user", "content": "Name a food."}]
TALK = [*ASKED, {"role": "assistant", "content": "An apple."}]
WORSE = [*ASKED, {"role": "assistant", "content": "A bus."}]
LONG = [
    {"role": "system", "content": "Be brief."},
    *TALK,
    {"role": "user", "content": "Another."},
    {"role": "assistant", "content": "A pear."},
]
SHARED = [
    {"from": "human", "value": "Name a food."},
    {"from": "gpt", "value": "An apple."},
]


def read(row: dict[str, Any]) -> tuple[str, list[Item]]:
    shape = recognise([row], "f.jsonl")
    return shape.name, list(shape.items(row))


def told(row: dict[str, Any]) -> tuple[str, str, str | None, list[tuple[int, str]]]:
    """Shape, the turns of the prompt, the answer, the ranked responses."""
    shape, (item,) = read(row)
    turns = " | ".join(f"{turn.role[0]}: {turn.content}" for turn in item.messages)
    return shape, turns, item.answer, [(r.rank, r.text) for r in item.responses]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"messages": TALK}, ("messages", "u: Name a food.", "An apple.")),
        ({"messages": LONG}, ("messages", "s: Be brief. | u: Name a food. | a: An apple. | u: Another.", "A pear.")),
        ({"messages": TALK, "prompt": "Name a food.", "prompt_id": "x"}, ("messages", "u: Name a food.", "An apple.")),
        ({"messages": ASKED, "completion": "An apple."}, ("messages", "u: Name a food.", "An apple.")),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "Name a food."}]}, TALK[1]]},
            ("messages", "u: Name a food.", "An apple."),
        ),
        ({"conversations": SHARED}, ("messages", "u: Name a food.", "An apple.")),
        ({"conversations": SHARED, "system": "Hi."}, ("messages", "s: Hi. | u: Name a food.", "An apple.")),
        (
            {"conversations": [{"from": "system", "value": ""}, *SHARED]},
            ("messages", "u: Name a food.", "An apple."),
        ),
        ({"instruction": "Name a food.", "input": "", "output": "An apple."},
         ("alpaca", "u: Name a food.", "An apple.")),
        ({"instruction": "Translate.", "input": "Apfel", "output": "Apple"},
         ("alpaca", "u: Translate.\n\nApfel", "Apple")),
        (
            {"instruction": "More.", "output": "A pear.", "system": "S", "history": [["Food?", "An apple."]]},
            ("alpaca", "s: S | u: Food? | a: An apple. | u: More.", "A pear."),
        ),
        ({"instruction": "Name it.", "context": "An apple.", "response": "Apple", "category": "qa"},
         ("alpaca", "u: Name it.\n\nAn apple.", "Apple")),
        ({"instruction": "Name.", "instances": [{"input": "", "output": "An apple."}]},
         ("self-instruct", "u: Name.", "An apple.")),
        ({"prompt": "Name a food.", "completion": "An apple."}, ("question-answer", "u: Name a food.", "An apple.")),
        ({"prompt": ASKED, "completion": TALK[1:]}, ("question-answer", "u: Name a food.", "An apple.")),
        ({"question": "1 + 1?", "answer": "2"}, ("question-answer", "u: 1 + 1?", "2")),
        ({"system_prompt": "S", "question": "1 + 1?", "response": "2"}, ("question-answer", "s: S | u: 1 + 1?", "2")),
        ({"query": "1 + 1?", "response": "2"}, ("question-answer", "u: 1 + 1?", "2")),
        ({"input": "1 + 1?", "output": "2"}, ("question-answer", "u: 1 + 1?", "2")),
        ({"messages": TALK, "input": "1 + 1?", "output": "2"}, ("messages", "u: Name a food.", "An apple.")),
        ({"question": "Who?", "context": "It was Bob.", "answer": "Bob"},
         ("question-answer", "u: Who?\n\nIt was Bob.", "Bob")),
        ({"prompt": "Who? It was Bob.", "context": "It was Bob.", "completion": "Bob"},
         ("question-answer", "u: Who? It was Bob.", "Bob")),
        ({"prompt": "\n\nHuman: Who?\n\nAssistant:", "input": "It was Bob.", "completion": "Bob"},
         ("question-answer", "u: Who?\n\nIt was Bob.", "Bob")),
        ({"instruction": "Translate.", "input": "Apfel"}, ("prompt", "u: Translate.\n\nApfel", None)),
        ({"conversations": ["Name a food.", "An apple."]}, ("messages", "u: Name a food.", "An apple.")),
        (
            {"conversation": [{"input": "Food?", "output": "An apple."}, {"input": "More.", "output": "A pear."}]},
            ("messages", "u: Food? | a: An apple. | u: More.", "A pear."),
        ),
        ({"messages": [{"role": "User", "content": "Food?"}, {"role": "AI", "content": "An apple."}]},
         ("messages", "u: Food?", "An apple.")),
        ({"prompt": "Name a food."}, ("prompt", "u: Name a food.", None)),
        ({"prompt": LONG[:4]}, ("prompt", "s: Be brief. | u: Name a food. | a: An apple. | u: Another.", None)),
    ],
)  # fmt: skip
def test_shapes_with_one_answer(row: dict[str, Any], expected: tuple[str, str, str | None]) -> None:
    assert told(row) == (*expected, [])


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Name a food.", "chosen": "An apple.", "rejected": "A bus."},
        {"prompt": ASKED, "chosen": TALK[1:], "rejected": WORSE[1:]},
        {"chosen": TALK, "rejected": WORSE},
        {"prompt": "Name a food.", "prompt_id": "p", "chosen": TALK, "rejected": WORSE, "messages": TALK},
        {"question": "Name a food.", "chosen": "An apple.", "rejected": "A bus."},
        {"input": "Name a food.", "chosen": "An apple.", "rejected": "A bus."},
        {"conversations": SHARED[:1], "chosen": SHARED[1], "rejected": {"from": "gpt", "value": "A bus."}},
        {"chosen": "\n\nHuman: Name a food.\n\nAssistant: An apple.",
         "rejected": "\n\nHuman: Name a food.\n\nAssistant: A bus."},
        {"prompt": "\n\nHuman: Name a food.\n\nAssistant:", "chosen": "An apple.", "rejected": "A bus."},
        {"prompt": "\n\nHuman: Name a food.\n\nAssistant: ", "chosen": TALK, "rejected": WORSE},
    ],
)  # fmt: skip
def test_preferences_are_two_ranked_responses(row: dict[str, Any]) -> None:
    assert told(row) == ("preference", "u: Name a food.", None, [(0, "An apple."), (1, "A bus.")])


def test_preferences_keep_the_turns_before() -> None:
    other = [*LONG[:4], {"role": "assistant", "content": "A bus."}]
    turns = "s: Be brief. | u: Name a food. | a: An apple. | u: Another."
    assert told({"chosen": LONG, "rejected": other}) == ("preference", turns, None, [(0, "A pear."), (1, "A bus.")])
    text = "\n\nHuman: Food?\n\nAssistant: An apple.\n\nHuman: Another.\n\nAssistant: "
    _, turns, _, ranked = told({"chosen": text + "A pear.", "rejected": text + "A bus."})
    assert turns == "u: Food? | a: An apple. | u: Another."
    assert ranked == [(0, "A pear."), (1, "A bus.")]
    rated = [{"answer": "A bus.", "rank": 7}, {"answer": "A pear.", "rank": 1}]
    assert told({"prompt": text, "answers": rated})[1] == turns  # Nectar
    assert told({"prompt": text, "response": "A pear."}) == ("question-answer", turns, "A pear.", [])


PAGE = (Path(__file__).parents[3] / "docs" / "formats.md").read_text("utf-8")
DOCUMENTED = re.findall(r"^\| `([\w-]+)`[^|]*\| `(\{.*?\})`(?:,[^|]*)? \| ([\w, ]+) \|$", PAGE, re.MULTILINE)


def test_the_documented_rows_are_what_the_page_says() -> None:
    assert {name for name, _, _ in DOCUMENTED} == {shape.name for shape in SHAPES if shape.yields}
    for name, row, yields in DOCUMENTED:
        values = {key: value for key, value in json.loads(row).items() if value is not None}
        shape = recognise([values], "f")
        assert (shape.name, ", ".join(shape.yields)) == (name, yields)
        if not name.startswith("oasst"):
            assert list(shape.items(values))


@pytest.mark.parametrize(
    ("listed", "ranks"),
    [
        ([{"response": "x", "overall_score": 4}, {"response": "y", "overall_score": 8.5}], [1, 0]),
        ([{"text": "x", "rank": 1}, {"text": "y", "rank": 2}, {"text": "z", "rank": 1}], [0, 1, 0]),
        ([{"content": "x", "score": -1}, {"content": "y", "score": -1}], [0, 0]),
    ],
)
def test_ratings_become_ranks(listed: list[dict[str, Any]], ranks: list[int]) -> None:
    for row in ({"instruction": "Go.", "completions": listed}, {"prompt": "Go.", "responses": listed}):
        shape, (item,) = read(row | {"input": "North"})
        assert shape == "rated"
        assert item.messages[-1].content == "Go.\n\nNorth"
        assert [r.rank for r in item.responses] == ranks


def test_each_instance_is_an_item() -> None:
    instances = [{"input": "1", "output": "one"}, {"input": "2", "output": "two"}]
    _, items = read({"id": "s", "instruction": "Name it.", "instances": instances})
    assert [(i.id, i.messages[0].content, i.answer) for i in items] == [
        ("s/0", "Name it.\n\n1", "one"),
        ("s/1", "Name it.\n\n2", "two"),
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [("a", "a"), (7, "7"), (True, None), ("", None), ("x" * 201, None), ("a\nb", None), (None, None), ([1], None)],
)
def test_ids_are_taken_where_they_can_be_one(value: object, expected: str | None) -> None:
    _, (item,) = read({"id": value, "question": "1 + 1?", "answer": "2", "category": "sums", "source": "book"})
    assert (item.id, item.category, item.source) == (expected, "sums", "book")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (
            {"prompt": "Q", "chosen": "\n\nHuman: Q\n\nAssistant: A", "rejected": "\n\nHuman: Q\n\nAssistant: "},
            "chosen or rejected has no answer at its end",
        ),
        ({"messages": [*TALK, {"role": "tool", "content": "x"}]}, "neither system's, user's nor assistant's"),
        ({"messages": [*ASKED, {"role": "assistant", "content": None, "tool_calls": [{}]}]}, "calls tools"),
        (
            {"messages": [*ASKED, {"role": "assistant", "content": "I look.", "function_call": {"name": "f"}}]},
            "calls tools",
        ),
        ({"messages": TALK, "images": ["a.png"]}, "more than text"),
        ({"question": "Who?", "context": {"title": ["Bob"]}, "answer": "Bob"}, "the input is no text"),
        ({"messages": [*ASKED, {"role": "assistant", "content": None}]}, "has no text"),
        ({"messages": [*ASKED, {"role": "assistant", "content": " "}]}, "a turn of the conversation is empty"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "more than text"),
        ({"messages": TALK[1:]}, "does not begin with the user"),
        ({"messages": [*ASKED, *ASKED]}, "two turns of one role"),
        ({"messages": [*TALK, LONG[0]]}, "a system turn stands within"),
        ({"messages": []}, "has no turns"),
        ({"messages": ["hi"]}, "no list of turns"),
        ({"instruction": "", "output": "x"}, "the instruction is empty"),
        ({"instruction": "x", "output": 3}, "the answer is no text"),
        ({"prompt": "x", "completion": "y" * (MAX_CHARACTERS + 1)}, "longer than 1,000,000"),
        ({"prompt": "a\0b", "completion": "y"}, "NUL"),
        ({"chosen": "The sky is blue.", "rejected": "The sky is green."}, "without a prompt"),
        ({"prompt": "x", "chosen": "same", "rejected": "same "}, "are equal"),
        ({"prompt": "x", "chosen": TALK, "rejected": WORSE}, "the prompt is not in the conversations"),
        ({"prompt": "x", "chosen": TALK, "rejected": "A bus."}, "the other is not"),
        ({"chosen": TALK, "rejected": [*ASKED, *TALK]}, "differ before their last turn"),
        ({"instruction": "x", "completions": [{"response": "a"}, {"response": "b"}]}, "rank or score"),
        ({"instruction": "x", "completions": [{"response": "a", "score": 1}]}, "fewer than two"),
        ({"prompt": "x", "completion": "y", "label": True}, "no pair"),
    ],
)
def test_rows_that_do_not_fit_say_why(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnfitRow, match=reason):
        read(row)


def test_unknown_and_ambiguous_columns_are_named() -> None:
    with pytest.raises(DataError, match=r"f\.jsonl: the columns are a, b, which is no known shape") as caught:
        recognise([{"a": 1, "b": 2}], "f.jsonl")
    assert all(f"\n  {shape.name}: " in str(caught.value) for shape in SHAPES)
    with pytest.raises(DataError, match="fit messages and alpaca alike"):
        recognise([{"messages": TALK, "instruction": "x", "output": "y"}], "f.jsonl")
    with pytest.raises(DataError, match=r"x{40}\.\.\., .* and 88 more") as caught:
        recognise([{f"{'x' * 5000}{i}": 1 for i in range(100)}], "f.jsonl")
    assert len(str(caught.value)) < 2500
    with pytest.raises(UnknownNameError, match="alpaca"):
        named("alpacca")
    assert recognise([{"a": 1}, {"prompt": "x", "completion": "y"}], "f").name == "question-answer"


TEXT = st.text(string.printable, max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["role", "from", "content", "value", "text", "type", "output", "response", "score", "rank"]),
        inner | st.sampled_from(["user", "gpt", "text"]),
        max_size=3,
    ),
    max_leaves=8,
)  # fmt: skip


@settings(deadline=None)  # a busy machine is no fault
@given(st.dictionaries(st.sampled_from(sorted(COLUMNS)), JSON, max_size=6))
def test_no_row_raises_anything_else(row: dict[str, Any]) -> None:
    present = {key: value for key, value in row.items() if value is not None}
    for shape in SHAPES:
        if shape.fits(present):
            with suppress(UnfitRow):
                list(shape.items(present))


@given(JSON)
def test_no_value_is_turns_by_accident(value: object) -> None:
    try:
        turns = read_turns(value)
    except UnfitRow:
        return
    assert all(turn.content.strip() for turn in turns)
