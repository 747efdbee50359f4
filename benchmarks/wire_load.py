"""Many connections that each send one request after another, and note how long each took."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import uvloop


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """What a run of requests took."""

    requests: int
    refused: int  # answered with other than 200; 429 is sent again
    seconds: float
    latencies: tuple[float, ...]  # seconds of each that was taken, sorted

    def quantile(self, share: float) -> float:
        """The latency, in seconds, that this share of requests stayed within."""
        return self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


def post(path: Path, bodies: Sequence[bytes], connections: int) -> Timed:
    """POST each body to /v1/predictions once over so many connections of a Unix socket."""
    head = b"POST /v1/predictions HTTP/1.1\r\nHost: flywheel\r\nContent-Length: %d\r\n\r\n"
    requests = [head % len(body) + body for body in bodies]

    async def all_of_them() -> Timed:
        latencies: list[float] = []
        refused: list[bytes] = []
        waiting = iter(requests)
        began = time.perf_counter()
        await asyncio.gather(
            *(_one(path, waiting, latencies, refused) for _ in range(min(connections, len(bodies))))
        )
        seconds = time.perf_counter() - began
        return Timed(
            requests=len(latencies),
            refused=len(refused),
            seconds=seconds,
            latencies=tuple(sorted(latencies)),
        )

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(all_of_them())


async def _one(
    path: Path, waiting: Iterator[bytes], latencies: list[float], refused: list[bytes]
) -> None:
    loop = asyncio.get_running_loop()
    _, client = await loop.create_unix_connection(_Client, str(path))
    for request in waiting:
        while True:
            began = time.perf_counter()
            answer = await client.ask(request)
            if answer.startswith(b"HTTP/1.1 200"):
                latencies.append(time.perf_counter() - began)
                break
            refused.append(answer)
            if not answer.startswith(b"HTTP/1.1 429"):
                raise RuntimeError(answer.decode(errors="replace"))
            await asyncio.sleep(0.2)
    client.close()


class _Client(asyncio.Protocol):
    """One connection; the answer is whole when its length says so."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self._transport = cast(asyncio.Transport, transport)
        self._got = b""

    def ask(self, request: bytes) -> asyncio.Future[bytes]:
        """Send a request; the future holds the whole answer."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        """Finish the answer when it is whole."""
        self._got += data
        head, found, body = self._got.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        if len(body) >= length:
            answer, self._got = self._got, b""
            self._answer.set_result(answer)

    def connection_lost(self, error: Exception | None) -> None:
        """Fail the request that waits."""
        if getattr(self, "_answer", None) is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the connection was lost"))

    def close(self) -> None:
        """End the connection."""
        self._transport.close()
