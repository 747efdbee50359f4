"""Samples from outside: seeds, golden generations, and the labels that gates ask for."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from flywheel import datasets
from flywheel.records import Decision, Sample
from flywheel.store import Connection, decisions, golden_set, reports, samples, turns
from flywheel.store.turns import Turn
from flywheel.turn.apply import EXTERNAL, adopt_external
from flywheel.turn.artifacts import cancel_jobs
from flywheel.turn.runtime import Runtime


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """One imported row: a sample, and what the production model answers to it, if known."""

    sample: Sample
    answer: tuple[str, dict[str, Any] | None] | None = None


def add_samples(
    runtime: Runtime, rows: Sequence[Incoming], *, new_generation: bool = False
) -> dict[str, Any]:
    """Store samples; golden rows join the current generation, or open a new one.

    Rows that arrive after the generation's first query are kept as bought labels: they decide
    single intents, not the overall comparison that the seal was made for.

    Returns:
        {"accepted", "duplicates", "generation", "bought"}.
    """
    now = runtime.clock()
    golden = [row for row in rows if row.sample.split == "golden"]
    other = [row.sample for row in rows if row.sample.split != "golden"]
    with runtime.store.write() as con:
        added = samples.add(con, other, generation=None, bought_for=None, at=now) if other else 0
        number, bought = None, 0
        if golden:
            number, new, bought = _add_golden(con, golden, new_generation, now)
            added += new
        ended = _keep_answers(con, rows, now)
        woken = reopen_held(runtime, con)
    cancel_jobs(runtime, ended)
    if woken:
        runtime.wake.set()
    return {
        "accepted": added,
        "duplicates": len(rows) - added,
        "generation": number,
        "bought": bought,
    }


def _add_golden(
    con: Connection, rows: Sequence[Incoming], new_generation: bool, now: datetime
) -> tuple[int, int, int]:
    """Return the generation's number, the rows that were new, and how many count as bought."""
    current = golden_set.current_generation(con)
    if current is None or new_generation:
        number, queried = golden_set.open_generation(con, now), False
    else:
        number, queried = current.number, current.queries_used > 0
    waiting = [d.id for d in decisions.list_decisions(con, status="pending")]
    reason = (waiting[0] if waiting else "addition") if queried else None
    added = samples.add(
        con, [row.sample for row in rows], generation=number, bought_for=reason, at=now
    )
    if not queried:
        kept = [row.sample for row in samples.golden(con, number) if not row.bought]
        golden_set.reseal(con, number, datasets.seal(kept), len(kept))
    return number, added, added if queried else 0


def _keep_answers(con: Connection, rows: Sequence[Incoming], now: datetime) -> list[str]:
    """Stored answers make the production model the first champion: it serves already.

    Returns the turns that this ends.
    """
    answered = [(row.sample.id, *row.answer) for row in rows if row.answer is not None]
    if not answered:
        return []
    samples.add_answers(con, EXTERNAL, answered)
    return adopt_external(con, now)


def dispute(
    runtime: Runtime, sample: str, by: str, because: str, *, disputed: bool
) -> dict[str, Any]:
    """Set a golden sample aside because its label is doubted, or put it back.

    Returns:
        {"sample", "disputed", "standing": how many are set aside now}.

    Raises:
        NotFound: it is in no golden generation.
    """
    with runtime.store.write() as con:
        golden_set.set_disputed(
            con, sample, disputed=disputed, by=by, because=because, at=runtime.clock()
        )
        standing = len(golden_set.disputed_samples(con))
    return {"sample": sample, "disputed": disputed, "standing": standing}


def reopen_held(runtime: Runtime, con: Connection) -> bool:
    """Judge a held challenger again when what it waits for is there.

    E-values are valid at any sample size, so bought labels may be judged as they come; the
    fresh set is asked once, so it is waited for until it is full.
    """
    for decision in decisions.list_decisions(con, status="pending"):
        if decision.verdict != "hold" or not decision.turn:
            continue
        turn = turns.get(con, decision.turn)
        if turn.state != "held":
            continue
        labels = bool(turn.record.labels_wanted) and bool(unjudged(con, turn))
        if labels or _fresh_is_full(runtime, con, decision):
            turns.reopen(con, turn.id, "evaluate")
            return True
    return False


def unjudged(con: Connection, turn: Turn) -> Counter[str]:
    """Bought labels by intent that came in since the turn evaluated its challenger."""
    report = reports.load(con, turn.id)
    known = {row.sample for row in report.outcomes} if report else set()
    return Counter(
        row.sample.intent
        for row in samples.golden(con)
        if row.bought and row.sample.id not in known
    )


def _fresh_is_full(runtime: Runtime, con: Connection, decision: Decision) -> bool:
    rule = runtime.config.gates.fresh
    unasked = any(line.gate == "fresh" and not line.n for line in decision.gates)
    return rule.required and unasked and len(samples.fresh(con)) >= rule.min_examples
