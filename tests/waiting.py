"""How tests wait: for a condition, under a ceiling that only ends what hangs.

A busy machine makes everything late, so a ceiling is far above what a wait ever takes. No test
says how long something took, nor sleeps in the hope that something has happened meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable

CEILING_S = 300.0
"""Of every wait in the tests: sockets, processes, threads, conditions."""

_PAUSE_S = 0.01


def until(holds: Callable[[], object], what: object = "it happens") -> None:
    """Wait until `holds()` is true.

    Args:
        what: for the message; called, where it can be, when the ceiling is reached.
    """
    end = time.monotonic() + CEILING_S
    while not holds():
        if time.monotonic() > end:
            told = what() if callable(what) else what
            raise AssertionError(f"waited {CEILING_S:.0f} s until {told}")
        time.sleep(_PAUSE_S)
