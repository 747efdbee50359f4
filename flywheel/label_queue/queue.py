"""What a person is asked next: the queue of `flywheel samples label`.

Texts for the gates come from traffic that nobody has labelled and that is near nothing anybody
was trained on or is judged by. They are drawn by lot among what production answered with the
undecided intent, and among what it answered with the intents that are confused with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from flywheel import content, curation, labelling, lineage
from flywheel.label_queue.label_state import LabelState, held_turns, label_state, still_wanted
from flywheel.labelling import Item, Kind
from flywheel.records import NONE
from flywheel.store import Connection, adapters, health, label_candidates, reports, samples
from flywheel.turn import evidence
from flywheel.turn.artifacts import learned_rows
from flywheel.turn.curate import window_start
from flywheel.turn.diagnose import held_out, intent_health
from flywheel.turn.runtime import Runtime

_NEIGHBOURS = 3  # intents confused with an undecided one, that are drawn from too
_SPARE = 2  # candidates for each label wanted: some will turn out to be of another intent
_LOOKED_AT = 10  # candidates looked at for one that is taken; the others are near known texts
_MOST_UNCERTAIN = 500
_GUESSES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """What a person is asked, in order, and how many labels the gates want."""

    items: tuple[Item, ...]
    waiting: Mapping[str, int]  # by kind; of the audit more than are listed
    wanted: Mapping[str, int]  # by intent, less what was given


def queue(runtime: Runtime, con: Connection, person: str, most: int) -> Queue:
    """What this person may be asked now, the most valuable first; `most` of the audit sample."""
    kept = label_state(con)
    wanted = still_wanted(con, kept)
    since = window_start(runtime, con)
    bar = labelling.bar(runtime.config.labelling.audit)
    confused = _confused(runtime, con)
    audited, whole = label_candidates.audited(con, since, bar, most)
    found = [
        *_again(runtime, kept, person, confused),
        *_for_gates(runtime, con, wanted, since, bar),
        *(_item("audit", one, rank=(0.0, one.lot)) for one in audited),
        *_conflicts(runtime, con, kept),
        *_uncertain(runtime, con, since, bar, confused),
    ]
    items = tuple(labelling.ordered(found))
    counts = Counter(item.kind for item in items)
    waiting: dict[str, int] = {kind: counts[kind] for kind in labelling.KINDS}
    waiting["audit"] += whole - len(audited)
    return Queue(items=items, waiting=waiting, wanted=wanted)


def conflict_key(text: str) -> str:
    """Name a text by what it says, whatever its case or punctuation."""
    return content.content_id("t", curation.normalise(text))


def trained_texts(runtime: Runtime, con: Connection) -> list[str]:
    """Every text that a model in question was trained on, or that the next one may be."""
    texts = {row.text for row in samples.training(con)}
    texts |= {row.text for row in health.labelled_texts(con)}
    champion = adapters.champion(con)
    datasets = {adapters.get(con, champion).dataset} if champion else set()
    datasets |= {turn.record.dataset for turn in held_turns(con)}
    for name in datasets - {""}:
        texts |= {row["text"] for row in learned_rows(runtime.datasets_dir / f"{name}.parquet")}
    return sorted(texts)


def _item(
    kind: Kind,
    one: label_candidates.SeenPrediction,
    rank: tuple[float, str],
    guesses: Sequence[str] = (),
) -> Item:
    return Item(
        id=labelling.item_id(kind, one.id),
        kind=kind,
        text=one.text,
        prediction=one.id,
        guesses=tuple(guesses),
        rank=rank,
    )


def _again(
    runtime: Runtime, kept: LabelState, person: str, confused: Mapping[str, Sequence[str]]
) -> list[Item]:
    """What somebody was asked already, and this person may be asked too."""
    share = runtime.config.labelling.second_opinion
    found = []
    for item, standing in kept.standings.items():
        if not kept.open_to(item, person, share):
            continue
        said = kept.said[item]
        kind, _ = labelling.kind_and_key(item)
        guesses: tuple[str, ...] = ()
        if kind not in labelling.BLIND and said.predicted and not standing.disputed:
            guesses = _guesses(runtime, said.predicted, confused)
        found.append(
            Item(
                id=item,
                kind="conflict" if standing.disputed else kind,
                text=said.text,
                prediction=said.prediction,
                guesses=guesses,
                said=standing.labels if standing.disputed else (),
                again=True,
                rank=(0.0, labelling.lot("again", item)),
            )
        )
    return found


def _for_gates(
    runtime: Runtime, con: Connection, wanted: Mapping[str, int], since: datetime, bar: str
) -> list[Item]:
    """Texts for what the gates want, mixed by lot, so that their order tells nothing."""
    if not wanted:
        return []
    near = _neighbours(con, wanted)
    drawn = {*wanted, *(name for names in near.values() for name in names)}
    former, today = lineage.former_names(runtime.intents), lineage.current_names(runtime.intents)
    drawn |= {old for name in drawn for old in former.get(name, ())}
    most = max(wanted.values()) * _SPARE * _LOOKED_AT
    pool = label_candidates.answered_as(con, drawn, since, bar, most)
    fit = _fit(runtime, pool, [*trained_texts(runtime, con), *held_out(con)])
    by_intent: dict[str, list[label_candidates.SeenPrediction]] = {}
    for one in fit:
        by_intent.setdefault(today.get(one.intent, one.intent), []).append(one)
    taken: dict[str, label_candidates.SeenPrediction] = {}
    for intent, count in wanted.items():
        for one in by_intent.get(intent, ())[: _SPARE * count]:
            taken[one.id] = one
        for name in near[intent]:
            for one in by_intent.get(name, ())[: max(1, count // (2 * _NEIGHBOURS))]:
                taken[one.id] = one
    return [_item("gate", one, rank=(0.0, one.lot)) for one in taken.values()]


def _neighbours(con: Connection, wanted: Iterable[str]) -> dict[str, list[str]]:
    """The intents that golden texts of each wanted one were answered with instead."""
    mistaken: dict[str, Counter[str]] = {name: Counter() for name in wanted}
    for turn in held_turns(con):
        report = reports.load(con, turn.id)
        for row in evidence.of(report, "golden") if report else ():
            if row.intent in mistaken:
                answers = {row.champion_intent, row.challenger_intent} - {None, row.intent}
                mistaken[row.intent].update(name for name in answers if name)
    return {
        name: [intent for intent, _ in counts.most_common(_NEIGHBOURS)]
        for name, counts in mistaken.items()
    }


def _fit(
    runtime: Runtime, pool: Sequence[label_candidates.SeenPrediction], known: Sequence[str]
) -> list[label_candidates.SeenPrediction]:
    """Those that are near no known text and near none before them."""
    jaccard = runtime.config.gates.hygiene.jaccard
    texts = [one.text for one in pool]
    unfit = {pair.i for pair in curation.near_duplicates(texts, known, jaccard)}
    for pair in curation.near_duplicates(texts, texts, jaccard):
        if pair.j < pair.i and pair.j not in unfit:
            unfit.add(pair.i)
    return [one for index, one in enumerate(pool) if index not in unfit]


def _conflicts(runtime: Runtime, con: Connection, kept: LabelState) -> list[Item]:
    """Texts on which raters differ, as far as a person's word on them is missing and could be
    learnt.
    """
    differing = label_candidates.conflicts(con, curation.AGREED)
    leaked = _leaked(runtime, con, [one.text for one in differing])
    trusted = [one.text for one in samples.training(con) if one.origin in curation.TRUSTED]
    settled = {conflict_key(text) for text in trusted}
    found: dict[str, Item] = {}
    for index, one in enumerate(differing):
        key = conflict_key(one.text)
        item = labelling.item_id("conflict", key)
        if index in leaked or key in settled or item in kept.said or item in found:
            continue
        found[item] = Item(
            id=item,
            kind="conflict",
            text=one.text,
            guesses=tuple(name for name in one.labels if name in runtime.known_intents),
            said=one.labels,
            rank=(-float(one.votes), key),
        )
    return list(found.values())


def _uncertain(
    runtime: Runtime,
    con: Connection,
    since: datetime,
    bar: str,
    confused: Mapping[str, Sequence[str]],
) -> list[Item]:
    below = runtime.config.labelling.uncertain
    pool = label_candidates.uncertain(con, below, since, bar, _MOST_UNCERTAIN)
    leaked = _leaked(runtime, con, [one.text for one in pool])
    return [
        _item(
            "uncertain",
            one,
            (one.confidence or 0.0, one.id),
            _guesses(runtime, one.intent, confused),
        )
        for index, one in enumerate(pool)
        if index not in leaked
    ]


def _leaked(runtime: Runtime, con: Connection, texts: Sequence[str]) -> Collection[int]:
    """Places of texts that are too near one that judges models: nothing is learnt from them."""
    if not texts:
        return ()
    near = curation.near_duplicates(texts, held_out(con), runtime.config.curation.leak)
    return {pair.i for pair in near}


def _confused(runtime: Runtime, con: Connection) -> dict[str, list[str]]:
    """What each intent is confused with in production, most often first."""
    found = intent_health(runtime, con, runtime.clock())
    return {each.intent: [name for name, _ in each.confused_with] for each in found}


def _guesses(
    runtime: Runtime, predicted: str, confused: Mapping[str, Sequence[str]]
) -> tuple[str, ...]:
    name = lineage.current_names(runtime.intents).get(predicted, predicted)
    names = dict.fromkeys([name, *confused.get(name, ())])
    return tuple(each for each in names if each in runtime.known_intents - {NONE})[:_GUESSES]
