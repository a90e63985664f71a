"""Puts together an answer that a server streams, asked for or not: some models are served in no other way."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

__all__ = ["joined"]

_BEGINS: Final = re.compile(rb"\s*(?:data|event|id|retry)?:")
_BROKEN: Final = "error"  # the finish reason of a stream that breaks off
_MOST_LINES: Final = 100_000
_NAMED: Final = ("id", "model", "created", "system_fingerprint")


def joined(body: bytes) -> bytes:
    """A stream of events as the answer that it is in pieces; anything else, and an error within, as it is.

    >>> joined(b'data: {"choices": [{"delta": {"content": "A"}}]}\\n\\ndata: [DONE]\\n')
    b'{"choices": [{"finish_reason": null, "message": {"role": "assistant", "content": "A"}}]}'
    """
    if not _BEGINS.match(body):
        return body
    made: dict[str, Any] = {}
    message: dict[str, Any] = {"role": "assistant"}
    choice: dict[str, Any] = {"finish_reason": None, "message": message}
    whole = False
    for data in _data(body):
        if data == b"[DONE]":
            whole = True
            break
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            break
        if not isinstance(event, dict) or (event.get("error") and not event.get("choices")):
            return data
        made |= {name: event[name] for name in (*_NAMED, "usage") if event.get(name) is not None}
        for piece in _first(event.get("choices")):
            whole |= bool(piece.get("finish_reason"))
            _add(choice, message, piece)
    if not whole:
        choice["finish_reason"] = _BROKEN
    return json.dumps(made | {"choices": [choice]}).encode()


def _data(body: bytes) -> Iterator[bytes]:
    """What the events hold; of one event over several lines each line is tried as its own."""
    for line in islice(body.splitlines(), _MOST_LINES):
        name, _, data = line.strip().partition(b":")
        if name == b"data" and data.strip():
            yield data.strip()


def _first(choices: object) -> Iterator[Mapping[str, Any]]:
    """The pieces of the first choice: others are not asked for."""
    for piece in choices if isinstance(choices, list) else []:
        if isinstance(piece, dict) and not piece.get("index"):
            yield piece


def _add(choice: dict[str, Any], message: dict[str, Any], piece: Mapping[str, Any]) -> None:
    delta = piece.get("delta") or piece.get("message")
    if isinstance(delta, dict):
        for name, value in delta.items():
            if value is not None and name != "role":
                message[name] = _together(message.get(name), value)
    if isinstance(piece.get("text"), str):  # a text completion
        choice["text"] = choice.get("text", "") + piece["text"]
        choice.pop("message", None)
    if piece.get("finish_reason"):
        choice["finish_reason"] = piece["finish_reason"]
    logprobs = piece.get("logprobs")
    if isinstance(logprobs, dict) and any(logprobs.values()):
        choice.setdefault("logprobs", logprobs)  # of the first token, which alone is read


def _together(before: object, more: object) -> object:
    if before is None:
        return more
    if isinstance(before, str) and isinstance(more, str):
        return before + more
    return [*_list(before), *_list(more)]


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]
