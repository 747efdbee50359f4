"""Answers of people to queue items: validated, deduplicated, stored, and withdrawn.

The person is the authenticated caller (socket or token). `effects` decides when and as what an
answer takes effect.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from flywheel import curation, labelling
from flywheel.errors import FlywheelError, NotFound, Refused
from flywheel.label_queue.effects import settle
from flywheel.label_queue.first_labels import asks, first_texts
from flywheel.label_queue.health_items import health_texts
from flywheel.label_queue.label_state import still_wanted
from flywheel.label_queue.queue import conflict_key, gate_texts, queue
from flywheel.labelling import Item
from flywheel.metrics import agreement
from flywheel.parameters import argument_problems
from flywheel.records import NONE, Arguments, Intent
from flywheel.store import Connection, adapters, label_candidates, labels
from flywheel.store.labels import Said
from flywheel.turn.label_words import LabelState, label_state, one_person
from flywheel.turn.runtime import Runtime

_DRAWN = frozenset({"gate", "first", "health"})
"""Kinds whose texts are drawn, and answered only as long as they are asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelAnswer:
    """One answer to one item."""

    item: str
    intent: str | None  # None: skipped
    arguments: Arguments | None = None
    text: str | None = None  # where given, it must equal the item's: a file may have been edited


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """The text and prediction that an answer is about."""

    kind: str
    text: str
    prediction: str | None = None
    predicted: str | None = None
    predicted_at: datetime | None = None


def asked(runtime: Runtime, person: str, most: int = 50) -> tuple[dict[str, Any], tuple[Item, ...]]:
    """Return one person's queue with an overview; at most `most` items of the audit sample.

    Returns:
        {"person", "waiting": number of items by kind, "wanted": number of labels that the gates
        need, "intents": [{"name", "description"}], "agreement"}; and the items, the most valuable
        first.
    """
    with runtime.store.read() as con:
        person_queue = queue(runtime, con, person, most)
        state = label_state(con)
    overview = {
        "person": person,
        "waiting": person_queue.waiting,
        "wanted": sum(person_queue.wanted.values()),
        "intents": [
            {"name": intent.name, "description": intent.description} for intent in runtime.intents
        ],
        "agreement": agreed(state),
    }
    return overview, person_queue.items


def shown(item: Item) -> dict[str, Any]:
    """Return the fields of an item that its labeller sees."""
    return {
        "item": item.id,
        "kind": item.kind,
        "text": item.text,
        "guesses": list(item.guesses),
        "said": list(item.said),
        "again": item.again,
    }


def agreed(state: LabelState) -> dict[str, Any]:
    """Return the agreement of independent labels, the disputed items, and the number of people."""
    pairwise = agreement(labelling.judged_twice(state.words))
    disputed = sum(standing.disputed for standing in state.standings.values())
    people = len({word.person for word in state.words if word.label is not None})
    return {**asdict(pairwise), "disputed": disputed, "people": people}


def agreement_of(runtime: Runtime) -> dict[str, Any]:
    """Return `agreed` of the stored answers."""
    with runtime.store.read() as con:
        return agreed(label_state(con))


def give(runtime: Runtime, person: str, answer: LabelAnswer) -> dict[str, Any]:
    """Store one answer; when it is the last label that a gate, or a first champion, needs, settle
    all labels of that kind.

    Returns:
        {"item", "state": kept, repeated or skipped, "settled": the result of `settle`, or None
        when nothing was settled}.

    Raises:
        NotFound: there is no such item.
        Refused: the answer is invalid; the message says why.
    """
    with runtime.store.write() as con:
        (status,) = _store(runtime, con, person, [answer])
        if isinstance(status, FlywheelError):
            raise status
        completed = _completed(runtime, con, answer.item) if status == "kept" else ()
        settled = settle(runtime, kinds=completed) if completed else None
    return {"item": answer.item, "state": status, "settled": settled}


def _completed(runtime: Runtime, con: Connection, item: str) -> tuple[labelling.Kind, ...]:
    """The kind of an item where no more labels of it are needed, this one included."""
    if item.startswith("gate:") and not still_wanted(con, label_state(con)):
        return ("gate",)
    if item.startswith("first:"):
        lack = asks(runtime, con)
        if lack is not None and lack.ready:
            return ("first",)
    return ()


def give_many(
    runtime: Runtime, person: str, answers: Sequence[LabelAnswer]
) -> list[str | FlywheelError]:
    """Store many answers and settle them at once; return a state or an error for each."""
    with runtime.store.write() as con:
        states = _store(runtime, con, person, answers)
        settle(runtime)
    return states


def undo(runtime: Runtime, person: str) -> dict[str, Any]:
    """Withdraw the person's last answer.

    Returns:
        {"item", "was": the intent, None for a skip, "asked": the item as in the queue, None where
        the queue no longer has it}.

    Raises:
        NotFound: there is no answer to withdraw.
    """
    with runtime.store.write() as con:
        withdrawn = labels.take_back(con, person)
    if withdrawn is None:
        raise NotFound("there is no answer to take back", hint="go on with the next text")
    _, items = asked(runtime, person)
    item = next((candidate for candidate in items if candidate.id == withdrawn.item), None)
    return {"item": withdrawn.item, "was": withdrawn.intent, "asked": shown(item) if item else None}


def _store(
    runtime: Runtime, con: Connection, person: str, answers: Sequence[LabelAnswer]
) -> list[str | FlywheelError]:
    """Validate, deduplicate and store answers; return a state or an error for each."""
    state = label_state(con)
    subjects = _subjects(runtime, con, state, answers)
    one = one_person(person)
    stored_answers = {(word.item, word.label) for word in state.words if word.person == one}
    states: list[str | FlywheelError] = []
    accepted: list[Said] = []
    for answer in answers:
        standing = state.standings.get(answer.item)
        disputed = bool(standing and standing.disputed)
        subject = subjects.get(answer.item)
        problem = _problem_with(runtime, answer, subject)
        if subject is None or problem is not None:
            states.append(problem or _no_such_item(answer.item))
        elif not disputed and (answer.item, answer.intent) in stored_answers:
            states.append("repeated")
        else:
            accepted.append(_stored_answer(runtime, person, answer, subject, resolves=disputed))
            stored_answers.add((answer.item, answer.intent))
            states.append("kept" if answer.intent else "skipped")
    labels.add(con, accepted)
    return states


def _subjects(
    runtime: Runtime, con: Connection, state: LabelState, answers: Sequence[LabelAnswer]
) -> dict[str, _Subject]:
    """The subject of each answer by item id; unknown items are missing."""
    subjects: dict[str, _Subject] = {}
    keys: dict[str, tuple[str, str]] = {}
    for answer in answers:
        try:
            keys[answer.item] = labelling.kind_and_key(answer.item)
        except ValueError:
            continue
    predictions = label_candidates.named(
        con, [key for kind, key in keys.values() if kind != "conflict"]
    )
    conflict_texts: dict[str, str] = {}
    if any(kind == "conflict" for kind, _ in keys.values()):
        conflict_texts = {
            conflict_key(row.text): row.text
            for row in reversed(
                label_candidates.conflicts(con, curation.AGREED, runtime.config.raters.experts)
            )
        }
    share = runtime.config.labelling.audit
    new = {kind for item, (kind, _) in keys.items() if item not in state.said}
    drawn = _drawn(runtime, con, new)
    for item, (kind, key) in keys.items():
        if item in state.said:
            stored = state.said[item]  # the prediction itself may be in the archive by now
            subjects[item] = _Subject(
                kind=kind,
                text=stored.text,
                prediction=stored.prediction,
                predicted=stored.predicted,
                predicted_at=stored.predicted_at,
            )
        elif kind == "conflict" and key in conflict_texts:
            subjects[item] = _Subject(kind=kind, text=conflict_texts[key])
        elif kind in _DRAWN and item not in drawn:
            continue
        elif key in predictions and (kind == "audit") == labelling.drawn("audit", key, share):
            prediction = predictions[key]
            subjects[item] = _Subject(
                kind=kind,
                text=prediction.text,
                prediction=prediction.id,
                predicted=prediction.intent,
                predicted_at=prediction.ts,
            )
    return subjects


def _drawn(runtime: Runtime, con: Connection, kinds: Collection[str]) -> frozenset[str]:
    """Items of these kinds whose texts were drawn to be asked about: any other text would be chosen
    by whoever labels it. Also those that had a label which was taken back."""
    drawn: set[str] = set()
    if "gate" in kinds:
        drawn |= {labelling.item_id("gate", key) for key in gate_texts(runtime, con)}
    if "first" in kinds:
        drawn |= {labelling.item_id("first", key) for key in _texts_for_first(runtime, con)}
    if "health" in kinds:
        drawn |= {labelling.item_id("health", key) for key in health_texts(runtime, con)}
    return frozenset(drawn | set(labels.effects(con)) if _DRAWN & set(kinds) else ())


def _texts_for_first(runtime: Runtime, con: Connection) -> frozenset[str]:
    """Predictions that may be labelled for a first champion; none once there is a champion."""
    if not runtime.config.labelling.first or adapters.champion(con) is not None:
        return frozenset()
    return frozenset(seen.id for seen in first_texts(runtime, con))


def _problem_with(
    runtime: Runtime, answer: LabelAnswer, subject: _Subject | None
) -> FlywheelError | None:
    """The error of an invalid answer; None for a valid one."""
    if subject is None:
        return _no_such_item(answer.item)
    if answer.text is not None and answer.text != subject.text:
        return Refused(f"the text of {answer.item} is another one", hint="export the queue again")
    if answer.intent is None:
        return None
    intents = {intent.name: intent for intent in runtime.intents} | {NONE: Intent(name=NONE)}
    if answer.intent not in intents:
        suggestions = difflib.get_close_matches(answer.intent, intents, 1)
        hint = (
            f"did you mean `{suggestions[0]}`?" if suggestions else "`flywheel intents` lists them"
        )
        return Refused(f"there is no intent `{answer.intent}`", hint=hint)
    problems = argument_problems(intents[answer.intent], answer.arguments, complete=False)
    if problems:
        detail = "; ".join(map(str, problems))
        return Refused(detail, hint="see the intent's parameters in intents.toml")
    return None


def _no_such_item(item: str) -> NotFound:
    return NotFound(
        f"nobody is asked about {item}", hint="`flywheel samples label --list` shows the queue"
    )


def _stored_answer(
    runtime: Runtime, person: str, answer: LabelAnswer, subject: _Subject, *, resolves: bool
) -> Said:
    return Said(
        item=answer.item,
        kind=subject.kind,
        prediction=subject.prediction,
        predicted=subject.predicted,
        predicted_at=subject.predicted_at,
        text=subject.text,
        what="label" if answer.intent else "skip",
        intent=answer.intent,
        arguments=answer.arguments,
        person=person,
        resolves=resolves,
        at=runtime.clock(),
    )
