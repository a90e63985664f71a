"""The settings as data: key, type, default and description of each, and all of them as the JSON schema of a recipe.

Everything is read out of ``selfreward_bench.config``; what it says is said once, there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic.json_schema import GenerateJsonSchema

from selfreward_bench.config import RunConfig

__all__ = ["Setting", "schema", "schema_text", "settings"]

_DRAFT: Final = "http://json-schema.org/draft-07/schema#"  # the newest that editors' YAML servers know in full
_WORDS: Final = {"string": "text", "boolean": "true or false", "object": "section"}
_BOUNDS: Final = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting, or a section of settings.

    Attributes:
        key: as in ``--set``, such as ``dpo.beta``.
        kind: what it may be, in words: ``number > 0``, ``integer >= 1 or null``.
        default: a plain value, as in JSON; None for a section.
        is_section: it has settings of its own, which follow it; one that may be null is so by default.
    """

    key: str
    kind: str
    default: object
    description: str
    is_section: bool

    @property
    def section(self) -> str:
        """The section at the top that it is, or is in; empty for a setting of the run itself."""
        top, dot, _ = self.key.partition(".")
        return top if dot or self.is_section else ""

    @property
    def name(self) -> str:
        """The key inside that section; empty for the section itself."""
        return self.key.removeprefix(self.section).removeprefix(".")


def settings() -> list[Setting]:
    """All sections and settings, in the order of ``RunConfig``."""
    return list(_settings(_run_schema()["properties"], ""))


def schema() -> dict[str, Any]:
    """The JSON schema of a recipe: of a part of the settings, and what it ``extends``.

    Sections are written out where they stand, so that a key has the default of its own section: a sampling's
    ``max_new_tokens`` is 256 in ``judge`` and 512 in ``candidates``.
    """
    run = _run_schema()
    extends = {
        "type": "string",
        "description": "The recipe that this one is laid over: the name of one that comes with srbench, or a path.",
    }
    return {
        "$schema": _DRAFT,
        "title": "A recipe of srbench",
        "description": "Settings of a run. What is not given has its default, or what the extended recipe says.",
        **run,
        "properties": {"extends": extends, **run["properties"]},
    }


def schema_text() -> str:
    """The schema as the text of a file."""
    return json.dumps(schema(), indent=2) + "\n"


class _Untitled(GenerateJsonSchema):
    """Leaves titles away, which only repeat the keys."""

    def field_title_should_be_set(self, schema: object) -> bool:
        return False


def _run_schema() -> dict[str, Any]:
    run = RunConfig.model_json_schema(schema_generator=_Untitled)
    return _written_out(run, run.pop("$defs"), RunConfig().model_dump(mode="json"))


def _written_out(node: Mapping[str, Any], definitions: Mapping[str, Any], default: Any) -> dict[str, Any]:
    """A node of the schema with its definition in its place, and below it the defaults that hold there."""
    if "$ref" in node:
        definition = definitions[node["$ref"].rpartition("/")[2]]
        description = node.get("description", definition["description"])  # left away where both are the same
        return {"description": description, **_written_out(definition, definitions, default)}
    if section := next((part for part in node.get("anyOf", ()) if "$ref" in part), None):  # one that may be null
        below = definitions[section["$ref"].rpartition("/")[2]]
        own = {name: child["default"] for name, child in below["properties"].items()}
        written = _written_out(below, definitions, own)
        return {**written, "type": ["object", "null"], "description": node["description"], "default": default}
    if "properties" not in node:
        return {**node, "default": default}
    below = {name: _written_out(child, definitions, default[name]) for name, child in node["properties"].items()}
    return {"type": "object", "properties": below, "additionalProperties": node["additionalProperties"]}


def _settings(properties: Mapping[str, Any], prefix: str) -> Iterator[Setting]:
    for name, node in properties.items():
        below = node.get("properties")
        key = prefix + name
        yield Setting(key, _kind(node), node.get("default"), node["description"], below is not None)
        if below is not None:
            yield from _settings(below, f"{key}.")


def _kind(node: Mapping[str, Any]) -> str:
    if "anyOf" in node:
        return " or ".join(_kind(part) for part in node["anyOf"])
    if "const" in node:
        return str(node["const"])
    if "enum" in node:
        return f"{', '.join(node['enum'][:-1])} or {node['enum'][-1]}"
    if isinstance(node["type"], list):
        return " or ".join(_kind({**node, "type": kind}) for kind in node["type"])
    if node["type"] == "array":
        return f"list of {_kind(node['items'])}" + ("" if "enum" in node["items"] else "s")
    if node["type"] == "object" and "properties" not in node:
        return "fields"
    bounds = ", ".join(f"{sign} {node[bound]:g}" for bound, sign in _BOUNDS.items() if bound in node)
    return f"{_WORDS.get(node['type'], node['type'])} {bounds}".rstrip()
