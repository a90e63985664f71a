"""Programs of srbench's: started, watched, ended with all that they started, also after srbench was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from selfreward_bench.config import EngineConfig
from selfreward_bench.engines import open_engine
from selfreward_bench.engines.processes import Program, end_abandoned, of_this_code, state_directory
from selfreward_bench.errors import EngineError, TrainingError

# a server that has a worker in its group, as vLLM has; it says the worker's number
WITH_WORKER = (
    "import subprocess, sys, time\n"
    "worker = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "print(worker.pid, flush=True)\n"
    "time.sleep(600)\n"
)
# a srbench that starts such a server and waits to be killed
OWNER = (
    "import sys, time\n"
    "from selfreward_bench.engines.processes import Program\n"
    "server = Program([sys.executable, '-c', sys.argv[1]], title='M1', setting='x', environment={})\n"
    "print(server.log, flush=True)\n"
    "time.sleep(600)\n"
)
REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return state_directory()


# torchrun gives each of its workers a session of its own
WITH_WORKER_APART = WITH_WORKER.replace("600)'])", "600)'], start_new_session=True)")


def start(program: str) -> Program:
    return Program([sys.executable, "-c", program], title="The server of M1", setting="engine.command", environment={})


def wait_for(what: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def worker_of(log: Path) -> int:
    wait_for(lambda: log.read_text().strip())
    return int(log.read_text())


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def record_of(log: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads(log.with_suffix(".json").read_bytes())
    return found


@pytest.mark.parametrize("program", [WITH_WORKER, WITH_WORKER_APART])
def test_close_ends_the_server_and_its_workers(program: str, state: Path) -> None:
    server = start(program)
    worker, first = worker_of(server.log), int(str(record_of(server.log)["pid"]))
    server.close()
    assert not runs(worker)
    assert not runs(first)
    assert list(state.iterdir()) == []
    server.close()


def test_a_server_that_ends_before_it_is_ready_tells_the_end_of_its_log(state: Path) -> None:
    server = start("import sys; print('\\x1b[31mno GPU here'); sys.exit(3)")
    with pytest.raises(EngineError, match=r"(?s)ended with exit code 3.*no GPU here") as caught:
        server.wait_until(lambda: False, 60)
    assert "\x1b" not in str(caught.value)
    server.close()
    assert server.log.is_file()


def test_a_server_that_is_never_ready_is_ended() -> None:
    server = start(WITH_WORKER)
    worker = worker_of(server.log)
    with pytest.raises(EngineError, match=r"is not ready after 0\.3 s \(engine\.start_timeout\)"):
        server.wait_until(lambda: False, 0.3)
    assert not runs(worker)


def test_a_log_of_ones_own_is_written_on_and_stays(tmp_path: Path) -> None:
    log = tmp_path / "own.log"
    log.write_text("before\n")
    program = Program(
        [sys.executable, "-c", "print('more')"], title="It", setting="x", environment={}, log=log, error=TrainingError
    )
    with pytest.raises(TrainingError, match=r"(?s)It ended with exit code 0\..*before.*more"):
        program.wait_until(lambda: False, 60)
    assert log.read_text() == "before\nmore\n"
    assert list(state_directory().iterdir()) == []


def test_a_program_that_is_not_there_is_told(state: Path) -> None:
    with pytest.raises(EngineError, match=r"engine\.command cannot be started"):
        Program(["/no/such/program"], title="M1", setting="engine.command", environment={})
    assert list(state.iterdir()) == []


def killed_owner(program: str) -> Path:
    """The log of a server whose srbench was killed."""
    owner = subprocess.Popen([sys.executable, "-c", OWNER, program], stdout=subprocess.PIPE, cwd=REPOSITORY)
    assert owner.stdout
    log = Path(owner.stdout.readline().decode().strip())
    worker_of(log)
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    return log


@pytest.mark.parametrize("first_is_gone", [False, True])
@pytest.mark.parametrize("program", [WITH_WORKER, WITH_WORKER_APART])
def test_what_a_killed_srbench_left_is_ended_at_the_next_start(state: Path, first_is_gone: bool, program: str) -> None:
    """Also where the server's first process was killed and its workers run on."""
    log = killed_owner(program)
    worker, first = worker_of(log), int(str(record_of(log)["pid"]))
    assert runs(worker)
    if first_is_gone:
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: not runs(first))
        assert runs(worker)
    assert end_abandoned() == 1
    wait_for(lambda: not runs(worker) and not runs(first))
    assert list(state.iterdir()) == []
    assert end_abandoned() == 0


@pytest.mark.slow
def test_any_engine_that_is_opened_has_what_was_left_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model that comes needs the memory, whatever opens it."""
    worker = worker_of(killed_owner(WITH_WORKER))
    script = tmp_path / "script.json"
    script.write_text("{}")
    open_engine(EngineConfig(kind="scripted"), script).close()
    wait_for(lambda: not runs(worker))
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    assert end_abandoned() == 0


def no_home() -> Path:
    raise RuntimeError("this user has no name here")


def test_servers_of_a_living_srbench_stay() -> None:
    server = start(WITH_WORKER)
    worker = worker_of(server.log)
    assert end_abandoned() == 0
    assert runs(worker)
    server.close()


@pytest.mark.parametrize("change", ["started", "host", "boot", "damaged"])
def test_a_process_that_is_not_the_server_is_left_alone(change: str) -> None:
    """The number belongs to another process by now, or to one of another machine."""
    server = start(WITH_WORKER)
    worker, file = worker_of(server.log), server.log.with_suffix(".json")
    kept = file.read_bytes()
    record = record_of(server.log) | {"owner_started": 1.0}
    record |= {"started": {"started": 1.0}, "host": {"host": "elsewhere"}, "boot": {"boot": 1.0}}.get(change, {})
    file.write_text("{" if change == "damaged" else json.dumps(record))
    assert end_abandoned() == 0
    assert runs(worker)
    file.write_bytes(kept)
    server.close()
    assert not runs(worker)


def test_what_a_cluster_says_of_other_machines_is_not_for_processes_of_this_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("PET_NNODES", "PET_RDZV_ENDPOINT", "PET_NPROC_PER_NODE"):
        monkeypatch.setenv(name, "4")
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    found = of_this_code(alone=True)
    assert {name for name, value in found.items() if value is None and name != "PYTHONPATH"} == {
        "PET_NNODES",
        "PET_RDZV_ENDPOINT",
    }
    assert found["GLOO_SOCKET_IFNAME"] == "lo"
    assert of_this_code(alone=False).keys() == {"PYTHONPATH", "PYTHONSAFEPATH"}
