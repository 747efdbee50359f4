"""What people do, in the log: who, what, and why. `flywheel log` shows it."""

from __future__ import annotations

import logging

from starlette.requests import Request

from flywheel.api.peer import CALLER

log = logging.getLogger(__name__)


def record(request: Request, what: str, because: str = "") -> None:
    """Log that a caller did `what`, after it was done.

    Args:
        request: whose caller it was.
        what: ids and counts in words, such as "d-7 approved"; no user text.
        because: the reason the caller gave, written as one line.
    """
    by = str(request.scope[CALLER])
    why = "".join(c if c.isprintable() else " " for c in " ".join(because.split()))
    log.info("%s by %s%s", what, by, f": {why}" if why else "", extra={"event": "act", "by": by})
