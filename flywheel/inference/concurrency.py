"""How many requests the model behind the server is asked at once, and how many may wait for that.

Used in one event loop. What is refused here has not left this machine, and costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

_Found = TypeVar("_Found")
_Given = TypeVar("_Given")


class NoPlace(Exception):
    """As many requests wait as may wait."""


class ClientGone(Exception):
    """Whoever asked closed the connection."""


class Places:
    """So many requests at once, and a bounded queue before them, first come, first served.

    Args:
        at_once: requests that are under way.
        queue: requests that may wait for a place.
    """

    def __init__(self, at_once: int, queue: int) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._queue = queue
        self._waiting = 0

    async def take(self) -> Callable[[], None]:
        """Wait for a place; returns what gives it back, which may be called more than once.

        Raises:
            NoPlace: too many wait already.
        """
        if self._free.locked():
            if self._waiting >= self._queue:
                raise NoPlace
            self._waiting += 1
            try:
                await self._free.acquire()
            finally:
                self._waiting -= 1
        else:
            await self._free.acquire()
        held = True

        def give_back() -> None:
            nonlocal held
            if held:
                held = False
                self._free.release()

        return give_back


async def while_asked(request: Request, work: Coroutine[Any, Any, _Found]) -> _Found:
    """What the work returns; it is cancelled once the caller has gone away.

    Args:
        request: whose body has been read.
        work: that nobody else waits for.

    Raises:
        ClientGone: the caller closed the connection.
    """
    doing, leaving = asyncio.create_task(work), asyncio.create_task(_left(request))
    try:
        await asyncio.wait({doing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise ClientGone
        return doing.result()
    finally:
        await _cancelled(doing, leaving)


async def all_or_none(
    work: Callable[[_Given], Coroutine[Any, Any, _Found]], of: Iterable[_Given]
) -> list[_Found]:
    """What the work returns for each, asked together; where one fails the others are cancelled."""
    tasks = [asyncio.create_task(work(one)) for one in of]
    try:
        return await asyncio.gather(*tasks)
    finally:
        await _cancelled(*tasks)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _cancelled(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class EndedStream(StreamingResponse):
    """A stream that tells when it ended, also where it was never begun or the caller went away."""

    ended: Callable[[], Awaitable[None]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, and tell that it ended."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self.ended()
