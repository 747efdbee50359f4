"""An answer store in memory that can die as a process does: after so many answers."""

from __future__ import annotations

import threading

from flywheel.protocols import StoredAnswer


class Killed(BaseException):
    """The process is gone."""


class MemoryStore:
    def __init__(self, dies_after: int | None = None) -> None:
        self.kept: dict[str, StoredAnswer] = {}
        self.dies_after = dies_after
        self.threads: set[int] = set()

    def get(self, key: str) -> StoredAnswer | None:
        self.threads.add(threading.get_ident())
        return self.kept.get(key)

    def put(self, answer: StoredAnswer) -> None:
        self.threads.add(threading.get_ident())
        if self.dies_after is not None and len(self.kept) >= self.dies_after:
            raise Killed
        self.kept[answer.key] = answer
