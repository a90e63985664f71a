"""Reads recipes: YAML on top of the defaults of ``selfreward_bench.config``, with every problem reported at once.

A recipe is a built-in name or a YAML file. It may say ``extends: NAME`` (or a path) and is then laid over that one;
``--set dpo.beta=0.2`` is laid over both. No YAML tag can construct an object; anchors and repeated keys are refused.
A path in a recipe is relative to the recipe's file, one in ``--set`` to the current directory; both become absolute.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any, Final, NoReturn

import yaml
from pydantic import BaseModel, ValidationError

from selfreward_bench.config import WORDS, RunConfig, is_template_file
from selfreward_bench.errors import ConfigError, SrbenchError, UnknownNameError, did_you_mean
from selfreward_bench.storage.files import os_errors

__all__ = [
    "Layer",
    "anchored",
    "change",
    "current",
    "describe",
    "dump",
    "dump_values",
    "load",
    "names",
    "parse",
    "read_text",
    "resolve",
    "source",
]

_BUILT_IN = "built-in "
_MAX_BYTES = 2**20
_MAX_EXTENDS = 8
_MAX_DEPTH = 16
_SHOWN_CHARACTERS = 60
_FOR_EDITORS = "# yaml-language-server:"  # names the schema (docs/settings.md)
_SURROGATE = re.compile("[\ud800-\udfff]")

Location = tuple[str, ...]

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
#: settings that were there once, and why they are not any more
_GONE: Final[dict[Location, str]] = {
    ("dpo", "dropout"): "DPO trains without dropout, as policy and reference must agree at the first step",
}
_FILES: Final = (".yaml", ".yml", ".json", ".jsonl", ".gz", ".parquet", ".jinja")


@dataclass(frozen=True, slots=True)
class Layer:
    """Values from one place, with where each stands.

    Attributes:
        values: nested plain values.
        places: where the key at a location stands, such as ``my.yaml:7`` or ``--set dpo.beta``.
        problems: what is wrong with the text itself.
    """

    values: dict[str, Any]
    places: dict[Location, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


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
    return resolve([_absolute(Layer(config.model_dump()), Path())], "The configuration")


def current(values: dict[str, Any]) -> dict[str, Any]:
    """Stored settings without those that are no settings any more: what was made with them is still read."""
    found = {key: dict(value) if isinstance(value, dict) else value for key, value in values.items()}
    for section, key in _GONE:
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
    problems += [f"{_prefix(places, location)}: {fault}" for location, fault in _unfit_values(values)]
    config = None
    try:
        config = RunConfig.model_validate(values, strict=True)
    except ValidationError as error:
        problems += [_problem(p["type"], p["loc"], p["msg"], p["input"], places) for p in error.errors()]
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


def dump_values(values: Mapping[str, object]) -> str:
    """Plain values as block-style YAML, in the order given.

    In ASCII: of the characters that YAML takes for line ends (U+0085, U+2028) PyYAML writes some as they are.
    """
    return yaml.dump(dict(values), Dumper=_Dumper, sort_keys=False, allow_unicode=False, width=110)


def parse(text: str, origin: str) -> Layer:
    """One YAML mapping as a layer.

    Args:
        text: the YAML.
        origin: how places are named: ``ORIGIN:LINE``.

    Raises:
        ConfigError: the text is no YAML, or no mapping. Lesser problems (a repeated key) are in ``Layer.problems``.
    """
    try:
        node = _Loader(text).get_single_node()
        if node is None:
            return Layer({})
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{origin}:{_line(node)}: keys with values are needed here, such as `seed: 1`.")
        builder = _Builder(origin)
        values = builder.mapping(node, ())
    except yaml.YAMLError as error:
        raise ConfigError(_syntax_error(error, origin)) from error
    return Layer(values, builder.places, tuple(builder.problems))


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
            layer = _absolute(layer, folder)
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
        raise ConfigError(f"must be a recipe's name or path (it is {_show(name_or_path)})")
    text, origin, folder = _read_one(name_or_path, folder)
    if origin in visited or len(visited) >= _MAX_EXTENDS:
        raise ConfigError(f"goes round in a circle, or too deep: {' -> '.join([*visited, origin])}")
    return text, origin, folder


def _read_one(name_or_path: str, folder: Path) -> tuple[str, str, Path]:
    """Text, name for messages, and the folder that relative paths in it start from."""
    if name_or_path in names() or not _is_path(name_or_path):
        return source(name_or_path), f"{_BUILT_IN}{name_or_path}.yaml", folder
    path = folder / Path(name_or_path).expanduser()
    return read_text(path), str(path), path.parent


def _first_comment(text: str) -> str:
    return next(line for line in text.splitlines() if not line.startswith(_FOR_EDITORS)).lstrip("# ").rstrip()


def _is_path(text: str) -> bool:
    return "/" in text or "\\" in text or text.endswith((".yaml", ".yml"))


def _absolute(layer: Layer, folder: Path) -> Layer:
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
        path = Path(name).expanduser()
        if template or _looks_like_path(name) or (folder / path).exists():
            section[location[-1]] = f"{kind}{(folder / path).resolve() if not path.is_absolute() else path}{tail}"
        elif path.exists():
            problems.append(
                f"{_prefix(layer.places, location)}: {_show(name)} is not in {folder.resolve()} but in the current "
                "directory. A path in a recipe is relative to the recipe's file"
            )
    return replace(layer, problems=tuple(problems))


def _is_name(text: str) -> bool:
    """Whether it is what needs no file: the embedded world, a data set of the hub, an address."""
    return text == "micro" or text.startswith("hf:") or "://" in text


def _looks_like_path(text: str) -> bool:
    return text.startswith(("./", "../", "~", "/", ".\\", "..\\")) or text.lower().endswith(_FILES)


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
        return Layer({}, problems=(f"{place}: {_show(value_text)} is more than one value",))
    value = layer.values["value"]
    for part in reversed(location):
        value = {part: value}
    return _absolute(Layer(value, {location: place}, layer.problems), Path())


def _merge(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            _merge(below[key], value)
        else:
            below[key] = value


# --- YAML, made strict


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader without aliases, and with ``1e-4`` as the number it looks like."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            self._refuse("anchors and aliases (&, *) are not used here; a recipe has `extends`")
        if self._depth == _MAX_DEPTH:
            self._refuse("the values are nested too deeply")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def _refuse(self, problem: str) -> NoReturn:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # PyYAML's
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


class _Dumper(yaml.SafeDumper):
    """Quotes whatever ``_Loader`` would take for a number."""


_FLOAT = re.compile(r"^[-+]?(\d[\d_]*)(\.\d[\d_]*)?[eE][-+]?\d+$")
for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789"))


class _Builder:
    """Turns YAML nodes into plain values and keeps where each key stands."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.places: dict[Location, str] = {}
        self.problems: list[str] = []
        self._scalars = yaml.SafeLoader("")

    def mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            place = f"{self.origin}:{_line(key_node)}"
            if not isinstance(key, str):
                self.problems.append(f"{place}: {_dotted(location)}: a key must be a plain word")
                continue
            here = (*location, key)
            if key in values:
                self.problems.append(f"{place}: {_dotted(here)}: is there twice (first at {self.places[here]})")
                continue
            self.places[here] = place
            values[key] = self.value(value_node, here)
        return values

    def value(self, node: yaml.Node, location: Location) -> object:
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, location)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, (*location, str(index))) for index, child in enumerate(node.value)]
        try:
            return self._scalars.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            problem = getattr(error, "problem", None) or error
            self.problems.append(f"{self.origin}:{_line(node)}: {_dotted(location)}: {problem}")
            return None


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _syntax_error(error: yaml.YAMLError, origin: str) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"{origin}:{mark.line + 1}" if mark else origin
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"{place}: not valid YAML: {problem}. Mend the line and start again."


# --- problems in words


def _unfit_values(value: object, location: Location = ()) -> Iterator[tuple[Location, str]]:
    """Numbers and texts that pass a type check and yet cannot be used."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _unfit_values(child, (*location, key))
    elif isinstance(value, float) and not math.isfinite(value):
        yield location, f"must be a finite number (it is {value})"
    elif isinstance(value, str) and _SURROGATE.search(value):
        yield location, f"holds a lone surrogate, which UTF-8 cannot hold (it is {value!a})"


def _problem(kind: str, loc: tuple[int | str, ...], message: str, value: object, places: Mapping[Location, str]) -> str:
    location = tuple(str(part) for part in loc)
    prefix = _prefix(places, location)
    if kind == "extra_forbidden" and location in _GONE:
        return f"{prefix}: is no setting any more: {_GONE[location]}. Delete it."
    if kind == "extra_forbidden":
        return f"{prefix}: unknown key.{_suggestion(location)}"
    if kind == "model_type":
        return f"{prefix}: is a section with keys of its own, not a value (it is {_show(value)})"
    if kind == "value_error" and isinstance(value, dict):  # of several settings, which the message names
        named = [key for key in value if re.search(rf"\b{key}\b", message)]
        origins = "; ".join(f"{key}: {places.get((*location, key), 'by default')}" for key in named)
        return f"{_dotted(location)}: {message.removeprefix('Value error, ')} ({origins})"
    quotes = ". Put it in quotes" if kind == "string_type" and isinstance(value, bool | int | float | date) else ""
    shown = "not shown, as it may be a key" if "extra_headers" in location else _show(value)
    return f"{prefix}: {message.replace('Input should', 'must').removeprefix('Value error, ')} (it is {shown}){quotes}"


def _prefix(places: Mapping[Location, str], location: Location) -> str:
    """The key, behind the place where it stands or where the nearest section around it does."""
    for length in range(len(location), 0, -1):
        if place := places.get(location[:length]):
            return place if place.endswith(f" {_dotted(location)}") else f"{place}: {_dotted(location)}"
    return _dotted(location)


def _suggestion(location: Location) -> str:
    """The key that was probably meant: in the same section, else under the same name in another one."""
    keys = list(_all_keys(RunConfig))
    siblings = {key[-1]: key for key in keys if key[:-1] == location[:-1]}
    if hint := did_you_mean(location[-1], siblings):
        section = ".".join((*location[:-1], ""))
        return hint.replace("'", f"'{section}", 1)
    namesakes = [_dotted(key) for key in keys if key[-1] == location[-1]]
    if namesakes:
        return f" Did you mean {' or '.join(repr(name) for name in namesakes)}?"
    return f" Known here: {', '.join(siblings)}." if siblings else ""


def _all_keys(model: type[BaseModel], location: Location = ()) -> Iterator[Location]:
    for name, info in model.model_fields.items():
        yield (*location, name)
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from _all_keys(info.annotation, (*location, name))


def _dotted(location: Location) -> str:
    return ".".join(location) if location else "the recipe"


def _show(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
