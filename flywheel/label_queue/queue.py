"""The queue of one person (`flywheel samples label`): which items, in which order.

Texts for the gates are unlabelled predictions that are not near any training or evaluation text.
They are sampled at random from predictions of the undecided intent and of the intents that are
confused with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from flywheel import content, curation, labelling, lineage
from flywheel.label_queue.first_labels import first_items
from flywheel.label_queue.health_items import health_items
from flywheel.label_queue.known_texts import without_near_texts
from flywheel.label_queue.label_state import asked_for_gates, held_turns, still_wanted
from flywheel.labelling import Item, Kind
from flywheel.records import NONE
from flywheel.store import Connection, adapters, label_candidates, samples, turns
from flywheel.turn import evidence
from flywheel.turn.curate import window_start
from flywheel.turn.diagnose import held_out, intent_health
from flywheel.turn.label_words import LabelState, label_state
from flywheel.turn.runtime import Runtime

_NEIGHBOURS = 3  # confused intents to sample from, for each undecided intent
_CANDIDATES_PER_LABEL = 2  # some texts turn out to have another intent
_LOOKED_AT = 10  # predictions read for each candidate: many are near known texts
_MOST_UNCERTAIN = 500
_GUESSES = 5
_TURNS = 20  # looked back at for one that curated


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """One person's items in order, and the labels that the gates still need."""

    items: tuple[Item, ...]
    waiting: Mapping[str, int]  # number of items by kind, unlisted audit items included
    wanted: Mapping[str, int]  # number of labels by intent


def queue(runtime: Runtime, con: Connection, person: str, most: int) -> Queue:
    """Return a person's queue, the most valuable items first.

    Args:
        runtime: the loop.
        con: a reading connection.
        person: the owner of the queue.
        most: maximum number of audit items listed.
    """
    state = label_state(con)
    wanted = still_wanted(con, state)
    since = window_start(runtime, con)
    bar = labelling.bar(runtime.config.labelling.audit)
    known_health = intent_health(runtime, con, runtime.clock())
    confused = {item.intent: [name for name, _ in item.confused_with] for item in known_health}
    audited, audit_size = label_candidates.audited(con, since, bar, most)
    first, first_size = first_items(runtime, con, state, most)
    asked_first = {item.text for item in first}
    candidates = [
        *_second_opinions(runtime, state, person, confused),
        *_gate_items(runtime, con, wanted, since, bar),
        *first,
        *health_items(runtime, con, known_health),
        *(_item("audit", prediction, rank=(0.0, prediction.lot)) for prediction in audited),
        *_conflict_items(runtime, con, state),
        *_doubted_items(runtime, con, state),
        *(
            item
            for item in _uncertain_items(runtime, con, since, bar, confused)
            if item.text not in asked_first
        ),
    ]
    items = tuple(labelling.ordered(candidates))
    counts = Counter(item.kind for item in items)
    waiting: dict[str, int] = {kind: counts[kind] for kind in labelling.KINDS}
    waiting["audit"] += audit_size - len(audited)
    waiting["first"] += first_size - len(first)
    return Queue(items=items, waiting=waiting, wanted=wanted)


def conflict_key(text: str) -> str:
    """Return the key of a conflict item: a hash of the text's normal form."""
    return content.content_id("t", curation.normalise(text))


def _item(
    kind: Kind,
    prediction: label_candidates.SeenPrediction,
    rank: tuple[float, str],
    guesses: Sequence[str] = (),
) -> Item:
    return Item(
        id=labelling.item_id(kind, prediction.id),
        kind=kind,
        text=prediction.text,
        prediction=prediction.id,
        guesses=tuple(guesses),
        rank=rank,
    )


def _second_opinions(
    runtime: Runtime, state: LabelState, person: str, confused: Mapping[str, Sequence[str]]
) -> list[Item]:
    """Items answered by others that this person may answer too: second opinions and disputes."""
    share = runtime.config.labelling.second_opinion
    items = []
    for item, standing in state.standings.items():
        if not state.open_to(item, person, share):
            continue
        answer = state.said[item]
        kind, _ = labelling.kind_and_key(item)
        guesses: tuple[str, ...] = ()
        if kind not in labelling.BLIND and answer.predicted and not standing.disputed:
            guesses = _guesses(runtime, answer.predicted, confused)
        items.append(
            Item(
                id=item,
                kind="conflict" if standing.disputed else kind,
                text=answer.text,
                prediction=answer.prediction,
                guesses=guesses,
                said=standing.labels if standing.disputed else (),
                again=True,
                rank=(0.0, labelling.lot("again", item)),
            )
        )
    return items


def _gate_items(
    runtime: Runtime, con: Connection, wanted: Mapping[str, int], since: datetime, bar: str
) -> list[Item]:
    """Texts for the labels that gates need, in random order so that it reveals no intent."""
    if not wanted:
        return []
    neighbours = _neighbours(con, wanted)
    candidates = _drawn_for_gates(runtime, con, wanted, neighbours, since, bar)
    today = lineage.current_names(runtime.intents)
    usable = without_near_texts(runtime, con, candidates)
    by_intent: dict[str, list[label_candidates.SeenPrediction]] = {}
    for prediction in usable:
        by_intent.setdefault(today.get(prediction.intent, prediction.intent), []).append(prediction)
    chosen: dict[str, label_candidates.SeenPrediction] = {}
    for intent, count in wanted.items():
        for prediction in by_intent.get(intent, ())[: _CANDIDATES_PER_LABEL * count]:
            chosen[prediction.id] = prediction
        for name in neighbours[intent]:
            for prediction in by_intent.get(name, ())[: max(1, count // (2 * _NEIGHBOURS))]:
                chosen[prediction.id] = prediction
    return [_item("gate", prediction, rank=(0.0, prediction.lot)) for prediction in chosen.values()]


def gate_texts(runtime: Runtime, con: Connection) -> frozenset[str]:
    """Return the ids of the predictions that may be labelled for the gates.

    They are more than are asked about now, so that a queue that was exported can be imported when
    some of it was answered. Any other text would be chosen by whoever labels it.
    """
    wanted = asked_for_gates(con)
    if not wanted:
        return frozenset()
    since, bar = window_start(runtime, con), labelling.bar(runtime.config.labelling.audit)
    drawn = _drawn_for_gates(runtime, con, wanted, _neighbours(con, wanted), since, bar)
    return frozenset(prediction.id for prediction in drawn)


def _drawn_for_gates(
    runtime: Runtime,
    con: Connection,
    wanted: Mapping[str, int],
    neighbours: Mapping[str, Collection[str]],
    since: datetime,
    bar: str,
) -> list[label_candidates.SeenPrediction]:
    """Unlabelled predictions of the wanted intents and of those confused with them, by lot."""
    intents = {*wanted, *(name for names in neighbours.values() for name in names)}
    former = lineage.former_names(runtime.intents)
    intents |= {former_name for name in intents for former_name in former.get(name, ())}
    limit = max(wanted.values()) * _CANDIDATES_PER_LABEL * _LOOKED_AT
    return label_candidates.answered_as(con, intents, since, bar, limit)


def _neighbours(con: Connection, wanted: Iterable[str]) -> dict[str, list[str]]:
    """For each wanted intent, the intents most often answered instead on golden texts."""
    mistaken: dict[str, Counter[str]] = {name: Counter() for name in wanted}
    for turn in held_turns(con):
        report = adapters.load_report(con, turn.id)
        for row in evidence.of(report, "golden") if report else ():
            if row.intent in mistaken:
                answers = {row.champion_intent, row.challenger_intent} - {None, row.intent}
                mistaken[row.intent].update(name for name in answers if name)
    return {
        name: [intent for intent, _ in counts.most_common(_NEIGHBOURS)]
        for name, counts in mistaken.items()
    }


def _conflict_items(runtime: Runtime, con: Connection, state: LabelState) -> list[Item]:
    """Texts on which raters differ, without a trusted label, and not near a held-out text."""
    differing = label_candidates.conflicts(con, curation.AGREED, runtime.config.raters.experts)
    leaked = _leaked(runtime, con, [row.text for row in differing])
    trusted = [row.text for row in samples.training(con) if row.origin in curation.TRUSTED]
    settled = {conflict_key(text) for text in trusted}
    items: dict[str, Item] = {}
    for index, row in enumerate(differing):
        key = conflict_key(row.text)
        item = labelling.item_id("conflict", key)
        if index in leaked or key in settled or item in state.said or item in items:
            continue
        items[item] = Item(
            id=item,
            kind="conflict",
            text=row.text,
            guesses=tuple(name for name in row.labels if name in runtime.known_intents),
            said=row.labels,
            rank=(-float(row.votes), key),
        )
    return list(items.values())


def _doubted_items(runtime: Runtime, con: Connection, state: LabelState) -> list[Item]:
    """Texts whose label the newest curation doubts, those worth most first.

    The raters' label and what fits better are shown: the answer is learned, and judges nothing. A
    text that was asked about before, whatever for and whatever was said, is not asked again.
    """
    latest = next((one for one in turns.list_turns(con, _TURNS) if one.record.noise), None)
    asked = latest.record.noise.get("ask", ()) if latest else ()
    seen = label_candidates.named(con, [each["prediction"] for each in asked])
    rows = [(each, seen[each["prediction"]]) for each in asked if each["prediction"] in seen]
    leaked = _leaked(runtime, con, [prediction.text for _, prediction in rows])
    trusted = [row.text for row in samples.training(con) if row.origin in curation.TRUSTED]
    answered = [answer.text for answer in state.said.values()]
    settled = {conflict_key(text) for text in (*trusted, *answered)}
    share = runtime.config.labelling.audit
    return [
        Item(
            id=labelling.item_id("doubted", prediction.id),
            kind="doubted",
            text=prediction.text,
            prediction=prediction.id,
            guesses=tuple(
                name for name in (each["label"], each["fits"]) if name in runtime.known_intents
            ),
            said=(each["label"],),
            rank=(float(index), prediction.id),
        )
        for index, (each, prediction) in enumerate(rows)
        if index not in leaked
        and conflict_key(prediction.text) not in settled
        and not labelling.drawn("audit", prediction.id, share)
    ]


def _uncertain_items(
    runtime: Runtime,
    con: Connection,
    since: datetime,
    bar: str,
    confused: Mapping[str, Sequence[str]],
) -> list[Item]:
    below = runtime.config.labelling.uncertain
    candidates = label_candidates.uncertain(con, below, since, bar, _MOST_UNCERTAIN)
    leaked = _leaked(runtime, con, [prediction.text for prediction in candidates])
    return [
        _item(
            "uncertain",
            prediction,
            (prediction.confidence or 0.0, prediction.id),
            _guesses(runtime, prediction.intent, confused),
        )
        for index, prediction in enumerate(candidates)
        if index not in leaked
    ]


def _leaked(runtime: Runtime, con: Connection, texts: Sequence[str]) -> Collection[int]:
    """Indices of texts that are near a held-out text: they must not be trained on."""
    if not texts:
        return ()
    matches = curation.near_duplicates(texts, held_out(con), runtime.config.curation.leak)
    return {pair.i for pair in matches}


def _guesses(
    runtime: Runtime, predicted: str, confused: Mapping[str, Sequence[str]]
) -> tuple[str, ...]:
    name = lineage.current_names(runtime.intents).get(predicted, predicted)
    names = dict.fromkeys([name, *confused.get(name, ())])
    return tuple(intent for intent in names if intent in runtime.known_intents - {NONE})[:_GUESSES]
