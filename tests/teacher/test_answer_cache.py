"""Paid answers to the store and back, many at a time."""

from __future__ import annotations

import asyncio

import pytest

from flywheel.llm.client import AnswerCache
from flywheel.protocols import StoredAnswer
from tests.fakes.answer_store import Killed, MemoryStore


def answer(key: str) -> StoredAnswer:
    return StoredAnswer(key=key, request={}, response={}, usd=0.0, input_tokens=0, output_tokens=0)


def test_answers_that_come_together_are_one_write_and_are_there_when_it_returns() -> None:
    store = MemoryStore()

    async def keep(keeping: AnswerCache, key: str) -> bool:
        await keeping.keep(answer(key))
        return key in store.kept

    async def run() -> list[bool]:
        keeping = AnswerCache(store)
        first = await asyncio.gather(*(keep(keeping, str(n)) for n in range(50)))
        return [*first, await keep(keeping, "later")]

    assert asyncio.run(run()) == [True] * 51
    assert store.puts == 2


def test_who_asks_together_gets_their_own_answer_each() -> None:
    store = MemoryStore()
    store.put([answer("a"), answer("b")])

    async def run() -> list[StoredAnswer | None]:
        keeping = AnswerCache(store)
        return list(await asyncio.gather(*(keeping.find(key) for key in ("b", "c", "a"))))

    assert asyncio.run(run()) == [answer("b"), None, answer("a")]


def test_a_write_that_fails_fails_for_every_answer_in_it() -> None:
    async def run() -> list[BaseException | None]:
        keeping = AnswerCache(MemoryStore(dies_after=2))
        return await asyncio.gather(
            *(keeping.keep(answer(key)) for key in "abc"), return_exceptions=True
        )

    assert [type(each) for each in asyncio.run(run())] == [Killed] * 3


def test_an_answer_is_kept_though_nobody_waits_for_it_any_more() -> None:
    store = MemoryStore()

    async def run() -> None:
        keeping = AnswerCache(store)
        asker = asyncio.create_task(keeping.keep(answer("a")))
        await asyncio.sleep(0)  # it has begun to wait
        asker.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asker

    asyncio.run(run())
    assert set(store.kept) == {"a"}
