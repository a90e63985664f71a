"""The experiment trackers that a training can report to: how each is opened and closed around transformers' callback.

A tracker is a context manager that yields the callback. Opened again with the same identity it goes on with the same
run. Only the library that is asked for is imported, and it is told no path, host or user of this machine.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from selfreward_bench.errors import MissingDependencyError
from selfreward_bench.progress import Tell
from selfreward_bench.storage.files import expanded

__all__ = ["ENVIRONMENT", "OPENERS", "PREFIXES", "SECRETS", "Place", "require_trackers"]

PROJECT: Final = "srbench"  # where neither WANDB_PROJECT nor MLFLOW_EXPERIMENT_NAME says otherwise
_FINISH_SECONDS: Final = 30.0  # that wandb may take to send the rest
_INIT_SECONDS: Final = 40.0

#: while a training is tracked: variables that are set, or hidden (None). Weights are never sent, nor who uses what.
ENVIRONMENT: Final[dict[str, str | None]] = {
    "WANDB_LOG_MODEL": "false",
    "WANDB_WATCH": "false",
    "WANDB_ERROR_REPORTING": "false",
    "HF_MLFLOW_LOG_ARTIFACTS": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_NESTED_RUN": None,
    "MLFLOW_RUN_ID": None,
    "MLFLOW_TAGS": None,
    "GRADIO_ANALYTICS_ENABLED": "False",
}
SECRETS: Final = (
    *("WANDB_API_KEY", "TRACKIO_WRITE_TOKEN", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"),
    *("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD", "DATABRICKS_TOKEN"),
)
PREFIXES: Final = ("WANDB_", "MLFLOW_", "HF_MLFLOW_", "TRACKIO_", "GRADIO_")  # of trackers' variables


@dataclass(frozen=True)
class Place:
    """Where one training belongs in a tracker.

    Attributes:
        group: of all trainings of a run.
        name: of this training, for people: ``first/M2``.
        id: of this training; the same when it is resumed.
        kept: what was kept of it with the training: names -> ids that trackers gave.
        keep: keeps one more.
        step: the last step before this call; 0 where the training begins.
        directory: for what is kept on this machine.
        tell: given lines worth reading.
    """

    group: str
    name: str
    id: str
    kept: Mapping[str, str]
    keep: Callable[[str, str], None]
    step: int
    directory: Path
    tell: Tell


Opener = Callable[[Place], AbstractContextManager[Any]]


def require_trackers(names: tuple[str, ...]) -> None:
    """Raises MissingDependencyError where one of the trackers is not installed; imports nothing."""
    if missing := [name for name in names if find_spec(name) is None]:
        raise MissingDependencyError(
            f"{' and '.join(missing)} not installed. Install: pip install 'srbench[{','.join(missing)}]'"
        )


@contextmanager
def _tensorboard(place: Place) -> Iterator[Any]:
    from torch.utils.tensorboard import SummaryWriter
    from transformers.integrations import TensorBoardCallback

    given = os.environ.get("TENSORBOARD_LOGGING_DIR")
    root = expanded(Path(given)) / place.group if given else place.directory / "tensorboard"
    name = f"{place.name.rpartition('/')[2]}-{place.id}"
    # what a killed process told of later steps is hidden, as they are made again
    writer = SummaryWriter(str(root / name), purge_step=place.step + 1 if place.step else None)
    try:
        yield TensorBoardCallback(writer)
    finally:
        writer.close()


@contextmanager
def _wandb(place: Place) -> Iterator[Any]:
    import wandb
    from transformers.integrations import WandbCallback

    mode = wandb.setup().settings.mode
    if mode not in ("offline", "dryrun", "disabled") and not wandb.login(prompt=False, verify=False):
        mode = "offline"
        place.tell(f"wandb has no key, so it keeps what it is told: wandb sync {place.directory / 'wandb'}/offline-*")
    place.directory.mkdir(parents=True, exist_ok=True)
    settings = wandb.Settings(
        host="",
        console="off",
        program="srbench",  # else the path of the script is sent
        silent=True,
        disable_code=True,
        disable_git=True,
        finish_timeout=_FINISH_SECONDS,
        init_timeout=_INIT_SECONDS,
        save_code=False,
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
    )
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        group=place.group,
        name=place.name,
        id=place.id,
        resume="allow",
        mode=mode,
        dir=os.environ.get("WANDB_DIR", str(place.directory)),
        settings=settings,
    )
    failed = 1
    try:
        yield WandbCallback()
        failed = 0
    finally:
        run.finish(exit_code=failed)


@contextmanager
def _trackio(place: Place) -> Iterator[Any]:
    import trackio
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from transformers.integrations import TrackioCallback

    class Grouped(TrackioCallback):  # type: ignore[misc]  # transformers has no types
        def setup(self, args: Any, state: Any, model: Any, **kwargs: Any) -> None:
            """As its own, but with a group, and without reports of the machine."""
            trackio.init(
                project=PROJECT,
                name=f"{place.name} {place.id}",  # a name is what trackio resumes by
                group=place.group,
                resume="allow",
                private=True,
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
            trackio.config.update(model.config.to_dict() | args.to_dict(), allow_val_change=True)
            self._initialized = True

    if HF_HUB_OFFLINE and os.environ.get("TRACKIO_SPACE_ID"):
        place.tell("The hub is offline (HF_HUB_OFFLINE), so trackio keeps what it is told on this machine.")
        del os.environ["TRACKIO_SPACE_ID"]
    callback = Grouped()
    try:
        yield callback
    except BaseException:
        trackio.finish()
        raise


@contextmanager
def _mlflow(place: Place) -> Iterator[Any]:
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    if local := "MLFLOW_TRACKING_URI" not in os.environ:
        place.directory.mkdir(parents=True, exist_ok=True)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{(place.directory / 'mlflow.db').resolve()}"
    import mlflow
    from transformers.integrations import MLflowCallback

    client = mlflow.MlflowClient()
    try:
        run = client.get_run(place.kept["mlflow"])
    except (KeyError, mlflow.exceptions.MlflowException):  # a new training, or another server
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        artifacts = (place.directory / "mlartifacts").resolve().as_uri() if local else None
        found = client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else client.create_experiment(name, artifacts)
        # made by the client: the fluent interface would add the user's name and the script's path
        run = client.create_run(experiment, run_name=place.name, tags={"group": place.group})
        place.keep("mlflow", run.info.run_id)
    mlflow.start_run(run_id=run.info.run_id)
    status = "FAILED"
    try:
        yield MLflowCallback()
        status = "FINISHED"
    finally:
        mlflow.end_run(status)


OPENERS: Final[dict[str, Opener]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "trackio": _trackio,
    "mlflow": _mlflow,
}
