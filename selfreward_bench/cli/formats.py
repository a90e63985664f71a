"""The kinds of files srbench reads, how one is recognised, and all that is wrong with a file.

find_problems(Path("ift.jsonl"), "ift") -> ("3,200 ift records", [])
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from selfreward_bench import recipes
from selfreward_bench.errors import ConfigError, DataError, SrbenchError, UnknownNameError
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.decoding import decode

YAML_FORMATS: Final = ("recipe", "judge")

#: format -> "module:record"; the layouts of seed data are what a user writes, the others what srbench writes
JSONL_FORMATS: Final[dict[str, str]] = {
    "ift": "trainers.layouts:IftLine",
    "eft": "trainers.layouts:RankedLine",
    "prompts": "trainers.layouts:PromptLine",
    "completions": "selfreward_bench.types:Completion",
    "judgments": "selfreward_bench.types:Judgment",
    "rewards": "selfreward_bench.types:Reward",
    "pairs": "selfreward_bench.types:PreferencePair",
    "examples": "selfreward_bench.types:Example",
    "ranked": "selfreward_bench.types:RankedPrompt",
    "two-turn": "selfreward_bench.types:TwoTurnQuestion",
    "choices": "selfreward_bench.types:ChoiceQuestion",
}


def find_problems(path: Path, format: str | None = None) -> tuple[str, list[str]]:
    """What a file is, and everything that is wrong with it.

    Args:
        format: a name of ``YAML_FORMATS`` or ``JSONL_FORMATS``; None to recognise it.

    Raises:
        UnknownNameError: there is no such format.
    """
    known = (*YAML_FORMATS, *JSONL_FORMATS)
    if format is not None and format not in known:
        raise UnknownNameError("format", format, known)
    try:
        chosen = format or recognise(path)
        if chosen in JSONL_FORMATS:
            return _records(path, chosen)
        return chosen, list(_recipe_problems(path) if chosen == "recipe" else _judge_problems(path))
    except SrbenchError as error:
        return format or "unknown", _lines(error)


def recognise(path: Path) -> str:
    """The format of a file: YAML by its keys, JSONL by its name, else by the fields of its first record.

    Raises:
        SrbenchError: the file cannot be read, or is none of them.
    """
    if path.suffix in (".yaml", ".yml"):
        values = recipes.parse(recipes.read_text(path), str(path)).values
        return "judge" if "template" in values or "parser" in values else "recipe"
    line = next((line for _, line in jsonl.lines(path, jsonl.MAX_LINE_BYTES)), b"")
    fields = _fields(line)
    fitting = [name for name in JSONL_FORMATS if _fits(_model(name), fields)]
    if path.stem in fitting or (not fitting and path.stem in JSONL_FORMATS):
        return path.stem
    if not fitting:
        raise DataError(
            f"{path}: what kind of file this is cannot be told from its name or its first record's fields "
            f"({', '.join(sorted(fields)[:8]) or 'none'}). Name it with --format: {', '.join(JSONL_FORMATS)}. "
            "Of instructions and preferences in another shape, `srbench data import` shows what is understood."
        )
    return next((name for name in fitting if _is_sound(line, _model(name))), fitting[0])


def _records(path: Path, format: str) -> tuple[str, list[str]]:
    model = _model(format)
    problems: list[str] = []
    places: dict[str, int] = {}
    count = 0
    for number, line in jsonl.lines(path, jsonl.MAX_LINE_BYTES):
        count += 1
        try:
            record = decode(line, model, f"{path}:{number}")
        except DataError as error:
            problems += _lines(error)
            continue
        if (key := str(getattr(record, "id", number))) in places:
            problems.append(
                f"{path}:{number}: field 'id': {key[:60]!r} is on line {places[key]} already; ids must be unique."
            )
        places.setdefault(key, number)
    if not count:
        problems.append(f"{path}: the file holds no records. One JSON object per line is needed.")
    return f"{count:,} {format} records", problems


def _recipe_problems(path: Path) -> Iterator[str]:
    from selfreward_bench.cli.checks import config_problems

    try:
        yield from (f"{path}: {problem}" for problem in config_problems(recipes.load(_as_path(path))))
    except ConfigError as error:
        lines = _lines(error)
        # the first and the last line frame a list of problems, which say their place themselves
        yield from [line.strip() for line in lines if line.startswith("  ")] or lines


def _judge_problems(path: Path) -> Iterator[str]:
    from selfreward_bench.judges.prompts import load_judge_prompt

    try:
        load_judge_prompt(_as_path(path))
    except ConfigError as error:
        lines = _lines(error)
        listed = [line.strip() for line in lines if line.startswith("  ")]
        yield from (f"{_place(path, problem)}: {problem}" for problem in listed) if listed else lines


def _as_path(path: Path) -> str:
    """Never mistaken for a built-in name, and yet shown as the user wrote it."""
    return str(path) if path.is_absolute() else f"./{path}"


def _place(path: Path, problem: str) -> str:
    """``FILE:LINE`` of the key that a problem begins with, or of the section around it."""
    places = recipes.parse(recipes.read_text(path), str(path)).places
    location = tuple(problem.partition(":")[0].split("."))
    return next((places[location[:n]] for n in range(len(location), 0, -1) if location[:n] in places), str(path))


def _model(format: str) -> type[BaseModel]:
    module, name = JSONL_FORMATS[format].split(":")
    model: type[BaseModel] = getattr(importlib.import_module(module), name)
    return model


def _fields(line: bytes) -> set[str]:
    """The names in a line; none where it is no JSON object (its problems are named later)."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return set()
    return set(values) if isinstance(values, dict) else set()


def _is_sound(line: bytes, model: type[BaseModel]) -> bool:
    try:
        decode(line, model, "")
    except DataError:
        return False
    return True


def _fits(model: type[BaseModel], fields: set[str]) -> bool:
    required = {name for name, info in model.model_fields.items() if info.is_required()}
    return required <= fields <= set(model.model_fields)


def _lines(error: SrbenchError) -> list[str]:
    return str(error).splitlines()
