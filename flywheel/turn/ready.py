"""May a turn be opened: is there something to learn from, and something to judge by?

Asked before a turn is opened, so that nobody waits for a training that nothing can judge.
"""

from __future__ import annotations

from flywheel.errors import Refused
from flywheel.store import Connection, generations, samples, votes

_SEEDS = "`flywheel samples import FILE --split seed`"
_GOLDEN = "`flywheel samples import FILE --split golden`"


class NotReady(Refused):
    """A turn would have nothing to learn from, or nothing to be judged by."""


def missing(con: Connection) -> list[str]:
    """What a turn would lack, each as a sentence with the command that mends it."""
    found = []
    stored = samples.stats(con)
    if not any(row["split"] == "train" for row in stored) and not votes.counts(con):
        found.append(f"there is nothing to learn from: {_SEEDS}")
    golden = generations.current_generation(con)
    if golden is None or not golden.rows:
        found.append(f"there is no golden set to judge by: {_GOLDEN}")
    return found


def refuse_unready(con: Connection) -> None:
    """Refuse to open a turn that could come to nothing.

    Raises:
        NotReady: what is missing, and the commands that bring it.
    """
    if found := missing(con):
        lacks, commands = zip(*(each.split(": ", 1) for each in found), strict=True)
        raise NotReady(f"no turn can be opened: {' and '.join(lacks)}", hint="; ".join(commands))
