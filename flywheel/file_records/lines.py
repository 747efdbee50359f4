"""The lines of a file with their numbers, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

from flywheel.file_records.decoding import Undecodable


class FileLines:
    """Yields (number from 1, the line without its newline); None for a line that is too long.

    Args:
        pieces: of the file, as `decoding.plain` gives them.
        longest: bytes of a line that is held in memory.
    """

    def __init__(self, pieces: Iterator[bytes], longest: int) -> None:
        self._pieces = pieces
        self._longest = longest
        self._ready: list[bytes] = []  # whole lines, the next one last
        self._tail = b""
        self.number = 0  # of the last line
        self.failure: Undecodable | None = None  # why it ended before the file's end

    def __iter__(self) -> Iterator[tuple[int, bytes | None]]:
        dropped = False  # the beginning of the line was too long, and is gone
        while True:
            while self._ready:
                self.number += 1
                line = self._ready.pop()
                yield self.number, None if dropped or len(line) > self._longest else line
                dropped = False
            piece = self._next()
            if not piece:
                break
            *whole, self._tail = (self._tail + piece).split(b"\n")
            self._ready = whole[::-1]
            if len(self._tail) > self._longest and not whole:
                dropped, self._tail = True, b""
        if self._tail or dropped:
            self.number += 1
            last, self._tail = self._tail, b""
            yield self.number, None if dropped or len(last) > self._longest else last

    def rest(self) -> Iterator[bytes]:
        """All that was not read yet, as pieces."""
        ready, self._ready = self._ready[::-1], []
        yield b"".join(line + b"\n" for line in ready) + self._tail
        self._tail = b""
        while piece := self._next():
            yield piece

    def _next(self) -> bytes:
        try:
            return next(self._pieces, b"")
        except Undecodable as error:
            self.failure = error
            return b""
