"""One step of a run: its markers, how far it is, what it was made from, and what it counted and made.

runs/NAME/M2/candidates.start.json   what the stage is made from, written when it starts
runs/NAME/M2/candidates.stage.json   written last: the stage is done; counts, hashes, seconds, date, hardware
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from selfreward_bench import __version__
from selfreward_bench.errors import IncompatibleRunError
from selfreward_bench.hardware import Hardware, hardware
from selfreward_bench.recipes.layers import show
from selfreward_bench.storage.files import os_errors, write_atomic

__all__ = ["Done", "Identity", "Marker", "Stage", "StageStatus", "differences_of", "json_bytes", "read_marker"]

StageStatus = Literal["new", "partial", "done"]
_M = TypeVar("_M", bound="Marker")

_STAGE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*(/[A-Za-z0-9_][A-Za-z0-9_.@-]*)+")


class Stage:
    """One step of a run, and how far it is.

    Attributes:
        name: ``MODEL/STAGE``.
        directory: where its files are.
        done: what its completion marker says; None until then.
    """

    def __init__(self, run: Path, name: str) -> None:
        if not _STAGE_NAME.fullmatch(name):
            raise ValueError(f"a stage is named MODEL/STAGE, not {name!r}")
        self.name = name
        self.directory = (run / name).parent
        short = name.rpartition("/")[2]
        self.start_path = self.directory / f"{short}.start.json"
        self.done_path = self.directory / f"{short}.stage.json"
        self.identity: Identity | None = None
        self.done = read_marker(self.done_path, Done, name) if self.done_path.exists() else None
        self._resumed = self.start_path.exists()
        self._started = time.monotonic()

    @property
    def status(self) -> StageStatus:
        """``new``: nothing yet. ``partial``: started, maybe killed, records may be there. ``done``: complete."""
        if self.done:
            return "done"
        return "partial" if self._resumed else "new"

    @property
    def counts(self) -> dict[str, int | float]:
        """What a finished stage counted; empty until then."""
        return dict(self.done.counts) if self.done else {}

    @property
    def outputs(self) -> dict[str, str]:
        """Name -> content hash of what a finished stage made; empty until then."""
        return dict(self.done.outputs) if self.done else {}

    @property
    def inputs(self) -> dict[str, str]:
        """Name -> content hash of what a finished stage was made from; empty until then."""
        return dict(self.done.identity.inputs) if self.done else {}

    @property
    def seconds(self) -> float:
        """Wall time of the process that finished the stage; 0 until then."""
        return self.done.seconds if self.done else 0.0

    def records_path(self, filename: str) -> Path:
        """Where the stage keeps a file: in its model's directory."""
        return self.directory / filename

    def finish(self, counts: Mapping[str, int | float], outputs: Mapping[str, str]) -> None:
        """Marks the stage as done. Call it last, when everything it made is on the disk.

        Args:
            counts: what the summary line shows; finite numbers.
            outputs: name -> content hash of what was made; later stages pass them on as their inputs.

        Raises:
            DataError: the operating system refuses.
        """
        if self.identity is None:
            raise ValueError(f"stage {self.name} was not opened by RunDir.stage")
        done = Done(
            identity=self.identity,
            counts=dict(counts),
            outputs=dict(outputs),
            seconds=round(time.monotonic() - self._started, 3),
            resumed=self._resumed,
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
            srbench=__version__,
            hardware=hardware(),
        )
        write_atomic(self.done_path, json_bytes(done.model_dump()))
        self.done = done


class Marker(BaseModel):
    """A file that says of a stage what it is made from, or that it is done."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Identity(Marker):
    """What a stage is made from: hashes of its inputs, its settings, the version of its code."""

    inputs: dict[str, str]
    settings: dict[str, Any]
    version: int


class Done(Marker):
    """``seconds`` and ``hardware`` are of the process that finished; with ``resumed`` an earlier one had begun."""

    identity: Identity
    counts: dict[str, int | float]
    outputs: dict[str, str]
    seconds: float
    resumed: bool
    finished_at: str
    srbench: str
    hardware: Hardware = {}


def read_marker(path: Path, model: type[_M], stage: str) -> _M:
    """A marker of a stage.

    Raises:
        IncompatibleRunError: it is damaged, or of another version.
        DataError: it cannot be read.
    """
    with os_errors(path, "read"):
        content = path.read_bytes()
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        raise IncompatibleRunError(
            f"{path} is damaged or from another version of srbench. Make the stage anew: --from-stage {stage}"
        ) from error


def json_bytes(value: object) -> bytes:
    """A marker as a file's bytes, the same for equal values."""
    return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def differences_of(stored: Identity, present: Identity) -> list[str]:
    """``settings.dpo.beta: 0.1 -> 0.2`` for each leaf that differs."""
    old, new = dict(_leaves(stored.model_dump())), dict(_leaves(present.model_dump()))
    keys = [*old, *(key for key in new if key not in old)]
    absent = object()
    both = {key: (old.get(key, absent), new.get(key, absent)) for key in keys}
    return [
        f"{key}: {'(absent)' if a is absent else show(a)} -> {'(absent)' if b is absent else show(b)}"
        for key, (a, b) in both.items()
        if type(a) is not type(b) or a != b
    ]


def _leaves(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, child in value.items():
        if isinstance(child, dict) and child:
            yield from _leaves(child, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", child
