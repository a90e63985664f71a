"""Providers as they are: what one or another of them answers, and what becomes of it."""

from __future__ import annotations

import asyncio
import errno
import gzip
import json
import math
import resource
import subprocess
import sys
import threading
import time
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from selfreward_bench.config import JudgeRequest
from selfreward_bench.engines.base import ChoiceRequest
from selfreward_bench.engines.served import Limits, ServedEngine, parse_spec
from selfreward_bench.engines.served import pace as served_pace
from selfreward_bench.engines.served.pace import Pace
from selfreward_bench.errors import ConfigError, EngineError
from selfreward_bench.prices import Budget, Price, PriceTable
from selfreward_bench.storage.responses import ResponseStore

from ....scripted_server import Answer, Asked, Script, said, scripted_server
from .test_engine import FAST, ask, chat, judged, judgments, written


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ResponseStore]:
    made = ResponseStore(tmp_path / "responses.sqlite")
    yield made
    made.close()


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def error(message: str, status: int = 400, **more: object) -> tuple[int, dict[str, Any]]:
    return status, {"error": {"message": message, **more}}


def first(*tokens: tuple[str, float], **more: Any) -> dict[str, Any]:
    top = [{"token": token, "logprob": p} for token, p in tokens]
    return {"logprobs": {"content": [{**top[0], "top_logprobs": top}]}, **more}


# --- parameters that a server refuses


def test_a_race_for_the_newer_name_of_the_token_limit_loses_no_call(store: ResponseStore) -> None:
    """All calls are under way with the old name when the first refusal comes."""

    def script(asked: Asked) -> Answer:
        if "max_tokens" in asked.body:
            return error("'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.")
        return said(f"{asked.body['max_completion_tokens']}")

    with scripted_server(script, latency=0.1) as server:
        engine = ServedEngine(f"m@{server.url}", store=store, limits=FAST, concurrency=32)
        found = written(engine, [ask(f"r{i}", max_new_tokens=7) for i in range(40)])
        assert [c.text for c in found] == ["7"] * 40
        assert engine.failures == {}
        assert Counter("max_tokens" in a.body for a in server.asked) == {True: 32, False: 40}
    assert engine.changes == {}  # another name means nothing for an answer


EXTRA = {"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs", "input": 1}
UNSUPPORTED = "Unsupported value: 'temperature' does not support 0.7 with this model."


@pytest.mark.parametrize(
    ("name", "words", "told"),
    [
        ("seed", {"detail": [EXTRA]}, "no seed"),
        ("temperature", {"error": {"message": UNSUPPORTED}}, "the server's temperature"),
        ("top_p", {"error": {"message": "`temperature` and `top_p` cannot both be specified."}}, "the server's top_p"),
        ("stop", {"error": {"message": "nope", "param": "stop", "code": "unsupported_parameter"}}, None),
    ],
)
def test_what_is_refused_is_left_out_once_remembered_and_told(
    store: ResponseStore, name: str, words: object, told: str | None
) -> None:
    options: dict[str, Any] = {"temperature": 0.7, "top_p": 0.9, "stop": ("END",)}
    with scripted_server(lambda a: (422, words) if name in a.body else said("one END two")) as server:
        engine = ServedEngine(f"m@{server.url}", store=store, limits=FAST, concurrency=4)
        found = written(engine, [ask(f"r{i}", **options) for i in range(12)])
        assert [c.text for c in found] == ["one "] * 12
        assert sum(name in a.body for a in server.asked) <= 4  # those that were under way
        others = {"temperature", "top_p", "stop", "seed", "max_tokens"} - {name}
        assert all(others <= a.body.keys() for a in server.asked)
    assert engine.changes == ({told: 12} if told else {})
    replay = ServedEngine(f"m@{server.url}", store=store, replay=True)
    assert written(replay, [ask(f"r{i}", **options) for i in range(12)]) == found
    assert replay.changes == engine.changes  # a replay's result has the same key


def test_several_things_are_refused_one_after_the_other(store: ResponseStore) -> None:
    def script(asked: Asked) -> Answer:
        for name in ("max_tokens", "seed", "temperature", "top_p"):
            if name in asked.body:
                return error(f"Unsupported parameter: '{name}'. Use 'max_completion_tokens'.", param=name)
        if any(m["role"] == "system" for m in asked.body["messages"]):
            return 500, {"error": {"message": "Conversation roles must alternate user/assistant/user"}}
        return said(asked.body["messages"][0]["content"])

    with scripted_server(script) as server:
        engine = ServedEngine(f"m@{server.url}", store=store, limits=FAST, concurrency=1)
        first_one = ask("a", chat("hi", "Be brief."), temperature=0.7, top_p=0.9)
        assert [c.text for c in written(engine, [first_one])] == ["Be brief.\n\nhi"]
        assert len(server.asked) == 6
        assert [c.text for c in written(engine, [replace(first_one, id="b", seeds=(9,))])] == ["Be brief.\n\nhi"]
        assert len(server.asked) == 7
    assert set(engine.changes) == {
        "no seed",
        "the server's temperature",
        "the server's top_p",
        "system text in the user's turn",
    }
    (note, *_) = engine.take_notes()
    assert note.startswith(f"openai:m@{server.url}: asked with ")
    assert engine.take_notes() == ()


def test_a_refusal_that_a_change_does_not_mend_changes_nothing(store: ResponseStore) -> None:
    """What is left out of one request is left out of others only when that worked."""

    def script(asked: Asked) -> Answer:
        if "bad" in asked.body["messages"][0]["content"]:
            return error("invalid seed, or something else")
        return said(str("seed" in asked.body))

    with scripted_server(script) as server:
        engine = ServedEngine(f"m@{server.url}", store=store, limits=FAST, concurrency=1)
        found = written(engine, [ask("a"), ask("bad"), ask("c")])
    assert {c.prompt_id: c.text for c in found} == {"a": "True", "c": "True"}
    assert engine.failures == {"bad": "failed: HTTP 400: invalid seed, or something else"}
    assert engine.changes == {}


def test_what_all_requests_are_refused_for_stops_after_a_handful(store: ResponseStore) -> None:
    with scripted_server(lambda a: error(f"Request {a.number}: this deployment is for embeddings only.")) as server:
        engine = ServedEngine(f"m@{server.url}", store=store, limits=FAST, concurrency=4)
        with pytest.raises(EngineError, match=r"refuses every request.*embeddings only.*judge\.request") as found:
            written(engine, [ask(f"r{i}") for i in range(200)])
        assert len(server.asked) < 20
    assert "eval.answering" in str(found.value)


def test_nothing_without_meaning_is_sent(store: ResponseStore) -> None:
    with scripted_server(lambda a: said("x")) as server:
        engine = ServedEngine(f"m@{server.url}", store=store, limits=FAST)
        greedy = ask("a", temperature=0, top_p=0.9)
        written(engine, [greedy])
        assert server.asked[0].body.keys() == {"model", "messages", "max_tokens", "temperature"}
        key = engine._generation_calls(greedy)[0].key
    assert key != engine._generation_calls(replace(greedy, top_p=1.0))[0].key  # the store's keys stay as they were


# --- errors


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (lambda a: error("filtered " + "x" * 5000, code="content_filter"), "refused"),
        (lambda a: error('Your input was flagged for "x".', 403, code=403), "refused"),
        (lambda a: (200, {"error": {"message": "blocked by content filter", "code": 400}}), "refused"),
        (lambda a: error("This model's maximum context length is 10 tokens"), "too_long"),
        (lambda a: (413, b"<html>Request Entity Too Large</html>"), "too_long"),
    ],
)
def test_reasons_that_settle_one_sample(store: ResponseStore, script: Script, reason: str) -> None:
    def mostly_fine(asked: Asked) -> Answer:
        return script(asked) if "bad" in asked.body["messages"][0]["content"] else said("fine")

    with scripted_server(mostly_fine) as server:
        engine = ServedEngine(f"m@{server.url}", store=store, limits=FAST, concurrency=2)
        assert len(written(engine, [ask("a"), ask("bad"), ask("c")])) == 2
        assert len(server.asked) == 3
    assert engine.failures == {"bad": reason}


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (lambda a: error("You exceeded " + "y" * 4096, 429, code="insufficient_quota"), "used up"),
        (lambda a: (200, {"error": {"message": "Insufficient credits", "code": 402}}), "Insufficient credits.*used up"),
        (lambda a: (200, {"error": "Unexpected endpoint or method. (POST /chat)"}), "Unexpected endpoint.*ends in /v1"),
        (lambda a: (200, {"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}), "used up"),
        (lambda a: error("Invalid API key", 403), "wants a key"),
        (lambda a: (200, {"message": {"content": "m"}, "done": True}), "Ollama's own .*11434/v1"),
        (lambda a: (200, {"candidates": [{"content": {"parts": [{"text": "m"}]}}]}), "Gemini's own .*/openai"),
        (lambda a: (200, {"object": "response", "status": "completed", "error": None, "output": []}), "api.openai.com"),
    ],
)
def test_what_meets_every_request_stops_at_once(store: ResponseStore, script: Script, words: str) -> None:
    with scripted_server(script) as server:
        budget = Budget(PriceTable(models={"m": Price(prompt=1, completion=10)}))
        engine = ServedEngine(f"m@{server.url}", store=store, limits=FAST, concurrency=4, budget=budget)
        with pytest.raises(EngineError, match=words):
            written(engine, [ask(f"r{i}") for i in range(50)])
        assert len(server.asked) <= 4
    assert budget.spent == 0  # those that were under way may have been billed


@pytest.mark.parametrize("body", [[], [{"generated_text": "m"}], {"choices": [None]}, {"id": "x"}, ""])
def test_an_answer_without_choices_is_told_as_that(store: ResponseStore, body: object) -> None:
    with scripted_server(lambda a: (200, body)) as server:
        engine = ServedEngine(f"m@{server.url}", store=store, limits=FAST)
        assert written(engine, [ask("a")]) == []
    assert "last: no choices in the answer" in engine.failures["a"]


@pytest.mark.parametrize(
    ("content", "encoding", "reason"),
    [
        (gzip.compress(json.dumps(said("m")[1]).encode(), mtime=0), "GZIP", None),
        (zlib.compress(json.dumps(said("m")[1]).encode()), "deflate", None),
        (gzip.compress(bytes(50_000_000), mtime=0), "gzip", "failed: the answer has more than 100,000 bytes"),
        (b"no gzip", "gzip", "an answer that cannot be unpacked"),
        (b"{}", "br", "an answer in the encoding br, which was not asked for"),
    ],
)
def test_answers_that_are_compressed_unasked(
    store: ResponseStore, content: bytes, encoding: str, reason: str | None
) -> None:
    limits = replace(FAST, max_response_bytes=100_000)
    with scripted_server(lambda a: (200, content, {"Content-Encoding": encoding})) as server:
        engine = ServedEngine(f"m@{server.url}", store=store, limits=limits)
        tracemalloc.start()
        found = written(engine, [ask("a")])
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
        tracemalloc.stop()
    assert [c.text for c in found] == ([] if reason else ["m"])
    assert (reason or "") in engine.failures.get("a", "")


def test_an_answer_of_another_interface_is_paid_for_as_counted(store: ResponseStore) -> None:
    body = {"content": [{"type": "text", "text": "m"}], "stop_reason": "end_turn"}
    with scripted_server(lambda a: (200, body | {"usage": {"input_tokens": 50, "output_tokens": 10}})) as server:
        budget = Budget(PriceTable(models={"m": Price(prompt=1, completion=10)}))
        engine = ServedEngine(f"m@{server.url}", store=store, limits=FAST, concurrency=1, budget=budget)
        with pytest.raises(
            EngineError, match=r"m@http.*: It answers in Anthropic's own .*https://api\.anthropic\.com/v1"
        ):
            written(engine, [ask("a"), ask("b")])
        assert len(server.asked) == 1
    assert budget.spent == pytest.approx(150e-6)


def test_an_error_in_a_200_is_told_with_its_words_and_costs_nothing(store: ResponseStore) -> None:
    budget = Budget(PriceTable(models={"m": Price(prompt=1, completion=10)}))
    with scripted_server(lambda a: (200, {"error": {"message": "Provider returned error", "code": 502}})) as server:
        engine = ServedEngine(f"m@{server.url}", store=store, limits=FAST, budget=budget)
        assert written(engine, [ask("a")]) == []
        assert len(server.asked) == FAST.attempts
    assert engine.failures["a"].endswith("last: HTTP 200 with an error: Provider returned error 502")
    assert budget.spent == budget.uncertain == engine.spent == 0


@pytest.mark.parametrize(
    "refusal",
    [
        error("You are not allowed to request logprobs from this model", 403),
        (400, [{"error": {"code": 400, "message": "Logprobs is not enabled for models/x"}}]),
        (200, {"error": {"message": "logprobs not supported", "code": 400}}),
        said("m"),
        said("m", **first(("m", 0.0), ("M", 0.0), ("A", 0.0))),  # no distribution
        said("m", **first(("m", -0.1), ("M", -0.2))),
        said("m", **first(("m", -9999.0), ("M", -9999.0))),  # which stands for nothing known
        said("", **first(("<think>", -0.1), ("m", -9.0))),
        said("", message={"reasoning_content": "Hm"}, **first(("Hm", -0.1), ("m", -9.0))),
    ],
)
def test_log_probabilities_that_are_none(store: ResponseStore, refusal: Answer) -> None:
    with scripted_server(lambda a: refusal) as server:
        engine = ServedEngine(f"m@{server.url}", store=store, limits=FAST, concurrency=2)
        assert judged(engine, judgments(3)) == {}
        assert len(server.asked) == 3
    assert set(engine.failures.values()) == {"no_logprobs"}


def test_log_probabilities_that_are_a_distribution(store: ResponseStore) -> None:
    no_number: list[Any] = [("x", 10**400), ("y", math.nan), ("z", "0")]
    verdict = first(("m", math.log(0.7)), ("M", math.log(0.305)), *no_number, finish_reason="length")
    with scripted_server(lambda a: said("m", **verdict)) as server:
        (found,) = judged(ServedEngine(f"m@{server.url}", store=store, limits=FAST), judgments(1)).values()
    assert math.exp(found.logprobs[0]) == pytest.approx(0.7)


# --- reasoning


PARTS = [{"type": "thinking", "thinking": [{"type": "text", "text": "Maybe [[6]]"}]}]
PARTS += [{"type": "text", "text": "Rating: "}, {"type": "text", "text": "[[7]]"}]


@pytest.mark.parametrize(
    ("answer", "thinking"),
    [
        (said("Rating: [[7]]", message={"reasoning_content": "Maybe [[6]]"}), "Maybe [[6]]"),
        (said("Rating: [[7]]", message={"reasoning": "Maybe [[6]]"}), "Maybe [[6]]"),
        (said("<think>\nMaybe [[6]]\n</think>\n\nRating: [[7]]"), "Maybe [[6]]"),
        (said("Maybe [[6]]</think>Rating: [[7]]"), "Maybe [[6]]"),
        (said(PARTS), "Maybe [[6]]"),
        (said(PARTS[1:]), ""),
        (said(["Rating: ", "[[7]]"]), ""),
        (said({"type": "text", "text": "Rating: [[7]]"}), ""),
        (said("<|channel>thought\nMaybe [[6]]<channel|>Rating: [[7]]"), "Maybe [[6]]"),
    ],
)
def test_thinking_is_no_part_of_the_answer(store: ResponseStore, answer: Answer, thinking: str) -> None:
    with scripted_server(lambda a: answer) as server:
        (found,) = written(ServedEngine(f"m@{server.url}", store=store, limits=FAST), [ask("a", stop=("Maybe",))])
    assert (found.text, found.thinking, found.n_tokens, found.finish_reason) == ("Rating: [[7]]", thinking, 10, "stop")
    assert ("thinking" in found.model_dump()) == bool(thinking)


def test_an_answer_of_thinking_alone_is_told_and_paid_for_as_counted(store: ResponseStore) -> None:
    budget = Budget(PriceTable(models={"m": Price(prompt=1e6, completion=1e6)}))
    with scripted_server(lambda a: said(None, message={"reasoning_content": "Rating: [[7]]"})) as server:
        engine = ServedEngine(f"m@{server.url}", store=store, limits=FAST, budget=budget)
        assert written(engine, [ask("a")]) == []
    assert engine.failures["a"].endswith("last: only reasoning came, no answer after it")
    assert (budget.spent, budget.uncertain) == (60 * FAST.attempts, 0)


def test_thinking_that_is_cut_off_leaves_an_empty_answer(store: ResponseStore) -> None:
    answers = [
        said("<think>Hm", finish_reason="length"),
        said(None, message={"reasoning": "Hm"}, finish_reason="length"),
    ]
    with scripted_server(lambda a: answers[a.number]) as server:
        engine = ServedEngine(f"m@{server.url}", store=store, limits=FAST, concurrency=1)
        found = written(engine, [ask("a"), ask("b")])
    assert [(c.text, c.thinking, c.finish_reason) for c in found] == [("", "Hm", "length")] * 2


REASONS = dict.fromkeys(
    ["MAX_TOKENS", "model_length", "max_output_tokens", "length", "FINISH_REASON_MAX_TOKENS"], "length"
)
REASONS |= dict.fromkeys(["FinishReason.MAX_TOKENS", "maxTokens", "maximum_tokens", "MAX-TOKENS-REACHED"], "length")
REASONS |= dict.fromkeys(["end_turn", "eos", "STOP", "complete", "none"], "stop")
REASONS |= dict.fromkeys(["SAFETY", "content_filter", "content-filter", "PROHIBITED_CONTENT", "refusal"], "refused")
REASONS |= {"content_filter: PROHIBITED_CONTENT": "refused", "model_context_window_exceeded": "length"}


@pytest.mark.parametrize(("reason", "finish"), REASONS.items())
def test_finish_reasons_of_all_dialects(store: ResponseStore, reason: str, finish: str) -> None:
    with scripted_server(lambda a: said("text", finish_reason=reason)) as server:
        engine = ServedEngine(f"m@{server.url}", store=store, limits=FAST)
        found = written(engine, [ask("a")])
    assert [c.finish_reason for c in found] == ([] if finish == "refused" else [finish])
    assert engine.failures == ({"a": "refused"} if finish == "refused" else {})


@pytest.mark.parametrize(
    "usage",
    [
        {"completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": 100}},
        {"completion_tokens": 2},  # Gemini's way
        {"completion_tokens": None},  # ... where there was thinking alone
        {"completion_tokens": 102.0, "total_tokens": None},
        {"completion_tokens": "102"},
    ],
)
def test_tokens_that_are_counted_apart_from_the_answer_are_paid_for(store: ResponseStore, usage: Any) -> None:
    status, body = said("x")
    counted = body | {"usage": {"prompt_tokens": 5, "total_tokens": 107} | usage}
    with scripted_server(lambda a: (status, counted)) as server:
        engine = ServedEngine(f"m@{server.url}", store=store, limits=FAST)
        (found,) = written(engine, [ask("a")])
    assert (found.n_tokens, engine.usage.completion_tokens) == (102, 102)


# --- how a judge is asked


def test_a_judge_can_be_asked_otherwise(store: ResponseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "t0ken-abcdefgh")
    request = JudgeRequest(
        temperature=1.0, max_tokens=8192, seed=7, extra_body={"reasoning_effort": "low"},
        extra_headers={"X-Key": "Bearer ${MY_TOKEN}", "X-Title": "mine"},
    )  # fmt: skip
    with scripted_server(lambda a: said(f"fine, {a.headers.get('x-key')}")) as server:
        engine = ServedEngine(f"m@{server.url}", store=store, limits=FAST, request=request)
        (found,) = written(engine, [ask("a", temperature=0, max_new_tokens=16)])
        (asked,) = server.asked
        plain = ServedEngine(f"m@{server.url}", store=store, limits=FAST)
        assert len(written(plain, [ask("a", temperature=0, max_new_tokens=16)])) == 1
        assert len(server.asked) == 2  # another question
    sent = {name: asked.body[name] for name in ("temperature", "max_tokens", "seed", "reasoning_effort")}
    assert sent == {"temperature": 1.0, "max_tokens": 8192, "seed": 7, "reasoning_effort": "low"}
    assert (asked.headers["x-key"], asked.headers["x-title"]) == ("Bearer t0ken-abcdefgh", "mine")
    assert found.text == "fine, Bearer ***"
    kept = b"".join(path.read_bytes() for path in store.path.parent.iterdir())
    assert b"t0ken" not in kept
    monkeypatch.delenv("MY_TOKEN")
    with pytest.raises(ConfigError, match="MY_TOKEN is not set"):
        ServedEngine(f"m@{server.url}", store=store, request=request)


HEADERS = [{"api-key": "abc"}, {"Authorization": "Bearer abc"}, {"a b": "x"}, {"a": "x\ny"}]
SETTINGS = [{"extra_body": {"model": "x"}}, {"name": "a/../x"}, {"temperature": -1}]
SETTINGS += [{"extra_body": {"api_key": "abc"}}, {"extra_body": {"provider": [{"authToken": "abc"}]}}]


@pytest.mark.parametrize("settings", [*SETTINGS, *({"extra_headers": headers} for headers in HEADERS)], ids=str)
def test_settings_that_cannot_be(settings: Mapping[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # pydantic's
        JudgeRequest(**settings)


def test_a_request_that_holds_the_key_is_refused(store: ResponseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-Xf81kQz0Wb37Lt")
    for fields in ({"extra_headers": {"X-Route": "sk-Xf81kQz0Wb37Lt"}}, {"extra_body": {"user": "sk-Xf81kQz0Wb37Lt"}}):
        with pytest.raises(ConfigError, match=r"judge\.request holds the key itself"):
            ServedEngine("m@http://127.0.0.1:1/v1", store=store, request=JudgeRequest(**fields))


def test_a_judge_with_a_name_is_the_same_at_another_address(store: ResponseStore) -> None:
    request = JudgeRequest(name="my-judge")
    for n_asked in (1, 0):
        with scripted_server(lambda a: said("fine")) as server:
            engine = ServedEngine(f"m@{server.url}", store=store, limits=FAST, request=request)
            assert len(written(engine, [ask("a")])) == 1
            assert len(server.asked) == n_asked


def test_azure(store: ResponseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE", "0123456789abcdef")
    base = "https://x.openai.azure.com/openai/deployments/gpt-4o"
    spec = parse_spec(f"openai:gpt-4o@{base}/chat/completions?api-version=2024-10-21#AZURE")
    assert spec.name == f"openai:gpt-4o@{base}?api-version=2024-10-21"
    assert parse_spec(spec.name).name == spec.name
    assert spec.url("/chat/completions") == f"{base}/chat/completions?api-version=2024-10-21"
    assert spec.headers() == {"api-key": "0123456789abcdef"}
    monkeypatch.setenv("AZURE", "eyJ0.eyJ1.c2ln")
    assert spec.headers() == {"Authorization": "Bearer eyJ0.eyJ1.c2ln"}
    assert spec.headers({"authorization": "Token ${AZURE}"}) == {"authorization": "Token eyJ0.eyJ1.c2ln"}
    for query in ("api-version=1&key=s3cret", "key=s3cret", "api-version=s3 cret", ""):
        with pytest.raises(ConfigError) as found:
            parse_spec(f"openai:gpt-4o@{base}?{query}#AZURE")
        assert "s3" not in str(found.value)
    monkeypatch.setenv("AZURE", "0123456789abcdef")
    with scripted_server(lambda a: said("fine")) as server:
        engine = ServedEngine(f"gpt-4o@{server.url}?api-version=2024-10-21#AZURE", store=store, limits=FAST)
        assert len(written(engine, [ask("a")])) == 1
        assert server.asked[0].path == "/v1/chat/completions?api-version=2024-10-21"
        assert server.asked[0].headers["api-key"] == "0123456789abcdef"
        assert "authorization" not in server.asked[0].headers


# --- prompts that a server cuts


def test_silently_cut_prompts_are_told(store: ResponseStore) -> None:
    def script(asked: Asked) -> Answer:
        status, body = said("fine")
        return status, body | {
            "usage": {"prompt_tokens": min(2048, asked.number * 0 + len(str(asked.body)) // 4), "completion_tokens": 1}
        }

    with scripted_server(script) as server:
        engine = ServedEngine(f"m@{server.url}", store=store, limits=FAST)
        written(engine, [ask(f"r{i}", chat("word " * 1000)) for i in range(3)])
        assert engine.take_notes() == ()
        written(engine, [ask(f"long{i}", chat(f"{i} " + "word " * 5000)) for i in range(3)])
    (note,) = engine.take_notes()
    assert "may have cut 3 prompts: of one of 25,002 bytes it counted 2,048 tokens" in note
    replay = ServedEngine(f"m@{server.url}", store=store, replay=True)
    written(replay, [ask("long0", chat("0 " + "word " * 5000))])
    assert "may have cut 1 prompts" in replay.take_notes()[0]


# --- limits per minute


class Window:
    """Lets so many requests through in each window of seconds, and refuses the others with 429."""

    def __init__(self, most: int, seconds: float) -> None:
        self.most, self.seconds, self.lock = most, seconds, threading.Lock()
        self.passed: list[float] = []
        self.refused = 0

    def __call__(self, asked: Asked) -> Answer:
        with self.lock:
            now = time.monotonic()
            self.passed = [at for at in self.passed if now - at < self.seconds]
            if len(self.passed) >= self.most:
                self.refused += 1
                return error("Rate limit reached for requests per minute (RPM).", 429, code="rate_limit_exceeded")
            self.passed.append(now)
        return said("fine")


@pytest.mark.slow
def test_80_calls_at_30_a_minute_end_80_of_80(store: ResponseStore) -> None:
    """A minute takes 1 s here, and so does everything that waits: a sixtieth of what it is by default."""
    usual = Limits()
    quick = replace(usual, backoff=usual.backoff / 60, max_wait=usual.max_wait / 60, patience=usual.patience / 60)
    window = Window(30, 1.0)
    with scripted_server(window, latency=0.005) as server:
        engine = ServedEngine(f"m@{server.url}", store=store, limits=quick)
        found = written(engine, [ask(f"r{i}") for i in range(80)])
    assert len(found) == 80
    assert engine.failures == {}
    assert engine.calls.sent == 80 + window.refused
    assert window.refused < 160  # 330 without adaptation


def test_a_server_that_lets_nothing_through_is_told_in_time(store: ResponseStore) -> None:
    limits = Limits(backoff=0.01, max_wait=0.1, patience=0.4)
    with scripted_server(lambda a: error("Too many requests", 429)) as server:
        engine = ServedEngine(f"m@{server.url}", store=store, limits=limits, concurrency=4)
        start = time.monotonic()
        with pytest.raises(EngineError, match=r"lets no call through.*Too many requests.*--concurrency"):
            written(engine, [ask(f"r{i}") for i in range(50)])
        assert time.monotonic() - start < 5
        assert len(server.asked) < 60


@pytest.mark.slow
def test_a_refusal_halves_the_turns_and_each_round_of_answers_adds_one() -> None:
    async def turns(pace: Pace) -> int:
        """How many are given at once, when no pause is left; all are ended again."""
        asked = [asyncio.create_task(pace.begin()) for _ in range(40)]
        await asyncio.sleep(0.2)
        given = sum(task.done() for task in asked)
        for task in asked:
            if task.done():
                pace.end()
            task.cancel()
        await asyncio.sleep(0)
        return given

    async def course() -> list[int]:
        pace = Pace(16, backoff=0.001, max_wait=0.01)
        counts = [await turns(pace)]
        began = await pace.begin()
        pace.refused(began, None)
        pace.refused(began, None)  # of the same moment: counted once
        pace.end()
        counts.append(await turns(pace))
        for _ in range(9):
            pace.answered()
        counts.append(await turns(pace))
        for _ in range(400):
            pace.answered()
        return [*counts, await turns(pace)]

    assert asyncio.run(course()) == [16, 8, 9, 16]


@pytest.mark.slow
def test_fewer_calls_are_under_way_after_a_refusal(store: ResponseStore) -> None:
    under_way, most, lock = [0], Counter[str](), threading.Lock()

    def script(asked: Asked) -> Answer:
        with lock:
            under_way[0] += 1
            phase = "first" if asked.number < 16 else "then" if 40 <= asked.number < 50 else "later"
            most[phase] = max(most[phase], under_way[0])
        time.sleep(0.02)
        with lock:
            under_way[0] -= 1
        return error("slow down", 429) if 8 <= asked.number < 32 else said("fine")

    with scripted_server(script) as server:
        limits = Limits(backoff=0.01, max_wait=0.05)
        engine = ServedEngine(f"m@{server.url}", store=store, limits=limits, concurrency=16)
        assert len(written(engine, [ask(f"r{i}") for i in range(200)])) == 200
    assert most["first"] <= 16
    assert most["then"] <= 9


# --- what the operating system does not give


def test_an_error_of_any_kind_in_the_writer_ends_the_call_with_its_reason(
    store: ResponseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(store, "put", fails)
    with scripted_server(lambda a: said("fine")) as server:
        engine = ServedEngine(f"m@{server.url}", store=store, limits=FAST, concurrency=4)
        with pytest.raises(EngineError, match=r"could not be kept.*Too many open files"):
            written(engine, [ask(f"r{i}") for i in range(100)])
        assert len(server.asked) < 50


CLIENT = """
import resource, sys
from pathlib import Path
import aiohttp, asyncio, sqlite3, concurrent.futures
from selfreward_bench.engines.base import GenerationRequest
from selfreward_bench.engines.served import Limits, ServedEngine
from selfreward_bench.storage.responses import ResponseStore
from selfreward_bench.types import Message

files = int(sys.argv[3])
store = ResponseStore(Path(sys.argv[2]))
resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
engine = ServedEngine(sys.argv[1], store=store, limits=Limits(concurrency=256, attempts=3, backoff=0.05))
requests = [GenerationRequest(f"r{i}", (Message(role="user", content=f"Say {i}"),)) for i in range(300)]
print(sum(len(batch) for batch in engine.generate(requests)), engine.take_notes())
"""


@pytest.mark.slow
@pytest.mark.parametrize("files", [256, 80])
def test_calls_at_once_are_bounded_by_the_files_that_may_be_open(tmp_path: Path, files: int) -> None:
    with scripted_server(lambda a: said("fine"), latency=0.05) as server:
        command = [sys.executable, "-c", CLIENT, f"m@{server.url}", str(tmp_path / "r.sqlite"), str(files)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("300 "), done.stderr
    assert "this process may open no more files (ulimit -n)" in done.stdout


def test_the_files_that_may_still_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (200, 200))
    left = served_pace.open_files_left()
    assert left is not None
    assert 1 <= left < 150
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert served_pace.open_files_left() is None


@pytest.mark.slow
def test_a_silent_server_is_told_after_the_time_that_is_set(store: ResponseStore) -> None:
    with scripted_server(lambda a: said("late"), latency=5) as server:
        limits = Limits(backoff=0.01, read_timeout=0.3, total_timeout=1)
        engine = ServedEngine(f"m@{server.url}", store=store, limits=limits, concurrency=2)
        start = time.monotonic()
        with pytest.raises(EngineError, match=r"does not answer: 2 times silent for 0\.3 s.*eval\.served_timeout"):
            written(engine, [ask(f"r{i}") for i in range(10)])
        assert time.monotonic() - start < 3


def test_choices_and_texts_of_one_server_are_asked_for_alike(store: ResponseStore) -> None:
    """What a server refuses in a text it refuses in a choice, too."""

    def script(asked: Asked) -> Answer:
        if "temperature" in asked.body:
            return error("temperature is not supported", param="temperature")
        return said("m", **first(("m", -0.1), ("M", -3.0)))

    with scripted_server(script) as server:
        engine = ServedEngine(f"m@{server.url}", store=store, limits=FAST, concurrency=1)
        written(engine, [ask("a")])
        judged(engine, [ChoiceRequest("b", chat("x"), ("m", "M"))])
        assert [json.dumps("temperature" in a.body) for a in server.asked] == ["true", "false", "false"]
