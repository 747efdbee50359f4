"""Paid answers to the store and back: together where they come together.

A durable write costs the same for one answer as for fifty, a look-up nearly so, and concurrent
requests come in bunches. Nobody reads an answer before the write that holds it has returned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from flywheel.protocols import AnswerStore, StoredAnswer

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Keeping:
    """A store of answers as one event loop uses it; the store is called from its thread alone."""

    def __init__(self, kept: AnswerStore) -> None:
        self._find = _Together(kept.get)
        self._store = _Together(kept.put)

    async def find(self, key: str) -> StoredAnswer | None:
        """Return the answer kept for this request; None when it was never bought."""
        return (await self._find(key)).get(key)

    async def keep(self, answer: StoredAnswer) -> None:
        """Return when the answer is durable.

        Who is cancelled while waiting takes no answer with them: it is paid for.
        """
        await self._store(answer)


class _Together(Generic[_Item, _Result]):
    """One call for all that is asked in the same pass of the loop; what it raises, all get."""

    def __init__(self, call: Callable[[Sequence[_Item]], _Result]) -> None:
        self._call = call
        self._items: list[_Item] = []
        self._next: asyncio.Task[_Result] | None = None

    async def __call__(self, item: _Item) -> _Result:
        self._items.append(item)
        if self._next is None:
            self._next = asyncio.create_task(self._run())
        return await asyncio.shield(self._next)

    async def _run(self) -> _Result:
        items, self._items, self._next = self._items, [], None
        return self._call(items)
