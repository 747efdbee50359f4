"""`flywheel log`: what happened, as a person reads it. Works without the daemon."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from flywheel.cli.command import place
from flywheel.cli.screen import raw_json, remark, say
from flywheel.cli.text import clean, moment
from flywheel.errors import NotFound

_FILE = "flywheel.jsonl"
_KEPT = 5  # rotated files: flywheel.jsonl.1 is the one before
_POLL_S = 0.5

Line = dict[str, Any]


def log(
    ctx: typer.Context,
    *,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many, the latest.")] = 50,
    turn: Annotated[
        str | None, typer.Option(metavar="TURN", help="Only what belongs to this turn.")
    ] = None,
    problems: Annotated[bool, typer.Option("--problems", help="Only warnings and errors.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the log's own JSON lines.")
    ] = False,
) -> None:
    """Show what happened: turns, decisions, problems.

    Times are UTC.
    """
    folder = place(ctx).log_dir
    if folder is None:
        raise NotFound(
            "this daemon logs to the journal only ([flywheel] log_dir is empty)",
            hint="journalctl -u flywheel",
        )
    if not (folder / _FILE).exists():
        raise NotFound(f"no log in {folder}", hint="the daemon writes it: `flywheel run`")

    def wanted(line: Line) -> bool:
        serious = line.get("level") in {"warning", "error", "critical"}
        return (turn is None or line.get("turn") == turn) and (serious or not problems)

    latest = deque((line for line in _stored(folder) if wanted(line)), maxlen=lines)
    for line in latest:
        _tell(line, as_json=as_json)
    if follow:
        try:
            for line in _arriving(folder / _FILE):
                if wanted(line):
                    _tell(line, as_json=as_json)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
    elif not latest:
        remark("nothing of that kind in the log")


def _tell(line: Line, *, as_json: bool) -> None:
    if as_json:
        return raw_json(json.dumps(line, ensure_ascii=False).encode())
    level = str(line.get("level") or "info")
    head = "" if level == "info" else f"{level}: "
    why = f" ({clean(line['error'])})" if line.get("error") else ""
    say(f"{moment(line.get('ts'))}  {clean(head)}{clean(line.get('message') or '')}{why}")
    return None


def _stored(folder: Path) -> Iterator[Line]:
    """Every line that is kept, the oldest first."""
    rotated = [folder / f"{_FILE}.{number}" for number in range(_KEPT, 0, -1)]
    for path in [*rotated, folder / _FILE]:
        if path.exists():
            with path.open(encoding="utf-8", errors="replace") as file:
                yield from (line for text in file if (line := _parsed(text)))


def _arriving(path: Path) -> Iterator[Line]:
    """Lines as they are written; goes on with the new file after a rotation."""
    file = path.open(encoding="utf-8", errors="replace")
    file.seek(0, 2)
    held = ""
    try:
        while True:
            held += file.readline()
            if held.endswith("\n"):
                if line := _parsed(held):
                    yield line
                held = ""
                continue
            time.sleep(_POLL_S)
            if path.exists() and path.stat().st_ino != _inode(file.fileno()):
                file.close()
                file = path.open(encoding="utf-8", errors="replace")
    finally:
        file.close()


def _inode(descriptor: int) -> int:
    import os

    return os.fstat(descriptor).st_ino


def _parsed(text: str) -> Line | None:
    """A log line; None for one that was cut off."""
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None
