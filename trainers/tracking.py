"""Tells experiment trackers what a training logs, as it logs it.

``log.jsonl`` is the record; trackers are a window. Each has a thread of its own, so that a training never waits for one
while it trains, and one that fails or hangs is left, with a word.
"""

from __future__ import annotations

import json
import os
import queue
import re
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from selfreward_bench.engines.served.secrets import redacted, remember
from selfreward_bench.progress import Tell
from selfreward_bench.storage.files import expanded, write_atomic
from selfreward_bench.storage.rundir import RunDir
from trainers.trackers import ENVIRONMENT, OPENERS, PREFIXES, SECRETS, Place

__all__ = ["FOLDER", "KEPT", "Trackers", "Tracking", "tracking_of"]

FOLDER: Final = "tracking"  # of a run: what trackers keep on this machine
KEPT: Final = "tracking.json"  # of a training: the ids by which it is known
_GROUP: Final = "group.json"
_SHOWN: Final = 300


@dataclass(frozen=True, slots=True)
class Tracking:
    """Where a training is told to.

    Attributes:
        trackers: tensorboard, wandb, trackio, mlflow, or some of them.
        group: of all trainings that belong together.
        name: of this one, for people: ``first/M2``.
        directory: for what is kept on this machine.
    """

    trackers: tuple[str, ...]
    group: str
    name: str
    directory: Path


def tracking_of(run: RunDir, model: str) -> Tracking | None:
    """How the training of a run's model is tracked; None where the run has no trackers.

    The group is the run's name with something random behind it, made up once.
    """
    if not run.config.track:
        return None
    directory = run.path / FOLDER
    name = run.path.resolve().name
    try:
        group = str(json.loads((directory / _GROUP).read_text("utf-8"))["group"])
    except (OSError, ValueError, KeyError, TypeError):
        group = f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name)[:60]}-{secrets.token_hex(3)}"
        directory.mkdir(parents=True, exist_ok=True)
        write_atomic(directory / _GROUP, (json.dumps({"group": group}) + "\n").encode())
    return Tracking(run.config.track, group, f"{name}/{model}", directory)


class Trackers:
    """The trackers of one training.

    Args:
        tracking: None follows nothing.
        out_dir: the training's directory.
        facts: its settings, flat, as trackers show them.
        tell: given a line about each tracker that fails.
    """

    def __init__(
        self, tracking: Tracking | None, out_dir: Path, facts: Mapping[str, object], tell: Tell | None = None
    ) -> None:
        self._tracking, self._kept_path, self._facts = tracking, out_dir / KEPT, dict(facts)
        self._tell = tell or (lambda line: None)
        self._followers: list[_Follower] = []

    @contextmanager
    def following(self, model: Any, step: int) -> Iterator[None]:
        """Opens them for the block; what ``log`` is given in it is told to each.

        Args:
            model: the one that is trained.
            step: the last step before this call.
        """
        if self._tracking is None:
            yield
            return
        remember(*filter(None, map(os.environ.get, SECRETS)))
        kept = self._read_kept()

        def keep(name: str, value: str) -> None:
            kept[name] = value
            write_atomic(self._kept_path, (json.dumps(kept, indent=1, sort_keys=True) + "\n").encode())

        if "id" not in kept:
            keep("id", secrets.token_hex(4))
        news: queue.SimpleQueue[str] = queue.SimpleQueue()
        place = Place(
            group=self._tracking.group,
            name=self._tracking.name,
            id=kept["id"],
            kept=dict(kept),
            keep=keep,
            step=step,
            directory=self._tracking.directory,
            tell=news.put,
        )
        self._news = news
        shown = _Shown(self._facts | {"group": place.group}, run_name=place.name, output_dir="")
        described = _ShownModel(model)
        whole = False
        with _environment():
            self._followers = [_Follower(name, place, shown, described) for name in self._tracking.trackers]
            try:
                yield
                whole = True
            finally:
                self._close(whole)

    def log(self, metrics: Mapping[str, float]) -> None:
        """Tells a step, as ``log.jsonl`` has it."""
        for follower in self._followers:
            follower.told.put(dict(metrics))
        self._pass_on()

    def _close(self, whole: bool) -> None:
        end = time.monotonic() + (_Follower.PATIENCE if whole else _Follower.PATIENCE_CUT)
        for follower in self._followers:
            follower.told.put(_END if whole else _CUT)
        for follower in self._followers:
            follower.wait(end - time.monotonic())
        self._followers = []
        self._pass_on()

    def _pass_on(self) -> None:
        while self._tracking and not self._news.empty():
            self._tell(self._news.get())

    def _read_kept(self) -> dict[str, str]:
        try:
            kept = json.loads(self._kept_path.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return {str(k): str(v) for k, v in kept.items()} if isinstance(kept, dict) else {}


@contextmanager
def _environment() -> Iterator[None]:
    """The variables of ``trackers.ENVIRONMENT``; afterwards all of trackers' are as they were."""

    def theirs() -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if name.startswith(PREFIXES)}

    before = theirs()
    for name, value in ENVIRONMENT.items():
        os.environ.pop(name, None) if value is None else os.environ.update({name: value})
    try:
        yield
    finally:
        for name in theirs():
            del os.environ[name]
        os.environ.update(before)


_END: Final = "end"
_CUT: Final = "cut"


class _CutOff(Exception):
    """The training did not end; it may be resumed."""


class _Follower:
    """One tracker at work, in a thread of its own."""

    PATIENCE = 60.0  # seconds for sending the rest
    PATIENCE_CUT = 10.0

    def __init__(self, name: str, place: Place, args: _Shown, model: _ShownModel) -> None:
        self.told: queue.SimpleQueue[dict[str, float] | str] = queue.SimpleQueue()
        self._name, self._place, self._args, self._model = name, place, args, model
        self._left = False
        self._thread = threading.Thread(target=self._run, name=f"tracker {name}", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> None:
        """Waits until all is sent; what is not by then is left."""
        self._thread.join(max(0.0, seconds))
        if self._thread.is_alive():
            self._left = True
            self._place.tell(f"{self._name} did not take all it was told in time and is left. Training goes on.")

    def _run(self) -> None:
        try:
            self._follow()
        except _CutOff:
            pass
        except BaseException as error:  # SystemExit of a library, too: it is this thread's alone
            said = re.sub(r"//[^/@\s]+@", "//***@", redacted(f"{type(error).__name__}: {error}"))
            shown = " ".join(said.split())[:_SHOWN]
            self._place.tell(f"{self._name} failed and is left ({shown}). Training goes on; log.jsonl has all steps.")

    def _follow(self) -> None:
        from transformers import TrainerControl, TrainerState

        control = TrainerControl()
        with OPENERS[self._name](self._place) as callback:
            state = TrainerState(global_step=self._place.step)
            callback.on_train_begin(self._args, state, control, model=self._model)
            while (event := self.told.get()) != _END:
                if isinstance(event, str) or self._left:
                    raise _CutOff
                state = TrainerState(global_step=int(event["step"]))
                logs = {name: value for name, value in event.items() if name != "step"}
                callback.on_log(self._args, state, control, logs=logs, model=self._model)
            callback.on_train_end(self._args, state, control, model=self._model)


class _Shown:
    """Settings in place of transformers' objects, which name directories of this machine."""

    def __init__(self, values: Mapping[str, object], **attributes: object) -> None:
        self._values = dict(values)
        self.__dict__.update(attributes)

    def to_dict(self) -> dict[str, object]:
        return dict(self._values)

    def to_json_string(self) -> str:
        return json.dumps(self._values, indent=2, sort_keys=True, default=str)


class _ShownModel:
    """What trackers may know of a model: its configuration and its size."""

    def __init__(self, model: Any) -> None:
        self.config = _Shown(_without_paths(model.config.to_dict()))
        self._parameters = int(model.num_parameters())

    def num_parameters(self) -> int:
        return self._parameters


def _without_paths(value: Any) -> Any:
    """Without entries that name a file or directory of this machine.

    >>> _without_paths({"_name_or_path": "/home/me/M1", "model_type": "llama", "files": ["/tmp/x", "y"]})
    {'model_type': 'llama', 'files': ['y']}
    """
    if isinstance(value, dict):
        return {k: _without_paths(v) for k, v in value.items() if k != "_name_or_path" and not _is_path(v)}
    if isinstance(value, list | tuple):
        return [_without_paths(v) for v in value if not _is_path(v)]
    return value


def _is_path(value: Any) -> bool:
    if not isinstance(value, str | os.PathLike):
        return False
    text = str(value)
    return text.startswith(("~", "\\\\")) or Path(text).is_absolute() or str(expanded(Path("~"))) in text
