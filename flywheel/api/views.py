"""What people and programs see of the loop: the JSON of the commands and the routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from flywheel import __version__, diagnosis, gates
from flywheel.api import (
    evidence_views,
    health_views,
    review,
    rollout_views,
    traffic_views,
    watch_views,
)
from flywheel.api.health_views import IntentView
from flywheel.api.responses import (
    AdapterView,
    ArchiveView,
    AuditView,
    BacklogView,
    BriefView,
    DecisionDetailView,
    DecisionEventView,
    DecisionView,
    GateView,
    GoldenSetView,
    InputView,
    LoadedView,
    ProgressView,
    PromptedBriefView,
    RedoView,
    SourceView,
    StatusView,
    StepView,
    SynthesisView,
    TurnDetailView,
    TurnLineView,
    TurnView,
)
from flywheel.api.review import moved, offers, report_of, training
from flywheel.api.watch_views import WatchView
from flywheel.label_queue import label_state
from flywheel.records import NONE, Adapter, Brief, Decision
from flywheel.store import (
    Connection,
    adapters,
    archive,
    decisions,
    events,
    golden_set,
    health,
    retired,
    samples,
    scores,
    turns,
)
from flywheel.store.golden_set import Generation
from flywheel.store.turns import Turn
from flywheel.turn import answered_anew, control, diagnose
from flywheel.turn.diagnose import intent_health, wanted
from flywheel.turn.evidence import of
from flywheel.turn.runtime import Runtime

_LISTED = 50  # newest turns and decisions in a listing


def intents(
    runtime: Runtime, *, failing_only: bool = False, scope: health.HealthScope = health.EVERYTHING
) -> list[IntentView]:
    """Health of each intent with its interval, the worst first; `audit`: by labels of texts that
    were drawn by lot; `pending`: what today's champion was not asked yet is in no figure."""
    with runtime.store.read() as con:
        found = intent_health(runtime, con, runtime.clock(), scope)
        unknown: tuple[diagnosis.UnknownName, ...] = ()
        waiting = answered_anew.Waiting(champion=scope.adapter)
        if scope == health.EVERYTHING:
            waiting = answered_anew.waiting(runtime, con)
            tallies = diagnose.recent_tallies(runtime, con, runtime.clock())
            unknown = diagnosis.unknown_names(tallies, runtime.intents)
    confidence = runtime.config.intents.confidence
    known = [
        health_views.intent_view(
            item, confidence, waiting.champion, waiting.by_intent.get(item.intent, 0)
        )
        for item in found
        if item.failing or not failing_only
    ]
    return known if failing_only else [*known, *map(health_views.unknown_view, unknown)]


def turns_view(runtime: Runtime) -> list[TurnView]:
    """The newest turns, newest first."""
    with runtime.store.read() as con:
        listed = turns.list_turns(con, _LISTED)
        return [TurnView(**_turn(runtime, con, turn)) for turn in listed]


def turn_view(runtime: Runtime, turn_id: str) -> TurnDetailView:
    """One turn with its steps.

    Raises:
        NotFound: no such turn.
    """
    with runtime.store.read() as con:
        turn = turns.get(con, turn_id)
        view = _turn(runtime, con, turn)
    record = turn.record
    return TurnDetailView(
        **view,
        briefs=[BriefView(**_brief_fields(brief), usd=brief.usd) for brief in record.briefs],
        written=dict(record.written),
        refused=dict(record.refused),
        noise=dict(record.noise),
        held_out=dict(record.held_out),
        raters=dict(record.raters),
        spread=dict(record.spread),
        dataset=record.dataset or None,
        challenger=record.challenger or None,
        labels_wanted=dict(record.labels_wanted),
    )


def decisions_view(runtime: Runtime) -> list[DecisionView]:
    """The newest decisions, newest first."""
    with runtime.store.read() as con:
        listed = decisions.list_decisions(con, limit=_LISTED)
    return [DecisionView(**_decision(one, runtime), intents=one.intents) for one in listed]


def decision_view(runtime: Runtime, decision_id: str) -> DecisionDetailView:
    """One decision with what a person needs to judge it.

    Raises:
        NotFound: no such decision.
    """
    with runtime.store.read() as con:
        decision = decisions.get(con, decision_id)
        turn = turns.get(con, decision.turn) if decision.turn else None
        report = report_of(con, decision)
        golden = of(report, "golden") if report else ()
        fixed, broken = moved(con, report)
        return DecisionDetailView(
            **_decision(decision, runtime),
            intents=review.intent_lines(decision.intents, golden),
            golden=review.golden(golden),
            slices=review.slices(golden),
            calibration=review.calibration(golden),
            confusions=review.confusions(golden),
            would=_would(runtime, decision),
            watched=watch_views.may_roll_back(runtime, decision),
            summary=_summary(decision),
            fixed=fixed,
            broken=broken,
            training=training(runtime, con, decision, turn),
            parity=rollout_views.parity_view(con, decision),
            changed=review.changed(turn, runtime.config.gates.changed_answers),
            labels_wanted=labels_wanted(con, [decision]) if decision.status == "pending" else {},
            ahead=evidence_views.ahead(con, decision, turn),
            generation=evidence_views.generation_view(runtime, con),
            rests_on=dict(decision.rests_on),
            offers=offers(runtime, con, decision),
            events=[DecisionEventView(**event) for event in decisions.events(con, decision_id)],
        )


def adapters_view(runtime: Runtime) -> list[AdapterView]:
    """Every adapter, newest first."""
    with runtime.store.read() as con:
        return [_adapter(item) for item in adapters.list_adapters(con)]


def _turn(runtime: Runtime, con: Connection, turn: Turn) -> dict[str, Any]:
    """Fields of a `TurnView`."""
    return {
        **_line_of_turn(turn, runtime),
        "closed_at": turn.closed_at.isoformat() if turn.closed_at else None,
        "error": turn.error,
        "steps": [
            StepView(name=step.name, state=step.state, seconds=step.seconds, detail=step.detail)
            for step in turns.steps(con, turn.id)
        ],
    }


def _line_of_turn(turn: Turn, runtime: Runtime) -> dict[str, Any]:
    """Fields of a `TurnLineView`."""
    return {
        "id": turn.id,
        "state": turn.state,
        "trigger": turn.trigger,
        "opened_at": turn.opened_at.isoformat(),
        "cost_usd": turn.cost_usd,
        "decision": turn.decision,
        "progress": _progress(turn, runtime),
    }


def _progress(turn: Turn, runtime: Runtime) -> ProgressView | None:
    job = {
        "curate": f"{turn.id}-crossfit",
        "train": f"{turn.id}-train",
        "evaluate": f"{turn.id}-evaluate-{turn.record.round}",
    }.get(turn.state)
    latest = runtime.jobs.progress(job) if job else None
    if latest is None:
        return None
    return ProgressView(done=latest.done, detail=latest.detail, eta_s=latest.eta_s)


def _decision(decision: Decision, runtime: Runtime) -> dict[str, Any]:
    """Fields of a `DecisionView`, the intents aside."""
    return {
        "id": decision.id,
        "turn": decision.turn,
        "challenger": decision.challenger,
        "champion": decision.champion,
        "verdict": decision.verdict,
        "status": decision.status,
        "waits_for": _waits_for(decision, runtime),
        "by": decision.by,
        "because": decision.because,
        "at": decision.at.isoformat(),
        "gates": [
            GateView(**asdict(line), measures=gates.measures(line.gate)) for line in decision.gates
        ],
    }


def _waits_for(decision: Decision, runtime: Runtime) -> str | None:
    """Labels, a person or the server. The gates may have left it to nobody: who has the word can
    change."""
    if decision.status == "applying":
        return rollout_views.waits_for_server(runtime, decision)
    if decision.status != "pending":
        return None
    waits = decision.rests_on.get("waits_for")
    return "a person" if waits == "nobody" else waits


def _adapter(adapter: Adapter) -> AdapterView:
    return AdapterView(
        id=adapter.id,
        base=adapter.base,
        recipe=adapter.recipe,
        dataset=adapter.dataset,
        parent=adapter.parent,
        created_at=adapter.created_at.isoformat(),
        state=adapter.state,
        metrics=dict(adapter.metrics),
        files=dict(adapter.files),
    )


def _summary(decision: Decision) -> str:
    """The verdict in one sentence."""
    if decision.verdict == "rollback":
        way = f"from {decision.champion} to {decision.challenger}"
        return f"Rolled back {way}." if decision.status == "applied" else _going_back(decision, way)
    failed = any(line.verdict == "FAIL" for line in decision.gates)
    said = {
        ("promote", "applied"): "was promoted",
        ("promote", "applying"): "passed the gates and is being applied",
        ("promote", "pending"): "passed the gates and waits for a person",
        ("hold", "pending"): "is held until a person decides"
        if decision.champion is None or failed
        else "is held: the evidence does not decide yet",
        ("hold", "applied"): "was promoted by a person",
        ("reject", "rejected"): "was refused",
        ("reject", "pending"): "was refused by the gates and waits for another person's approval",
        ("reject", "applied"): "was refused by the gates and promoted by a person",
    }.get((decision.verdict, decision.status), _OTHERWISE.get(decision.status, "")) or (
        f"is {decision.status}"
    )
    because = decision.because.rstrip(".")
    return f"{decision.challenger} {said}. {because[:1].upper()}{because[1:]}."


_OTHERWISE = {
    "applying": "was approved and is being applied",
    "parity_failed": "was not put into service: its server answered otherwise than evaluated",
}


def _going_back(decision: Decision, way: str) -> str:
    """A rollback that is not applied."""
    said = "is being applied" if decision.status == "applying" else f"is {decision.status}"
    because = decision.because.rstrip(".")
    return f"The rollback {way} {said}. {because[:1].upper()}{because[1:]}."


def _would(runtime: Runtime, decision: Decision) -> str:
    """What approving it would do; "" once there is nothing left to decide."""
    if decision.status != "pending":
        return ""
    replaced = f"{decision.champion} is retired and can be brought back by a rollback"
    if decision.champion is None:
        replaced = "it is the first champion"
    missing = [line.gate for line in decision.gates if line.verdict != "PASS"]
    without = f" Gates that did not pass: {', '.join(missing)}." if missing else ""
    moved = f"The link adapters/champion moves to {decision.challenger}"
    if runtime.config.serving.kind == "directory":
        moved = f"{decision.challenger} is put into [serving] directory"
    elif runtime.config.serving.kind != "link":
        moved = (
            f"The server is asked for the answers of {decision.challenger}; where all are those "
        )
        moved += "that were evaluated, it serves"
    return f"{moved}; {replaced}.{without}"


def labels_wanted(con: Connection, waiting: Sequence[Decision]) -> dict[str, int]:
    """Labels, by intent, that would decide what waits."""
    wanted: dict[str, int] = {}
    for decision in waiting:
        if decision.turn and turns.get(con, decision.turn).decision == decision.id:
            wanted.update(turns.get(con, decision.turn).record.labels_wanted)
    return wanted


# What the daemon is doing, what waits for a person, and what is wrong: the answer of `status`.


def status(
    runtime: Runtime,
    *,
    uptime_s: float,
    next_turn: str | None,
    sources: Sequence[Mapping[str, Any]] = (),
    problems: Sequence[str] = (),
    loaded: events.Stored | None = None,
    proved_at: datetime | None = None,
) -> StatusView:
    """What the daemon is doing, and what waits for a person."""
    with runtime.store.read() as con:
        archived = archive.archived(con)
        generation = golden_set.current_generation(con)
        learned = retired.counts(con, generation.number) if generation else {}
        running = turns.open_turns(con)
        waiting = decisions.list_decisions(con, status="pending")
        champion = adapters.champion(con)
        backlog = _backlog(con, waiting)
        serving = rollout_views.serving_view(runtime, con)
        watch = watch_views.watch_view(runtime, con)
        audit = AuditView(**label_state.audited_accuracy(runtime, con))
        asked = health_views.health_status(answered_anew.waiting(runtime, con), runtime.unasked)
        first, costs = traffic_views.of_traffic(runtime, con)
        came, unusual = _input(runtime, con, loaded)
        found = [*problems, *_problems(runtime, con, champion, watch), *unusual]
    return StatusView(
        version=__version__,
        uptime_s=round(uptime_s, 1),
        champion=champion,
        first_champion=first,
        turn=TurnLineView(**_line_of_turn(running[0], runtime)) if running else None,
        next_turn=next_turn,
        backlog=backlog,
        audit=audit,
        health=asked,
        costs=costs,
        sources=[SourceView(**source) for source in sources],
        serving=serving,
        watch=watch,
        archive=_archive(runtime, archived),
        redo=RedoView.of(runtime.store, proved_at),
        golden=_golden(runtime, generation, sum(learned.values())),
        input=came,
        overrides=list(runtime.config.overrides),
        problems=found,
    )


def _archive(runtime: Runtime, archived: archive.Archived) -> ArchiveView:
    return ArchiveView(
        predictions=archived.predictions,
        feedback=archived.feedback,
        files=archived.files,
        before=archived.before.isoformat() if archived.before else None,
        keep_days=runtime.config.flywheel.keep_days,
    )


def _golden(runtime: Runtime, generation: Generation | None, learned: int) -> GoldenSetView:
    if generation is None:
        return GoldenSetView(generation=None, rows=0, queries_left=0)
    left = runtime.config.gates.overall.queries - generation.queries_used
    return GoldenSetView(
        generation=generation.number,
        rows=generation.rows,
        queries_left=max(0, left),
        learned=learned,
    )


def _input(
    runtime: Runtime, con: Connection, loaded: events.Stored | None
) -> tuple[InputView, list[str]]:
    """What is special of the events that came in, and what of it is a problem."""
    tallies = diagnose.recent_tallies(runtime, con, runtime.clock())
    unknown = diagnosis.unknown_names(tallies, runtime.intents)
    seen, counted = scores.totals(con)
    view = InputView(
        loaded=LoadedView(new=loaded.new, known=loaded.known, conflicts=loaded.conflicts)
        if loaded
        else None,
        none_share=diagnosis.none_share(tallies),
        unknown=[one.intent for one in unknown],
        unknown_labels={one.intent: one.labels for one in unknown if one.labels},
        scores=seen,
        scores_counted=counted,
    )
    found = diagnosis.input_problems(tallies, runtime.intents, _usual_none(con))
    return view, list(map(str, found))


def _usual_none(con: Connection) -> float | None:
    """The share of `none` among golden samples; None without any."""
    counts = [row for row in samples.stats(con) if row["split"] == "golden"]
    total = sum(row["count"] for row in counts)
    none = sum(row["count"] for row in counts if row["intent"] == NONE)
    return none / total if total else None


def _backlog(con: Connection, waiting: Sequence[Decision]) -> BacklogView:
    counts = events.counts(con)
    return BacklogView(
        predictions=counts.predictions,
        feedback=counts.feedback,
        labelled=counts.labelled,
        waiting_feedback=counts.waiting_feedback,
        rejected=counts.rejected,
        id_conflicts=events.id_conflicts(con),
        labels_wanted=labels_wanted(con, waiting),
        held=[decision.id for decision in waiting],
    )


def _problems(
    runtime: Runtime, con: Connection, champion: str | None, watch: WatchView
) -> list[str]:
    found = watch_views.watch_problems(runtime, watch)
    lacks = control.missing(runtime.config, con)
    found += [f"no turn can be opened: {each}" for each in lacks]
    decided = decisions.applying(con) or any(
        decisions.list_decisions(con, status=status) for status in ("pending", "parity_failed")
    )
    if champion is None and not lacks and not decided:  # else that decision is what to look at
        found.append("no champion yet: `flywheel turn start --wait`")
    latest = turns.list_turns(con, 1)
    if latest and latest[0].state == "failed":
        found.append(f"{latest[0].id} failed: {latest[0].error}")
    return found


# What a turn would ask its teacher now, and what that would cost. Buys and writes nothing.


def preview(runtime: Runtime) -> SynthesisView:
    """Return the prompts of the next turn as they would leave the machine, with estimates."""
    with runtime.store.read() as con:
        _, briefs = wanted(runtime, con)
    prompted = [_prompted(runtime, brief) for brief in briefs]
    return SynthesisView(
        requests=sum(len(brief.prompts) for brief in prompted),
        samples=sum(brief.ask for brief in prompted),
        usd=round(sum(brief.usd or 0.0 for brief in prompted), 6),
        max_usd=runtime.config.synthesis.max_usd,
        briefs=prompted,
    )


def _prompted(runtime: Runtime, brief: Brief) -> PromptedBriefView:
    requests, usd = diagnose.of_brief(runtime, brief)
    return PromptedBriefView(
        **_brief_fields(brief),
        usd=round(usd, 6),
        prompts=[request.messages[-1]["content"] for request in requests],
    )


def _brief_fields(brief: Brief) -> dict[str, Any]:
    return {
        "intent": brief.intent.name,
        "neighbour": brief.neighbour.name if brief.neighbour else None,
        "failure": brief.failure,
        "ask": brief.ask,
        "expected": brief.expected,
        "why": brief.why,
    }
