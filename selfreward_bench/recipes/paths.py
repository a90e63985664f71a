"""Which settings name files, and paths that do not depend on where srbench is started."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from selfreward_bench.config import WORDS, is_template_file
from selfreward_bench.recipes.layers import Layer, Location, placed, show
from selfreward_bench.storage.files import expanded

__all__ = ["absolute"]

#: settings that may name a file or a directory
_PATHS: Final[tuple[Location, ...]] = (
    ("base",),
    ("chat_template",),
    ("judge", "prompt"),
    ("meta", "prompt"),
    ("reward_model", "name"),
    ("seeds", "ift"),
    ("seeds", "eft"),
    ("seeds", "exclude"),
    ("select", "prompts"),
    ("select", "prompt"),
    ("seeds", "reviewer"),
    ("prompts", "writer"),
    ("judge", "model"),
    ("select", "judge"),
)
_ROLES: Final = _PATHS[-4:]
_OF_RUN: Final = re.compile(r":(?:M\d+|SFT)\Z")  # RUN:MODEL
_FILES: Final = (".yaml", ".yml", ".json", ".jsonl", ".gz", ".parquet", ".jinja")


def absolute(layer: Layer, folder: Path) -> Layer:
    """A layer whose paths do not depend on where srbench is started.

    A name that is no path (``micro``, a shipped judge prompt, a model of the hub) stays as it is: it is taken for a
    path where it looks like one or where there is such a file.
    """
    problems = list(layer.problems)
    for location in _PATHS:
        section: Any = layer.values
        for part in location[:-1]:
            section = section.get(part) if isinstance(section, dict) else None
        if not isinstance(section, dict) or not isinstance(text := section.get(location[-1]), str):
            continue
        kind, name = ("oasst:", text.removeprefix("oasst:")) if text.startswith("oasst:") else ("", text)
        model = _OF_RUN.search(name) if location in _ROLES else None
        name, tail = (name[: model.start()], model.group()) if model else (name, "")
        template = location == ("chat_template",)
        if location in _ROLES and (name in WORDS or (location == ("select", "judge") and name == "oracle")):
            continue
        if not name or "\0" in name or (not is_template_file(name) if template else _is_name(name)):
            continue
        path = expanded(Path(name))
        if template or _looks_like_path(name) or (folder / path).exists():
            section[location[-1]] = f"{kind}{(folder / path).resolve() if not path.is_absolute() else path}{tail}"
        elif path.exists():
            problems.append(
                f"{placed(layer.places, location)}: {show(name)} is not in {folder.resolve()} but in the current "
                "directory. A path in a recipe is relative to the recipe's file"
            )
    return replace(layer, problems=tuple(problems))


def _is_name(text: str) -> bool:
    """Whether it is what needs no file: the embedded world, a data set of the hub, an address."""
    return text == "micro" or text.startswith("hf:") or "://" in text


def _looks_like_path(text: str) -> bool:
    return text.startswith(("./", "../", "~", "/", ".\\", "..\\")) or text.lower().endswith(_FILES)
