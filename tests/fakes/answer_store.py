"""An answer store in memory that can die as a process does: after so many answers."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from flywheel.protocols import StoredAnswer


class Killed(BaseException):
    """The process is gone."""


class MemoryStore:
    def __init__(self, dies_after: int | None = None) -> None:
        self.kept: dict[str, StoredAnswer] = {}
        self.dies_after = dies_after
        self.threads: set[int] = set()
        self.puts = 0

    def get(self, keys: Sequence[str]) -> dict[str, StoredAnswer]:
        self.threads.add(threading.get_ident())
        return {key: self.kept[key] for key in keys if key in self.kept}

    def put(self, answers: Sequence[StoredAnswer]) -> None:
        self.threads.add(threading.get_ident())
        self.puts += 1
        if self.dies_after is not None and len(self.kept) + len(answers) > self.dies_after:
            raise Killed
        self.kept |= {answer.key: answer for answer in answers}
