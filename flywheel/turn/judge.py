"""Steps 6 and 7: hold the challenger against the gates, and say what follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from flywheel import curation, datasets, gates, promotion
from flywheel.records import Brief, Decision, GateResult, IntentVerdict, Outcome, Report
from flywheel.store import Connection, adapters, decisions, generations, reports, samples, turns
from flywheel.store.turns import Turn
from flywheel.turn.artifacts import dataset_rows
from flywheel.turn.step import StepResult
from flywheel.turn.wheel import Wheel

_BRIEFS = TypeAdapter(tuple[Brief, ...])
_GATES = TypeAdapter(tuple[GateResult, ...])
_INTENTS = TypeAdapter(tuple[IntentVerdict, ...])
_JUDGEMENT = TypeAdapter(gates.Judgement)


def gate(wheel: Wheel, turn: Turn) -> StepResult:
    """Judge the evidence; the query to the golden set is on record before its answer is read."""
    challenger, champion = turn.cursor["challenger"], turn.cursor["champion"]
    earlier = _earlier_overall(turn)
    with wheel.store.write() as con:
        generation = generations.current_generation(con)
        if generation is None:
            raise LookupError("the golden set vanished between evaluation and judgement")
        ledger = generations.queries(con, generation.number)
        used = sum(1 for row in ledger if row["challenger"] != challenger)
        capacity = wheel.config.gates.overall.queries
        report = _report(con, turn)
        wasted = gates.prescreen(_of(report, "dev"), wheel.config.gates.overall)
        if champion and wasted is None and used == len(ledger) and used < capacity:
            generations.write_query(
                con, generation.number, turn.id, challenger, "overall", wheel.clock()
            )
    with wheel.store.read() as con:
        golden = _usable(wheel, con, turn, _of(report, "golden"))
        facts = _hygiene(wheel, con, turn, generation.seal, golden)
    evidence = gates.Evidence(
        outcomes=golden,
        dev=_of(report, "dev"),
        fresh=(),
        hygiene=facts,
        ledger=gates.Ledger(
            generation=generation.number,
            used=used,
            capacity=capacity,
            earlier_overall=earlier,
        ),
        intents=wheel.intents,
        asked=turn.cursor.get("asked", {}),
        first=champion is None,
    )
    judgement = gates.judge(evidence, wheel.config.gates)
    return StepResult(
        next_state="decide",
        detail=", ".join(f"{line.gate} {line.verdict}" for line in judgement.gates),
        outputs={
            "judgement": _JUDGEMENT.dump_python(judgement, mode="json"),
            "seal": generation.seal,
            "generation": generation.number,
        },
    )


def decide(wheel: Wheel, turn: Turn) -> StepResult:
    """Turn the judgement into a decision: applied next, waiting for a person, or refused."""
    judgement = _JUDGEMENT.validate_python(turn.cursor["judgement"])
    with wheel.store.read() as con:
        champion = adapters.champion(con)
        known = _intents_seen(wheel, con, champion)
        identity = decisions.next_id(con)
    ruling = promotion.decide(
        judgement,
        wheel.config.promotion,
        promotion.Situation(
            champion=champion,
            new_intents=tuple(sorted(_renamed_or_new(wheel, known))) if champion else (),
            labels_asked_this_turn=sum(turn.cursor.get("asked", {}).values()),
        ),
    )
    decision = Decision(
        id=identity,
        turn=turn.id,
        challenger=turn.cursor["challenger"],
        champion=champion,
        verdict=ruling.verdict,
        status=ruling.status,
        by=ruling.by,
        because=ruling.because,
        at=wheel.clock(),
        gates=judgement.gates,
        intents=judgement.intents,
        rests_on=_rests_on(turn),
    )
    applies = ruling.verdict == "promote" and not ruling.person

    def writes(con: Connection) -> None:
        _record(con, turn, decision)

    following = "apply" if applies else ("done" if ruling.verdict == "reject" else "held")
    return StepResult(
        next_state=following,
        detail=f"{decision.id}: {ruling.verdict}: {ruling.because}",
        outputs={"decision": identity, "labels_wanted": dict(judgement.labels_wanted)},
        writes=writes,
    )


def _record(con: Connection, turn: Turn, decision: Decision) -> None:
    """Write the decision; what it takes the place of no longer waits for anyone."""
    if decision.verdict != "reject":
        for waiting in decisions.list_decisions(con, status="pending"):
            decisions.set_status(
                con, waiting.id, "expired", "gates", f"superseded by {decision.id}", decision.at
            )
    decisions.add(con, decision)
    turns.set_decision(con, turn.id, decision.id)
    if decision.verdict == "reject":
        adapters.set_state(con, decision.challenger, "rejected")


def _usable(
    wheel: Wheel, con: Connection, turn: Turn, judged: Sequence[Outcome]
) -> tuple[Outcome, ...]:
    """Golden outcomes less bought labels that the challenger had met in training.

    Such a label came after the dataset was written, so curation could not keep its like out;
    it is no evidence on this challenger, and no breach of the seal either.
    """
    texts = {row.sample.id: row.sample.text for row in samples.golden(con)}
    bought = [row.sample for row in judged if row.bought]
    trained = dataset_rows(wheel.datasets_dir / f"{turn.cursor['dataset']}.parquet")
    met = curation.near_duplicates(
        [texts[name] for name in bought],
        [row["text"] for row in trained],
        wheel.config.gates.hygiene.jaccard,
    )
    unusable = {bought[near.i] for near in met}
    return tuple(row for row in judged if row.sample not in unusable)


def _hygiene(
    wheel: Wheel, con: Connection, turn: Turn, sealed: str, judged: Sequence[Outcome]
) -> gates.HygieneFacts:
    """What G0 asks: did anything of the golden set reach training, and is all as it was sealed?"""
    golden = samples.golden(con)
    counted = {row.sample for row in judged}
    texts = [row.sample.text for row in golden if row.sample.id in counted]
    jaccard = wheel.config.gates.hygiene.jaccard
    trained = dataset_rows(wheel.datasets_dir / f"{turn.cursor['dataset']}.parquet")
    briefs = _BRIEFS.validate_python(turn.cursor.get("briefs", ()))
    shown = [text for b in briefs for text in (*b.failed_texts, *b.examples, *b.contrast)]
    challenger = turn.cursor["challenger"]
    return gates.HygieneFacts(
        leaks=curation.leaks([row["text"] for row in trained], texts, jaccard),
        golden_in_prompts=len(curation.leaks(shown, texts, jaccard)),
        sealed_hash=sealed,
        current_hash=datasets.seal(row.sample for row in golden if not row.bought),
        trained_hash=challenger,
        evaluated_hash=turn.cursor.get("hashes", {}).get(challenger, ""),
        chosen_on=str(adapters.get(con, challenger).metrics.get("chosen_on", "")),
        champion_rows=sum(1 for row in judged if row.champion_correct is not None),
        challenger_rows=sum(1 for row in judged if row.challenger_correct is not None),
    )


def _report(con: Connection, turn: Turn) -> Report:
    report = reports.load(con, turn.id)
    if report is None:
        raise LookupError("the evaluation's report is missing")
    return report


def _of(report: Report, split: str) -> tuple[Outcome, ...]:
    return tuple(row for row in report.outcomes if row.split == split)


def _earlier_overall(turn: Turn) -> GateResult | None:
    """The first answer of the golden set to this challenger; bought labels do not ask again."""
    judgement: Mapping[str, Any] | None = turn.cursor.get("judgement")
    if judgement is None:
        return None
    return next(
        (line for line in _GATES.validate_python(judgement["gates"]) if line.gate == "overall"),
        None,
    )


def _intents_seen(wheel: Wheel, con: Connection, champion: str | None) -> frozenset[str]:
    """Intents that the champion was trained to tell apart; empty when nobody can say."""
    dataset = adapters.get(con, champion).dataset if champion else ""
    rows = dataset_rows(wheel.datasets_dir / f"{dataset}.parquet")
    return frozenset(row["intent"] for row in rows)


def _renamed_or_new(wheel: Wheel, known: frozenset[str]) -> set[str]:
    return {intent.name for intent in wheel.intents} - known if known else set()


def _rests_on(turn: Turn) -> dict[str, str]:
    cursor = turn.cursor
    return {
        "golden_seal": cursor["seal"],
        "golden_generation": str(cursor["generation"]),
        "dataset": cursor["dataset"],
        "challenger": cursor["challenger"],
        "champion": cursor["champion"] or "",
        "notes": "; ".join(cursor["judgement"]["notes"]),
    }
