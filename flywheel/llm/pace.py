"""When the next request may start, so that an endpoint's limits per minute hold."""

from __future__ import annotations

import asyncio

_MINUTE = 60.0


class Pace:
    """Spreads requests evenly: bursts are what limits per minute punish. One event loop uses it.

    Args:
        requests: most requests started in a minute; 0 sets no limit.
        tokens: most tokens, in and out, of the requests started in a minute; 0 sets no limit.
    """

    def __init__(self, requests: int, tokens: int) -> None:
        self._request_s = _MINUTE / requests if requests else 0.0
        self._token_s = _MINUTE / tokens if tokens else 0.0
        self._next = 0.0  # loop time at which the next request may start

    async def enter(self, tokens: int) -> None:
        """Return when a request of about so many tokens may start."""
        now = asyncio.get_running_loop().time()
        start = max(now, self._next)
        self._next = start + max(self._request_s, tokens * self._token_s)
        if start > now:
            await asyncio.sleep(start - now)
