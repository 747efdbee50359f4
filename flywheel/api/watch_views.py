"""What `status` says of the watch: the two arms, and which harm to which intent would be seen."""

from __future__ import annotations

from dataclasses import asdict

from flywheel import promotion
from flywheel.api.personal import View
from flywheel.diagnosis import PER_YEAR
from flywheel.promotion import ArmCounts
from flywheel.promotion.watching import IntentTraffic, WatchVerdict
from flywheel.records import NONE, Decision
from flywheel.store import Connection, watches
from flywheel.store.watches import StoredWatch
from flywheel.turn import Runtime, arms, drift
from flywheel.turn.curate import window_start


class ArmView(View):
    """One of two champions that answer beside each other."""

    adapter: str
    answers: int
    keys: int  # people, else conversations, else requests
    corrected: int  # keys under which people corrected an answer


class SightView(View):
    """The smallest harm to an intent that would be seen, and after how many answers."""

    intent: str
    multiple: float  # of its corrected rate
    answers: int  # of both arms


class AlarmView(View):
    """What one alarm says of the traffic of the last whole week."""

    name: str  # input, intents, confidence, abstention
    raised: bool
    p: float  # raised at or below `level`
    level: float
    detail: str  # the category that moved most


class WatchView(View):
    """A new champion beside the earlier one."""

    mode: str  # off, report, rollback
    state: str  # off, idle, watching, harm
    decision: str | None  # that is or was watched last
    share: float  # of keys that the new champion answers
    since: str | None
    champion: ArmView | None  # None while nothing is watched
    earlier: ArmView | None
    e_value: float | None  # against "corrected as often as the earlier champion, or less"
    threshold: float  # of it: 1/alpha
    no_harm: float | None  # e-value against "corrected twice as often"
    proposal: str | None  # the rollback that waits for a person
    detail: str
    last: str  # how the last watch ended; "" where none has
    sees: list[SightView]
    unseen: list[str]  # intents to which no harm would be seen
    alarms: list[AlarmView]  # on traffic; those with too little to compare are left out
    false_alarms_per_year: float  # of each of them, where traffic does not change


def watch_view(runtime: Runtime, con: Connection) -> WatchView:
    """What the watch says now."""
    table = runtime.config.watch
    latest = watches.latest(con)
    open_one = latest if latest and latest.outcome is None else None
    verdict: WatchVerdict | None = None
    counts: list[ArmCounts] = []
    if open_one is not None:
        verdict, counts = arms.judged(runtime, con, open_one)
    share = open_one.share if open_one else runtime.config.serving.canary
    sees, unseen = _sights(runtime, con, share)
    arms_seen = [_arm(one) for one in counts]
    return WatchView(
        mode=table.mode,
        state=_state(table.mode, open_one, verdict),
        decision=latest.decision if latest else None,
        share=share,
        since=open_one.began_at.isoformat() if open_one else None,
        champion=arms_seen[0] if arms_seen else None,
        earlier=arms_seen[1] if arms_seen else None,
        e_value=verdict.e_value if verdict else None,
        threshold=1 / table.alpha,
        no_harm=verdict.no_harm if verdict else None,
        proposal=open_one.proposal if open_one else None,
        detail=verdict.detail if verdict else "",
        last=f"{latest.outcome}: {latest.because}" if latest and latest.outcome else "",
        sees=sees,
        unseen=unseen,
        alarms=[AlarmView(**asdict(one)) for one in runtime.drift.alarms],
        false_alarms_per_year=PER_YEAR,
    )


def may_roll_back(runtime: Runtime, decision: Decision) -> str:
    """What is said of a promotion where a person set mode "rollback"; "" elsewhere."""
    settled = decision.status in ("rejected", "expired")
    if runtime.config.watch.mode != "rollback" or decision.verdict == "rollback" or settled:
        return ""
    return 'the watch may roll it back by itself, whoever approved: [watch] mode = "rollback"'


def watch_problems(runtime: Runtime, view: WatchView) -> list[str]:
    """Harm that was seen, and alarms on traffic, as problems; empty without."""
    changed = [drift.words(one) for one in runtime.drift.alarms if one.raised]
    if view.state != "harm":
        return changed
    waits = f"`flywheel review show {view.proposal}`" if view.proposal else "`flywheel log`"
    return [f"the new champion does harm: {view.detail} → {waits}", *changed]


def _state(mode: str, watch: StoredWatch | None, verdict: WatchVerdict | None) -> str:
    if watch is None:
        return "off" if mode == "off" else "idle"
    return "harm" if verdict and (verdict.harmed or watch.proposal) else "watching"


def _arm(counts: ArmCounts) -> ArmView:
    return ArmView(
        adapter=counts.adapter,
        answers=counts.answers,
        keys=counts.keys,
        corrected=counts.corrected,
    )


def _sights(runtime: Runtime, con: Connection, share: float) -> tuple[list[SightView], list[str]]:
    """What the traffic of the window lets a watch see; nothing while it is off."""
    if runtime.config.watch.mode == "off" or not share:
        return [], []
    found = watches.by_intent(con, window_start(runtime, con))
    by_name = {one.intent: one for one in found}
    traffic = [
        IntentTraffic(
            intent=name,
            answers=by_name[name].answers if name in by_name else 0,
            corrected=by_name[name].corrected if name in by_name else 0,
        )
        for name in sorted(runtime.known_intents)
        if name != NONE or name in by_name
    ]
    keys = sum(one.keys for one in found)
    seen = promotion.sight(traffic, keys, share, runtime.config.watch)
    return (
        [
            SightView(intent=one.intent, multiple=one.multiple, answers=one.answers)
            for one in seen
            if one.multiple is not None and one.answers is not None
        ],
        [one.intent for one in seen if one.multiple is None],
    )
