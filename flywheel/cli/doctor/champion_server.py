"""What answers with the champion: is it there, and is it the one that the daemon decided on?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from flywheel.cli.doctor.environment import Finding, Running, fail, ok, skip, warn
from flywheel.errors import FlywheelError

if TYPE_CHECKING:
    from flywheel.config import Config


def server(config: Config, running: Running) -> Iterator[Finding]:
    """Ask what `[serving] kind` names for the adapter that it answers with."""
    kind = config.serving.kind
    if kind == "link":
        return
    from flywheel.protocols import AskedServing
    from flywheel.serving import SERVING

    champion = running.status.get("champion")
    try:
        serving = SERVING[kind](config) if kind in SERVING else None
        if not isinstance(serving, AskedServing):
            yield skip("server", f"servers of kind {kind} are not asked: look at their answers")
            return
        state = serving.state()
    except FlywheelError as error:
        level = warn if champion is None else fail
        yield level("server", error.message, error.hint)
        return
    engine = f" by {state.engine}" if state.engine else ""
    answers = f"answers with {state.adapter or 'no adapter'}{engine}"
    if running.status and state.adapter != champion:
        waiting = (running.status.get("serving") or {}).get("waiting") or "see `flywheel status`"
        yield warn("server", f"{answers}; the champion is {champion or 'none'}", waiting)
    else:
        yield ok("server", answers)
