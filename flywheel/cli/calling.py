"""How this program was called, so that every command it prints can be pasted."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from contextvars import ContextVar
from pathlib import Path

_NAME = "flywheel"
_PRINTED = re.compile(r"(^next: |^  |`)flywheel (?=[a-z])")
_config: ContextVar[Path | None] = ContextVar("config", default=None)


def remember(config: Path | None) -> None:
    """Note the file that `flywheel --config FILE …` named; None: it named none."""
    _config.set(config)


def program() -> str:
    """`flywheel` where the shell finds this program by that name, else how it was called."""
    called = Path(sys.argv[0])
    if called.parts[-2:] == (_NAME, "__main__.py"):
        return f"{shlex.quote(sys.executable)} -m {_NAME}"
    found = shutil.which(_NAME)
    if called.name != _NAME or (found and Path(found).resolve() == called.resolve()):
        return _NAME
    return shlex.quote(str(called))


def pasteable(line: str) -> str:
    """The line with its commands as this user has to type them: program, and `--config` if given.

    Commands are what stands in backticks, after `next: `, or alone on an indented line.
    """
    if f"{_NAME} " not in line:
        return line
    config = _config.get()
    start = program() + (f" --config {shlex.quote(str(config))}" if config else "")
    return _PRINTED.sub(lambda found: f"{found[1]}{start} ", line)
