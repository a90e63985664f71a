"""What is laid over what: plain values from one place, with where each stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Layer", "Location", "dotted", "placed", "show"]

_SHOWN_CHARACTERS = 60

Location = tuple[str, ...]


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


def placed(places: Mapping[Location, str], location: Location) -> str:
    """The key, behind the place where it stands or where the nearest section around it does."""
    for length in range(len(location), 0, -1):
        if place := places.get(location[:length]):
            return place if place.endswith(f" {dotted(location)}") else f"{place}: {dotted(location)}"
    return dotted(location)


def dotted(location: Location) -> str:
    """``dpo.beta``."""
    return ".".join(location) if location else "the recipe"


def show(value: object) -> str:
    """What was given, in ASCII and not longer than a line."""
    text = ascii(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
