"""How commands end: what the user can mend is a message and exit code 2, never a traceback."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from selfreward_bench import errors
from selfreward_bench.cli.app import COMMANDS, MEANT
from selfreward_bench.cli.failures import Commands, interruptible

ERRORS = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error") or name == "LoopViolation"]


def run(raised: BaseException | None = None, *, body: Any = None) -> Any:
    app = typer.Typer(cls=Commands, pretty_exceptions_enable=False)

    @app.callback()
    def group() -> None: ...

    @app.command()
    def work() -> None:
        if body:
            body()
        if raised:
            raise raised

    return CliRunner().invoke(app, ["work"])


@pytest.mark.parametrize("kind", ERRORS)
def test_what_a_user_can_mend_ends_with_its_message_and_code_2(kind: type[errors.SrbenchError]) -> None:
    error = kind("judge", "x", ["y"]) if kind is errors.UnknownNameError else kind("mine.yaml:3: dpo.beta: no number")
    result = run(error)
    assert result.exit_code == 2
    assert result.stderr == f"Error: {error}\n"
    assert result.stdout == ""


def test_a_bug_keeps_its_traceback() -> None:
    result = run(KeyError("lost"))
    assert isinstance(result.exception, KeyError)
    assert result.exit_code == 1


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/x/M1/log.jsonl"),
            ["runs/x/M1/log.jsonl", "no space is left"],
        ),
        (OSError(errno.EROFS, os.strerror(errno.EROFS), "runs/x"), ["runs/x", "read-only"]),
        (OSError(errno.ENAMETOOLONG, "File name too long", "a" * 300), ["the name is too long"]),
        (PermissionError(errno.EACCES, "denied", "runs/x"), ["runs/x", "permission is denied"]),
        (
            RuntimeError("I/O error: No space left on device (os error 28)"),
            ["a file that the error does not name: no space"],
        ),
        (
            OSError(errno.EMFILE, "Too many open files"),
            ["a file that the error does not name", "too many files are open"],
        ),
    ],
)
def test_what_the_machine_refuses_in_a_library_is_put_in_words(raised: Exception, words: list[str]) -> None:
    result = run(raised)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert all(word in result.stderr for word in words)


def test_a_missing_file_nobody_put_in_words_is_a_bug() -> None:
    assert isinstance(run(FileNotFoundError(errno.ENOENT, "none", "x")).exception, FileNotFoundError)


def test_a_message_cannot_steer_the_terminal() -> None:
    result = run(errors.DataError("id '\x1b[2J\x07\u202e\udc80' is there twice\nMend it."))
    assert result.stderr == "Error: id '\\x1b[2J\\x07\\u202e\\udc80' is there twice\nMend it.\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_stop_cleanly_and_say_how_to_go_on(number: signal.Signals, code: int) -> None:
    before = signal.getsignal(signal.SIGTERM)
    reached = []

    def body() -> None:
        with interruptible("srbench run-iteration 'runs/my run'"):
            signal.raise_signal(number)
            reached.append("after")

    result = run(body=body)
    assert result.exit_code == code
    assert "Go on with:\n  srbench run-iteration 'runs/my run'\n" in result.stderr
    assert "Traceback" not in result.output
    assert not reached
    assert signal.getsignal(signal.SIGTERM) == before


def test_sigterm_goes_to_whoever_handles_ctrl_c_at_that_moment() -> None:
    """A training takes over Ctrl-C to save its state at the end of the step."""
    seen = []

    def body() -> None:
        with interruptible("again"):
            previous = signal.signal(signal.SIGINT, lambda *_: seen.append("saved"))
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                signal.signal(signal.SIGINT, previous)
            raise KeyboardInterrupt  # what the training does when it has saved

    assert run(body=body).exit_code == 143
    assert seen == ["saved"]


def test_sigterm_at_a_process_that_trains_ends_the_command_as_its_own() -> None:
    def body() -> None:
        with interruptible("again"):
            raise errors.Terminated

    assert run(body=body).exit_code == 143


def test_sigterm_also_stops_where_ctrl_c_is_ignored() -> None:
    def body() -> None:
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            with interruptible("again"):
                signal.raise_signal(signal.SIGTERM)
        finally:
            signal.signal(signal.SIGINT, previous)

    assert run(body=body).exit_code == 143


def test_ctrl_c_outside_of_long_work_is_no_traceback() -> None:
    result = run(KeyboardInterrupt())
    assert result.exit_code == 130
    assert result.stderr == "Stopped.\n"


def test_usage_errors_end_with_code_2(cli: Any) -> None:
    for arguments in (
        ["init"],
        ["unknown"],
        ["init", "runs/x", "--nonsense"],
        ["init", "runs/x", "--seed", "many"],
        ["eval"],
    ):
        result = cli(*arguments)
        assert result.exit_code == 2
        assert "Usage: srbench" in result.stderr
        assert "Traceback" not in result.output


def test_a_broken_run_argument_is_a_message(cli: Any, tmp_path: Path) -> None:
    result = cli("status", tmp_path / "nothing")
    assert result.exit_code == 2
    assert "srbench init" in result.stderr


def test_a_mistyped_command_gets_a_suggestion(cli: Any) -> None:
    result = cli("run-iterations")
    assert result.exit_code == 2
    assert "Did you mean 'run-iteration'?" in result.stderr


@pytest.mark.parametrize(
    ("called", "meant"),
    [("run", "run-iteration"), ("train", "run-iteration"), ("evaluate", "eval"), ("show", "report")],
)
def test_what_others_call_a_command_is_understood(cli: Any, called: str, meant: str) -> None:
    result = cli(called, "runs/first")
    assert result.exit_code == 2
    assert f"No such command '{called}'. Did you mean '{meant}'? " in result.stderr


def test_no_command_is_called_like_another_ones_other_name() -> None:
    assert not MEANT.keys() & COMMANDS.keys()
    assert set(MEANT.values()) <= COMMANDS.keys()
