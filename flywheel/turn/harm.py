"""What follows from a watched promotion: nothing yet, a rollback, a proposal, or its end.

A rollback by the watch is a decision as any other, and waits for nobody where a person set mode
"rollback". It never undoes a person's later word: whatever changes the champion ends the watch, a
person's decision that is being applied goes first, and who rejects the proposal keeps the champion.
"""

from __future__ import annotations

import logging

from flywheel import promotion
from flywheel.errors import Refused
from flywheel.promotion import WatchVerdict
from flywheel.records import Decision
from flywheel.store import Connection, adapters, decisions, watches
from flywheel.store.watches import StoredWatch
from flywheel.turn import arms
from flywheel.turn.apply import roll_back
from flywheel.turn.artifacts import cancel_jobs
from flywheel.turn.rollout import serve
from flywheel.turn.runtime import Runtime

log = logging.getLogger(__name__)


def look(runtime: Runtime) -> str:
    """Ask what production says of a watched champion, and do what follows.

    Returns:
        What was done: "", "rolled_back", "proposed", "ended" or "waits".

    Raises:
        NotServed: the rollback is committed, and cannot be served now.
    """
    with runtime.store.read() as con:
        watch = watches.current(con)
        if watch is None:
            return ""
        verdict, counts = arms.judged(runtime, con, watch)
    answers = sum(arm.answers for arm in counts)
    try:
        done, ended = _acted(runtime, watch.number, verdict, answers)
    except Refused as refused:  # of the rollback: a person is asked, and told why
        done, ended = _acted(runtime, watch.number, verdict, answers, refused.message)
    cancel_jobs(runtime, ended)
    if done in ("rolled_back", "ended"):
        serve(runtime)
    return done


def _acted(
    runtime: Runtime, number: int, verdict: WatchVerdict, answers: int, refused: str = ""
) -> tuple[str, list[str]]:
    """Write what follows, unless the watch has ended; return what was done, and the turns ended.

    Raises:
        Refused: the rollback may not be made; nothing was written.
    """
    with runtime.store.write() as con:
        watch = watches.current(con)
        if watch is None or watch.number != number:
            return "", []
        if verdict.harmed and not (watch.proposal and _kept(con, watch.proposal)):
            return _harmed(runtime, con, watch, verdict, refused)
        return _unharmed(runtime, con, watch, verdict, answers)


def _harmed(
    runtime: Runtime, con: Connection, watch: StoredWatch, verdict: WatchVerdict, refused: str
) -> tuple[str, list[str]]:
    """Roll back or propose it; a decision that is being applied, or waits already, goes first."""
    if decisions.applying(con) is not None:
        return "waits", []
    if verdict.rollback and not refused:
        because = f"{watch.champion} does harm: {verdict.detail}"
        _, ended = roll_back(runtime, con, watch.earlier, promotion.WATCH, because)
        _tell(runtime, con, watch, because)
        return "rolled_back", ended
    if watch.proposal and decisions.get(con, watch.proposal).status in promotion.UNSETTLED:
        return "waits", []
    _propose(runtime, con, watch, verdict, refused)
    return "proposed", []


def _unharmed(
    runtime: Runtime, con: Connection, watch: StoredWatch, verdict: WatchVerdict, answers: int
) -> tuple[str, list[str]]:
    """End the watch where a person, the evidence or the number of answers says so."""
    table = runtime.config.watch
    if watch.proposal and (kept := _kept(con, watch.proposal)):
        return _end(runtime, con, watch, "kept", kept)
    if table.mode == "off":
        return _end(runtime, con, watch, "unproven", '[watch] mode is "off" by now')
    if watch.proposal and decisions.get(con, watch.proposal).status == "pending":
        return "", []  # a person has it before them
    if verdict.cleared:
        why = f"twice as many corrections are refuted: E = {verdict.no_harm:.3g}"
        return _end(runtime, con, watch, "no_harm", why)
    if answers >= table.answers:
        why = f"{answers} answers show neither harm nor its absence"
        return _end(runtime, con, watch, "unproven", why)
    return "", []


def _end(
    runtime: Runtime, con: Connection, watch: StoredWatch, outcome: watches.Outcome, because: str
) -> tuple[str, list[str]]:
    now = runtime.clock()
    watches.end(con, watch.number, outcome, because, now)
    words = f"{watch.champion} answers everything: {because}"
    decisions.record_act(con, arms.ENDED, promotion.WATCH, words, now)
    log.info("%s", words, extra={"event": arms.ENDED, "adapter": watch.champion})
    return "ended", []


def _propose(
    runtime: Runtime, con: Connection, watch: StoredWatch, verdict: WatchVerdict, refused: str = ""
) -> None:
    """Record the rollback as a decision that waits for a person."""
    now = runtime.clock()
    more = f"; not rolled back: {refused}" if refused else ""
    because = f"{watch.champion} does harm: {verdict.detail}{more}"
    proposed = Decision(
        id=decisions.next_id(con),
        turn=None,
        challenger=watch.earlier,
        champion=adapters.champion(con),
        verdict="rollback",
        status="pending",
        by=promotion.WATCH,
        because=because,
        at=now,
    )
    decisions.add(con, proposed)
    decisions.set_status(
        con, proposed.id, "pending", promotion.WATCH, because, now, decisions.WAITS
    )
    watches.propose(con, watch.number, proposed.id)
    _tell(runtime, con, watch, because)


def _tell(runtime: Runtime, con: Connection, watch: StoredWatch, because: str) -> None:
    decisions.record_act(con, decisions.HARM, promotion.WATCH, because, runtime.clock())
    log.error("%s", because, extra={"event": decisions.HARM, "adapter": watch.champion})


def _kept(con: Connection, proposal: str) -> str:
    """By whose word the champion stays although harm was shown; "" where nobody said so."""
    decision = decisions.get(con, proposal)
    return f"{decision.by} rejected {proposal}" if decision.status == "rejected" else ""
