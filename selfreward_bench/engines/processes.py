"""A program that srbench starts: in a group of its own, watched, ended with all that it began.

A vLLM server is several processes, and so is a training that a launcher starts; to kill the first leaves workers that
hold the accelerators' memory. So all are ended, by whoever can: ``Program.close``, the end of this process, or, where
srbench was killed, the next that opens an engine or trains (``end_abandoned``). What is needed for that is in a file
per program in the user's state directory. A launcher may give its workers groups of their own; they are known by a
variable in their environment.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import psutil

from selfreward_bench.engines.served.faults import clean
from selfreward_bench.errors import ConfigError, EngineError, SrbenchError
from selfreward_bench.storage.files import home, open_own, os_errors, write_atomic

__all__ = ["Program", "end_abandoned", "last_lines", "of_this_code", "state_directory"]

_MARK: Final = "SRBENCH_SERVER"  # an environment variable by which all processes of a program are known
_TITLE: Final = "VLLM::"  # what vLLM calls its processes, which overwrites command line and environment
_SAME_START: Final = 2.0  # seconds by which a start time may differ: it is rounded
_SAME_BOOT: Final = 60.0  # seconds by which the time of the machine's start may move when its clock is set
_GRACE: Final = 20.0  # seconds between asking a group to end and killing it
_POLL: Final = 0.1
_LOG_BYTES: Final = 65_536  # of a log's end that are looked at
_LOG_LINES: Final = 12
_ROOT: Final = Path(__file__).parents[2]
_TORCHRUN: Final = "PET_"  # begins the variables that stand for torchrun's options; clusters set them
_log = logging.getLogger(__name__)


def state_directory() -> Path:
    """Where it is written which programs were started: ``$XDG_STATE_HOME/srbench/servers`` (``~/.local/state``)."""
    named = Path(os.environ.get("XDG_STATE_HOME") or "")
    return (named if named.is_absolute() else home() / ".local" / "state") / "srbench" / "servers"


@dataclass(frozen=True, slots=True)
class _Record:
    """A program that was started.

    Attributes:
        pid: of its first process, and of the group and session of all.
        started: when, in seconds since the epoch.
        command: the command line of the first process.
        mark: the value of the environment variable ``SRBENCH_SERVER`` in all of them.
        host: on which it runs.
        boot: when that machine started, in seconds since the epoch.
        owner: the process of srbench that started it.
        owner_started: when that one started.
    """

    pid: int
    started: float
    command: tuple[str, ...]
    mark: str
    host: str
    boot: float
    owner: int
    owner_started: float

    @classmethod
    def read(cls, file: Path) -> _Record | None:
        """None where it is damaged."""
        try:
            values = json.loads(file.read_bytes())
            record = cls(**{**values, "command": tuple(values["command"])})
            numbers = (record.started, record.boot, record.owner_started)
            whole = all(isinstance(n, int) and n > 1 for n in (record.pid, record.owner))
            return record if whole and all(isinstance(n, int | float) for n in numbers) else None
        except (OSError, ValueError, TypeError, KeyError):
            return None

    @property
    def is_of_this_start(self) -> bool:
        """Whether the machine has not been started anew, so that numbers of processes mean what they meant."""
        return abs(psutil.boot_time() - self.boot) < _SAME_BOOT

    @property
    def is_owned(self) -> bool:
        """Whether the srbench that started it still runs."""
        try:
            return bool(abs(psutil.Process(self.owner).create_time() - self.owner_started) < _SAME_START)
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True

    def members(self) -> list[psutil.Process]:
        """What still runs of it: nothing where its number now belongs to another group."""
        every = list(psutil.process_iter())
        first = next((p for p in every if p.pid == self.pid), None)
        if first is not None and not self._is_first(first):
            return []
        return [p for p in every if p is first or self._is_mine(p) if _runs(p)]

    def _is_first(self, process: psutil.Process) -> bool:
        try:
            if abs(process.create_time() - self.started) >= _SAME_START:
                return False
            return not _runs(process) or tuple(process.cmdline()) == self.command or self._is_mine(process)
        except psutil.Error:
            return False

    def _is_mine(self, process: psutil.Process) -> bool:
        try:
            if process.create_time() < self.started - _SAME_START:
                return False
            titled = "".join(process.cmdline()).startswith(_TITLE) or process.name().startswith(_TITLE)
            if titled and _group_of(process.pid) == (self.pid, self.pid):
                return True
            return process.environ().get(_MARK) == self.mark
        except (psutil.Error, OSError):
            return False


def _runs(process: psutil.Process) -> bool:
    """Whether it has not ended; what ended and was not waited for by its parent has a number still."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _group_of(pid: int) -> tuple[int, int] | None:
    """Group and session of a process."""
    try:
        return os.getpgid(pid), os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None


class Program:
    """A running program.

    Args:
        command: its command line.
        title: what it is, for messages: ``The vLLM server of M1``.
        setting: that names the command.
        environment: what it finds beside this process's own variables; None takes one away.
        log: where it writes; a file in the user's state directory if None, which goes when it was ended as it should.
        error: what is raised.

    Raises:
        EngineError: the program cannot be started; or what ``error`` says.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        title: str,
        setting: str,
        environment: Mapping[str, str | None],
        log: Path | None = None,
        error: type[SrbenchError] = EngineError,
    ) -> None:
        self._title, self._error = title, error
        self._keep_log = log is not None
        folder = state_directory()
        with os_errors(folder, "prepare", error):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor, name = tempfile.mkstemp(prefix="server-", suffix=".log", dir=folder)
        own = Path(name)
        self._record = own.with_suffix(".json")
        self.log = log or own
        if log:
            own.unlink()
            os.close(descriptor)
            with os_errors(log, "write", error):
                descriptor = open_own(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        known = {**os.environ, **environment, _MARK: own.stem}
        try:
            self._process = subprocess.Popen(  # noqa: S603  # the user names the program
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                env={key: value for key, value in known.items() if value is not None},
                start_new_session=True,
            )
        except OSError as cause:
            self.log.unlink(missing_ok=True)
            raise error(f"{setting} cannot be started: {clean(cause)}") from cause
        finally:
            os.close(descriptor)
        self._end = weakref.finalize(self, _end_own, self._process, self._record)  # also when this process ends
        try:
            write_atomic(self._record, json.dumps(asdict(self._described(command))).encode())
        except BaseException:
            self.close()
            raise

    def _described(self, command: Sequence[str]) -> _Record:
        pid, me = self._process.pid, psutil.Process()
        with contextlib.suppress(psutil.Error):
            return _Record(
                pid=pid,
                started=psutil.Process(pid).create_time(),
                command=tuple(command),
                mark=self._record.stem,
                host=socket.gethostname(),
                boot=psutil.boot_time(),
                owner=me.pid,
                owner_started=me.create_time(),
            )
        raise self._error(self._told("ended at once"))

    def wait_until(self, ready: Callable[[], bool], timeout: float) -> None:
        """Returns when it is ready.

        Raises:
            EngineError: it ended before, or the time is over; with the end of its log.
        """
        end = time.monotonic() + timeout
        while not ready():
            self.check()
            if time.monotonic() > end:
                self.close(keep_log=True)
                raise self._error(self._told(f"is not ready after {timeout:g} s (engine.start_timeout) and was ended"))
            time.sleep(_POLL)

    def check(self) -> None:
        """Raises EngineError where it has ended, with the end of its log."""
        code = self.exit_code()
        if code is not None:
            self.close(keep_log=True)
            raise self._error(self._told(f"ended with exit code {code}"))

    def exit_code(self) -> int | None:
        """That of its first process; None while it runs."""
        return self._process.poll()

    def close(self, *, keep_log: bool = False) -> None:
        """Ends it and all it started.

        Args:
            keep_log: somebody is told of it.
        """
        self._end()
        self._keep_log |= keep_log
        if not self._keep_log:
            self.log.unlink(missing_ok=True)

    def _told(self, what: str) -> str:
        return f"{self._title} {what}. The end of its log ({self.log}):\n{last_lines(self.log)}"


def end_abandoned() -> int:
    """Ends programs whose srbench was killed; how many there were. Others' and those of other machines stay."""
    try:
        files = sorted(state_directory().glob("server-*.json"))
    except ConfigError:  # no home directory: nothing could be written down either
        return 0
    ended = 0
    for file in files:
        record = _Record.read(file)
        if record and (record.host != socket.gethostname() or (record.is_of_this_start and record.is_owned)):
            continue
        if record and record.is_of_this_start and record.members():
            _end(record.members)
            ended += 1
            _log.warning("Ended a program (process %d) that a killed srbench had left running.", record.pid)
        for left in (file, file.with_suffix(".log")):
            left.unlink(missing_ok=True)
    return ended


def _end_own(process: subprocess.Popen[bytes], file: Path) -> None:
    """Ends a program of this process."""
    record = _Record.read(file)

    def members() -> list[psutil.Process]:
        process.poll()  # an ended child stays in the group until it is waited for
        return record.members() if record else []

    _end(members)
    if process.poll() is None:  # it was never written down
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE)
    file.unlink(missing_ok=True)


def _end(members: Callable[[], list[psutil.Process]]) -> None:
    """Asks processes to end, and kills those that do not."""
    asked: dict[int, psutil.Process] = {}  # one that is ending no longer shows what it is

    def left() -> list[psutil.Process]:
        asked.update({process.pid: process for process in members()})
        return [process for process in asked.values() if process.is_running() and _runs(process)]

    for how, patience in ((signal.SIGTERM, _GRACE), (signal.SIGKILL, _GRACE)):
        for process in left():
            with contextlib.suppress(psutil.Error):
                process.send_signal(how)
        end = time.monotonic() + patience
        while left():
            if time.monotonic() > end:
                break
            time.sleep(_POLL)
        else:
            return


def of_this_code(*, alone: bool) -> dict[str, str | None]:
    """What Python processes of srbench's own find beside this one's variables: this very code, whatever lies in the
    current directory.

    Args:
        alone: torchrun starts them on this machine only, so they meet on the loopback, and it takes no notice of what a
            cluster says of other machines.
    """
    paths = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    if "site-packages" not in _ROOT.parts:
        paths.insert(0, str(_ROOT))
    found: dict[str, str | None] = {"PYTHONPATH": os.pathsep.join(paths) or None, "PYTHONSAFEPATH": "1"}
    if alone:
        found |= dict.fromkeys(n for n in os.environ if n.startswith(_TORCHRUN) and n != f"{_TORCHRUN}NPROC_PER_NODE")
    if alone and "GLOO_SOCKET_IFNAME" not in os.environ:
        names = (n for n, found in psutil.net_if_addrs().items() if any(a.address == "127.0.0.1" for a in found))
        found["GLOO_SOCKET_IFNAME"] = next(names, None)
    return found


def last_lines(file: Path) -> str:
    """The end of a log, fit for a message."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - _LOG_BYTES))
            lines = stream.read(_LOG_BYTES).decode("utf-8", "replace").splitlines()
    except OSError:
        return "  (it cannot be read)"
    shown = [clean(line) for line in lines if line.strip()][-_LOG_LINES:]
    return "\n".join(f"  {line}" for line in shown) or "  (it is empty)"
