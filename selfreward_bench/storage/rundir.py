"""A run is a directory of plain files: its configuration, and for each stage a start marker, records and an end marker.

    runs/NAME/srbench.yaml               the resolved configuration, written before any work
    runs/NAME/.lock                      the one writer: process, host, start time
    runs/NAME/M2/candidates.start.json   what the stage is made from, written when it starts
    runs/NAME/M2/candidates.stage.json   written last: the stage is done; counts, hashes, seconds, date, hardware

Dates (but for the day of the run's making, ``engine.date``), durations and hardware are in ``*.stage.json`` alone, so
all other files of a run that was killed and resumed equal those of an undisturbed one. This module knows no stage by
name; who runs stages passes their names and order in.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from pathlib import Path

from pydantic_core import to_jsonable_python

from selfreward_bench import __version__, recipes
from selfreward_bench.config import RunConfig
from selfreward_bench.errors import IncompatibleRunError, UnknownNameError
from selfreward_bench.recipes.layers import show
from selfreward_bench.storage.files import os_errors, sync_directory, write_atomic
from selfreward_bench.storage.lock import writer_lock
from selfreward_bench.storage.stages import (
    Identity,
    Stage,
    StageStatus,
    differences_of,
    json_bytes,
    read_marker,
)

__all__ = ["FORMAT", "RunDir", "Stage", "StageStatus", "hash_file", "hash_json"]

FORMAT = 1  # of the directory's layout; raised when an older srbench could not read it

_CONFIG_FILE = "srbench.yaml"
_LOCK_FILE = ".lock"
_CHECKPOINT = "checkpoint"
#: runs whose lock the caller of this code keeps; other threads have a context of their own
_KEPT: ContextVar[frozenset[Path]] = ContextVar("kept locks", default=frozenset())
_TRAINING = "train"  # the stage that leaves a checkpoint


def hash_file(path: Path) -> str:
    """The content's BLAKE2b (128 bits, hex).

    Raises:
        DataError: the file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    with os_errors(path, "read"), path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def hash_json(value: object) -> str:
    """BLAKE2b (128 bits, hex) of a value's canonical JSON; records, sections and tuples count as what they hold.

    A sequence is read item by item, as it may be long.
    """
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        digest.update(b"[")
        for number, item in enumerate(value):
            digest.update(b"," * (number > 0) + _canonical(item))
        digest.update(b"]")
    else:
        digest.update(_canonical(value))
    return digest.hexdigest()


def _canonical(value: object) -> bytes:
    return json.dumps(to_jsonable_python(value), sort_keys=True, allow_nan=False, separators=(",", ":")).encode()


class RunDir:
    """One run's directory.

    Attributes:
        path: the directory.
        config: the configuration the run was made with.
    """

    def __init__(self, path: Path, config: RunConfig) -> None:
        self.path = path
        self.config = config

    @classmethod
    def create(cls, path: Path, config: RunConfig) -> RunDir:
        """Makes the directory and writes the configuration into it.

        Where that names no day for chat templates to show (``engine.date``), it is today: a run that goes on after
        midnight, or is evaluated a year later, renders as it began.

        Raises:
            IncompatibleRunError: a run, or anything else, is there already.
            DataError: the operating system refuses.
        """
        engine = config.engine
        dated = engine.model_copy(update={"date": engine.date or datetime.now().astimezone().date().isoformat()})
        config = config.model_copy(update={"engine": dated})
        run = cls(path, config)
        run._refuse_if_occupied()
        with os_errors(path, "create the run directory"):
            path.mkdir(parents=True, exist_ok=True)
        with run.lock():
            run._refuse_if_occupied()  # another process may have been quicker
            write_atomic(path / _CONFIG_FILE, _config_text(config).encode())
        return run

    @classmethod
    def open(cls, path: Path) -> RunDir:
        """Opens a run.

        Raises:
            IncompatibleRunError: there is no run, or another version of the layout made it.
            ConfigError: its ``srbench.yaml`` cannot be used.
        """
        file = path / _CONFIG_FILE
        if not path.is_dir():
            raise IncompatibleRunError(f"There is no run directory {path}. Make one with `srbench init {path}`.")
        if not file.is_file():
            raise IncompatibleRunError(
                f"{path} is not a run: it has no {_CONFIG_FILE}. Check the path, or make a run with `srbench init`."
            )
        layer = recipes.parse(recipes.read_text(file), str(file))
        header = {key: layer.values.get(key) for key in ("format", "srbench")}
        config = layer.values.get("config")
        if header["format"] != FORMAT or not isinstance(config, dict):
            raise IncompatibleRunError(
                f"{file} has format {show(header['format'])}, made by srbench {show(header['srbench'])}; this is "
                f"srbench {__version__}, which reads format {FORMAT}. Use that version for this run, or start anew."
            )
        inner = {place[1:]: line for place, line in layer.places.items() if place[0] == "config" and len(place) > 1}
        return cls(path, recipes.resolve([recipes.Layer(recipes.current(config), inner, layer.problems)], str(file)))

    def change_settings(self, config: RunConfig, *, all_of_them: bool = False) -> None:
        """Keeps other settings on which no stage depends: the evaluation's (``eval``, ``judge.request``), ``track``,
        ``cluster``, ``train``, ``engine.urls``, ``engine.start_timeout``.

        Args:
            config: the run's own but for those.
            all_of_them: no stage was begun, so others may differ, too.

        Raises:
            ValueError: another section differs.
            IncompatibleRunError: another process is writing.
            DataError: the operating system refuses.
        """
        if not all_of_them and config != self.config.with_changeable(config):
            raise ValueError("only eval, judge.request, track, cluster, train and engine.urls can change in a run")
        with self.lock():
            write_atomic(self.path / _CONFIG_FILE, _config_text(config).encode())
        self.config = config

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Makes this process the run's one writer for the block. See ``selfreward_bench.storage.lock``.

        Within ``kept_lock`` there is nothing more to take.

        Raises:
            IncompatibleRunError: another process (or this one) is writing, or a directory in it is a link out of it.
            DataError: the operating system refuses.
        """
        if self.path.resolve() in _KEPT.get():
            yield
            return
        self._refuse_links_out()
        with writer_lock(self.path / _LOCK_FILE):
            yield

    def _refuse_links_out(self) -> None:
        """Directories are written into; a checkpoint is only read, or replaced as a whole."""
        root = self.path.resolve()
        for pattern in ("*", "*/*", "*/*/*"):
            for found in self.path.glob(pattern):
                leads_out = found.is_symlink() and found.is_dir() and root not in found.resolve().parents
                if leads_out and found.name != _CHECKPOINT:
                    raise IncompatibleRunError(
                        f"{found} is a link to a directory outside the run, where nothing is written. Put the "
                        "directory itself in its place."
                    )

    @contextmanager
    def kept_lock(self) -> Iterator[None]:
        """As ``lock``, for work that takes the lock itself, time and again: nobody else gets it in between."""
        with self.lock():
            token = _KEPT.set(_KEPT.get() | {self.path.resolve()})
            try:
                yield
            finally:
                _KEPT.reset(token)

    def stage(self, name: str, inputs: Mapping[str, str], settings: Mapping[str, object], version: int = 1) -> Stage:
        """Opens a stage; a new one is marked as started, with what it is made from.

        Args:
            name: ``MODEL/STAGE``, such as ``M2/candidates``; its files are in the directory before the last slash.
            inputs: name -> content hash of what the stage reads.
            settings: what it is configured with; nested mappings and config sections are welcome.
            version: of the stage's code; raised when the same inputs and settings come to something else.

        Raises:
            IncompatibleRunError: the stage was started or finished with other inputs, settings or code.
        """
        identity = Identity(inputs=dict(inputs), settings=to_jsonable_python(dict(settings)), version=version)
        stage = Stage(self.path, name)
        status = stage.status
        if status == "new":
            write_atomic(stage.start_path, json_bytes(identity.model_dump()))
        else:
            stored = stage.done.identity if stage.done else read_marker(stage.start_path, Identity, name)
            if differences := differences_of(stored, identity):
                listing = "\n".join(f"  {difference}" for difference in differences)
                raise IncompatibleRunError(
                    f"Stage {name} of {self.path} was {'finished' if status == 'done' else 'started'} with something "
                    f"else:\n{listing}\nRestore that, or make this stage and all after it anew: --from-stage {name}"
                )
        stage.identity = identity
        return stage

    def stage_status(self, name: str) -> StageStatus:
        """How far a stage is, without opening it (nothing is written or compared)."""
        return Stage(self.path, name).status

    def finished_stage(self, name: str) -> Stage | None:
        """A finished stage with its counts and outputs; None for any other."""
        stage = Stage(self.path, name)
        return stage if stage.done else None

    def check_weights(self, model: str, found: str, files: str | None = None) -> None:
        """Compares a model that the run trained with what its training left; what was not recorded is not compared.

        Args:
            found: ``weights_fingerprint`` of its checkpoint.
            files: ``files_fingerprint`` of it, where these count, too.

        Raises:
            IncompatibleRunError: it was exchanged or changed since.
        """
        stage = self.finished_stage(f"{model}/{_TRAINING}")
        recorded = stage.outputs if stage else {}
        weights = recorded.get("checkpoint", found) != found
        if weights or (files and recorded.get("files", files) != files):
            what = "has other weights" if weights else "has another configuration, tokenizer or chat template"
            raise IncompatibleRunError(
                f"{self.path / model / 'checkpoint'} {what} than {model}/{_TRAINING} left there: it was exchanged or "
                f"changed since. Put back what was there, or train it anew: --from-stage {model}/{_TRAINING}"
            )

    def reset_from(self, stage_name: str, order: Sequence[tuple[str, Sequence[Path]]]) -> list[str]:
        """Deletes a stage and all later ones, the last one first, so that a crash leaves no stage without its inputs.

        Args:
            stage_name: the first stage to be made anew.
            order: all stages in the order they run, each with its files and directories (relative to the run).

        Returns:
            The names of the stages that had been started, and are new now.

        Raises:
            UnknownNameError: ``stage_name`` is not in ``order``.
            IncompatibleRunError: a path leads out of the run.
            DataError: the operating system refuses.
        """
        names = [name for name, _ in order]
        if stage_name not in names:
            raise UnknownNameError("stage", stage_name, names)
        later = order[names.index(stage_name) :]
        targets = {name: [self._inside(path) for path in paths] for name, paths in later}
        started = [name for name in targets if Stage(self.path, name).status != "new"]
        for name, paths in reversed(targets.items()):
            stage = Stage(self.path, name)
            for path in (stage.done_path, *paths, stage.start_path):
                _delete(path)
        return started

    def _refuse_if_occupied(self) -> None:
        with os_errors(self.path, "look into"):
            found = sorted(p.name for p in self.path.iterdir()) if self.path.exists() else []
        if _CONFIG_FILE in found:
            raise IncompatibleRunError(
                f"{self.path} is a run already. Go on with it (`srbench run-iteration {self.path}`), or choose another "
                "directory."
            )
        if strangers := [name for name in found if not name.startswith(".")]:
            raise IncompatibleRunError(
                f"{self.path} is not empty (it holds {show(strangers[0])}) and not a run. Choose a new directory."
            )

    def _inside(self, path: Path) -> Path:
        target = self.path / path
        parent = target.parent.resolve()
        root = self.path.resolve()
        if ".." in target.parts[-1:] or not (parent == root or root in parent.parents) or target.resolve() == root:
            raise IncompatibleRunError(f"{path} is not inside the run {self.path}; it is not deleted.")
        return target


def _config_text(config: RunConfig) -> str:
    values = {"format": FORMAT, "srbench": __version__, "config": config.model_dump(mode="json")}
    return (
        "# The resolved configuration of this run. Stages that are done or begun hold on to what they were made with:\n"
        "# a change here is refused by them, unless they are made anew with --from-stage. Only `eval`,\n"
        "# `judge.request`, `track`, `cluster`, `train`, `engine.urls` and `engine.start_timeout` may change.\n"
        f"{recipes.dump_values(values)}"
    )


# --- small things


def _delete(path: Path) -> None:
    with os_errors(path, "delete"):
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
        else:
            shutil.rmtree(path)
        if path.parent.is_dir():
            sync_directory(path.parent)
