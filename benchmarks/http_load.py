"""Load over HTTP, from a process of its own: closed (so many connections, each one request open) or
open (requests arrive at a rate, whatever the answers take).

    python http_load.py < PLAN

PLAN is one JSON object: address ({"unix": PATH} or {"port": N}), texts, seconds, and either
`connections` or `rate` (a second). It ends after `seconds`, or where standard input is closed.
The last line is {"ms": […], "failed": N, "mixed": N, "done": N, "statuses": {…}, "changes": […]}.
With `expected`, by adapter a list of [intent, arguments] for each text, an answer that no adapter
gives under its own name counts as mixed. Requests are made once, answers are read with as little
as that takes: the generator shares two cores with what it measures.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import uvloop

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_PATIENCE_S = 60.0


class Load:
    """One run of it."""

    def __init__(self, plan: Mapping[str, Any]) -> None:
        self._plan = plan
        self._texts: Sequence[str] = plan["texts"]
        self._requests = [_request(text) for text in self._texts]
        self._expected: Mapping[str, Sequence[Any]] = plan.get("expected", {})
        self._until = time.perf_counter() + plan["seconds"]
        self._order = random.Random(plan.get("seed", 0))
        self.ms: list[float] = []
        self.failed = self.mixed = 0
        self.changes: list[tuple[float, str]] = []  # when another adapter answered first, and which
        self.statuses: Counter[str] = Counter()

    async def run(self) -> None:
        """Ask until the time is over."""
        if "rate" in self._plan:
            await self._open(float(self._plan["rate"]))
        else:
            clients = (self._client() for _ in range(self._plan["connections"]))
            await asyncio.gather(*clients)

    def stop(self) -> None:
        """Start no further request."""
        self._until = 0.0

    async def _client(self) -> None:
        connection = None
        while time.perf_counter() < self._until:
            connection = await self._one(connection, time.perf_counter())

    async def _open(self, rate: float) -> None:
        """Requests arrive by a Poisson process; a connection is taken from those that are idle."""
        idle: list[Any] = []
        tasks: set[asyncio.Task[None]] = set()

        async def one(due: float) -> None:
            connection = idle.pop() if idle else None
            connection = await self._one(connection, due)
            if connection is not None:
                idle.append(connection)

        due = time.perf_counter()
        while due < self._until:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            task = asyncio.create_task(one(due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            due += self._order.expovariate(rate)
        await asyncio.gather(*tasks)

    async def _one(self, connection: Any, began: float) -> Any:
        """One request; returns the connection, None where it broke."""
        number = self._order.randrange(len(self._requests))
        try:
            if connection is None:
                connection = await self._connect()
            reader, writer = connection
            writer.write(self._requests[number])
            async with asyncio.timeout(_PATIENCE_S):
                head = await reader.readuntil(b"\r\n\r\n")
                found = _LENGTH.search(head)
                body = await reader.readexactly(int(found[1])) if found else b""
        except (OSError, EOFError, TimeoutError, asyncio.IncompleteReadError) as error:
            self.failed += 1
            self.statuses[type(error).__name__] += 1
            await asyncio.sleep(0.05)
            return None
        self.ms.append(1000 * (time.perf_counter() - began))
        status = head[9:12].decode()
        self.statuses[status] += 1
        if status != "200":
            self.failed += 1
        elif self._expected:
            self.mixed += not self._is_right(number, json.loads(body), head)
        return connection

    def _is_right(self, number: int, said: Mapping[str, Any], head: bytes) -> bool:
        if not self.changes or self.changes[-1][1] != said["adapter"]:
            self.changes.append((time.time(), said["adapter"]))
        answers = self._expected.get(said["adapter"])
        named = f"x-flywheel-adapter: {said['adapter']}".encode() in head.lower()
        return named and bool(answers) and answers[number] == [said["intent"], said["arguments"]]

    async def _connect(self) -> Any:
        address = self._plan["address"]
        if "unix" in address:
            return await asyncio.open_unix_connection(address["unix"])
        return await asyncio.open_connection("127.0.0.1", address["port"])


def _request(text: str) -> bytes:
    body = json.dumps({"text": text}, ensure_ascii=False).encode()
    head = (
        "POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _until_ended(load: Load) -> None:
    """Run until the time is over or standard input ends, print what came of it, and exit."""
    running = asyncio.create_task(load.run())
    closed = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    await asyncio.wait({running, closed}, return_when=asyncio.FIRST_COMPLETED)
    load.stop()
    await running
    told = {"ms": load.ms, "failed": load.failed, "mixed": load.mixed, "done": len(load.ms)}
    print(json.dumps(told | {"statuses": load.statuses, "changes": load.changes}), flush=True)
    os._exit(0)  # the thread that reads standard input may still wait


def main() -> None:
    """Read the plan and run it."""
    load = Load(json.loads(sys.stdin.readline()))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_ended(load))


if __name__ == "__main__":
    main()
