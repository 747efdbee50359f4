"""What is logged of answers: by the configured share, in one write, whoever answered."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from flywheel import files
from flywheel.inference.answer_log import Route
from flywheel.inference.logged_share import LoggedShare, StandsFor

_encode = msgspec.json.Encoder().encode


class LineLog(Protocol):
    """Where lines are logged; `AnswerLog` is one. Any thread may call it."""

    def write(self, events: Sequence[bytes], route: Route = "predictions") -> bool:
        """Append lines; a kill of the process loses none of them once it returned True."""

    def state(self) -> Mapping[str, Any]:
        """What waits, and what could not be logged."""


class Recorder:
    """Logs answers as predictions; any thread may call it.

    Args:
        log: of lines.
        share: of all answers that are logged, 0..1.
        left_out: file that keeps over a restart what the next logged answers stand for; None:
            nothing is kept.
    """

    def __init__(self, log: LineLog, share: float = 1.0, left_out: Path | None = None) -> None:
        self.log = log
        self._path = left_out
        self._share = LoggedShare(share, _read(left_out))
        self._lock = threading.Lock()

    def record(self, events: Sequence[dict[str, Any]]) -> None:
        """Log answers; when it returns, a kill of the process loses none of those logged.

        Args:
            events: predictions in the native form; `answers` and `cost_usd` are set here where one
                stands for more than itself.
        """
        with self._lock:
            chosen = [(event, what) for event in events if (what := self._stands_for(event))]
            lines = [_encode(event) for event, _ in chosen]
            if lines and not self.log.write(lines):
                for event, what in chosen:
                    self._share.leave_out(event["intent"], what)

    def share(self, share: float) -> None:
        """Log this share from now on."""
        with self._lock:
            self._share = LoggedShare(share, self._share.state())

    def close(self) -> None:
        """Keep what the next logged answers stand for."""
        if self._path is not None:
            with self._lock:
                files.write_json(self._path, self._share.state())

    def _stands_for(self, event: dict[str, Any]) -> StandsFor | None:
        what = self._share.stands_for(event["id"], event["intent"], event.get("cost_usd"))
        if what is not None and what.answers > 1:
            event["answers"] = what.answers
        if what is not None and what.cost_usd is not None:
            event["cost_usd"] = what.cost_usd
        return what


def _read(path: Path | None) -> dict[str, Any]:
    """What the last stop left out; empty where it is not known.

    It is taken once: after a crash the file would say again what logged answers stand for already.
    """
    if path is None:
        return {}
    value: Any = None
    with contextlib.suppress(OSError, ValueError):
        value = json.loads(path.read_text(encoding="utf-8"))
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
    return value if isinstance(value, dict) else {}
