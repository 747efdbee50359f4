"""Imported samples: seeds, golden generations, bought labels, and disputes about golden samples."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from flywheel import datasets, lineage
from flywheel.content import text_key
from flywheel.errors import Refused
from flywheel.promotion import person_of
from flywheel.records import Decision, Sample
from flywheel.store import Connection, adapters, decisions, golden_set, samples, turns
from flywheel.store.turns import Turn
from flywheel.turn import retire_rows
from flywheel.turn.apply import EXTERNAL, adopt_external
from flywheel.turn.artifacts import cancel_jobs
from flywheel.turn.overlaps import overlaps
from flywheel.turn.runtime import Runtime


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """One imported row: a sample, and the production model's answer to it, if known."""

    sample: Sample
    answer: tuple[str, dict[str, Any] | None] | None = None
    line: int = 0  # where it stood in what was sent; 0 where it did not come in a line


def add_samples(
    runtime: Runtime, rows: Sequence[Incoming], *, by: str, new_generation: bool = False
) -> dict[str, Any]:
    """Store samples; golden rows join the current generation, or open a new one.

    Golden rows that arrive after the generation's first query are stored as bought labels: they
    decide single intents, but not the overall comparison, which the seal protects. A golden text
    that another row, or the standing generation, gives another intent is refused. Rows that judge
    are recorded with `by`, who gave them, in the chain of decision events.

    Returns:
        {"accepted", "duplicates", "generation", "bought", "learned", "contradicting", "overlaps"};
        `learned` is the number of golden rows that training got at once; `contradicting` are the
        refused rows as {"line", "field", "why"}, `overlaps` the samples that are never learned
        since they are near held-out ones, as `overlaps.overlaps` tells them.
    """
    now = runtime.clock()
    with runtime.store.write() as con:
        refused = _contradicting(runtime, con, rows, new_generation)
        rows = [row for number, row in enumerate(rows) if number not in refused]
        golden = [row for row in rows if row.sample.split == "golden"]
        ungolden = [row.sample for row in rows if row.sample.split != "golden"]
        added = _add_others(con, ungolden, by, now)
        number, bought = None, 0
        if golden:
            number, added_golden, bought = _add_golden(con, golden, new_generation, by, now)
            added += added_golden
        learned = retire_rows.at_import(runtime, con, by) if golden else {}
        ended = _keep_answers(runtime, con, rows, by)
        lines = {row.sample.id: row.line for row in rows}
        jaccard = runtime.config.curation.leak
        near = overlaps(con, [row.sample for row in rows], lines, jaccard)
        woken = reopen_held(runtime, con)
    cancel_jobs(runtime, ended)
    if woken:
        runtime.wake.set()
    return {
        "accepted": added,
        "duplicates": len(rows) - added,
        "generation": number,
        "bought": bought,
        "learned": sum(learned.values()),
        "contradicting": list(refused.values()),
        "overlaps": near,
    }


def _contradicting(
    runtime: Runtime, con: Connection, rows: Sequence[Incoming], new_generation: bool
) -> dict[int, dict[str, Any]]:
    """Golden rows whose text has another intent elsewhere: their refusals, by index.

    Of rows that contradict each other none is right by itself, so none is added. A disputed sample
    does not stand: a corrected label takes its place.
    """
    golden = [(n, row) for n, row in enumerate(rows) if row.sample.split == "golden"]
    if not golden:
        return {}
    disputed = set(golden_set.disputed_samples(con))
    stored = [] if new_generation else [row.sample for row in samples.golden(con)]
    places: dict[str, dict[str, str]] = defaultdict(dict)  # text key → intent → where it says so
    for sample in lineage.judging(stored, runtime.intents):
        if sample.id not in disputed:
            places[text_key(sample.text)].setdefault(sample.intent, f"golden sample {sample.id}")
    standing = {key: frozenset(places[key]) for key in places}
    for _, row in golden:
        place = f"line {row.line}" if row.line else "this import"
        places[text_key(row.sample.text)].setdefault(row.sample.intent, place)
    refused = {}
    for number, row in golden:
        key, intent = text_key(row.sample.text), row.sample.intent
        other = next((name for name in places[key] if name != intent), None)
        if other is not None and intent not in standing.get(key, ()):
            why = f"is {intent}, but {other} in {places[key][other]} for the same text"
            refused[number] = {"line": row.line, "field": "intent", "why": why}
    return refused


def _add_others(con: Connection, rows: Sequence[Sample], by: str, now: datetime) -> int:
    """Store samples that are not golden; return the number of new ones."""
    if not rows:
        return 0
    added = samples.add(con, rows, generation=None, bought_for=None, at=now)
    judging = Counter(sample.split for sample in rows if sample.split != "train")
    if added and judging:
        given = ", ".join(f"{count} {split}" for split, count in sorted(judging.items()))
        because = f"{given} samples were given; with those to learn {added} are new"
        if judging["fresh"]:
            drawn = sum(each.split == "fresh" and "lot" in each.provenance for each in rows)
            because += f"; how they were drawn is said of {drawn} of the {judging['fresh']} fresh"
        decisions.record_act(con, "samples.imported", by, because, now)
    return added


def _add_golden(
    con: Connection, rows: Sequence[Incoming], new_generation: bool, by: str, now: datetime
) -> tuple[int, int, int]:
    """Return the generation's number, the number of new rows, and how many count as bought."""
    current = golden_set.current_generation(con)
    opened = current is None or new_generation
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
        sealed = [row.sample for row in samples.golden(con, number) if not row.bought]
        golden_set.reseal(con, number, datasets.seal(sealed), len(sealed))
    bought = added if queried else 0
    if added or opened:
        what = "golden.generation.opened" if opened else "golden.imported"
        because = f"generation {number}: {added} rows added, {bought} of them after its first query"
        decisions.record_act(con, what, by, because, now)
    return number, added, bought


def _keep_answers(
    runtime: Runtime, con: Connection, rows: Sequence[Incoming], by: str
) -> list[str]:
    """Store the production model's answers, and make it the first champion where there is none.

    Returns the turns that this ends.
    """
    answered = [(row.sample.id, *row.answer) for row in rows if row.answer is not None]
    if not answered:
        return []
    samples.add_answers(con, EXTERNAL, answered)
    return adopt_external(runtime, con, by)


def dispute(
    runtime: Runtime, sample: str, by: str, because: str, *, disputed: bool
) -> dict[str, Any]:
    """Mark a golden sample as disputed, or clear the mark.

    It is set aside from evidence at once where nothing was asked of the generation yet; otherwise
    from the next generation on.

    Returns:
        {"sample", "disputed", "standing": number of disputed samples now, "from_generation": where
        the word counts from, "generation": the current one}.

    Raises:
        NotFound: it is in no golden generation.
        Refused: the person has disputed as many rows of this generation as one may.
    """
    most = runtime.config.labelling.disputes
    with runtime.store.write() as con:
        own = _disputed_by_person(con, by)
        if disputed and sample not in own and len(own) >= most:
            raise Refused(
                f"{by} has disputed {len(own)} rows of this golden generation, and one person may "
                f"dispute {most}; nothing was changed",
                hint="another person may; or import a corrected generation: `flywheel samples "
                "import FILE --split golden --new-generation`",
            )
        counts_from = golden_set.set_disputed(
            con, sample, disputed=disputed, by=by, because=because, at=runtime.clock()
        )
        standing = len(golden_set.disputed_samples(con))
        generation = golden_set.current_generation(con)
    assert generation is not None
    return {
        "sample": sample,
        "disputed": disputed,
        "standing": standing,
        "from_generation": counts_from,
        "generation": generation.number,
    }


def _disputed_by_person(con: Connection, by: str) -> set[str]:
    """Rows of this generation that the person behind an actor disputed, by whatever door.

    All who are nobody in particular are one: else each token without a person were another.
    """
    person = person_of(by)
    return {
        row
        for actor, rows in golden_set.disputed_by(con).items()
        if person_of(actor) == person
        for row in rows
    }


def reopen_held(runtime: Runtime, con: Connection) -> bool:
    """Reopen a held turn when its labels have arrived or the fresh set is full.

    E-values are valid at any sample size, so bought labels are judged as they arrive. The fresh
    set is queried once, so the turn waits until it is full.
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
    """Return the number of bought labels by intent that the turn's report does not have yet."""
    report = adapters.load_report(con, turn.id)
    judged = {row.sample for row in report.outcomes} if report else set()
    return Counter(
        row.sample.intent
        for row in samples.golden(con)
        if row.bought and row.sample.id not in judged
    )


def _fresh_is_full(runtime: Runtime, con: Connection, decision: Decision) -> bool:
    rule = runtime.config.gates.fresh
    unasked = any(line.gate == "fresh" and not line.n for line in decision.gates)
    return rule.required and unasked and len(samples.fresh(con)) >= rule.min_examples
