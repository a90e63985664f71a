"""The errors srbench raises on purpose. Each message says what was given, why it cannot work, and the way out.

    SrbenchError
    ├── ConfigError              a recipe, an option or a value in it
    ├── UnknownNameError         a name that is in none of srbench's tables ("did you mean")
    ├── MissingDependencyError   an optional package is not installed
    ├── PluginError              code that others bring (a file, an installed package) cannot be used, or fails
    ├── IncompatibleRunError     a run directory that was made with other settings, another version, or is in use
    ├── DataError                a file or record that cannot be used (names file and line)
    ├── EngineError              a model cannot be loaded or cannot answer
    ├── TrainingError            training cannot start or had to stop (last good state is kept)
    └── LoopViolation            the loop's check of itself failed (weights, reference, pairs)

The command line prints these without a traceback and exits 2; a traceback means a bug.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

__all__ = [
    "ConfigError",
    "DataError",
    "EngineError",
    "IncompatibleRunError",
    "LoopViolation",
    "MissingDependencyError",
    "PluginError",
    "SrbenchError",
    "Terminated",
    "TrainingError",
    "UnknownNameError",
    "did_you_mean",
    "first_line",
]

_LONGEST_LINE: Final = 300  # characters


class SrbenchError(Exception):
    """Base of every error a user can cause or mend."""


class ConfigError(SrbenchError):
    """A recipe, an option or one of its values cannot be used."""


class UnknownNameError(SrbenchError):
    """A name is in none of srbench's tables."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        super().__init__(f"Unknown {kind} {name!r}.{did_you_mean(name, names)} Known: {', '.join(names)}.")


class MissingDependencyError(SrbenchError):
    """An optional package is not installed."""


class PluginError(SrbenchError):
    """Code that others bring, in a file or an installed package, cannot be used, or fails."""


class IncompatibleRunError(SrbenchError):
    """A run directory was made with other settings or another version, or is in use."""


class DataError(SrbenchError):
    """A file or a record in it cannot be used."""


class EngineError(SrbenchError):
    """A model cannot be loaded or cannot answer."""


class TrainingError(SrbenchError):
    """Training cannot start or had to stop."""


class LoopViolation(SrbenchError):
    """The loop's check of itself failed: what was trained is not what it claims to be."""


class Terminated(KeyboardInterrupt):
    """A process that worked for this one was told to end by SIGTERM, and has saved what it could; no SrbenchError."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns `` Did you mean 'x'?`` for the closest known name, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def first_line(error: BaseException) -> str:
    """What a library's error says, in one line of at most 300 characters; its kind where it says nothing.

    >>> first_line(ValueError("Validation error for field 'x':\\n    TypeError: expected int\\nmore"))
    "Validation error for field 'x': TypeError: expected int"
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    text = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    if isinstance(error, KeyError | AttributeError | AssertionError | IndexError):
        text = f"{type(error).__name__}: {text}"  # says little without its kind
    return text if len(text) <= _LONGEST_LINE else f"{text[: _LONGEST_LINE - 3]}..."
