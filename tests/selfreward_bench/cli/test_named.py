"""What messages, help and documents name exists: options, commands and settings."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main

from selfreward_bench.cli.app import COMMANDS, app, load
from selfreward_bench.settings import settings

ROOT = Path(__file__).parents[3]
PACKAGES = ("selfreward_bench", "trainers", "leaderboards", "reports", "srbench")
#: the changelog also names what is no more
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "perf/RESULTS.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
#: modules that speak to other programs, or are one: their options are not srbench's
FOREIGN = {
    "trainers/commands.py": "torchrun, accelerate, srun",
    "trainers/worker.py": "torchrun",
    "trainers/launched.py": "torchrun",
    "selfreward_bench/engines/shard_worker.py": "torchrun",
    "selfreward_bench/engines/shared_out.py": "torchrun",
    "selfreward_bench/engines/vllm/serving.py": "vllm serve",
    "reports/figures.py": "rsvg-convert, Inkscape, Chromium",
    "selfreward_bench/micro/make.py": "a program of its own",
}
#: options of other programs that texts elsewhere speak of
OTHERS = {
    "--tensor-parallel-size": "vllm serve",
    "--local-dir": "hf download",
    "--log": "lm-eval's --log_samples",
    "--openai": "perf/client.py",
    "--write": "lm-eval's --write_out",
    "--ntasks-per-node": "srun",
    "--nnodes": "torchrun",
    "--nproc-per-node": "torchrun",
    "--rdzv-backend": "torchrun",
    "--rdzv-endpoint": "torchrun",
    "--max-restarts": "torchrun",
    "--secret": "sky",
}
SECTIONS = sorted({s.key.split(".")[0] for s in settings() if "." in s.key})
SETTING = re.compile(rf"(?<![\w./-])(?:{'|'.join(SECTIONS)})(?:\.[a-z_]+)+(?![\w(/])")
#: what looks like a setting and is a file, of a run or of srbench
FILES = re.compile(r"\.(?:jsonl?|js|html|py|yaml)$")


@cache
def parameters() -> dict[str, frozenset[str]]:
    """Every command, ``data pull`` too -> its options."""
    found = {"": options_of(typer.main.get_command(app))}
    for name in COMMANDS:
        command: Any = load(name)
        found[name] = options_of(command)
        for below, single in getattr(command, "commands", {}).items():
            found[f"{name} {below}"] = options_of(single)
    return found


def options_of(command: Any) -> frozenset[str]:
    return frozenset(o for p in command.params for o in (*p.opts, *p.secondary_opts)) | {"--help", "-h"}


@cache
def texts() -> list[tuple[str, str]]:
    """Every text in the code, documentation included, with the place where it stands."""
    return [
        (f"{path.relative_to(ROOT).as_posix()}:{node.lineno}", node.value)
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


@pytest.mark.slow
def test_options_that_texts_name_are_options() -> None:
    known = frozenset().union(*parameters().values())
    wrong = [
        f"{place}: {option}"
        for place, text in texts()
        if place.partition(":")[0] not in FOREIGN
        for option in OPTION.findall(text)
        if option not in known and option not in OTHERS
    ]
    assert wrong == []
    assert sum(bool(OPTION.search(text)) for _, text in texts()) > 100
    assert all((ROOT / path).is_file() for path in FOREIGN)


def test_settings_that_texts_and_documents_name_are_settings() -> None:
    known = {s.key for s in settings()}
    documents = {path.name: path.read_text("utf-8") for path in DOCUMENTS}
    found = [(place, key) for place, text in [*texts(), *documents.items()] for key in SETTING.findall(text)]
    assert len(found) > 300
    assert [f"{place}: {key}" for place, key in found if key not in known and not FILES.search(key)] == []


def commands_in(text: str) -> Iterator[list[str]]:
    """Every call of srbench in a document's code: words behind ``srbench``, without what the shell does with them."""
    fenced = re.findall(r"^```[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in fenced for line in block.replace("\\\n", " ").splitlines()]
    inline = re.findall(r"`(srbench [^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    for line in [*lines, *inline]:
        if called := re.match(r"\s*(?:- run: )?(?:\S*/)?srbench (.+)", line):
            yield shlex.split(re.split(r" [|>&]+ |  +|;", called[1])[0], comments=True)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_in_documents_have_their_options(document: Path) -> None:
    for words in commands_in(document.read_text("utf-8")):
        if not words or not re.fullmatch(r"[a-z][a-z-]*", words[0]):
            continue
        below = " ".join(words[:2])
        name = below if below in parameters() else words[0]
        assert name in parameters(), words
        given = {word.partition("=")[0] for word in words if word.startswith("--") and word != "--"}
        assert given <= parameters()[name], words


def test_documents_call_every_command() -> None:
    called = {words[0] for path in DOCUMENTS for words in commands_in(path.read_text("utf-8")) if words}
    assert set(COMMANDS) <= called
