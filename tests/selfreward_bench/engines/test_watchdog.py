"""Chat templates that do not end, or take all memory, are told; others are rendered as ever."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest

from selfreward_bench.engines.control_tokens import special_strings
from selfreward_bench.engines.watchdog import bound_rendering, bounded
from selfreward_bench.errors import EngineError
from selfreward_bench.types import Message

from .conftest import make_tokenizer

TURN = [{"role": "user", "content": "Hi."}]
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{{ a * b }}{% endfor %}{% endfor %}"


def bound(template: str) -> Any:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    bound_rendering(tokenizer)
    return tokenizer


def test_a_template_without_end_is_told() -> None:
    with pytest.raises(EngineError, match=r"still at work after 0\.2 seconds"), bounded("It", seconds=0.2):
        bound(ENDLESS).apply_chat_template(TURN, tokenize=False)


def test_also_where_a_library_catches_everything() -> None:
    def caught() -> None:
        while True:
            try:
                sum(range(1000))
            except Exception:
                pytest.fail("caught")

    with pytest.raises(EngineError, match="still at work"), bounded("It", seconds=0.1):
        caught()


@pytest.mark.skipif(sys.platform != "linux", reason="memory is watched on Linux alone")
def test_a_template_that_takes_all_memory_is_told() -> None:
    """One step is enough, so that time would be no bound."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    bloated = ImmutableSandboxedEnvironment().from_string("{{ (text * 300000000) | length }}")
    with pytest.raises(EngineError, match=r"It took more than 64 MiB"), bounded("It", memory=64 << 20):
        bloated.render(text="a")
    with bounded("It"):
        assert bloated.render(text="a") == "300000000"  # and there is memory again


def test_an_endless_template_is_not_taken_for_one_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a model's control strings are is found out by rendering, where a template's own refusals are passed over."""

    def rendered(*_: Any, **__: Any) -> str:
        raise EngineError("It does not end.")

    tokenizer = bound("{{ messages }}<|end|>")
    tokenizer.add_tokens(["<|mark|>"])
    monkeypatch.setattr(tokenizer, "apply_chat_template", rendered)
    with pytest.raises(EngineError, match="does not end"):
        special_strings(tokenizer)


def test_others_are_rendered_as_ever() -> None:
    plain, tokenizer = make_tokenizer(), bound("{{ bos_token }}{{ messages[0].content }}")
    plain.chat_template = tokenizer.chat_template
    for options in ({"tokenize": False}, {"tokenize": True}, {"tokenize": False, "add_generation_prompt": True}):
        assert tokenizer.apply_chat_template(TURN, **options) == plain.apply_chat_template(TURN, **options)
    before = threading.active_count()
    for _ in range(50):
        tokenizer.apply_chat_template([Message(role="user", content="x").model_dump()], tokenize=False)
    assert threading.active_count() <= before + 1
    with pytest.raises(KeyError), bounded("It"):
        raise KeyError
