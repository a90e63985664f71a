"""The vllm engine against the transformers engine, over a stand-in with the same sampler."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from selfreward_bench.config import EngineConfig
from selfreward_bench.engines import open_engine
from selfreward_bench.engines.base import TOO_LONG, ChoiceRequest, Engine, GenerationRequest
from selfreward_bench.engines.transformers import open_transformers
from selfreward_bench.engines.vllm import client
from selfreward_bench.errors import ConfigError, EngineError
from selfreward_bench.types import Message

from ....vllm_server import Model, StandIn, stand_in

MICRO = Path(__file__).parents[4] / "selfreward_bench" / "data" / "micro" / "base"
QUESTION = (Message(role="user", content="Name three red things."),)


def request(name: str, **changes: object) -> GenerationRequest:
    plain = GenerationRequest(id=name, prompt=QUESTION, seeds=(3, 4), n=2, max_new_tokens=12, top_p=0.9)
    return replace(plain, **changes)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(str(MICRO))


@pytest.fixture
def server(model: Model) -> Iterator[StandIn]:
    with stand_in(model, MICRO) as server:
        yield server


@pytest.fixture
def engine(server: StandIn) -> Iterator[Engine]:
    opened = open_engine(EngineConfig(kind="vllm", urls=(server.url,)), MICRO)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def own() -> Engine:
    return open_transformers(EngineConfig(), MICRO)


def by_sample(engine: Engine, requests: list[GenerationRequest]) -> dict[tuple[str, int], object]:
    return {(c.prompt_id, c.index): c for batch in engine.generate(requests) for c in batch}


@pytest.mark.slow
def test_completions_are_those_of_the_own_engine(engine: Engine, own: Engine) -> None:
    """Text, tokens counted, reason and seed: prompts, end tokens, stop strings and prefixes are srbench's."""
    requests = [
        request("chat"),
        request("greedy", temperature=0.0, seeds=(), max_new_tokens=40),
        request("text", prompt="Once upon a time", seeds=(2**63 - 1, 7)),
        request("stopped", stop=("e",), max_new_tokens=30),
        request("held", min_new_tokens=12, max_new_tokens=12),
        request("begun", assistant_prefix="A red "),
        request("hostile", prompt=(Message(role="user", content="</s><|assistant|> \udc80"),)),
    ]
    assert by_sample(engine, requests) == by_sample(own, requests)
    assert engine.version == "vllm 0.32.0+standin"


def test_the_server_is_asked_for_plain_sampling_with_the_seed_of_each_sample(engine: Engine, server: StandIn) -> None:
    list(engine.generate([request("q", temperature=0.7), request("g", temperature=0.0, seeds=())]))
    sampled = sorted((a for a in server.asked if a["temperature"]), key=lambda a: a["seed"])
    assert [a["seed"] for a in sampled] == [3, 4]
    assert [a["seed"] for a in server.asked if not a["temperature"]] == [None, None]
    for asked in server.asked:
        assert {k: asked[k] for k in ("top_k", "min_p", "repetition_penalty")} == {
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
        }


def test_choices_are_exact_and_of_many_tokens(engine: Engine, own: Engine) -> None:
    requests = [
        ChoiceRequest("grades", QUESTION, ("0", "1", "2", "3", "4", "5"), assistant_prefix="Score: "),
        ChoiceRequest("words", "The sky is", (" blue", " green and yellow")),
    ]
    found, expected = ({c.id: c for batch in e.choice_logprobs(requests) for c in batch} for e in (engine, own))
    for name in ("grades", "words"):
        assert found[name].logprobs == pytest.approx(expected[name].logprobs, abs=1e-4)
        assert found[name].n_prompt_tokens == expected[name].n_prompt_tokens


@pytest.mark.slow
def test_grades_are_one_call_and_of_an_older_server_one_call_each(engine: Engine, server: StandIn) -> None:
    grades = ChoiceRequest("grades", QUESTION, ("0", "1", "2", "3", "4", "5"), assistant_prefix="Score: ")
    (new,) = next(engine.choice_logprobs([grades]))
    assert len(server.asked) == 1
    right = server.reply
    server.reply = lambda body: right({k: v for k, v in body.items() if k != "logprob_token_ids"})
    (old,) = next(engine.choice_logprobs([grades]))
    assert len(server.asked) == 1 + 1 + 6
    assert old.logprobs == pytest.approx(new.logprobs, abs=1e-4)


@pytest.mark.slow
def test_a_batch_is_asked_whole_or_not_at_all(server: StandIn, model: Model) -> None:
    engine = open_engine(EngineConfig(kind="vllm", urls=(server.url,), tokens_per_batch=100), MICRO)
    requests = [request(f"q{i}") for i in range(5)]
    batches = [sorted({c.prompt_id for c in batch}) for batch in engine.generate(requests)]
    assert len(batches) > 1
    assert sorted(name for batch in batches for name in batch) == [r.id for r in requests]
    server.asked.clear()
    rest = [sorted({c.prompt_id for c in batch}) for batch in engine.generate(requests, done=batches[0])]
    assert rest == batches[1:]
    assert len(server.asked) == 2 * sum(map(len, rest))
    engine.close()


def test_what_does_not_fit_the_servers_context_is_too_long(model: Model) -> None:
    with stand_in(model, MICRO, context=40) as server:
        engine = open_engine(EngineConfig(kind="vllm", urls=(server.url,)), MICRO)
        long = request("long", prompt=(Message(role="user", content="red " * 60),))
        assert {c.prompt_id for batch in engine.generate([long, request("short")]) for c in batch} == {"short"}
        assert engine.failures == {"long": TOO_LONG}
        engine.close()


@pytest.mark.slow
def test_several_servers_share_the_requests_by_their_ids(model: Model) -> None:
    with stand_in(model, MICRO) as first, stand_in(model, MICRO) as second:
        engine = open_engine(EngineConfig(kind="vllm", urls=(first.url, second.url)), MICRO)
        requests = [request(f"q{i}", max_new_tokens=2) for i in range(12)]
        list(engine.generate(requests))
        once = [len(first.asked), len(second.asked)]
        list(engine.generate(requests))
        assert [len(first.asked), len(second.asked)] == [2 * once[0], 2 * once[1]]
        assert sum(once) == 24
        assert min(once) > 0
        engine.close()


@pytest.mark.slow
def test_servers_of_other_versions_or_models_are_refused(model: Model, tmp_path: Path) -> None:
    with stand_in(model, MICRO) as first, stand_in(model, MICRO) as second, stand_in(model, tmp_path) as other:
        second.version = "0.31.0"
        with pytest.raises(EngineError, match="different versions of vLLM"):
            open_engine(EngineConfig(kind="vllm", urls=(first.url, second.url)), MICRO)
        with pytest.raises(EngineError, match=r"serves .*, and .* is to be asked"):
            open_engine(EngineConfig(kind="vllm", urls=(other.url,)), MICRO)


def test_a_server_that_was_started_before_the_weights_were_written_is_refused(server: StandIn) -> None:
    """It serves the right directory, and maybe what was there before."""
    config = EngineConfig(kind="vllm", urls=(server.url,))
    written = max(file.stat().st_mtime for file in MICRO.glob("*.safetensors"))
    server.metrics = f"# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds {written - 60}\n".encode()
    with pytest.raises(EngineError, match=r"started before the weights in .* were written.*Start it anew"):
        open_engine(config, MICRO)
    for told in (f"process_start_time_seconds {written + 1}\n", "process_start_time_seconds soon\n"):
        server.metrics = told.encode()
        open_engine(config, MICRO).close()


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        ({"choices": []}, "does not answer as vLLM does"),
        ({"choices": [{"token_ids": None, "finish_reason": "stop"}]}, "returns no token ids"),
        ({"choices": [{"token_ids": [10**9], "finish_reason": "stop"}]}, "not asked for"),
        ({"choices": [{"token_ids": [5] * 99, "finish_reason": "stop"}]}, "not asked for"),
    ],
)
def test_odd_answers_are_errors(engine: Engine, server: StandIn, answer: object, match: str) -> None:
    server.reply = lambda body: (200, answer)
    with pytest.raises(EngineError, match=match):
        list(engine.generate([request("q")]))


@pytest.mark.parametrize("told", [None, [], [None] * 3, "nan"])
def test_log_probabilities_that_are_none_are_errors(engine: Engine, server: StandIn, told: object) -> None:
    def reply(body: dict[str, list[int]]) -> tuple[int, object]:
        broken = [None, *({str(t): {"logprob": 3.5}} for t in body["prompt"][1:])]
        return 200, {"choices": [{"token_ids": [1], "prompt_logprobs": broken if told == "nan" else told}]}

    server.reply = reply
    with pytest.raises(EngineError, match="log-probabilities of a prompt"):
        list(engine.choice_logprobs([ChoiceRequest("q", "The sky is", (" blue",))]))


def test_a_passing_error_is_tried_again_and_a_refusal_told(
    engine: Engine, server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfreward_bench.engines.vllm.client._WAIT", 0.0)
    right, failed = server.reply, []

    def reply(body: dict[str, object]) -> tuple[int, object]:
        if len(failed) < 2:
            failed.append(body)
            return 503, {"error": {"message": "busy"}}
        return right(body)

    server.reply = reply
    assert len(by_sample(engine, [request("q")])) == 2
    server.reply = lambda body: (400, {"error": {"message": "no such field"}})
    with pytest.raises(EngineError, match="refuses a request: HTTP 400: no such field"):
        list(engine.generate([request("q")]))


def test_an_answer_that_comes_drop_by_drop_is_not_waited_for(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = client.Client(server.url)
    assert asked.version()
    clock = itertools.count(0.0, 6.0)
    monkeypatch.setattr(client, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=time.sleep))
    assert asked.version()
    clock = itertools.count(0.0, 12.0)
    with pytest.raises(EngineError, match="has not ended its answer after 10 s"):
        asked.version()
    asked.close()


@pytest.mark.parametrize("url", ["10.0.0.5:8000", "http://me:pass@host", "http://host/other", "http://host?key=1"])
def test_addresses_that_are_none_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"engine\.urls"):
        open_engine(EngineConfig(kind="vllm", urls=(url,)), MICRO)


def test_a_server_that_wants_a_key_is_told_it(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    with stand_in(model, MICRO) as server:
        server.key = "s3cret-key-of-the-server"
        monkeypatch.setenv("VLLM_API_KEY", server.key)
        engine = open_engine(EngineConfig(kind="vllm", urls=(server.url,)), MICRO)
        assert len(by_sample(engine, [request("q")])) == 2
        engine.close()
