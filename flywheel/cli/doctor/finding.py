"""What one check of the doctor found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "FAIL"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line: FAIL when the daemon could not work, warn when it would work less well."""

    level: Level
    check: str
    text: str
    todo: str = ""  # what to do; empty when there is nothing


def ok(check: str, text: str) -> Finding:
    """A check that holds."""
    return Finding(level="ok", check=check, text=text)


def warn(check: str, text: str, todo: str = "") -> Finding:
    """The daemon works, but not as well as it could."""
    return Finding(level="warn", check=check, text=text, todo=todo)


def fail(check: str, text: str, todo: str = "") -> Finding:
    """The daemon could not work."""
    return Finding(level="FAIL", check=check, text=text, todo=todo)
