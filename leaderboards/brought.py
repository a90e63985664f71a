"""Benchmarks that others bring: a class in a file that the user names, or one that an installed package brings.

A file is named ``PATH.py:CLASS``, and its code is run; only a command line or a caller can name one, never a recipe.
The code's hash is part of every result's settings and conditions, so edited code makes results anew, and numbers of
unlike code are not compared. What goes wrong in the code is told as its own error and does not stop other benchmarks.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.abc import SourceLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from traceback import walk_tb
from typing import Any, Final, TypeVar, cast

from leaderboards.base import Benchmark, Outcome, Plan, Setting, Subject, measures
from leaderboards.descriptions import is_own, learn
from selfreward_bench.errors import ConfigError, DataError, PluginError, SrbenchError
from selfreward_bench.plugins import Found, told
from selfreward_bench.storage.files import os_errors
from selfreward_bench.storage.rundir import hash_json
from selfreward_bench.types import Description, SampleScore

__all__ = ["Brought", "Named", "made", "named_file", "of_file", "of_package"]

T = TypeVar("T")

_FILE: Final = re.compile(r"(?P<path>.+?\.py)(?::(?P<name>[^:]*))?(?::(?P<file>.+))?", re.DOTALL)
_KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}@[A-Za-z0-9][A-Za-z0-9._+-]{0,19}")
_MEMBERS: Final[Mapping[str, type | None]] = {  # None: something to call
    "key": str,
    "description": Description,
    "needs_judge": bool,
    "local_only": bool,
    "identity": None,
    "plan": None,
    "recognise": None,
    "run": None,
}


@dataclass(frozen=True)
class Named:
    """What ``PATH.py:CLASS`` or ``PATH.py:CLASS:FILE`` names."""

    path: Path
    name: str
    file: str


def named_file(text: str) -> Named | None:
    """The file of code that a text names; None where it names none."""
    found = _FILE.fullmatch(text)
    return Named(Path(found["path"]), found["name"] or "", found["file"] or "") if found else None


def of_file(named: Named) -> Brought:
    """The benchmark of a file of code, which is run now.

    Raises:
        ConfigError: no class is named, or the class takes no file, or needs one.
        DataError: the file is not there or cannot be read.
        PluginError: it cannot be run, has no such class, or the class is no benchmark.
    """
    path, name = named.path, named.name
    if not name:
        raise ConfigError(f"{path}: name the class as well, as {path}:CLASS.")
    if not path.is_file():
        raise DataError(f"{path} is not there. A benchmark of your own is named PATH.py:CLASS (docs/extending.md).")
    with os_errors(path, "read"):
        content = path.read_bytes()
    found = getattr(_module(path, content), name, None)
    if not callable(found):
        raise PluginError(f"{path} has no class {name!r}. A benchmark is a class (docs/extending.md).")
    origin = _Origin(f"{path}:{name}", str(path.resolve()))
    with origin.telling():
        own = made(found, origin.what, named.file)
    return Brought(own, origin, {"code": hashlib.sha256(content).hexdigest()})


def of_package(found: Found, row: str, file: str = "") -> Brought:
    """The benchmark that a package brings; its code is the file with its class.

    Raises:
        ConfigError: it takes no file, or needs one.
        PluginError: it is no benchmark.
    """
    origin = _Origin(f"{row} ({found.distribution})")
    with origin.telling():
        own = made(found.value, row, file)
        place = inspect.getsourcefile(type(own)) or ""
    code = hashlib.sha256(Path(place).read_bytes()).hexdigest() if place and Path(place).is_file() else ""
    return Brought(own, replace(origin, file=place), {"code": code, "package": found.distribution})


def made(maker: Callable[..., object], name: str, file: str = "") -> object:
    """An instance of a benchmark's class.

    Args:
        name: what messages call it.
        file: is handed to it, where one is named.

    Raises:
        ConfigError: it takes no file, or needs one.
    """
    given = (Path(file),) if file else ()
    try:
        inspect.signature(maker).bind(*given)
    except TypeError as error:
        how = "takes no file" if file else f"needs a file; name it as {name}:FILE"
        raise ConfigError(f"Benchmark {name!r} {how}.") from error
    return maker(*given)


@dataclass(frozen=True)
class _Origin:
    """Where somebody else's code comes from.

    Attributes:
        what: what messages call it.
        file: with the code; empty where it is not known.
    """

    what: str
    file: str = ""

    @contextmanager
    def telling(self) -> Iterator[None]:
        """What goes wrong in the code is told with its place; srbench's own errors pass."""
        try:
            yield
        except SrbenchError:
            raise
        except Exception as error:
            raise PluginError(f"{self.what} fails{self._place(error)}: {told(error)}") from error

    def _place(self, error: BaseException) -> str:
        if isinstance(error, SyntaxError) and error.lineno:
            return f" in line {error.lineno}"
        lines = [line for frame, line in walk_tb(error.__traceback__) if frame.f_code.co_filename == self.file]
        return f" in line {lines[-1]}" if lines else ""


class Brought:
    """A benchmark that somebody else wrote, as the harness takes it.

    Args:
        own: the benchmark.
        code: what its code is: conditions of its numbers.

    Raises:
        PluginError: it lacks what a benchmark has, or its key cannot be used.
    """

    def __init__(self, own: object, origin: _Origin, code: Mapping[str, str]) -> None:
        self._origin, self._code = origin, code
        with origin.telling():
            _check(own, origin.what)
            self._own = cast(Benchmark, own)
            self.key: str = self._own.key
            self.description: Description = self._own.description
            self.needs_judge: bool = self._own.needs_judge
            self.local_only: bool = self._own.local_only
        learn(self.key, self.description)

    def identity(self, setting: Setting) -> dict[str, object]:
        """See ``Benchmark``; the code is part of it."""
        with self._origin.telling():
            found = {**self._own.identity(setting), **self._code}
            hash_json(found)  # what cannot be written down is told here
            return found

    def plan(self, setting: Setting) -> Plan:
        """See ``Benchmark``."""
        with self._origin.telling():
            return _of_type(self._own.plan(setting), Plan, "plan")

    def recognise(self, path: Path) -> str | None:
        """See ``Benchmark``."""
        with self._origin.telling():
            return self._own.recognise(path)

    def run(self, subject: Subject) -> Outcome:
        """See ``Benchmark``; the code is a condition of its numbers.

        Where the benchmark states none itself, all its settings are, which have the code in them.
        """
        with self._origin.telling():
            outcome = _checked(_of_type(self._own.run(subject), Outcome, "run"))
            stated = {**outcome.comparability, **self._code} if outcome.comparability else {}
            return replace(outcome, comparability=stated)


# --- a file's code


class _Loader(SourceLoader):
    """Runs the very bytes that were hashed: no bytecode of earlier ones is looked for or left behind."""

    def __init__(self, path: Path, content: bytes) -> None:
        self._path, self._content = path, content

    def get_filename(self, fullname: str) -> str:
        return str(self._path)

    def get_data(self, path: str) -> bytes:
        return self._content


def _module(path: Path, content: bytes) -> Any:
    """The file as a module, run once for its place and its content."""
    place = path.resolve()
    name = "srbench_brought_" + hashlib.sha256(bytes(place) + b"\0" + content).hexdigest()[:16]
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_loader(name, _Loader(place, content))
    if spec is None or spec.loader is None:
        raise PluginError(f"{path} cannot be imported.")
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        with _Origin(str(path), str(place)).telling():
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


# --- checks


def _check(own: object, what: str) -> None:
    lacking = [name for name, kind in _MEMBERS.items() if not _has(own, name, kind)]
    if lacking:
        listed = ", ".join(name + (f" ({kind.__name__})" if (kind := _MEMBERS[name]) else "()") for name in lacking)
        raise PluginError(f"{what} is no benchmark: it lacks {listed}. docs/extending.md shows a whole one.")
    key: str = own.key  # type: ignore[attr-defined]  # looked up above
    if not _KEY.fullmatch(key) or ".." in key:
        raise PluginError(
            f"{what}: the key {key[:100]!r} cannot name a folder. Write NAME@VERSION in letters, digits and . _ + -, "
            "such as capitals@1."
        )
    if is_own(key.casefold()):
        raise PluginError(f"{what}: {key} is a name of srbench's own benchmarks. Give it another one.")


def _has(own: object, name: str, kind: type | None) -> bool:
    value = getattr(own, name, None)
    return callable(value) if kind is None else isinstance(value, kind)


def _of_type(value: object, kind: type[T], member: str) -> T:
    if not isinstance(value, kind):
        raise TypeError(f"{member} gave {type(value).__name__}, not {kind.__name__}")
    return value


def _checked(outcome: Outcome) -> Outcome:
    """Refuses rows that could not be summed up, or read again."""
    ids: set[str] = set()
    for scored in outcome.rows:
        numbers = measures(_of_type(scored, SampleScore, "a row"))
        wrong = [name for name, v in numbers.items() if not (v is None or (_is_number(v) and math.isfinite(v)))]
        if wrong:
            raise ValueError(f"row {scored.sample_id!r}: {wrong[0]} is {numbers[wrong[0]]!r}; give a number or None")
        if scored.sample_id in ids:
            raise ValueError(f"two rows are called {scored.sample_id!r}")
        ids.add(scored.sample_id)
    return outcome


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)
