"""Which requests of an engine wait for which calls to a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from selfreward_bench.engines.base import ChoiceRequest, GenerationRequest
from selfreward_bench.engines.served.protocol import Answer, Call
from selfreward_bench.storage.responses import Response

__all__ = ["Board", "R"]

R = TypeVar("R", GenerationRequest, ChoiceRequest)


@dataclass
class _Waiting(Generic[R]):
    request: R
    keys: list[str]
    responses: dict[str, Response]

    def complete(self) -> list[tuple[R, list[Response]]]:
        """The request with its responses in the order of its samples, once all are there."""
        if len(self.responses) < len(self.keys):
            return []
        return [(self.request, [self.responses[key] for key in self.keys])]


class Board(Generic[R]):
    """Which requests wait for which calls; a call that several requests need is made once.

    Attributes:
        calls: key -> call, still to be made.
    """

    def __init__(self, failures: dict[str, str]) -> None:
        self.calls: dict[str, Call] = {}
        self._failures = failures
        self._waiting: dict[str, list[_Waiting[R]]] = {}

    def add(self, request: R, calls: Sequence[Call], stored: Mapping[str, Response]) -> list[tuple[R, list[Response]]]:
        """Takes a request in; returns it where all it needs is stored."""
        keys = [call.key for call in calls]
        waiting = _Waiting(request, keys, {key: stored[key] for key in keys if key in stored})
        for call in calls:
            if call.key not in stored:
                self.calls[call.key] = call
                self._waiting.setdefault(call.key, []).append(waiting)
        return waiting.complete()

    def settle(self, answer: Answer) -> list[tuple[R, list[Response]]]:
        """Takes an answer in; returns the requests that are complete now."""
        complete = []
        for waiting in self._waiting.pop(answer.key):
            if answer.response is None:
                self._failures.setdefault(waiting.request.id, answer.reason)
            else:
                waiting.responses[answer.key] = answer.response
                complete += waiting.complete()
        return complete

    def fail_rest(self, reason: str) -> None:
        """Gives up the requests that still wait."""
        for waiting in self._waiting.values():
            for item in waiting:
                self._failures.setdefault(item.request.id, reason)
