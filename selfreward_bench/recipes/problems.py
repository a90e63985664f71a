"""What is wrong with settings, in words: the key, where it stands, what was given, and what may have been meant."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Final

from pydantic import BaseModel

from selfreward_bench.config import RunConfig
from selfreward_bench.errors import did_you_mean
from selfreward_bench.recipes.layers import Location, dotted, placed, show

__all__ = ["GONE", "problem_of", "unfit_values"]

_SURROGATE = re.compile("[\ud800-\udfff]")
#: settings that were there once, and why they are not any more
GONE: Final[dict[Location, str]] = {
    ("dpo", "dropout"): "DPO trains without dropout, as policy and reference must agree at the first step",
}


def unfit_values(value: object, location: Location = ()) -> Iterator[tuple[Location, str]]:
    """Numbers and texts that pass a type check and yet cannot be used."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield from unfit_values(child, (*location, key))
    elif isinstance(value, float) and not math.isfinite(value):
        yield location, f"must be a finite number (it is {value})"
    elif isinstance(value, str) and _SURROGATE.search(value):
        yield location, f"holds a lone surrogate, which UTF-8 cannot hold (it is {value!a})"


def problem_of(
    kind: str, loc: tuple[int | str, ...], message: str, value: object, places: Mapping[Location, str]
) -> str:
    """One of pydantic's errors as a line for people.

    Args:
        kind, loc, message, value: as in ``ValidationError.errors``: ``type``, ``loc``, ``msg``, ``input``.
        places: where what was given stands.
    """
    location = tuple(str(part) for part in loc)
    prefix = placed(places, location)
    if kind == "extra_forbidden" and location in GONE:
        return f"{prefix}: is no setting any more: {GONE[location]}. Delete it."
    if kind == "extra_forbidden":
        return f"{prefix}: unknown key.{_suggestion(location)}"
    if kind == "model_type":
        return f"{prefix}: is a section with keys of its own, not a value (it is {show(value)})"
    if kind == "value_error" and isinstance(value, dict):  # of several settings, which the message names
        named = [key for key in value if re.search(rf"\b{key}\b", message)]
        origins = "; ".join(f"{key}: {places.get((*location, key), 'by default')}" for key in named)
        return f"{dotted(location)}: {message.removeprefix('Value error, ')} ({origins})"
    quotes = ". Put it in quotes" if kind == "string_type" and isinstance(value, bool | int | float | date) else ""
    shown = "not shown, as it may be a key" if "extra_headers" in location else show(value)
    return f"{prefix}: {message.replace('Input should', 'must').removeprefix('Value error, ')} (it is {shown}){quotes}"


def _suggestion(location: Location) -> str:
    """The key that was probably meant: in the same section, else under the same name in another one."""
    keys = list(_all_keys(RunConfig))
    siblings = {key[-1]: key for key in keys if key[:-1] == location[:-1]}
    if hint := did_you_mean(location[-1], siblings):
        section = ".".join((*location[:-1], ""))
        return hint.replace("'", f"'{section}", 1)
    namesakes = [dotted(key) for key in keys if key[-1] == location[-1]]
    if namesakes:
        return f" Did you mean {' or '.join(repr(name) for name in namesakes)}?"
    return f" Known here: {', '.join(siblings)}." if siblings else ""


def _all_keys(model: type[BaseModel], location: Location = ()) -> Iterator[Location]:
    for name, info in model.model_fields.items():
        yield (*location, name)
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from _all_keys(info.annotation, (*location, name))
