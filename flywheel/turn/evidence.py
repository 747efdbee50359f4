"""What the gates are shown: outcomes, how the challenger came to be, and what was asked before."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter

from flywheel import content, curation, datasets, gates
from flywheel.config import GatesTable, PromotionTable
from flywheel.promotion import Situation
from flywheel.records import Brief, GateResult, Intent, Outcome, Report
from flywheel.store import Connection, adapters, golden_set, reports, samples
from flywheel.store.turns import Turn
from flywheel.turn.artifacts import learned_rows
from flywheel.turn.runtime import Runtime

_BRIEFS = TypeAdapter(tuple[Brief, ...])
_GATES = TypeAdapter(tuple[GateResult, ...])
_OUTCOMES = TypeAdapter(tuple[Outcome, ...])
EVIDENCE = TypeAdapter(gates.Evidence)
RULES = TypeAdapter(GatesTable)
PROMOTION = TypeAdapter(PromotionTable)
SITUATION = TypeAdapter(Situation)
FEEDBACK_SPLIT = "train"
"""Outcomes on texts that feedback labelled: never judged, only held against the golden set."""


def gathered(
    runtime: Runtime, con: Connection, turn: Turn, report: Report, used: int
) -> gates.Evidence:
    """Everything the gates look at, in the order it is stored in.

    Args:
        runtime: the loop.
        con: a reading connection.
        turn: evaluated already.
        report: its last.
        used: queries of the golden generation before this turn's.

    Raises:
        LookupError: the golden set is gone.
    """
    generation = golden_set.current_generation(con)
    if generation is None:
        raise LookupError("the golden set vanished between evaluation and judgement")
    met = _met(runtime, con, turn, of(report, "golden"))
    golden = tuple(row for row in of(report, "golden") if row.sample not in met)
    return gates.Evidence(
        outcomes=golden,
        dev=of(report, "dev"),
        fresh=of(report, "fresh"),
        hygiene=_hygiene(runtime, con, turn, generation.seal, golden),
        ledger=gates.Ledger(
            generation=generation.number,
            used=used,
            capacity=runtime.config.gates.overall.queries,
            earlier_overall=earlier_overall(turn),
        ),
        intents=tuple(_judged_part(intent) for intent in runtime.intents),
        latency_ms=turn.record.latency_ms,
        asked=turn.record.asked,
        first=turn.record.champion is None,
        fresh_waiting=0 if of(report, "fresh") else len(samples.fresh(con)),
        disputed=golden_set.disputed_samples(con),
        met=met,
    )


def of(report: Report, split: str) -> tuple[Outcome, ...]:
    """The report's outcomes of one split."""
    return tuple(row for row in report.outcomes if row.split == split)


def bare(evidence: gates.Evidence) -> gates.Evidence:
    """The evidence without its rows, which are stored beside it."""
    return replace(evidence, outcomes=(), fresh=(), dev=())


def with_outcomes(evidence: gates.Evidence, report: Report) -> gates.Evidence:
    """Stored evidence with its rows again."""
    golden = tuple(row for row in of(report, "golden") if row.sample not in evidence.met)
    return replace(evidence, outcomes=golden, dev=of(report, "dev"), fresh=of(report, "fresh"))


def digest(grounds: dict[str, Any], report: Report) -> str:
    """Hash of all that a decision rests on: the grounds and every outcome."""
    rows = _OUTCOMES.dump_python(report.outcomes, mode="json")
    said = content.canonical([grounds, report.champion, report.challenger, rows])
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()


def earlier_overall(turn: Turn) -> GateResult | None:
    """The first answer of the golden set to this challenger; bought labels do not ask again."""
    judgement = turn.record.judgement
    if judgement is None:
        return None
    return next(
        (line for line in _GATES.validate_python(judgement["gates"]) if line.gate == "overall"),
        None,
    )


def feedback_change(report: Report) -> float | None:
    """Challenger's accuracy by feedback minus the champion's; None without such rows."""
    rows = [
        (row.champion_correct, row.challenger_correct)
        for row in of(report, FEEDBACK_SPLIT)
        if row.champion_correct is not None and row.challenger_correct is not None
    ]
    return sum(after - before for before, after in rows) / len(rows) if rows else None


def last_report(con: Connection, turn: Turn) -> Report:
    """The turn's evaluation.

    Raises:
        LookupError: it has none.
    """
    report = reports.load(con, turn.id)
    if report is None:
        raise LookupError("the evaluation's report is missing")
    return report


def _met(
    runtime: Runtime, con: Connection, turn: Turn, judged: Sequence[Outcome]
) -> tuple[str, ...]:
    """Bought labels that the challenger had met in training.

    Such a label came after the dataset was written, so curation could not keep its like out;
    it is no evidence on this challenger, and no breach of the seal either.
    """
    texts = {row.sample.id: row.sample.text for row in samples.golden(con)}
    bought = [row.sample for row in judged if row.bought]
    trained = learned_rows(runtime.datasets_dir / f"{turn.record.dataset}.parquet")
    near = curation.near_duplicates(
        [texts[name] for name in bought],
        [row["text"] for row in trained],
        runtime.config.gates.hygiene.jaccard,
    )
    return tuple(sorted({bought[each.i] for each in near}))


def _hygiene(
    runtime: Runtime, con: Connection, turn: Turn, sealed: str, judged: Sequence[Outcome]
) -> gates.HygieneFacts:
    """What G0 asks: did anything of the golden set reach training, and is all as it was sealed?"""
    golden = samples.golden(con)
    counted = {row.sample for row in judged}
    texts = [row.sample.text for row in golden if row.sample.id in counted]
    jaccard = runtime.config.gates.hygiene.jaccard
    trained = learned_rows(runtime.datasets_dir / f"{turn.record.dataset}.parquet")
    briefs = turn.record.briefs
    shown = [text for b in briefs for text in (*b.failed_texts, *b.examples, *b.contrast)]
    challenger = turn.record.challenger
    return gates.HygieneFacts(
        leaks=curation.leaks([row["text"] for row in trained], texts, jaccard),
        golden_in_prompts=len(curation.leaks(shown, texts, jaccard)),
        sealed_hash=sealed,
        current_hash=datasets.seal(row.sample for row in golden if not row.bought),
        trained_hash=challenger,
        evaluated_hash=turn.record.hashes.get(challenger, ""),
        chosen_on=str(adapters.get(con, challenger).metrics.get("chosen_on", "")),
        champion_rows=sum(1 for row in judged if row.champion_correct is not None),
        challenger_rows=sum(1 for row in judged if row.challenger_correct is not None),
    )


def _judged_part(intent: Intent) -> Intent:
    """The intent without what no gate reads."""
    return Intent(
        name=intent.name,
        critical=intent.critical,
        renamed_from=intent.renamed_from,
        split_from=intent.split_from,
        merged_from=intent.merged_from,
    )
