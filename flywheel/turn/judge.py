"""Steps 6 and 7: run the gates on the evidence, and record the decision."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flywheel import gates, promotion
from flywheel.config import PromotionTable
from flywheel.content import content_id
from flywheel.records import Decision
from flywheel.store import Connection, adapters, decisions, golden_set, turns
from flywheel.store.turns import Turn
from flywheel.turn import evidence
from flywheel.turn.apply import replace_waiting
from flywheel.turn.artifacts import dataset_rows
from flywheel.turn.runtime import Runtime, StepResult


def gate(runtime: Runtime, turn: Turn) -> StepResult:
    """Run the gates; the query of the golden set is recorded before its answer is read."""
    used = _write_query(runtime, turn)
    with runtime.store.read() as con:
        report = evidence.last_report(con, turn)
        gathered = evidence.gathered(runtime, con, turn, report, used)
        revision = adapters.last_revision(con, turn.id)
    judgement = gates.judge(gathered, runtime.config.gates, runtime.custom_gates)
    ledger, hygiene = gathered.ledger, gathered.hygiene
    assert ledger is not None
    assert hygiene is not None
    return StepResult(
        next_state="decide",
        detail=", ".join(f"{line.gate} {line.verdict}" for line in judgement.gates),
        outputs=lambda record: replace(
            record,
            judgement=evidence.JUDGEMENT.dump_python(judgement, mode="json"),
            evidence=evidence.EVIDENCE.dump_python(evidence.bare(gathered), mode="json"),
            revision=revision,
            seal=hygiene.sealed_hash,
            generation=ledger.generation,
            queries=(ledger.used, ledger.capacity),
            rules=_rules(runtime),
        ),
    )


def _write_query(runtime: Runtime, turn: Turn) -> int:
    """Record this turn's query of the golden set; return the number of other queries before it."""
    challenger, champion = turn.record.challenger, turn.record.champion
    rule = runtime.config.gates.overall
    with runtime.store.write() as con:
        generation = golden_set.current_generation(con)
        if generation is None:
            raise LookupError("the golden set vanished between evaluation and judgement")
        ledger = golden_set.queries(con, generation.number)
        used = sum(1 for row in ledger if row["challenger"] != challenger)
        dev = evidence.of(evidence.last_report(con, turn), "dev")
        asks = bool(champion) and used == len(ledger) and used < rule.queries
        if asks and gates.prescreen(dev, rule) is None:
            golden_set.write_query(
                con, generation.number, turn.id, challenger, "overall", runtime.clock()
            )
    return used


def decide(runtime: Runtime, turn: Turn) -> StepResult:
    """Turn the judgement into a decision: applied next, waiting for a person, or refused."""
    judgement = evidence.JUDGEMENT.validate_python(turn.record.judgement)
    table = runtime.config.promotion  # a reload may replace it while this runs
    with runtime.store.read() as con:
        identity = decisions.next_id(con)
        report = evidence.last_report(con, turn)
        situation = replace(
            _situation(runtime, con, turn), beyond=judgement.beyond, group=judgement.group
        )
        trained = adapters.get(con, turn.record.challenger).files
    ruling = promotion.decide(judgement, table, situation)
    grounds = _grounds(runtime, turn, situation, table)
    decision = Decision(
        id=identity,
        turn=turn.id,
        challenger=turn.record.challenger,
        champion=situation.champion,
        verdict=ruling.verdict,
        status=ruling.status,
        by=ruling.by,
        because=ruling.because,
        at=runtime.clock(),
        gates=judgement.gates,
        intents=judgement.intents,
        rests_on={
            **_rests_on(turn, ruling, evidence.digest(grounds, report)),
            decisions.FILES: content_id("files", trained),
        },
    )
    applies = ruling.verdict == "promote" and not ruling.person

    def writes(con: Connection) -> None:
        _record(con, turn, decision)
        decisions.add_grounds(con, identity, turn.id, turn.record.revision, grounds)

    following = "apply" if applies else ("done" if ruling.verdict == "reject" else "held")
    return StepResult(
        next_state=following,
        detail=f"{decision.id}: {ruling.verdict}: {ruling.because}",
        outputs=lambda record: replace(
            record, decision=identity, labels_wanted=judgement.labels_wanted
        ),
        writes=writes,
    )


def _situation(runtime: Runtime, con: Connection, turn: Turn) -> promotion.Situation:
    champion = turn.record.champion  # the one compared with, even if another serves now
    trained_intents = _trained_intents(runtime, con, champion)
    report = evidence.last_report(con, turn)
    shown = turn.record.evidence
    doubted = {*shown["disputed"], *(shown.get("doubted") or ())}
    return promotion.Situation(
        champion=champion,
        new_intents=tuple(sorted(_renamed_or_new(runtime, trained_intents))) if champion else (),
        labels_asked_this_turn=sum(turn.record.asked.values()),
        disputed=tuple(
            sorted(
                row.sample
                for row in evidence.of(report, "golden")
                if row.must_pass and row.sample in doubted and not row.challenger_correct
            )
        ),
        feedback_change=evidence.feedback_change(report),
        refused=promotion.refused_by(decisions.settling_events(con), turn.record.challenger),
    )


def _grounds(
    runtime: Runtime, turn: Turn, situation: promotion.Situation, table: PromotionTable
) -> dict[str, Any]:
    """Inputs of the decision besides the outcomes, stored so that `verify` can recompute it."""
    return {
        "evidence": turn.record.evidence,
        **(turn.record.rules or _rules(runtime)),  # a restart since may have brought others
        "promotion": evidence.PROMOTION.dump_python(table, mode="json"),
        "situation": evidence.SITUATION.dump_python(situation, mode="json"),
    }


def _rules(runtime: Runtime) -> dict[str, Any]:
    """Configuration of the gates, and the source code of plug-in gates."""
    return {
        "gates": evidence.RULES.dump_python(runtime.config.gates, mode="json"),
        "plugins": {custom_gate.name: custom_gate.source for custom_gate in runtime.custom_gates},
    }


def _record(con: Connection, turn: Turn, decision: Decision) -> None:
    """Store the decision, and expire the pending decisions that it replaces.

    A rejection replaces only earlier decisions of its own turn. The champion does not change here,
    so other open turns continue.
    """
    waiting = decisions.list_decisions(con, status="pending")
    if decision.verdict == "reject":
        waiting = [pending for pending in waiting if pending.turn == turn.id]
    replace_waiting(con, waiting, decision.id, "gates", decision.at, turn.id)
    decisions.add(con, decision)
    turns.set_decision(con, turn.id, decision.id)
    if decision.verdict == "reject":
        adapters.set_state(con, decision.challenger, "rejected")


def _trained_intents(runtime: Runtime, con: Connection, champion: str | None) -> frozenset[str]:
    """Intents in the champion's dataset; empty when that is not known."""
    dataset = adapters.get(con, champion).dataset if champion else ""
    rows = dataset_rows(runtime.datasets_dir / f"{dataset}.parquet")
    return frozenset(row["intent"] for row in rows)


def _renamed_or_new(runtime: Runtime, trained_intents: frozenset[str]) -> set[str]:
    return (
        {intent.name for intent in runtime.intents} - trained_intents if trained_intents else set()
    )


def _look(turn: Turn) -> str:
    """The word beside what few raters taught, where a person has to look at it."""
    rules = turn.record.rules
    if not rules:
        return ""
    shown = evidence.EVIDENCE.validate_python(turn.record.evidence).changed
    return gates.look_code(shown, evidence.RULES.validate_python(rules["gates"]).changed_answers)


def _rests_on(turn: Turn, ruling: promotion.Ruling, digest: str) -> dict[str, str]:
    record = turn.record
    used, capacity = record.queries
    waits = "nobody" if ruling.status == "rejected" else "labels"
    if ruling.person:
        waits = "a person"
    elif ruling.verdict == "promote":
        waits = "nobody"
    look = _look(turn)
    return {
        "golden_seal": record.seal,
        "golden_generation": str(record.generation),
        "golden_queries": f"{used + bool(record.champion)} of {capacity} asked",
        "dataset": record.dataset,
        "challenger": record.challenger,
        "champion": record.champion or "",
        "waits_for": waits,
        **({"look": look} if look else {}),
        "evidence": digest,
        "notes": "; ".join(record.judgement["notes"] if record.judgement else ()),
    }
