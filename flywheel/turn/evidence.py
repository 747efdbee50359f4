"""Evidence for the gates: outcomes, hygiene facts, and earlier queries of the golden set."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import TypeAdapter

from flywheel import content, curation, datasets, gates, labelling, lineage
from flywheel.config import GatesTable, PromotionTable
from flywheel.promotion import Situation
from flywheel.records import Brief, GateResult, Intent, Outcome, Report, Sample
from flywheel.store import Connection, adapters, golden_set, label_candidates, samples
from flywheel.store.turns import Turn
from flywheel.turn import probes
from flywheel.turn.artifacts import learned_rows
from flywheel.turn.curate import window_start
from flywheel.turn.runtime import Runtime

_BRIEFS = TypeAdapter(tuple[Brief, ...])
_GATES = TypeAdapter(tuple[GateResult, ...])
_OUTCOMES = TypeAdapter(tuple[Outcome, ...])
EVIDENCE = TypeAdapter(gates.Evidence)
JUDGEMENT = TypeAdapter(gates.Judgement)
RULES = TypeAdapter(GatesTable)
PROMOTION = TypeAdapter(PromotionTable)
SITUATION = TypeAdapter(Situation)
FEEDBACK_SPLIT = "train"
"""Split of outcomes on texts labelled by feedback: no gate reads them; a rise there while golden
falls points to wrong feedback."""


def gathered(
    runtime: Runtime, con: Connection, turn: Turn, report: Report, used: int
) -> gates.Evidence:
    """Return the evidence of an evaluated turn.

    Args:
        runtime: the loop.
        con: a reading connection.
        turn: already evaluated.
        report: its latest report.
        used: number of queries of the golden generation before this turn's.

    Raises:
        LookupError: there is no golden generation.
    """
    generation = golden_set.current_generation(con)
    if generation is None:
        raise LookupError("the golden set vanished between evaluation and judgement")
    standing = _standing(runtime, con, turn)
    met = _met_in_training(runtime, con, turn, of(report, "golden"))
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
        intents=tuple(_gate_fields(intent) for intent in runtime.intents),
        latency_ms=turn.record.latency_ms,
        asked=turn.record.asked,
        first=turn.record.champion is None,
        fresh_waiting=0 if of(report, "fresh") else len(samples.fresh(con)),
        disputed=golden_set.disputed_samples(con, generation.number),
        doubted=golden_set.disputed_samples(con),
        changed=probes.evidence(turn.record.changed) if turn.record.champion else None,
        met=met,
        pools=standing.pools,
        offered=standing.offered,
        fresh_judges=True,
        contradicting=standing.contradicting,
        learned=_learned_by_champion(runtime, con, turn, golden),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standing:
    """What is known of the golden rows without anybody's answer."""

    pools: tuple[gates.Pool, ...]
    offered: Mapping[str, int]
    contradicting: tuple[tuple[str, str], ...]


def _standing(runtime: Runtime, con: Connection, turn: Turn) -> _Standing:
    """The pools of this turn, what traffic offers, and golden rows of one text and two labels.

    By counts and labels: no outcome is read here. Pools stay as the turn first had them.
    """
    golden = undisputed(runtime, con)
    contradicting = contradictions(golden)
    there = offered(runtime, con)
    if turn.record.judgement is None or "pools" not in turn.record.evidence:
        aside = {name for pair in contradicting for name in pair}
        pools = gates.make_pools(
            independent_rows(row for row in golden if row.id not in aside),
            there,
            runtime.intents,
            runtime.config.gates.intents,
        )
    else:
        pools = EVIDENCE.validate_python(turn.record.evidence).pools
    return _Standing(pools=pools, offered=there, contradicting=contradicting)


def undisputed(runtime: Runtime, con: Connection) -> list[Sample]:
    """Return the golden samples under today's names, without those that a person disputes: such a
    one gives way to its correction, and contradicts nothing."""
    disputed = set(golden_set.disputed_samples(con))
    golden = lineage.judging([row.sample for row in samples.golden(con)], runtime.intents)
    return [row for row in golden if row.id not in disputed]


def independent_rows(rows: Iterable[Sample]) -> Counter[str]:
    """Count golden rows by intent; a family of paraphrases is one."""
    units = {(row.intent, bool(row.family), row.family or row.id) for row in rows}
    return Counter(intent for intent, _, _ in units)


def offered(runtime: Runtime, con: Connection) -> dict[str, int]:
    """Return how many texts traffic has that nobody labelled, by today's names of intents."""
    names = lineage.current_names(runtime.intents)
    bar = labelling.bar(runtime.config.labelling.audit)
    counts: Counter[str] = Counter()
    for name, texts in label_candidates.offered(con, window_start(runtime, con), bar).items():
        counts[names.get(name, name)] += texts
    return dict(counts)


def contradictions(rows: Sequence[Sample]) -> tuple[tuple[str, str], ...]:
    """Return the pairs of samples with one text, after normalisation, and two labels; sorted."""
    by_text: dict[str, dict[str, str]] = {}
    for row in sorted(rows, key=lambda row: row.id):
        by_text.setdefault(content.text_key(row.text), {}).setdefault(row.intent, row.id)
    pairs = []
    for labels in by_text.values():
        first, *others = labels.values()
        pairs += [(first, other) for other in others]
    return tuple(sorted(pairs))


def of(report: Report, split: str) -> tuple[Outcome, ...]:
    """Return the report's outcomes of one split."""
    return tuple(row for row in report.outcomes if row.split == split)


def bare(evidence: gates.Evidence) -> gates.Evidence:
    """Return the evidence without its outcomes, which are stored separately."""
    return replace(evidence, outcomes=(), fresh=(), dev=())


def with_outcomes(evidence: gates.Evidence, report: Report) -> gates.Evidence:
    """Return stored evidence with the outcomes of its report; the inverse of `bare`."""
    golden = tuple(row for row in of(report, "golden") if row.sample not in evidence.met)
    return replace(evidence, outcomes=golden, dev=of(report, "dev"), fresh=of(report, "fresh"))


def digest(grounds: dict[str, Any], report: Report) -> str:
    """Return the SHA-256 hex digest of a decision's grounds and every outcome."""
    rows = _OUTCOMES.dump_python(report.outcomes, mode="json")
    stored = content.canonical([grounds, report.champion, report.challenger, rows])
    return hashlib.sha256(stored.encode("utf-8", "surrogatepass")).hexdigest()


def earlier_overall(turn: Turn) -> GateResult | None:
    """Return the `overall` result of this challenger's first judgement; None before it.

    The overall comparison is queried once; bought labels do not repeat it.
    """
    judgement = turn.record.judgement
    if judgement is None:
        return None
    return next(
        (line for line in _GATES.validate_python(judgement["gates"]) if line.gate == "overall"),
        None,
    )


def feedback_change(report: Report) -> float | None:
    """Return the challenger's accuracy by feedback minus the champion's; None without rows."""
    rows = [
        (row.champion_correct, row.challenger_correct)
        for row in of(report, FEEDBACK_SPLIT)
        if row.champion_correct is not None and row.challenger_correct is not None
    ]
    return sum(after - before for before, after in rows) / len(rows) if rows else None


def last_report(con: Connection, turn: Turn) -> Report:
    """Return the turn's latest report.

    Raises:
        LookupError: it has none.
    """
    report = adapters.load_report(con, turn.id)
    if report is None:
        raise LookupError("the evaluation's report is missing")
    return report


def _met_in_training(
    runtime: Runtime, con: Connection, turn: Turn, judged: Sequence[Outcome]
) -> tuple[str, ...]:
    """Bought golden samples that are near the challenger's training texts, sorted by id.

    They arrived after the dataset was written, so curation could not exclude near texts. They are
    no evidence on this challenger, and no leak either.
    """
    texts = {row.sample.id: row.sample.text for row in samples.golden(con, retired=True)}
    bought = [row.sample for row in judged if row.bought]
    trained = learned_rows(runtime.datasets_dir / f"{turn.record.dataset}.parquet")
    matches = curation.near_duplicates(
        [texts[name] for name in bought],
        [row["text"] for row in trained],
        runtime.config.gates.hygiene.jaccard,
    )
    return tuple(sorted({bought[match.i] for match in matches}))


def _learned_by_champion(
    runtime: Runtime, con: Connection, turn: Turn, judged: Sequence[Outcome]
) -> tuple[str, ...]:
    """Golden samples that the champion was trained on, or on texts near them, sorted by id.

    By whatever way: a text that retired and was imported again, or one that traffic had taught
    before it became golden. They say how well it remembers, and nothing of the challenger.
    """
    champion = turn.record.champion
    dataset = adapters.get(con, champion).dataset if champion else ""
    if not dataset:
        return ()
    texts = {row.sample.id: row.sample.text for row in samples.golden(con, retired=True)}
    names = [row.sample for row in judged if row.sample in texts]
    matches = curation.near_duplicates(
        [texts[name] for name in names],
        [row["text"] for row in learned_rows(runtime.datasets_dir / f"{dataset}.parquet")],
        runtime.config.gates.hygiene.jaccard,
    )
    return tuple(sorted({names[match.i] for match in matches}))


def _hygiene(
    runtime: Runtime, con: Connection, turn: Turn, sealed: str, judged: Sequence[Outcome]
) -> gates.HygieneFacts:
    """Facts for the hygiene gate (G0): leaks into training and prompts, seals, and row counts."""
    golden = samples.golden(con)
    judged_ids = {row.sample for row in judged}
    stored = samples.golden(con, retired=True)
    texts = [row.sample.text for row in stored if row.sample.id in judged_ids]
    jaccard = runtime.config.gates.hygiene.jaccard
    trained = learned_rows(runtime.datasets_dir / f"{turn.record.dataset}.parquet")
    briefs = turn.record.briefs
    prompt_texts = [text for b in briefs for text in (*b.failed_texts, *b.examples, *b.contrast)]
    challenger, champion = turn.record.challenger, turn.record.champion
    dataset = adapters.get(con, champion).dataset if champion else ""
    learned_by = f"{dataset}.parquet" if dataset else ""
    return gates.HygieneFacts(
        leaks=curation.leaks([row["text"] for row in trained], texts, jaccard),
        golden_in_prompts=len(curation.leaks(prompt_texts, texts, jaccard)),
        sealed_hash=sealed,
        current_hash=datasets.seal(row.sample for row in golden if not row.bought),
        trained_hash=challenger,
        evaluated_hash=turn.record.hashes.get(challenger, ""),
        chosen_on=str(adapters.get(con, challenger).metrics.get("chosen_on", "")),
        champion_rows=sum(1 for row in judged if row.champion_correct is not None),
        challenger_rows=sum(1 for row in judged if row.challenger_correct is not None),
        champion_unknown=bool(learned_by) and not (runtime.datasets_dir / learned_by).exists(),
    )


def _gate_fields(intent: Intent) -> Intent:
    """Copy of the intent with only the fields that gates read."""
    return Intent(
        name=intent.name,
        critical=intent.critical,
        renamed_from=intent.renamed_from,
        split_from=intent.split_from,
        merged_from=intent.merged_from,
    )
