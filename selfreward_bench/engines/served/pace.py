"""How many calls are under way at once: as many as a server takes, and as the operating system has room for.

After a refusal for too many calls (429) the number is halved and all calls pause, at first shortly, then longer, until
an answer comes; each round of answers then adds one (additive increase, multiplicative decrease, as in TCP). So calls
outlast a limit per minute without asking for much more than it allows.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["Pace", "open_files_left"]

_RESERVED: Final = 48  # files that are opened besides connections: the store's, look-ups of names, records
_UNKNOWN: Final = 64  # open files, where nothing tells
_LONGEST: Final = 20.0  # seconds of a pause that no server asked for: a few calls a minute find out when it is over


class Pace:
    """Hands out turns; belongs to one event loop at a time.

    Args:
        most: calls at once.
        backoff, max_wait: seconds; about the first pause and the longest one.
    """

    def __init__(self, most: int, backoff: float, max_wait: float) -> None:
        self._most, self._backoff, self._max_wait = most, backoff, max_wait
        self._window = float(most)
        self._under_way = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._resume = self._cut = 0.0  # when calls go on; when the number was halved last
        self._streak = 0  # refusals since an answer came, those of one moment counted once
        self._refused_since: float | None = None

    async def begin(self) -> float:
        """Waits for a turn; when it began, for ``refused``. Each turn is to be ended."""
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            if now < self._resume:
                await asyncio.sleep(self._resume - now)
            elif self._under_way >= max(1, int(self._window)):
                self._waiting.append(free := loop.create_future())
                await free
            else:
                self._under_way += 1
                return now

    def end(self) -> None:
        """Ends a turn."""
        self._under_way -= 1
        room = max(1, int(self._window)) - self._under_way
        while self._waiting and room > 0:
            free = self._waiting.popleft()
            if not free.done():  # its task was not cancelled
                free.set_result(None)
                room -= 1

    def answered(self) -> None:
        """The server answered a call."""
        self._window = min(self._most, self._window + 1 / self._window)
        self._streak, self._refused_since = 0, None

    def refused(self, began: float, wait: float | None) -> float:
        """The server refused a call because there are too many.

        Args:
            began: its turn's.
            wait: seconds that the server asks for; None where it does not.

        Returns:
            Seconds since which nothing but refusals came.
        """
        now = asyncio.get_running_loop().time()
        self._refused_since = now if self._refused_since is None else self._refused_since
        pause = 0.0 if wait is None else wait
        if wait == 0 and self._streak == 0:  # at once, the server says: no sign that there are too many
            self._streak = 1
        elif began >= self._cut:  # else it belongs to a refusal that was counted
            self._window, self._cut = max(1.0, self._window / 2), now
            longest = min(self._backoff * 2 ** min(self._streak, 20), _LONGEST)
            self._streak += 1
            pause = wait or random.uniform(longest / 2, longest)
        self._resume = max(self._resume, now + min(pause, self._max_wait))
        return now - self._refused_since


def open_files_left() -> int | None:
    """How many connections there is room for; None where nothing limits them."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY:
        return None
    in_use = _UNKNOWN
    with suppress(OSError):
        in_use = sum(1 for _ in Path("/dev/fd").iterdir())
    return max(1, most - in_use - _RESERVED)
