"""Before there is a champion: which texts of the traffic are asked about, and where labels go.

A lot deals each text to what is learned, to dev or to the golden set (`labelling.dealt`): the
person who labels it chooses neither the text nor its split. Near-duplicates follow the first of
them, so that nothing is learned that also judges. Asked about are texts of the splits that have
not enough, in the order of `labelling.spread`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from flywheel import curation, labelling
from flywheel.curation import Neighbourhood
from flywheel.labelling import Item
from flywheel.labelling.spread import SpreadText, spread
from flywheel.records import Sample
from flywheel.store import Connection, label_candidates, samples
from flywheel.store.label_candidates import SeenText
from flywheel.turn import first_champion
from flywheel.turn.curate import window_start
from flywheel.turn.first_champion import KIND, FirstChampion
from flywheel.turn.label_words import LabelState
from flywheel.turn.runtime import Runtime

_LOOKED_AT = 1_500  # different texts, by lot
_KNOWN = 1_000  # labelled texts that new ones are held against


@dataclass(frozen=True, slots=True, kw_only=True)
class DealtPlace:
    """Where a text is dealt to."""

    split: labelling.Dealt
    family: str = ""  # id of the sample that it is near to
    near: bool = False  # it is


class Dealer:
    """Deals texts, one after another; near-duplicates follow the first of them.

    Args:
        known: samples that are there, or were dealt before.
        jaccard: word-set Jaccard index of near-duplicates.
    """

    def __init__(self, known: Iterable[Sample], jaccard: float) -> None:
        self._texts = Neighbourhood(jaccard)
        self._known: list[Sample] = []
        for sample in known:
            self.add(sample)

    def add(self, sample: Sample) -> None:
        """Have later texts that are near follow this one."""
        self._texts.add(curation.form(sample.text))
        self._known.append(sample)

    def place(self, text: str) -> DealtPlace | None:
        """Return where a text goes; None where it is near texts that went to different splits."""
        form = curation.form(text)
        near = [self._known[number] for number, _ in self._texts.near(form)]
        if not near:
            return DealtPlace(split=labelling.dealt(form.normal))
        splits = {sample.split for sample in near}
        (split, *others) = sorted(splits)
        if others or split == "fresh":
            return None
        first = min(near, key=lambda sample: (not sample.family, sample.id))
        return DealtPlace(split=split, family=first.family or first.id, near=True)


def dealer(runtime: Runtime, con: Connection) -> Dealer:
    """Return a dealer that knows every sample."""
    golden = (row.sample for row in samples.golden(con))
    known = chain(samples.training(con), samples.dev(con), golden, samples.fresh(con))
    return Dealer(known, runtime.config.gates.hygiene.jaccard)


def asks(runtime: Runtime, con: Connection) -> FirstChampion | None:
    """Return what is missing for a first champion; None where people are not asked for it."""
    if not runtime.config.labelling.first:
        return None
    return first_champion.needs(runtime.config, con)


def first_items(
    runtime: Runtime, con: Connection, state: LabelState, most: int
) -> tuple[list[Item], int]:
    """Return texts to ask about, at most `most`, and how many labels are missing in all."""
    lack = asks(runtime, con)
    if lack is None or lack.ready or not lack.traffic:
        return [], 0
    lacking, known = lack.lacking(), dealer(runtime, con)
    usable: list[SeenText] = []
    again: list[SeenText] = []  # near what is known: they teach little
    for seen in first_texts(runtime, con):
        place = known.place(seen.text)
        if place is not None and place.split in lacking:
            (again if place.near else usable).append(seen)
    missing = lack.seeds.missing + lack.dev.missing + lack.golden.missing or lack.intents.missing
    ordered = _ordered(runtime, con, state, usable, min(most, len(usable)))
    chosen = [*ordered, *again][:most]
    items = [
        Item(
            id=labelling.item_id(KIND, seen.id),
            kind=KIND,
            text=seen.text,
            prediction=seen.id,
            rank=(float(place), seen.id),
        )
        for place, seen in enumerate(chosen)
    ]
    return items, min(missing, len(usable) + len(again))


def first_texts(runtime: Runtime, con: Connection) -> list[SeenText]:
    """Return the texts that may be asked about: unlabelled ones of the window, by lot."""
    bar = labelling.bar(runtime.config.labelling.audit)
    return label_candidates.unknown_texts(con, window_start(runtime, con), bar, _LOOKED_AT)


def _ordered(
    runtime: Runtime, con: Connection, state: LabelState, texts: Sequence[SeenText], most: int
) -> list[SeenText]:
    """The texts that cover the most first; of near-duplicates the first one, the others last."""
    known = [SpreadText(text=one.text, intent=one.intent) for one in samples.training(con)]
    known += [
        SpreadText(text=answer.text, intent=answer.intent or "")
        for answer in state.said.values()
        if answer.kind == KIND
    ]
    places = spread(
        [SpreadText(text=one.text, intent=one.intent) for one in texts], known[-_KNOWN:], 2 * most
    )
    near = Neighbourhood(runtime.config.gates.hygiene.jaccard)
    apart: list[SeenText] = []
    alike: list[SeenText] = []
    for place in places:
        form = curation.form(texts[place].text)
        (alike if near.near(form) else apart).append(texts[place])
        near.add(form)
    return [*apart, *alike][:most]
