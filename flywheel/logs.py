"""Log lines: JSON to `log_dir/NAME.jsonl`, plain lines to stderr or the journal.

Ids, counts and seconds; never user text, never keys. A message is written by this project and
may be shown; the message of an unforeseen exception may quote what a user said, so only its
type and the places it passed are kept, unless `log_level = "debug"`.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from flywheel.errors import FlywheelError

FILE_BYTES = 10_000_000
"""A log file is rotated at this size."""
FILES_KEPT = 5

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}
_PRIORITY = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}  # of syslog
_HINT = 'give the daemon the folder, or set [flywheel] log_dir = ""'
_QUIET = ("apscheduler", "asyncio", "httpcore", "httpx", "openai", "uvicorn")


def start(log_dir: Path | None, level: str = "info", name: str = "flywheel") -> None:
    """Send every log line of this process to its places; calling it again starts anew.

    Args:
        log_dir: folder of the JSON lines, made when missing; None writes to stderr only.
        level: debug, info, warning or error.
        name: of the file, less its end; each process has one of its own.

    Raises:
        FlywheelError: the folder cannot be written.
    """
    root = logging.getLogger()
    stop()
    debug = level == "debug"
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    handlers[0].setFormatter(HumanLines(debug=debug, journal="JOURNAL_STREAM" in os.environ))
    if log_dir is not None:
        handlers.append(_file(log_dir, name))
        handlers[1].setFormatter(JsonFormatter(debug=debug))
    for handler in handlers:
        handler.set_name(f"flywheel.{type(handler).__name__}")
        root.addHandler(handler)
    root.setLevel(level.upper())
    for other in _QUIET:  # other people's loggers: their warnings only
        logging.getLogger(other).setLevel(logging.WARNING)


def stop() -> None:
    """Close what `start` opened."""
    root = logging.getLogger()
    for handler in [h for h in root.handlers if (h.get_name() or "").startswith("flywheel.")]:
        root.removeHandler(handler)
        handler.close()


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ts, level, logger, message, and the record's extra fields."""

    def __init__(self, *, debug: bool) -> None:
        super().__init__()
        self._debug = debug

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        line: dict[str, Any] = {
            "ts": _moment(record).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {k: _scalar(v) for k, v in vars(record).items() if k not in _PLAIN}
        if record.exc_info and record.exc_info[1]:
            line["error"] = _error(record.exc_info[1], debug=self._debug)
            line["frames"] = _frames(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False)


class HumanLines(logging.Formatter):
    """What a person reads; in the journal with a priority and without a time of its own."""

    def __init__(self, *, debug: bool, journal: bool) -> None:
        super().__init__()
        self._debug = debug
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, or several for an unforeseen exception."""
        if self._journal:
            head = f"<{_PRIORITY.get(record.levelname, 6)}>"
        else:
            head = f"{_moment(record):%H:%M:%S} "
            head += "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        text = head + record.getMessage()
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            text += f": {_error(error, debug=self._debug)}"
            if not isinstance(error, FlywheelError):
                text += "".join(f"\n{head}  {frame}" for frame in _frames(error))
        return text


def _file(log_dir: Path, name: str) -> logging.Handler:
    path = log_dir / f"{name}.jsonl"
    try:
        log_dir.mkdir(parents=True, exist_ok=True)
        return RotatingFileHandler(
            path, maxBytes=FILE_BYTES, backupCount=FILES_KEPT, encoding="utf-8"
        )
    except OSError as error:
        raise FlywheelError(
            f"cannot write the log {path}: {error.strerror}",
            hint=_HINT,
        ) from error


def writable(log_dir: Path) -> None:
    """Refuse a folder that the log could not be written to; makes nothing.

    Raises:
        FlywheelError: the folder, or the closest one above it, may not be written.
    """
    there = next(each for each in (log_dir, *log_dir.parents) if each.exists())
    path = log_dir / "flywheel.jsonl"
    if not there.is_dir() or not os.access(path if path.exists() else there, os.W_OK):
        raise FlywheelError(f"cannot write the log {path}: not allowed in {there}", hint=_HINT)


def _moment(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _scalar(value: object) -> object:
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _error(error: BaseException, *, debug: bool) -> str:
    if isinstance(error, FlywheelError):
        return f"{error.message} ({error.hint})" if error.hint else error.message
    name = type(error).__name__
    if debug:
        return f"{name}: {error}"
    return f"{name}: {error.strerror}" if isinstance(error, OSError) else name


def _frames(error: BaseException) -> list[str]:
    return [
        f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]
