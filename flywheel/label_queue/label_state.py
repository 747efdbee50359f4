"""What was said so far of the labelling queue, what it comes to, and what the gates still want."""

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
    """What was said so far, and what it comes to."""

    said: Mapping[str, Said]  # the newest of each item
    by_item: Mapping[str, Sequence[Said]]  # oldest first
    words: tuple[Word, ...]
    standings: Mapping[str, Standing]

    def open_to(self, item: str, person: str, share: float) -> bool:
        """Whether a person is asked an item, when `share` of all is asked twice."""
        twice = labelling.drawn("second", item, share)
        return labelling.is_open(self.standings.get(item), person, twice=twice)


def label_state(con: Connection) -> LabelState:
    """Read what was said."""
    said = labels.standing(con)
    words = tuple(
        Word(
            number=each.number,
            item=each.item,
            person=each.person,
            label=each.intent if each.what == "label" else None,
            resolves=each.resolves,
        )
        for each in said
    )
    by_item: dict[str, list[Said]] = {}
    for each in said:
        by_item.setdefault(each.item, []).append(each)
    return LabelState(
        said={each.item: each for each in said},
        by_item=by_item,
        words=words,
        standings=labelling.standings(words),
    )


def held_turns(con: Connection) -> list[Turn]:
    """The turns whose challenger waits for labels."""
    waiting = [d.turn for d in decisions.list_decisions(con, status="pending") if d.turn]
    found = [turns.get(con, name) for name in waiting]
    return [turn for turn in found if turn.state == "held" and turn.record.labels_wanted]


def still_wanted(con: Connection, kept: LabelState) -> dict[str, int]:
    """Labels by intent that would decide what is held, less those that were given."""
    done = labels.effects(con)
    given: Counter[str] = Counter()
    for item, standing in kept.standings.items():
        waits = item not in done or done[item].intent != standing.label
        if kept.said[item].kind == "gate" and standing.label and waits:
            given[standing.label] += 1
    wanted: Counter[str] = Counter()
    for turn in held_turns(con):
        asked = Counter(turn.record.labels_wanted)
        wanted |= asked - given - unjudged(con, turn)
    return dict(wanted)
