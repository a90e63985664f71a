"""What ``srbench doctor`` looks at: each check is a function that yields its findings."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final, Literal

import selfreward_bench
from selfreward_bench.errors import SrbenchError
from selfreward_bench.hardware import GIB, gib

DISTRIBUTION: Final = "srbench"
PACKAGES: Final = ("selfreward_bench", "trainers", "leaderboards", "reports")

_MEMORY_NEEDED = 3 * GIB  # what quickstart may take
_DISK_WANTED = 2 * GIB
_DISK_NEEDED = GIB // 4
_PYTHON = (3, 11)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's: ``fail`` stops srbench from working, ``warn`` may."""

    state: Literal["ok", "warn", "fail"]
    what: str
    detail: str


def check_python() -> Iterator[Finding]:
    found = ".".join(str(part) for part in sys.version_info[:3])
    good = sys.version_info >= _PYTHON
    yield Finding("ok" if good else "fail", "Python", found if good else f"{found}; srbench needs 3.11 or newer")


def check_packages() -> Iterator[Finding]:
    """Installed versions against what srbench requires."""
    from packaging.requirements import Requirement

    try:
        required = [Requirement(text) for text in metadata.requires(DISTRIBUTION) or ()]
        yield Finding("ok", "srbench", selfreward_bench.__version__)
    except metadata.PackageNotFoundError:
        yield Finding(
            "warn", "srbench", "not installed as a package, so its requirements are unknown: pip install -e ."
        )
        return
    needed = [r for r in required if r.marker is None or r.marker.evaluate({"extra": ""})]
    wrong = 0
    for requirement in sorted(needed, key=lambda r: r.name):
        found = _version(requirement.name)
        if found is None or not requirement.specifier.contains(found, prereleases=True):
            wrong += 1
            yield Finding(
                "fail",
                requirement.name,
                f"{found or 'missing'}; needed: pip install '{requirement.name}{requirement.specifier}'",
            )
    if not wrong:
        yield Finding("ok", "packages", f"all {len(needed)} that srbench requires are installed")


def check_tested_versions() -> Iterator[Finding]:
    """Only a checkout has ``constraints.txt``; other versions than the tested ones usually work."""
    file = _root() / "constraints.txt"
    if not file.is_file():
        return
    pins = [line.split("==") for line in file.read_text(encoding="utf-8").splitlines() if "==" in line]
    pairs = [(name.strip(), tested.strip(), _version(name.strip())) for name, tested in pins]
    other = [
        f"{name} {found} (tested: {tested})"
        for name, tested, found in pairs
        if found and found.partition("+")[0] != tested
    ]
    if other:
        yield Finding(
            "warn", "tested versions", f"{len(other)} differ: {', '.join(other[:5])}{', ...' if len(other) > 5 else ''}"
        )
    else:
        yield Finding("ok", "tested versions", f"as in {file.name}")


def check_names() -> Iterator[Finding]:
    """Whether srbench's own packages are what ``import`` finds, and nobody else installs any of that name."""
    installed = metadata.packages_distributions()
    clean = True
    for name in PACKAGES:
        others = sorted(set(installed.get(name, ())) - {DISTRIBUTION})
        spec = importlib.util.find_spec(name)
        origin = Path(spec.origin).parent.parent if spec and spec.origin else None
        if origin != _root():
            clean = False
            yield Finding("fail", f"package {name}", f"is imported from {origin}, not from srbench in {_root()}")
        elif others:
            clean = False
            advice = "use an environment of its own for srbench"
            yield Finding(
                "warn", f"package {name}", f"{', '.join(others)} also installs a package of this name; {advice}"
            )
    if clean:
        yield Finding("ok", "package names", "no other distribution installs " + ", ".join(PACKAGES[1:]))


def check_base() -> Iterator[Finding]:
    """The embedded model and data: whole, and as they were packed where pip recorded that."""
    from selfreward_bench.micro import BASE_FINGERPRINT, FILES, base_path, data_path
    from selfreward_bench.storage.fingerprint import check_checkpoint, weights_fingerprint

    try:
        check_checkpoint(base_path())
        fingerprint = weights_fingerprint(base_path())
    except SrbenchError as error:
        yield Finding("fail", "embedded base model", f"{error} Or install srbench again.")
        return
    missing = [name for name in FILES if not data_path(name).is_file()]
    changed = _changed_files(base_path().parent)
    if fingerprint != BASE_FINGERPRINT:
        changed.append("base/model.safetensors")
    if missing or changed:
        yield Finding(
            "fail", "embedded data", f"missing or changed: {', '.join([*missing, *changed])}. Install srbench again."
        )
    else:
        yield Finding("ok", "embedded base model", f"whole, fingerprint {fingerprint}; {len(FILES)} data files")


def check_device() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding("fail", "torch", f"cannot be imported: {error}")
        return
    device = "cpu"
    if torch.cuda.is_available():
        device = f"cuda: {torch.cuda.get_device_name()}"
    elif torch.backends.mps.is_available():
        device = "mps"
    yield Finding("ok", "torch", f"{torch.__version__}, device {device}, {torch.get_num_threads()} thread(s)")


def check_launchers() -> Iterator[Finding]:
    """Variables that a launcher left in this shell."""
    from trainers.environment import left_over

    if names := left_over():
        yield Finding(
            "warn",
            "environment",
            f"{', '.join(names)}: left over from a launcher (torchrun, accelerate, MPI); a run takes no notice of them",
        )
    else:
        yield Finding("ok", "environment", "no variables of a launcher (torchrun, accelerate, MPI) are left over")


def check_machine() -> Iterator[Finding]:
    import psutil

    from selfreward_bench.hardware import usable_cores

    yield Finding("ok", "CPU", f"{usable_cores()} core(s) for this process")
    free = psutil.virtual_memory().available
    low = free < _MEMORY_NEEDED
    yield Finding(
        "warn" if low else "ok", "memory", gib(free) + " available" + ("; quickstart may take 3 GiB" if low else "")
    )


def check_directories() -> Iterator[Finding]:
    """Where runs and temporary files go: writable, with space left."""
    for what, directory in (("runs", Path("runs")), ("temporary files", Path(tempfile.gettempdir()))):
        there = next(p for p in (directory.absolute(), *directory.absolute().parents) if p.exists())
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            yield Finding("fail", f"directory for {what}", f"{there} cannot be written to")
            continue
        free = shutil.disk_usage(there).free
        state: Literal["ok", "warn", "fail"] = (
            "fail" if free < _DISK_NEEDED else "warn" if free < _DISK_WANTED else "ok"
        )
        yield Finding(state, f"directory for {what}", f"{there} is writable, {gib(free)} free")


CHECKS: Final[tuple[Callable[[], Iterator[Finding]], ...]] = (
    check_python,
    check_packages,
    check_tested_versions,
    check_names,
    check_base,
    check_device,
    check_launchers,
    check_machine,
    check_directories,
)


def _root() -> Path:
    """Where srbench's packages lie side by side."""
    return Path(selfreward_bench.__file__).parent.parent


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _changed_files(folder: Path) -> list[str]:
    """Files below ``folder`` whose content is not what pip's record of the installation says."""
    try:
        recorded = metadata.files(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []
    changed = []
    for file in recorded:
        path = Path(str(file.locate()))
        if file.hash is None or file.hash.mode != "sha256" or folder not in path.parents:
            continue
        digest = hashlib.sha256(path.read_bytes()).digest() if path.is_file() else b""
        if base64.urlsafe_b64encode(digest).decode().rstrip("=") != file.hash.value:
            changed.append(path.name)
    return changed
