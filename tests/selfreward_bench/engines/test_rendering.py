"""Prompts of a call that is too large to be kept: rendered again batch by batch, to the same texts and numbers."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from selfreward_bench.engines import rendering
from selfreward_bench.engines.base import ChoiceRequest, GenerationRequest
from selfreward_bench.engines.chat import SYSTEM_IN_TURN, PromptEncoder
from selfreward_bench.errors import EngineError
from selfreward_bench.storage.records import Made
from selfreward_bench.types import Message

WORDS = "once upon a time there was a little cat who liked to play in the park "


def asked(at: int) -> GenerationRequest:
    prompt = "1" * 300 if at == 5 else WORDS[: 10 + 7 * at]  # one of them exceeds the context
    return GenerationRequest(id=f"r{at}", prompt=prompt, seeds=(at,), max_new_tokens=6)


def graded(at: int) -> ChoiceRequest:
    return ChoiceRequest(id=f"j{at}", prompt=asked(at).prompt, choices=("0", "12"))


@pytest.fixture
def again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is kept, and little rendered at a time."""
    monkeypatch.setattr(rendering, "KEPT", 0)
    monkeypatch.setattr(rendering, "PART", 3)


def test_what_is_rendered_again_is_answered_alike(
    engine: Any, engine_of: Callable[..., Any], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, encode = engine_of(engine._runner.model, tokens_per_batch=60), PromptEncoder.encode
    rendered: list[int] = []

    def counted(encoder: Any, requests: Any, new_tokens: Any) -> Any:
        rendered.append(len(requests))
        return encode(encoder, requests, new_tokens)

    monkeypatch.setattr(PromptEncoder, "encode", counted)
    requests, choices = Made(8, asked), Made(8, graded)
    kept = list(small.generate(requests)), dict(small.failures), list(small.choice_logprobs(choices))
    assert rendered == [8, 8]
    rendered.clear()
    request.getfixturevalue("again")
    found = list(small.generate(requests)), dict(small.failures), list(small.choice_logprobs(choices))
    assert found == (kept[0], kept[1] | {"j5": "too_long"}, kept[2])
    assert len(kept[0]) > 2
    assert kept[1] == {"r5": "too_long"}
    assert sum(rendered) == 8 + 7 + 8 + 7
    with pytest.raises(EngineError, match=r"'r1'.*unique"):
        small.generate([asked(1), asked(2), asked(3), asked(1)])


@pytest.mark.usefixtures("again")
def test_what_is_rendered_otherwise_is_counted_once(engine: Any, engine_of: Callable[..., Any]) -> None:
    refuses = engine_of(engine._runner.model)
    refuses._encoder.tokenizer.chat_template = (
        "{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}"
    )
    turns = (Message(role="system", content="Be brief."), Message(role="user", content="cat"))
    requests = [GenerationRequest(id=f"{i}", prompt=turns, max_new_tokens=6) for i in range(4)]
    assert len(list(refuses.generate(requests))) == 1
    assert refuses.changes == {SYSTEM_IN_TURN: 4}


@pytest.mark.usefixtures("again")
def test_a_prompt_of_a_large_call_takes_little_memory(engine: Any) -> None:
    """Its text and token ids, eight bytes each, were held to the end of the call."""
    requests = Made(600, lambda at: GenerationRequest(id=f"r{at}", prompt=f"{at} {WORDS}" * 5, max_new_tokens=6))
    engine._prompts(requests[:3])  # what is made once
    tracemalloc.start()
    planned = engine._prompts(requests)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(planned.jobs) == 600
    assert held < 350 * 600
