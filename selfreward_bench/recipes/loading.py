"""Loads recipes, lays them over the defaults, and checks what comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from selfreward_bench.config import RunConfig
from selfreward_bench.errors import ConfigError, SrbenchError, UnknownNameError
from selfreward_bench.recipes.layers import Layer, Location, placed, show
from selfreward_bench.recipes.paths import absolute
from selfreward_bench.recipes.problems import GONE, problem_of, unfit_values
from selfreward_bench.recipes.strict import dump_values, parse
from selfreward_bench.storage.files import expanded, os_errors

__all__ = ["anchored", "change", "current", "describe", "dump", "load", "names", "read_text", "resolve", "source"]

_BUILT_IN = "built-in "
_MAX_BYTES = 2**20
_MAX_EXTENDS = 8
_FOR_EDITORS = "# yaml-language-server:"  # names the schema (docs/settings.md)


def names() -> list[str]:
    """The built-in recipes, sorted."""
    folder = resources.files("selfreward_bench") / "data" / "recipes"
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))


def describe() -> dict[str, str]:
    """Each built-in recipe with the first comment line of its file that is for people."""
    return {name: _first_comment(source(name)) for name in names()}


def source(name: str) -> str:
    """The text of a built-in recipe, to copy and edit.

    Raises:
        UnknownNameError: there is no recipe of that name.
    """
    if name not in (known := names()):
        raise UnknownNameError("recipe", name, known)
    return (resources.files("selfreward_bench") / "data" / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")


def load(name_or_path: str | Path | None, overrides: Sequence[str] = ()) -> RunConfig:
    """The configuration that a recipe and ``--set`` options come to.

    Args:
        name_or_path: a built-in name, or a path (recognised by its ``.yaml``/``.yml`` or a separator); None is no
            recipe: the defaults.
        overrides: ``key.path=value`` each, the value in YAML; the last one wins.

    Raises:
        UnknownNameError: no built-in recipe has that name.
        ConfigError: the file cannot be read, or anything in it or in ``overrides`` is wrong: all of it, each with its
            line and its key.
    """
    recipe = [] if name_or_path is None else _read_chain(str(name_or_path))
    what = "What --set says" if name_or_path is None else f"Recipe {name_or_path}"
    return resolve([*recipe, *(_override(text) for text in overrides)], what)


def change(config: RunConfig, overrides: Sequence[str]) -> RunConfig:
    """A configuration with ``--set`` options laid over it.

    Raises:
        ConfigError: anything in ``overrides`` is wrong.
    """
    return resolve([Layer(config.model_dump()), *(_override(text) for text in overrides)], "What --set says")


def anchored(config: RunConfig) -> RunConfig:
    """The configuration with paths that do not depend on the current directory: those of a built-in recipe start there.

    Raises:
        ConfigError: never for what ``load`` gave.
    """
    return resolve([absolute(Layer(config.model_dump()), Path())], "The configuration")


def current(values: dict[str, Any]) -> dict[str, Any]:
    """Stored settings without those that are no settings any more: what was made with them is still read."""
    found = {key: dict(value) if isinstance(value, dict) else value for key, value in values.items()}
    for section, key in GONE:
        if isinstance(found.get(section), dict):
            found[section].pop(key, None)
    return found


def resolve(layers: Sequence[Layer], what: str) -> RunConfig:
    """Lays ``layers`` over the defaults, each over the ones before it, and checks the result.

    Raises:
        ConfigError: naming ``what`` and all problems at once.
    """
    values = RunConfig().model_dump()  # complete, so that a section half given keeps the other half's defaults
    places: dict[Location, str] = {}
    problems: list[str] = []
    for layer in layers:
        _merge(values, layer.values)
        places |= layer.places
        problems += layer.problems
    problems += [f"{placed(places, location)}: {fault}" for location, fault in unfit_values(values)]
    config = None
    try:
        config = RunConfig.model_validate(values, strict=True)
    except ValidationError as error:
        problems += [problem_of(p["type"], p["loc"], p["msg"], p["input"], places) for p in error.errors()]
    if problems or config is None:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        listing = "\n".join(f"  {problem}" for problem in problems)
        raise ConfigError(
            f"{what} cannot be used; it has {count}:\n{listing}\n"
            "Mend these and start again. `srbench recipes --explain` tells every key."
        )
    return config


def dump(config: RunConfig) -> str:
    """The configuration as YAML, every key with its value; ``parse`` reads back the same."""
    return dump_values(config.model_dump(mode="json"))


def read_text(path: Path) -> str:
    """A small UTF-8 text file.

    Raises:
        ConfigError: it cannot be read, is larger than 1 MiB, or is no UTF-8.
    """
    with os_errors(path, "read", ConfigError), path.open("rb") as stream:
        content = stream.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ConfigError(f"{path} is larger than {_MAX_BYTES:,} bytes; this is no recipe. Check the path.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not valid UTF-8. Save the file as UTF-8.") from error


# --- where recipes come from


def _read_chain(name_or_path: str) -> list[Layer]:
    """The recipe and what it extends, the most basic first."""
    text, origin, folder = _read_one(name_or_path, Path())
    layers: list[Layer] = []
    visited: list[str] = []
    while True:
        layer = parse(text, origin)
        if not origin.startswith(_BUILT_IN):
            layer = absolute(layer, folder)
        layers.insert(0, layer)
        visited.append(origin)
        if "extends" not in layer.values:
            return layers
        extended = layer.values.pop("extends")
        try:
            text, origin, folder = _read_extended(extended, folder, visited)
        except SrbenchError as error:
            layers[0] = replace(layer, problems=(*layer.problems, f"{layer.places['extends',]}: extends: {error}"))
            return layers


def _read_extended(name_or_path: object, folder: Path, visited: Sequence[str]) -> tuple[str, str, Path]:
    if not isinstance(name_or_path, str):
        raise ConfigError(f"must be a recipe's name or path (it is {show(name_or_path)})")
    text, origin, folder = _read_one(name_or_path, folder)
    if origin in visited or len(visited) >= _MAX_EXTENDS:
        raise ConfigError(f"goes round in a circle, or too deep: {' -> '.join([*visited, origin])}")
    return text, origin, folder


def _read_one(name_or_path: str, folder: Path) -> tuple[str, str, Path]:
    """Text, name for messages, and the folder that relative paths in it start from."""
    if name_or_path in names() or not _is_path(name_or_path):
        return source(name_or_path), f"{_BUILT_IN}{name_or_path}.yaml", folder
    path = folder / expanded(Path(name_or_path))
    return read_text(path), str(path), path.parent


def _first_comment(text: str) -> str:
    return next(line for line in text.splitlines() if not line.startswith(_FOR_EDITORS)).lstrip("# ").rstrip()


def _is_path(text: str) -> bool:
    return "/" in text or "\\" in text or text.endswith((".yaml", ".yml"))


def _override(text: str) -> Layer:
    key, equals, value_text = text.partition("=")
    location = tuple(key.strip().split("."))
    place = f"--set {key.strip()}"
    if not equals or not all(location):
        return Layer({}, problems=(f"--set {text}: must look like `--set dpo.beta=0.2`",))
    if not value_text.strip():
        return Layer({}, problems=(f"{place}: has no value. For none, write `{key.strip()}=null`",))
    try:
        layer = parse(f"value: {value_text}", place)
    except ConfigError as error:
        return Layer({}, problems=(str(error).replace(f"{place}:1:", f"{place}:"),))
    if set(layer.values) != {"value"}:
        return Layer({}, problems=(f"{place}: {show(value_text)} is more than one value",))
    value = layer.values["value"]
    for part in reversed(location):
        value = {part: value}
    return absolute(Layer(value, {location: place}, layer.problems), Path())


def _merge(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            _merge(below[key], value)
        else:
            below[key] = value
