"""Paid answers of the teacher, on disk before anything is done with them."""

from __future__ import annotations

from flywheel.protocols import StoredAnswer
from flywheel.store.columns import Connection, pack, records, scalar, unpack
from flywheel.store.connection import Store

_PUT = """
    INSERT INTO teacher_answers SELECT $1, $2, $3, $4, $5, $6, $7
    WHERE NOT EXISTS (SELECT 1 FROM teacher_answers WHERE key = $1)
"""


class Answers:
    """An `AnswerStore` over the database. A second answer under one key is not kept.

    Args:
        store: where they are kept.
        turn: the one that pays for what is put here.
    """

    def __init__(self, store: Store, turn: str) -> None:
        self._store = store
        self._turn = turn

    def get(self, key: str) -> StoredAnswer | None:
        """Return the answer under `key`, if there is one."""
        with self._store.read() as con:
            found = records(con, "SELECT * FROM teacher_answers WHERE key = ?", [key])
        if not found:
            return None
        row = found[0]
        return StoredAnswer(
            key=row["key"],
            request=unpack(row["request"]),
            response=unpack(row["response"]),
            usd=row["usd"],
            input_tokens=row["input_tokens"],
            output_tokens=row["output_tokens"],
        )

    def put(self, answer: StoredAnswer) -> None:
        """Store an answer in a transaction of its own; durable when it returns.

        Raises:
            RuntimeError: this thread has a write transaction open.
        """
        cells = [
            answer.key,
            pack(answer.request),
            pack(answer.response),
            answer.usd,
            answer.input_tokens,
            answer.output_tokens,
            self._turn,
        ]
        with self._store.write_durably() as con:
            con.execute(_PUT, cells)


def spent(con: Connection, turn: str) -> float:
    """Return what a turn has paid for answers so far, in US dollars, over all its attempts."""
    sql = "SELECT coalesce(sum(usd), 0) FROM teacher_answers WHERE turn = ?"
    return float(scalar(con, sql, [turn]))
