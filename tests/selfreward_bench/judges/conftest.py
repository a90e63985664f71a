"""A judge model whose answers the test decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from selfreward_bench.engines.scripted import ScriptedEngine, prompt_text
from selfreward_bench.types import Message


def scripted(
    answer: Callable[[str, int], str] = lambda shown, k: "", *, logprobs: Sequence[float] = (), batch: int = 2
) -> ScriptedEngine:
    """``answer(what the judge is shown, number of the sample)``; batches of ``batch`` requests."""
    return ScriptedEngine(
        lambda request, k: answer(prompt_text(request.prompt), k), lambda request: logprobs, batch_size=batch
    )


@pytest.fixture
def fake_engine() -> Callable[..., ScriptedEngine]:
    return scripted


@pytest.fixture
def question() -> tuple[Message, ...]:
    return (Message(role="user", content="Name a small red food."),)
