"""What the evidence on challengers lacks, what it would take, and what a person may do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from msgspec import UNSET, UnsetType
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from flywheel import gates
from flywheel.api.personal import View
from flywheel.records import Decision
from flywheel.store import Connection, golden_set, retired, samples
from flywheel.store.turns import Turn
from flywheel.turn import Runtime, evidence
from flywheel.web.http import answer

NOT_SHOWN = (
    "A pool shows that its intents did not lose the margin together. Of one intent inside it shows "
    "little: one that lost 20 points passes nearly as often as before, and one that lost all more "
    "than every other time. A row marked must_pass guards a single intent."
)


class OfferView(View):
    """What a person may do about a decision now."""

    do: Literal["approve", "reject", "label", "rollback", "turn"]
    override: list[str] | UnsetType = UNSET  # of an approval: gates to be overridden by name
    looked: str | UnsetType = UNSET  # of an approval: the word beside the texts to look at
    unproven: list[str] | UnsetType = UNSET  # of an approval: gates that it takes on trust


class PoolView(View):
    """Intents that are judged together, and what their rows say; counts are None before a turn."""

    pool: str
    intents: list[str]
    margin: float
    n: int | None = None
    losses: int | None = None
    gains: int | None = None
    e_value: float | None = None
    verdict: str | None = None
    labels_needed: int | None = None
    unseen: list[str] | None = None  # without a row


class AheadView(View):
    """What deciding takes with the golden rows and the traffic of now."""

    labels: int  # expected until every intent and pool is decided
    offered: int  # of them, those that traffic has texts for
    turns: int | None  # until a harmless challenger passes by what there is; None: never
    pools: list[PoolView]
    beyond: dict[str, int]  # golden rows to import, by intent or pool
    group: str  # line of config.toml that judges those together; "" where none is needed
    not_shown: str  # what a pool does not show of one intent; "" without pools


class NextGenerationView(View):
    """The golden generation to come."""

    rows: int  # to import
    each: dict[str, int]
    by: str | None  # when this one is worn, at the pace of its queries; None: not known yet
    due: bool  # it is time to collect them


class GenerationView(View):
    """The current golden generation: what judges, and what has retired into training."""

    number: int
    judging: int  # rows, bought ones too
    learned: dict[str, int]  # rows of it by the rule that gave them to training
    worn: int  # rows of generations before it that are learned
    queries_left: int
    next: NextGenerationView


class GoldenView(View):
    """The golden set: rows by intent, what it can decide, and the smallest that pays."""

    rows: dict[str, int]  # independent ones: a family is one
    contradicting: list[list[str]]  # pairs of samples with one text and two labels
    ahead: AheadView
    pays: int  # texts of the smallest set that decides nine of ten intents without labels
    pays_each: dict[str, int]
    pays_gain: float | None  # smallest gain that such a set finds four times in five
    pays_turns: int  # that one generation of it answers
    generation: GenerationView | None = None  # None: there is none


async def golden(request: Request) -> Response:
    """The golden set, and what deciding will take."""
    return answer(await run_in_threadpool(_golden, request.app.state.runtime))


def _golden(runtime: Runtime) -> GoldenView:
    with runtime.store.read() as con:
        standing = evidence.undisputed(runtime, con)
        offered = evidence.offered(runtime, con)
        generation = generation_view(runtime, con)
    table, known = runtime.config.gates, runtime.intents
    pairs = evidence.contradictions(standing)
    aside = {name for pair in pairs for name in pair}
    rows = evidence.independent_rows(row for row in standing if row.id not in aside)
    pools = gates.make_pools(rows, offered, known, table.intents)
    ahead = gates.outlook(rows, offered, known, table.intents, pools)
    pays = gates.golden_that_pays(known, table)
    stuck = [
        name
        for part in ahead.beyond
        for name in next((pool.intents for pool in pools if pool.name == part), (part,))
    ]
    every = {intent.name: rows.get(intent.name, 0) for intent in known}
    return GoldenView(
        rows=dict(sorted(rows.items())),
        contradicting=[list(pair) for pair in pairs],
        ahead=_ahead(ahead, gates.group_line(stuck, every, offered, known, table.intents)),
        pays=pays.texts,
        pays_each=dict(pays.each),
        pays_gain=pays.gain if pays.gain < 1 else None,
        pays_turns=pays.turns,
        generation=generation,
    )


def generation_view(runtime: Runtime, con: Connection) -> GenerationView | None:
    """The current generation: how many rows judge, how many retired by which rule, what is next."""
    current = golden_set.current_generation(con)
    if current is None:
        return None
    table = runtime.config.gates
    asked = [row["at"] for row in golden_set.queries(con, current.number)]
    wanted = gates.next_generation(asked, runtime.intents, table, runtime.clock())
    return GenerationView(
        number=current.number,
        judging=len(samples.golden(con)),
        learned=retired.counts(con, current.number),
        worn=retired.worn(con, current.number),
        queries_left=max(0, table.overall.queries - current.queries_used),
        next=NextGenerationView(
            rows=wanted.rows,
            each=dict(wanted.each),
            by=wanted.by.isoformat() if wanted.by else None,
            due=wanted.due,
        ),
    )


def _ahead(found: gates.Outlook, group: str, pools: Sequence[PoolView] = ()) -> AheadView:
    unjudged = [
        PoolView(pool=pool.name, intents=list(pool.intents), margin=pool.margin)
        for pool in found.pools
    ]
    return AheadView(
        labels=found.labels,
        offered=found.offered,
        turns=found.turns,
        pools=list(pools) or unjudged,
        beyond=dict(found.beyond),
        group=group,
        not_shown=NOT_SHOWN if found.pools else "",
    )


def ahead(con: Connection, decision: Decision, turn: Turn | None) -> AheadView | None:
    """What deciding this decision takes, as its gates saw it; None where they compared nothing.

    Of an earlier decision of a turn that was judged again there is no record any more.
    """
    if turn is None or turn.decision != decision.id or not decision.intents:
        return None
    if turn.record.judgement is None or decision.champion is None:
        return None
    judged = evidence.JUDGEMENT.validate_python(turn.record.judgement)
    shown = evidence.EVIDENCE.validate_python(turn.record.evidence)
    rules: Mapping[str, Any] | None = turn.record.rules
    if rules is None or shown.offered is None:
        return None
    rule = evidence.RULES.validate_python(rules["gates"]).intents
    rows = {line.intent: line.n for line in decision.intents}
    found = gates.outlook(rows, shown.offered, shown.intents, rule, shown.pools)
    pools = [
        PoolView(
            pool=pool.name,
            intents=list(pool.intents),
            margin=pool.margin,
            n=pool.n,
            losses=pool.losses,
            gains=pool.gains,
            e_value=pool.e_value,
            verdict=pool.verdict,
            labels_needed=pool.labels_needed,
            unseen=list(pool.unseen),
        )
        for pool in judged.pools
    ]
    view = _ahead(found, judged.group, pools)
    view.labels = sum(judged.labels_wanted.values())
    there = (min(count, shown.offered.get(name, 0)) for name, count in judged.labels_wanted.items())
    view.offered = sum(there)
    view.beyond = dict(judged.beyond)
    view.turns = None if judged.beyond else found.turns
    return view
