"""One turn of the wheel: from failing intents to a decision about a challenger.

`table` is the step table; `control` is what a person, the schedule or a source may ask;
`views` is what they see.
"""

from flywheel.turn.answers import Answer, agreement_of, asked, give, give_many, shown, undo
from flywheel.turn.apply import reconcile
from flywheel.turn.control import NotReady, approve, cancel, expire, reject, request, rollback
from flywheel.turn.effects import settle
from flywheel.turn.integrity import verify
from flywheel.turn.runtime import Wheel
from flywheel.turn.samples import Incoming, add_samples, dispute
from flywheel.turn.table import advance, run_until_idle

__all__ = [
    "Answer",
    "Incoming",
    "NotReady",
    "Wheel",
    "add_samples",
    "advance",
    "agreement_of",
    "approve",
    "asked",
    "cancel",
    "dispute",
    "expire",
    "give",
    "give_many",
    "reconcile",
    "reject",
    "request",
    "rollback",
    "run_until_idle",
    "settle",
    "shown",
    "undo",
    "verify",
]
