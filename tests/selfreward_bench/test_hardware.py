"""The machine beside a result: what it is, nothing about whose it is, and no torch where none is needed."""

from __future__ import annotations

import getpass
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from selfreward_bench import recipes
from selfreward_bench.hardware import hardware, usable_cores
from selfreward_bench.storage.rundir import RunDir


def test_it_names_processor_cores_and_memory() -> None:
    found = hardware()
    assert {"platform", "cpu", "logical_cores", "usable_cores", "memory_gib"} <= set(found)
    assert found["usable_cores"] == usable_cores() >= 1
    assert float(found["memory_gib"]) > 0.1
    assert json.loads(json.dumps(found)) == found


def test_it_tells_nothing_private() -> None:
    text = json.dumps(hardware()).lower()
    for private in (socket.gethostname(), getpass.getuser(), str(Path.home())):
        assert private.lower() not in text or len(private) < 4


def test_torch_is_asked_where_it_is_loaded_and_not_loaded_to_be_asked() -> None:
    code = "import sys; from selfreward_bench.hardware import hardware as h; print(h(), 'torch' in sys.modules)"
    bare = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert bare.stdout.endswith(" False\n")
    assert "torch" not in bare.stdout

    import torch

    found = hardware()
    assert found["torch_threads"] == torch.get_num_threads()
    assert found["torch_cpu"] == torch.backends.cpu.get_cpu_capability()
    assert ("accelerators" in found) == torch.accelerator.is_available()


def test_accelerators_are_counted_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    device = SimpleNamespace(name="NVIDIA X", total_memory=80 * 2**30)
    accelerator = SimpleNamespace(
        is_available=lambda: True, device_count=lambda: 2, current_accelerator=lambda: SimpleNamespace(type="cuda")
    )
    module = SimpleNamespace(get_device_properties=lambda index: device)
    torch = SimpleNamespace(accelerator=accelerator, get_num_threads=lambda: 3, get_device_module=lambda kind: module)
    torch.backends = SimpleNamespace(cpu=SimpleNamespace(get_cpu_capability=lambda: "AVX2"))
    monkeypatch.setitem(sys.modules, "torch", torch)
    found = hardware()
    assert (found["torch_device"], found["torch_threads"]) == ("cuda", 3)
    assert (found["accelerators"], found["accelerator_memory_gib"]) == ("2 x NVIDIA X", 160.0)
    module.get_device_properties = None  # an accelerator that does not describe itself
    del module.get_device_properties
    assert hardware()["accelerators"] == "2 x cuda"


def test_a_finished_stage_says_where_it_ran_and_an_older_one_can_be_read(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", recipes.load("micro"))
    run.stage("M1/ift", {}, {}).finish({"examples": 1}, {})
    stage = run.finished_stage("M1/ift")
    assert stage
    assert stage.done
    assert stage.done.hardware["usable_cores"] == usable_cores()
    assert "hardware" not in stage.start_path.read_text("utf-8")  # no part of what the stage is made from
    marker = json.loads(stage.done_path.read_text("utf-8"))
    del marker["hardware"]
    stage.done_path.write_text(json.dumps(marker), "utf-8")
    assert run.stage("M1/ift", {}, {}).status == "done"


def test_another_machine_changes_no_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDir.create(tmp_path / "run", recipes.load("micro"))
    run.stage("M1/ift", {}, {}).finish({"examples": 1}, {})
    monkeypatch.setattr(os, "cpu_count", lambda: 99)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert usable_cores() == 99
    assert run.stage("M1/ift", {}, {}).status == "done"
