"""A model shared out over processes answers as one process that holds it does, and none of them stays.

Two processes for each way of sharing, those of one way by the real launcher; what is around them is tried with one, a
thread of this process.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from selfreward_bench.config import ClusterConfig, EngineConfig
from selfreward_bench.engines import open_engine, replicas, shard_worker, shared_out
from selfreward_bench.engines.base import ChoiceRequest, Engine, GenerationRequest
from selfreward_bench.engines.transformers import open_transformers
from selfreward_bench.errors import ConfigError, EngineError
from selfreward_bench.types import Message

from ...forking import Group, end

MICRO = Path(__file__).parents[3] / "selfreward_bench" / "data" / "micro" / "base"
SMALL = EngineConfig(tokens_per_batch=512)


def shared(**changes: Any) -> EngineConfig:
    return SMALL.model_copy(update={"sharding": "tensor", "processes": 2} | changes)


def question(number: int) -> tuple[Message, ...]:
    return (Message(role="user", content=f"Name {number} red {'and small ' * (number % 5)}things."),)


ANSWERS = [GenerationRequest(f"q{i}", question(i), seeds=(i, i + 1), n=2, max_new_tokens=12) for i in range(12)]
CHOICES = [ChoiceRequest(f"g{i}", question(i), tuple("012345"), assistant_prefix="Score: ") for i in range(6)]


def asked(engine: Engine, done: tuple[str, ...] = ()) -> tuple[list[Any], list[Any]]:
    return list(engine.generate(ANSWERS, done)), list(engine.choice_logprobs(CHOICES))


@pytest.fixture(scope="module")
def expected() -> tuple[list[Any], list[Any]]:
    return asked(open_transformers(SMALL, MICRO, threads=1))


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def workers() -> list[Any]:
    found: list[Any] = [*multiprocessing.active_children()]
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if "selfreward_bench.engines.shard_worker" in process.cmdline():
                found.append(process)
    return found


class Forks:
    """Stands in for the program; its workers are forks of this process."""

    def __init__(self, command: list[str], log: Path, **settings: Any) -> None:
        assert command[-3:-1] == ["-m", "selfreward_bench.engines.shard_worker"]
        self._group = Group(lambda: sys.exit(shard_worker.main(Path(command[-1]))), 2, log)

    def wait_until(self, ready: Any, timeout: float) -> None:
        while not ready():
            assert self.exit_code() is None
            time.sleep(0.01)

    def exit_code(self) -> int | None:
        return self._group.exit_code()

    def close(self) -> None:
        end(*self._group.processes)


@pytest.mark.slow
@pytest.mark.parametrize(("sharding", "program"), [("tensor", shared_out.Program), ("fsdp", Forks)])
def test_two_processes_with_a_part_each_answer_as_one_does(
    sharding: str, program: Any, expected: tuple[list[Any], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_out, "Program", program)
    engine = open_engine(shared(sharding=sharding), MICRO, threads=1)
    try:
        assert len(workers()) >= 2
        batches, scores = asked(engine)
    finally:
        engine.close()
    assert batches == expected[0]
    for ours, theirs in zip(scores, expected[1], strict=True):
        assert [c.id for c in ours] == [c.id for c in theirs]
        for one, other in zip(ours, theirs, strict=True):
            assert one.logprobs == pytest.approx(other.logprobs, abs=2e-5)
    assert workers() == []
    with pytest.raises(EngineError, match="was closed"):
        asked(engine)


# --- one process, a thread of this one


class Thread:
    """Stands in for the program; its one worker holds the whole model."""

    def __init__(self, command: list[str], **settings: Any) -> None:
        assert command[-3:-1] == ["-m", "selfreward_bench.engines.shard_worker"]
        self._code: int | None = None
        self._thread = threading.Thread(target=self._work, args=(Path(command[-1]),), daemon=True)
        self._thread.start()

    def _work(self, folder: Path) -> None:
        import torch

        try:
            self._code = shard_worker.main(folder)
        except Exception:
            torch.distributed.destroy_process_group()
            self._code = 1

    def wait_until(self, ready: Any, timeout: float) -> None:
        while not ready():
            assert self._code is None
            self._thread.join(0.01)

    def exit_code(self) -> int | None:
        return self._code

    def close(self) -> None:
        self._thread.join(10)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import torch

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    rendezvous = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for name, value in rendezvous.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(shared_out, "Program", Thread)
    monkeypatch.setattr(shard_worker, "_shard", lambda opening: open_transformers(SMALL, opening.model))
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.usefixtures("alone")
def test_batches_come_in_the_order_of_one_process_and_what_is_done_is_not_asked(
    expected: tuple[list[Any], list[Any]],
) -> None:
    engine = open_engine(shared(), MICRO, threads=1)
    assert engine.name == f"transformers:{MICRO}"
    first = tuple(c.prompt_id for c in expected[0][0])
    assert asked(engine, first) == (expected[0][1:], expected[1])
    started = engine.generate(ANSWERS)
    next(started)
    assert list(engine.generate(ANSWERS))[:1] == expected[0][:1]  # another's answer is not taken for one's own
    assert next(started) == expected[0][1]
    engine.close()


@pytest.mark.usefixtures("alone")
def test_what_a_process_cannot_do_is_told_and_ends_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(opening: Any) -> Any:
        raise EngineError("It lacks 3 of its weights.")

    with monkeypatch.context() as patch:
        patch.setattr(shard_worker, "_shard", refuse)
        with pytest.raises(EngineError, match=r"^It lacks 3 of its weights\.$"):
            open_engine(shared(), MICRO, threads=1)
    engine = open_engine(shared(), MICRO, threads=1)
    monkeypatch.setattr(shard_worker.Replica, "generate", lambda self, requests: 1 / 0)
    with pytest.raises(EngineError, match="ZeroDivisionError: division by zero"):
        list(engine.generate(ANSWERS))
    with pytest.raises(EngineError, match="have ended; open a new engine"):
        list(engine.generate(ANSWERS))
    engine.close()


def test_a_process_that_ends_without_a_word_tells_the_end_of_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/ls")
    with pytest.raises(
        EngineError, match=r"(?s)^The engine that shares a model out ended with exit code 2\..*/bin/ls: "
    ):
        open_engine(shared(), MICRO, threads=1)


def test_a_batch_that_does_not_fit_is_not_halved_where_others_compute_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def short(*others: Any) -> Any:
        raise torch.OutOfMemoryError

    engine = open_transformers(SMALL, MICRO, threads=1)
    engine._shared_out = True
    monkeypatch.setattr("selfreward_bench.engines.transformers.generate_batch", short)
    with pytest.raises(EngineError, match=r"does not fit the memory of a process\. Lower engine\.tokens_per_batch"):
        list(engine.generate(ANSWERS))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"kind": "scripted"}, "engine.kind=scripted shares no model out"),
        ({"quantize": "int8"}, "cannot be shared out"),
        ({"device": "all"}, "Leave engine.device out"),
    ],
)
def test_settings_that_do_not_go_together(changes: dict[str, Any], told: str) -> None:
    assert told in " ".join(shared_out.problems(shared(**changes)))
    assert list(shared_out.problems(SMALL.model_copy(update=changes))) == []


def test_it_is_of_one_machine_with_several_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"there is one device here.*engine\.processes"):
        open_engine(shared(processes=None), MICRO)
    assert "Leave one out" in next(replicas.problems(shared(), ClusterConfig(gpus_per_replica=0)))
    assert shared().numerics == {"sharding": "tensor"}
