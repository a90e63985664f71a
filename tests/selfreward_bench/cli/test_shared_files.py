"""`doctor --cluster`: each finding on a file system that has the fault."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Any

import pytest

from selfreward_bench.cli import diagnosis, shared_files
from selfreward_bench.cli.shared_files import check_cluster

from .conftest import Cli

NFS = "server:/export /data nfs4 rw,relatime,vers=4.2,hard,local_lock=none 0 0"


def found(directory: Path) -> dict[str, Any]:
    return {finding.what: finding for finding in check_cluster(directory)}


@pytest.fixture
def mounts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    lines = ["overlay / overlay rw 0 0", NFS.replace("/data", str(tmp_path))]
    monkeypatch.setattr(shared_files, "_mounts", lambda: lines)
    return lines


@pytest.mark.slow
def test_a_file_system_that_will_do(tmp_path: Path, mounts: list[str]) -> None:
    findings = found(tmp_path / "runs" / "to-be-made")
    assert {what: f.state for what, f in findings.items() if what != "Ray"} == dict.fromkeys(
        ("shared file system", "locks", "rename", "fsync", "clock"), "ok"
    )
    assert "is on nfs4 (server:/export)" in findings["shared file system"].detail
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "state", "told"),
    [
        ("/dev/sda1 {} ext4 rw 0 0", "warn", "this machine's own"),
        ("server:/x {} nfs rw,nolock,vers=3 0 0", "fail", "mounted with nolock"),
        ("mds@tcp:/x {} lustre rw,localflock 0 0", "fail", "mounted with localflock"),
        ("mds@tcp:/x {} lustre rw,flock 0 0", "ok", "lustre"),
        ("s3fs {} fuse.s3fs rw 0 0", "fail", "a bucket has no locks"),
        ("gcsfuse {} fuse.gcsfuse rw 0 0", "fail", "a bucket has no locks"),
        ("store {} fuse.juicefs rw 0 0", "ok", "juicefs"),
        ("me@host:/x {} fuse.sshfs rw 0 0", "fail", "locks end at this machine"),
        ("//host/x {} cifs rw,nobrl 0 0", "fail", "mounted with nobrl"),
        ("beegfs_nodev {} beegfs rw 0 0", "warn", "tuneUseGlobalFileLocks=true"),
    ],
)
def test_what_is_mounted(line: str, state: str, told: str, tmp_path: Path, mounts: list[str]) -> None:
    mounts[1:] = [line.format(tmp_path)]
    finding = found(tmp_path)["shared file system"]
    assert (finding.state, told in finding.detail) == (state, True)


@pytest.mark.slow
def test_the_closest_mount_counts(tmp_path: Path, mounts: list[str]) -> None:
    inner = tmp_path / "with space \u00e4"
    inner.mkdir()
    mounts.append(f"tmpfs {str(inner).replace(' ', chr(92) + '040')} tmpfs rw 0 0")
    assert "tmpfs" in found(inner)["shared file system"].detail
    assert "nfs4" in found(tmp_path)["shared file system"].detail
    mounts.clear()
    assert "does not tell" in found(tmp_path)["shared file system"].detail


@pytest.mark.slow
def test_without_locks(tmp_path: Path, mounts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_files, "_can_lock", lambda _: True)
    assert "lets two processes have the same lock" in found(tmp_path)["locks"].detail
    monkeypatch.setattr(shared_files, "_can_lock", lambda _: False)
    assert "does not give a lock back" in found(tmp_path)["locks"].detail

    def refuses(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuses)
    assert "there are none (flock: [Errno 95] Operation not supported)" in found(tmp_path)["locks"].detail


def test_a_rename_that_leaves_a_gap(tmp_path: Path, mounts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def in_place(path: Path, content: bytes) -> None:
        path.unlink(missing_ok=True)
        time.sleep(0.001)
        path.write_bytes(content)

    monkeypatch.setattr(shared_files, "write_atomic", in_place)
    finding = found(tmp_path)["rename"]
    assert finding.state == "fail"
    assert "a reader found" in finding.detail


def test_a_sync_that_is_refused(tmp_path: Path, mounts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: int) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(shared_files, "_renames", shared_files._clock)
    monkeypatch.setattr(os, "fsync", refused)
    assert "Invalid argument" in found(tmp_path)["shared files"].detail


@pytest.mark.slow
def test_slow_syncs_and_a_clock_that_is_off(tmp_path: Path, mounts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    sync = os.fsync

    def slowly(descriptor: int) -> None:
        time.sleep(0.12)
        sync(descriptor)

    monkeypatch.setattr(shared_files, "_RENAMES", 1)
    monkeypatch.setattr(shared_files, "_SYNCS", 3)
    monkeypatch.setattr(os, "fsync", slowly)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 60)
    findings = found(tmp_path)
    assert (findings["fsync"].state, findings["clock"].state) == ("warn", "warn")
    assert findings["clock"].detail == "the file system's is 60 s from this machine's; set both by NTP"


def test_a_directory_that_cannot_be_written(tmp_path: Path, mounts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryDirectory", refused)
    assert "permission is denied" in found(tmp_path)["shared files"].detail


@pytest.mark.slow
def test_the_command(cli: Cli, tmp_path: Path, mounts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "CHECKS", ())
    result = cli("doctor", "--cluster", tmp_path)
    assert result.exit_code == 0
    assert ["ok", "locks"] in [line.split()[:2] for line in result.stdout.splitlines()]
    mounts[1:] = [f"s3fs {tmp_path} fuse.s3fs rw 0 0"]
    assert cli("doctor", "--cluster", tmp_path).exit_code == 1
    refused = cli("doctor", tmp_path)
    assert refused.exit_code == 2
    assert "--cluster" in refused.stderr
