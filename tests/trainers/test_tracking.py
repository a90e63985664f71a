"""Experiment trackers: what they are told, how a resumed training is known to them, and that none can stop one.

The libraries are stood in for; what is tested is srbench's side and, where a stand-in is a library, transformers' own
callbacks on it. TensorBoard is tried as it is where it is installed.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from selfreward_bench import recipes
from selfreward_bench.cli.checks import config_problems
from selfreward_bench.config import RunConfig
from selfreward_bench.errors import ConfigError
from selfreward_bench.storage.fingerprint import weights_fingerprint
from selfreward_bench.storage.rundir import RunDir
from trainers import tracking
from trainers.iteration import run_iteration
from trainers.resume import StepLog
from trainers.sft import train_sft
from trainers.trackers import OPENERS, Place
from trainers.tracking import Trackers, Tracking, tracking_of

from .conftest import examples
from .test_sft import CONFIG


class Recorder:
    """A tracker that writes down what it is told."""

    def __init__(self, fails_at: str = "") -> None:
        self.fails_at, self.places, self.events = fails_at, [], []  # type: ignore[var-annotated]

    @contextmanager
    def __call__(self, place: Place) -> Iterator[Any]:
        self.places.append(place)
        self._meet("open")
        try:
            yield self
        except BaseException:
            self.events.append("cut")
            raise
        self.events.append("closed")

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any) -> None:
        self.shown = json.dumps([args.to_dict(), model.config.to_dict(), model.num_parameters()])
        self.environment = {name: os.environ.get(name) for name in ("WANDB_LOG_MODEL", "MLFLOW_RUN_ID")}

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], model: Any) -> None:
        self._meet("log")
        self.events.append({"step": state.global_step, **logs})

    def on_train_end(self, args: Any, state: Any, control: Any, model: Any) -> None:
        self.events.append("end")

    def _meet(self, point: str) -> None:
        if self.fails_at == point:
            raise SystemExit("no way to https://me:pass@tracker with s3cr3t-k3y-123")


class Stuck(Recorder):
    """A tracker that answers no more."""

    def __init__(self) -> None:
        super().__init__()
        self.released = threading.Event()

    def on_log(self, *args: Any, **kwargs: Any) -> None:
        self.released.wait(30)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    return use(monkeypatch, Recorder())


def use(monkeypatch: pytest.MonkeyPatch, opener: Recorder, name: str = "wandb") -> Recorder:
    monkeypatch.setitem(OPENERS, name, opener)
    return opener


def model(name: str = "/home/somebody/M1") -> Any:
    config = SimpleNamespace(to_dict=lambda: {"_name_or_path": name, "layers": 2, "files": {"vocabulary": f"{name}/v"}})
    return SimpleNamespace(config=config, num_parameters=lambda: 77)


def follow(out: Path, steps: range = range(1, 4), **options: Any) -> list[str]:
    """Tells three steps of a training in ``out``; what the user is told."""
    told: list[str] = []
    names = options.pop("names", ("wandb",))
    trackers = Trackers(Tracking(names, "first-1", "first/M1", out / "tracking"), out, {"seed": 1}, told.append)
    with trackers.following(model(), steps.start - 1):
        for step in steps:
            trackers.log({"step": step, "loss": 1 / step})
        if options.get("stopped"):
            raise KeyboardInterrupt
    return told


# --- what is told


@pytest.mark.slow
def test_a_tracked_training_is_the_same_and_tells_what_its_log_has(
    tiny_model: Path, tmp_path: Path, recorder: Recorder
) -> None:
    track = Tracking(("wandb",), "first-1", "first/M1", tmp_path / "tracking")
    plain = train_sft(tiny_model, examples(30), CONFIG, tmp_path / "plain", seed=5)
    told = train_sft(tiny_model, examples(30), CONFIG, tmp_path / "told", seed=5, track=track)
    assert weights_fingerprint(told.checkpoint) == weights_fingerprint(plain.checkpoint)
    assert recorder.events == [*StepLog(told.log_path).read(), "end", "closed"]
    shown = json.loads(recorder.shown)
    assert shown[0]["sft.learning_rate"] == CONFIG.learning_rate
    assert shown[0]["group"] == "first-1"
    assert str(tmp_path) not in recorder.shown
    assert str(tiny_model) not in recorder.shown


@pytest.mark.slow
def test_an_interrupted_training_goes_on_under_its_old_id(tiny_model: Path, tmp_path: Path, recorder: Recorder) -> None:
    track = Tracking(("wandb",), "first-1", "first/M1", tmp_path / "tracking")

    def stop(progress: Any) -> None:
        if progress.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_sft(tiny_model, examples(30), CONFIG, tmp_path / "M1", seed=5, track=track, progress=stop)
    assert recorder.events[-1] == "cut"
    result = train_sft(tiny_model, examples(30), CONFIG, tmp_path / "M1", seed=5, track=track)
    assert recorder.events[-1] == "closed"
    assert len({place.id for place in recorder.places}) == 1
    assert [place.step for place in recorder.places] == [0, 4]
    assert [event for event in recorder.events if isinstance(event, dict)] == StepLog(result.log_path).read()


@pytest.mark.slow
def test_a_finished_training_opens_no_tracker(tiny_model: Path, tmp_path: Path, recorder: Recorder) -> None:
    train_sft(tiny_model, examples(30), CONFIG, tmp_path / "M1", seed=5)
    track = Tracking(("wandb",), "first-1", "first/M1", tmp_path / "tracking")
    train_sft(tiny_model, examples(30), CONFIG, tmp_path / "M1", seed=5, track=track)
    assert not recorder.places


def test_no_path_of_the_machine_is_shown(tmp_path: Path, recorder: Recorder) -> None:
    follow(tmp_path)
    assert json.loads(recorder.shown)[1:] == [{"layers": 2, "files": {}}, 77]


def test_weights_are_never_sent_and_variables_are_as_before(
    tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_LOG_MODEL", "checkpoint")
    monkeypatch.setenv("MLFLOW_RUN_ID", "of-somebody")
    before = dict(os.environ)
    follow(tmp_path)
    assert recorder.environment == {"WANDB_LOG_MODEL": "false", "MLFLOW_RUN_ID": None}
    assert dict(os.environ) == before


# --- groups and ids


def test_a_run_is_one_group_and_another_run_of_that_name_is_another(tmp_path: Path) -> None:
    config = recipes.change(RunConfig(), ["track=[wandb, mlflow]"])
    runs = [RunDir.create(tmp_path / place / "my run", config) for place in ("a", "b")]
    first, again = tracking_of(runs[0], "M1"), tracking_of(RunDir.open(runs[0].path), "M2")
    other = tracking_of(runs[1], "M1")
    assert first is not None
    assert again is not None
    assert other is not None
    assert first.trackers == ("wandb", "mlflow")
    assert first.group == again.group != other.group
    assert first.group.startswith("my-run-")
    assert (first.name, again.name) == ("my run/M1", "my run/M2")


def test_a_run_without_trackers_writes_nothing_of_them(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", RunConfig())
    assert tracking_of(run, "M1") is None
    assert not (run.path / "tracking").exists()


def test_a_training_that_is_made_anew_is_another(tmp_path: Path, recorder: Recorder) -> None:
    follow(tmp_path)
    follow(tmp_path)
    (tmp_path / tracking.KEPT).unlink()  # as --from-stage does
    follow(tmp_path)
    first, same, other = (place.id for place in recorder.places)
    assert first == same != other


def test_what_a_tracker_keeps_is_there_on_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorder: Recorder
) -> None:
    follow(tmp_path)
    recorder.places[0].keep("mlflow", "r-1")
    follow(tmp_path)
    assert recorder.places[1].kept == {"id": recorder.places[0].id, "mlflow": "r-1"}


@pytest.mark.slow
def test_each_training_of_a_run_is_told_where_it_belongs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def stop(*args: Any, track: Any, **kwargs: Any) -> None:
        given.append(track)
        raise KeyboardInterrupt

    monkeypatch.setattr("trainers.making.run_training", stop)
    run = RunDir.create(tmp_path / "run", recipes.load("micro-fast", ["track=[wandb]", "with_baseline=false"]))
    with pytest.raises(KeyboardInterrupt):
        run_iteration(run, preflight=False)
    assert given == [tracking_of(run, "M1")]


# --- a tracker that fails


@pytest.mark.parametrize("point", ["open", "log"])
def test_a_tracker_that_fails_is_left_with_a_word_that_holds_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "s3cr3t-k3y-123")
    use(monkeypatch, Recorder(fails_at=point))
    other = use(monkeypatch, Recorder(), "mlflow")
    told = follow(tmp_path, names=("wandb", "mlflow"))
    assert len(told) == 1
    assert "wandb failed and is left (SystemExit: no way to https://***@tracker with ***)" in told[0]
    assert [event["step"] for event in other.events[:3]] == [1, 2, 3]


def test_a_tracker_that_hangs_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking._Follower, "PATIENCE", 0.1)
    stuck = use(monkeypatch, Stuck())
    told = follow(tmp_path)
    assert told == ["wandb did not take all it was told in time and is left. Training goes on."]
    stuck.released.set()  # type: ignore[attr-defined]


def test_a_training_that_fails_closes_its_trackers(tmp_path: Path, recorder: Recorder) -> None:
    with pytest.raises(KeyboardInterrupt):
        follow(tmp_path, stopped=True)
    assert recorder.events[-1] == "cut"


# --- settings


def test_trackers_are_off_and_an_unknown_one_is_refused() -> None:
    assert RunConfig().track == ()
    with pytest.raises(ConfigError, match="track"):
        recipes.change(RunConfig(), ["track=[tensorbord]"])


def test_a_tracker_that_is_not_installed_is_said_before_anything_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.trackers.find_spec", lambda name: None if name == "mlflow" else object())
    config = recipes.load("micro", ["track=[wandb, mlflow]"])
    assert list(config_problems(config)) == ["track: mlflow not installed. Install: pip install 'srbench[mlflow]'"]


# --- transformers' callbacks, on libraries that are stood in for


STAND_IN = """
calls = []
class Run:
    id, name, summary = "x", "x", {}
    def _label(self, **kwargs): pass
    def finish(self, **kwargs):
        global run
        run = None
        calls.append(("finish", kwargs))
class Settings(dict):
    def __init__(self, **kwargs): super().__init__(kwargs)
class _Config(dict):
    def update(self, values, allow_val_change): super().update(values)
run, config = None, _Config()
__version__ = "9.0"
def setup(): return type("S", (), {"settings": type("T", (), {"mode": MODE})})
def login(**kwargs): calls.append(("login", kwargs)); return KEY
def init(**kwargs):
    global run
    calls.append(("init", kwargs)); run = Run(); return run
def define_metric(*args, **kwargs): pass
def log(values): calls.append(("log", values))
def finish(): calls.append(("finish", {}))
"""


def stand_in(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, text: str = STAND_IN) -> list[tuple[str, Any]]:
    """Puts a small library of this name before any real one; what it was asked."""
    package = folder / name
    (package / "sdk" / "lib").mkdir(parents=True)
    for place in (package / "sdk", package / "sdk" / "lib"):
        (place / "__init__.py").touch()
    (package / "sdk" / "lib" / "config_util.py").write_text("class ConfigError(Exception): pass\n")
    (package / "__init__.py").write_text(text)
    for loaded in [m for m in sys.modules if m.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.syspath_prepend(str(folder))
    module = __import__(name)
    monkeypatch.setitem(sys.modules, name, module)
    return module.calls  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("head", "mode"),
    [
        ("MODE, KEY = 'online', True", "online"),
        ("MODE, KEY = 'online', False", "offline"),
        ("MODE, KEY = 'offline', False", "offline"),
        ("MODE, KEY = 'disabled', False", "disabled"),
    ],
)
def test_wandb_is_asked_nothing_on_a_terminal_and_offline_stays_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: str, mode: str
) -> None:
    for name in ("WANDB_PROJECT", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    calls = stand_in(monkeypatch, tmp_path / "lib", "wandb", head + STAND_IN)
    told = follow(tmp_path)
    assert not [line for line in told if "failed" in line]
    assert all(not kwargs["prompt"] for call, kwargs in calls if call == "login")
    opened = dict(calls)["init"]
    assert opened["mode"] == mode
    assert (opened["project"], opened["group"], opened["name"]) == ("srbench", "first-1", "first/M1")
    assert (opened["resume"], opened["id"]) == ("allow", json.loads((tmp_path / tracking.KEPT).read_text())["id"])
    assert opened["settings"]["program"] == "srbench"  # not the path of a script
    assert opened["settings"]["x_disable_meta"]
    logged = [values for call, values in calls if call == "log"]
    assert [(v["train/global_step"], v["train/loss"]) for v in logged] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert calls[-1] == ("finish", {"exit_code": 0})


def test_trackio_gets_the_group_and_resumes_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_SPACE_ID", "me/space")  # the hub is offline in tests
    calls = stand_in(monkeypatch, tmp_path / "lib", "trackio")
    told = follow(tmp_path, names=("trackio",))
    assert told == ["The hub is offline (HF_HUB_OFFLINE), so trackio keeps what it is told on this machine."]
    opened = dict(calls)["init"]
    kept = json.loads((tmp_path / tracking.KEPT).read_text())["id"]
    assert (opened["group"], opened["name"], opened["resume"]) == ("first-1", f"first/M1 {kept}", "allow")
    assert (opened["private"], opened["auto_log_cpu"], opened["auto_log_gpu"]) == (True, False, False)
    assert [values["train/global_step"] for call, values in calls if call == "log"] == [1, 2, 3]
    assert calls[-1][0] == "finish"
    assert os.environ["TRACKIO_SPACE_ID"] == "me/space"


MLFLOW = """
__version__ = "9.0"
from types import SimpleNamespace as _N
runs, calls, active = {}, [], None
utils = _N(validation=_N(MAX_PARAM_VAL_LENGTH=500, MAX_PARAMS_TAGS_PER_BATCH=100))
class exceptions:
    class MlflowException(Exception): pass
class MlflowClient:
    def get_run(self, key):
        if key not in runs: raise exceptions.MlflowException(key)
        return runs[key]
    def get_experiment_by_name(self, name): return None
    def create_experiment(self, name, artifacts): calls.append(("experiment", name)); return "1"
    def create_run(self, experiment, run_name, tags):
        key = f"r{len(runs)}"
        calls.append(("run", (key, run_name, tags)))
        runs[key] = _N(info=_N(run_id=key)); return runs[key]
def start_run(run_id): global active; active = runs[run_id]; calls.append(("start", run_id))
def active_run(): return active
def end_run(status="FINISHED"): global active; active = None; calls.append(("end", status))
def is_tracking_uri_set(): return True
def get_tracking_uri(): return ""
def log_params(values, synchronous): calls.append(("params", values))
def log_metrics(metrics, step, synchronous): calls.append(("metrics", (step, metrics["loss"])))
"""


def test_mlflow_goes_on_with_its_run_and_is_told_no_user_and_no_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    calls = stand_in(monkeypatch, tmp_path / "lib", "mlflow", MLFLOW)
    with pytest.raises(KeyboardInterrupt):
        follow(tmp_path, names=("mlflow",), stopped=True)
    assert follow(tmp_path, range(4, 6), names=("mlflow",)) == []
    assert [values for call, values in calls if call == "run"] == [("r0", "first/M1", {"group": "first-1"})]
    assert [values for call, values in calls if call == "start"] == ["r0", "r0"]
    assert [values for call, values in calls if call == "end"] == ["FAILED", "FINISHED"]
    assert [values[0] for call, values in calls if call == "metrics"][-2:] == [4, 5]
    assert "MLFLOW_TRACKING_URI" not in os.environ


# --- TensorBoard as it is


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_shows_each_step_once_after_a_kill(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    follow(tmp_path, range(1, 6), names=("tensorboard",))
    told = follow(tmp_path, range(4, 8), names=("tensorboard",))  # the state of step 3 was the last that was saved
    assert told == []
    folders = list((tmp_path / "tracking" / "tensorboard").iterdir())
    assert [folder.name for folder in folders] == [f"M1-{json.loads((tmp_path / tracking.KEPT).read_text())['id']}"]
    events = accumulator.EventAccumulator(str(folders[0]))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3, 4, 5, 6, 7]
