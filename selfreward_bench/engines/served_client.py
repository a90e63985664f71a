"""Calls to an OpenAI-compatible server: many at once, retried, bounded, paid for within a budget, stored before use.

Plain HTTP with aiohttp: of the clients that were measured it takes by far the least time per call. What calls and
answers look like is in served_protocol.py, what they mean to an engine in served.py. No streaming, no tools.
"""

from __future__ import annotations

import asyncio
import json
import queue
import random
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from selfreward_bench.engines.served_protocol import (
    PREFIX,
    Answer,
    Call,
    Check,
    FinalError,
    Limits,
    ServedSpec,
    TransientError,
    clean,
    error_text,
    parse_json,
    parse_spec,
    parse_usage,
    readable,
    refusal,
)
from selfreward_bench.engines.served_secrets import remember
from selfreward_bench.errors import EngineError, SrbenchError
from selfreward_bench.prices import Budget, Reservation, Usage
from selfreward_bench.sources.network import proxy_for
from selfreward_bench.storage.responses import Response, ResponseStore

if TYPE_CHECKING:
    import aiohttp

__all__ = ["PREFIX", "Client", "Limits", "parse_spec"]

_WAITING_ROOM: Final = 512  # answers under way or waiting for the consumer; then no more calls are sent
_UNANSWERED_ATTEMPTS: Final = 3  # of connecting to a server that never answered yet
OVER_BUDGET: Final = "over_budget"
_LIMIT: Final = "max_tokens"
_NEW_LIMIT: Final = "max_completion_tokens"  # what the newer models of one provider call it

Emit = Callable[[Answer], None]


class Client:
    """Sends calls to one server.

    Attributes:
        sent: attempts so far.
        cost: what they came to, in the currency of the budget's prices.
        usage: tokens that the server counted.
    """

    def __init__(self, spec: ServedSpec, store: ResponseStore, budget: Budget, limits: Limits, key: str | None) -> None:
        self.spec, self.budget, self.limits = spec, budget, limits
        self.sent, self.cost, self.usage = 0, 0.0, Usage()
        self._store = store
        self._secret = {"Authorization": f"Bearer {key}"} if key else None
        self._answered = False
        self._given_up = 0  # calls in a row that used up their attempts
        self._limit_name = _LIMIT

    def fetch(self, calls: Sequence[Call], check: Check) -> Generator[list[Answer], None, None]:
        """Asks for all calls, several at once; yields what is finished while others are under way.

        An answer is stored before it is yielded, also when the iterator is closed early.

        Raises:
            EngineError: the server refuses the key, has no such model, or does not answer at all.
            DataError: the store cannot be written.
        """
        return _in_background(lambda emit, room: self._run(calls, check, emit, room))

    async def _run(self, calls: Sequence[Call], check: Check, emit: Emit, room: asyncio.Semaphore) -> None:
        waiting = iter(calls)
        writer = _Writer(self._store, self.spec, emit, self.limits.concurrency)

        async def work(session: aiohttp.ClientSession) -> None:
            for call in waiting:
                await room.acquire()
                await writer.put(await self._ask(session, call, check))

        async with self._session() as session, writer.running():
            workers = [asyncio.create_task(work(session)) for _ in range(min(self.limits.concurrency, len(calls)))]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[aiohttp.ClientSession]:
        import aiohttp

        limits, proxy = self.limits, proxy_for(self.spec.base_url)  # once, as it takes longer than a call
        remember(*(proxy.secrets if proxy else ()))
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", "User-Agent": "srbench"}
        timeout = aiohttp.ClientTimeout(
            total=limits.total_timeout, sock_connect=limits.connect_timeout, sock_read=limits.read_timeout
        )
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=limits.concurrency),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,  # a proxy gets them, too: the key is in none of them
            timeout=timeout,
            proxy=proxy.url if proxy else None,
        ) as session:
            yield session

    async def _ask(self, session: aiohttp.ClientSession, call: Call, check: Check) -> Answer:
        """One call to its end."""
        reason = ""
        for attempt in range(1, self.limits.attempts + 1):
            reservation = await self._reserve(call)
            if reservation is None:
                return Answer(call.key, None, OVER_BUDGET)
            try:
                response = await self._attempt(session, call, check, reservation)
            except TransientError as fault:
                reason = str(fault)
                self._check_reachable(fault, attempt)
                if attempt < self.limits.attempts:
                    await asyncio.sleep(self._wait(attempt, fault.wait))
            except FinalError as end:
                return Answer(call.key, None, str(end))
            else:
                self._answered, self._given_up = True, 0
                return Answer(call.key, response)
        self._give_up(reason)
        tried = f"failed: no usable answer in {self.limits.attempts} attempts, last: {reason}"
        return Answer(call.key, None, tried)

    async def _attempt(
        self, session: aiohttp.ClientSession, call: Call, check: Check, reservation: Reservation
    ) -> Response:
        """One attempt, its cost booked whatever comes of it."""
        billed: Usage | None = None  # nobody knows
        try:
            raw = await self._post(session, call)
            body = self._read(raw, check)
            billed = parse_usage(body)
            return self._response(call, raw, body)
        except (TransientError, FinalError) as fault:
            billed = None if fault.billed else Usage()
            raise
        except EngineError:
            billed = Usage()
            raise
        finally:
            self.cost += self.budget.settle(reservation, billed)
            self.usage += billed or Usage()

    async def _reserve(self, call: Call) -> Reservation | None:
        """Waits for calls in flight, which mostly cost less than was set aside for them."""
        while (reservation := self.budget.reserve(self.spec.model, call.worst)) is None:
            if self.budget.is_spent(self.spec.model, call.worst):
                return None
            await asyncio.sleep(0.02)
        return reservation

    def _check_reachable(self, fault: TransientError, attempt: int) -> None:
        if not fault.connected and not self._answered and attempt >= _UNANSWERED_ATTEMPTS:
            raise EngineError(
                f"Nothing answers at {self.spec.base_url} ({fault}). Check the URL and that the server is running."
            )

    def _give_up(self, reason: str) -> None:
        self._given_up += 1
        if self._given_up > self.limits.concurrency:
            raise EngineError(
                f"{self.spec.base_url} stopped answering: {self._given_up} requests in a row used up their attempts "
                f"(last: {reason}). What it answered is stored; start again when it works."
            )

    def _wait(self, attempt: int, asked: float | None) -> float:
        """Seconds before the next attempt; random, so that many callers do not come back at once."""
        backoff = self.limits.backoff * 2 ** min(attempt - 1, 20)
        wait = random.uniform(backoff / 2, backoff) if asked is None else asked + random.uniform(0, self.limits.backoff)
        return min(wait, self.limits.max_wait)

    # --- one attempt

    async def _post(self, session: aiohttp.ClientSession, call: Call) -> bytes:
        """The body of a successful answer."""
        import aiohttp

        self.sent += 1
        body = {self._limit_name if name == _LIMIT else name: value for name, value in call.body.items()}
        status, url = 0, self.spec.base_url + call.path
        try:
            content = json.dumps(body).encode()
            async with session.post(url, data=content, headers=self._secret, allow_redirects=False) as answer:
                status, retry_after = answer.status, answer.headers.get("Retry-After")
                raw = await self._bounded(answer)
        except aiohttp.ClientConnectorCertificateError as error:
            raise EngineError(f"The certificate of {self.spec.base_url} is not accepted: {clean(error)}") from None
        except aiohttp.ClientHttpProxyError as error:
            raise self._proxy_fault(error.status) from None
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise TransientError(f"no connection: {clean(error)}", connected=False) from None
        except TimeoutError:
            raise TransientError("timeout", billed=True) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            what = clean(f"{type(error).__name__} {error}")
            raise TransientError(f"the connection broke off: {what}", billed=status in (0, 200)) from None
        if status != 200:
            raise self._refusal(status, raw, retry_after, call)
        return raw

    def _proxy_fault(self, status: int) -> Exception:
        """A proxy that opens no tunnel."""
        proxy = proxy_for(self.spec.base_url)
        named = proxy.name if proxy else "(none)"
        if status == 407:
            return EngineError(
                f"The proxy {named} wants a user name and password, or others: put them into the proxy's URL "
                f"(HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT), or except the host of {self.spec.base_url} (NO_PROXY)."
            )
        return TransientError(f"the proxy {named} opens no tunnel: HTTP {status}", connected=False)

    async def _bounded(self, answer: aiohttp.ClientResponse) -> bytes:
        raw, most = bytearray(), self.limits.max_response_bytes
        async for chunk in answer.content.iter_any():
            raw += chunk
            if len(raw) > most:
                raise FinalError(f"failed: the answer has more than {most:,} bytes", billed=answer.status == 200)
        return readable(bytes(raw))

    def _refusal(self, status: int, raw: bytes, retry_after: str | None, call: Call) -> Exception:
        said = clean(error_text(raw))
        if status == 400 and _NEW_LIMIT in said and self._limit_name == _LIMIT:
            self._limit_name = _NEW_LIMIT
            return TransientError(said, wait=0.0)
        return refusal(status, said, retry_after, call, self.spec, self.limits.max_wait)

    def _read(self, raw: bytes, check: Check) -> dict[str, Any]:
        try:
            body = parse_json(raw)
        except ValueError as error:
            raise TransientError(f"no valid JSON: {clean(error)}", billed=True) from None
        problem = check(body)
        if problem:
            kind = TransientError if problem.again else FinalError
            raise kind(problem.reason, billed=True)
        return body

    def _response(self, call: Call, raw: bytes, body: Mapping[str, Any]) -> Response:
        usage = parse_usage(body)
        return Response(
            key=call.key,
            base_url=self.spec.base_url,
            model=self.spec.model,
            raw=raw,
            snapshot=clean(body.get("model") or ""),
            prompt_tokens=usage.prompt_tokens if usage else None,
            completion_tokens=usage.completion_tokens if usage else None,
        )


class _Writer:
    """Commits answers from another thread, then emits them; what arrives meanwhile is committed together.

    So no call waits for the disk, unless more than ``ahead`` answers do: those would be lost by a kill.
    """

    def __init__(self, store: ResponseStore, spec: ServedSpec, emit: Emit, ahead: int) -> None:
        self._store, self._spec, self._emit = store, spec, emit
        self._ahead = asyncio.Semaphore(ahead)
        self._waiting: asyncio.Queue[Answer | None] = asyncio.Queue()  # None: that was all
        self._error: SrbenchError | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Commits what is put inside the block; at its end all of it is committed.

        Raises:
            DataError: the store cannot be written.
        """
        task = asyncio.create_task(self._work())
        try:
            yield
        finally:
            self._waiting.put_nowait(None)
            await task
        self._check()

    async def put(self, answer: Answer) -> None:
        """Hands an answer over.

        Raises:
            DataError: the store could not be written.
        """
        self._waiting.put_nowait(answer)
        await self._ahead.acquire()
        self._check()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    async def _work(self) -> None:
        more = True
        while more:
            found = [await self._waiting.get()]
            while not self._waiting.empty():
                found.append(self._waiting.get_nowait())
            group = [answer for answer in found if answer is not None]
            more = len(group) == len(found)
            try:
                for answer in await asyncio.to_thread(self._commit, group):
                    self._emit(answer)
            except SrbenchError as error:
                self._error = error
            for _ in group:
                self._ahead.release()

    def _commit(self, group: Sequence[Answer]) -> list[Answer]:
        stored = self._store.put([answer.response for answer in group if answer.response is not None])
        missing = [a for a in group if a.response is None and a.reason != OVER_BUDGET]
        self._store.put_failures([(a.key, self._spec.base_url, self._spec.model, a.reason) for a in missing])
        return [replace(answer, response=stored.get(answer.key)) for answer in group]


def _in_background(
    main: Callable[[Emit, asyncio.Semaphore], Coroutine[Any, Any, None]],
) -> Generator[list[Answer], None, None]:
    """Runs ``main(emit, room)`` on an event loop in a thread, and yields what it emits in small lists.

    ``main`` acquires ``room`` for each item that it is going to emit; the consumer makes room again. Closing the
    iterator cancels ``main``.
    """
    out: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()  # None: that was all
    room = asyncio.Semaphore(_WAITING_ROOM)
    errors: list[BaseException] = []

    def free(count: int) -> None:
        for _ in range(count):
            room.release()

    loop = asyncio.new_event_loop()
    task = loop.create_task(main(out.put, room))

    def run() -> None:
        try:
            loop.run_until_complete(task)
        except BaseException as error:  # raised again in the consumer's thread
            errors.append(error)
        finally:
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()
            out.put(None)

    thread = threading.Thread(target=run, name="served-calls", daemon=True)
    thread.start()
    try:
        more = True
        while more:
            found = [out.get()]
            with suppress(queue.Empty):
                while True:
                    found.append(out.get_nowait())
            batch = [item for item in found if item is not None]
            more = len(batch) == len(found)
            if batch:
                _tell(loop, free, len(batch))
                yield batch
        if errors:
            raise errors[0]
    finally:
        _tell(loop, task.cancel)
        thread.join()


def _tell(loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *arguments: object) -> None:
    with suppress(RuntimeError):  # the loop has ended already
        loop.call_soon_threadsafe(callback, *arguments)
