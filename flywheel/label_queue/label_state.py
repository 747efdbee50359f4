"""State of the labelling queue: answers given, agreed labels, and labels the gates still need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flywheel import labelling
from flywheel.labelling import Standing, Word
from flywheel.store import Connection, decisions, labels, turns
from flywheel.store.labels import Said
from flywheel.store.turns import Turn
from flywheel.turn.samples import unjudged


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelState:
    """All answers of the queue, and the standing of each item."""

    said: Mapping[str, Said]  # the newest answer of each item
    by_item: Mapping[str, Sequence[Said]]  # oldest first
    words: tuple[Word, ...]
    standings: Mapping[str, Standing]

    def open_to(self, item: str, person: str, share: float) -> bool:
        """Whether an item is in a person's queue; a share `share` of all items is asked twice."""
        twice = labelling.drawn("second", item, share)
        return labelling.is_open(self.standings.get(item), person, twice=twice)


def label_state(con: Connection) -> LabelState:
    """Read all answers that were not withdrawn."""
    answers = labels.standing(con)
    words = tuple(
        Word(
            number=answer.number,
            item=answer.item,
            person=answer.person,
            label=answer.intent if answer.what == "label" else None,
            resolves=answer.resolves,
        )
        for answer in answers
    )
    by_item: dict[str, list[Said]] = {}
    for answer in answers:
        by_item.setdefault(answer.item, []).append(answer)
    return LabelState(
        said={answer.item: answer for answer in answers},
        by_item=by_item,
        words=words,
        standings=labelling.standings(words),
    )


def held_turns(con: Connection) -> list[Turn]:
    """Return the held turns whose challenger waits for labels."""
    waiting = [d.turn for d in decisions.list_decisions(con, status="pending") if d.turn]
    waiting_turns = [turns.get(con, name) for name in waiting]
    return [turn for turn in waiting_turns if turn.state == "held" and turn.record.labels_wanted]


def still_wanted(con: Connection, state: LabelState) -> dict[str, int]:
    """Return the labels by intent that held turns wait for, minus those given and not yet used."""
    effects = labels.effects(con)
    unused: Counter[str] = Counter()
    for item, standing in state.standings.items():
        waits = item not in effects or effects[item].intent != standing.label
        if state.said[item].kind == "gate" and standing.label and waits:
            unused[standing.label] += 1
    wanted: Counter[str] = Counter()
    for turn in held_turns(con):
        requested = Counter(turn.record.labels_wanted)
        wanted |= requested - unused - unjudged(con, turn)
    return dict(wanted)
