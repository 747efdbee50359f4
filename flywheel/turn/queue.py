"""What a person is asked next: the queue of `flywheel samples label`.

Texts for the gates come from traffic that nobody has labelled and that is near nothing anybody
was trained on or is judged by. They are drawn by lot among what production answered with the
undecided intent, and among what it answered with the intents that are confused with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flywheel import content, curation, labelling, lineage
from flywheel.labelling import Item, Kind
from flywheel.records import NONE
from flywheel.store import Connection, adapters, health, label_candidates, reports, samples
from flywheel.turn import evidence
from flywheel.turn.artifacts import learned_rows
from flywheel.turn.diagnose import held_out, intent_health
from flywheel.turn.label_state import Book, book, held_turns, still_wanted
from flywheel.turn.runtime import Wheel

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


def queue(wheel: Wheel, con: Connection, person: str, most: int) -> Queue:
    """What this person may be asked now, the most valuable first; `most` of the audit sample."""
    kept = book(con)
    wanted = still_wanted(con, kept)
    since = window_start(wheel, con)
    bar = labelling.bar(wheel.config.labelling.audit)
    confused = _confused(wheel, con)
    audited, whole = label_candidates.audited(con, since, bar, most)
    found = [
        *_again(wheel, kept, person, confused),
        *_for_gates(wheel, con, wanted, since, bar),
        *(_item("audit", one, rank=(0.0, one.lot)) for one in audited),
        *_conflicts(wheel, con, kept),
        *_uncertain(wheel, con, since, bar, confused),
    ]
    items = tuple(labelling.ordered(found))
    counts = Counter(item.kind for item in items)
    waiting: dict[str, int] = {kind: counts[kind] for kind in labelling.KINDS}
    waiting["audit"] += whole - len(audited)
    return Queue(items=items, waiting=waiting, wanted=wanted)


def conflict_key(text: str) -> str:
    """Name a text by what it says, whatever its case or punctuation."""
    return content.content_id("t", curation.normalise(text))


def window_start(wheel: Wheel, con: Connection) -> datetime:
    """Asked about is what was predicted in `window_days` up to the newest prediction."""
    now = wheel.clock()
    newest = min(now, label_candidates.newest(con) or now)
    return newest - timedelta(days=wheel.config.intents.window_days)


def trained_texts(wheel: Wheel, con: Connection) -> list[str]:
    """Every text that a model in question was trained on, or that the next one may be."""
    texts = {row.text for row in samples.training(con)}
    texts |= {row.text for row in health.labelled_texts(con)}
    champion = adapters.champion(con)
    datasets = {adapters.get(con, champion).dataset} if champion else set()
    datasets |= {turn.cursor.get("dataset", "") for turn in held_turns(con)}
    for name in datasets - {""}:
        texts |= {row["text"] for row in learned_rows(wheel.datasets_dir / f"{name}.parquet")}
    return sorted(texts)


def _item(
    kind: Kind,
    one: label_candidates.Seen,
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
    wheel: Wheel, kept: Book, person: str, confused: Mapping[str, Sequence[str]]
) -> list[Item]:
    """What somebody was asked already, and this person may be asked too."""
    share = wheel.config.labelling.second_opinion
    found = []
    for item, standing in kept.standings.items():
        if not kept.open_to(item, person, share):
            continue
        said = kept.said[item]
        kind, _ = labelling.kind_and_key(item)
        guesses: tuple[str, ...] = ()
        if kind not in labelling.BLIND and said.predicted and not standing.disputed:
            guesses = _guesses(wheel, said.predicted, confused)
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
    wheel: Wheel, con: Connection, wanted: Mapping[str, int], since: datetime, bar: str
) -> list[Item]:
    """Texts for what the gates want, mixed by lot, so that their order tells nothing."""
    if not wanted:
        return []
    near = _neighbours(con, wanted)
    drawn = {*wanted, *(name for names in near.values() for name in names)}
    former, today = lineage.former_names(wheel.intents), lineage.current_names(wheel.intents)
    drawn |= {old for name in drawn for old in former.get(name, ())}
    most = max(wanted.values()) * _SPARE * _LOOKED_AT
    pool = label_candidates.answered_as(con, drawn, since, bar, most)
    fit = _fit(wheel, pool, [*trained_texts(wheel, con), *held_out(con)])
    by_intent: dict[str, list[label_candidates.Seen]] = {}
    for one in fit:
        by_intent.setdefault(today.get(one.intent, one.intent), []).append(one)
    taken: dict[str, label_candidates.Seen] = {}
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
    wheel: Wheel, pool: Sequence[label_candidates.Seen], known: Sequence[str]
) -> list[label_candidates.Seen]:
    """Those that are near no known text and near none before them."""
    jaccard = wheel.config.gates.hygiene.jaccard
    texts = [one.text for one in pool]
    unfit = {pair.i for pair in curation.near_duplicates(texts, known, jaccard)}
    for pair in curation.near_duplicates(texts, texts, jaccard):
        if pair.j < pair.i and pair.j not in unfit:
            unfit.add(pair.i)
    return [one for index, one in enumerate(pool) if index not in unfit]


def _conflicts(wheel: Wheel, con: Connection, kept: Book) -> list[Item]:
    """Texts on which raters differ, as far as a person's word on them is missing and could be
    learnt.
    """
    differing = label_candidates.conflicts(con, curation.AGREED)
    leaked = _leaked(wheel, con, [one.text for one in differing])
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
            guesses=tuple(name for name in one.labels if name in wheel.known_intents),
            said=one.labels,
            rank=(-float(one.votes), key),
        )
    return list(found.values())


def _uncertain(
    wheel: Wheel,
    con: Connection,
    since: datetime,
    bar: str,
    confused: Mapping[str, Sequence[str]],
) -> list[Item]:
    below = wheel.config.labelling.uncertain
    pool = label_candidates.uncertain(con, below, since, bar, _MOST_UNCERTAIN)
    leaked = _leaked(wheel, con, [one.text for one in pool])
    return [
        _item(
            "uncertain", one, (one.confidence or 0.0, one.id), _guesses(wheel, one.intent, confused)
        )
        for index, one in enumerate(pool)
        if index not in leaked
    ]


def _leaked(wheel: Wheel, con: Connection, texts: Sequence[str]) -> Collection[int]:
    """Places of texts that are too near one that judges models: nothing is learnt from them."""
    if not texts:
        return ()
    near = curation.near_duplicates(texts, held_out(con), wheel.config.curation.leak)
    return {pair.i for pair in near}


def _confused(wheel: Wheel, con: Connection) -> dict[str, list[str]]:
    """What each intent is confused with in production, most often first."""
    found = intent_health(wheel, con, wheel.clock())
    return {each.intent: [name for name, _ in each.confused_with] for each in found}


def _guesses(
    wheel: Wheel, predicted: str, confused: Mapping[str, Sequence[str]]
) -> tuple[str, ...]:
    name = lineage.current_names(wheel.intents).get(predicted, predicted)
    names = dict.fromkeys([name, *confused.get(name, ())])
    return tuple(each for each in names if each in wheel.known_intents - {NONE})[:_GUESSES]
