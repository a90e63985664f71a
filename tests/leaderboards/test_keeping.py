"""What the hash of an evaluation's settings is made of, spelled out for people."""

from __future__ import annotations

from leaderboards.keeping import spelled_out
from selfreward_bench.types import Message


def test_nested_settings_are_dotted_and_values_text() -> None:
    identity = {
        "seed": 3,
        "limit": None,
        "eval": {"sampling": {"temperature": 0.7}, "order": ("ab", "ba"), "none": {}},
        "answering": Message(role="user", content="x"),
        "greedy": True,
    }
    assert spelled_out(identity) == {
        "seed": "3",
        "limit": "none",
        "eval.sampling.temperature": "0.7",
        "eval.order": "ab, ba",
        "eval.none": "{}",
        "answering.role": "user",
        "answering.content": "x",
        "greedy": "true",
    }


def test_what_a_package_brings_is_bounded() -> None:
    found = spelled_out({f"key{k}": "x" * 10_000 for k in range(1_000)})
    assert len(found) == 200
    assert set(map(len, found.values())) == {200}
