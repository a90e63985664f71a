"""A training by processes that a launcher starts: written down, started, followed, and ended with this process.

The launcher is the recipe's (``trainers.commands``), its processes are ``trainers.worker``. They share this machine's
file system, and nothing else is asked of them: what they tell is read from a file in the training's directory.
"""

from __future__ import annotations

import math
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from selfreward_bench import errors
from selfreward_bench.engines.processes import Program, last_lines, of_this_code
from selfreward_bench.errors import SrbenchError, Terminated, TrainingError
from selfreward_bench.progress import Tell
from selfreward_bench.storage.files import os_errors
from trainers.resume import Frame, ResumeStore, StepLog
from trainers.tasks import COUNTED, STOP, Task, read_events, write_task
from trainers.training import TrainProgress, TrainResult, read_result

__all__ = ["FOLDER", "launched"]

FOLDER: Final = "launched"
LOG: Final = "launch.log"
_POLL: Final = 0.1
_QUIET: Final = 300.0  # seconds without a word of any process after which that is told
_KINDS: Final = {name: getattr(errors, name) for name in errors.__all__ if name.endswith(("Error", "Violation"))}


def launched(task: Task, command: Sequence[str], progress: Callable[[TrainProgress], None], tell: Tell) -> TrainResult:
    """Has a launcher's processes do a training, and waits for them.

    Ctrl-C asks them to save and to stop after their step; a second one ends them at once.

    Args:
        command: the launcher's; ``-m trainers.worker TASK`` is put behind it.

    Raises:
        SrbenchError: whatever the training raises, as it raises it here.
        TrainingError: the launcher cannot be started, or ended without a result; with the end of its log.
        KeyboardInterrupt: interrupted, with the state of the last step saved.
        Terminated: likewise, where not this process but one of the training's got SIGTERM.
    """
    started = time.perf_counter()
    folder = task.out_dir / FOLDER
    with os_errors(folder, "prepare", TrainingError):
        if folder.is_symlink():
            folder.unlink()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    file = write_task(task, folder)
    program = Program(
        [*command, "-m", "trainers.worker", str(file.absolute())],
        title="The launched training",
        setting="train.launch",
        environment=_environment(command),
        log=folder / LOG,
        error=TrainingError,
    )
    course = _Course(folder, progress, tell)
    try:
        code = _followed(program, course)
    finally:
        program.close()
    course.look()
    if course.result is None or code:
        raise course.failure(code)
    frame = Frame(
        ResumeStore(task.out_dir / "resume"), StepLog(task.out_dir / "log.jsonl"), task.out_dir / "checkpoint"
    )
    shutil.rmtree(folder, ignore_errors=True)
    return read_result(frame, started=started, **{name: int(course.result[name]) for name in COUNTED})


def _followed(program: Program, course: _Course) -> int:
    """The launcher's exit code, when it has ended."""
    quiet = time.monotonic() + _QUIET
    while True:
        try:
            code = program.exit_code()
            course.look()
            if code is not None:
                return code
            if time.monotonic() > quiet:
                quiet = math.inf
                course.tell_if_quiet()
            time.sleep(_POLL)
        except KeyboardInterrupt:
            if course.is_asked_to_stop:
                raise
            course.ask_to_stop()


class _Course:
    """What the processes have told so far."""

    def __init__(self, folder: Path, progress: Callable[[TrainProgress], None], tell: Tell) -> None:
        self._folder, self._progress, self._tell = folder, progress, tell
        self._offset, self._start = 0, 0
        self._told: set[str] = set()
        self._step = 0
        self.result: dict[str, Any] | None = None
        self._error: SrbenchError | None = None
        self._stopped = 0  # the exit code of processes that were told to
        self._is_heard = False
        self.is_asked_to_stop = False

    def look(self) -> None:
        """Reads what is new."""
        events, self._offset = read_events(self._folder, self._offset)
        for event in events:
            self._is_heard = True
            self._take(event)

    def ask_to_stop(self) -> None:
        self.is_asked_to_stop = True
        (self._folder / STOP).touch()

    def tell_if_quiet(self) -> None:
        """For a launcher that waits for something that never comes."""
        if not self._is_heard:
            self._tell(
                f"Nothing is heard of the training's processes since {_QUIET:g} s: they may wait for machines or for "
                f"each other, or read a large model. What they print is in {self._folder / LOG}."
            )

    def failure(self, code: int) -> BaseException:
        """Why there is no result."""
        if self._stopped:
            return Terminated() if self._stopped == 128 + signal.SIGTERM else KeyboardInterrupt()
        if self._error:
            return self._error
        log, states = self._folder / LOG, ResumeStore(self._folder.parent / "resume")
        why = "was a process killed, or out of memory?" if code else "did the launcher start what stands behind it?"
        kept = " What it saved is kept: run the same command again to go on." if states.latest() else ""
        return TrainingError(
            f"The launched training ended with exit code {code} and without a result ({why}).{kept} The end of its log "
            f"({log}):\n{last_lines(log)}"
        )

    def _take(self, event: dict[str, Any]) -> None:
        if event.get("start", 0) > self._start:  # the launcher began again, from the last state
            self._start, self._error, self._stopped = event["start"], None, 0
            self._tell("A process of the training ended, and its launcher starts them anew.")
        if "step" in event:
            if event["step"] > self._step:
                self._step = event["step"]
                self._progress(TrainProgress(self._step, event["steps"], {}, 0.0))
        elif "tell" in event:
            if event["tell"] not in self._told:  # each process says it
                self._told.add(event["tell"])
                self._tell(event["tell"])
        elif "error" in event:
            self._error = self._error or _error(event)
        elif "stopped" in event:
            self._stopped = self._stopped or event["stopped"]
        elif "result" in event:
            self.result = event["result"]


def _error(event: dict[str, Any]) -> SrbenchError:
    """The error that a process raised: one of ours, as it was."""
    kind = _KINDS.get(event.get("kind", ""), TrainingError)
    error: SrbenchError = kind.__new__(kind)  # some make their own text of what they are given
    error.args = (event["error"],)
    return error


def _environment(command: Sequence[str]) -> dict[str, str | None]:
    """What the processes find beside this one's variables."""
    # processes begun anew would find addresses of those before them
    return of_this_code(alone="--standalone" in command) | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
