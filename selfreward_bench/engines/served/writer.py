"""Answers on their way out of the event loop: committed from one thread, consumed by another, and no way to hang.

Whatever goes wrong in the writer, an error of srbench or any other (no more files can be opened, no thread started),
ends the call with its reason.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, Final

from selfreward_bench.engines.served.protocol import Answer
from selfreward_bench.errors import EngineError, SrbenchError
from selfreward_bench.storage.responses import ResponseStore

__all__ = ["OVER_BUDGET", "Emit", "Writer", "in_background"]

OVER_BUDGET: Final = "over_budget"
_WAITING_ROOM: Final = 512  # answers under way or waiting for the consumer; then no more calls are sent

Emit = Callable[[Answer], None]


class Writer:
    """Commits answers from another thread, then emits them; what arrives meanwhile is committed together.

    So no call waits for the disk, unless more than ``ahead`` answers do: those would be lost by a kill.

    Args:
        server, model: whom the answers are of, for failures to be noted.
    """

    def __init__(self, store: ResponseStore, server: str, model: str, emit: Emit, ahead: int) -> None:
        self._store, self._server, self._model, self._emit = store, server, model, emit
        self._ahead = asyncio.Semaphore(ahead)
        self._waiting: asyncio.Queue[Answer | None] = asyncio.Queue()  # None: that was all
        self._error: Exception | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Commits what is put inside the block; at its end all of it is committed.

        Raises:
            DataError: the store cannot be written.
            EngineError: anything else went wrong.
        """
        task = asyncio.create_task(self._work())
        try:
            yield
        finally:
            self._waiting.put_nowait(None)
            await task
        self._check()

    async def put(self, answer: Answer) -> None:
        """Hands an answer over; raises as ``running`` does."""
        self._waiting.put_nowait(answer)
        await self._ahead.acquire()
        self._check()

    def _check(self) -> None:
        if isinstance(self._error, SrbenchError):
            raise self._error
        if self._error is not None:
            what = f"{type(self._error).__name__}: {self._error}"
            raise EngineError(
                f"The answers of {self._model} could not be kept ({what}). What was committed before is in "
                f"{self._store.path}; start again when that is mended."
            ) from self._error

    async def _work(self) -> None:
        more = True
        while more:
            found = [await self._waiting.get()]
            while not self._waiting.empty():
                found.append(self._waiting.get_nowait())
            group = [answer for answer in found if answer is not None]
            more = len(group) == len(found)
            try:
                if self._error is None:
                    for answer in await asyncio.to_thread(self._commit, group):
                        self._emit(answer)
            except Exception as error:  # whatever it is: those who wait must hear of it
                self._error = error
            for _ in group:
                self._ahead.release()

    def _commit(self, group: Sequence[Answer]) -> list[Answer]:
        stored = self._store.put([answer.response for answer in group if answer.response is not None])
        missing = [a for a in group if a.response is None and a.reason != OVER_BUDGET]
        self._store.put_failures([(a.key, self._server, self._model, a.reason) for a in missing])
        return [replace(answer, response=stored.get(answer.key)) for answer in group]


def in_background(
    main: Callable[[Emit, asyncio.Semaphore], Coroutine[Any, Any, None]],
) -> Generator[list[Answer], None, None]:
    """Runs ``main(emit, room)`` on an event loop in a thread, and yields what it emits in small lists.

    ``main`` acquires ``room`` for each item that it is going to emit; the consumer makes room again. Closing the
    iterator cancels ``main``.

    Raises:
        EngineError: the operating system gives no event loop or thread.
    """
    out: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()  # None: that was all
    room = asyncio.Semaphore(_WAITING_ROOM)
    errors: list[BaseException] = []

    def free(count: int) -> None:
        for _ in range(count):
            room.release()

    try:
        loop = asyncio.new_event_loop()
    except OSError as error:
        raise EngineError(
            f"No connections can be made: {error}. Let this process open more files (ulimit -n)."
        ) from error
    task = loop.create_task(main(out.put, room))

    def run() -> None:
        try:
            loop.run_until_complete(task)
        except BaseException as error:  # raised again in the consumer's thread
            errors.append(error)
        finally:
            with suppress(Exception):
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
