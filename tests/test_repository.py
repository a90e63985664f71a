"""What the repository promises as a whole: the wheel has its data, imports stay light, tests stay on this machine."""

from __future__ import annotations

import ast
import json
import os
import re
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("selfreward_bench", "trainers", "leaderboards", "reports")
HEAVY = (
    "torch",
    "transformers",
    "trl",
    "datasets",
    "pandas",
    "accelerate",
    "scipy",
    "sklearn",
    "lm_eval",
    "alpaca_eval",
)


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, cwd=ROOT)


# --- the wheel


@pytest.fixture(scope="module")
def wheel_files(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("wheel")
    built = run_python("-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_has_every_file_of_the_four_packages(wheel_files: set[str]) -> None:
    on_disk = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }
    assert on_disk - wheel_files == set()


@pytest.mark.parametrize(
    "pattern",
    [
        r"selfreward_bench/data/recipes/micro\.yaml",
        r"selfreward_bench/data/recipes/paper-70b\.yaml",
        r"selfreward_bench/data/judges/additive-5pt\.yaml",
        r"selfreward_bench/data/micro/base/model\.safetensors",
        r"selfreward_bench/data/micro/test\.jsonl",
        r"srbench-[^/]+/licenses/LICENSE",
        *(rf"{package}/__init__\.py" for package in PACKAGES),
    ],
)
def test_the_wheel_has_what_srbench_reads_at_run_time(wheel_files: set[str], pattern: str) -> None:
    assert any(re.fullmatch(pattern, name) for name in wheel_files)


def test_the_wheel_has_nothing_else(wheel_files: set[str]) -> None:
    tops = {name.split("/")[0] for name in wheel_files}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    assert not [name for name in wheel_files if re.search(r"(^|/)(tests?/|test_|conftest|__pycache__)", name)]


# --- imports


@pytest.mark.parametrize(
    "code",
    [
        "import selfreward_bench.cli",
        "import sys, selfreward_bench.cli as c; sys.argv = ['srbench', '--help']; c.main()",
    ],
    ids=["import", "--help"],
)
def test_the_command_line_starts_without_heavy_libraries(code: str) -> None:
    probe = (
        f"import sys\ntry:\n    exec({code!r})\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"print('\\n' + repr(sorted(set({HEAVY!r}) & set(sys.modules))))"
    )
    done = run_python("-c", probe)
    assert done.returncode == 0, done.stderr
    assert ast.literal_eval(done.stdout.splitlines()[-1]) == []
    if "--help" in code:
        assert "run-iteration" in done.stdout


@pytest.mark.parametrize(
    "module", ["storage.jsonl", "storage.rundir", "recipes", "storage.fingerprint", "engines.base", "types", "config"]
)
def test_the_foundation_has_no_heavy_libraries_and_touches_nothing_at_import(module: str) -> None:
    probe = (
        "import json, logging, os, sys\n"
        "before = dict(os.environ), logging.getLogger().level, len(logging.getLogger().handlers)\n"
        f"import selfreward_bench.{module}\n"
        "after = dict(os.environ), logging.getLogger().level, len(logging.getLogger().handlers)\n"
        f"print(json.dumps([before == after, sorted(set({HEAVY!r}) & set(sys.modules))]))"
    )
    done = run_python("-c", probe)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [True, []]


# --- versions and tests


def test_the_constraints_pin_every_dependency_exactly() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line) for line in lines)
    normalised = {re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in lines}
    assert len(normalised) == len(lines)
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.sub(r"[-_.]+", "-", re.split(r"[<>=\[]", requirement)[0]).lower() for requirement in wanted}
    assert names - normalised == set()


@pytest.mark.parametrize("address", [("192.0.2.1", 80), ("2001:db8::1", 80)])
def test_tests_cannot_leave_this_machine(address: tuple[str, int]) -> None:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family) as client, pytest.raises(RuntimeError, match="tests have no network"):
        client.connect(address)
    with pytest.raises(RuntimeError, match="tests have no network"):
        socket.create_connection(("example.org", 80), timeout=1)


def test_tests_can_reach_this_machine() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname(), timeout=5):
        pass


# --- the documents


def test_every_test_that_a_document_names_is_there() -> None:
    named = {
        (path, name)
        for document in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "perf" / "RESULTS.md"]
        for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", document.read_text("utf-8"))
    }
    assert len(named) > 20
    missing = [
        f"{path}::{name}" for path, name in sorted(named) if f"\ndef {name}(" not in (ROOT / path).read_text("utf-8")
    ]
    assert missing == []


def test_every_link_between_documents_leads_somewhere() -> None:
    links = [
        (document, target)
        for document in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "perf" / "RESULTS.md"]
        for target in re.findall(r"\]\(([\w./-]+\.\w+)(?:#[\w-]*)?\)", document.read_text("utf-8"))
    ]
    assert len(links) > 20
    broken = [f"{document.name}: {target}" for document, target in links if not (document.parent / target).exists()]
    assert broken == []
