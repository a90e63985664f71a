"""A training by processes that a launcher starts: the same result, its errors as ours, killed and gone on with."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from selfreward_bench.config import DpoConfig, RehearsalConfig, SftConfig, TrainConfig
from selfreward_bench.errors import DataError, SrbenchError, Terminated, TrainingError
from selfreward_bench.progress import Silent
from trainers import launched, worker
from trainers.isolation import run_training
from trainers.rehearsing import Rehearsal
from trainers.tasks import Task, add_event, read_events, read_task, write_task
from trainers.tracking import Tracking
from trainers.training import TrainResult

from .conftest import LaunchedForks, examples, pairs

CONFIG = SftConfig(
    learning_rate=1e-3, final_learning_rate=1e-4, epochs=2.0, batch_size=4, dropout=0.1, max_length=64, save_every=3
)
TWO = TrainConfig(launch="auto", processes=2)


class Steps(Silent):
    """A reporter that acts after these numbers of steps."""

    def __init__(self, action: Any = None, *at: int) -> None:
        self.seen, self._action, self._at = 0, action, at
        self.messages: list[str] = []

    def advanced(self, amount: int = 1) -> None:
        self.seen += amount
        if self.seen in self._at:
            self._action()

    def message(self, text: str) -> None:
        self.messages.append(text)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def train(
    base: Path, out: Path, reporter: Any = None, config: SftConfig = CONFIG, train: TrainConfig = TWO, n: int = 17
) -> TrainResult:
    return run_training(
        "sft",
        base,
        examples(n),
        config,
        out,
        seed=1,
        threads=1,
        reporter=reporter or Steps(),
        stage="SFT/train",
        train=train,
    )


def task(base: Path, out: Path, **changes: Any) -> Task:
    values: dict[str, Any] = {
        "kind": "sft",
        "parent": base,
        "records": examples(4),
        "config": CONFIG,
        "out_dir": out,
        "threads": 1,
        "chat_template": None,
        "options": {"seed": 1, "date": "2031-02-03"},
    }
    return Task(**values | changes)


def test_a_task_is_read_as_it_was_written(tmp_path: Path) -> None:
    track = Tracking(("tensorboard",), "group", "run/M1", tmp_path / "tracking")
    sent = task(tmp_path, tmp_path / "out", track=track, train=TWO, threads=None, chat_template="plain")
    read = read_task(write_task(sent, tmp_path))
    assert replace(read, records=list(read.records)) == replace(sent, parent=str(tmp_path))
    rehearsal = Rehearsal(tuple(examples(2)), RehearsalConfig(what=("eft",)))
    cream = DpoConfig().model_copy(update={"label_smoothing": 0.6})  # more than a recipe may say: two judges disagree
    preferences = task(tmp_path, tmp_path, kind="dpo", records=pairs(3), config=cream, rehearsal=rehearsal)
    read = read_task(write_task(preferences, tmp_path))
    assert (list(read.records), read.config) == (preferences.records, cream)
    assert read.rehearsal is not None
    assert (tuple(read.rehearsal.examples), read.rehearsal.config) == (rehearsal.examples, rehearsal.config)


def test_events_are_read_in_whole_lines(tmp_path: Path) -> None:
    add_event(tmp_path, step=1)
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('torn\n{"start": 0, "st')
    found, offset = read_events(tmp_path, 0)
    assert found == [{"start": 0, "step": 1}]
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('ep": 2}\n')
    assert read_events(tmp_path, offset)[0] == [{"start": 0, "step": 2}]


# a launcher of another kind: it is given "-m trainers.worker TASK", and does what a test says
STAND_IN = """
import json, os, pathlib, sys, time
folder = pathlib.Path(sys.argv[-1]).parent
def event(**what):
    with (folder / "events.jsonl").open("a") as file:
        file.write(json.dumps({"start": 0, **what}) + "\\n")
"""


def launch(out: Path, program: str, reporter: Any = None) -> TrainResult:
    reporter = reporter or Steps()
    out.mkdir(parents=True, exist_ok=True)
    (out / "log.jsonl").write_text("".join(json.dumps({"step": n, "loss": 1.0, "tokens": 5}) + "\n" for n in (1, 2)))
    (out.parent / "launcher.py").write_text(STAND_IN + program)
    command = [sys.executable, str(out.parent / "launcher.py")]
    return launched.launched(task(out, out), command, lambda progress: reporter.advanced(), reporter.message)


def test_progress_messages_and_the_result_arrive_once(tmp_path: Path) -> None:
    reporter = Steps()
    program = """
assert sys.argv[1:3] == ["-m", "trainers.worker"]
event(tell="one GPU of 8"); event(tell="one GPU of 8")
event(step=1, steps=2); event(start=1, step=1, steps=2); event(start=1, step=2, steps=2)
event(start=1, result={"truncated": 3, "equal": 1, "rehearsed": 0})
"""
    result = launch(tmp_path / "out", program, reporter)
    assert (result.steps, result.truncated, result.equal, result.tokens) == (2, 3, 1, 10)
    assert reporter.seen == 2
    assert reporter.messages == ["one GPU of 8", "A process of the training ended, and its launcher starts them anew."]
    assert not (tmp_path / "out" / "launched").exists()


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"error": "Record 'e1' is odd.", "kind": "DataError"}, DataError),
        ({"error": "Unknown thing.", "kind": "UnknownNameError"}, SrbenchError),
        ({"error": "Not ours.", "kind": "os.system"}, TrainingError),
    ],
)
def test_errors_arrive_as_they_were_raised(event: dict[str, str], kind: type[SrbenchError], tmp_path: Path) -> None:
    with pytest.raises(kind) as caught:
        launch(tmp_path / "out", f"event(**{event}); event(error='later', kind='DataError'); sys.exit(1)")
    assert str(caught.value) == event["error"]


def test_an_end_without_a_word_tells_the_end_of_the_log(tmp_path: Path) -> None:
    program = "event(result={'truncated': 0, 'equal': 0, 'rehearsed': 0}); print('\\x1b[31mout of memory'); sys.exit(9)"
    with pytest.raises(TrainingError, match=r"(?s)exit code 9 .*launch\.log.*out of memory") as caught:
        launch(tmp_path / "out", program)
    assert "\x1b" not in str(caught.value)
    assert "What it saved is kept" not in str(caught.value)


@pytest.mark.slow
def test_a_launcher_that_does_nothing_or_writes_much_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainingError, match=r"exit code 0 .*did the launcher start what stands behind it"):
        launch(tmp_path / "a" / "out", "")
    with pytest.raises(TrainingError) as caught:
        launch(tmp_path / "b" / "out", "print('x' * 3_000_000); print('the end'); sys.exit(1)")
    assert str(caught.value).endswith("the end")
    assert len(str(caught.value)) < 100_000
    monkeypatch.setattr(launched, "_QUIET", 0.2)
    told = Steps()
    with pytest.raises(TrainingError):
        launch(tmp_path / "c" / "out", "time.sleep(1.0); sys.exit(1)", told)
    (text,) = told.messages
    assert text.startswith("Nothing is heard of the training's processes since 0.2 s")


@pytest.mark.slow
def test_the_first_ctrl_c_asks_and_the_second_ends_all(tmp_path: Path) -> None:
    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    polite = """
event(step=4, steps=9)
while not (folder / "stop").exists(): time.sleep(0.01)
event(stopped=130); sys.exit(130)
"""
    with pytest.raises(KeyboardInterrupt) as stop:
        launch(tmp_path / "a" / "out", polite, Steps(interrupt, 1))
    assert not isinstance(stop.value, Terminated)
    deaf = """
import subprocess
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
event(tell=str(child.pid)); event(step=4, steps=9)
while not (folder / "stop").exists(): time.sleep(0.01)
event(step=5, steps=9); time.sleep(600)
"""
    reporter = Steps(interrupt, 1, 2)
    with pytest.raises(KeyboardInterrupt):
        launch(tmp_path / "b" / "out", deaf, reporter)
    assert not runs(int(reporter.messages[0]))


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_other_processes_than_the_recipe_says_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def outcome(**environment: str) -> tuple[int, dict[str, Any]]:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return worker.main(tmp_path / "task.json"), read_events(tmp_path, 0)[0][-1]

    monkeypatch.setattr(worker, "train", lambda *args: pytest.fail("trained"))
    write_task(task(tmp_path, tmp_path / "out", train=TrainConfig(launch="torchrun", processes=8)), tmp_path)
    code, event = outcome(WORLD_SIZE="4", RANK="1")
    assert (code, event["kind"]) == (1, "ConfigError")
    assert "train.processes is 8, but what train.launch starts is a training of 4 process(es)" in event["error"]
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    with pytest.raises(SystemExit):  # what only the user can mend is not begun again
        outcome()
    monkeypatch.delenv("TORCHELASTIC_RESTART_COUNT")
    write_task(task(tmp_path, tmp_path / "out", train=TrainConfig(launch="srun", sharding="fsdp")), tmp_path)
    monkeypatch.setattr(worker, "local_directory", Path)
    monkeypatch.setattr(worker, "probe", lambda *args, **kwargs: None)
    monkeypatch.setattr(worker, "train", lambda *args: TrainResult(1, 1.0, 1.0, {}, 0, tmp_path, tmp_path, 0.0, 0))
    assert outcome(WORLD_SIZE="1", RANK="0")[0] == 0
    (told,) = [event["tell"] for event in read_events(tmp_path, 0)[0] if "tell" in event]
    assert told.startswith("train.launch started one process: it holds all of the model")
    code, event = outcome()
    assert (code, event["kind"]) == (1, "ConfigError")
    assert "several trainings of one process each" in event["error"]


TORCHRUN = TrainConfig(launch="torchrun --nproc-per-node 2")


@pytest.fixture(scope="module")
def whole(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed training in this process."""
    return train(tiny_model, tmp_path_factory.mktemp("whole") / "SFT", train=TrainConfig()).checkpoint.parent


@pytest.mark.slow
@pytest.mark.usefixtures("launched_here")
@pytest.mark.parametrize(("how", "code"), [("SIGTERM", 143), ("the driver's wish", 130)])
def test_a_process_that_is_told_to_stop_saves_and_the_next_call_goes_on(
    how: str, code: int, whole: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes: list[int] = []
    tell, main = worker.add_event, worker.main

    def strike(folder: Path, **event: Any) -> None:
        tell(folder, **event)
        if event.get("step") == 4 and how == "SIGTERM":
            for _ in range(2):  # launchers repeat it
                signal.raise_signal(signal.SIGTERM)
        elif event.get("step") == 4:
            (folder / "stop").touch()

    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(worker, "add_event", strike)
        patch.setattr(worker, "main", lambda file: codes.append(main(file)) or codes[-1])
        with pytest.raises(KeyboardInterrupt) as stop:
            train(tiny_model, tmp_path / "SFT", train=TORCHRUN)
    assert codes == [code]
    assert isinstance(stop.value, Terminated) == (how == "SIGTERM")
    assert signal.getsignal(signal.SIGTERM) == before
    assert [p.name for p in (tmp_path / "SFT" / "resume").iterdir()] == ["checkpoint-3", "checkpoint-4"]
    reporter = Steps()
    train(tiny_model, tmp_path / "SFT", reporter, train=TORCHRUN)
    assert reporter.seen == 10
    for file in ("log.jsonl", "plan.json", "checkpoint/model.safetensors", "checkpoint/README.md"):
        assert (tmp_path / "SFT" / file).read_bytes() == (whole / file).read_bytes(), file


@pytest.mark.slow
@pytest.mark.usefixtures("launched_here")
def test_a_launched_training_stops_at_a_step_rehearses_and_goes_on(policy: Path, tmp_path: Path) -> None:
    """What chooses the step that a round keeps asks for steps; the result is that of a training in one go."""
    config = DpoConfig(learning_rate=1e-3, final_learning_rate=1e-4, batch_size=4, max_length=64, save_every=3)
    rehearsal = Rehearsal(tuple(examples(5)), RehearsalConfig(what=("own",), size=2))

    def prefer(out: Path, train: TrainConfig, until: int | None = None) -> TrainResult:
        return run_training(
            "dpo",
            policy,
            pairs(17),
            config.model_copy(update={"epochs": 1.0}),
            out,
            seed=1,
            threads=1,
            reporter=Steps(),
            stage="M2/train",
            rehearsal=rehearsal,
            until=until,
            train=train,
        )

    whole = prefer(tmp_path / "whole" / "M2", TrainConfig())
    out = tmp_path / "parts" / "M2"
    parts = [prefer(out, TORCHRUN, until) for until in (2, 4, 6)]
    assert [part.steps for part in parts] == [2, 4, 5]
    assert sorted(p.name for p in (out / "selected").iterdir()) == ["step-2", "step-4"]
    assert (parts[-1].rehearsed, parts[-1].rehearsal_losses) == (5, whole.rehearsal_losses)
    for file in ("log.jsonl", "plan.json", "reference.jsonl", "checkpoint/model.safetensors", "checkpoint/README.md"):
        assert (out / file).read_bytes() == (whole.checkpoint.parent / file).read_bytes(), file
    assert (out / "probes.json").is_file()


def free_port() -> int:
    with socket.socket() as there:
        there.bind(("127.0.0.1", 0))
        port: int = there.getsockname()[1]
        return port


def workers_of(out: Path) -> list[psutil.Process]:
    """The processes that train, torchrun left out."""
    wanted = [str(out / "launched" / "task.json"), "trainers.worker"]
    found = []
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
        except psutil.Error:
            continue
        if line[-1:] == wanted[:1] and "torch.distributed.run" not in line:
            found.append(process)
    return found


#: two machines of one process each: the command runs on both, signals reach both
SRUN = f"""#!{sys.executable}
import signal, subprocess, sys
nodes = [subprocess.Popen([word for word in sys.argv[1:] if not word.startswith("--ntasks")]) for _ in range(2)]
for wanted in (signal.SIGTERM, signal.SIGINT):
    signal.signal(wanted, lambda number, frame: [node.send_signal(number) for node in nodes])
sys.exit(max(abs(node.wait()) for node in nodes))
"""


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_a_stopped_training_goes_on_to_the_same_bytes(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes, with dropout: undisturbed on one machine; on two, by the real launcher, with one killed (-9), then
    one told to stop, then gone on with."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "srun").write_text(SRUN)
    (tmp_path / "bin" / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    long = CONFIG.model_copy(update={"epochs": 16.0})  # not over before it is stopped
    with monkeypatch.context() as patch:
        patch.setattr(launched, "Program", LaunchedForks)
        undisturbed = train(tiny_model, tmp_path / "whole" / "SFT", config=long)
    assert undisturbed.steps == 80
    out = tmp_path / "disturbed" / "SFT"

    def disturb() -> None:
        if len(signals) == 2 or (signals and not reporter.messages):
            return  # steps made before the signal, and read after it
        found = workers_of(out)
        assert len(found) == 2
        told = signal.SIGTERM if signals else signal.SIGKILL
        found[1].send_signal(told)
        signals.append(told)

    meeting = f"--rdzv-backend c10d --rdzv-endpoint 127.0.0.1:{free_port()} --local-addr 127.0.0.1"
    launch = f"srun --ntasks-per-node=1 torchrun --nnodes 2 --nproc-per-node 1 {meeting} --max-restarts 1"
    restarting = TrainConfig(launch=launch, processes=2)
    signals: list[int] = []
    reporter = Steps(disturb, 4, *range(7, 80))
    with pytest.raises(Terminated):
        train(tiny_model, out, reporter, long, restarting)
    assert signals == [signal.SIGKILL, signal.SIGTERM]
    assert reporter.messages == ["A process of the training ended, and its launcher starts them anew."]
    assert workers_of(out) == []
    assert 7 <= max(int(p.name.partition("-")[2]) for p in (out / "resume").iterdir()) < 80
    monkeypatch.setattr(launched, "Program", LaunchedForks)
    ended = train(tiny_model, out, config=long)
    for file in ("log.jsonl", "plan.json", "checkpoint/model.safetensors", "checkpoint/README.md"):
        assert (out / file).read_bytes() == (undisturbed.checkpoint.parent / file).read_bytes(), file
    assert ended.first_step == undisturbed.first_step
    assert sorted(p.name for p in out.iterdir()) == ["checkpoint", "log.jsonl", "plan.json", "probes.json"]
