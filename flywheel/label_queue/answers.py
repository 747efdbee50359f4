"""What a person answers: kept when it is given, by whom the socket or the token says gave it.

An answer can be taken back. When it takes effect, and as what, is said in `effects`.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from flywheel import curation, labelling
from flywheel.errors import FlywheelError, NotFound, Refused
from flywheel.label_queue.effects import settle
from flywheel.label_queue.label_state import LabelState, label_state, still_wanted
from flywheel.label_queue.queue import conflict_key, queue
from flywheel.labelling import Item
from flywheel.metrics import agreement
from flywheel.parameters import argument_problems
from flywheel.records import NONE, Arguments, Intent
from flywheel.store import Connection, label_candidates, labels
from flywheel.store.labels import Said
from flywheel.turn.runtime import Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelAnswer:
    """One answer to one item."""

    item: str
    intent: str | None  # None: skipped
    arguments: Arguments | None = None
    text: str | None = None  # where given, it must be the item's: a file may have been edited


@dataclass(frozen=True, slots=True, kw_only=True)
class _About:
    """What an answer is on."""

    kind: str
    text: str
    prediction: str | None = None
    predicted: str | None = None
    predicted_at: datetime | None = None


def asked(runtime: Runtime, person: str, most: int = 50) -> tuple[dict[str, Any], tuple[Item, ...]]:
    """What one person is asked; `most` of the audit sample is listed.

    Returns:
        {"person", "waiting": items by kind, "wanted": labels that the gates want, "intents":
        [{"name", "description"}], "agreement"}; and the items, the most valuable first.
    """
    with runtime.store.read() as con:
        found = queue(runtime, con, person, most)
        kept = label_state(con)
    overview = {
        "person": person,
        "waiting": found.waiting,
        "wanted": sum(found.wanted.values()),
        "intents": [
            {"name": each.name, "description": each.description} for each in runtime.intents
        ],
        "agreement": agreed(kept),
    }
    return overview, found.items


def shown(item: Item) -> dict[str, Any]:
    """An item as its labeller sees it."""
    return {
        "item": item.id,
        "kind": item.kind,
        "text": item.text,
        "guesses": list(item.guesses),
        "said": list(item.said),
        "again": item.again,
    }


def agreed(kept: LabelState) -> dict[str, Any]:
    """How far two people agree by themselves, and how many items stand disputed."""
    found = agreement(labelling.judged_twice(kept.words))
    disputed = sum(standing.disputed for standing in kept.standings.values())
    people = len({word.person for word in kept.words if word.label is not None})
    return {**asdict(found), "disputed": disputed, "people": people}


def agreement_of(runtime: Runtime) -> dict[str, Any]:
    """`agreed`, of what is stored."""
    with runtime.store.read() as con:
        return agreed(label_state(con))


def give(runtime: Runtime, person: str, answer: LabelAnswer) -> dict[str, Any]:
    """Keep one answer; a gate's last wanted label lets all of them take effect.

    Returns:
        {"item", "state": kept, repeated or skipped, "settled": as of `settle`, or None
        while nothing took effect}.

    Raises:
        NotFound: there is no such item.
        Refused: the answer cannot be used; the message says why.
    """
    with runtime.store.write() as con:
        (state,) = _keep(runtime, con, person, [answer])
        if isinstance(state, FlywheelError):
            raise state
        last = answer.item.startswith("gate:") and not still_wanted(con, label_state(con))
        settled = settle(runtime, kinds=("gate",)) if last and state == "kept" else None
    return {"item": answer.item, "state": state, "settled": settled}


def give_many(
    runtime: Runtime, person: str, answers: Sequence[LabelAnswer]
) -> list[str | FlywheelError]:
    """Keep many answers, which take effect at once; each one's state, or what is wrong with it."""
    with runtime.store.write() as con:
        states = _keep(runtime, con, person, answers)
        settle(runtime)
    return states


def undo(runtime: Runtime, person: str) -> dict[str, Any]:
    """Take back the person's last answer.

    Returns:
        {"item", "was": the intent or None, "asked": the item as in the queue, or None where the
        queue no longer has it}.

    Raises:
        NotFound: there is no answer left to take back.
    """
    with runtime.store.write() as con:
        said = labels.take_back(con, person)
    if said is None:
        raise NotFound("there is no answer to take back", hint="go on with the next text")
    _, items = asked(runtime, person)
    item = next((each for each in items if each.id == said.item), None)
    return {"item": said.item, "was": said.intent, "asked": shown(item) if item else None}


def _keep(
    runtime: Runtime, con: Connection, person: str, answers: Sequence[LabelAnswer]
) -> list[str | FlywheelError]:
    """Write down what can be used."""
    kept = label_state(con)
    about = _about(runtime, con, kept, answers)
    own = {(word.item, word.label) for word in kept.words if word.person == person}
    states: list[str | FlywheelError] = []
    said: list[Said] = []
    for answer in answers:
        standing = kept.standings.get(answer.item)
        disputed = bool(standing and standing.disputed)
        on = about.get(answer.item)
        wrong = _wrong(runtime, answer, on)
        if on is None or wrong is not None:
            states.append(wrong or _unknown(answer.item))
        elif not disputed and (answer.item, answer.intent) in own:
            states.append("repeated")
        else:
            said.append(_said(runtime, person, answer, on, resolves=disputed))
            own.add((answer.item, answer.intent))
            states.append("kept" if answer.intent else "skipped")
    labels.add(con, said)
    return states


def _about(
    runtime: Runtime, con: Connection, kept: LabelState, answers: Sequence[LabelAnswer]
) -> dict[str, _About]:
    """What the answers are on; an item that is not there is missing."""
    found: dict[str, _About] = {}
    keys: dict[str, tuple[str, str]] = {}
    for answer in answers:
        try:
            keys[answer.item] = labelling.kind_and_key(answer.item)
        except ValueError:
            continue
    seen = label_candidates.named(con, [key for kind, key in keys.values() if kind != "conflict"])
    differing: dict[str, str] = {}
    if any(kind == "conflict" for kind, _ in keys.values()):
        differing = {
            conflict_key(one.text): one.text
            for one in reversed(label_candidates.conflicts(con, curation.AGREED))
        }
    share = runtime.config.labelling.audit
    for item, (kind, key) in keys.items():
        if item in kept.said:
            said = kept.said[item]  # the prediction itself may be in the archive by now
            found[item] = _About(
                kind=kind,
                text=said.text,
                prediction=said.prediction,
                predicted=said.predicted,
                predicted_at=said.predicted_at,
            )
        elif kind == "conflict" and key in differing:
            found[item] = _About(kind=kind, text=differing[key])
        elif key in seen and (kind == "audit") == labelling.drawn("audit", key, share):
            one = seen[key]
            found[item] = _About(
                kind=kind,
                text=one.text,
                prediction=one.id,
                predicted=one.intent,
                predicted_at=one.ts,
            )
    return found


def _wrong(runtime: Runtime, answer: LabelAnswer, on: _About | None) -> FlywheelError | None:
    """Why an answer cannot be used; None: it can."""
    if on is None:
        return _unknown(answer.item)
    if answer.text is not None and answer.text != on.text:
        return Refused(f"the text of {answer.item} is another one", hint="export the queue again")
    if answer.intent is None:
        return None
    known = {each.name: each for each in runtime.intents} | {NONE: Intent(name=NONE)}
    if answer.intent not in known:
        near = difflib.get_close_matches(answer.intent, known, 1)
        hint = f"did you mean `{near[0]}`?" if near else "`flywheel intents` lists them"
        return Refused(f"there is no intent `{answer.intent}`", hint=hint)
    problems = argument_problems(known[answer.intent], answer.arguments, complete=False)
    if problems:
        said = "; ".join(map(str, problems))
        return Refused(said, hint="see the intent's parameters in intents.toml")
    return None


def _unknown(item: str) -> NotFound:
    return NotFound(
        f"nobody is asked about {item}", hint="`flywheel samples label --list` shows the queue"
    )


def _said(
    runtime: Runtime, person: str, answer: LabelAnswer, on: _About, *, resolves: bool
) -> Said:
    return Said(
        item=answer.item,
        kind=on.kind,
        prediction=on.prediction,
        predicted=on.predicted,
        predicted_at=on.predicted_at,
        text=on.text,
        what="label" if answer.intent else "skip",
        intent=answer.intent,
        arguments=answer.arguments,
        person=person,
        resolves=resolves,
        at=runtime.clock(),
    )
