"""The ``openai`` engine: any OpenAI-compatible server, its answers stored, replayed, and paid for within a budget.

Each sample is a call of its own (many servers ignore ``n``), named by its seed and number, so that the same question
is never asked twice. What the server answers is read with suspicion (``answers``). Calls are made in ``client``, which
also says why with no other library's client.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from selfreward_bench.config import EngineConfig, JudgeRequest
from selfreward_bench.engines.base import (
    REFUSED,
    ChoiceLogprobs,
    ChoiceRequest,
    GenerationRequest,
    check_choices,
    check_generation,
)
from selfreward_bench.engines.control_tokens import neutralise_families
from selfreward_bench.engines.served.answers import (
    NO_LOGPROBS,
    Body,
    Count,
    RefusedError,
    check_logprobs,
    check_text,
    choice_scores,
    completions,
)
from selfreward_bench.engines.served.board import Board, R
from selfreward_bench.engines.served.client import Client
from selfreward_bench.engines.served.dialect import told
from selfreward_bench.engines.served.faults import Check, parse_json
from selfreward_bench.engines.served.notes import Notes
from selfreward_bench.engines.served.protocol import Call, Limits, ServedSpec, parse_spec, refuse_keys
from selfreward_bench.errors import EngineError
from selfreward_bench.prices import Budget, Usage
from selfreward_bench.storage.responses import Response, ResponseStore
from selfreward_bench.types import Completion

__all__ = ["CallCounts", "Limits", "ServedEngine", "ServedSpec", "open_served", "parse_spec"]

CHARACTERS_PER_TOKEN: Final = 4  # of English text; there is no tokenizer to ask

_SEED_RANGE: Final = 2**31  # some servers take no larger seeds
_STOP_STRINGS: Final = 4  # more are refused by some servers; all are cut at here
_REQUESTS_PER_LOOKUP: Final = 256
_REQUESTS_HELD: Final = 4096  # with all that they say, while their calls are made
_WITHOUT_LOGPROBS: Final = 16  # so many answers without any: the server has none

T = TypeVar("T", Completion, ChoiceLogprobs)
_Read = Callable[[R, Sequence[Body], Count], list[T]]  # a request's responses -> what they say


@dataclass(frozen=True, slots=True)
class CallCounts:
    """How many calls were sent (retries are counted too), and how many answers came from the store."""

    sent: int = 0
    from_store: int = 0


def open_served(config: EngineConfig, model: str | Path, *, threads: int | None = None) -> ServedEngine:
    """Opens ``NAME@URL`` (with or without ``openai:`` before it) with the default store and no budget.

    Raises:
        ConfigError: the name has another form, or its key is not set.
        DataError: the store cannot be opened.
    """
    return ServedEngine(str(model))


class ServedEngine:
    """A model behind an OpenAI-compatible server.

    Args:
        spec: ``openai:NAME@URL`` or ``openai:NAME@URL#VARIABLE``.
        store: where answers are kept; None opens the default one. A given store is the caller's to close.
        budget: what may be spent, and the prices; shared by all engines that are to share it.
        limits: retries, time-outs, sizes.
        concurrency: calls at once; None takes that of ``limits``.
        replay: answers come from the store only, and no connection is ever made.
        top_logprobs: how many of the likeliest first tokens ``choice_logprobs`` asks for (5, as AlpacaEval does).
        choice_temperature: sent with them; a server's log-probabilities should not depend on it.
        request: how a judge is asked, where that is not as its requests say.

    Attributes:
        failures: request id -> ``refused``, ``no_logprobs``, ``too_long``, ``over_budget``, ``not_in_store`` or
            ``failed: ...``.

    Raises:
        ConfigError: the spec is none, its key or another environment variable that is named is not set, or a budget
            limits a model without a price.
        DataError: the store cannot be opened.
    """

    def __init__(
        self,
        spec: str | ServedSpec,
        *,
        store: ResponseStore | None = None,
        budget: Budget | None = None,
        limits: Limits | None = None,
        concurrency: int | None = None,
        replay: bool = False,
        top_logprobs: int = 5,
        choice_temperature: float = 1.0,
        request: JudgeRequest | None = None,
    ) -> None:
        self.spec = parse_spec(spec) if isinstance(spec, str) else spec
        self.name = self.spec.name
        self.failures: Mapping[str, str] = {}
        self.replay = replay
        self.top_logprobs = top_logprobs
        self.choice_temperature = choice_temperature
        budget = Budget() if budget is None else budget
        if not replay:
            budget.check(self.spec.model)
        self.request = request or JudgeRequest()
        headers = {} if replay else self.spec.headers(self.request.extra_headers)
        refuse_keys(self.request.model_dump_json(), "judge.request")
        self._owns_store = store is None
        self._store = ResponseStore() if store is None else store
        limits = limits or Limits()
        limits = replace(limits, concurrency=concurrency or limits.concurrency)
        self._client = Client(self.spec, self._store, budget, limits, headers)
        self._from_store = 0
        self._notes = Notes()
        self._has_logprobs = False
        self._closed = False

    def generate(self, requests: Sequence[GenerationRequest], done: Collection[str] = ()) -> Iterator[list[Completion]]:
        """Answers requests; see ``Engine``. A list holds what is finished, in any order.

        A request is answered whole or not at all: one failed sample fails it, and its others stay in the store.

        Raises:
            EngineError: at once, a request that servers cannot answer; while iterating, a server that refuses the key,
                lacks the model, or does not answer.
        """
        self._check_open()
        check_generation(requests)
        for request in requests:
            self._check_supported(request)
        return self._run(requests, done, self._generation_calls, completions)

    def choice_logprobs(
        self, requests: Sequence[ChoiceRequest], done: Collection[str] = ()
    ) -> Iterator[list[ChoiceLogprobs]]:
        """Scores choices by the log-probabilities of the FIRST token: one call with ``max_tokens=1``; see ``Engine``.

        A choice counts as a token's text exactly, as in AlpacaEval's ``logprob_parser``: ``" m"`` is not ``"m"``; where
        a token is listed twice the last one counts. A choice that is not among the ``top_logprobs`` likeliest tokens
        gets minus infinity (AlpacaEval: probability 0), which no choice of several tokens can escape.

        Raises:
            EngineError: as ``generate``.
        """
        self._check_open()
        check_choices(requests)
        for request in requests:
            self._check_supported(request)
        return self._run(requests, done, self._choice_calls, choice_scores)

    def count_tokens(self, text: str) -> int:
        """An estimate: four characters per token."""
        return math.ceil(len(text) / CHARACTERS_PER_TOKEN)

    def close(self) -> None:
        """Makes further calls fail; closes the store if this engine opened it."""
        if not self._closed and self._owns_store:
            self._store.close()
        self._closed = True

    @property
    def snapshot(self) -> str:
        """The model that the server says it runs; several are joined by commas, none is an empty text."""
        return ", ".join(sorted(self._notes.snapshots))

    @property
    def changes(self) -> Mapping[str, int]:
        """What the server wanted otherwise in requests, in words, and in how many; also of stored answers."""
        return {told(change): count for change, count in sorted(self._notes.changes.items())}

    def take_notes(self) -> tuple[str, ...]:
        """What the user should know of the calls so far, and was not told before."""
        new = self._notes.take(self._client.concurrency, self._client.limits.concurrency)
        return tuple(f"{self.name}: {note}" for note in new)

    @property
    def spent(self) -> float:
        """Cost of this engine's calls by the price table, 0 without a price; stored answers cost nothing."""
        return self._client.cost

    @property
    def usage(self) -> Usage:
        """Tokens of this engine's calls as the server counted them."""
        return self._client.usage

    @property
    def calls(self) -> CallCounts:
        """How many calls were sent, and how many answers came from the store."""
        return CallCounts(self._client.sent, self._from_store)

    # --- what is asked

    def _check_open(self) -> None:
        if self._closed:
            raise EngineError(f"The engine {self.name} was closed; open a new one.")

    def _check_supported(self, request: GenerationRequest | ChoiceRequest) -> None:
        if request.assistant_prefix and not isinstance(request.prompt, str):
            raise EngineError(
                f"Request {request.id!r}: a served chat model cannot be made to begin its turn with "
                f"{request.assistant_prefix!r}. Use a judge that samples (mode: sampled), or a local engine."
            )
        if isinstance(request, GenerationRequest) and request.min_new_tokens:
            raise EngineError(f"Request {request.id!r}: servers know no min_new_tokens; leave it 0.")

    def _call(
        self,
        request: GenerationRequest | ChoiceRequest,
        parameters: Mapping[str, Any],
        sample: int = 0,
        unsent: Collection[str] = (),
    ) -> Call:
        prompt = request.prompt
        if isinstance(prompt, str):
            asked: object = neutralise_families(prompt) + request.assistant_prefix
            path, field = "/completions", "prompt"
        else:
            asked = [{"role": m.role, "content": neutralise_families(m.content)} for m in prompt]
            path, field = "/chat/completions", "messages"
        body = {"model": self.spec.model, field: asked, **parameters, **self.request.extra_body}
        server = f"name:{self.request.name}" if self.request.name else self.spec.base_url
        return Call.make(server, path, body, sample, unsent)

    def _generation_calls(self, request: GenerationRequest) -> list[Call]:
        asked = self.request
        temperature = request.temperature if asked.temperature is None else asked.temperature
        parameters: dict[str, Any] = {"max_tokens": asked.max_tokens or request.max_new_tokens}
        parameters["temperature"] = temperature
        if request.top_p < 1:
            parameters["top_p"] = request.top_p
        if request.stop:
            parameters["stop"] = list(request.stop[:_STOP_STRINGS])
        first = request.attempt * request.n
        unsent = () if temperature else ("top_p",)  # without meaning there
        seeds: Sequence[int | None] = [None] * request.n
        if asked.seed is not None:
            seeds = [asked.seed] * request.n
        elif temperature and request.temperature:
            seeds = [seed % _SEED_RANGE for seed in request.seeds]
        return [
            self._call(request, parameters | ({} if seed is None else {"seed": seed}), first + sample, unsent)
            for sample, seed in enumerate(seeds)
        ]

    def _choice_calls(self, request: ChoiceRequest) -> list[Call]:
        parameters: dict[str, Any] = {"max_tokens": 1, "temperature": self.choice_temperature}
        if isinstance(request.prompt, str):
            parameters |= {"logprobs": self.top_logprobs}  # the older interface has one parameter for both
        else:
            parameters |= {"logprobs": True, "top_logprobs": self.top_logprobs}
        return [self._call(request, parameters, request.attempt)]

    # --- asking

    def _run(
        self, requests: Sequence[R], done: Collection[str], calls_of: Callable[[R], list[Call]], read: _Read[R, T]
    ) -> Iterator[list[T]]:
        asked = {request.id for request in requests} if self.failures else set()
        failures = {name: why for name, why in self.failures.items() if name not in asked}
        self.failures = failures
        wanted = array("q", (at for at, request in enumerate(requests) if request.id not in done))
        return self._answers(requests, wanted, calls_of, read, failures)

    def _answers(
        self,
        requests: Sequence[R],
        wanted: array[int],
        calls_of: Callable[[R], list[Call]],
        read: _Read[R, T],
        failures: dict[str, str],
    ) -> Iterator[list[T]]:
        """First all that is stored, then all that has to be asked for, so many requests at a time as are held."""
        left = array("q")
        for numbers in _parts(wanted, _REQUESTS_PER_LOOKUP):
            board = Board[R](failures)
            yield from self._read_all(self._taken(board, requests, numbers, calls_of, left), read, failures)
        if self.replay:
            return self._give_up(requests, left, "not_in_store", failures)
        check = check_text if read is completions else check_logprobs
        for number, window in enumerate(_parts(left, _REQUESTS_HELD), 1):
            board = Board[R](failures)
            for numbers in _parts(window, _REQUESTS_PER_LOOKUP):
                yield from self._read_all(self._taken(board, requests, numbers, calls_of), read, failures)
            if board.calls and (reason := (yield from self._fetched(board, check, read, failures))):
                return self._give_up(requests, left[number * _REQUESTS_HELD :], reason, failures)
        return None

    def _give_up(self, requests: Sequence[R], numbers: Sequence[int], reason: str, failures: dict[str, str]) -> None:
        for at in numbers:
            failures.setdefault(requests[at].id, reason)

    def _taken(
        self,
        board: Board[R],
        requests: Sequence[R],
        numbers: Sequence[int],
        calls_of: Callable[[R], list[Call]],
        left: array[int] | None = None,
    ) -> list[tuple[R, list[Response]]]:
        """Puts requests on a board; those of which all is stored. Where ``left`` is given they are looked at first: it
        gets the numbers of the others, and what is found is counted."""
        asked = [(at, request, calls_of(request)) for at in numbers for request in [requests[at]]]
        stored = self._store.get(list({call.key for *_, calls in asked for call in calls}))
        self._from_store += 0 if left is None else len(stored)
        complete = []
        for at, request, calls in asked:
            found = board.add(request, calls, stored)
            complete += found
            if left is not None and not found:
                left.append(at)
        return complete

    def _fetched(
        self, board: Board[R], check: Check, read: _Read[R, T], failures: dict[str, str]
    ) -> Generator[list[T], None, str]:
        """What is answered; returns why no more is to be asked, where that is so."""
        without = 0
        with closing(self._client.fetch(list(board.calls.values()), check)) as batches:
            for batch in batches:
                complete = []
                for answer in batch:
                    complete += board.settle(answer)
                    without += answer.reason == NO_LOGPROBS
                    self._has_logprobs |= answer.response is not None
                yield from self._read_all(complete, read, failures)
                if without >= _WITHOUT_LOGPROBS and not self._has_logprobs:
                    board.fail_rest(NO_LOGPROBS)
                    return NO_LOGPROBS
        return ""

    def _read_all(
        self, complete: Sequence[tuple[R, list[Response]]], read: _Read[R, T], failures: dict[str, str]
    ) -> Iterator[list[T]]:
        """One batch, or none."""
        batch: list[T] = []
        for request, responses in complete:
            self._notes.hear(request, responses)
            try:
                found = read(request, [parse_json(response.raw) for response in responses], self.count_tokens)
                self._notes.read(found)
                batch += found
            except RefusedError:
                failures[request.id] = REFUSED
        if batch:
            yield batch


def _parts(numbers: array[int], size: int) -> Iterator[array[int]]:
    """One after the other, at most so many at a time."""
    return (numbers[start : start + size] for start in range(0, len(numbers), size))
