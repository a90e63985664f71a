"""Calls to an OpenAI-compatible server: many at once, retried, bounded, paid for within a budget, stored before use.

Plain HTTP with aiohttp. openai's own client took 1.6 s of processor time for 805 calls where bare ones take 0.2 s
(``perf/client.py --openai``); it tries again by the status alone and negotiates nothing, so that all that is below
would be needed all the same. What errors mean is in ``errors``, what servers want otherwise in ``dialect``, how many
calls are under way in ``pace``, what an answer says in ``answers``. No tools.
"""

from __future__ import annotations

import asyncio
import errno
import json
import random
import re
from collections.abc import AsyncIterator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from selfreward_bench.engines.served.dialect import PLAIN, Dialect, change_for
from selfreward_bench.engines.served.errors import Said, meaning_of, read_error, status_of
from selfreward_bench.engines.served.faults import (
    ChangeError,
    Check,
    FaultError,
    FinalError,
    LimitedError,
    TransientError,
    clean,
    other_interface,
    parse_json,
    parse_retry_after,
    parse_usage,
    readable,
    unpacked,
    way_out,
)
from selfreward_bench.engines.served.pace import Pace, open_files_left
from selfreward_bench.engines.served.protocol import Answer, Call, Limits, ServedSpec
from selfreward_bench.engines.served.secrets import remember
from selfreward_bench.engines.served.writer import OVER_BUDGET, Emit, Writer, in_background
from selfreward_bench.errors import EngineError
from selfreward_bench.prices import Budget, Reservation, Usage
from selfreward_bench.sources.network import proxy_for
from selfreward_bench.storage.responses import Response, ResponseStore

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Client"]

_UNANSWERED_ATTEMPTS: Final = 3  # of connecting to a server that never answered yet
_UNANSWERED_SILENCES: Final = 2  # of such a server that lets one connect
_UNANSWERED_PATIENCE: Final = 5  # times shorter than with a server that answered before
_HANDFUL: Final = 8  # requests refused alike before any was answered: all will be
_NO_FILES: Final = (errno.EMFILE, errno.ENFILE)
_SETTLED: Final = {"refused": "refused", "no_logprobs": "no_logprobs", "too_long": "too_long"}  # meaning -> reason


class Client:
    """Sends calls to one server.

    Args:
        headers: of each call besides the usual ones; the key is among them, or in none.

    Attributes:
        sent: attempts so far.
        cost: what they came to, in the currency of the budget's prices.
        usage: tokens that the server counted.
        concurrency: calls at once, at most: what ``limits`` say, or fewer, where the operating system has no room.
    """

    def __init__(
        self, spec: ServedSpec, store: ResponseStore, budget: Budget, limits: Limits, headers: Mapping[str, str]
    ) -> None:
        self.spec, self.budget, self.limits = spec, budget, limits
        self.sent, self.cost, self.usage = 0, 0.0, Usage()
        self.concurrency = limits.concurrency
        self.dialect = PLAIN
        self._store, self._headers = store, headers
        self._pace = Pace(limits.concurrency, limits.backoff, limits.max_wait)
        self._answered = False
        self._given_up = 0  # calls in a row that used up their attempts
        self._alike: tuple[str, int] = ("", 0)  # why calls were refused before any was answered, and how many

    def fetch(self, calls: Sequence[Call], check: Check) -> Generator[list[Answer], None, None]:
        """Asks for all calls, several at once; yields what is finished while others are under way.

        An answer is stored before it is yielded, also when the iterator is closed early.

        Raises:
            EngineError: the server refuses the key or every request, has no such model, or does not answer at all.
            DataError: the store cannot be written.
        """
        return in_background(lambda emit, room: self._run(calls, check, emit, room))

    async def _run(self, calls: Sequence[Call], check: Check, emit: Emit, room: asyncio.Semaphore) -> None:
        waiting = iter(calls)
        self.concurrency = min(self.limits.concurrency, open_files_left() or self.limits.concurrency)
        writer = Writer(self._store, self.spec.base_url, self.spec.model, emit, self.concurrency)

        async def work(session: aiohttp.ClientSession) -> None:
            for call in waiting:
                await room.acquire()
                await writer.put(await self._ask(session, call, check))

        async with self._session() as session, writer.running():
            workers = [asyncio.create_task(work(session)) for _ in range(min(self.concurrency, len(calls)))]
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
            connector=aiohttp.TCPConnector(limit=self.concurrency),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,  # a proxy gets them, too: the key is in none of them
            auto_decompress=False,  # which knows no bound
            timeout=timeout,
            proxy=proxy.url if proxy else None,
        ) as session:
            yield session

    async def _ask(self, session: aiohttp.ClientSession, call: Call, check: Check) -> Answer:
        """One call to its end."""
        attempt, dialect, reason = 1, self.dialect, ""
        while attempt <= self.limits.attempts:
            try:
                response = await self._turn(session, call, check, dialect)
            except ChangeError as fault:  # of this request alone, until it proves right
                dialect |= Dialect(frozenset({fault.change}))
            except LimitedError as fault:
                reason = str(fault)
            except TransientError as fault:
                reason = str(fault)
                self._check_reachable(fault, attempt)
                if attempt < self.limits.attempts:
                    await asyncio.sleep(self._wait(attempt, fault.wait))
                attempt += 1
            except FinalError as end:
                self._note_refusal(str(end))
                return Answer(call.key, None, str(end))
            else:
                if response is None:
                    return Answer(call.key, None, OVER_BUDGET)
                self._note_answer(dialect)
                return Answer(call.key, response)
        self._give_up(reason)
        tried = f"failed: no usable answer in {self.limits.attempts} attempts, last: {reason}"
        return Answer(call.key, None, tried)

    async def _turn(
        self, session: aiohttp.ClientSession, call: Call, check: Check, dialect: Dialect
    ) -> Response | None:
        """One attempt when it is its turn; None where it cannot be paid for."""
        began = await self._pace.begin()
        try:
            reservation = await self._reserve(call)
            return None if reservation is None else await self._attempt(session, call, check, dialect, reservation)
        except LimitedError as fault:
            self._check_patience(self._pace.refused(began, fault.wait), fault)
            raise
        finally:
            self._pace.end()

    async def _attempt(
        self, session: aiohttp.ClientSession, call: Call, check: Check, dialect: Dialect, reservation: Reservation
    ) -> Response:
        """One attempt, its cost booked whatever comes of it."""
        billed: Usage | None = None  # nobody knows
        try:
            sent, changes = dialect.apply(call.body)
            raw = await self._post(session, call, sent)
            body = self._read(raw, sent, call)
            billed = parse_usage(body)
            if advice := other_interface(body):
                raise EngineError(f"{self.spec.name}: {advice}")
            _check(body, check, billed)
            return self._response(call, raw, body, changes)
        except FaultError as fault:
            billed = fault.usage
            raise
        except EngineError:
            billed = billed or Usage()
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

    # --- what many calls say together

    def _note_answer(self, dialect: Dialect) -> None:
        self._pace.answered()
        self._answered, self._given_up = True, 0
        self.dialect |= dialect

    def _note_refusal(self, reason: str) -> None:
        """A request got no answer, and would get none if it were asked again."""
        self._pace.answered()
        if not reason.startswith("failed"):
            self._answered = True
        if self._answered:
            return
        kind = re.sub(r"[0-9]+", "#", reason)
        self._alike = (kind, self._alike[1] + 1 if kind == self._alike[0] else 1)
        if self._alike[1] >= _HANDFUL:
            raise EngineError(
                f"{self.spec.name} refuses every request ({reason.removeprefix('failed: ')}). What a judge is asked "
                "with can be set (judge.request), for example --set judge.request.max_tokens=4096; what a model is "
                "asked with, too (eval.answering), for example --set eval.answering.top_p=1. See docs/served-models.md."
            )

    def _check_reachable(self, fault: TransientError, attempt: int) -> None:
        if self._answered:
            return
        if not fault.connected and attempt >= _UNANSWERED_ATTEMPTS:
            raise EngineError(
                f"Nothing answers at {self.spec.base_url} ({fault}). Check the URL and that the server is running."
            )
        if fault.silent and attempt >= _UNANSWERED_SILENCES:
            raise EngineError(
                f"{self.spec.base_url} takes requests and does not answer: {attempt} times silent for "
                f"{min(self.limits.read_timeout, self.limits.total_timeout):g} s. Check the URL and the server; a "
                "model that takes longer can be given more time: --set eval.served_timeout=SECONDS."
            )

    def _check_patience(self, seconds: float, fault: LimitedError) -> None:
        patience = self.limits.patience / (1 if self._answered else _UNANSWERED_PATIENCE)
        if seconds > patience:
            raise EngineError(
                f"{self.spec.base_url} lets no call through for {seconds:.0f} s ({fault}). What it answered is stored; "
                "start again later, or with a smaller --concurrency."
            )

    def _give_up(self, reason: str) -> None:
        self._given_up += 1
        if self._given_up > self.concurrency:
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

    async def _post(self, session: aiohttp.ClientSession, call: Call, sent: Mapping[str, Any]) -> bytes:
        """The body of a successful answer."""
        import aiohttp

        self.sent += 1
        status, url = 0, self.spec.url(call.path)
        try:
            content = json.dumps(sent).encode()
            async with session.post(url, data=content, headers=self._headers, allow_redirects=False) as answer:
                status, headers = answer.status, answer.headers
                raw = await self._bounded(answer)
        except aiohttp.ClientConnectorCertificateError as error:
            raise EngineError(f"The certificate of {self.spec.base_url} is not accepted: {clean(error)}") from None
        except aiohttp.ClientHttpProxyError as error:
            raise self._proxy_fault(error.status) from None
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            if getattr(error, "errno", None) in _NO_FILES:
                raise LimitedError("this process may open no more files (ulimit -n)") from None
            raise TransientError(f"no connection: {clean(error)}", connected=False) from None
        except TimeoutError:
            raise TransientError("timeout", usage=None, silent=True) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            what, unknown = clean(f"{type(error).__name__} {error}"), status // 100 in (0, 2)
            raise TransientError(f"the connection broke off: {what}", usage=None if unknown else Usage()) from None
        if status // 100 != 2:
            wait = parse_retry_after(headers.get("Retry-After"), self.limits.max_wait)
            raise self._fault(status, read_error(raw, call.texts), sent, call, wait)
        return raw

    async def _bounded(self, answer: aiohttp.ClientResponse) -> bytes:
        raw, most = bytearray(), self.limits.max_response_bytes
        async for chunk in answer.content.iter_any():
            raw += chunk
            if len(raw) > most:
                break
        content = unpacked(bytes(raw), answer.headers.get("Content-Encoding", ""), most)
        if max(len(raw), len(content)) > most:
            usage = None if answer.status // 100 == 2 else Usage()
            raise FinalError(f"failed: the answer has more than {most:,} bytes", usage=usage)
        return readable(content)

    def _proxy_fault(self, status: int) -> Exception:
        """A proxy that opens no tunnel."""
        proxy = proxy_for(self.spec.base_url)
        named = proxy.name if proxy else "(none)"
        if status == 407:
            return EngineError(f"The proxy {named} for {self.spec.base_url}: HTTP 407. {way_out('proxy', '', '')}")
        return TransientError(f"the proxy {named} opens no tunnel: HTTP {status}", connected=False)

    def _fault(
        self, status: int, said: Said, sent: Mapping[str, Any], call: Call, wait: float | None = None, named: str = ""
    ) -> Exception:
        """What an error means: EngineError where it would meet every request."""
        words = f"{named or f'HTTP {status}'}: {clean(said.words)}"
        meaning = meaning_of(status, said, logprobs="logprobs" in sent)
        if advice := way_out(meaning, call.path, self.spec.variable):
            return EngineError(f"{self.spec.name}: {words}. {advice}")
        if meaning in _SETTLED:
            return FinalError(_SETTLED[meaning])
        wait = said.wait if wait is None else wait
        if meaning == "limited":
            return LimitedError(words, wait=wait)
        if change := change_for(status, said, sent):
            return ChangeError(words, change)
        return TransientError(words, wait=wait) if meaning == "again" else FinalError(f"failed: {words}")

    def _read(self, raw: bytes, sent: Mapping[str, Any], call: Call) -> dict[str, Any]:
        """A 200's body; also one that is an error all the same."""
        body: dict[str, Any] = {}
        try:
            body = parse_json(raw)
        except ValueError as error:
            if (begins := raw.lstrip()[:1]) not in (b"[", b'"'):
                page = " (a web page: the URL mostly ends in /v1)" if begins == b"<" else ""
                what = f"no valid JSON: {clean(error)}{page}" if begins else "an empty answer"
                raise TransientError(what, usage=None) from None
        else:
            if body.get("choices") or other_interface(body):
                return body
        said = read_error(raw, call.texts)
        if not said.words:
            return body
        raise self._fault(status_of(said), said, sent, call, named="HTTP 200 with an error")

    def _response(self, call: Call, raw: bytes, body: Mapping[str, Any], changes: Sequence[str]) -> Response:
        usage = parse_usage(body)
        return Response(
            key=call.key,
            base_url=self.spec.base_url,
            model=self.spec.model,
            raw=raw,
            snapshot=clean(body.get("model") or ""),
            prompt_tokens=usage.prompt_tokens if usage else None,
            completion_tokens=usage.completion_tokens if usage else None,
            changes=",".join(changes),
        )


def _check(body: Mapping[str, Any], check: Check, usage: Usage | None) -> None:
    if problem := check(body):
        kind = TransientError if problem.again else FinalError
        raise kind(problem.reason, usage=usage)
