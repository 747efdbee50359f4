"""Step 9, and what follows every change of the champion: what serves is brought to the database.

Where the server can be asked (`protocols.AskedServing`), a decision that is applying goes this way:
the adapter is loaded beside the one that serves; the server is asked all must-pass and some dev
texts; only when every answer is the evaluated one does the champion change in the database; then
the server switches. What is known is asked again after every crash, of the daemon or of the server:
a result is never carried over. What serves is asked again after a start, a switch, a reload, and
every hour; a difference found then changes nothing and is told until it is gone.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from flywheel import promotion
from flywheel.errors import FlywheelError, JobFailed, NotLoaded, Refused, ServingAway
from flywheel.promotion import parity
from flywheel.promotion.parity import ParityResult
from flywheel.protocols import AskedServing, ServingState
from flywheel.records import Adapter, Decision
from flywheel.serving import arms_file
from flywheel.store import Connection, adapters, championship, decisions, parity_checks
from flywheel.store.parity_checks import ParityCheck, StoredDifference
from flywheel.store.turns import Turn
from flywheel.turn import adapter_files, arms, evaluated_answers
from flywheel.turn.apply import install, refuse_unsafe
from flywheel.turn.artifacts import cancel_jobs
from flywheel.turn.runtime import AskedAgain, Runtime, StepResult

log = logging.getLogger(__name__)

_PARITY = "parity"
"""The actor of what follows from a parity check; one of `promotion.MACHINES`."""

_MENDED = "restart `flywheel serve`; where it stays so, roll back: `flywheel adapters rollback`"
_WAITS = decisions.WAITS
_AGAIN = timedelta(minutes=5)  # what answers otherwise is asked so often, or every parity_minutes
_BATCH = 8  # texts asked before the daemon's stop is looked at


class NotServed(FlywheelError):
    """The champion of the database is not in service, or not as it was trained."""


def watch(runtime: Runtime, turn: Turn) -> StepResult:
    """Serve the champion of the database. What production says of it is for `turn.harm`.

    Where it cannot be served now, the turn has done its part: the daemon tries again.
    """
    try:
        serves = reconcile(runtime)
        detail = runtime.rollout.waiting or f"{serves} serves"
    except NotServed as error:
        detail = error.message
    return StepResult(next_state="done", detail=detail)


def serve(runtime: Runtime) -> None:
    """Have what was just committed served: at once where that is quick, else by the thread for it.

    Raises:
        NotServed: it cannot be served now; what was committed stays.
    """
    if runtime.serving.immediate:
        reconcile(runtime)
    else:
        runtime.rollout.wake.set()


def reconcile(runtime: Runtime) -> str | None:
    """Apply the decision that is being applied, and make serving match the champion.

    Called at start and again and again. Calls are serialised, so the last one serves the last
    committed champion. Idempotent. A server that is away is no error: `Runtime.rollout.waiting`
    says what waits for it.

    Returns:
        The champion of the database.

    Raises:
        NotServed: the champion cannot be served, or its files are not those that were trained.
    """
    with runtime.reconciling:
        waiting = _apply_waiting(runtime)
        planned = arms.plan(runtime)
        if planned is not None:  # first, so that both arms begin as the champion takes over
            arms_file.publish(runtime.config.state_dir, planned)
        try:
            champion = _follow(runtime)
            if planned is None:  # last, so that the arms end as another champion takes over
                arms_file.publish(runtime.config.state_dir, None)
        except ServingAway as error:
            with runtime.store.read() as con:
                champion = adapters.champion(con)
            if champion is not None:  # else there is nothing that a server could answer with
                waiting = waiting or _waits_for("the champion", error)
        finally:
            runtime.rollout.waiting = waiting
    return champion


def _follow(runtime: Runtime) -> str | None:
    """Make serving match the champion in the database; returns it.

    A champion whose files are not those that were trained, or that no decision made, is not put
    into service, and neither is one that the server answers for otherwise than evaluated. What is
    in service stays, and `Runtime.unserved` names the problem until it is mended.

    Raises:
        NotServed: the link cannot be set, or the files are not those that were trained.
        ServingAway: the server cannot be reached now.
    """
    with runtime.store.read() as con:
        champion = adapters.champion(con)
        adapter = adapters.get(con, champion) if champion is not None else None
        unjudged = adapter_files.not_as_judged(con, adapter) if adapter else ""
    changed = adapter_files.problem(runtime.adapters_dir, adapter) if adapter else ""
    try:
        if changed or unjudged:
            raise NotServed(changed or unjudged, hint=adapter_files.MENDED)
        if runtime.forged:
            raise NotServed(runtime.forged, hint=championship.MENDED)
        _serve(runtime, adapter)
    except ServingAway:
        runtime.rollout.server = None
        raise
    except (FlywheelError, OSError) as error:
        runtime.unserved = f"the champion is not served as it was trained: {error}"
        hint = error.hint if isinstance(error, FlywheelError) else ""
        raise NotServed(runtime.unserved, hint=hint) from error
    runtime.unserved = ""
    return champion


def _serve(runtime: Runtime, adapter: Adapter | None) -> None:
    serving = runtime.serving
    if adapter is None or adapter.state == "external":  # after a restore, or a rollback
        serving.retire()
        if isinstance(serving, AskedServing):
            runtime.rollout.server = serving.state()
            runtime.rollout.problem = ""
        return
    if not isinstance(serving, AskedServing):
        serving.promote(adapter.id)
        return
    state = serving.state()
    if state.adapter != adapter.id:
        state = serving.prepare(adapter.id)
        if runtime.rollout.proved != (adapter.id, state.instance):  # a restore, or it began anew
            _refuse_unproved(runtime, adapter.id, serving, state)
    serving.promote(adapter.id)
    runtime.rollout.server = state = serving.state()
    if state.adapter != adapter.id:
        raise ServingAway(f"the server answers with {state.adapter or 'nothing'}")
    _ask_again(runtime, adapter.id, serving, state, runtime.rollout)
    _ask_other_arm(runtime, serving, state)


def _ask_other_arm(runtime: Runtime, serving: AskedServing, state: ServingState) -> None:
    """While a promotion is watched, the earlier champion answers too: it is asked as well."""
    planned = arms.plan(runtime)
    if planned is None or planned.earlier not in state.loaded:
        runtime.rollout.earlier = AskedAgain()
        return
    _ask_again(runtime, planned.earlier, serving, state, runtime.rollout.earlier)


# A decision that is being applied.


def _apply_waiting(runtime: Runtime) -> str:
    """Go on with the decision that is applying; return what it waits for, "" where none does."""
    with runtime.store.read() as con:
        decision = decisions.applying(con)
        adapter = adapters.get(con, decision.challenger) if decision else None
    if decision is None or adapter is None:
        return ""
    try:
        if isinstance(runtime.serving, AskedServing) and adapter.state != "external":
            refuse_unsafe(runtime, adapter)
            check = _checked(runtime, decision, runtime.serving)
        else:
            check = None  # [serving] kind is another one since; it takes over as that kind does
    except (ServingAway, JobFailed, Refused) as error:
        return _waits_for(decision.id, error)
    ended, outcome = _settle(runtime, decision, check)
    cancel_jobs(runtime, ended)
    runtime.wake.set()  # the diagnosis follows the champion
    if outcome == "applied" and check is not None:
        runtime.rollout.proved = (check.adapter, check.instance)
    elif isinstance(runtime.serving, AskedServing):
        runtime.serving.drop(decision.challenger)
    log.info("%s: %s", decision.id, outcome, extra=_fields("decision.settled", decision, check))
    return ""


def _checked(runtime: Runtime, decision: Decision, serving: AskedServing) -> ParityCheck:
    """Have the challenger loaded and asked; nothing is written.

    Raises:
        ServingAway, JobFailed, Refused: it could not be asked now, or there is nothing to ask.
    """
    try:
        state = serving.prepare(decision.challenger)
    except NotLoaded as error:
        nothing = ParityResult(adapter=decision.challenger, asked=0)
        return _of(runtime, decision.id, nothing, refused=error.message)
    return _round(
        runtime, decision.challenger, serving, state, seed=decision.challenger, decision=decision.id
    )


def _settle(
    runtime: Runtime, decision: Decision, check: ParityCheck | None
) -> tuple[list[str], str]:
    """Write what came of the check; return the turns that this ends, and the decision's status.

    A person's word in between stands: a decision that is no longer applying is left as it is. What
    no longer holds ends it, or leaves it to a person.
    """
    with runtime.store.write() as con:
        standing = decisions.get(con, decision.id)
        if standing.status != "applying":
            return [], standing.status
        if check is not None:
            parity_checks.add_check(con, check)
        if check is not None and not check.passed:
            because = _words(check)
            decisions.set_status(
                con, standing.id, "parity_failed", _PARITY, because, runtime.clock()
            )
            return [], "parity_failed"
    return _install(runtime, standing)


def _install(runtime: Runtime, decision: Decision) -> tuple[list[str], str]:
    """Make the proved challenger champion, with every precondition checked again."""
    try:
        with runtime.store.write() as con:
            adapter = adapters.get(con, decision.challenger)
            what = decisions.events(con, decision.id)[-1]["what"]
            overridden = promotion.overridden_in(what)
            because = decision.because
            return install(runtime, con, decision, decision.by, because, overridden), "applied"
    except Refused as refused:
        if runtime.forged or adapter_files.problem(runtime.adapters_dir, adapter):
            return [], "applying"  # people mend that, and the decision stands
        return _let_go(runtime, decision, refused)


def _let_go(runtime: Runtime, decision: Decision, refused: Refused) -> tuple[list[str], str]:
    """End a decision whose preconditions no longer hold, or leave it to a person who is asked."""
    now = runtime.clock()
    with runtime.store.write() as con:
        standing = decisions.get(con, decision.id)
        if standing.status != "applying":
            return [], standing.status
        if asked := _asks_more(runtime, con, standing):
            decisions.set_status(con, standing.id, "pending", standing.by, asked, now, _WAITS)
            return [], "pending"
        decisions.set_status(con, standing.id, "expired", _PARITY, refused.message, now)
    return [], "expired"


def _asks_more(runtime: Runtime, con: Connection, decision: Decision) -> str:
    """What [promotion] asks for since the decision was put forward; "" for nothing more."""
    table = runtime.config.promotion
    if decision.champion != adapters.champion(con) or decision.verdict == "rollback":
        return ""
    if decision.by in promotion.MACHINES:
        refused = promotion.refused_by(decisions.settling_events(con), decision.challenger)
        return promotion.asks_a_person(decision.champion, refused, table)
    standing = promotion.approvals(decisions.events(con, decision.id))
    few = promotion.people([*standing, decision.by]) < table.approvals
    return f"{table.approvals} people have to approve now" if few else ""


# Rounds of questions.


def _round(
    runtime: Runtime,
    adapter: str,
    serving: AskedServing,
    state: ServingState,
    *,
    seed: str,
    decision: str | None = None,
    complete: bool = True,
) -> ParityCheck:
    """Ask the server for evaluated answers of an adapter that it has loaded; nothing is written.

    Raises:
        ServingAway: it cannot be reached now, or began anew meanwhile.
        JobFailed: evaluated answers could not be made.
        Refused: there is nothing to ask by.
    """
    asked = evaluated_answers.to_ask(runtime, adapter, seed, complete=complete)
    if not asked:
        raise Refused(
            f"there is no text to ask the server for the answers of {adapter}",
            hint="it is proved by must-pass and dev samples: `flywheel samples import FILE`",
        )
    served = []
    for start in range(0, len(asked), _BATCH):
        if runtime.stopping.is_set():
            raise ServingAway("the daemon stops")
        served += serving.ask(adapter, [text for text, _ in asked[start : start + _BATCH]])
    after = serving.state()
    if after.instance != state.instance:
        raise ServingAway("the server began anew while it was asked")
    result = parity.compared(adapter, [answer for _, answer in asked], served)
    return _of(runtime, decision, result, state=state)


def _refuse_unproved(
    runtime: Runtime, adapter: str, serving: AskedServing, state: ServingState
) -> None:
    """Ask a champion of the database that the server does not serve, before it takes over."""
    try:
        check = _round(runtime, adapter, serving, state, seed=adapter)
    except (JobFailed, Refused) as error:
        raise NotServed(error.message, hint=error.hint) from error
    _record(runtime, check)
    if not check.passed:
        serving.drop(adapter)
        raise NotServed(
            f"{_words(check)}; {state.adapter or 'nothing'} goes on",
            hint="see `flywheel status`; a restart of `flywheel serve` loads it anew",
        )
    runtime.rollout.proved = (adapter, state.instance)


def _ask_again(
    runtime: Runtime,
    adapter: str,
    serving: AskedServing,
    state: ServingState,
    rollout: AskedAgain,
) -> None:
    """Ask what serves once more where that is due; a difference is told, and changes nothing."""
    now = runtime.clock()
    due = timedelta(minutes=runtime.config.serving.parity_minutes)
    due = min(due, _AGAIN) if rollout.problem else due
    last = rollout.asked_at if rollout.asked == (adapter, state.instance) else None
    if last is not None and now - last < due:
        return
    rollout.asked, rollout.asked_at = (adapter, state.instance), now
    try:
        seed = f"{adapter} {now.isoformat()}"
        check = _round(runtime, adapter, serving, state, seed=seed, complete=False)
    except (JobFailed, Refused) as error:  # what nobody could ask is not proved
        rollout.problem = f"{error.message} → {error.hint}" if error.hint else error.message
        return
    _record(runtime, check)
    rollout.problem = "" if check.passed else f"{_words(check)} → {_MENDED}"


def _record(runtime: Runtime, check: ParityCheck) -> None:
    """Write a round that belongs to no decision; where its outcome is another, an act tells so."""
    with runtime.store.write() as con:
        before = parity_checks.latest(con, adapter=check.adapter)
        parity_checks.add_check(con, check)
        failed_before = before is not None and not before.passed
        if check.passed and failed_before:
            _act(con, decisions.PARITY_PASSED, f"{check.adapter} answers as evaluated", check)
        elif not check.passed and not failed_before:
            _act(con, decisions.PARITY_FAILED, _words(check), check)


def _act(con: Connection, what: str, because: str, check: ParityCheck) -> None:
    decisions.record_act(con, what, _PARITY, because, check.at)
    level = logging.INFO if check.passed else logging.ERROR
    log.log(level, "%s", because, extra={"event": what, "adapter": check.adapter})


def _of(
    runtime: Runtime,
    decision: str | None,
    result: ParityResult,
    *,
    state: ServingState | None = None,
    refused: str = "",
) -> ParityCheck:
    return ParityCheck(
        adapter=result.adapter,
        decision=decision,
        engine=state.engine if state else "",
        instance=state.instance if state else "",
        asked=result.asked,
        differing=len(result.differences),
        at=runtime.clock(),
        refused=refused,
        differences=tuple(
            StoredDifference(
                sample=one.sample, what=one.what, evaluated=one.evaluated, served=one.served
            )
            for one in result.differences
        ),
    )


def _words(check: ParityCheck) -> str:
    """What a failed round found: numbers and the first sample's id, never a text."""
    if check.refused:
        return f"the server could not load {check.adapter}"
    first = check.differences[0]
    return (
        f"{check.adapter} answers otherwise than evaluated: {check.differing} of {check.asked} "
        f"texts, first {first.sample} ({first.what})"
    )


def _waits_for(what: str, error: FlywheelError) -> str:
    """What is not done yet, why, and what a person may do."""
    hint = f" → {error.hint}" if error.hint else ""
    return f"{what} waits: {error.message}{hint}; it is tried again by itself"


def _fields(event: str, decision: Decision, check: ParityCheck | None) -> dict[str, object]:
    asked = {"asked": check.asked, "differing": check.differing} if check else {}
    return {"event": event, "decision": decision.id, "adapter": decision.challenger, **asked}
