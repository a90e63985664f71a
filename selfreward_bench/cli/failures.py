"""How a command ends when it cannot go on: a message and an exit code, never a traceback for what the user can mend.

2    the user can mend it: SrbenchError, a wrong option, a full disk
130  Ctrl-C         143  SIGTERM; both say how to go on
1    a bug (with its traceback), a check that found something (doctor, validate), an evaluation that scored nothing
"""

from __future__ import annotations

import errno
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from selfreward_bench.cli.console import say
from selfreward_bench.errors import DataError, SrbenchError, Terminated
from selfreward_bench.storage.files import os_errors

# what a machine does to a program, or says of a path that somebody named; any other OSError that srbench has not put in
# words is a bug and keeps its traceback
_OF_THE_MACHINE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.EIO}
    | {errno.ENAMETOOLONG, errno.ELOOP}
)


class Commands(TyperGroup):
    """The group of all commands: what they raise on purpose ends here."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SrbenchError as error:
            fail(error)
        except KeyboardInterrupt:
            say("Stopped.", err=True)
            raise typer.Exit(128 + signal.SIGINT) from None
        except Exception as error:
            if (known := of_the_machine(error)) is None:
                raise
            fail(known)


def fail(error: SrbenchError) -> NoReturn:
    """Prints the message and ends with exit code 2."""
    say(f"Error: {error}", err=True)
    raise typer.Exit(2) from None


def of_the_machine(error: BaseException) -> SrbenchError | None:
    """What a library reports of the machine (a full disk, missing permissions), in words; None for anything else."""
    refusal = error if isinstance(error, OSError) else None
    if refusal is None and ("No space left on device" in str(error) or "os error 28" in str(error)):
        refusal = OSError(errno.ENOSPC, "No space left on device")  # libraries in Rust and C++ have errors of their own
    if refusal is None or refusal.errno not in _OF_THE_MACHINE:
        return None
    try:
        named = refusal.filename if isinstance(refusal.filename, str) else None
        with os_errors(Path(named or "a file that the error does not name"), "use"):
            raise refusal
    except DataError as worded:
        return worded


@contextmanager
def interruptible(go_on: str) -> Iterator[None]:
    """Lets Ctrl-C and SIGTERM end the block cleanly, and says how to go on.

    SIGTERM is given to whoever handles Ctrl-C at that moment: a training saves its state first. One that a process of
    the training got alone counts as this one's.

    Args:
        go_on: the command that continues the work.
    """
    terminated = False

    def on_termination(number: int, frame: FrameType | None) -> None:
        nonlocal terminated
        terminated = True
        handler = signal.getsignal(signal.SIGINT)
        if not callable(handler):  # a shell's background job ignores Ctrl-C, but not this
            raise KeyboardInterrupt
        handler(signal.SIGINT, frame)

    in_main = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGTERM, on_termination) if in_main else None
    try:
        yield
    except KeyboardInterrupt as stop:
        terminated = terminated or isinstance(stop, Terminated)
        say(f"\nStopped. What is complete is kept. Go on with:\n  {go_on}", err=True)
        raise typer.Exit(128 + (signal.SIGTERM if terminated else signal.SIGINT)) from None
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, previous)
