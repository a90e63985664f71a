"""What the repository promises as a whole: the wheel has its data, imports stay light, tests stay on this machine."""

from __future__ import annotations

import ast
import json
import os
import re
import socket
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from email import message_from_bytes, policy
from email.message import Message
from importlib import metadata, util
from pathlib import Path

import pytest
import yaml
from markdown_it import MarkdownIt
from packaging.requirements import Requirement

from selfreward_bench import __version__

ROOT = Path(__file__).parents[1]
PACKAGES = ("selfreward_bench", "trainers", "leaderboards", "reports", "srbench")
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
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("wheel")
    built = run_python("-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
    assert built.returncode == 0, built.stderr
    (file,) = folder.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        yield archive


@pytest.fixture(scope="module")
def wheel_files(wheel: zipfile.ZipFile) -> set[str]:
    return set(wheel.namelist())


@pytest.fixture(scope="module")
def metadata_file(wheel: zipfile.ZipFile, wheel_files: set[str]) -> Message:
    (name,) = (name for name in wheel_files if name.endswith(".dist-info/METADATA"))
    return message_from_bytes(wheel.read(name), policy=policy.compat32)


def test_the_wheel_has_every_file_of_the_packages(wheel_files: set[str]) -> None:
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
        *(rf"{package}/py\.typed" for package in PACKAGES),
    ],
)
def test_the_wheel_has_what_srbench_reads_at_run_time(wheel_files: set[str], pattern: str) -> None:
    assert any(re.fullmatch(pattern, name) for name in wheel_files)


def test_the_wheel_has_nothing_else(wheel_files: set[str]) -> None:
    tops = {name.split("/")[0] for name in wheel_files}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    assert not [name for name in wheel_files if re.search(r"(^|/)(tests?/|test_|conftest|__pycache__)", name)]


def test_a_package_index_shows_the_readme_without_links_into_the_repository(metadata_file: Message) -> None:
    shown = metadata_file.get_payload(decode=True).decode("utf-8")
    readme = (ROOT / "README.md").read_text("utf-8")
    assert metadata_file["Description-Content-Type"] == "text/markdown"
    assert links(readme) - links(shown) > {"docs/report.png", "docs/cli.md"}  # nothing would be tested otherwise
    assert {target for target in links(shown) if not target.startswith("https://")} == set()
    assert "\n*(The first page of the report: docs/report.png in the repository.)*\n" in shown
    for target in links(readme):
        assert target.partition("#")[0] in shown  # what was a link is named in words
    assert [line for line in readme.splitlines() if line.startswith("#")] == [
        line for line in shown.splitlines() if line.startswith("#")
    ]


def links(markdown: str) -> set[str]:
    """Where the links and pictures of a document lead. HTML, in which more could hide, is refused."""
    tokens = [t for token in MarkdownIt().enable("table").parse(markdown) for t in (token, *(token.children or ()))]
    assert [t.content for t in tokens if t.type in ("html_block", "html_inline")] == []
    return {str(t.attrs[name]) for t in tokens for name in ("href", "src") if name in t.attrs}


def test_the_package_says_what_it_is(metadata_file: Message) -> None:
    assert metadata_file["License-Expression"] == "Apache-2.0"
    assert "Typing :: Typed" in metadata_file.get_all("Classifier", [])
    assert metadata_file.get_all("Project-URL") == ["Paper, https://arxiv.org/abs/2401.10020"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == metadata_file["Version"] == __version__
    assert citation["license"] == metadata_file["License-Expression"]
    assert [author["name"] for author in citation["authors"]] == [metadata_file["Author"]]
    assert citation["authors"][0]["name"].lower() in (ROOT / "LICENSE").read_text("utf-8")
    (paper,) = citation["references"]
    assert paper["url"] == "https://arxiv.org/abs/2401.10020"


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


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
#: what torch brings for an accelerator, on the platforms that have one
ACCELERATOR = re.compile(r"(nvidia|cuda|triton|intel|onemkl|mkl|tbb)\b.*")


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def installed_with(requirements: Iterable[str]) -> set[str]:
    """The packages that requirements bring, on this machine, by what the installed ones say of themselves."""
    found: set[tuple[str, str]] = set()
    waiting = [(Requirement(text), "") for text in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        name = normalised(requirement.name)
        if ACCELERATOR.fullmatch(name) or (requirement.marker and not requirement.marker.evaluate({"extra": extra})):
            continue
        for wanted in {"", *requirement.extras} - {e for n, e in found if n == name}:
            found.add((name, wanted))
            waiting += [(Requirement(text), wanted) for text in metadata.requires(name) or ()]
    return {name for name, _ in found}


def test_the_constraints_pin_exactly_what_is_installed() -> None:
    parts = re.split(r"\n# for .*: \.\[\w+\].*\n", (ROOT / "constraints.txt").read_text("utf-8"))
    groups = [[line for line in part.splitlines() if line and line[0] != "#"] for part in parts]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line) for group in groups for line in group)
    run, development, replicas = ([normalised(line.split("==")[0]) for line in group] for group in groups)
    assert len({*run, *development, *replicas}) == len(run) + len(development) + len(replicas)
    needed = installed_with(PROJECT["dependencies"])
    assert set(run) == needed
    needed |= installed_with(PROJECT["optional-dependencies"]["dev"])
    assert {*run, *development} == needed
    if util.find_spec("ray"):  # `make test-ray` installs it
        assert set(replicas) == installed_with(PROJECT["optional-dependencies"]["ray"]) - needed
    assert "ray" in replicas


@pytest.mark.slow
def test_what_is_imported_is_a_dependency_and_what_is_not_says_why() -> None:
    of = {module: {normalised(n) for n in names} for module, names in metadata.packages_distributions().items()}
    imported = {
        module.split(".")[0]
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        for module in ([a.name for a in node.names] if isinstance(node, ast.Import) else imported_from(node))
    }
    others = imported - set(sys.stdlib_module_names) - set(PACKAGES) - {"pydantic_core"}  # pydantic's own
    declared = {normalised(Requirement(text).name): text for text in PROJECT["dependencies"]}
    extras = [text for name, texts in PROJECT["optional-dependencies"].items() if name != "dev" for text in texts]
    possible = {*declared, *(normalised(Requirement(text).name) for text in extras)}
    assert {module for module in others if not of.get(module, {module}) & possible} == set()
    alone = {normalised(Requirement(text).name) for text in set(extras) - set(PROJECT["optional-dependencies"]["dev"])}
    # tests stand in for them, 70 packages more; Ray has `make test-ray`, which CI runs
    assert alone == {"mlflow", "ray", "tensorboard", "trackio", "wandb"}
    unused = set(declared) - {name for module in others for name in of.get(module, ())}
    lines = (ROOT / "pyproject.toml").read_text("utf-8").splitlines()
    assert [n for n in unused if not any(f'"{declared[n]}", # ' in line for line in lines)] == []
    assert unused == {"alpaca-eval"}


def imported_from(node: ast.AST) -> list[str]:
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []


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


def test_the_house_names_every_module() -> None:
    """But for commands and sections of the report, which are called as their modules are."""
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    named = set(re.findall(r"\w+", text.split("## The house")[1].split("## Two walks")[0]))
    modules = [
        path.relative_to(ROOT)
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if path.stem not in ("__init__", "__main__") and path.parent.name not in ("cli", "sections")
    ]
    assert len(modules) > 200
    assert [str(path) for path in modules if path.stem not in named] == []


def test_the_readme_names_every_document() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    pages = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))]
    assert len(pages) > 30
    assert [page for page in pages if f"({page})" not in readme] == []


def defined_in(module: str) -> set[str]:
    """What can be imported from a module of srbench: its names, or of a package its modules."""
    place = ROOT.joinpath(*module.split("."))
    source = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    names = {path.stem for path in place.iterdir()} if place.is_dir() else set()
    for node in ast.parse(source.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def test_what_documents_import_from_srbench_is_there() -> None:
    imported = [
        (document.name, node.module, alias.name)
        for document in (ROOT / "docs").rglob("*.md")
        for block in re.findall(r"^```python\n(.*?)^```", document.read_text("utf-8"), re.DOTALL | re.MULTILINE)
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in PACKAGES
        for alias in node.names
    ]
    assert len(imported) > 10
    assert [(where, module, name) for where, module, name in imported if name not in defined_in(module)] == []


def places_in(document: Path) -> set[str]:
    """What links can lead to in a document: its headings, as they are called in an address."""
    text = re.sub(r"^```.*?^```", "", document.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", found) for found in re.findall(r"^#+ (.+)$", text, re.MULTILINE))
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_every_link_between_documents_leads_somewhere() -> None:
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "perf" / "RESULTS.md"]
    links = [
        (document, document.parent / target if target else document, place)
        for document in documents
        for target, place in re.findall(r"\]\(([\w./-]+\.\w+|(?=#))(?:#([\w-]+))?\)", document.read_text("utf-8"))
    ]
    assert len(links) > 100
    assert sum(bool(place) for _, _, place in links) > 40
    broken = [f"{document.name}: {target.name}" for document, target, _ in links if not target.exists()]
    broken += [
        f"{document.name}: {target.name}#{place}"
        for document, target, place in links
        if place and target.suffix == ".md" and place not in places_in(target)
    ]
    assert broken == []


def test_the_documents_that_code_and_recipes_name_are_there() -> None:
    named = [
        (path, name)
        for package in (*PACKAGES, "perf", "examples")
        for path in (ROOT / package).rglob("*")
        if path.suffix in (".py", ".yaml", ".sh", ".sbatch", ".j2")
        for name in re.findall(r"docs/[\w/-]+\.md", path.read_text("utf-8"))
    ]
    assert len(named) > 50
    assert [f"{path.relative_to(ROOT)}: {name}" for path, name in named if not (ROOT / name).is_file()] == []
