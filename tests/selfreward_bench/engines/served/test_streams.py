"""Streams of events: put together as the answer they are, asked for or not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfreward_bench.engines.served import ServedEngine
from selfreward_bench.engines.served.streams import joined
from selfreward_bench.storage.responses import ResponseStore

from ....scripted_server import Answer, Asked, said, scripted_server
from .test_engine import FAST, ask, judged, judgments, written

USAGE = {"prompt_tokens": 50, "completion_tokens": 10}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ResponseStore]:
    made = ResponseStore(tmp_path / "responses.sqlite")
    yield made
    made.close()


def events(*pieces: object, done: bool = True) -> bytes:
    lines = [f"data: {json.dumps(piece)}" for piece in pieces] + ["data: [DONE]"] * done
    return "\n\n".join([": OPENROUTER PROCESSING", *lines, ""]).encode()


def piece(finish: str | None = None, index: int = 0, **delta: Any) -> dict[str, Any]:
    return {"model": "scripted-1", "choices": [{"index": index, "delta": delta, "finish_reason": finish}]}


def answered(store: ResponseStore, body: bytes) -> list[tuple[str, str, int]]:
    with scripted_server(lambda asked: (200, body)) as server:
        engine = ServedEngine(f"m@{server.url}", store=store, limits=FAST)
        return [(c.text, c.thinking, c.n_tokens) for c in written(engine, [ask("a")])]


def test_an_answer_in_pieces_is_one_answer(store: ResponseStore) -> None:
    body = events(
        piece(role="assistant", content=None, reasoning_content="Hm"),
        piece(reasoning_content="m."),
        piece(content="Hel"),
        piece(index=1, content="another choice"),
        piece(content="lo"),
        piece("stop"),
        {"choices": [], "usage": USAGE},
    )
    assert answered(store, body) == [("Hello", "Hmm.", 10)]


def test_a_stream_that_breaks_off_is_no_answer(store: ResponseStore) -> None:
    body = events(piece(content="Hel"), done=False)
    with scripted_server(lambda asked: (200, body) if asked.number == 0 else said("Hello")) as server:
        engine = ServedEngine(f"m@{server.url}", store=store, limits=FAST)
        assert [c.text for c in written(engine, [ask("a")])] == ["Hello"]
        assert len(server.asked) == 2


def test_an_error_within_a_stream_is_that_error(store: ResponseStore) -> None:
    body = events(piece(content="Hel"), {"error": {"message": "Your input was flagged", "code": 403}})
    with scripted_server(lambda asked: (200, body)) as server:
        engine = ServedEngine(f"m@{server.url}", store=store, limits=FAST)
        assert written(engine, [ask("a")]) == []
    assert engine.failures == {"a": "refused"}


def test_a_key_that_comes_in_pieces_is_not_put_together(
    store: ResponseStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-QK7tgZ29wLmDx83b")
    body = events(piece(content="It is sk-QK7t"), piece(content="gZ29wL"), piece(content="mDx83b."), piece("stop"))
    assert [text for text, _, _ in answered(store, body)] == ["It is ***."]
    assert b"gZ29wL" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_log_probabilities_of_a_stream_are_those_of_its_first_token(store: ResponseStore) -> None:
    top = [{"token": "m", "logprob": -0.1}, {"token": "M", "logprob": -2.5}]
    begun = piece(content="m")
    begun["choices"][0]["logprobs"] = {"content": [{"token": "m", "logprob": -0.1, "top_logprobs": top}]}
    role = piece(role="assistant")
    role["choices"][0]["logprobs"] = {"content": []}
    body = events(role, begun, piece("length"))
    with scripted_server(lambda asked: (200, body)) as server:
        engine = ServedEngine(f"m@{server.url}", store=store, limits=FAST)
        (found,) = judged(engine, judgments(1)).values()
    assert found.logprobs == (-0.1, -2.5)


@pytest.mark.parametrize(
    "words",
    [
        "This model only support stream mode, please enable the stream parameter to access the model.",
        "Stream must be set to true",
        "parameter.enable_thinking must be set to false for non-streaming calls",
        "Streaming is required for this model",
    ],
)
def test_a_server_that_only_streams_is_asked_to(store: ResponseStore, words: str) -> None:
    def script(asked: Asked) -> Answer:
        if not asked.body.get("stream"):
            return 400, {"error": {"message": words}}
        return 200, events(piece(content="Hello"), piece("stop"), {"choices": [], "usage": USAGE})

    with scripted_server(script) as server:
        engine = ServedEngine(f"m@{server.url}", store=store, limits=FAST, concurrency=1)
        assert [c.text for c in written(engine, [ask("a"), ask("b")])] == ["Hello", "Hello"]
        assert [a.body.get("stream") for a in server.asked] == [None, True, True]
    assert engine.changes == {}


@given(st.binary())
def test_anything_else_is_as_it_was(body: bytes) -> None:
    assert joined(b"{" + body) == b"{" + body


@given(st.lists(st.binary(max_size=30) | st.recursive(st.none() | st.text(), lambda s: st.lists(s)).map(json.dumps)))
def test_any_stream_becomes_something(lines: list[bytes | str]) -> None:
    raw = [line.encode() if isinstance(line, str) else line for line in lines]
    assert isinstance(joined(b"data: " + b"\ndata: ".join(raw)), bytes)
