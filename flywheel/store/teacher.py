"""Paid answers of the teacher, on disk before anything is done with them."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow

from flywheel.protocols import StoredAnswer
from flywheel.store.columns import (
    EACH,
    REAL,
    TEXT,
    WHOLE,
    Connection,
    Row,
    arriving,
    bound,
    pack,
    records,
    scalar,
    table,
    unpack,
)
from flywheel.store.database import Store

_ANSWER = pyarrow.schema(
    [
        ("key", TEXT),
        ("request", TEXT),
        ("response", TEXT),
        ("usd", REAL),
        ("input_tokens", WHOLE),
        ("output_tokens", WHOLE),
    ]
)
_KNOWN = f"SELECT key FROM teacher_answers SEMI JOIN ({EACH}) AS asked(key) USING (key)"  # noqa: S608
_GET = "SELECT * FROM teacher_answers WHERE key = ?"
_PUT = """
    INSERT INTO teacher_answers
    SELECT key, request, response, usd, input_tokens, output_tokens, $turn FROM arriving
    WHERE key NOT IN (SELECT key FROM teacher_answers)
    QUALIFY row_number() OVER (PARTITION BY key ORDER BY position) = 1
    ORDER BY position
"""
_HELD_BYTES = 2 << 20  # of answers; the database holds them in memory until it is told to let go


class AnswerTable:
    """An `AnswerStore` over the database. A second answer under one key is not kept.

    Args:
        store: where they are kept.
        turn: the one that pays for what is put here.
    """

    def __init__(self, store: Store, turn: str) -> None:
        self._store = store
        self._turn = turn
        self._held = 0  # bytes put since the database last let go of them

    def get(self, keys: Sequence[str]) -> dict[str, StoredAnswer]:
        """Return the answers under these keys, by key; without those that are not there."""
        with self._store.read() as con:
            known = con.execute(_KNOWN, [bound(keys)]).fetchall()  # reads no page of the others
            found = [row for key in known for row in records(con, _GET, key)]
        return {row["key"]: _answer(row) for row in found}

    def put(self, answers: Sequence[StoredAnswer]) -> None:
        """Store answers in a transaction of their own; durable when it returns.

        Raises:
            RuntimeError: this thread has a write transaction open.
        """
        rows = table(_ANSWER, map(_cells, answers))
        with self._store.write_durably() as con, arriving(con, rows):
            con.execute(_PUT, {"turn": self._turn})
        self._held += rows.nbytes
        if self._held > _HELD_BYTES and self._store.release_memory():
            self._held = 0


def _answer(row: Row) -> StoredAnswer:
    return StoredAnswer(
        key=row["key"],
        request=unpack(row["request"]),
        response=unpack(row["response"]),
        usd=row["usd"],
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
    )


def _cells(answer: StoredAnswer) -> tuple[object, ...]:
    return (
        answer.key,
        pack(answer.request),
        pack(answer.response),
        answer.usd,
        answer.input_tokens,
        answer.output_tokens,
    )


def spent(con: Connection, turn: str) -> float:
    """Return what a turn has paid for answers so far, in US dollars, over all its attempts."""
    sql = "SELECT coalesce(sum(usd), 0) FROM teacher_answers WHERE turn = ?"
    return float(scalar(con, sql, [turn]))
