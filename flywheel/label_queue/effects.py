"""Effects of people's labels: golden samples, feedback, and training samples.

Labels take effect when the person is done, when the gates have the labels they wait for, or after
ten minutes without an answer. A gate's label becomes a bought golden sample. A label of the audit
sample, or of a doubtful intent, becomes an expert's feedback. A resolved conflict, a doubted or an
uncertain text becomes a training sample, which outvotes the raters. A label for a first champion
becomes what the lot of its text says: a training, dev or golden sample. Uncertain texts do not
become feedback: they were selected by the champion's low confidence, so they would bias the health
of intents and the fresh set. A label that changes later, by a second opinion or a withdrawal,
updates its effect.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from flywheel import content, curation, datasets, labelling, lineage
from flywheel.errors import NotFound
from flywheel.label_queue.first_labels import DealtPlace, dealer
from flywheel.label_queue.known_texts import trained_texts
from flywheel.label_queue.label_state import held_turns
from flywheel.records import Feedback, Sample
from flywheel.store import Connection, events, golden_set, labels, samples
from flywheel.store.champion_answers import DRAWN_BY_LOT
from flywheel.store.labels import Effect, Said
from flywheel.turn.label_words import LabelState, label_state
from flywheel.turn.runtime import Runtime
from flywheel.turn.samples import Incoming, add_samples

_QUIET = timedelta(minutes=10)
_BY = "labelling"


def settle(
    runtime: Runtime, *, kinds: Collection[str] = labelling.KINDS, quiet: bool = False
) -> dict[str, int]:
    """Apply the effects of new and changed labels; idempotent.

    Args:
        runtime: the loop.
        kinds: kinds of items to settle.
        quiet: do nothing unless the newest answer is ten minutes old: the person has left.

    Returns:
        {"golden", "feedback", "train": number of labels that took effect as such, "withdrawn":
        number of effects taken back, "unfit": labels not used since a model was trained on a near
        text meanwhile, "judging": number of held challengers that are judged again}.
    """
    now = runtime.clock()
    with runtime.store.write() as con:
        state, effects = label_state(con), labels.effects(con)
        changed = [
            item
            for item in _changed(state, effects)
            if item.split(":")[0] in kinds and _is_current_intent(runtime, state, item)
        ]
        newest = max((answer.at for answer in state.said.values()), default=now)
        if not changed or (quiet and newest > now - _QUIET):
            return _counts()
        by_kind: dict[str, list[str]] = {}
        for item in changed:
            by_kind.setdefault(item.split(":")[0], []).append(item)
        places = _dealt(runtime, con, state, by_kind.get("first", []))
        golden = {row.sample.id for row in samples.golden(con)} if places else set()
        judging = [
            item
            for item, place in places.items()
            if (place and place.split == "golden")
            or (item in effects and effects[item].sample in golden)
        ]
        judging += by_kind.get("gate", [])
        counts = _add_golden(runtime, con, state, effects, judging, places)
        learned = [
            item for kind in ("conflict", "doubted", "uncertain") for item in by_kind.get(kind, [])
        ]
        learned += [item for item in places if item not in judging]
        counts["train"], withdrawn = _add_training(runtime, con, state, effects, learned, places)
        counts["withdrawn"] += withdrawn
        by_lot = [item for kind in DRAWN_BY_LOT for item in by_kind.get(kind, [])]
        counts["feedback"] = _add_feedback(con, state, by_lot, now)
    return counts


def _dealt(
    runtime: Runtime, con: Connection, state: LabelState, items: Sequence[str]
) -> dict[str, DealtPlace | None]:
    """Where the texts of items are dealt to, those before them known; None: they are not used."""
    places: dict[str, DealtPlace | None] = {}
    if not items:
        return places
    known = dealer(runtime, con)
    for item in items:
        label = _agreed_answer(state, item)
        places[item] = place = known.place(state.said[item].text) if item in state.said else None
        if place is not None and label is not None:
            known.add(_sample(label, place.split, place.family))
    return places


def _counts(**counts: int) -> dict[str, int]:
    names = ("golden", "feedback", "train", "withdrawn", "unfit", "judging")
    return dict.fromkeys(names, 0) | counts


def _changed(state: LabelState, effects: Mapping[str, Effect]) -> list[str]:
    """Items whose agreed label differs from the label in effect, sorted."""
    items = []
    for item in sorted({*state.standings, *effects}):
        label = state.standings[item].label if item in state.standings else None
        effective = effects[item].intent if item in effects else None
        if label != effective:
            items.append(item)
    return items


def _is_current_intent(runtime: Runtime, state: LabelState, item: str) -> bool:
    """Whether the agreed label is a current intent, or the former name of one."""
    label = state.standings[item].label if item in state.standings else None
    names = lineage.current_names(runtime.intents)
    return label is None or names.get(label, label) in runtime.known_intents


def _add_golden(
    runtime: Runtime,
    con: Connection,
    state: LabelState,
    effects: Mapping[str, Effect],
    items: Sequence[str],
    places: Mapping[str, DealtPlace | None],
) -> dict[str, int]:
    """Add golden samples; the sample of a changed label is set aside as disputed."""
    now, withdrawn = runtime.clock(), 0
    new_samples: dict[str, Sample] = {}
    people = set()
    for item in items:
        old_sample = effects[item].sample if item in effects else None
        if old_sample is not None and effects[item].intent is not None:
            with contextlib.suppress(NotFound):  # it went with its generation
                golden_set.set_disputed(
                    con, old_sample, disputed=True, by=_BY, because="its label changed", at=now
                )
                withdrawn += 1
        label = _agreed_answer(state, item)
        if label is not None:
            place = places.get(item)
            new_samples[item] = _sample(label, "golden", place.family if place else "")
            people.add(label.person)
    unfit = _met_in_training(
        runtime, con, {item: sample.text for item, sample in new_samples.items()}
    )
    fit = {item: sample for item, sample in new_samples.items() if item not in unfit}
    waiting = len(held_turns(con))
    given = [Incoming(sample=sample) for sample in fit.values()]
    added = add_samples(runtime, given, by=", ".join(sorted(people)) or _BY)["accepted"]
    doubted = set(golden_set.disputed_samples(con))
    for sample in fit.values():
        if sample.id in doubted:  # it has its first label again
            golden_set.set_disputed(
                con, sample.id, disputed=False, by=_BY, because="settled", at=now
            )
    _record_effects(con, state, items, {item: sample.id for item, sample in fit.items()}, now)
    return _counts(
        golden=added,
        withdrawn=withdrawn,
        unfit=len(unfit),
        judging=waiting - len(held_turns(con)),
    )


def _add_training(
    runtime: Runtime,
    con: Connection,
    state: LabelState,
    effects: Mapping[str, Effect],
    items: Sequence[str],
    places: Mapping[str, DealtPlace | None],
) -> tuple[int, int]:
    """Add samples to learn from and to choose with, those of `places` where they are dealt to;
    return how many are new, and how many were withdrawn."""
    now, withdrawn = runtime.clock(), 0
    new_samples: dict[str, Sample] = {}
    for item in items:
        old_sample = effects[item].sample if item in effects else None
        withdrawn += bool(old_sample and labels.withdraw(con, old_sample, item))
        label = _agreed_answer(state, item)
        place = places.get(item, DealtPlace(split="train"))
        if label is not None and place is not None:
            new_samples[item] = _sample(label, place.split, place.family)
    added = add_samples(
        runtime, [Incoming(sample=sample) for sample in new_samples.values()], by=_BY
    )["accepted"]
    _record_effects(
        con, state, items, {item: sample.id for item, sample in new_samples.items()}, now
    )
    return added, withdrawn


def _add_feedback(con: Connection, state: LabelState, items: Sequence[str], now: datetime) -> int:
    """Add expert feedback on predictions; feedback is never withdrawn, only superseded."""
    audited = [
        (item, label) for item in items if (label := _agreed_answer(state, item)) is not None
    ]
    feedback = [
        Feedback(
            id=_feedback_id(item, label),
            prediction_id=label.prediction,
            ts=now,
            verdict="corrected",  # "correct" would vouch for the arguments too
            intent=label.intent,
            arguments=label.arguments,
            rater=label.person,
            rater_kind="expert",
        )
        for item, label in audited
        if label.prediction is not None
    ]
    added = events.add_feedback(con, feedback).new
    _record_effects(con, state, [item for item, _ in audited], {}, now)
    return added


def _feedback_id(item: str, label: Said) -> str:
    """An id that nobody can know beforehand: an event under it would keep the label out."""
    word = content.content_id("w", [label.person, label.at.isoformat()])
    return f"{item}@{label.number}-{word}"


def _agreed_answer(state: LabelState, item: str) -> Said | None:
    """The newest answer with the agreed label; None where there is no agreed label."""
    standing = state.standings.get(item)
    if standing is None or standing.label is None:
        return None
    return next(
        answer for answer in reversed(state.by_item[item]) if answer.intent == standing.label
    )


def _sample(label: Said, split: labelling.Dealt, family: str = "") -> Sample:
    assert label.intent is not None
    return Sample(
        id=datasets.sample_id(label.text, label.intent, label.arguments, "person", split),
        text=label.text,
        intent=label.intent,
        arguments=label.arguments,
        origin="person",
        split=split,
        family=family,
        provenance={
            "item": label.item,
            "rater": label.person,
            **({"prediction": label.prediction} if label.prediction else {}),
        },
    )


def _met_in_training(runtime: Runtime, con: Connection, texts: Mapping[str, str]) -> set[str]:
    """Items near a text that a model was, or may be, trained on: no evidence on that model."""
    if not texts:
        return set()
    items = list(texts)
    jaccard = runtime.config.gates.hygiene.jaccard
    matches = curation.near_duplicates(
        [texts[item] for item in items], trained_texts(runtime, con), jaccard
    )
    return {items[pair.i] for pair in matches}


def _record_effects(
    con: Connection,
    state: LabelState,
    items: Sequence[str],
    sample_of: Mapping[str, str],
    now: datetime,
) -> None:
    """Store which label of each item is in effect, and the sample that it made."""
    labels.add_effects(
        con,
        [
            Effect(
                item=item,
                intent=state.standings[item].label if item in state.standings else None,
                sample=sample_of.get(item),
                at=now,
            )
            for item in items
        ],
    )
