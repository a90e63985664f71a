"""What a server wants otherwise than srbench asks first, found out from its refusals, request by request.

Every request knows what it was sent with, so that it changes what was refused in it and nothing else, each thing once;
what then worked is where later requests begin. Nothing is guessed from names of models. litellm keeps tables of what
each model takes, which are right for the models in them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from selfreward_bench.engines.chat import SYSTEM_IN_TURN, has_system, without_system
from selfreward_bench.engines.served.errors import Said

__all__ = ["CHANGES", "PLAIN", "Dialect", "change_for", "told"]

LIMIT: Final = "max_tokens"
NEW_LIMIT: Final = "max_completion_tokens"
NO_SYSTEM: Final = "system"
STREAM: Final = "stream"

#: what can be changed in a request -> what it means for an answer, in words; empty where it means nothing
CHANGES: Final[Mapping[str, str]] = {
    NEW_LIMIT: "",  # another name
    STREAM: "",  # in pieces, which are put together
    "seed": "no seed",
    "top_p": "the server's top_p",
    "stop": "",  # texts are cut here, too
    "temperature": "the server's temperature",
    NO_SYSTEM: SYSTEM_IN_TURN,
}

#: what can be left out -> how servers call it
_LEFT_OUT: Final = {
    "seed": "(?:random_?)?seed",
    "top_p": "top_?p",
    "stop": "stop(?:[_ ]?(?:sequences?|words?|strings?))?",
    "temperature": "temperature",
}
_BY_VALUE: Final = ("top_p", "temperature")
_REFUSING: Final = frozenset({400, 403, 404, 405, 415, 422, 500, 501})
_REFUSED: Final = re.compile(
    r"unsupport|no?t(be)?(support|allow|permit|available|enabled|valid|accept|specified)|unknown|unrecogni|unexpected|extra"
    r"|additionalpropert|invalid|cannot|mustbe|onlythedefault|mayonly|supportsupto|atmost|toomany|toolong|deprecat|disallow"
    r"|forbidden|removed"
)
_SYSTEM: Final = re.compile(
    r"system(role|message|prompt|instruction)|role\w{0,20}system|gotsystem|developerinstruction|rolesmustalternate"
    r"|user(and|or)?assistant|invalidvaluesystem|(first|initial)message\w{0,40}user"
)
_STREAM: Final = re.compile(
    r"(only|must|require\w{0,3})\w{0,30}stream|stream(ing)?(mode)?(is)?(only|required|mustbe)|nonstreamingcall"
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """What is changed in requests.

    Attributes:
        changes: names of ``CHANGES``; of those that are refused by their value (a temperature of 0) ``NAME=VALUE``, so
            that another request with another value is asked as it is.
    """

    changes: frozenset[str] = frozenset()

    def apply(self, body: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
        """A request as this server wants it, and the changes that meant something in it.

        >>> Dialect(frozenset({"seed", "top_p"})).apply({"max_tokens": 9, "seed": 1})
        ({'max_tokens': 9}, ('seed',))
        """
        sent = {name: value for name, value in body.items() if not (name in _LEFT_OUT and self._matters(name, body))}
        if NEW_LIMIT in self.changes and LIMIT in sent:
            sent = {NEW_LIMIT if name == LIMIT else name: value for name, value in sent.items()}
        if NO_SYSTEM in self.changes and has_system(sent.get("messages") or ()):
            sent["messages"] = without_system(sent["messages"])
        if STREAM in self.changes:
            sent |= {STREAM: True, "stream_options": {"include_usage": True}}
        return sent, tuple(name for name, meaning in CHANGES.items() if meaning and self._matters(name, body))

    def _matters(self, name: str, body: Mapping[str, Any]) -> bool:
        if name == NO_SYSTEM:
            return name in self.changes and has_system(body.get("messages") or ())
        return name in body and _called(name, body) in self.changes

    def __or__(self, other: Dialect) -> Dialect:
        return Dialect(self.changes | other.changes)


PLAIN: Final = Dialect()


def change_for(status: int, said: Said, sent: Mapping[str, Any]) -> str | None:
    """What to change in a request that was refused so, as in ``Dialect.changes``; None where that is nothing.

    Args:
        sent: the request as it was sent.
    """
    if status not in _REFUSING:
        return None
    if has_system(sent.get("messages") or ()) and _SYSTEM.search(said.squeezed):
        return NO_SYSTEM
    if status >= 500:
        return None
    if STREAM not in sent and _STREAM.search(said.squeezed):
        return STREAM
    if LIMIT in sent and NEW_LIMIT in said.plain:
        return NEW_LIMIT
    present = [name for name in _LEFT_OUT if name in sent]
    spoken = [n for n in present if re.search(rf"(?<![a-z0-9_]){_LEFT_OUT[n]}(?![a-z0-9_])", said.plain)]
    named = [name for name in present if name in said.names]
    if not named and not _REFUSED.search(said.squeezed):
        return None
    both = {"temperature", "top_p"} <= {*spoken, *named}  # not together: the one that says more stays
    name = "top_p" if both else next(iter(named or spoken), None)
    return None if name is None else _called(name, sent)


def _called(name: str, body: Mapping[str, Any]) -> str:
    """A change of a parameter, for ``Dialect.changes``."""
    return f"{name}={json.dumps(body[name])}" if name in _BY_VALUE else name


def told(change: str) -> str:
    """A change in words, for a result's key and for people."""
    return CHANGES.get(change, change)
