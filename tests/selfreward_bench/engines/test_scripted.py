"""The scripted engine behaves as an engine does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selfreward_bench.config import EngineConfig
from selfreward_bench.engines import open_engine
from selfreward_bench.engines.base import ChoiceRequest, GenerationRequest
from selfreward_bench.engines.scripted import ScriptedEngine
from selfreward_bench.errors import EngineError
from selfreward_bench.types import Message


def ask(request_id: str, prompt: str, n: int = 1, **options: object) -> GenerationRequest:
    return GenerationRequest(id=request_id, prompt=prompt, n=n, seeds=tuple(range(n)), **options)  # type: ignore[arg-type]


def test_answers_come_from_the_table_in_turn() -> None:
    engine = ScriptedEngine({"hi": ["one", "two"], "*": "other"})
    (batch,) = engine.generate([ask("a", "hi", n=3), ask("b", "what")])
    assert [(c.id, c.text) for c in batch] == [("a/0", "one"), ("a/1", "two"), ("a/2", "one"), ("b/0", "other")]


def test_messages_are_looked_up_by_the_last_one() -> None:
    engine = ScriptedEngine({"hi": "yes"})
    messages = (Message(role="system", content="x"), Message(role="user", content="hi"))
    assert next(engine.generate([GenerationRequest(id="a", prompt=messages)]))[0].text == "yes"


def test_a_function_sees_request_and_index() -> None:
    engine = ScriptedEngine(lambda request, index: f"{request.id}-{request.seeds[index]}")
    (batch,) = engine.generate([ask("a", "x", n=2)])
    assert [c.text for c in batch] == ["a-0", "a-1"]


def test_stop_and_length_are_honoured() -> None:
    engine = ScriptedEngine({"*": "one two. three four"})
    (a, b, c) = next(
        engine.generate([ask("a", "", stop=(".",)), ask("b", "", max_new_tokens=3), ask("c", "", max_new_tokens=4)])
    )
    assert (a.text, a.finish_reason, a.n_tokens) == ("one two", "stop", 2)
    assert (b.text, b.finish_reason, b.n_tokens) == ("one two. three", "length", 3)
    assert (c.finish_reason, c.n_tokens) == ("stop", 4)


def test_batches_do_not_depend_on_order_or_on_what_is_done() -> None:
    items = [ask(f"r{i}", "x") for i in range(5)]
    engine = ScriptedEngine({"*": "y"}, batch_size=2)
    whole = list(engine.generate(items))
    assert [[c.prompt_id for c in b] for b in whole] == [["r0", "r1"], ["r2", "r3"], ["r4"]]
    assert list(engine.generate(items[::-1])) == whole
    engine.requests.clear()
    assert list(engine.generate(items, done={"r0", "r1", "r2"})) == whole[1:]
    assert [r.id for r in engine.requests] == ["r2", "r3", "r4"]


def test_choices() -> None:
    engine = ScriptedEngine({}, {"x": [-1.0, -2.0]})
    (batch,) = engine.choice_logprobs([ChoiceRequest("a", "x", ("1", "2"))])
    assert batch[0].logprobs == (-1.0, -2.0)
    with pytest.raises(EngineError, match="2 numbers for 1 choices"):
        list(engine.choice_logprobs([ChoiceRequest("a", "x", ("1",))]))
    by_function = ScriptedEngine({}, lambda r: [0.0] * len(r.choices))
    assert next(by_function.choice_logprobs([ChoiceRequest("a", "q", ("1", "2", "3"))]))[0].logprobs == (0.0,) * 3


def test_an_unknown_prompt_and_bad_requests_are_errors() -> None:
    engine = ScriptedEngine({"a": "b"})
    with pytest.raises(EngineError, match="no entry for 'zzz'"):
        list(engine.generate([ask("a", "zzz")]))
    with pytest.raises(EngineError, match="unique"):
        engine.generate([ask("a", "a"), ask("a", "a")])
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.generate([ask("a", "a")])


def test_a_script_can_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "script.json"
    path.write_text(json.dumps({"texts": {"*": "hello"}}))
    engine = open_engine(EngineConfig(kind="scripted"), path)
    assert next(engine.generate([ask("a", "q")]))[0].text == "hello"
    assert engine.count_tokens("a b") == 2
    path.write_text("[1]")
    with pytest.raises(EngineError, match=r"script\.json: not a script"):
        open_engine(EngineConfig(kind="scripted"), path)
