"""Steps 6 and 7: hold the challenger against the gates, and say what follows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter

from flywheel import gates, promotion
from flywheel.config import PromotionTable
from flywheel.records import Decision
from flywheel.store import Connection, adapters, decisions, golden_set, reports, turns
from flywheel.store.turns import Turn
from flywheel.turn import evidence
from flywheel.turn.apply import replace_waiting
from flywheel.turn.artifacts import dataset_rows
from flywheel.turn.runtime import Runtime, StepResult

_JUDGEMENT = TypeAdapter(gates.Judgement)


def gate(runtime: Runtime, turn: Turn) -> StepResult:
    """Judge the evidence; the query to the golden set is on record before its answer is read."""
    used = _write_query(runtime, turn)
    with runtime.store.read() as con:
        report = evidence.last_report(con, turn)
        shown = evidence.gathered(runtime, con, turn, report, used)
        revision = reports.last_revision(con, turn.id)
    judgement = gates.judge(shown, runtime.config.gates, runtime.custom_gates)
    ledger, hygiene = shown.ledger, shown.hygiene
    assert ledger is not None
    assert hygiene is not None
    return StepResult(
        next_state="decide",
        detail=", ".join(f"{line.gate} {line.verdict}" for line in judgement.gates),
        outputs=lambda record: replace(
            record,
            judgement=_JUDGEMENT.dump_python(judgement, mode="json"),
            evidence=evidence.EVIDENCE.dump_python(evidence.bare(shown), mode="json"),
            revision=revision,
            seal=hygiene.sealed_hash,
            generation=ledger.generation,
            queries=(ledger.used, ledger.capacity),
            rules=_rules(runtime),
        ),
    )


def _write_query(runtime: Runtime, turn: Turn) -> int:
    """Put this turn's question into the ledger; returns how many others were asked before."""
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
    judgement = _JUDGEMENT.validate_python(turn.record.judgement)
    table = runtime.config.promotion  # a reload may replace it while this runs
    with runtime.store.read() as con:
        identity = decisions.next_id(con)
        report = evidence.last_report(con, turn)
        situation = _situation(runtime, con, turn)
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
        rests_on=_rests_on(turn, ruling, evidence.digest(grounds, report)),
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
    champion = turn.record.champion  # the one it was compared with, whoever serves by now
    known = _intents_seen(runtime, con, champion)
    report = evidence.last_report(con, turn)
    doubted = set(turn.record.evidence["disputed"])
    return promotion.Situation(
        champion=champion,
        new_intents=tuple(sorted(_renamed_or_new(runtime, known))) if champion else (),
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
    """What it takes to judge again, beside the outcomes."""
    return {
        "evidence": turn.record.evidence,
        **(turn.record.rules or _rules(runtime)),  # a restart since may have brought others
        "promotion": evidence.PROMOTION.dump_python(table, mode="json"),
        "situation": evidence.SITUATION.dump_python(situation, mode="json"),
    }


def _rules(runtime: Runtime) -> dict[str, Any]:
    """What the gates judge by."""
    return {
        "gates": evidence.RULES.dump_python(runtime.config.gates, mode="json"),
        "plugins": {each.name: each.source for each in runtime.custom_gates},
    }


def _record(con: Connection, turn: Turn, decision: Decision) -> None:
    """Write the decision; what it takes the place of no longer waits for anyone.

    A rejection takes the place of what its own turn decided before labels came, and of nothing
    else. The champion stays for now, so a turn that is open beside this one goes on.
    """
    waiting = decisions.list_decisions(con, status="pending")
    if decision.verdict == "reject":
        waiting = [each for each in waiting if each.turn == turn.id]
    replace_waiting(con, waiting, decision.id, "gates", decision.at, turn.id)
    decisions.add(con, decision)
    turns.set_decision(con, turn.id, decision.id)
    if decision.verdict == "reject":
        adapters.set_state(con, decision.challenger, "rejected")


def _intents_seen(runtime: Runtime, con: Connection, champion: str | None) -> frozenset[str]:
    """Intents that the champion was trained to tell apart; empty when nobody can say."""
    dataset = adapters.get(con, champion).dataset if champion else ""
    rows = dataset_rows(runtime.datasets_dir / f"{dataset}.parquet")
    return frozenset(row["intent"] for row in rows)


def _renamed_or_new(runtime: Runtime, known: frozenset[str]) -> set[str]:
    return {intent.name for intent in runtime.intents} - known if known else set()


def _rests_on(turn: Turn, ruling: promotion.Ruling, digest: str) -> dict[str, str]:
    record = turn.record
    used, capacity = record.queries
    waits = "nobody" if ruling.status == "rejected" else "labels"
    if ruling.person:
        waits = "a person"
    elif ruling.verdict == "promote":
        waits = "nobody"
    return {
        "golden_seal": record.seal,
        "golden_generation": str(record.generation),
        "golden_queries": f"{used + bool(record.champion)} of {capacity} asked",
        "dataset": record.dataset,
        "challenger": record.challenger,
        "champion": record.champion or "",
        "waits_for": waits,
        "evidence": digest,
        "notes": "; ".join(record.judgement["notes"] if record.judgement else ()),
    }
