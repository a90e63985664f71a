"""Replicas of an engine: the texts of one engine in the order of one, and what is said where they cannot work.

With a stand-in for Ray; the real one is in tests/trainers/test_cluster.py.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from selfreward_bench.config import ClusterConfig, EngineConfig
from selfreward_bench.engines import actors, open_engine
from selfreward_bench.engines.base import ChoiceRequest, Engine, GenerationRequest
from selfreward_bench.engines.plan import MAX_ROWS
from selfreward_bench.engines.replicas import problems
from selfreward_bench.engines.transformers import TransformersEngine, open_transformers
from selfreward_bench.errors import ConfigError, EngineError, MissingDependencyError
from selfreward_bench.types import Message

from ... import ray_standin

MICRO = Path(__file__).parents[3] / "selfreward_bench" / "data" / "micro" / "base"
SMALL = EngineConfig(tokens_per_batch=256)
TWO = ClusterConfig(replicas=2, gpus_per_replica=0)


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in actors._ALONE | {"RAY_AUTH_TOKEN": ""}:
        monkeypatch.setenv(name, "set before")  # so that what is set here does not stay
    monkeypatch.setitem(sys.modules, "ray", ray_standin)
    monkeypatch.setattr(ray_standin, "STATE", {"options": None, "actors": [], "resources": {"CPU": 8.0}})
    one_at_a_time, opened = threading.Lock(), actors._open

    def opens(opening: actors.Opening) -> Any:
        with one_at_a_time:  # transformers loads no two models of one process at once
            return opened(opening)

    monkeypatch.setattr(actors, "_open", opens)
    return ray_standin


@pytest.fixture
def engine(ray: Any) -> Iterator[Engine]:
    opened = open_engine(SMALL, MICRO, threads=1, cluster=TWO)
    yield opened
    opened.close()


def question(number: int) -> tuple[Message, ...]:
    return (Message(role="user", content=f"Name {number} red {'and small ' * (number % 7)}things."),)


ANSWERS = [GenerationRequest(f"q{i}", question(i), seeds=(i, i + 1), n=2, max_new_tokens=8) for i in range(40)]
CHOICES = [
    *(ChoiceRequest(f"g{i}", question(i), tuple("012345"), assistant_prefix="Score: ") for i in range(20)),
    *(ChoiceRequest(f"w{i}", question(i), (" a red apple", " green")) for i in range(20)),
]


def asked(engine: Engine, done: tuple[str, ...] = ()) -> list[list[Any]]:
    return [*engine.generate(ANSWERS, done), *engine.choice_logprobs(CHOICES, done)]


@pytest.mark.slow
def test_two_replicas_answer_as_one_engine_batch_by_batch(engine: Engine, ray: Any) -> None:
    own = open_transformers(SMALL, MICRO)
    expected = asked(own)
    assert len(expected) > 8
    assert (engine.name, engine.count_tokens("red things")) == (own.name, own.count_tokens("red things"))
    assert asked(engine) == expected
    first = tuple(c.prompt_id for c in expected[0])
    assert asked(engine, first) == asked(own, first) == expected[1:]
    worked = [actor.instance._engine.open()._runner is not None for actor in ray.STATE["actors"]]
    assert worked == [True, True]


def test_a_prompt_without_room_fails_alone(engine: Engine) -> None:
    long = GenerationRequest("long", "red " * 4000, max_new_tokens=8)
    found = [c.prompt_id for batch in engine.generate([long, ANSWERS[0]]) for c in batch]
    assert found == ["q0", "q0"]
    assert engine.failures == {"long": "too_long"}


@pytest.mark.slow
def test_a_slow_replica_does_not_change_the_order(engine: Engine, ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, late = asked(open_transformers(SMALL, MICRO)), threading.Event()
    slow, quick = (actor.instance for actor in ray.STATE["actors"])
    computed: list[int] = []
    generate = actors.Replica.generate

    def delayed(requests: Any) -> Any:
        late.wait(10)
        return generate(slow, requests)

    def counted(requests: Any) -> Any:
        computed.append(len(requests))
        if len(computed) == 3:  # two were given to it at first, and a further one as it was the less busy
            late.set()
        return generate(quick, requests)

    monkeypatch.setattr(slow, "generate", delayed, raising=False)
    monkeypatch.setattr(quick, "generate", counted, raising=False)
    assert asked(engine) == expected
    assert late.is_set()


def test_a_local_ray_is_told_to_stay_alone_before_it_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    for name in (*actors._ALONE, "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    actors._settle(alone=False)
    assert "RAY_AUTH_TOKEN" not in os.environ  # a cluster has settings of its own
    actors._settle(alone=True)
    assert {name: os.environ[name] for name in actors._ALONE} == actors._ALONE | {"RAY_AUTH_MODE": "disabled"}
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64


@pytest.mark.slow
def test_closing_ends_replicas_and_the_ray_that_was_started(ray: Any) -> None:
    opened = open_engine(SMALL, MICRO, cluster=TWO)
    options = ray.STATE["options"]
    assert (options["address"], options["_node_ip_address"], options["num_cpus"]) == ("local", "127.0.0.1", 2)
    assert not options["include_dashboard"]
    opened.close()
    assert not ray.is_initialized()
    assert [actor.killed for actor in ray.STATE["actors"]] == [True, True]


def test_an_engines_own_error_is_told_as_it_is(engine: Engine) -> None:
    with pytest.raises(EngineError, match="leave no room for a prompt"):
        engine.generate([GenerationRequest("q", "Hi", max_new_tokens=100_000)])


def test_memory_that_is_short_on_a_replica_is_told(engine: Engine, ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for actor in ray.STATE["actors"]:
        monkeypatch.setattr(actor.instance._engine.open(), "halved", 2)
    list(engine.generate(ANSWERS[:1]))
    assert engine.halved == 2  # type: ignore[attr-defined]
    assert engine.take_notes() == (  # type: ignore[attr-defined]
        "2 batches did not fit a replica's memory and were halved; lower engine.tokens_per_batch.",
    )
    assert engine.take_notes() == ()  # type: ignore[attr-defined]
    list(engine.generate(ANSWERS[:1]))
    assert engine.take_notes() == ()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("method", "error", "message"),
    [
        ("generate", ray_standin.RayActorError("gone"), r"is lost.*RayActorError.*engine.tokens_per_batch"),
        ("generate", RuntimeError("CUDA error: misaligned address"), "A replica failed: CUDA error"),
        ("generate", EngineError("no answer"), "^no answer$"),
        ("about", ray_standin.RayError("the head is gone"), "The Ray cluster failed: the head is gone"),
    ],
)
def test_what_a_replica_fails_of_is_told(
    method: str, error: Exception, message: str, ray: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise error

    monkeypatch.setattr(actors.Replica, method, fails)
    with pytest.raises(EngineError, match=f"(?s){message}"):
        list(open_engine(SMALL, MICRO, cluster=TWO).generate(ANSWERS))


@pytest.mark.slow
def test_replicas_with_other_versions_are_refused(ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    count = iter(range(100))
    version = actors.metadata.version

    def versions(name: str) -> str:
        return version(name) if name != "transformers" else f"5.{next(count)}"

    monkeypatch.setattr(actors.metadata, "version", versions)
    with pytest.raises(EngineError, match=r"other versions installed \(transformers 5\.\d and 5\.\d\)"):
        open_engine(SMALL, MICRO, cluster=TWO)
    assert all(actor.killed for actor in ray.STATE["actors"])


@pytest.mark.slow
def test_replicas_that_find_no_room_in_time_are_told(ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = threading.Event()
    monkeypatch.setattr(actors.Replica, "about", lambda _: waited.wait(5))
    config = SMALL.model_copy(update={"start_timeout": 1})
    with pytest.raises(EngineError, match=r"0 of 2 replicas are ready after 1 s.*1 CPU\(s\) and 0 GPU\(s\).*8 CPU"):
        open_engine(config, MICRO, cluster=TWO)
    waited.set()


def test_gpus_that_this_machine_has_not_are_told(ray: Any) -> None:
    with pytest.raises(EngineError, match=r"want 2, and this machine has 0\. Set cluster.gpus_per_replica=0"):
        open_engine(SMALL, MICRO, cluster=ClusterConfig(replicas=2))
    assert not ray.is_initialized()


def test_a_cluster_that_is_not_there_is_told(ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "nobody:1")
    with pytest.raises(EngineError, match=r"cannot be reached at cluster\.address=nobody:1: Could not find any"):
        open_engine(SMALL, MICRO, cluster=ClusterConfig(address="nobody:1"))


@pytest.mark.slow
def test_a_ray_that_is_connected_already_stays(ray: Any) -> None:
    ray.init(address="auto")
    open_engine(SMALL, MICRO, cluster=TWO).close()
    assert ray.is_initialized()


@pytest.mark.slow
def test_a_closed_engine_says_so(ray: Any) -> None:
    opened = open_engine(SMALL, MICRO, cluster=TWO)
    opened.close()
    opened.close()
    with pytest.raises(EngineError, match="was closed"):
        opened.generate(ANSWERS)


@pytest.mark.parametrize(
    ("config", "cluster", "message"),
    [
        ({"kind": "scripted"}, {}, "engine.kind=scripted has no replicas, only transformers and vllm"),
        ({"kind": "vllm", "urls": ["http://127.0.0.1:8000"]}, {}, "engine.urls names servers"),
        ({"device": "cuda:1"}, {}, "engine.device=cuda:1: Ray says which"),
        ({"kind": "vllm"}, {"gpus_per_replica": 8}, "Set engine.args='--tensor-parallel-size 8'"),
        ({"kind": "vllm", "args": "'unclosed"}, {"gpus_per_replica": 8}, "Set engine.args='--tensor-parallel-size 8'"),
        ({}, {"gpus_per_replica": 2}, "Set engine.device=all"),
        ({}, {"address": "evil.example:6379"}, "export RAY_ADDRESS=evil.example:6379"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    config: dict[str, Any], cluster: dict[str, Any], message: str, ray: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ConfigError, match=message):
        open_engine(EngineConfig(**config), MICRO, cluster=ClusterConfig(**cluster))


@pytest.mark.parametrize("address", [None, "auto", "10.0.0.5:6379"])
def test_an_address_of_this_machines_choice_is_taken(
    address: str | None, ray: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.5:6379")
    parallel = EngineConfig(kind="vllm", args="--max-model-len 8192 --tensor-parallel-size=8")
    assert list(problems(parallel, ClusterConfig(address=address, gpus_per_replica=8))) == []


def test_without_ray_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'srbench\[ray\]'"):
        actors._import()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert [p for p in problems(SMALL, TWO) if "srbench[ray]" in p]


@pytest.mark.slow
def test_a_batch_by_itself_is_planned_as_the_same_batch() -> None:
    """What makes a replica's batch that of one engine: planning a planned batch gives that batch."""
    own = open_transformers(SMALL, MICRO)
    assert isinstance(own, TransformersEngine)
    by_id = {r.id: r for r in ANSWERS}
    for batch in own.generate(ANSWERS):
        names = list(dict.fromkeys(c.prompt_id for c in batch))
        assert list(own.generate([by_id[name] for name in names])) == [batch]
    assert MAX_ROWS >= 40
