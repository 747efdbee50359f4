"""Two champions beside each other after a promotion, and what the watch decides of them.

A promotion opens a watch in its own transaction; whatever changes the champion ends it. While it is
open, `flywheel serve` answers a share of keys with the new champion and the others with the earlier
one (`serving.arms_file`). `look` reads what production said since: harm is rolled back or proposed,
by mode, and in the end the new champion answers everything.
"""

from __future__ import annotations

import json
import logging
from datetime import datetime

from flywheel import promotion
from flywheel.config.load import WITH_ARMS
from flywheel.promotion import ArmCounts, ArmPlan, Bet, WatchVerdict
from flywheel.records import Decision
from flywheel.store import Connection, adapters, decisions, watches
from flywheel.store.watches import StoredWatch, WrongKey
from flywheel.turn import adapter_files
from flywheel.turn.runtime import Runtime

log = logging.getLogger(__name__)

ENDED = "watch.ended"
"""The same, once a watch ended without harm."""


def follow_champion(
    runtime: Runtime, con: Connection, decision: Decision, earlier: str | None, now: datetime
) -> None:
    """End the watch of the champion before, and open one of the new champion where that can be.

    Args:
        runtime: the loop.
        con: the transaction that made the new champion.
        decision: by which it did.
        earlier: champion until then.
        now: time of the change, UTC.
    """
    before = watches.current(con)
    if before is not None:
        harm = decision.by == promotion.WATCH or decision.id == before.proposal
        because = f"{decision.id} made {decision.challenger} the champion"
        watches.end(con, before.number, "harm" if harm else "replaced", because, now)
        earlier = before.earlier  # of a champion that was not cleared, the one before it
    if decision.verdict == "rollback" or earlier is None or not _can_watch(runtime):
        return
    if why := _no_arm(runtime, con, decision.challenger, earlier):
        log.warning(
            "%s is not watched: %s", decision.challenger, why, extra={"event": "watch.no_arm"}
        )
        return
    watches.begin(
        con,
        decision=decision.id,
        champion=decision.challenger,
        earlier=earlier,
        share=runtime.config.serving.canary,
        salt=f"{decision.id} {now.isoformat()}",
        at=now,
    )


def _can_watch(runtime: Runtime) -> bool:
    serving = runtime.config.serving
    return runtime.config.watch.mode != "off" and serving.kind in WITH_ARMS and bool(serving.canary)


def _no_arm(runtime: Runtime, con: Connection, champion: str, earlier: str) -> str:
    """Why these two cannot answer beside each other; "" where they can."""
    if champion == earlier:
        return "it is the earlier champion itself"
    found = adapters.get(con, earlier)
    if found.state == "external":
        return f"{earlier} is known by its answers alone, and cannot answer"
    if refused := promotion.barred(decisions.settling_events(con), earlier):
        return refused
    if changed := adapter_files.problem(runtime.adapters_dir, found):
        return changed
    if _labels(runtime, champion) != _labels(runtime, earlier):
        return f"{earlier} knows other intents"
    return ""


def _labels(runtime: Runtime, adapter: str) -> list[str]:
    """Intents that an adapter can answer, by its own file, sorted."""
    try:
        facts = json.loads((runtime.adapters_dir / adapter / "flywheel.json").read_bytes())
    except (OSError, ValueError):
        return []
    return sorted(map(str, facts.get("labels") or ()))


def plan(runtime: Runtime) -> ArmPlan | None:
    """Return by which plan the server is to answer; None: with the champion alone."""
    if runtime.config.serving.kind not in WITH_ARMS:
        return None
    with runtime.store.read() as con:
        watch = watches.current(con)
        if watch is None or watch.champion != adapters.champion(con):
            return None
        why = _no_arm(runtime, con, watch.champion, watch.earlier)
    if why:
        log.error("the champion answers alone: %s", why, extra={"event": "watch.no_arm"})
        return None
    return _plan(watch)


def _plan(watch: StoredWatch) -> ArmPlan:
    return ArmPlan(
        champion=watch.champion, earlier=watch.earlier, share=watch.share, salt=watch.salt
    )


def judged(
    runtime: Runtime, con: Connection, watch: StoredWatch
) -> tuple[WatchVerdict, list[ArmCounts]]:
    """What the watch says now, of the new champion and the earlier one.

    An answer whose arm is not the one that the lot gives its key was not given by this plan, and
    is no bet.
    """
    lot, volumes = _plan(watch), {one.arm: one for one in watches.volumes(con, watch)}
    corrections = _drawn(lot, watches.corrected(con, watch))
    audit = _drawn(lot, watches.audited(con, watch))
    counts = [
        ArmCounts(
            adapter=adapter,
            answers=volumes[arm].answers if arm in volumes else 0,
            keys=volumes[arm].keys if arm in volumes else 0,
            corrected=sum(bet.new is (arm == promotion.NEW) for bet in corrections),
        )
        for arm, adapter in (
            (promotion.NEW, watch.champion),
            (promotion.EARLIER, watch.earlier),
        )
    ]
    return promotion.watch(counts, corrections, audit, runtime.config.watch), counts


def _drawn(lot: ArmPlan, wrong: list[WrongKey]) -> list[Bet]:
    return [
        Bet(one.arm == promotion.NEW, one.nth, lot.share)
        for one in wrong
        if lot.gives_new(one.key) is (one.arm == promotion.NEW)
    ]
