"""YAML, made strict: plain values alone, each with its line; no tags, no anchors, no key twice."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NoReturn

import yaml

from selfreward_bench.errors import ConfigError
from selfreward_bench.recipes.layers import Layer, Location, dotted

__all__ = ["dump_values", "load_plain", "parse"]

_MAX_DEPTH = 16
_KEPT_CHARACTERS = 2**15  # of a text whose nodes are kept
#: what PyYAML raises of values that are not what their tag says (``!!bool maybe``), besides its own errors
_FAULTS = (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)


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
        node = _kept_nodes(text) if len(text) <= _KEPT_CHARACTERS else _nodes(text)
        if node is None:
            return Layer({})
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{origin}:{_line(node)}: keys with values are needed here, such as `seed: 1`.")
        builder = _Builder(origin)
        values = builder.mapping(node, ())
    except yaml.YAMLError as error:
        raise ConfigError(_syntax_error(error, origin)) from error
    return Layer(values, builder.places, tuple(builder.problems))


def load_plain(text: str) -> object:
    """What anybody's YAML holds: plain values without aliases, which a few lines can multiply without end.

    Raises:
        ValueError: it is no YAML, has an alias, or is nested deeply.
    """
    loader = _Plain(text)
    try:
        return loader.get_single_data()
    except _FAULTS as error:
        raise ValueError(str(error)) from error
    finally:
        loader.dispose()


class _Plain(yaml.SafeLoader):
    """PyYAML's safe loader without aliases."""

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


class _Loader(_Plain):
    """The same with ``1e-4`` as the number it looks like."""


class _Dumper(yaml.SafeDumper):
    """Quotes whatever ``_Loader`` would take for a number."""


def _nodes(text: str) -> yaml.Node | None:
    return _Loader(text).get_single_node()


#: a report reads the settings of a run, and the recipes they come from, time and again; nobody changes the nodes
_kept_nodes = lru_cache(maxsize=64)(_nodes)

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
                self.problems.append(f"{place}: {dotted(location)}: a key must be a plain word")
                continue
            here = (*location, key)
            if key in values:
                self.problems.append(f"{place}: {dotted(here)}: is there twice (first at {self.places[here]})")
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
        except _FAULTS as error:
            said = error if isinstance(error, ValueError) else f"the value is not what its tag {node.tag} says"
            problem = getattr(error, "problem", None) or said
            self.problems.append(f"{self.origin}:{_line(node)}: {dotted(location)}: {problem}")
            return None


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _syntax_error(error: yaml.YAMLError, origin: str) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"{origin}:{mark.line + 1}" if mark else origin
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"{place}: not valid YAML: {problem}. Mend the line and start again."
