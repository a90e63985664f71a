"""The run directory: configuration first, completion last, one writer, no stage that silently changes its meaning."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from selfreward_bench import recipes
from selfreward_bench.config import RunConfig
from selfreward_bench.errors import ConfigError, DataError, IncompatibleRunError, UnknownNameError
from selfreward_bench.storage import files, lock, rundir
from selfreward_bench.storage.rundir import RunDir, hash_file, hash_json
from selfreward_bench.types import Message

STAGE = "M2/candidates"
INPUTS = {"prompts.jsonl": "aa", "checkpoint": "bb"}
SETTINGS: dict[str, object] = {"candidates": {"count": 4, "sampling": {"temperature": 0.7}}, "seed": 0}


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir.create(tmp_path / "run", recipes.load("micro"))


def start_lock_holder(path: Path) -> subprocess.Popen[str]:
    """Another process that holds the run's lock until it is killed."""
    code = (
        "import sys, time; from pathlib import Path; from selfreward_bench.storage.lock import writer_lock\n"
        "with writer_lock(Path(sys.argv[1])): print('locked', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path / ".lock")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


@pytest.mark.parametrize("place", ["M2", "M2/eval", "M2/eval/mt-bench@1", "head-to-head"])
def test_nothing_is_written_through_a_link_to_a_directory(run: RunDir, tmp_path: Path, place: str) -> None:
    (tmp_path / "outside").mkdir()
    link = run.path / place
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(tmp_path / "outside")
    with pytest.raises(IncompatibleRunError, match="link to a directory outside the run"), run.lock():
        pass
    assert not list((tmp_path / "outside").iterdir())


def test_a_checkpoint_may_lie_elsewhere(run: RunDir, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (run.path / "M1").mkdir()
    (run.path / "M1" / "checkpoint").symlink_to(tmp_path / "outside")
    with run.lock():
        pass


# --- the directory


def test_the_configuration_survives_whole(run: RunDir) -> None:
    opened = RunDir.open(run.path)
    assert opened.config == run.config == recipes.load("micro", [f"engine.date='{run.config.engine.date}'"])
    assert opened.path == run.path


def test_an_existing_run_is_not_written_over(run: RunDir) -> None:
    before = (run.path / "srbench.yaml").read_bytes()
    with pytest.raises(IncompatibleRunError, match="is a run already"):
        RunDir.create(run.path, RunConfig(seed=7))
    assert (run.path / "srbench.yaml").read_bytes() == before


def test_a_directory_with_other_things_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(IncompatibleRunError, match=r"not empty \(it holds 'thesis.tex'\)"):
        RunDir.create(tmp_path, RunConfig())
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_hidden_files_do_not_make_a_directory_occupied(tmp_path: Path) -> None:
    (tmp_path / ".gitkeep").touch()
    run = RunDir.create(tmp_path, RunConfig())
    assert RunDir.open(tmp_path).config == run.config


def test_a_run_keeps_the_day_of_its_making(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Clock:
            return cls(2031, 2, 3, 23, 59, tzinfo=tz)

    monkeypatch.setattr(rundir, "datetime", Clock)
    assert RunDir.create(tmp_path / "a", RunConfig()).config.engine.date == "2031-02-03"
    assert RunDir.open(tmp_path / "a").config.engine.date == "2031-02-03"
    given = recipes.load(None, ["engine.date='2024-07-26'"])
    assert RunDir.create(tmp_path / "b", given).config.engine.date == "2024-07-26"
    with pytest.raises(ConfigError, match=r"engine\.date"):
        recipes.load(None, ["engine.date='2024-02-30'"])


def test_what_is_no_run_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(IncompatibleRunError, match=r"no run directory .*srbench init"):
        RunDir.open(tmp_path / "none")
    with pytest.raises(IncompatibleRunError, match=r"it has no srbench\.yaml"):
        RunDir.open(tmp_path)


@pytest.mark.parametrize("header", ["format: 99\nsrbench: 9.9.9\n", "format: 1\n", "srbench: 0.1.0\nconfig: {}\n", ""])
def test_another_format_is_refused(run: RunDir, header: str) -> None:
    (run.path / "srbench.yaml").write_text(header)
    with pytest.raises(IncompatibleRunError, match="which reads format 1"):
        RunDir.open(run.path)


def test_problems_in_an_edited_configuration_have_their_lines(run: RunDir) -> None:
    file = run.path / "srbench.yaml"
    lines = file.read_text().splitlines()
    number = next(i for i, line in enumerate(lines, 1) if line.strip() == "beta: 0.1")
    file.write_text("\n".join(lines).replace("beta: 0.1", "beta: -1"))
    with pytest.raises(ConfigError, match=rf"srbench\.yaml:{number}: dpo\.beta: must be greater than 0"):
        RunDir.open(run.path)


def test_a_run_made_with_a_setting_that_is_gone_is_still_read(run: RunDir) -> None:
    path = run.path / "srbench.yaml"
    path.write_text(path.read_text().replace("  dpo:\n", "  dpo:\n    dropout: 0.1\n"))
    assert "dropout: 0.1" in path.read_text()
    assert RunDir.open(run.path).config == run.config


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_directory_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(DataError, match="permission is denied"):
        RunDir.create(tmp_path / "run", RunConfig())


def test_a_file_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="Cannot"):
        RunDir.create(tmp_path / "file" / "run", RunConfig())


def test_only_what_no_stage_depends_on_changes_in_a_run_that_is_there(run: RunDir) -> None:
    changes = ["eval.limit=3", "track=[wandb]", "cluster.replicas=4", "train.launch=auto", "engine.start_timeout=9"]
    run.change_settings(recipes.change(run.config, [*changes, "engine.urls=[http://127.0.0.1:8000]"]))
    assert RunDir.open(run.path).config == run.config
    assert (run.config.eval.limit, run.config.track) == (3, ("wandb",))
    assert (run.config.engine.urls, run.config.engine.start_timeout) == (("http://127.0.0.1:8000",), 9)
    with pytest.raises(ValueError, match=r"train and engine\.urls can change in a run"):
        run.change_settings(recipes.change(run.config, ["eval.limit=4", "seed=9"]))
    with run.lock(), pytest.raises(IncompatibleRunError, match="in use"):
        run.change_settings(recipes.change(run.config, ["eval.limit=4"]))
    assert RunDir.open(run.path).config.eval.limit == 3


# --- one writer


def test_a_second_writer_is_refused_by_the_first_ones_number(run: RunDir) -> None:
    holder = start_lock_holder(run.path)
    try:
        with pytest.raises(IncompatibleRunError, match=f"in use by process {holder.pid}"), run.lock():
            pytest.fail("two writers")
    finally:
        kill(holder)


def test_a_kernel_lock_holds_whatever_the_file_says(run: RunDir) -> None:
    holder = start_lock_holder(run.path)
    try:
        (run.path / ".lock").write_text("")  # as when the clock was set and the start time no longer fits
        with pytest.raises(IncompatibleRunError, match="in use by another process"), run.lock():
            pytest.fail("two writers")
    finally:
        kill(holder)


def test_one_process_cannot_write_twice_either(run: RunDir) -> None:
    with run.lock(), pytest.raises(IncompatibleRunError, match=f"in use by process {os.getpid()}"), run.lock():
        pytest.fail("two writers")


def test_a_kept_lock_is_kept_between_what_takes_it(run: RunDir) -> None:
    told: list[str] = []

    def another() -> None:
        try:
            with RunDir.open(run.path).lock():
                told.append("two writers")
        except IncompatibleRunError:
            told.append("refused")

    with run.kept_lock():
        for _ in range(2):
            with RunDir.open(run.path).lock():
                pass
            thread = threading.Thread(target=another)
            thread.start()
            thread.join()
    assert told == ["refused"] * 2
    another()
    assert told[-1] == "two writers"


def test_what_no_training_left_is_told(run: RunDir) -> None:
    run.check_weights("M1", "anything", "files")
    run.stage("M1/train", {}, {}).finish({}, {"checkpoint": "w"})
    run.check_weights("M1", "w", "not recorded by an early version")
    with pytest.raises(IncompatibleRunError, match=r"(?s)M1/checkpoint has other weights.*--from-stage M1/train"):
        run.check_weights("M1", "v")
    run.stage("M2/train", {}, {}).finish({}, {"checkpoint": "w", "files": "f"})
    run.check_weights("M2", "w")
    run.check_weights("M2", "w", "f")
    with pytest.raises(IncompatibleRunError, match="M2/checkpoint has another configuration, tokenizer or chat"):
        run.check_weights("M2", "w", "g")


def test_a_lock_is_free_again_after_its_block_also_after_an_error(run: RunDir) -> None:
    with pytest.raises(KeyError), run.lock():
        raise KeyError
    with run.lock():
        pass


def test_the_lock_of_a_killed_process_is_taken_over_with_a_message(
    run: RunDir, caplog: pytest.LogCaptureFixture
) -> None:
    holder = start_lock_holder(run.path)
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with caplog.at_level(logging.WARNING), run.lock():
        assert f"process {holder.pid}, which had locked it, is gone" in caplog.text
        owner = json.loads((run.path / ".lock").read_text())
        assert owner["pid"] == os.getpid()


def write_lock(run: RunDir, pid: int, started: float, host: str | None = None, boot: str = "") -> None:
    owner = {"pid": pid, "host": host or socket.gethostname(), "started": started, "boot": boot}
    (run.path / ".lock").write_text(json.dumps(owner))


def test_without_kernel_locks_the_living_process_in_the_file_decides(
    run: RunDir, caplog: pytest.LogCaptureFixture
) -> None:
    parent = psutil.Process(os.getppid())
    write_lock(run, parent.pid, parent.create_time())
    with pytest.raises(IncompatibleRunError, match=f"in use by process {parent.pid}"), run.lock():
        pytest.fail("two writers")
    write_lock(run, parent.pid, parent.create_time() - 3600)  # the number was given to another process since
    with caplog.at_level(logging.WARNING), run.lock():
        assert "Taking over" in caplog.text


def test_the_lock_of_a_dead_container_on_this_machine_is_taken_over(
    run: RunDir, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_boot", lambda: "this start of the kernel")
    write_lock(run, 1, 0.0, host="container", boot="this start of the kernel")
    with caplog.at_level(logging.WARNING), run.lock():
        assert "process 1, which had locked it, is gone" in caplog.text
    write_lock(run, 1, 0.0, host="container", boot="another one")
    with pytest.raises(IncompatibleRunError, match="on host 'container'"), run.lock():
        pass
    write_lock(run, 1, 0.0, host="container", boot="this start of the kernel")
    monkeypatch.setattr(lock, "fcntl", None)  # without the kernel's word a process in a container cannot be looked at
    with pytest.raises(IncompatibleRunError, match="on host 'container'"), run.lock():
        pass


def test_a_message_of_the_lock_suits_any_directory(tmp_path: Path) -> None:
    path = tmp_path / "data" / ".lock"
    path.parent.mkdir()
    message = f"{path.parent} is in use by process [0-9]+; one process writes at a time"
    with lock.writer_lock(path), pytest.raises(IncompatibleRunError, match=message), lock.writer_lock(path):
        pass


def test_a_process_on_another_host_is_not_guessed_about(run: RunDir) -> None:
    write_lock(run, 1, 0.0, host="elsewhere")
    with pytest.raises(IncompatibleRunError, match=r"on host 'elsewhere'.*delete .*\.lock"), run.lock():
        pytest.fail("two writers")


@pytest.mark.parametrize(
    "content", ["", "{", '{"pid": "x"}', "[]", '{"pid": 1e400, "host": "h", "started": 0}', "\0" * 99]
)
def test_a_lock_file_torn_while_written_does_not_block(run: RunDir, content: str) -> None:
    (run.path / ".lock").write_text(content)
    with run.lock():
        pass


# --- stages


def test_a_stage_goes_from_new_over_partial_to_done(run: RunDir) -> None:
    assert run.stage_status(STAGE) == "new"
    assert not (run.path / "M2").exists()  # asking writes nothing
    stage = run.stage(STAGE, INPUTS, SETTINGS)
    assert (stage.status, stage.counts) == ("new", {})
    assert run.stage_status(STAGE) == "partial"  # the process may die from here on
    again = run.stage(STAGE, INPUTS, SETTINGS)
    assert again.status == "partial"
    assert again.records_path("completions.jsonl") == run.path / "M2" / "completions.jsonl"
    again.finish({"completions": 12, "rate": 0.5}, {"completions.jsonl": "cc"})
    done = run.stage(STAGE, INPUTS, SETTINGS)
    assert (done.status, done.counts, done.outputs) == (
        "done",
        {"completions": 12, "rate": 0.5},
        {"completions.jsonl": "cc"},
    )
    assert (finished := run.finished_stage(STAGE)) is not None
    assert finished.counts == done.counts


def test_dates_and_durations_are_in_the_end_marker_alone(run: RunDir, tmp_path: Path) -> None:
    other = RunDir.create(tmp_path / "other", run.config)
    for directory, attempts in ((run, 1), (other, 3)):
        for _ in range(attempts):  # killed and resumed
            stage = directory.stage(STAGE, INPUTS, SETTINGS)
        stage.finish({}, {})
    for name in ("srbench.yaml", "M2/candidates.start.json", ".lock"):
        assert (run.path / name).read_bytes() == (other.path / name).read_bytes()
    first, second = (json.loads((d.path / "M2/candidates.stage.json").read_text()) for d in (run, other))
    assert (first["resumed"], second["resumed"]) == (False, True)
    varying = {"seconds", "finished_at", "resumed"}
    assert {k: v for k, v in first.items() if k not in varying} == {k: v for k, v in second.items() if k not in varying}


@pytest.mark.parametrize("finished", [False, True])
def test_a_changed_stage_is_refused_with_each_difference_and_the_flag(run: RunDir, finished: bool) -> None:
    stage = run.stage(STAGE, INPUTS, SETTINGS)
    if finished:
        stage.finish({}, {})
    inputs = {"prompts.jsonl": "zz", "checkpoint": "bb"}
    settings = {"candidates": {"count": 4, "sampling": {"temperature": 1.0, "top_p": 0.9}}, "seed": 0}
    with pytest.raises(IncompatibleRunError) as caught:
        run.stage(STAGE, inputs, settings, version=2)
    message = str(caught.value)
    assert "inputs.prompts.jsonl: 'aa' -> 'zz'" in message
    assert "settings.candidates.sampling.temperature: 0.7 -> 1.0" in message
    assert "settings.candidates.sampling.top_p: (absent) -> 0.9" in message
    assert "version: 1 -> 2" in message
    assert message.endswith("--from-stage M2/candidates")
    assert not [word for word in ("bb", "seed", "count") if word in message]  # what is the same is not listed
    assert run.stage(STAGE, INPUTS, SETTINGS).status == ("done" if finished else "partial")


def test_settings_may_be_config_sections_and_compare_by_value(run: RunDir) -> None:
    run.stage(STAGE, INPUTS, {"candidates": run.config.candidates, "path": Path("x"), "tuple": (1, 2)})
    same = {"candidates": run.config.candidates.model_dump(), "path": "x", "tuple": [1, 2]}
    assert run.stage(STAGE, INPUTS, same).status == "partial"
    changed = same | {"candidates": run.config.candidates.model_copy(update={"count": 9})}
    with pytest.raises(IncompatibleRunError, match=r"settings\.candidates\.count: 6 -> 9"):
        run.stage(STAGE, INPUTS, changed)


def test_a_crash_before_the_end_marker_is_in_place_leaves_the_stage_partial(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = run.stage(STAGE, INPUTS, SETTINGS)

    def die(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files.Path, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            stage.finish({}, {})
    assert run.stage_status(STAGE) == "partial"
    run.stage(STAGE, INPUTS, SETTINGS).finish({}, {})
    assert run.stage_status(STAGE) == "done"
    assert sorted(p.name for p in (run.path / "M2").iterdir()) == ["candidates.stage.json", "candidates.start.json"]


@pytest.mark.parametrize("marker", ["start", "stage"])
def test_a_damaged_marker_is_refused_with_the_flag(run: RunDir, marker: str) -> None:
    run.stage(STAGE, INPUTS, SETTINGS).finish({}, {})
    if marker == "start":
        (run.path / "M2/candidates.stage.json").unlink()
    (run.path / f"M2/candidates.{marker}.json").write_text('{"inputs": 3}')
    with pytest.raises(IncompatibleRunError, match="--from-stage M2/candidates"):
        run.stage(STAGE, INPUTS, SETTINGS)


@pytest.mark.parametrize("name", ["candidates", "../x/y", "M2/../M1/x", "/etc/x", "M2/", "M2/.x", "M2/a b", ""])
def test_stage_names_stay_inside_the_run(run: RunDir, name: str) -> None:
    with pytest.raises(ValueError, match="MODEL/STAGE"):
        run.stage(name, {}, {})


def test_a_stage_that_was_only_looked_at_cannot_be_finished(run: RunDir) -> None:
    run.stage("M1/sft", {}, {}).finish({}, {})
    looked_at = run.finished_stage("M1/sft")
    assert looked_at is not None
    with pytest.raises(ValueError, match="not opened"):
        looked_at.finish({}, {})


# --- starting over


ORDER = [
    ("M1/sft", [Path("M1/train"), Path("M1/checkpoint")]),
    ("M2/prompts", [Path("M2/prompts.jsonl")]),
    ("M2/candidates", [Path("M2/completions.jsonl")]),
    ("M2/dpo", [Path("M2/train")]),
]


def make_stages(run: RunDir) -> None:
    for name, paths in ORDER:
        run.stage(name, {}, {}).finish({}, {})
        for path in paths:
            target = run.path / path
            if path.suffix:
                target.write_text("x")
            else:
                (target / "deep").mkdir(parents=True)
                (target / "deep" / "file").write_text("x")


def test_starting_over_deletes_that_stage_and_the_later_ones_only(run: RunDir) -> None:
    make_stages(run)
    assert run.reset_from("M2/candidates", ORDER) == ["M2/candidates", "M2/dpo"]
    assert [run.stage_status(name) for name, _ in ORDER] == ["done", "done", "new", "new"]
    left = {str(p.relative_to(run.path)) for p in run.path.rglob("*") if p.is_file() and p.name != ".lock"}
    assert left == {
        "srbench.yaml",
        "M1/sft.start.json",
        "M1/sft.stage.json",
        "M1/train/deep/file",
        "M1/checkpoint/deep/file",
        "M2/prompts.start.json",
        "M2/prompts.stage.json",
        "M2/prompts.jsonl",
    }
    assert run.reset_from("M2/dpo", ORDER) == []


def test_starting_over_never_leaves_a_done_stage_without_its_files(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_stages(run)
    deletions = 0
    real_unlink = Path.unlink

    def check_then_unlink(self: Path, missing_ok: bool = False) -> None:
        nonlocal deletions
        deletions += 1
        real_unlink(self, missing_ok=missing_ok)
        done = [run.stage_status(name) == "done" for name, _ in ORDER]
        assert done == sorted(done, reverse=True)  # no stage is done whose predecessors are not
        for name, paths in ORDER:
            if run.stage_status(name) == "done":
                assert all((run.path / path).exists() for path in paths)

    monkeypatch.setattr(Path, "unlink", check_then_unlink)
    run.reset_from("M2/prompts", ORDER)
    assert deletions == 8  # three stages' markers and two files


def test_an_unknown_stage_deletes_nothing(run: RunDir) -> None:
    make_stages(run)
    with pytest.raises(UnknownNameError, match="Did you mean 'M2/candidates'"):
        run.reset_from("M2/candidate", ORDER)
    assert run.stage_status("M2/dpo") == "done"


@pytest.mark.parametrize("path", ["../outside", "/etc/hostname", ".", "M2/..", "M2/../.."])
def test_nothing_outside_the_run_is_deleted(run: RunDir, path: str) -> None:
    outside = run.path.parent / "outside"
    outside.touch()
    make_stages(run)
    with pytest.raises(IncompatibleRunError, match="not inside the run"):
        run.reset_from("M1/sft", [("M1/sft", [Path("M1/train")]), ("M2/dpo", [Path(path)])])
    assert outside.exists()
    assert (run.path / "M1/train").exists()  # refused before anything is deleted


def test_a_link_is_deleted_not_what_it_leads_to(run: RunDir) -> None:
    elsewhere = run.path.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").touch()
    run.stage("M1/sft", {}, {}).finish({}, {})
    (run.path / "M1" / "checkpoint").symlink_to(elsewhere)
    run.reset_from("M1/sft", [("M1/sft", [Path("M1/checkpoint")])])
    assert (elsewhere / "precious").exists()
    assert not (run.path / "M1" / "checkpoint").is_symlink()


# --- hashes


def test_hashes_depend_on_content_alone(tmp_path: Path) -> None:
    for name, content in (("a", b"x" * 3_000_000), ("b", b"x" * 3_000_000), ("c", b"x" * 2_999_999 + b"y")):
        (tmp_path / name).write_bytes(content)
    assert hash_file(tmp_path / "a") == hash_file(tmp_path / "b") != hash_file(tmp_path / "c")
    with pytest.raises(DataError, match="no such file"):
        hash_file(tmp_path / "none")
    assert hash_json({"a": 1, "b": (1, 2)}) == hash_json({"b": [1, 2], "a": 1})
    assert hash_json(RunConfig()) == hash_json(RunConfig().model_dump()) != hash_json(RunConfig(seed=1))
    assert hash_json("\ud800") != hash_json("\ud801")
    assert hash_json({"a": 1}) != hash_json({"a": "1"})
    turns = (Message(role="user", content="\u00e4"), {"b": None, "a": (1.5,)}, [])
    whole = rb'[{"content":"\u00e4","role":"user"},{"a":[1.5],"b":null},[]]'
    assert hash_json(turns) == hash_json(list(turns)) == hashlib.blake2b(whole, digest_size=16).hexdigest()
    assert hash_json([]) == hashlib.blake2b(b"[]", digest_size=16).hexdigest()
