"""One turn of the loop: from failing intents to a decision about a challenger.

`table` has the steps and the loop that runs them; `control` has the actions of people and of the
schedule (request, cancel, approve, reject, roll back).
"""

from flywheel.turn.adapter_files import record_unknown
from flywheel.turn.answered_anew import follow
from flywheel.turn.control import NotReady, approve, cancel, expire, reject, request, rollback
from flywheel.turn.drift import end_of, look_at_traffic, week_of
from flywheel.turn.harm import look
from flywheel.turn.integrity import verify
from flywheel.turn.rollout import NotServed, reconcile, serve
from flywheel.turn.runtime import Runtime
from flywheel.turn.samples import Incoming, add_samples, dispute
from flywheel.turn.table import advance, run_until_idle

__all__ = [
    "Incoming",
    "NotReady",
    "NotServed",
    "Runtime",
    "add_samples",
    "advance",
    "approve",
    "cancel",
    "dispute",
    "end_of",
    "expire",
    "follow",
    "look",
    "look_at_traffic",
    "reconcile",
    "record_unknown",
    "reject",
    "request",
    "rollback",
    "run_until_idle",
    "serve",
    "verify",
    "week_of",
]
