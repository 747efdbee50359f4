"""Actions on turns and decisions: request, cancel, approve, reject, roll back, expire.

The callers are people (API), the schedule and the triggers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from flywheel import promotion
from flywheel.config import Config
from flywheel.errors import Refused
from flywheel.records import Decision
from flywheel.store import (
    Connection,
    adapters,
    decisions,
    golden_set,
    label_candidates,
    samples,
    turns,
)
from flywheel.store.turns import Turn
from flywheel.turn import adapter_files, evaluate, retire_rows
from flywheel.turn.apply import candidate_of, end_turn, put_forward, roll_back
from flywheel.turn.artifacts import cancel_jobs
from flywheel.turn.first_champion import FirstChampion, Need, needs
from flywheel.turn.rollout import NotServed, serve
from flywheel.turn.runtime import Runtime
from flywheel.turn.samples import reopen_held
from flywheel.turn.table import FIRST_STATE

_SEEDS = "`flywheel samples import FILE --split seed`"
_GOLDEN = "`flywheel samples import FILE --split golden`"


_LABEL = "`flywheel samples label`"


class NotReady(Refused):
    """No turn can be opened: there are no training samples, or there is no golden set."""


def missing(config: Config, con: Connection) -> list[str]:
    """Return what a turn would lack, each as "PROBLEM: COMMAND" with the command that fixes it."""
    first = needs(config, con)
    if first is None:  # a champion is there, and what it was judged by may be gone
        first = FirstChampion(
            seeds=Need(have=_learnable(con), need=1),
            dev=Need(have=0, need=0),
            golden=Need(have=_golden_rows(con), need=1),
            intents=Need(have=0, need=0),
            traffic=False,
        )
    problems = []
    for need, none, what, import_ in (
        (first.seeds, "there is nothing to learn from", "texts to learn from", _SEEDS),
        (first.dev, "", "texts to choose with (dev)", ""),
        (first.golden, "there is no golden set to judge by", "golden texts", _GOLDEN),
        (first.intents, "", "intents with a text to learn from", ""),
    ):
        if not need.missing or (what.startswith("intents") and first.seeds.missing):
            continue
        count = f"{need.missing} of {need.need} {what} are missing"
        if not need.have and none:
            count = none + (f" ({need.need} texts are missing)" if need.need > 1 else "")
        commands = [_LABEL] if first.traffic or not import_ else []
        commands += [import_] if import_ else []
        problems.append(f"{count}: {', or '.join(commands)}")
    return problems


def _learnable(con: Connection) -> int:
    stored = sum(row["count"] for row in samples.stats(con) if row["split"] == "train")
    return int(stored) or sum(label_candidates.vote_counts(con).values())


def _golden_rows(con: Connection) -> int:
    golden = golden_set.current_generation(con)
    return golden.rows if golden else 0


def refuse_unready(config: Config, con: Connection) -> None:
    """Check that a turn would have training samples and a golden set.

    Raises:
        NotReady: names what is missing, and the commands that fix it.
    """
    if problems := missing(config, con):
        lacks, commands = zip(*(problem.split(": ", 1) for problem in problems), strict=True)
        raise NotReady(
            f"no turn can be opened: {' and '.join(lacks)}", hint="; ".join(dict.fromkeys(commands))
        )


def request(runtime: Runtime, trigger: str) -> Turn:
    """Open a turn and wake the thread that runs it.

    One after an erasure begins with curation: a teacher is not asked again, and what it wrote that
    rests on the person was erased.

    Raises:
        Refused: another turn is open; the message names it.
        NotReady: there is nothing to learn from, or no golden set to judge by.
    """
    with runtime.store.write() as con:
        running = turns.open_turns(con)
        if running:
            raise Refused(
                f"{running[0].id} is open, in step {running[0].state}",
                hint=f"wait for it, or `flywheel turn cancel {running[0].id}`",
            )
        refuse_unready(runtime.config, con)
        evaluate.set_aside(runtime, con)  # before anything of it is trained on
        first_state = "curate" if trigger == turns.ERASURE else FIRST_STATE
        turn = turns.open_turn(con, trigger, runtime.clock(), first_state)
        retire_rows.as_a_turn_opens(runtime, con, turn.id)
    runtime.wake.set()
    return turn


def cancel(runtime: Runtime, turn_id: str, by: str) -> Turn:
    """End an open turn: its worker is killed, its pending decisions expire, its samples stay.

    A promotion that the turn has made already stays; only a rollback undoes it.

    Raises:
        NotFound: no such turn.
        Refused: it has ended already.
    """
    now = runtime.clock()
    with runtime.store.write() as con:
        turn = turns.get(con, turn_id)
        if turn.state in turns.ENDED:
            raise Refused(
                f"{turn_id} has ended: {turn.state}",
                hint="`flywheel review list` shows what waits" if turn.state == "held" else "",
            )
        error = f"cancelled by {by}"
        for waiting in decisions.waiting(con):
            if waiting.turn == turn_id:
                decisions.set_status(
                    con, waiting.id, "expired", by, f"{turn_id} was cancelled", now
                )
        if turn.decision and decisions.get(con, turn.decision).status == "applied":
            error += f"; {turn.decision} was applied before: `flywheel adapters rollback` undoes it"
        turns.close(con, turn_id, now, state="cancelled", error=error)
    cancel_jobs(runtime, [turn_id])
    with contextlib.suppress(NotServed):  # status tells
        serve(runtime)
    with runtime.store.read() as con:
        return turns.get(con, turn_id)


def approve(
    runtime: Runtime,
    decision_id: str,
    by: str,
    because: str,
    overridden: Sequence[str] = (),
    looked: str = "",
) -> Decision:
    """Approve a decision; with enough approvals its challenger becomes champion.

    Where the server is asked first, the decision is applying then, and the champion changes once
    the server answers as evaluated. One whose parity failed may be approved again: it is tried
    again.

    Args:
        runtime: the loop.
        decision_id: a pending decision, or a rejection by the gates that an override lifts.
        by: the person, authenticated by socket or token.
        because: reason for the audit trail.
        overridden: gates that FAILed and are overridden, where the configuration allows it.
        looked: the word that stands beside texts which few raters turned, if there are any.

    Raises:
        NotFound: no such decision.
        Refused: it was approved before, rejected, expired or superseded, a gate stands against
            it, or the adapter's files are gone or changed; the message says which.
    """
    with runtime.store.write() as con:
        decision = decisions.get(con, decision_id)
        table = runtime.config.promotion
        candidate = candidate_of(con, decision)
        promotion.may_approve(decision, candidate, overridden, table)
        promotion.check_looked(decision, looked)
        adapter_files.refuse_changed(runtime, adapters.get(con, decision.challenger))
        one_is_enough = decision.verdict == "rollback"
        if one_is_enough or promotion.approved(decision_id, candidate.approvals, by, table):
            ended = put_forward(runtime, con, decision, by, because, overridden)
        else:
            ended = []
            count = promotion.people([*candidate.approvals, by])
            what = promotion.words_of(
                f"approved {count} of {table.approvals}",
                overridden,
                promotion.unproven(decision, overridden),
            )
            decisions.set_status(con, decision_id, "pending", by, because, runtime.clock(), what)
        approved = decisions.get(con, decision_id)
    cancel_jobs(runtime, ended)
    _serve(runtime)
    return approved


def reject(runtime: Runtime, decision_id: str, by: str, because: str) -> Decision:
    """Reject a pending decision, and end its turn; one that is being applied is not applied.

    Raises:
        NotFound: no such decision.
        Refused: it was rejected before, was applied or has expired.
    """
    now = runtime.clock()
    with runtime.store.write() as con:
        decision = decisions.get(con, decision_id)
        promotion.ratify(decision, "reject", adapters.champion(con))
        decisions.set_status(con, decision_id, "rejected", by, because, now)
        if decision.verdict != "rollback":  # whose adapter has served, and may again
            adapters.set_state(con, decision.challenger, "rejected")
        ended = end_turn(con, decision.turn, now, "done", None) if decision.turn else []
        rejected = decisions.get(con, decision_id)
    cancel_jobs(runtime, ended)
    runtime.rollout.wake.set()
    return rejected


def rollback(runtime: Runtime, to: str | None, by: str, because: str) -> Decision:
    """Make an earlier champion the champion again; pending decisions and open turns end.

    Where the server is asked first, as with an approval.

    Args:
        runtime: the loop.
        to: an adapter that has been champion; None for the previous one.
        by: the person, authenticated by socket or token.
        because: reason for the audit trail.

    Raises:
        Refused: there is no earlier champion, `to` is the champion already or never was, a
            person refused it where two are asked for, or its files are gone or changed.
        NotFound: `to` is not an adapter.
    """
    with runtime.store.write() as con:
        decision_id, ended = roll_back(runtime, con, to, by, because)
        applied = decisions.get(con, decision_id)
    cancel_jobs(runtime, ended)
    _serve(runtime)
    return applied


def expire(runtime: Runtime) -> list[str]:
    """Expire decisions pending for longer than `hold_days`; return their ids.

    One that is being applied has been decided, and waits for its server as long as it takes.

    Also closes held turns without a pending decision, fills the fresh set, and reopens a held turn
    that can be judged now.
    """
    now = runtime.clock()
    expired = []
    with runtime.store.write() as con:
        for decision in decisions.list_decisions(con, status="pending"):
            since = decisions.events(con, decision.id)[-1]["at"]
            if _judged_again(con, decision):
                continue
            if promotion.expired(since, runtime.config.promotion, now):
                because = f"nobody decided within {runtime.config.promotion.hold_days:g} days"
                decisions.set_status(con, decision.id, "expired", "schedule", because, now)
                if decision.turn:
                    end_turn(con, decision.turn, now, "done", because)
                expired.append(decision.id)
        for turn in turns.held_turns(con):  # earlier versions left such turns held
            if turn.decision and decisions.get(con, turn.decision).status != "pending":
                end_turn(con, turn.id, now, "done", None)
        if runtime.config.gates.fresh.required:  # else as a turn opens: this is asked often
            evaluate.set_aside(runtime, con)
        if reopen_held(runtime, con):
            runtime.wake.set()
    return expired


def record_act(runtime: Runtime, what: str, by: str, because: str) -> None:
    """Add what somebody did to the chain of decision events, in a transaction of its own.

    For acts that write nothing else to the database; arguments as of `decisions.record_act`.
    """
    with runtime.store.write() as con:
        decisions.record_act(con, what, by, because, runtime.clock())


def _judged_again(con: Connection, decision: Decision) -> bool:
    """Whether the decision's turn was reopened and is on its way to another decision."""
    again = ("evaluate", "gate", "decide")
    return decision.turn is not None and turns.get(con, decision.turn).state in again


def _serve(runtime: Runtime) -> None:
    """Serve the champion that was just committed, and have the diagnosis follow it.

    Raises:
        NotServed: it cannot be served now; the committed decision stays.
    """
    runtime.wake.set()
    try:
        serve(runtime)
    except NotServed as error:
        raise NotServed(
            f"your word is recorded, but the link of the champion cannot be set: {error.message}",
            hint="mend that; it is tried again by itself, and `flywheel status` tells until then",
        ) from error
