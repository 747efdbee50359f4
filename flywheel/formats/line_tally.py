"""What became of each line: taken, a repeat of an earlier one, rejected, or skipped with a reason.

Every line is exactly one of these, so their sum is the number of lines.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from flywheel.formats.reading import Parsed, RejectedLine


class SkippedLines(msgspec.Struct, frozen=True, kw_only=True):
    """Lines that were understood and hold nothing to keep."""

    why: str
    count: int
    line: int  # the first of them, from 1


class LineTally:
    """Counts lines as they are read."""

    def __init__(self) -> None:
        self.accepted = 0  # lines that hold something to keep, without the repeats
        self.repeated = 0  # lines whose events all came earlier
        self.rejected: list[RejectedLine] = []
        self._skipped: dict[str, tuple[int, int]] = {}  # by reason: count, first line
        self._seen: set[tuple[str, str]] = set()

    @property
    def skipped(self) -> tuple[SkippedLines, ...]:
        """The reasons in the order in which they came."""
        return tuple(
            SkippedLines(why=why, count=count, line=line)
            for why, (count, line) in self._skipped.items()
        )

    def kept(self, events: Iterable[tuple[str, str]]) -> None:
        """Count a line with these events, each as (kind, id)."""
        fresh = set(events) - self._seen
        self._seen |= fresh
        if fresh:
            self.accepted += 1
        else:
            self.repeated += 1

    def read(self, number: int, parsed: Parsed) -> None:
        """Count a line by what it says; what was rejected inside of it is listed too."""
        self.rejected += parsed.rejected
        events = [
            *(("predictions", one.id) for one in parsed.predictions),
            *(("feedback", one.id) for one in parsed.feedback),
            *(("scores", one.id) for one in parsed.scores),
            *(("samples", one.id) for one in parsed.samples),
        ]
        if events:
            self.kept(events)
        elif not parsed.rejected:
            why = next(iter(parsed.skipped), "holds nothing to keep")
            count, first = self._skipped.get(why, (0, number))
            self._skipped[why] = (count + 1, first)
