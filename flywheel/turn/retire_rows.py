"""Golden rows that retire into training: as they are imported, and as a turn opens.

Never while a turn is open or its decision waits: its rows stay as they are. What is retired, and by
which rule, is recorded in the transaction that adds the training samples, and is an event of the
chain of decisions. The generation is sealed again by the rows that go on judging, under the same
number and with the same ledger: retiring buys no query.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from flywheel import curation, datasets, gates, lineage
from flywheel.records import Sample
from flywheel.store import Connection, decisions, golden_set, retired, samples, turns
from flywheel.store.golden_set import Generation
from flywheel.store.retired import RetiredBy
from flywheel.turn import evidence
from flywheel.turn.evaluate import slices_of
from flywheel.turn.runtime import Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class _Golden:
    """The rows that judge, as the rules on retiring see them."""

    rows: tuple[gates.GoldenRow, ...]
    samples: Mapping[str, Sample]  # by id, as stored
    near_retired: frozenset[str]  # in the group of one that retired before


def at_import(runtime: Runtime, con: Connection, by: str) -> dict[str, int]:
    """Give training its share of a golden set that was not asked yet; return rows by rule.

    Rows near one that retired before follow it. While a turn is under way nothing else moves that
    it could be asked: that is done when the next one opens.

    Args:
        runtime: the loop.
        con: the transaction of the import.
        by: who imported.
    """
    generation = golden_set.current_generation(con)
    if generation is None:
        return {}
    under_way = bool(turns.open_turns(con) or turns.held_turns(con))
    return _retire(runtime, con, generation, None, by, only_near=under_way)


def as_a_turn_opens(runtime: Runtime, con: Connection, turn: str) -> dict[str, int]:
    """Retire what has judged often enough, and what an import had to leave; return rows by rule.

    Args:
        runtime: the loop.
        con: the transaction that opens the turn.
        turn: its id; no other is open.
    """
    generation = golden_set.current_generation(con)
    if generation is None or turns.held_turns(con):
        return {}
    return _retire(runtime, con, generation, turn, "gates")


def _retire(
    runtime: Runtime,
    con: Connection,
    generation: Generation,
    turn: str | None,
    by: str,
    *,
    only_near: bool = False,
) -> dict[str, int]:
    table, opens = runtime.config.gates, turn is not None
    may_share = bool(table.share) and not generation.queries_used
    if not (may_share or (opens and table.retire == "auto") or retired.any_rows(con)):
        return {}
    golden = _judging(runtime, con, generation)
    chosen: dict[str, RetiredBy] = dict.fromkeys(golden.near_retired, "near")
    if not only_near:
        chosen |= _chosen(runtime, con, generation, golden, opens=opens)
    rows = [(golden.samples[name], rule) for name, rule in sorted(chosen.items())]
    counts = _recorded(con, rows, runtime, generation.number, turn)
    # Not at an import, which may bring more of the next rows.
    if table.retire == "auto" and opens:
        counts += _worn(runtime, con, generation.number, turn)
    if counts:
        _reseal(con, generation.number)
        told = ", ".join(f"{counts[rule]} by {rule}" for rule in retired.RULES if counts[rule])
        because = f"generation {generation.number}: {told} are learned and judge no more"
        decisions.record_act(con, "golden.retired", by, because, runtime.clock())
    return dict(counts)


def _chosen(
    runtime: Runtime, con: Connection, generation: Generation, golden: _Golden, *, opens: bool
) -> dict[str, RetiredBy]:
    """Rows that the rules take, beside those near retired ones: a share of what nobody was asked,
    or, as a turn opens, what has judged often enough."""
    rest = [row for row in golden.rows if row.sample not in golden.near_retired]
    table = runtime.config.gates
    if not generation.queries_used:
        taken = _taken_by_share(runtime, con, generation.number)
        return dict.fromkeys(gates.shared(rest, runtime.intents, table, taken), "share")
    if not opens:
        return {}
    bought = {row.sample for row in rest if row.bought}
    return {
        name: "bought" if name in bought else "judged"
        for name in gates.judged_enough(rest, runtime.intents, table)
    }


def _recorded(
    con: Connection,
    rows: Sequence[tuple[Sample, RetiredBy]],
    runtime: Runtime,
    generation: int,
    turn: str | None,
) -> Counter[str]:
    """Record rows of a generation as retired; return how many of each rule."""
    if rows:
        retired.add(con, rows, generation=generation, turn=turn, at=runtime.clock())
    return Counter(rule for _, rule in rows)


def _worn(runtime: Runtime, con: Connection, current: int, turn: str | None) -> Counter[str]:
    """Retire the rows of generations before the current one, which judge nothing any more.

    Those near a row that judges stay out of training, and so do must-pass and disputed ones.
    """
    disputed = set(golden_set.disputed_samples(con))
    by_generation: dict[int, list[Sample]] = defaultdict(list)
    for sample, generation in retired.of_older_generations(con):
        if not sample.must_pass and sample.id not in disputed:
            by_generation[generation].append(sample)
    judging = [row.sample.text for row in samples.golden(con, current)]
    judging += [sample.text for sample in samples.fresh(con)]
    counts: Counter[str] = Counter()
    for generation, old in by_generation.items():
        apart = curation.without_leaks(old, judging, _likeness(runtime)).kept
        rows: list[tuple[Sample, RetiredBy]] = [(sample, "worn") for sample in apart]
        counts += _recorded(con, rows, runtime, generation, turn)
    return counts


def _judging(runtime: Runtime, con: Connection, generation: Generation) -> _Golden:
    """The rows of a generation that judge, in groups that stay together."""
    stored = samples.golden(con, generation.number)
    named = {
        row.id: row for row in lineage.judging([row.sample for row in stored], runtime.intents)
    }
    before = [row.sample for row in retired.listed(con)]
    disputed = set(golden_set.disputed_samples(con))
    before = [sample for sample in before if sample.id not in disputed]
    pairs = evidence.contradictions([*named.values()])
    doubted = {name for pair in pairs for name in pair}
    # A doubt that came after the rows were asked chooses none of them: it may go by the answers.
    doubted |= set(golden_set.disputed_samples(con, generation.number))
    groups = groups_of([*(row.sample for row in stored), *before], _likeness(runtime))
    answered, asked = retired.queries_answered(con, generation.number), retired.asked(con)
    left = {groups[sample.id] for sample in before}
    rows = tuple(
        gates.GoldenRow(
            sample=row.sample.id,
            intent=named[row.sample.id].intent if row.sample.id in named else "",
            group=groups[row.sample.id],
            family=row.sample.family,
            stays=row.sample.must_pass or row.sample.id in doubted,
            bought=row.bought,
            asked=row.sample.id in asked,
            answered=answered.get(row.sample.id, 0),
            slices=tuple(f"{key}={value}" for key, value in slices_of(row.sample).items()),
        )
        for row in stored
    )
    return _Golden(
        rows=rows,
        samples={row.sample.id: row.sample for row in stored},
        near_retired=frozenset(
            row.sample for row in rows if row.group in left and not row.stays and not row.asked
        ),
    )


def groups_of(rows: Sequence[Sample], jaccard: float) -> dict[str, str]:
    """A name for each sample, the same for families, near-duplicates, and chains of both."""
    parent = {row.id: row.id for row in rows}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for one, other in _alike(rows, jaccard):
        first, second = sorted((root(one), root(other)))
        parent[second] = first
    return {row.id: root(row.id) for row in rows}


def _alike(rows: Sequence[Sample], jaccard: float) -> Iterable[tuple[str, str]]:
    """Pairs of samples of one family, and pairs that are near-duplicates."""
    families: dict[str, str] = {}
    for row in rows:
        if row.family:
            yield families.setdefault(row.family, row.id), row.id
    texts = [row.text for row in rows]
    for pair in curation.near_duplicates(texts, texts, jaccard):
        if pair.i < pair.j:
            yield rows[pair.i].id, rows[pair.j].id


def _likeness(runtime: Runtime) -> float:
    """From which word-set Jaccard on two texts are near: the stricter of two rules on leaks."""
    return min(runtime.config.gates.hygiene.jaccard, runtime.config.curation.leak)


def _taken_by_share(runtime: Runtime, con: Connection, generation: int) -> Counter[str]:
    """Units by intent that a generation's share took before."""
    rows = [row.sample for row in retired.listed(con) if row.generation == generation]
    return evidence.independent_rows(lineage.judging(rows, runtime.intents))


def _reseal(con: Connection, generation: int) -> None:
    """Seal a generation by the rows that go on judging; bought ones are in no seal."""
    rows = [row.sample for row in samples.golden(con, generation) if not row.bought]
    golden_set.reseal(con, generation, datasets.seal(rows), len(rows))
