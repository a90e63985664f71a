"""`doctor`: each finding on a machine that has the fault."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import shutil
import sys
from collections import namedtuple
from importlib import metadata
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from selfreward_bench.cli import diagnosis
from selfreward_bench.cli.diagnosis import Finding

from .conftest import Cli


def test_prints_findings_and_ends_with_0_when_nothing_fails(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = (lambda: iter([Finding("ok", "a", "fine"), Finding("warn", "b", "may be slow")]),)
    monkeypatch.setattr(diagnosis, "CHECKS", checks)
    result = cli("doctor")
    assert result.exit_code == 0
    assert "warn  b     may be slow" in result.stdout


def test_ends_with_1_when_something_fails(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "CHECKS", (lambda: iter([Finding("fail", "a", "broken")]),))
    result = cli("doctor")
    assert result.exit_code == 1
    assert "1 problem(s) must be mended" in result.stdout


def test_python(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [f.state for f in diagnosis.check_python()] == ["ok"]
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    (finding,) = diagnosis.check_python()
    assert finding == Finding("fail", "Python", "3.10.4; srbench needs 3.11 or newer")


def test_packages_are_held_against_the_requirements(monkeypatch: pytest.MonkeyPatch) -> None:
    required = ["typer>=999", "rich", "no-such-package-here>=1", "another-one>=1; extra == 'dev'"]
    monkeypatch.setattr(metadata, "requires", lambda _: required)
    found = {f.what: f for f in diagnosis.check_packages()}
    assert found["typer"].state == "fail"
    assert found["no-such-package-here"].detail.startswith("missing; needed: pip install 'no-such-package-here>=1'")
    assert "rich" not in found
    assert "another-one" not in found
    monkeypatch.setattr(metadata, "requires", lambda _: ["rich", "typer"])
    assert [f.state for f in diagnosis.check_packages()] == ["ok", "ok"]


def test_an_uninstalled_srbench_is_only_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> None:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "requires", missing)
    assert [f.state for f in diagnosis.check_packages()] == ["warn"]


def test_versions_are_held_against_the_tested_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "_root", lambda: tmp_path)
    assert not list(diagnosis.check_tested_versions())  # an installed srbench has no constraints.txt
    typer_version = metadata.version("typer")
    (tmp_path / "constraints.txt").write_text(f"# tested\ntyper=={typer_version}\nabsent==1.0\n", encoding="utf-8")
    assert [f.state for f in diagnosis.check_tested_versions()] == ["ok"]
    (tmp_path / "constraints.txt").write_text("typer==0.0.1\n", encoding="utf-8")
    (finding,) = diagnosis.check_tested_versions()
    assert (finding.state, finding.detail) == ("warn", f"1 differ: typer {typer_version} (tested: 0.0.1)")


def test_another_distribution_with_a_package_of_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "packages_distributions", lambda: {"trainers": ["srbench", "gym-trainers"]})
    (finding,) = diagnosis.check_names()
    assert (finding.state, finding.what) == ("warn", "package trainers")
    assert "gym-trainers" in finding.detail


def test_another_package_that_is_imported_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec

    def find(name: str) -> ModuleSpec | None:
        return ModuleSpec(name, None, origin=str(tmp_path / "reports/__init__.py")) if name == "reports" else real(name)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    finding = next(f for f in diagnosis.check_names() if f.what == "package reports")
    assert finding.state == "fail"
    assert str(tmp_path) in finding.detail


def test_the_embedded_base_whole_damaged_and_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from selfreward_bench import micro

    copy = tmp_path / "micro"
    (copy / "base").mkdir(parents=True)
    shutil.copytree(micro.base_path(), copy / "base", dirs_exist_ok=True)
    for name in micro.FILES:
        (copy / f"{name}.jsonl").touch()
    monkeypatch.setattr(micro, "_ROOT", copy)
    weights = copy / "base/model.safetensors"
    digest = base64.urlsafe_b64encode(hashlib.sha256(weights.read_bytes()).digest()).decode().rstrip("=")
    record = SimpleNamespace(hash=SimpleNamespace(mode="sha256", value=digest), locate=lambda: weights)
    monkeypatch.setattr(metadata, "files", lambda _: [record])
    assert [f.state for f in diagnosis.check_base()] == ["ok"]
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)  # still a sound file, but not the one that was packed
    (finding,) = diagnosis.check_base()
    assert finding.state == "fail"
    assert "model.safetensors" in finding.detail
    weights.write_bytes(content[:-1])
    (finding,) = diagnosis.check_base()
    assert finding.state == "fail"
    assert "damaged" in finding.detail
    weights.write_bytes(content)
    monkeypatch.setattr(metadata, "files", lambda _: [])
    (copy / "ift.jsonl").unlink()
    (finding,) = diagnosis.check_base()
    assert (finding.state, "ift" in finding.detail) == ("fail", True)


def test_the_device_is_named() -> None:
    (finding,) = diagnosis.check_device()
    assert finding.state == "ok"
    assert "device" in finding.detail


def test_little_memory_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2**30))
    assert [(f.what, f.state) for f in diagnosis.check_machine()] == [("CPU", "ok"), ("memory", "warn")]


@pytest.mark.parametrize(("free", "state"), [(2**40, "ok"), (2**30, "warn"), (2**20, "fail")])
def test_disk_space(monkeypatch: pytest.MonkeyPatch, free: int, state: str) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2**41, 0, free))
    assert {f.state for f in diagnosis.check_directories()} == {state}


def test_a_directory_that_cannot_be_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    findings: list[Any] = list(diagnosis.check_directories())
    assert [f.state for f in findings] == ["fail", "fail"]


def test_variables_that_a_launcher_left_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from trainers.environment import left_over

    for name in left_over():
        monkeypatch.delenv(name)
    (clean,) = diagnosis.check_launchers()
    assert clean.state == "ok"
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    (found,) = diagnosis.check_launchers()
    assert found.state == "warn"
    assert found.detail.startswith("ACCELERATE_MIXED_PRECISION, WORLD_SIZE: left over")
