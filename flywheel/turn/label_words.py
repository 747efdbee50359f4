"""What people said when they were asked for labels: answers, and the agreed label of an item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flywheel import labelling
from flywheel.labelling import Standing, Word
from flywheel.promotion import person_of
from flywheel.store import Connection, labels
from flywheel.store.labels import Said


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
        return labelling.is_open(self.standings.get(item), one_person(person), twice=twice)


def one_person(actor: str) -> str:
    """The same for one person by socket, by token and by `sudo`, who labels an item once.

    >>> one_person("ada (uid 0)") == one_person("ada (token lab)")
    True
    """
    return person_of(actor) or actor


def label_state(con: Connection) -> LabelState:
    """Read all answers that were not withdrawn."""
    answers = labels.standing(con)
    words = tuple(
        Word(
            number=answer.number,
            item=answer.item,
            person=one_person(answer.person),
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
