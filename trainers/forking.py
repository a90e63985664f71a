"""A fork: another run that keeps what a run has made up to a stage, and goes on from there with other settings.

So an ablation costs only what it changes. What is kept is what a stage's own record says it was made from; settings
that would have changed a stage before the fork are refused, never overlooked.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from selfreward_bench.config import RunConfig
from selfreward_bench.errors import ConfigError, IncompatibleRunError
from selfreward_bench.storage.files import os_errors, write_atomic
from selfreward_bench.storage.origin import RECORD, Fork
from selfreward_bench.storage.rundir import RunDir, hash_file
from trainers.examination import CHECK_FILE
from trainers.iteration import check_stages, first_change
from trainers.stages import StageSpec, stages

__all__ = ["fork"]

_BASE: Final = "M0"
_EVALUATED: Final = "eval"  # its files grow where an evaluation goes on
_LINKED_BYTES: Final = 2**20  # larger files are linked, not copied: nothing writes into a file of a finished stage


def fork(run: RunDir, path: Path, config: RunConfig, changes: Mapping[str, tuple[str, str]], at: str | None) -> Fork:
    """Makes ``path`` a run of its own that keeps the finished stages of ``run`` before ``at``.

    The run that is forked is only read; it may be at work. Weights take no further space where the file system has hard
    links.

    Args:
        config: the new run's.
        changes: what differs, for the record.
        at: the first stage to be made anew; None finds the first that the changes touch.

    Raises:
        UnknownNameError: a run has no such stage.
        ConfigError: the changes touch a stage before ``at``, or nothing would be kept.
        IncompatibleRunError: something is at ``path`` already, or what would be kept was changed since it was made.
        DataError: the operating system refuses.
    """
    if run.path.resolve() in path.resolve().parents:
        raise ConfigError(f"{path} is inside the run {run.path}. Make the new run beside it.")
    changed = RunDir(run.path, config)
    at = at or _first_change(run, changed)
    if at is None:
        raise ConfigError("The new settings touch no stage of the run. Change something, or say where: --from STAGE.")
    _check_own(run, at)
    try:
        check_stages(changed, at)
    except IncompatibleRunError as error:
        told = str(error).partition("\nRestore that")[0]
        raise ConfigError(
            f"The new settings change what stands before {at}, which a fork would keep:\n{told}\nFork at that stage, "
            "or leave the setting as it is."
        ) from error
    kept = list(_finished_before(run, config, at))
    if not kept:
        raise ConfigError(f"Nothing of {run.path} would be kept. Make a run of its own: srbench init {path} ...")
    record = Fork(
        parent=run.path.resolve().name,
        parent_settings=hash_file(run.path / "srbench.yaml"),
        at=at,
        kept=tuple(spec.name for spec in kept),
        changes=dict(changes),
    )
    made = RunDir.create(path, config)
    with made.lock():
        write_atomic(path / RECORD, (record.model_dump_json(indent=2) + "\n").encode())
        if config.base == run.config.base:
            _take(run.path, path, Path(_BASE, _EVALUATED))
            _take(run.path, path, Path(CHECK_FILE))  # counts where the settings that it depends on are the same
        for spec in kept:
            _take_stage(run, made, spec)
    return record


def _first_change(run: RunDir, changed: RunDir) -> str | None:
    """The first stage that the new settings touch, or that is not made yet.

    Raises:
        IncompatibleRunError: a stage does not fit the run's own settings either.
    """
    at = first_change(changed)
    if at is None or not run.finished_stage(at):
        return at
    names = [spec.name for spec in stages(changed.config)]
    following = next(iter(names[names.index(at) + 1 :]), None)
    if following is None:
        return at
    _check_own(run, following)
    try:
        check_stages(changed, following)
    except IncompatibleRunError:
        return at
    return following  # the model's record alone is not written yet


def _check_own(run: RunDir, before: str) -> None:
    """Whether what stands before a stage is as the run left it."""
    if before in (spec.name for spec in stages(run.config)):
        check_stages(run, before)


def _finished_before(run: RunDir, config: RunConfig, at: str) -> Iterator[StageSpec]:
    """Stages of the new run; it may have others than the parent (a rehearsal)."""
    for spec in stages(config):
        if spec.name == at:
            return
        if run.finished_stage(spec.name):
            yield spec


def _take_stage(run: RunDir, made: RunDir, spec: StageSpec) -> None:
    """Its files, and last its markers: what is cut off here is made again."""
    for path in spec.paths:
        _take(run.path, made.path, path)
    for end in ("start", "stage"):
        _take(run.path, made.path, Path(f"{spec.name}.{end}.json"))


def _take(source: Path, target: Path, path: Path) -> None:
    """Copies a file or a directory of regular files; links lead nowhere good and are left out."""
    start = source / path
    files = [start] if start.is_file() else sorted(start.rglob("*")) if start.is_dir() else []
    for file in files:
        if file.is_symlink() or not file.is_file():
            continue
        place = target / file.relative_to(source)
        with os_errors(place, "write"):
            place.parent.mkdir(parents=True, exist_ok=True)
            if file.stat().st_size < _LINKED_BYTES or _EVALUATED in path.parts or not _linked(file, place):
                shutil.copyfile(file, place)


def _linked(file: Path, place: Path) -> bool:
    try:
        os.link(file, place)
    except OSError:  # another file system, or one without hard links
        return False
    return True
