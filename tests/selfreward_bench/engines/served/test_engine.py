"""Served models: faults do not change results, nothing is paid for twice, refusals are no answers, keys stay secret."""

from __future__ import annotations

import gc
import logging
import math
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator, Sequence
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from selfreward_bench.config import EngineConfig
from selfreward_bench.engines import open_engine
from selfreward_bench.engines.base import ChoiceLogprobs, ChoiceRequest, GenerationRequest
from selfreward_bench.engines.served import Limits, ServedEngine, parse_spec
from selfreward_bench.engines.served.engine import CallCounts
from selfreward_bench.engines.served.faults import parse_retry_after
from selfreward_bench.errors import ConfigError, DataError, EngineError
from selfreward_bench.prices import Budget, Price, PriceTable
from selfreward_bench.storage.records import Made
from selfreward_bench.storage.responses import ResponseStore
from selfreward_bench.types import Completion, Message

from ....fake_server import fake_server, request_hash
from ....transformers_server import MICRO, STORIES, transformers_server

FAST = Limits(attempts=6, backoff=0.01, max_wait=0.5, read_timeout=5, total_timeout=10)
FAULTS = {"429": 0.06, "500": 0.04, "502": 0.02, "503": 0.03, "reset": 0.05, "truncated": 0.04, "garbage": 0.03}
FAULTS |= {"empty": 0.03}  # 30% in all


def chat(text: str, system: str = "") -> tuple[Message, ...]:
    return (*((Message(role="system", content=system),) if system else ()), Message(role="user", content=text))


def judgments(count: int) -> list[ChoiceRequest]:
    return [ChoiceRequest(f"j{i}", chat(f"Which is better, {i}?", "Say m or M."), ("m", "M")) for i in range(count)]


def ask(name: str, prompt: tuple[Message, ...] | str = "", n: int = 1, **options: Any) -> GenerationRequest:
    return GenerationRequest(id=name, prompt=prompt or chat(f"Say {name}"), n=n, seeds=tuple(range(n)), **options)


def judged(engine: ServedEngine, requests: Sequence[ChoiceRequest]) -> dict[str, ChoiceLogprobs]:
    return {answer.id: answer for batch in engine.choice_logprobs(requests) for answer in batch}


def written(engine: ServedEngine, requests: Sequence[GenerationRequest]) -> list[Completion]:
    return sorted((c for batch in engine.generate(requests) for c in batch), key=lambda c: c.id)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ResponseStore]:
    made = ResponseStore(tmp_path / "store" / "responses.sqlite")
    yield made
    made.close()


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


# --- names and keys


@pytest.mark.parametrize(
    ("text", "model", "url", "variable"),
    [
        ("openai:gpt-4o@https://api.openai.com/v1", "gpt-4o", "https://api.openai.com/v1", None),
        ("org/m@1@http://localhost:8000/v1/", "org/m@1", "http://localhost:8000/v1", None),
        ("openai:m@http://[::1]:80/v1/chat/completions#MY_KEY", "m", "http://[::1]:80/v1", "MY_KEY"),
    ],
)
def test_a_served_model_is_named_by_model_url_and_variable(
    text: str, model: str, url: str, variable: str | None
) -> None:
    spec = parse_spec(text)
    assert (spec.model, spec.base_url, spec.key_variable) == (model, url, variable)
    assert parse_spec(spec.name).name == spec.name


@pytest.mark.parametrize(
    "text",
    [
        "openai:gpt-4o",
        "openai:@http://h/v1",
        "openai:m@ftp://h/v1",
        "openai:m@https://user:s3cret@h/v1",
        "openai:m@https://h/v1?key=s3cret",
        "openai:m@https://h/v1#s3cret-key",
        "openai:m@https://h:port/v1",
    ],
)
def test_other_names_are_refused_and_no_key_is_shown(text: str) -> None:
    with pytest.raises(ConfigError, match="openai:NAME@URL") as error:
        parse_spec(text)
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("text", ["openai:m@http://127.0.0.1:1/{}/v1", "openai:{}@https://h/v1", "m@https://{}.h/v1"])
@pytest.mark.parametrize(("variable", "named"), [("OPENAI_API_KEY", ""), ("MINE", "#MINE")])
def test_a_name_that_holds_the_key_is_refused(
    monkeypatch: pytest.MonkeyPatch, text: str, variable: str, named: str
) -> None:
    monkeypatch.setenv(variable, "sk-Xf81kQz0Wb37Lt")
    with pytest.raises(ConfigError, match="holds the key itself") as error:
        parse_spec(text.format("sk-Xf81kQz0Wb37Lt") + named)
    assert "Xf81" not in str(error.value)


def test_which_key_goes_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-default\n")
    assert parse_spec("m@https://h/v1").key() == "sk-default"
    assert parse_spec("m@http://127.0.0.1:1/v1").key() == "sk-default"
    assert parse_spec("m@http://h/v1").key() is None  # in the clear over the network: only when named
    monkeypatch.setenv("MINE", "other")
    assert parse_spec("m@http://h/v1#MINE").key() == "other"
    with pytest.raises(ConfigError, match="NOT_SET"):
        parse_spec("m@http://h/v1#NOT_SET").key()
    monkeypatch.setenv("MINE", "two words")
    with pytest.raises(ConfigError) as error:
        parse_spec("m@http://h/v1#MINE").key()
    assert "two words" not in str(error.value)


def test_the_key_is_sent_and_shown_nowhere(
    store: ResponseStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MINE", "sk-s3cret")
    caplog.set_level(logging.DEBUG)
    with fake_server(key="sk-s3cret", faults={"400": 0.5}, max_faults=99) as server:
        engine = ServedEngine(f"openai:m@{server.url}#MINE", store=store, limits=FAST)
        answered = judged(engine, judgments(40))
        assert answered
        assert engine.failures
        monkeypatch.setenv("MINE", "sk-wr0ng")
        wrong = ServedEngine(f"openai:m@{server.url}#MINE", store=store, limits=FAST)
        with pytest.raises(EngineError, match=r"HTTP 401.*MINE") as error:
            judged(wrong, [ChoiceRequest("new", chat("new"), ("m",))])
        with pytest.raises(EngineError, match="OPENAI_API_KEY"):
            judged(ServedEngine(f"m@{server.url}", store=store, limits=FAST), [ChoiceRequest("x", chat("x"), ("m",))])
    assert all("HTTP 400" in reason for reason in engine.failures.values())  # the server repeats the key in them
    kept = b"".join(path.read_bytes() for path in store.path.parent.iterdir())
    stored = [r.raw for r in store.get([row[0] for row in store._db.execute("SELECT key FROM responses")]).values()]
    shown = [str(error.value), repr(engine), repr(engine.spec), repr(engine._client), caplog.text]
    shown += [*engine.failures.values(), *(reason for _, reason in store.failures()), engine.name, repr(stored)]
    for secret in ("s3cret", "wr0ng"):
        assert secret not in "".join(shown)
        assert secret.encode() not in kept


# --- faults


@pytest.mark.slow
def test_with_faults_all_finish_with_the_same_results_and_nothing_is_asked_again(tmp_path: Path) -> None:
    requests = judgments(805)
    stores = [ResponseStore(tmp_path / f"{name}.sqlite") for name in ("calm", "rough")]
    with fake_server(latency=0.005) as calm, fake_server(latency=0.005, faults=FAULTS) as rough:
        expected = judged(ServedEngine(f"judge@{calm.url}", store=stores[0], limits=FAST), requests)
        engine = ServedEngine(f"judge@{rough.url}", store=stores[1], limits=FAST)
        found = judged(engine, requests)
        asked = rough.stats()["requests"]
        again = judged(engine, requests)
        assert rough.stats()["requests"] == asked
    assert len(expected) == 805
    assert found == expected
    assert engine.failures == {}
    assert again == found
    assert sum(r["asked"] for r in asked.values()) > 1.25 * 805  # the faults did happen
    assert all(r["answered"] == 1 and r["repeated"] == 0 for r in asked.values())
    for store in stores:
        store.close()


@pytest.mark.slow
def test_a_hanging_server_is_asked_again(store: ResponseStore) -> None:
    limits = Limits(backoff=0.01, read_timeout=0.4, total_timeout=5)
    with fake_server(faults={"hang": 1.0}, max_faults=1, hang_seconds=30) as server:
        engine = ServedEngine(f"judge@{server.url}", store=store, limits=limits)
        assert len(judged(engine, judgments(5))) == 5
        trickling = Limits(backoff=0.01, read_timeout=30, total_timeout=0.4)
        engine = ServedEngine(f"other@{server.url}", store=store, limits=trickling)
        assert len(judged(engine, judgments(5))) == 5


@pytest.mark.slow
def test_retry_after_is_honoured_in_seconds_and_as_a_date_and_bounded(store: ResponseStore) -> None:
    assert parse_retry_after(formatdate(time.time() + 30, usegmt=True), 60) == pytest.approx(29.5, abs=1)
    assert parse_retry_after(formatdate(time.time() - 30, usegmt=True), 60) == 0
    assert parse_retry_after("1e9", 60) == parse_retry_after("inf", 60) == 60
    assert parse_retry_after("nan", 60) is parse_retry_after("soon", 60) is parse_retry_after(None, 60) is None
    with fake_server(faults={"429": 1.0}, max_faults=1, retry_after="0.6") as server:
        limits = Limits(backoff=0.001, max_wait=30)
        assert judged(ServedEngine(f"judge@{server.url}", store=store, limits=limits), judgments(3))
        for request in server.stats()["requests"].values():
            first, second = request["times"]
            assert second - first >= 0.6


def test_attempts_are_bounded_and_the_reason_is_told(store: ResponseStore) -> None:
    limits = Limits(attempts=3, backoff=0.001, max_wait=0.01)
    with fake_server(faults={"503": 1.0}, max_faults=99) as server:
        engine = ServedEngine(f"judge@{server.url}", store=store, limits=limits)
        assert judged(engine, judgments(2)) == {}
        assert [r["asked"] for r in server.stats()["requests"].values()] == [3, 3]
        assert engine.calls.sent == 6
    assert set(engine.failures) == {"j0", "j1"}
    assert engine.failures["j0"].startswith("failed: no usable answer in 3 attempts, last: HTTP 503")
    assert len(store) == 0
    assert len(store.failures()) == 2


def test_a_server_that_stops_answering_stops_the_call(store: ResponseStore) -> None:
    limits = Limits(attempts=2, backoff=0.001, max_wait=0.01, concurrency=4)
    with fake_server(faults={"503": 1.0}, max_faults=99) as server:
        engine = ServedEngine(f"judge@{server.url}", store=store, limits=limits)
        with pytest.raises(EngineError, match="stopped answering"):
            judged(engine, judgments(100))
        assert len(server.stats()["requests"]) < 20


def test_no_server_at_all_is_said_soon(store: ResponseStore) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    engine = ServedEngine(f"judge@http://127.0.0.1:{port}/v1", store=store, limits=FAST)
    with pytest.raises(EngineError, match=f"Nothing answers at http://127.0.0.1:{port}/v1"):
        judged(engine, judgments(50))


@pytest.mark.parametrize(
    ("status", "said"), [("403", "key"), ("404", "model's name"), ("402", "used up"), ("307", "final URL")]
)
def test_refusals_that_meet_every_request_stop_at_once(store: ResponseStore, status: str, said: str) -> None:
    with fake_server(faults={status: 1.0}, max_faults=999) as server:
        engine = ServedEngine(f"judge@{server.url}", store=store, limits=FAST, concurrency=2)
        with pytest.raises(EngineError, match=rf"HTTP {status}.*{said}"):
            judged(engine, judgments(50))
        assert len(server.stats()["requests"]) < 10


def test_one_bad_request_fails_alone(store: ResponseStore) -> None:
    with fake_server(faults={"400": 0.2}, max_faults=99) as server:
        engine = ServedEngine(f"judge@{server.url}", store=store, limits=FAST)
        found = judged(engine, judgments(50))
        assert all(r["asked"] == 1 for r in server.stats()["requests"].values())
    assert 0 < len(engine.failures) < 50
    assert set(found) | set(engine.failures) == {f"j{i}" for i in range(50)}
    assert all(reason.startswith("failed: HTTP 400: fault 400") for reason in engine.failures.values())


def test_a_response_without_end_is_cut(store: ResponseStore) -> None:
    with fake_server(faults={"huge": 1.0}, max_faults=99) as server:
        limits = Limits(max_response_bytes=2**20)
        engine = ServedEngine(f"judge@{server.url}", store=store, limits=limits)
        assert judged(engine, judgments(1)) == {}
    assert engine.failures == {"j0": "failed: the answer has more than 1,048,576 bytes"}


# --- what an answer says


def test_text_answers(store: ResponseStore) -> None:
    replies = {"count": "one two three STOP four", "odd": "half \ud800"}
    with fake_server(replies=replies) as server:
        engine = ServedEngine(f"openai:judge@{server.url}", store=store, limits=FAST)
        requests = [
            ask("a", n=3, temperature=0.7),
            ask("count", stop=("STOP", "four")),
            ask("odd"),
            ask("text", "Once upon"),
        ]
        found = {c.id: c for c in written(engine, requests)}
        stats = server.stats()
    assert set(found) == {"a/0", "a/1", "a/2", "count/0", "odd/0", "text/0"}
    assert len({found[f"a/{k}"].text for k in range(3)}) == 3
    assert found["a/2"].seed == 2
    assert (found["count/0"].text, found["count/0"].finish_reason) == ("one two three ", "stop")
    assert found["odd/0"].text == "half \ufffd"
    assert found["text/0"].text.startswith("Answer")
    assert engine.snapshot == "judge-2024"
    assert engine.calls.sent == len(stats["requests"]) == 6
    assert engine.usage.completion_tokens == sum(c.n_tokens for c in found.values())
    assert "authorization" not in stats["headers"]


def test_system_messages_and_parameters_are_passed_on(store: ResponseStore) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    body = {"model": "judge", "messages": messages, "max_tokens": 7, "temperature": 0.7, "top_p": 0.9, "seed": 5}
    with fake_server() as server:
        engine = ServedEngine(f"openai:judge@{server.url}", store=store, limits=FAST)
        options: dict[str, Any] = {"temperature": 0.7, "top_p": 0.9, "max_new_tokens": 7}
        written(engine, [GenerationRequest("a", chat("hi", "Be brief."), seeds=(2**31 + 5,), stop=("x",), **options)])
        written(engine, [GenerationRequest("b", chat("hi"), temperature=0, n=2)])
        asked = server.stats()["requests"]
    assert request_hash(body | {"stop": ["x"]}) in asked
    greedy = {"model": "judge", "messages": messages[1:], "max_tokens": 256, "temperature": 0}
    assert asked[request_hash(greedy)]["asked"] == 2  # two samples are two answers, also where they cannot differ


def test_equal_requests_are_asked_once(store: ResponseStore) -> None:
    with fake_server() as server:
        engine = ServedEngine(f"judge@{server.url}", store=store, limits=FAST)
        same = [ChoiceRequest(name, chat("same"), ("m", "M")) for name in "abc"]
        found = judged(engine, same)
        assert [r["asked"] for r in server.stats()["requests"].values()] == [1]
    assert len({answer.logprobs for answer in found.values()}) == 1
    assert set(found) == {"a", "b", "c"}


def test_only_so_many_requests_are_held_and_all_are_answered_once(
    store: ResponseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bodies of a million judgments would take gigabytes: requests are made when they are asked."""
    monkeypatch.setattr("selfreward_bench.engines.served.engine._REQUESTS_PER_LOOKUP", 4)
    monkeypatch.setattr("selfreward_bench.engines.served.engine._REQUESTS_HELD", 8)
    living: set[int] = set()
    most = 0

    def made(at: int) -> GenerationRequest:
        nonlocal most
        prompt = chat(f"Say {at % 30}")  # of ten it is asked twice
        living.add(id(prompt[0]))
        weakref.finalize(prompt[0], living.discard, id(prompt[0]))
        most = max(most, len(living))
        return ask(f"q{at:02}", prompt, n=2, temperature=0.7)

    with fake_server() as server:
        engine = ServedEngine(f"judge@{server.url}", store=store, limits=FAST)
        list(engine.generate([made(at) for at in (3, 5)]))
        found = written(engine, Made(40, made))
        assert [c.prompt_id for c in found] == sorted(f"q{at:02}" for at in range(40) for _ in range(2))
        assert engine.calls == CallCounts(sent=60, from_store=2 * 4)
        assert [r["asked"] for r in server.stats()["requests"].values()] == [1] * 60
    assert most <= 20


@pytest.mark.slow
def test_refused_cut_and_missing_answers_are_told_apart(store: ResponseStore) -> None:
    for kind in ("filtered", "refusal", "length", "null"):
        with fake_server(faults={kind: 1.0}, max_faults=99) as server:
            engine = ServedEngine(f"{kind}@{server.url}", store=store, limits=FAST)
            found = written(engine, [ask("a")])
            again = written(engine, [ask("a")])
            sent = next(iter(server.stats()["requests"].values()))["asked"]
        assert again == found
        if kind == "length":
            assert [c.finish_reason for c in found] == ["length"]
        elif kind == "null":
            assert engine.failures["a"].startswith("failed: no usable answer")
            assert (found, sent) == ([], 2 * FAST.attempts)
        else:
            assert (found, engine.failures, sent) == ([], {"a": "refused"}, 1)  # stored: refused without asking again
    assert len(store) == 3


def test_a_request_is_answered_whole_or_not_at_all(store: ResponseStore) -> None:
    with fake_server(faults={"400": 0.5}, max_faults=99) as server:
        engine = ServedEngine(f"judge@{server.url}", store=store, limits=FAST)
        found = written(engine, [ask(f"r{i}", n=3) for i in range(20)])
    counts = {name: sum(c.prompt_id == name for c in found) for name in {c.prompt_id for c in found}}
    assert set(counts.values()) == {3}
    assert set(counts) | set(engine.failures) == {f"r{i}" for i in range(20)}
    assert not set(counts) & set(engine.failures)
    assert len(store) > len(found)  # the other samples of failed requests are kept


def test_choices_are_matched_as_whole_tokens(store: ResponseStore) -> None:
    requests = [ChoiceRequest("a", chat("x"), ("m", "M", "never"))]
    with fake_server() as server:
        engine = ServedEngine(f"judge@{server.url}", store=store, limits=FAST)
        (answer,) = judged(engine, requests).values()
        (older,) = judged(engine, [ChoiceRequest("t", "plain text", ("m", "M"))]).values()
    assert math.exp(answer.logprobs[0]) + math.exp(answer.logprobs[1]) == pytest.approx(0.9)  # " m" is not "m"
    assert answer.logprobs[2] == -math.inf
    assert math.exp(older.logprobs[0]) + math.exp(older.logprobs[1]) == pytest.approx(0.9)


@pytest.mark.slow  # alpaca_eval takes long to import
@pytest.mark.filterwarnings("ignore:pkg_resources is deprecated")  # alpaca_eval imports it
def test_choices_agree_with_alpaca_evals_own_parser() -> None:
    from alpaca_eval.completion_parsers import logprob_parser

    from selfreward_bench.engines.served.answers import choice_scores

    tops: list[list[tuple[str, float]]] = [
        [("m", -1.3), ("M", -2.4), (" m", -0.5)],
        [("M", -0.2), ("The", -2.0)],
        [("m", -3.0), ("m", -0.5), ("M", -1.0)],
    ]
    for top in tops:
        content = [{"token": top[0][0], "top_logprobs": [{"token": t, "logprob": p} for t, p in top]}]
        choice = {"finish_reason": "length", "message": {"content": "m"}, "logprobs": {"content": content}}
        (scores,) = choice_scores(ChoiceRequest("a", "x", ("m", "M")), [{"choices": [choice]}], len)
        m, big = (math.exp(value) for value in scores.logprobs)
        (theirs,) = logprob_parser(choice, "m", ["m", "M"], is_binarize=False)
        assert 2 - m / (m + big) == pytest.approx(theirs)


def test_a_verdict_that_is_none_of_the_choices_has_no_probability(store: ResponseStore) -> None:
    with fake_server(faults={"babble": 1.0}, max_faults=99) as server:
        engine = ServedEngine(f"judge@{server.url}", store=store, limits=FAST)
        (answer,) = judged(engine, [ChoiceRequest("a", chat("x"), ("m", "M"))]).values()
    assert answer.logprobs == (-math.inf, -math.inf)


@pytest.mark.slow
def test_a_server_without_log_probabilities_is_found_out(store: ResponseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfreward_bench.engines.served.engine._REQUESTS_HELD", 150)
    with fake_server(faults={"no_logprobs": 1.0}, max_faults=99, latency=0.1) as server:
        engine = ServedEngine(f"judge@{server.url}", store=store, limits=FAST, concurrency=4)
        assert judged(engine, judgments(200)) == {}
        assert len(server.stats()["requests"]) < 100
    assert engine.failures == dict.fromkeys((f"j{i}" for i in range(200)), "no_logprobs")
    assert len(store) == 0  # asked again the next time, perhaps of a server that has them


def test_what_servers_cannot_do_is_refused_before_the_first_call(store: ResponseStore) -> None:
    engine = ServedEngine("judge@http://127.0.0.1:9/v1", store=store)
    with pytest.raises(EngineError, match="begin its turn"):
        engine.choice_logprobs([ChoiceRequest("a", chat("x"), ("1",), assistant_prefix="Score:")])
    with pytest.raises(EngineError, match="min_new_tokens"):
        engine.generate([ask("a", min_new_tokens=2)])
    with pytest.raises(EngineError, match="unique"):
        engine.generate([ask("a"), ask("a")])
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.generate([ask("a")])


def test_no_text_completions_is_said(store: ResponseStore) -> None:
    with fake_server(text_completions=False) as server:
        engine = ServedEngine(f"judge@{server.url}", store=store, limits=FAST)
        with pytest.raises(EngineError, match="text prompts need /completions"):
            written(engine, [ask("a", "Once upon a time")])


def test_the_newer_name_of_the_token_limit(store: ResponseStore) -> None:
    """A model that wants max_completion_tokens says so; the engine adapts, and the store's keys stay as they are."""
    import json
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class Strict(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            bad = "max_tokens" in body
            said = {"error": {"message": "Unsupported: use 'max_completion_tokens'."}}
            good = {"model": "new", "choices": [{"message": {"content": f"{body.get('max_completion_tokens')}"}}]}
            content = json.dumps(said if bad else good).encode()
            self.send_response(400 if bad else 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Strict) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_address[1]}/v1"
            engine = ServedEngine(f"new@{url}", store=store, limits=FAST, concurrency=1)
            assert [c.text for c in written(engine, [ask("a", max_new_tokens=9), ask("b")])] == ["9", "256"]
            assert engine.calls.sent == 3
            assert engine.usage.prompt_tokens == 0  # the server did not count
        finally:
            server.shutdown()
            thread.join(5)


# --- store, replay, budget


def test_replay_gives_the_same_bytes_without_a_connection(
    store: ResponseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [ask(f"r{i}", n=2, temperature=0.7) for i in range(30)]
    with fake_server(faults=FAULTS) as server:
        spec = f"openai:judge@{server.url}"
        first = ServedEngine(spec, store=store, limits=FAST)
        expected = [c.model_dump_json() for c in written(first, requests)]
    monkeypatch.setattr(socket, "socket", None)  # nothing can connect now
    replay = ServedEngine(spec + "#NOT_SET_AND_NOT_NEEDED", store=store, replay=True)
    batches = list(replay.generate(requests))
    assert sorted(c.model_dump_json() for b in batches for c in b) == sorted(expected)
    assert list(replay.generate(requests)) == batches
    assert replay.snapshot == first.snapshot
    assert (replay.calls.sent, replay.calls.from_store, replay.spent) == (0, 120, 0)
    assert list(replay.generate([ask("new")])) == []
    assert replay.failures == {"new": "not_in_store"}


def test_what_is_done_is_not_asked(store: ResponseStore) -> None:
    with fake_server() as server:
        engine = ServedEngine(f"judge@{server.url}", store=store, limits=FAST)
        batches = list(engine.generate([ask("a"), ask("b")], done={"a"}))
        assert [c.id for b in batches for c in b] == ["b/0"]
        assert len(server.stats()["requests"]) == 1


def test_a_store_that_cannot_be_written_stops_the_call(store: ResponseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise DataError("disk full")

    monkeypatch.setattr(store, "put", full)
    with fake_server() as server:
        engine = ServedEngine(f"judge@{server.url}", store=store, limits=FAST, concurrency=4)
        with pytest.raises(DataError, match="disk full"):
            judged(engine, judgments(200))
        assert len(server.stats()["requests"]) < 100


@pytest.mark.slow
def test_closing_the_iterator_early_loses_nothing_that_was_yielded_or_is_stored(store: ResponseStore) -> None:
    requests = judgments(300)  # not all answered before it is closed
    with fake_server(latency=0.02) as server:
        engine = ServedEngine(f"judge@{server.url}", store=store, limits=FAST, concurrency=8)
        iterator = engine.choice_logprobs(requests)
        seen = len(next(iterator))
        del iterator
        gc.collect()
        stored = len(store)
        assert seen <= stored < 300
        until = time.monotonic() + 30
        while server.stats()["in_flight"] and time.monotonic() < until:  # what was given up
            time.sleep(0.01)
        assert len(judged(engine, requests)) == 300
        assert engine.calls.from_store == stored
        assert server.stats()["in_flight_max"] <= 8


def test_a_budget_stops_cleanly(store: ResponseStore) -> None:
    table = PriceTable(models={"judge": Price(prompt=0, completion=1e6)})  # 1 per completion token
    with fake_server(latency=0.01) as server:
        budget = Budget(table, max_cost=25)
        engine = ServedEngine(f"judge@{server.url}", store=store, budget=budget, limits=FAST)
        found = judged(engine, judgments(60))
        assert len(server.stats()["requests"]) == 25
        assert engine.failures == dict.fromkeys({f"j{i}" for i in range(60)} - set(found), "over_budget")
        assert (len(found), budget.spent, engine.spent, budget.uncertain) == (25, 25, 25, 0)
        more = ServedEngine(f"judge@{server.url}", store=store, budget=Budget(table, max_cost=100), limits=FAST)
        assert len(judged(more, judgments(60))) == 60
        assert (more.spent, more.calls.from_store) == (35, 25)  # what is stored costs nothing
    with pytest.raises(ConfigError, match=r"no price for 'other'.*prompt: 0.15"):
        ServedEngine(f"other@{server.url}", store=store, budget=budget)


def test_answers_that_broke_off_count_against_the_budget(store: ResponseStore) -> None:
    table = PriceTable(models={"judge": Price(prompt=0, completion=1e6)})
    budget = Budget(table, max_cost=10)
    with fake_server(faults={"truncated": 1.0}, max_faults=1) as server:
        engine = ServedEngine(f"judge@{server.url}", store=store, budget=budget, limits=FAST, concurrency=1)
        assert len(judged(engine, judgments(20))) == 5
    assert (budget.spent, budget.uncertain) == (5, 5)


def test_it_is_an_engine_like_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRBENCH_STORE", str(tmp_path / "default.sqlite"))
    with fake_server() as server:
        engine = open_engine(EngineConfig(kind="openai"), f"openai:judge@{server.url}")
        assert [c.id for batch in engine.generate([ask("a")]) for c in batch] == ["a/0"]
        assert engine.name == f"openai:judge@{server.url}"
        assert engine.count_tokens("12345678") == 2
        engine.close()
    assert (tmp_path / "default.sqlite").exists()


# --- kill -9

CLIENT = """
import sys
from pathlib import Path
from selfreward_bench.engines.base import ChoiceRequest
from selfreward_bench.engines.served import Limits, ServedEngine
from selfreward_bench.storage.records import Made
from selfreward_bench.storage.responses import ResponseStore
from selfreward_bench.types import Message

url, path, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
requests = [ChoiceRequest(f"j{i}", (Message(role="system", content="Say m or M."),
            Message(role="user", content=f"Which is better, {i}?")), ("m", "M")) for i in range(count)]
store = ResponseStore(path)
engine = ServedEngine(f"judge@{url}", store=store, limits=Limits(backoff=0.01, max_wait=0.5, concurrency=16))
for batch in engine.choice_logprobs(requests):
    print(len(store), flush=True)
"""


@pytest.mark.slow
def test_kill_9_five_times_then_finishing_gives_the_same(tmp_path: Path) -> None:
    requests = judgments(400)
    path = tmp_path / "killed.sqlite"
    kept: dict[str, int] = {}  # request hash -> how often it was asked when its answer was stored
    with fake_server() as calm, fake_server(latency=0.05, faults=FAULTS) as rough:
        calm_store = ResponseStore(tmp_path / "calm.sqlite")
        expected = judged(ServedEngine(f"judge@{calm.url}", store=calm_store, limits=FAST), requests)
        calm_store.close()
        for kill in range(1, 6):
            command = [sys.executable, "-c", CLIENT, rough.url, str(path), "400"]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
                assert client.stdout is not None
                for line in client.stdout:
                    if int(line) >= kill * 50:
                        break
                client.kill()
            store = ResponseStore(path)
            calls = [ServedEngine(f"judge@{rough.url}", store=store)._choice_calls(r)[0] for r in requests]
            stored = store.get([c.key for c in calls])
            asked = rough.stats()["requests"]
            hashes = [request_hash(c.body) for c in calls if c.key in stored]
            assert len(hashes) >= kill * 50
            kept |= {name: asked[name]["asked"] for name in hashes if name not in kept}
            store.close()
        store = ResponseStore(path)
        found = judged(ServedEngine(f"judge@{rough.url}", store=store, limits=FAST), requests)
        asked = rough.stats()["requests"]
        store.close()
    assert found == expected
    assert len(kept) < 400  # there was something left to do
    assert {name: asked[name]["asked"] for name in kept} == kept
    assert sum(r["repeated"] for r in asked.values()) <= 5 * 2 * 16  # at most what was under way at each kill


# --- a real server


@pytest.fixture(scope="module")
def real_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with transformers_server(tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.mark.slow
@pytest.mark.parametrize(
    "root",
    [
        pytest.param(MICRO, id="micro"),
        pytest.param(STORIES, id="stories260k", marks=pytest.mark.skipif(not STORIES.is_dir(), reason="no data")),
    ],
)
def test_a_real_server(root: Path, store: ResponseStore, real_server: str) -> None:
    """``transformers serve``: chat and text answers, no log-probabilities, no chat template in the second model."""
    limits = Limits(attempts=2, backoff=0.05, concurrency=2)
    engine = ServedEngine(f"openai:{root}@{real_server}", store=store, limits=limits)
    (text,) = written(engine, [ask("t", "Once upon a time", temperature=0, max_new_tokens=8)])
    assert 0 < text.n_tokens <= 8
    assert text.finish_reason == ("length" if text.n_tokens == 8 else "stop")
    assert engine.snapshot.startswith(str(root)[:100])
    if root == MICRO:
        answers = written(engine, [ask(f"c{i}", max_new_tokens=12) for i in range(4)])
        assert [c.id for c in answers] == ["c0/0", "c1/0", "c2/0", "c3/0"]
        assert judged(engine, judgments(2)) == {}
        assert engine.failures == {"j0": "no_logprobs", "j1": "no_logprobs"}
    else:
        assert text.text.strip().startswith(", there was a little girl")
        assert text.finish_reason == "length"
        assert written(engine, [ask("c")]) == []
        assert engine.failures["c"].startswith("failed:")
