"""An engine that opens when it is needed, once, and is closed by whom it belongs to."""

from __future__ import annotations

import pytest

from selfreward_bench.engines.base import ChoiceRequest, GenerationRequest
from selfreward_bench.engines.lazy import LazyEngine
from selfreward_bench.engines.scripted import ScriptedEngine
from selfreward_bench.errors import EngineError


class Priced(ScriptedEngine):
    """Costs something, and fails at one request."""

    spent = 2.5
    snapshot = "hello-2024"

    def __init__(self) -> None:
        super().__init__({"*": "Hello there"}, {"*": [-1.0]})
        self.failures = {"x": "refused"}


def make() -> tuple[LazyEngine, list[Priced]]:
    opened: list[Priced] = []

    def opener() -> Priced:
        opened.append(Priced())
        return opened[-1]

    return LazyEngine(opener), opened


def test_it_opens_on_first_use_and_once() -> None:
    lazy, opened = make()
    assert (lazy.opened, lazy.failures, lazy.spent, lazy.snapshot, opened) == (None, {}, 0, "", [])
    lazy.close()
    assert opened == []
    assert lazy.name == "scripted"
    (batch,) = lazy.generate([GenerationRequest("a", "Hi")])
    assert batch[0].text == "Hello there"
    (scores,) = lazy.choice_logprobs([ChoiceRequest("a", "Hi", ("m",))])
    assert scores[0].logprobs == (-1.0,)
    assert lazy.count_tokens("two words") == 2
    assert len(opened) == 1
    assert lazy.opened is opened[0] is lazy.open()
    assert (lazy.failures, lazy.spent, lazy.snapshot) == ({"x": "refused"}, 2.5, "hello-2024")


def test_what_is_done_is_passed_on() -> None:
    lazy, opened = make()
    requests = [GenerationRequest("a", "Hi"), GenerationRequest("b", "Hi")]
    assert list(lazy.generate(requests, done={"a", "b"})) == []
    assert list(lazy.choice_logprobs([ChoiceRequest("a", "Hi", ("m",))], done={"a"})) == []
    assert opened[0].requests == []


def test_closed_it_gives_the_model_back_and_opens_again() -> None:
    lazy, opened = make()
    lazy.open()
    lazy.close()
    with pytest.raises(EngineError, match="closed"):
        opened[0].generate([])
    assert list(lazy.generate([])) == []
    assert len(opened) == 2


def test_a_lent_engine_stays_open() -> None:
    lent = ScriptedEngine({"*": "Hello"})
    lazy = LazyEngine(lambda: lent, keep=True)
    assert list(lazy.generate([])) == []
    assert lazy.spent == 0
    lazy.close()
    assert list(lent.generate([])) == []
